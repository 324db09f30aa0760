//! The fifth wall: a cgroup (`man 7 cgroups`), a directory whose files say what its processes may
//! use. Version 1 has a tree of them for each controller (pids, memory, cpu), version 2 one for all;
//! a hybrid machine has both, and its limits in version 1. To join is to write oneself into a file.

use std::fs::{self, File};
use std::io::ErrorKind::{NotFound, ResourceBusy, WouldBlock};
use std::{env, ffi::OsString, io, mem, path::Path, path::PathBuf, thread, time::Duration};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::mkdtemp;

#[derive(clap::Args)]
pub struct Limits {
    /// Processes and threads, PID 1 included
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(2..=4194304))]
    pids_limit: u32,
    /// Memory in bytes, or with a unit: b, k, m, g [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = crate::bytes, allow_negative_numbers = true)]
    memory: Option<u64>,
    /// CPUs, such as 0.5 for half of one [default: no limit]
    #[arg(long, value_name = "FLOAT", allow_negative_numbers = true)]
    cpus: Option<f64>,
}

impl Limits {
    // ANCHOR: files
    /// Which controller's file to write what to, in the words of version 1 or 2.
    fn files(&self, v2: bool) -> impl Iterator<Item = (&'static str, &'static str, String)> {
        let v = usize::from(v2);
        // Swap must not widen the limit: version 1 counts it in, version 2 by itself.
        let swap = self.memory.map(|bytes| [bytes, 0][v]);
        let files = [
            ("pids", "pids.max", Some(self.pids_limit.into())),
            ("memory", ["memory.limit_in_bytes", "memory.max"][v], self.memory),
            ("memory", ["memory.memsw.limit_in_bytes", "memory.swap.max"][v], swap),
            // Microseconds of CPU time in each period of 100,000.
            ("cpu", ["cpu.cfs_quota_us", "cpu.max"][v], self.cpus.map(|cpus| (cpus * 1e5) as u64)),
        ];
        files.into_iter().filter_map(|(of, file, value)| Some((of, file, value?.to_string())))
    }
    // ANCHOR_END: files
}

/// The container's cgroup: its directories, locked while in use. Dropping it removes them.
pub struct Cgroup(pub Vec<OsString>);

