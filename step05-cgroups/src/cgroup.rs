//! The fifth wall: a cgroup (`man 7 cgroups`), a directory whose files say what its processes may
//! use. To join is to write oneself into one of them. There are two versions, a file each.

mod limits;
mod trees;
mod v1;
mod v2;

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{close, mkdtemp};

pub use limits::Limits;

// ANCHOR: Cgroup
/// The container's cgroup: one directory, or in version 1 one for each limit. Dropping it removes it.
/// Each is locked, by which other runs see that it is in use.
pub struct Cgroup {
    directories: Vec<(PathBuf, Flock<OwnedFd>)>,
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
    /// Our directory in `parent`, which two limits may share: made for the first of them.
    fn directory_in(&mut self, parent: &Path) -> Result<PathBuf> {
        for (path, _) in &self.directories {
            if path.parent() == Some(parent) {
                return Ok(path.clone());
            }
        }
        sweep(parent);
        loop {
            let path = mkdtemp(&parent.join("step05-XXXXXX"));
            let path = path.with_context(|| format!("mkdir in {parent:?}"))?;
            match lock(&path) {
                Ok(lock) if path.exists() => {
                    self.directories.push((path.clone(), lock));
                    return Ok(path);
                }
                // Before we had the lock, another run took it for one that was left behind.
                Ok(_) | Err(Errno::ENOENT | Errno::EWOULDBLOCK) => {}
                Err(error) => {
                    let _ = fs::remove_dir(&path);
                    return Err(error).with_context(|| format!("lock {path:?}"));
                }
            }
        }
    }
    // ANCHOR_END: directory_in
}

// ANCHOR: drop
impl Drop for Cgroup {
    fn drop(&mut self) {
        for (path, _) in &self.directories {
            if let Err(error) = remove(path) {
                crate::fail(125, &format!("rmdir {path:?}: {error}"));
            }
        }
    }
}
// ANCHOR_END: drop

// ANCHOR: join
/// Joins the cgroup that `run` has made: before we take memory, and while its files are in sight.
pub fn join() -> Result<()> {
    // By an argument its command could learn the paths, so `run` leaves the directories open for us:
    // from 6 on, behind the pipe.
    for fd in 6.. {
        let Ok(dir) = fs::read_link(format!("/proc/self/fd/{fd}")) else { break };
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

// ANCHOR: sweep
/// Removes what killed runs have left in `parent`: it has our name, and nobody has it locked.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if is_ours(&entry.file_name()) {
            if let Ok(_lock) = lock(&entry.path()) {
                sweep(&entry.path()); // a container in the container
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Is it a name as mkdtemp gives it: ours, and six letters or digits?
fn is_ours(name: &OsStr) -> bool {
    let random = name.to_str().and_then(|name| name.strip_prefix("step05-"));
    random.is_some_and(|random| random.len() == 6 && random.chars().all(char::is_alphanumeric))
}

/// Locks a cgroup, if nobody else has. The lock goes with the last process that has it open.
fn lock(dir: &Path) -> Result<Flock<OwnedFd>, Errno> {
    // Not with O_CLOEXEC: PID 1 inherits it.
    let dir = open(dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?;
    Flock::lock(dir, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)
}
// ANCHOR_END: sweep

// ANCHOR: remove
/// Removes a cgroup and those below it, patiently: the last process may still be on its way out.
fn remove(dir: &Path) -> io::Result<()> {
    for delay in 0..8 {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {}
            result => return result,
        }
        for entry in fs::read_dir(dir)?.flatten() {
            let _ = remove(&entry.path());
        }
        thread::sleep(Duration::from_millis(1 << delay));
    }
    fs::remove_dir(dir)
}
// ANCHOR_END: remove
