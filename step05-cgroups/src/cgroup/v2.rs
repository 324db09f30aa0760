//! Version 2: one tree, one directory. `cgroup.subtree_control` lists its children's controllers.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::directory::Directory;
use super::trees::OwnCgroups;
use super::{Limits, write, write_swap};

// ANCHOR: v2
/// Makes the directory and writes the limits there.
pub fn create(limits: &Limits, own: &OwnCgroups) -> Result<Vec<Directory>> {
    let own = own.get("cgroup2").context("no cgroups are mounted, or ours is out of sight")?;
    let mut controllers = vec!["pids"];
    if limits.memory.is_some() {
        controllers.push("memory");
    }
    if limits.cpus.is_some() {
        controllers.push("cpu");
    }
    // ANCHOR: v2-mkdir
    let directory = Directory::make(&find_parent(own, &controllers)?)?;
    // ANCHOR_END: v2-mkdir
    let dir = &directory.path;
    // ANCHOR: v2-write
    write(dir, "pids.max", limits.pids_limit)?;
    // ANCHOR_END: v2-write
    if let Some(bytes) = limits.memory {
        write(dir, "memory.max", bytes)?;
        // Swap is counted separately, and must not raise the limit.
        write_swap(dir, "memory.swap.max", 0)?;
    }
    if let Some(quota) = limits.cpus {
        write(dir, "cpu.max", quota)?;
    }
    Ok(vec![directory])
}
// ANCHOR_END: v2

// ANCHOR: find_parent
/// The nearest cgroup, from our own upwards, that gives its children these controllers. Unless it is
/// the root (no `cgroup.type`), it holds no processes: it is above ours, whose limits do not apply.
fn find_parent(own: &Path, controllers: &[&str]) -> Result<PathBuf> {
    for dir in own.ancestors().take_while(|dir| dir.join("cgroup.procs").exists()) {
        if has_all(&dir.join("cgroup.subtree_control"), controllers) {
            return Ok(dir.into());
        }
        if !dir.join("cgroup.type").exists() {
            let offered = has_all(&dir.join("cgroup.controllers"), controllers);
            ensure!(offered, "one of {controllers:?} is missing: boot with cgroup_enable=memory");
            let line: Vec<_> = controllers.iter().map(|name| format!("+{name}")).collect();
            write(dir, "cgroup.subtree_control", line.join(" "))?;
            return Ok(dir.into());
        }
    }
    bail!("no cgroup of version 2 above {own:?} gives its children {controllers:?}")
}

/// Does the file list all these controllers?
fn has_all(file: &Path, controllers: &[&str]) -> bool {
    let names = fs::read_to_string(file).unwrap_or_default();
    controllers.iter().all(|controller| names.split_whitespace().any(|name| name == *controller))
}
// ANCHOR_END: find_parent
