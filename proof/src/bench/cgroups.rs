//! The cgroups of the throw-away host, and wherever else a runtime makes some.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use workshop::host;

/// The throw-away host's cgroup in version 2, if its limits are there.
pub fn version_2() -> Option<PathBuf> {
    host::trees().into_iter().find(|dir| dir.join("cgroup.subtree_control").exists())
}

/// The throw-away host's cgroup of a controller in version 1, by a file that is in it.
pub fn version_1(file: &str) -> Option<PathBuf> {
    host::trees().into_iter().find(|dir| dir.join(file).exists())
}

/// Where the tree of version 2 is mounted, if the limits are in version 1.
pub fn version_2_beside_1() -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let tree = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    version_2().is_none().then(|| tree.split(' ').nth(4).map(str::to_owned))?
}

/// Where a runtime may make its cgroups: in all trees, below the top and below where we are (and
/// our parents, as in version 2 where we are may be taken).
pub fn cgroup_dirs() -> BTreeSet<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let points: Vec<_> = mounts.filter_map(|line| line.split(' ').nth(4)).map(Path::new).collect();
    let paths: Vec<_> = cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
    let mut dirs = BTreeSet::new();
    for point in points {
        for path in &paths {
            let own = point.join(path.trim_start_matches('/'));
            let inside = own.ancestors().take_while(|dir| dir.starts_with(point));
            dirs.extend(inside.filter(|dir| dir.is_dir()).map(Path::to_owned));
        }
    }
    dirs
}
