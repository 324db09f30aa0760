//! The fifth wall: a cgroup (`man 7 cgroups`), a directory whose files say what its processes may
//! use. To join is to write oneself into one of them. There are two versions, a file each.

mod directory;
mod limits;
mod trees;
mod v1;
mod v2;

use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::close;

use directory::Directory;
pub use limits::Limits;

// ANCHOR: Cgroup
/// The container's cgroup: one directory, or in version 1 one for each limit.
pub struct Cgroup {
    directories: Vec<Directory>,
}
// ANCHOR_END: Cgroup

impl Cgroup {
    // ANCHOR: create
    /// Makes the cgroup and sets its limits.
    pub fn create(limits: &Limits) -> Result<Cgroup> {
        let mut cgroup = Cgroup { directories: Vec::new() };
        // A hybrid machine has both versions, and its limits in version 1.
        match trees::own_cgroup("pids")? {
            Some(_) => v1::set_limits(&mut cgroup, limits)?,
            None => v2::set_limits(&mut cgroup, limits)?,
        }
        Ok(cgroup)
    }
    // ANCHOR_END: create

    // ANCHOR: directory_in
    /// Our directory in `parent`, made for the first limit that is to be written there.
    fn directory_in(&mut self, parent: &Path) -> Result<PathBuf> {
        for directory in &self.directories {
            if directory.path.parent() == Some(parent) {
                return Ok(directory.path.clone());
            }
        }
        let directory = Directory::make(parent)?;
        let path = directory.path.clone();
        self.directories.push(directory);
        Ok(path)
    }
    // ANCHOR_END: directory_in
}

// ANCHOR: join
/// Joins the cgroup that `run` has made: before we take memory, and while its files are in sight.
pub fn join() -> Result<()> {
    // By an argument its command could learn the paths, so `run` leaves the directories open for us:
    // from 6 on, behind the pipe.
    for fd in 6.. {
        let dir = match fs::read_link(format!("/proc/self/fd/{fd}")) {
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            dir => dir.with_context(|| format!("read /proc/self/fd/{fd}"))?,
        };
        // Version 1 has a file for a single thread, too: who writes to it need not wait for all CPUs.
        let file = if dir.join("tasks").exists() { "tasks" } else { "cgroup.procs" };
        fs::write(dir.join(file), "0").with_context(|| format!("join {dir:?}"))?;
        close(fd).context("close the cgroup")?;
    }
    unshare(CloneFlags::CLONE_NEWCGROUP).context("unshare CLONE_NEWCGROUP")
}
// ANCHOR_END: join

// ANCHOR: write
/// Sets a limit: writes to a file of the cgroup.
fn write(dir: &Path, name: &str, value: impl Display) -> Result<()> {
    let file = dir.join(name);
    fs::write(&file, value.to_string()).with_context(|| format!("write {value} to {file:?}"))
}

/// Limits swap. Without swap a kernel may have no file for it, and there is nothing to limit.
fn write_swap(dir: &Path, name: &str, value: u64) -> Result<()> {
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if dir.join(name).exists() || swaps.lines().count() > 1 {
        write(dir, name, value)?;
    }
    Ok(())
}
// ANCHOR_END: write
