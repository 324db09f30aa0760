//! The directory of a cgroup: locked while it is in use, and removed afterwards.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::mkdtemp;

/// Dropping this removes the directory.
pub struct Directory {
    /// Where it is, in the tree of a controller or of version 2.
    pub path: PathBuf,
    _lock: Flock<OwnedFd>,
}

// ANCHOR: make
impl Directory {
    /// Makes and locks one in `parent`.
    pub fn make(parent: &Path) -> Result<Directory> {
        loop {
            let path = mkdtemp(&parent.join("step05-XXXXXX"));
            let path = path.with_context(|| format!("mkdir in {parent:?}"))?;
            let error = match lock(&path) {
                Ok(lock) if path.exists() => return Ok(Directory { path, _lock: lock }),
                Ok(_) => Errno::ENOENT,
                Err(error) => error,
            };
            let _ = fs::remove_dir(&path);
            // Another run may sweep it away before we lock it. Then we make a new one.
            if error != Errno::ENOENT && error != Errno::EWOULDBLOCK {
                return Err(error).with_context(|| format!("lock {path:?}"));
            }
        }
    }
}
// ANCHOR_END: make

// ANCHOR: drop
impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            crate::fail(125, &format!("rmdir {:?}: {error}", self.path));
        }
    }
}
// ANCHOR_END: drop

// ANCHOR: sweep
/// Removes what killed runs left in `parent`: directories with our name that nobody has locked.
pub fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let random = name.strip_prefix("step05-").unwrap_or_default();
        let is_ours = random.len() == 6 && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_ours {
            if let Ok(_lock) = lock(&entry.path()) {
                sweep(&entry.path()); // from a container inside the container
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Locks a cgroup, unless somebody else has. The lock lasts as long as any process has it open.
fn lock(dir: &Path) -> Result<Flock<OwnedFd>, Errno> {
    // Without O_CLOEXEC: PID 1 inherits it.
    let dir = open(dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?;
    Flock::lock(dir, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)
}
// ANCHOR_END: sweep

// ANCHOR: remove
/// Removes a cgroup and those below it. Tries again while the last process is still exiting.
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
