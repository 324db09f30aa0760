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

/// For the part that runs on a throw-away host: the step's path.
const STEP: &str = "WORKSHOP_STEP";

/// An orphan dies of a real-time signal, which nix does not know; and while PID 1 looks who has
/// died, the command ends, too.
const BOTH: &str = "orphan=$(sleep 777 >/dev/null & echo $!); kill -40 $orphan; sleep 1.5; exit 7";

fn main() -> ExitCode {
    if let Ok(step) = env::var(STEP) {
        return strace(&step);
    }
    testing::run(4, || (3..=5).map(trial).collect())
}

fn trial(step: usize) -> Trial {
    let name = format!("{}::an-orphan-and-the-command-end", STEPS[step - 1]);
    let missing = missing_privilege(step == 5).or_else(missing_strace);
    trial_unless(missing, name, move || the_code_is_kept(step))
}

fn the_code_is_kept(step: usize) -> Result<()> {
    let step = program(STEPS[step - 1]);
    let envs = [(STEP, step.as_os_str()), ("ROOTFS", rootfs().as_os_str())];
    let output = host::run(*PRIVILEGE, &env::current_exe()?, &envs)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(7), "{}, not 7: {said}", output.status);
    Ok(())
}

/// Runs the step; each look for who has died takes a second longer.
fn strace(step: &str) -> ExitCode {
    let delay = "--inject=waitid:delay_enter=1000000";
    let mut strace = Command::new("strace");
    strace.args(["-f", "--quiet=all", "-o", "/dev/null", "--trace=waitid", delay, step, "run"]);
    let ended = strace.args([OsStr::new("sh"), OsStr::new("-c"), OsStr::new(BOTH)]).status();
    ExitCode::from(ended.ok().and_then(|ended| ended.code()).unwrap_or(125) as u8)
}
