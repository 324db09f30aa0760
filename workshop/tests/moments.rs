//! What goes wrong only if two things happen in the same moment: strace's `delay` stretches it.

use std::env;
use std::ffi::OsStr;
use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use workshop::host;
use workshop::steps::STEPS;
use workshop::testing::{
    self, PRIVILEGE, missing_privilege, missing_strace, program, rootfs, trial_unless,
};

/// For the part that runs on a throw-away host: the step's path, and what its command does.
const STEP: &str = "WORKSHOP_STEP";
const SCRIPT: &str = "WORKSHOP_SCRIPT";

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
    if let (Ok(step), Ok(script)) = (env::var(STEP), env::var(SCRIPT)) {
        return strace(&step, &script);
    }
    testing::run(4, || (3..=5).flat_map(|step| [BOTH, ALONE].map(|it| trial(step, it))).collect())
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
