//! The cgroups of this machine: which there are, and whether we may make one.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::look::read;
use super::{Cgroups, World};

/// What step 5 limits: the controller, and its file in version 1 and 2.
const LIMITS: [(&str, [&str; 2]); 3] = [
    ("pids", ["pids.max", "pids.max"]),
    ("memory", ["memory.limit_in_bytes", "memory.max"]),
    ("cpu", ["cpu.cfs_quota_us", "cpu.max"]),
];

pub fn look() -> Cgroups {
    let mounts = read("/proc/self/mountinfo");
    let v1 = LIMITS.iter().any(|(controller, _)| own(controller, &mounts).is_some());
    let (world, missing) = match (v1, own("", &mounts)) {
        (true, v2) => {
            let missing = |name: &&str| own(name, &mounts).is_none();
            let world = if v2.is_some() { World::Hybrid } else { World::V1 };
            (world, names().filter(missing).collect())
        }
        (false, Some((point, _))) => {
            let offer = read(point.join("cgroup.controllers"));
            let missing = |name: &&str| !offer.split(' ').any(|word| word == *name);
            (World::V2, names().filter(missing).collect())
        }
        (false, None) => (World::None, names().collect()),
    };
    let tried = match world {
        World::None => Err("there are none".to_owned()),
        World::V2 => tried(&mounts, 1),
        World::V1 | World::Hybrid => tried(&mounts, 0),
    };
    Cgroups { world, missing, tried, systemd: Path::new("/run/systemd/system").exists() }
}

fn names() -> impl Iterator<Item = &'static str> {
    LIMITS.iter().map(|(controller, _)| *controller)
}

/// Where the tree of a controller of version 1, or (no name) that of version 2, is mounted, and our
/// own directory in it.
fn own(controller: &str, mounts: &str) -> Option<(PathBuf, PathBuf)> {
    let mut mounts = mounts.lines().filter_map(|line| line.split_once(" - "));
    let (mount, _) = mounts.find(|(_, filesystem)| match controller {
        "" => filesystem.starts_with("cgroup2 "),
        name => {
            filesystem.starts_with("cgroup ")
                && filesystem.split([' ', ',']).any(|word| word == name)
        }
    })?;
    let (root, point) = (mount.split(' ').nth(3)?, mount.split(' ').nth(4)?);
    let cgroups = read("/proc/self/cgroup");
    let line = cgroups.lines().find(|line| {
        line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == controller))
    });
    let path = Path::new(line?.splitn(3, ':').nth(2)?);
    let below = path.strip_prefix(root).unwrap_or(Path::new(""));
    Some((point.into(), Path::new(point).join(below)))
}

/// Makes a cgroup for each controller, as step 5 does, and removes it.
fn tried(mounts: &str, version: usize) -> Result<(), String> {
    for (controller, files) in LIMITS {
        let tree = if version == 1 { "" } else { controller };
        let (_, own) = own(tree, mounts).ok_or_else(|| format!("no {controller}"))?;
        let (parent, offers) = if version == 1 { parent(&own) } else { (own, true) };
        let dir = parent.join(format!("workshop-doctor-{}", std::process::id()));
        let failed = |what: &Path, why: io::Error| format!("{}: {why}", what.display());
        fs::create_dir(&dir).map_err(|why| failed(&dir, why))?;
        // Who may not write to the file above may bring no process here (`man 7 cgroups`).
        let needed =
            [dir.join(files[version]), dir.join("cgroup.procs"), parent.join("cgroup.procs")];
        let mut needed = needed.iter().skip(usize::from(!offers));
        let writable = needed.try_for_each(|file| {
            let opened = OpenOptions::new().write(true).open(file);
            opened.map(drop).map_err(|why| failed(file, why))
        });
        fs::remove_dir(&dir).map_err(|why| failed(&dir, why))?;
        writable?;
    }
    Ok(())
}

/// In version 2, the nearest cgroup whose children have the controllers, or the top, where step 5
/// turns them on; and whether they have them already.
fn parent(own: &Path) -> (PathBuf, bool) {
    let offers = |dir: &&Path| {
        let offer = read(dir.join("cgroup.subtree_control"));
        names().all(|name| offer.split(' ').any(|word| word == name))
    };
    let top = |dir: &&Path| dir.join("cgroup.procs").exists() && !dir.join("cgroup.type").exists();
    if let Some(dir) = own.ancestors().find(offers) {
        return (dir.into(), true);
    }
    (own.ancestors().find(top).unwrap_or(own).into(), false)
}
