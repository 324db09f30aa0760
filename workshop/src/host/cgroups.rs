//! The cgroups of a throw-away host: a directory in each tree, which sets those of its containers
//! apart from all others. In version 2 it contains `host` for the host's own processes, as only a
//! cgroup without processes may have children with limits.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{CGROUPS, Held, hold, sweep};
use crate::machine::{Privilege, eventually};

/// The controllers of step 5.
const CONTROLLERS: [&str; 3] = ["pids", "memory", "cpu"];

/// The cgroups of a host, while it is needed.
#[derive(Default)]
pub(super) struct Sandbox {
    /// The directories.
    pub(super) dirs: Vec<PathBuf>,
    /// The files through which a process joins.
    pub(super) procs: Vec<String>,
    held: Vec<Held>,
}

impl Sandbox {
    /// Makes them, with this name, if we are root.
    pub(super) fn create(privilege: Privilege, name: &OsStr) -> Result<Sandbox> {
        let mut sandbox = Sandbox::default();
        if privilege != Privilege::Root {
            return Ok(sandbox);
        }
        let cgroups = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
        for line in cgroups.lines() {
            // NUMBER:CONTROLLERS:PATH; in version 2 there are no controllers.
            let fields: Vec<_> = line.splitn(3, ':').collect();
            let [_, controllers, path] = fields[..] else { continue };
            let version_2 = controllers.is_empty();
            let Some(tree) = tree(controllers)? else { continue };
            let mut parent = tree.join(path.trim_start_matches('/'));
            if version_2 {
                let Some(offers) = parent.ancestors().find(|dir| offers_all(dir)) else { continue };
                parent = offers.to_owned();
            }
            sweep(&parent, remove);
            let dir = parent.join(name);
            sandbox.dirs.push(dir.clone());
            sandbox.held.push(eventually(|| {
                fs::create_dir_all(&dir).with_context(|| format!("mkdir {}", dir.display()))?;
                hold(&dir)
            })?);
            let mut joined = dir.clone();
            if version_2 {
                fs::write(dir.join("cgroup.subtree_control"), "+pids +memory +cpu")?;
                joined = dir.join("host");
                fs::create_dir(&joined)?;
            }
            sandbox.procs.push(joined.join("cgroup.procs").display().to_string());
        }
        Ok(sandbox)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for dir in &self.dirs {
            if eventually(|| remove(dir).then_some(()).context("still busy")).is_err() {
                eprintln!("workshop: {} is still there", dir.display());
            }
        }
    }
}

/// Where the tree with these controllers is mounted, if step 5 needs it.
fn tree(controllers: &str) -> Result<Option<PathBuf>> {
    let mounts = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    for line in mounts.lines() {
        // DEVICE PLACE KIND OPTION,OPTION...; a place may have a comma: /sys/fs/cgroup/cpu,cpuacct.
        let fields: Vec<_> = line.split(' ').collect();
        let [_, place, kind, options, ..] = fields[..] else { continue };
        let options: Vec<_> = options.split(',').collect();
        let is_it = match kind {
            "cgroup2" => controllers.is_empty(),
            "cgroup" => controllers.split(',').all(|controller| options.contains(&controller)),
            _ => false,
        };
        let needed = controllers.is_empty() || CONTROLLERS.iter().any(|c| options.contains(c));
        if is_it && needed {
            return Ok(Some(place.into()));
        }
    }
    Ok(None)
}

/// Do the children of a cgroup have the controllers of step 5? In a hybrid layout, none do.
fn offers_all(dir: &Path) -> bool {
    let offered = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
    CONTROLLERS.iter().all(|controller| offered.split_whitespace().any(|name| name == *controller))
}

/// Removes a cgroup and those below it, if they are empty.
pub fn remove(dir: &Path) -> bool {
    for below in children(dir) {
        remove(&below);
    }
    fs::remove_dir(dir).is_ok() || !dir.exists()
}

/// The cgroups in a cgroup.
fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// The host's own cgroup, in each tree in which a container could be limited.
pub fn trees() -> Vec<PathBuf> {
    env::split_paths(&env::var_os(CGROUPS).unwrap_or_default()).collect()
}

/// The cgroups of containers: all on the host except its own.
pub fn cgroups() -> BTreeSet<PathBuf> {
    let all = trees().into_iter().flat_map(|dir| children(&dir));
    all.filter(|dir| !dir.ends_with("host")).collect()
}
