//! A throw-away host for one check: mounts (shared, as systemd has them), a hostname, process ids
//! and cgroups of its own, and a place for files. Whatever a container leaves behind stays in it, can
//! be seen in it, and goes with it.

mod cgroups;
mod processes;
mod state;

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitCode, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::patience::eventually;
use crate::privilege::Privilege;
use crate::vm::slowness;
use cgroups::Sandbox;
use processes::process;

pub use cgroups::{cgroups, remove, trees};
pub use processes::{Process, descendants, open_files, processes};
pub use state::{State, hostname};

/// Tells the process inside where its cgroups are, as in `$PATH`.
const CGROUPS: &str = "WORKSHOP_CGROUPS";

/// What is asked of the host's shell: sharing every mount, as systemd does, and staying PID 1.
const INIT: &str = r#"mount --make-rshared / && "$@"; exit $?"#;

/// What stands before the process id in the name of all that we have on the real host.
pub(crate) const NAME: &str = "workshop-";

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
    let host = Host::create(privilege, envs)?;
    let mut command = host.command(program)?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    host.wait(command, limit)
}

/// How a program ends that did its part on a throw-away host: an error is said on standard error.
pub fn exit_code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The hosts of this process.
struct Hosts {
    /// They are to end, and there are to be no more.
    ended: bool,
    /// How many there have been.
    count: usize,
    /// By their numbers; with the process that runs on it, as long as it is ours to end.
    living: BTreeMap<usize, Option<Pid>>,
}

static HOSTS: Mutex<Hosts> = Mutex::new(Hosts { ended: false, count: 0, living: BTreeMap::new() });

fn hosts() -> MutexGuard<'static, Hosts> {
    HOSTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends all hosts of this process, and waits until nothing is left of them. Who had one, or would
/// make another, waits for the end of the process: nobody wants to hear of failures any more.
pub fn end_all() {
    let mut hosts = hosts();
    hosts.ended = true;
    hosts.living.values().flatten().for_each(|&pid| end(pid));
    drop(hosts);
    let gone = || self::hosts().living.is_empty().then_some(()).context("there are hosts");
    let _ = eventually(gone);
}

fn wait_for_the_end(hosts: MutexGuard<Hosts>) -> ! {
    drop(hosts);
    loop {
        thread::park();
    }
}

fn end(pid: Pid) {
    let _ = kill(pid, Signal::SIGKILL);
}

/// Does no such process run any more?
pub fn is_gone(pid: u32) -> bool {
    process(pid as i32).is_none_or(|process| process.state == 'Z')
}

/// A directory that nobody takes for left behind as long as this lives.
pub type Held = Flock<File>;

/// Makes a directory of ours, and holds it.
pub fn make(dir: &Path) -> Result<Held> {
    eventually(|| {
        match fs::create_dir(dir) {
            Err(why) if why.kind() != ErrorKind::AlreadyExists => {
                return Ok(Err(why).with_context(|| format!("mkdir {}", dir.display())));
            }
            _ => {}
        }
        // Before we hold it, another run may take it for left behind.
        let held = hold(dir)?;
        ensure!(dir.exists(), "{} does not stay", dir.display());
        Ok(Ok(held))
    })?
}

fn hold(dir: &Path) -> Result<Held> {
    let held = Flock::lock(File::open(dir)?, FlockArg::LockExclusiveNonblock);
    held.map_err(|(_, why)| why).with_context(|| format!("lock {}", dir.display()))
}

/// Removes from a directory what is left of processes: some are killed, and all that would have
/// cleaned up with them. In another PID namespace each looks as if it were gone, hence the lock.
pub fn sweep(dir: &Path, whose: impl Fn(u32) -> bool, remove: impl Fn(&Path)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(NAME));
        let pid = rest.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(&whose) && hold(&entry.path()).is_ok() {
            remove(&entry.path());
        }
    }
}

/// A throw-away host that can be used until it is dropped.
pub struct Host {
    number: usize,
    privilege: Privilege,
    /// What is set for all programs on it.
    envs: Vec<(OsString, OsString)>,
    /// For its files.
    place: PathBuf,
    held: Option<Held>,
    sandbox: Option<Sandbox>,
}

