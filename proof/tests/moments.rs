//! What goes wrong only if two things happen in the same moment: strace's `delay` stretches it.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use workshop::container::copy_rootfs;
use workshop::host;
use workshop::patience::eventually;
use workshop::steps::STEPS;
use workshop::testing::{
    self, PRIVILEGE, missing_privilege, missing_strace, program, rootfs, trial_unless,
};

/// For the part that runs on a throw-away host: the step's path, and what its command does.
const STEP: &str = "WORKSHOP_STEP";
const SCRIPT: &str = "WORKSHOP_SCRIPT";

/// The same: which of the symlinks.
const SWAP: &str = "WORKSHOP_SWAP";

/// An orphan dies of a real-time signal, which nix does not know; and while PID 1 looks who has
/// died, the command ends, too.
const BOTH: Moment = (
    "an-orphan-and-the-command-end",
    "orphan=$(sleep 777 >/dev/null & echo $!); kill -40 $orphan; sleep 1.5; exit 7",
    7,
);

/// The command itself dies of one, while `run` or PID 1 is about to look.
const ALONE: Moment = ("a-death-that-nix-does-not-know", "sleep 0.4; kill -40 $$", 168);

/// Its name, what the command does, and the exit code that is to come of it.
type Moment = (&'static str, &'static str, i32);

fn main() -> ExitCode {
    let (step, script, what) = (env::var(STEP), env::var(SCRIPT), env::var(SWAP));
    match (step, script, what) {
        (Ok(step), _, Ok(what)) => return host::exit_code(swap(&step, &what)),
        (Ok(step), Ok(script), _) => return strace(&step, &script),
        _ => {}
    }
    testing::run(4, || {
        let deaths = (3..=5).flat_map(|step| [BOTH, ALONE].map(|moment| trial(step, moment)));
        deaths.chain((4..=5).flat_map(swapped)).collect()
    })
}

fn trial(step: usize, moment: Moment) -> Trial {
    let name = format!("{}::{}", STEPS[step - 1], moment.0);
    let missing = missing_privilege(step == 5).or_else(missing_strace);
    trial_unless(missing, name, move || the_code_is_kept(step, moment))
}

fn the_code_is_kept(step: usize, (_, script, code): Moment) -> Result<()> {
    let step = program(STEPS[step - 1]);
    let (rootfs, script) = (rootfs().as_os_str(), OsStr::new(script));
    let envs = [(STEP, step.as_os_str()), (SCRIPT, script), ("ROOTFS", rootfs)];
    let output = host::run(*PRIVILEGE, &env::current_exe()?, &envs)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(code), "{}, not {code}: {said}", output.status);
    Ok(())
}

/// Runs the step; each look for who has died takes a second longer.
fn strace(step: &str, script: &str) -> ExitCode {
    let delay = "--inject=waitid:delay_enter=1000000";
    let mut strace = Command::new("strace");
    strace.args(["-f", "--quiet=all", "-o", "/dev/null", "--trace=waitid", delay, step, "run"]);
    let ended = strace.args(["sh", "-c", script]).status();
    ExitCode::from(ended.ok().and_then(|ended| ended.code()).unwrap_or(125) as u8)
}

/// While it starts, somebody who may write to the root filesystem puts a symlink in the place of its
/// `/dev`, which leads out. A step looks for symlinks before it mounts, and not afterwards: it refuses
/// to go on if there is no `pts` where it leads, and if there is, goes on there. That is a known limit.
fn swapped(step: usize) -> [Trial; 2] {
    let trial = |what: &'static str, says: &'static str| {
        let name = format!("{}::a-swapped-dev-{what}", STEPS[step - 1]);
        let missing = missing_privilege(step == 5).or_else(missing_strace);
        trial_unless(missing, name, move || is_swapped(step, what, says))
    };
    [trial("is-refused", "nothing was made"), trial("that-fits-is-not", "shm was made")]
}

fn is_swapped(step: usize, what: &str, says: &str) -> Result<()> {
    let step = program(STEPS[step - 1]);
    let envs =
        [(SWAP, OsStr::new(what)), (STEP, step.as_os_str()), ("ROOTFS", rootfs().as_os_str())];
    let output = host::run(*PRIVILEGE, &env::current_exe()?, &envs)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    let made = String::from_utf8_lossy(&output.stdout);
    ensure!(made.trim_end() == says, "{made:?} instead of {says:?}: {said}");
    Ok(())
}

/// Says what was made on the host, where the symlink leads to.
fn swap(step: &str, what: &str) -> Result<()> {
    let place = env::temp_dir();
    let (rootfs, host) = (place.join("rootfs"), place.join("host"));
    let (dev, trace) = (rootfs.join("dev"), place.join("trace"));
    copy_rootfs(Path::new(&env::var_os("ROOTFS").context("no $ROOTFS")?), &rootfs)?;
    fs::create_dir(&host)?;
    if what == "that-fits-is-not" {
        fs::create_dir(host.join("pts"))?;
    }
    let mut strace = Command::new("strace");
    strace.args(["-f", "--quiet=all", "--trace=mkdir,mkdirat", "-o"]).arg(&trace);
    strace.arg("--inject=mkdir,mkdirat:delay_exit=1000000:when=1");
    strace.args([step, "run", "--rootfs"]).arg(&rootfs).arg("true").stdin(Stdio::null());
    let mut step = strace.spawn().context("start strace")?;
    eventually(|| {
        let made = fs::read_to_string(&trace).unwrap_or_default();
        ensure!(made.contains("/dev/pts"), "it does not make /dev/pts");
        Ok(())
    })?;
    // On the host it is an empty directory: what is mounted on it elsewhere goes.
    fs::remove_dir_all(&dev).context("remove dev")?;
    symlink(Path::new("..").join(host.strip_prefix("/")?), &dev).context("symlink")?;
    step.wait().context("wait")?;
    let made = if host.join("shm").exists() { "shm was made" } else { "nothing was made" };
    println!("{made}");
    Ok(())
}
