//! Version 1: a tree for each controller, so a directory for each limit.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::trees::own_cgroup;
use super::{Cgroup, Limits, write, write_swap};

// ANCHOR: v1
/// Makes a directory for each limit and writes it there.
pub fn set_limits(cgroup: &mut Cgroup, limits: &Limits) -> Result<()> {
    let dir = directory(cgroup, "pids")?;
    write(&dir, "pids.max", limits.pids_limit)?;
    if let Some(bytes) = limits.memory {
        let dir = directory(cgroup, "memory")?;
        write(&dir, "memory.limit_in_bytes", bytes)?;
        // Memory and swap together: swap must not widen the limit.
        write_swap(&dir, "memory.memsw.limit_in_bytes", bytes)?;
    }
    if let Some(quota) = limits.cpus {
        let dir = directory(cgroup, "cpu")?;
        write(&dir, "cpu.cfs_quota_us", quota)
            .context("--cpus (the cgroup above may have less)")?;
    }
    Ok(())
}

/// Our directory in the tree of a controller: below our caller's cgroup, whose limits hold as well.
fn directory(cgroup: &mut Cgroup, controller: &str) -> Result<PathBuf> {
    let own = own_cgroup(controller)?;
    // Raspberry Pi has that of memory switched off.
    let own = own.with_context(|| format!("no cgroups: boot with cgroup_enable={controller}"))?;
    cgroup.directory_in(&own)
}
// ANCHOR_END: v1
