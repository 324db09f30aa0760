//! Version 1: a tree for each controller, so a directory for each limit.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::directory::Directory;
use super::trees::OwnCgroups;
use super::{Limits, write, write_swap};

// ANCHOR: v1
/// Makes a directory for each limit and writes the limit there.
pub fn create(limits: &Limits, own: &OwnCgroups) -> Result<Vec<Directory>> {
    let mut made = Vec::new();
    let dir = directory(&mut made, own, "pids")?;
    write(&dir, "pids.max", limits.pids_limit)?;
    if let Some(bytes) = limits.memory {
        let dir = directory(&mut made, own, "memory")?;
        write(&dir, "memory.limit_in_bytes", bytes)?;
        // Memory and swap together, so that swap does not raise the limit.
        write_swap(&dir, "memory.memsw.limit_in_bytes", bytes)?;
    }
    if let Some(quota) = limits.cpus {
        let dir = directory(&mut made, own, "cpu")?;
        write(&dir, "cpu.cfs_quota_us", quota)
            .context("--cpus (the cgroup above may have less)")?;
    }
    Ok(made)
}

/// Our directory in a controller's tree, below our caller's cgroup, whose limits then apply, too.
fn directory(made: &mut Vec<Directory>, own: &OwnCgroups, controller: &str) -> Result<PathBuf> {
    let own = own.get(controller);
    // Raspberry Pi OS boots with the memory controller off.
    let own = own.with_context(|| format!("no cgroups: boot with cgroup_enable={controller}"))?;
    // Two controllers may share a tree, and a process is in only one directory of each tree.
    if let Some(directory) = made.iter().find(|other| other.path.parent() == Some(own)) {
        return Ok(directory.path.clone());
    }
    made.push(Directory::make(own)?);
    Ok(made[made.len() - 1].path.clone())
}
// ANCHOR_END: v1
