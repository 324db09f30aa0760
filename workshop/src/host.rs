//! A throw-away host for one check: mounts (shared, as systemd has them), a hostname, process ids
//! and cgroups of its own. Whatever a container leaves behind stays in it and can be seen in it.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::privilege::Privilege;

/// Tells the process inside where its cgroups are, as in `$PATH`.
const CGROUPS: &str = "WORKSHOP_CGROUPS";

/// What is asked of the host's shell: sharing every mount, as systemd does, and staying PID 1.
const INIT: &str = r#"mount --make-rshared / && "$@"; exit $?"#;

/// Set to the version of its cgroups, v1 or v2, in `cargo workshop vm`.
pub const VM: &str = "WORKSHOP_VM";

/// How much slower this machine is: QEMU emulates our VM, instruction by instruction. So in it we
/// are more patient, and repeat less.
pub fn slowness() -> u32 {
    if env::var_os(VM).is_some() { 3 } else { 1 }
}

/// Runs a program on a throw-away host. A hang ends it, and everything on the host, after a minute.
pub fn run(privilege: Privilege, program: &Path, envs: &[(&str, &OsStr)]) -> Result<Output> {
    run_for(Duration::from_secs(60), privilege, program, envs)
}

/// Runs a program on a throw-away host, for so long at most.
pub fn run_for(
    limit: Duration,
    privilege: Privilege,
    program: &Path,
    envs: &[(&str, &OsStr)],
) -> Result<Output> {
    let name = format!("workshop-{}-{:?}", std::process::id(), thread::current().id());
    let name = name.replace(|c: char| !c.is_alphanumeric() && c != '-', "");
    let place = Host::create(privilege, &name)?;
    let mut host = place.command(program, envs)?;
    host.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let host = host.spawn().context("start unshare (util-linux)")?;
    let pid = nix::unistd::Pid::from_raw(host.id() as i32);
    let _registered = Registered::new(pid.as_raw());
    let (done, watch) = std::sync::mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        let hung = watch.recv_timeout(limit * slowness());
        if hung == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL);
            return true;
        }
        false
    });
    let output = host.wait_with_output().context("wait for the host")?;
    drop(done);
    let hung = watchdog.join().is_ok_and(|hung| hung);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!hung, "it hung, and was ended after {} s\n{said}", (limit * slowness()).as_secs());
    Ok(output)
}

/// The hosts that run, and whether they are all to end.
static HOSTS: Mutex<(BTreeSet<i32>, bool)> = Mutex::new((BTreeSet::new(), false));

/// Ends all hosts of this process, those to come included: whoever waits for one gets to clean up.
pub fn end_all() {
    let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
    hosts.1 = true;
    hosts.0.iter().for_each(|&pid| end(pid));
}

/// Whether that was asked for.
pub fn ended() -> bool {
    HOSTS.lock().unwrap_or_else(PoisonError::into_inner).1
}

fn end(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
}

/// A host, as long as its process is ours to end.
struct Registered(i32);

impl Registered {
    fn new(pid: i32) -> Registered {
        let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.0.insert(pid);
        if hosts.1 {
            end(pid);
        }
        Registered(pid)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        HOSTS.lock().unwrap_or_else(PoisonError::into_inner).0.remove(&self.0);
    }
}

/// A throw-away host that can be used until it is dropped.
pub struct Host {
    sandbox: Sandbox,
    privilege: Privilege,
}

impl Host {
    /// Makes its cgroups, which get this name.
    pub fn create(privilege: Privilege, name: &str) -> Result<Host> {
        Ok(Host { sandbox: Sandbox::create(privilege, name)?, privilege })
    }