impl Host {
    /// Makes one; for the programs on it these variables are set.
    pub fn create(privilege: Privilege, envs: &[(&str, &OsStr)]) -> Result<Host> {
        let mut hosts = hosts();
        if hosts.ended {
            wait_for_the_end(hosts);
        }
        let number = hosts.count;
        hosts.count += 1;
        hosts.living.insert(number, None);
        drop(hosts);
        let name = format!("{NAME}{}-{number}", process::id());
        let envs = envs.iter().map(|(name, value)| ((*name).into(), (*value).to_owned()));
        let place = Path::new("/tmp").join(&name);
        let envs = envs.collect();
        let mut host = Host { number, privilege, envs, place, held: None, sandbox: None };
        let place = &host.place;
        host.held = Some(make(place)?);
        fs::set_permissions(place, PermissionsExt::from_mode(0o755))?;
        host.sandbox = Some(Sandbox::create(privilege, &name)?);
        Ok(host)
    }

    /// The command that runs a program on it; arguments may be added. All that the program leaves
    /// running ends with it, and it ends with us.
    pub fn command(&self, program: &Path) -> Result<Command> {
        let join = r#"for cgroup in $CGROUPS; do echo 0 > $cgroup || exit 1; done; exec "$@""#;
        let sandbox = self.sandbox.as_ref().context("no cgroups")?;
        let mut host = Command::new("sh");
        // Whoever calls may ignore signals, and have a terminal: nothing of it is to be seen here.
        host.args(["-c", join, "sh", "env", "--default-signal", "setsid"]);
        host.args(["setpriv", "--pdeathsig", "KILL"]);
        host.args(["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]);
        if self.privilege == Privilege::UserNamespace {
            host.args(["--user", "--map-root-user"]);
        }
        host.args(["--mount-proc", "sh", "-c", INIT, "init"]).arg(program);
        // Cargo sets it (.cargo/config.toml), and no check is to touch what is played with.
        host.env_remove("ROOTFS");
        host.env("TMPDIR", &self.place);
        // Where a user's shell does not look: chroot, pivot_root.
        let mut path = env::var_os("PATH").unwrap_or_default();
        path.push(":/usr/sbin:/sbin");
        host.env("PATH", path);
        host.env("CGROUPS", sandbox.procs().join(" "));
        host.env(CGROUPS, env::join_paths(sandbox.dirs())?).envs(self.envs.iter().cloned());
        Ok(host)
    }

    /// Runs that command to its end. A hang ends it, and everything on the host, after this time.
    pub fn wait(&self, mut command: Command, limit: Duration) -> Result<Output> {
        let child = command.spawn().context("start unshare (util-linux)")?;
        let pid = Pid::from_raw(child.id() as i32);
        let mut hosts = hosts();
        hosts.living.insert(self.number, Some(pid));
        if hosts.ended {
            end(pid);
        }
        drop(hosts);
        let (done, watch) = channel::<()>();
        let watchdog = thread::spawn(move || {
            let hung = watch.recv_timeout(limit * slowness()) == Err(RecvTimeoutError::Timeout);
            if hung {
                end(pid);
            }
            hung
        });
        let output = child.wait_with_output();
        self::hosts().living.insert(self.number, None);
        drop(done);
        let output = output.context("wait for the host")?;
        let hung = watchdog.join().is_ok_and(|hung| hung);
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!hung, "it hung, and was ended after {} s\n{said}", (limit * slowness()).as_secs());
        Ok(output)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.sandbox = None;
        let _ = fs::remove_dir_all(&self.place);
        // What containers see at the same path: in the root filesystem, which is not the host's own.
        let rootfs = self.envs.iter().find(|(name, _)| name == "ROOTFS");
        if let (Some((_, rootfs)), Ok(place)) = (rootfs, self.place.strip_prefix("/")) {
            let _ = fs::remove_dir_all(Path::new(rootfs).join(place));
        }
        let mut hosts = hosts();
        hosts.living.remove(&self.number);
        if hosts.ended {
            wait_for_the_end(hosts);
        }
    }
}
