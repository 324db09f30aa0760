//! The cgroups of a throw-away host, so that those of containers can be told from all others: a
//! directory in each tree, and in version 2 a leaf below it, for only an empty one may have limited
//! children.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{CGROUPS, Held, make, sweep};
use crate::machine::Privilege;
use crate::machine::eventually;

/// The cgroups of a host, as long as it is needed.
pub(super) struct Sandbox {
    dirs: Vec<PathBuf>,
    held: Vec<Held>,
}

impl Sandbox {
    /// Makes them, by this name.
    pub(super) fn create(privilege: Privilege, name: &str) -> Result<Sandbox> {
        let mut sandbox = Sandbox { dirs: Vec::new(), held: Vec::new() };
        if privilege != Privilege::Root {
            return Ok(sandbox);
        }
        let cgroups = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
        for line in cgroups.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            let Some(tree) = tree(controllers)? else { continue };
            let own = tree.join(path.trim_start_matches('/'));
            let parent = if controllers.is_empty() { unified_parent(&own) } else { Some(own) };
            let Some(parent) = parent else { continue };
            sweep(&parent, |dir| {
                remove(dir);
            });
            let dir = parent.join(name);
            sandbox.held.push(make(&dir)?);
            sandbox.dirs.push(dir.clone());
            if controllers.is_empty() {
                let enable = fs::read_to_string(dir.join("cgroup.controllers"))?;
                let enable: String = enable.split_whitespace().map(|c| format!("+{c} ")).collect();
                fs::write(dir.join("cgroup.subtree_control"), enable)?;
                fs::create_dir(dir.join("host"))?;
            }
        }
        Ok(sandbox)
    }

    /// The directories.
    pub(super) fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// The files that a process joins by.
    pub(super) fn procs(&self) -> Vec<String> {
        let leaf = |dir: &PathBuf| match dir.join("host") {
            leaf if leaf.is_dir() => leaf,
            _ => dir.clone(),
        };
        self.dirs.iter().map(|dir| leaf(dir).join("cgroup.procs").display().to_string()).collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for dir in &self.dirs {
            let gone = eventually(|| remove(dir).then_some(()).context("still busy"));
            if gone.is_err() {
                eprintln!("workshop: {} is still there", dir.display());
            }
        }
    }
}

/// Where the tree of a line in /proc/self/cgroup is mounted, if the limits of step 5 are in it.
fn tree(controllers: &str) -> Result<Option<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read mountinfo")?;
    let wanted = |name: &str| ["pids", "memory", "cpu"].contains(&name);
    if !controllers.is_empty() && !controllers.split(',').any(wanted) {
        return Ok(None);
    }
    let mount = mounts.lines().find(|line| {
        let Some((_, filesystem)) = line.split_once(" - ") else { return false };
        let mut words = filesystem.split([' ', ',']);
        match words.next() {
            Some("cgroup2") => controllers.is_empty(),
            Some("cgroup") => {
                let words: Vec<_> = words.collect();
                !controllers.is_empty() && controllers.split(',').all(|c| words.contains(&c))
            }
            _ => false,
        }
    });
    Ok(mount.and_then(|line| line.split(' ').nth(4)).map(PathBuf::from))
}

/// In version 2, the nearest cgroup whose children have the controllers of step 5; none on a hybrid
/// machine.
fn unified_parent(own: &Path) -> Option<PathBuf> {
    let offers = |dir: &&Path| {
        let offer = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
        ["pids", "memory", "cpu"].iter().all(|of| offer.split_whitespace().any(|name| name == *of))
    };
    own.ancestors().find(offers).map(Path::to_path_buf)
}

/// Removes a cgroup and those below it, if they are empty.
pub fn remove(dir: &Path) -> bool {
    for below in children(dir) {
        remove(&below);
    }
    fs::remove_dir(dir).is_ok() || !dir.exists()
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// The host's own cgroup, in each of the trees that a container could be limited in.
pub fn trees() -> Vec<PathBuf> {
    env::split_paths(&env::var_os(CGROUPS).unwrap_or_default()).collect()
}

/// The cgroups on the host, its own left out: those of containers.
pub fn cgroups() -> BTreeSet<PathBuf> {
    let dirs = trees().into_iter().flat_map(|dir| children(&dir));
    dirs.filter(|dir| dir.file_name() != Some(OsStr::new("host"))).collect()
}