impl Cgroup {
    // ANCHOR: create
    /// Makes the cgroup and sets its limits.
    pub fn create(limits: &Limits) -> Result<Cgroup> {
        let mounts = fs::read("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
        let cgroups = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
        let own = |tree: &str| own(tree, &String::from_utf8_lossy(&mounts), &cgroups);
        let trees = ["pids", "memory", "cpu", "cgroup2"];
        trees.iter().filter_map(|tree| own(tree)).for_each(|own| sweep(&own));
        let mut cgroup = Cgroup(Vec::new());
        let v2 = own("pids").is_none();
        let swap = fs::read_to_string("/proc/swaps").is_ok_and(|list| list.lines().count() > 1);
        for (controller, name, value) in limits.files(v2) {
            let dir = own(if v2 { "cgroup2" } else { controller });
            let dir = dir.with_context(|| format!("no cgroups for {controller} are mounted"))?;
            let file = cgroup.below(if v2 { parent(&dir, limits)? } else { dir })?.join(name);
            // A kernel that does not count swap has no file for it.
            if file.exists() || swap || !name.contains("sw") {
                fs::write(&file, &value).with_context(|| format!("write {value} to {file:?}"))?;
            }
        }
        Ok(cgroup)
    }
    // ANCHOR_END: create

    // ANCHOR: below
    /// Our directory in `parent`, made if need be.
    fn below(&mut self, parent: PathBuf) -> Result<PathBuf> {
        if let Some(dir) = self.0.iter().find(|dir| Path::new(dir).starts_with(&parent)) {
            return Ok(dir.into());
        }
        loop {
            let dir = mkdtemp(&parent.join("step05-XXXXXX"));
            let dir = dir.with_context(|| format!("mkdir in {parent:?}"))?;
            self.0.push(dir.clone().into());
            // Before we had the lock, another run may have removed it, as a killed one's.
            match lock(&dir).and_then(|()| dir.metadata()) {
                Err(gone) if [NotFound, WouldBlock].contains(&gone.kind()) => drop(self.0.pop()),
                ours => return ours.with_context(|| format!("lock {dir:?}")).map(|_| dir),
            }
        }
    }
    // ANCHOR_END: below
}

// ANCHOR: drop
impl Drop for Cgroup {
    fn drop(&mut self) {
        for dir in self.0.iter().map(Path::new) {
            let _ = remove(dir).map_err(|why| crate::fail(125, &format!("rmdir {dir:?}: {why}")));
        }
    }
}
// ANCHOR_END: drop

// ANCHOR: join
/// Joins the cgroup that `run` made ($CGROUP): before we take memory, while its files are in sight.
pub fn join() -> Result<()> {
    for dir in env::var("CGROUP").context("read $CGROUP")?.lines() {
        // Version 1 has a file for a single thread, too: who writes to it need not wait for all CPUs.
        let file = if Path::new(dir).join("tasks").exists() { "tasks" } else { "cgroup.procs" };
        fs::write(format!("{dir}/{file}"), "0").with_context(|| format!("join {dir}"))?;
    }
    unshare(CloneFlags::CLONE_NEWCGROUP).context("unshare CLONE_NEWCGROUP")
}
// ANCHOR_END: join

// ANCHOR: own
/// The directory of our own cgroup in the tree of a controller, or in `cgroup2` (`man 5 proc`).
fn own(tree: &str, mounts: &str, cgroups: &str) -> Option<PathBuf> {
    let mut mounts = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let mount = mounts.find(|line| line.split([' ', ',']).any(|word| word == tree))?;
    let (root, point) = (mount.split(' ').nth(3)?, mount.split(' ').nth(4)?);
    let controller = tree.trim_start_matches("cgroup2"); // its line has none: 0::/…
    let cgroup = cgroups.lines().find(|line| line.split([':', ',']).any(|word| word == controller));
    let path = Path::new(cgroup?.splitn(3, ':').nth(2)?).strip_prefix(root);
    Some(Path::new(point).join(path.unwrap_or(Path::new(""))))
}
// ANCHOR_END: own

// ANCHOR: parent
/// In version 2, the nearest cgroup whose children get the controllers: one without processes.
fn parent(own: &Path, limits: &Limits) -> Result<PathBuf> {
    let offers = |dir: &&Path| {
        let offer = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
        limits.files(true).all(|(of, ..)| offer.split_whitespace().any(|name| name == of))
    };
    // The root (it has no type) may have both, so there we can begin.
    let top = |d: &&Path| d.join("cgroup.procs").exists() && !d.join("cgroup.type").exists();
    let dir = own.ancestors().find(|d| offers(d) || top(d)).context("all cgroups are populated")?;
    if !offers(&dir) {
        let file = dir.join("cgroup.subtree_control");
        let add: String = limits.files(true).map(|(of, ..)| format!(" +{of}")).collect();
        fs::write(&file, &add).with_context(|| format!("write{add} to {file:?}"))?;
    }
    Ok(dir.into())
}
// ANCHOR_END: parent

// ANCHOR: sweep
/// Removes the cgroups of killed runs, here and above: nobody has them locked.
fn sweep(own: &Path) {
    let cgroups = own.ancestors().take_while(|dir| dir.join("cgroup.procs").exists());
    let entries = cgroups.flat_map(fs::read_dir).flatten().flatten();
    let ours = entries.filter(|dir| dir.file_name().to_string_lossy().starts_with("step05-"));
    ours.for_each(|dir| drop(lock(&dir.path()).and_then(|()| remove(&dir.path()))));
}
// ANCHOR_END: sweep

// ANCHOR: remove
/// Removes a cgroup, patiently: its last process may still be on its way out.
fn remove(dir: &Path) -> io::Result<()> {
    for delay in 0..8 {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == ResourceBusy => {}
            result => return result,
        }
        fs::read_dir(dir)?.flatten().for_each(|dir| drop(remove(&dir.path())));
        thread::sleep(Duration::from_millis(1 << delay));
    }
    fs::remove_dir(dir)
}
// ANCHOR_END: remove

// ANCHOR: lock
/// Locks a cgroup of ours, if no other run has, until the kernel lets go of it, however we end.
fn lock(dir: &Path) -> io::Result<()> {
    let lock = Flock::lock(File::open(dir)?, FlockArg::LockExclusiveNonblock);
    lock.map(mem::forget).map_err(|(_, why)| why.into())
}
// ANCHOR_END: lock