    /// The command that runs a program on it; arguments may be added. All that the program leaves
    /// running ends with it.
    pub fn command(&self, program: &Path, envs: &[(&str, &OsStr)]) -> Result<Command> {
        let join = r#"for cgroup in $CGROUPS; do echo 0 > $cgroup || exit 1; done; exec "$@""#;
        let mut host = Command::new("sh");
        host.args(["-c", join]);
        host.args(["sh", "unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]);
        if self.privilege == Privilege::UserNamespace {
            host.args(["--user", "--map-root-user"]);
        }
        host.args(["--mount-proc", "sh", "-c", INIT, "init"]).arg(program);
        // Cargo sets it (.cargo/config.toml), and no check is to touch what is played with.
        host.env_remove("ROOTFS");
        host.env("CGROUPS", self.sandbox.procs().join(" "));
        host.env(CGROUPS, env::join_paths(&self.sandbox.dirs)?).envs(envs.iter().copied());
        Ok(host)
    }
}

/// The cgroups of a host, so that those of a container can be told from all others: a directory in
/// each tree, and in version 2 a leaf below it, for only an empty one may have limited children.
struct Sandbox {
    dirs: Vec<PathBuf>,
}

impl Sandbox {
    fn create(privilege: Privilege, name: &str) -> Result<Sandbox> {
        let mut sandbox = Sandbox { dirs: Vec::new() };
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
            let dir = parent.join(name);
            fs::create_dir(&dir).with_context(|| format!("mkdir {}", dir.display()))?;
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

    /// The files that a process joins by.
    fn procs(&self) -> Vec<String> {
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

/// What a container must leave as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    hostname: String,
    mounts: BTreeSet<String>,
    processes: BTreeSet<String>,
    cgroups: BTreeSet<PathBuf>,
}

impl State {
    /// The host as it is now.
    pub fn now() -> Result<State> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("read mountinfo")?;
        Ok(State {
            hostname: hostname()?,
            mounts: mounts.lines().map(str::to_owned).collect(),
            processes: processes()
                .into_iter()
                .map(|p| format!("{} {}", p.pid, p.command))
                .collect(),
            cgroups: cgroups(),
        })
    }

    /// Fails unless the host is as it was, or is within ten seconds: what was killed may still be
    /// on its way out.
    pub fn restored(&self) -> Result<()> {
        eventually(|| {
            let now = State::now()?;
            ensure!(now.hostname == self.hostname, "the host is called {} now", now.hostname);
            differ(MOUNTS, &self.mounts, &now.mounts)?;
            differ(PROCESSES, &self.processes, &now.processes)?;
            differ(CGROUPS_LEFT, &self.cgroups, &now.cgroups)
        })
    }
}

impl State {
    /// As `restored`, but looks at the processes only.
    pub fn processes_restored(&self) -> Result<()> {
        eventually(|| differ(PROCESSES, &self.processes, &State::now()?.processes))
    }

    /// Fails unless the mounts are as they were, now.
    pub fn mounts_unchanged(&self) -> Result<()> {
        differ(MOUNTS, &self.mounts, &State::now()?.mounts)
    }
}

/// What differs, and how one of them is told of.
type Kind<T> = (&'static str, fn(&T) -> String);

/// By their mount points.
const MOUNTS: Kind<String> =
    ("mounts", |mount| mount.split(' ').nth(4).unwrap_or(mount).to_owned());

/// By their arguments: their ids tell nothing.
const PROCESSES: Kind<String> =
    ("processes", |process| process.split_once(' ').unwrap_or_default().1.to_owned());

const CGROUPS_LEFT: Kind<PathBuf> = ("cgroups", |cgroup| cgroup.display().to_string());

fn differ<T: Ord>((what, tell): Kind<T>, old: &BTreeSet<T>, new: &BTreeSet<T>) -> Result<()> {
    let told =
        |more: &BTreeSet<T>, less| -> BTreeSet<_> { more.difference(less).map(tell).collect() };
    let (more, less) = (told(new, old), told(old, new));
    ensure!(more.is_empty(), "{what} on the host that were not there before: {more:?}");
    ensure!(less.is_empty(), "{what} on the host that are gone: {less:?}");
    Ok(())
}

/// The host's name.
pub fn hostname() -> Result<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").context("read the hostname")?;
    Ok(name.trim_end().to_owned())
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

/// A process as `/proc/PID/stat` and `cmdline` have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Its state: Z is for zombie, T for stopped.
    pub state: char,
    /// Its arguments, joined by spaces.
    pub command: String,
}

/// All processes of the host.
pub fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let (state, parent) = (fields.next()?.chars().next()?, fields.next()?.parse().ok()?);
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
    Some(Process { pid, parent, state, command })
}

/// All that the processes of the host have open, in order.
pub fn open_files() -> Vec<String> {
    let open = |process: Process| {
        let fds = fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten();
        let targets = fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        // The listing's own is not to be seen.
        let targets = targets.filter(|target| !target.starts_with("/proc"));
        targets.map(move |target| format!("{} {}", process.pid, target.display()))
    };
    let mut files: Vec<_> = processes().into_iter().flat_map(open).collect();
    files.sort_unstable();
    files
}

/// The descendants of a process, nearest first.
pub fn descendants(pid: i32) -> Vec<Process> {
    let all = processes();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|process| process.parent == parent) {
            parents.push(child.pid);
            found.push(child.clone());
        }
    }
    found
}

/// How long what is to happen may take: ten seconds, or `$WORKSHOP_PATIENCE`.
pub fn patience() -> Duration {
    let seconds = env::var("WORKSHOP_PATIENCE").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10)) * slowness()
}

/// Tries until it succeeds, for ten seconds at most; then the last failure stands.
pub fn eventually<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + patience();
    loop {
        match attempt() {
            Err(_) if Instant::now() < end => thread::sleep(Duration::from_millis(5)),
            Err(error) => bail!(error),
            Ok(value) => return Ok(value),
        }
    }
}
