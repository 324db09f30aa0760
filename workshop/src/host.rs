//! A throw-away host has its own mounts (shared, as under systemd), hostname, process ids and
//! cgroups, and a place for files. Whatever a container leaves behind stays there: it can be seen,
//! and it goes away with the host.
//!
//! A program that wants to try something on one starts itself again there (`again`), with the name
//! of what it should try (`case`).

mod cgroups;
mod processes;
mod state;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitCode, Output, Stdio};
use std::sync::Once;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};

use crate::machine::{Privilege, eventually, slowness};
use crate::temp::TempDir;
use cgroups::Sandbox;

pub use cgroups::{cgroups, remove, trees};
pub use processes::{Process, command_below, descendants, process, processes};
pub use state::{State, hostname};

/// The first argument of a program that is started for a case: the case's name follows.
const CASE: &str = "--case";

/// Set on a throw-away host: its cgroups, separated by colons.
const CGROUPS: &str = "WORKSHOP_CGROUPS";

/// The start of the names of all that we make on the real host; a process id follows.
const NAME: &str = "workshop-";

/// How a program is run on a throw-away host.
pub struct Options<'a> {
    /// What we may do.
    pub privilege: Privilege,
    /// After this time it counts as hung, and is killed with everything on the host.
    pub limit: Duration,
    /// Environment variables for it, such as `ROOTFS`.
    pub envs: Vec<(&'a str, &'a OsStr)>,
    /// Its arguments, after the name of the case.
    pub args: Vec<OsString>,
}

impl Options<'_> {
    /// A minute, and nothing else.
    pub fn new(privilege: Privilege) -> Options<'static> {
        Options { privilege, limit: Duration::from_secs(60), envs: vec![], args: vec![] }
    }
}

/// The case that we were started for, if we were: its name, and further arguments.
pub fn case() -> Option<(String, Vec<OsString>)> {
    let mut args = env::args_os().skip(1);
    args.next().filter(|first| first == CASE)?;
    Some((args.next()?.into_string().ok()?, args.collect()))
}

/// A command that is this program, started for a case.
pub fn ourselves(case: &str) -> Result<Command> {
    let mut command = Command::new(env::current_exe().context("our own path")?);
    command.args([CASE, case]).stdin(Stdio::null());
    Ok(command)
}

/// Ends a program that was started for a case: it prints its result, or why it failed.
pub fn end_case(said: Result<String>) -> ExitCode {
    match said {
        Ok(said) => {
            print!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts this program again, on a throw-away host, for a case. Returns its standard output, or
/// fails with its standard error.
pub fn again(case: &str, options: &Options) -> Result<String> {
    let mut ourselves = ourselves(case)?;
    let output = run(ourselves.args(&options.args), options)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command on a throw-away host, to its end. What it leaves running ends with it, and it
/// ends with us.
fn run(program: &Command, options: &Options) -> Result<Output> {
    let host = Host::create(options)?;
    let limit = (options.limit * slowness()).as_secs();
    let die_with_us = ["setpriv", "--pdeathsig", "KILL"];
    let join = r#"for cgroup in $CGROUPS; do echo 0 > $cgroup || exit 1; done; exec "$@""#;
    let mut command = Command::new("sh");
    command.args(["-c", join, "sh"]);
    // Our caller may ignore signals and have a terminal. The command must not notice either.
    command.args(["env", "--default-signal", "setsid"]).args(die_with_us);
    command.args(["timeout", "--signal=KILL", &limit.to_string()]).args(die_with_us);
    command.args(["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]);
    if options.privilege == Privilege::UserNamespace {
        command.args(["--user", "--map-root-user"]);
    }
    // The shell shares every mount, as systemd does, and stays PID 1.
    let init = r#"mount --make-rshared / && "$@"; exit $?"#;
    command.args(["--mount-proc", "sh", "-c", init, "init"]);
    command.arg(program.get_program()).args(program.get_args());
    // Cargo sets it (.cargo/config.toml), and no test should touch the user's own.
    command.env_remove("ROOTFS");
    command.env("TMPDIR", host.place.path());
    // A user's shell may not look there, for chroot and pivot_root.
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    command.env("PATH", path);
    command.env("CGROUPS", host.sandbox.procs.join(" "));
    command.env(CGROUPS, env::join_paths(&host.sandbox.dirs)?).envs(options.envs.iter().copied());
    let output = command.stdin(Stdio::null()).output().context("start a shell")?;
    let hung = output.status.code().is_none_or(|code| code == 128 + 9);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!hung, "it hung, and was killed after {limit} s\n{said}");
    Ok(output)
}

/// What a throw-away host has on the real one while it is needed.
struct Host {
    /// For its files.
    place: TempDir,
    /// The same place in the root filesystem, as containers see it.
    inside: Option<PathBuf>,
    sandbox: Sandbox,
    _held: Held,
}

impl Host {
    fn create(options: &Options) -> Result<Host> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| sweep(Path::new("/tmp"), |dir| fs::remove_dir_all(dir).is_ok()));
        let (place, held) = place()?;
        let name = place.path().file_name().context("a name")?;
        let rootfs = options.envs.iter().find(|(name, _)| *name == "ROOTFS");
        let inside = rootfs.map(|(_, rootfs)| Path::new(rootfs).join("tmp").join(name));
        let sandbox = Sandbox::create(options.privilege, name)?;
        Ok(Host { place, inside, sandbox, _held: held })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(inside) = &self.inside {
            let _ = fs::remove_dir_all(inside);
        }
    }
}

/// A lock: while it lives, nobody takes the directory for one that was left behind.
type Held = Flock<File>;

/// A place for files. If we are killed, the next run finds it by its name and removes it.
pub(crate) fn place() -> Result<(TempDir, Held)> {
    eventually(|| {
        let place = TempDir::below(Path::new("/tmp"), &format!("{NAME}{}-", process::id()))?;
        fs::set_permissions(place.path(), Permissions::from_mode(0o755))?;
        let held = hold(place.path())?;
        Ok((place, held))
    })
}

fn hold(dir: &Path) -> Result<Held> {
    let held = Flock::lock(File::open(dir)?, FlockArg::LockExclusiveNonblock);
    let held = held.map_err(|(_, why)| why).with_context(|| format!("lock {}", dir.display()))?;
    // Before we locked it, another run may have removed it.
    ensure!(dir.exists(), "{} was removed", dir.display());
    Ok(held)
}

/// Removes what killed processes have left in a directory. The processes of another PID namespace
/// look as if they were gone, hence the lock.
fn sweep(dir: &Path, remove: fn(&Path) -> bool) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(NAME));
        let Some(pid) = rest.and_then(|rest| rest.split('-').next()?.parse().ok()) else {
            continue;
        };
        let is_gone = process(pid).is_none_or(|process| process.state == 'Z');
        if is_gone && hold(&entry.path()).is_ok() {
            remove(&entry.path());
        }
    }
}
