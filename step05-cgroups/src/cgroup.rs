//! The fifth wall: a cgroup (`man 7 cgroups`), a directory whose files say what its processes may
//! use. Version 1 has a tree of them for each controller (pids, memory, cpu), version 2 one for all;
//! a hybrid machine has both, and its limits in version 1. To join is to write oneself into a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::{env, ffi::OsString, io, thread, time::Duration};

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
    #[arg(long, value_name = "FLOAT", value_parser = crate::cpus, allow_negative_numbers = true)]
    cpus: Option<f64>,
}

impl Limits {
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
}

/// The container's cgroup: a directory, in version 1 one for each controller. Our locks on them tell
/// other runs that they are in use. Dropping it removes them.
pub struct Cgroup(Vec<(PathBuf, Flock<File>)>);

impl Cgroup {
    /// Makes the cgroup and sets its limits.
    pub fn create(limits: &Limits) -> Result<Cgroup> {
        // First those of killed runs go: nobody has them locked.
        for own in ["pids", "memory", "cpu", "cgroup2"].iter().filter_map(|tree| own(tree)) {
            let cgroups = own.ancestors().take_while(|dir| dir.join("cgroup.procs").exists());
            cgroups.flat_map(entries).for_each(|dir| drop(lock(&dir).map(|_lock| remove(&dir))));
        }
        let mut cgroup = Cgroup(Vec::new());
        let v2 = own("pids").is_none();
        let controllers: Vec<_> = limits.files(v2).map(|(controller, ..)| controller).collect();
        let swap = fs::read_to_string("/proc/swaps").is_ok_and(|list| list.lines().count() > 1);
        for (controller, name, value) in limits.files(v2) {
            let own = own(if v2 { "cgroup2" } else { controller });
            let own = own.with_context(|| format!("no cgroups for {controller} are mounted"))?;
            let file = cgroup.below(if v2 { parent(&own, &controllers)? } else { own })?.join(name);
            // A kernel that does not count swap has no file for it.
            if file.exists() || swap || !name.contains("sw") {
                fs::write(&file, &value).with_context(|| format!("write {value} to {file:?}"))?;
            }
        }
        Ok(cgroup)
    }

    /// Our directory in `parent`, made if need be.
    fn below(&mut self, parent: PathBuf) -> Result<PathBuf> {
        if let Some((dir, _)) = self.0.iter().find(|(dir, _)| dir.starts_with(&parent)) {
            return Ok(dir.clone());
        }
        loop {
            let dir = mkdtemp(&parent.join("step05-XXXXXX"));
            let dir = dir.with_context(|| format!("mkdir in {parent:?}"))?;
            // Before we had the lock, another run may have removed it, as a killed one's.
            if let Some(lock) = lock(&dir).filter(|_| dir.exists()) {
                self.0.push((dir.clone(), lock));
                return Ok(dir);
            }
        }
    }

    pub fn dirs(&self) -> OsString {
        self.0.iter().flat_map(|(dir, _)| [dir.as_os_str(), "\n".as_ref()]).collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for (dir, _) in &self.0 {
            let _ = remove(dir).map_err(|why| crate::fail(125, &format!("rmdir {dir:?}: {why}")));
        }
    }
}

/// Joins the cgroup that `run` made ($CGROUP): before we take memory, while its files are in sight.
pub fn join() -> Result<()> {
    for dir in env::var("CGROUP").context("read $CGROUP")?.lines() {
        fs::write(format!("{dir}/cgroup.procs"), "0").with_context(|| format!("join {dir}"))?;
    }
    unshare(CloneFlags::CLONE_NEWCGROUP).context("unshare CLONE_NEWCGROUP")
}

/// The directory of our own cgroup in the tree of a controller, or in `cgroup2` (`man 5 proc`).
fn own(tree: &str) -> Option<PathBuf> {
    let mounts = String::from_utf8_lossy(&fs::read("/proc/self/mountinfo").ok()?).into_owned();
    let mut mounts = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let mount = mounts.find(|line| line.split([' ', ',']).any(|word| word == tree))?;
    let (root, point) = (mount.split(' ').nth(3)?, mount.split(' ').nth(4)?);
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let controller = tree.trim_start_matches("cgroup2");
    let cgroup = cgroups.lines().find(|line| line.split([':', ',']).any(|word| word == controller));
    let path = Path::new(cgroup?.splitn(3, ':').nth(2)?).strip_prefix(root);
    Some(Path::new(point).join(path.unwrap_or(Path::new(""))))
}

/// In version 2, the nearest cgroup whose children get the controllers: one without processes.
fn parent(own: &Path, controllers: &[&str]) -> Result<PathBuf> {
    let offers = |dir: &&Path| {
        let offer = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
        controllers.iter().all(|of| offer.split_whitespace().any(|name| name == *of))
    };
    // The root (it has no type) may have both, so there we can begin.
    let root = |d: &&Path| d.join("cgroup.procs").exists() && !d.join("cgroup.type").exists();
    let dir =
        own.ancestors().find(|d| offers(d) || root(d)).context("all cgroups are populated")?;
    if !offers(&dir) {
        let (file, add) = (dir.join("cgroup.subtree_control"), controllers.join(" +"));
        fs::write(&file, format!("+{add}")).with_context(|| format!("write +{add} to {file:?}"))?;
    }
    Ok(dir.into())
}

/// Removes a cgroup, patiently: its last process may still be on its way out.
fn remove(dir: &Path) -> io::Result<()> {
    for delay in 0..8 {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            result => return result,
        }
        entries(dir).for_each(|dir| drop(remove(&dir)));
        thread::sleep(Duration::from_millis(1 << delay));
    }
    fs::remove_dir(dir)
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Locks a cgroup of ours, if no other run has: the kernel lets go of it however we end.
fn lock(dir: &Path) -> Option<Flock<File>> {
    dir.file_name()?.to_str()?.strip_prefix("step05-")?;
    Flock::lock(File::open(dir).ok()?, FlockArg::LockExclusiveNonblock).ok()
}
