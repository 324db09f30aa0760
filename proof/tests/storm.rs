//! A storm for every step: containers are killed, or get a signal, at random moments of their start
//! and their life. Afterwards the host must be as it was.
//!
//! `STORM_RUNS=1000 cargo test -p proof --test storm` takes a few minutes. A failure prints its
//! seed, and `STORM_SEED=7` repeats the moments of that seed.

use std::ffi::OsString;
use std::process::{ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGKILL, SIGTERM};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use proof::case::{self, Needs, case, number};
use proof::programs::{program, runner};
use workshop::container::Runner;
use workshop::host::State;
use workshop::machine::eventually;
use workshop::steps::STEPS;

fn main() -> ExitCode {
    let mut cases = Vec::new();
    for (at, step) in STEPS.iter().enumerate() {
        let options = STEPS[..=at].iter().flat_map(|step| step.options).copied();
        let options: Vec<_> = options.filter(|option| !option.starts_with("--rootfs")).collect();
        let needs = Needs::root_if(step.root).within(60 + number("STORM_RUNS", 0));
        let name = format!("{}::storm", step.name);
        cases.push(case(name, needs, move || storm(&runner(step)?, &options)));
    }
    cases.push(case("saboteur::storm", Needs::USER.in_vain(), is_found_out));
    // They would slow down each other's starts.
    case::run(1, cases)
}

fn storm(runner: &Runner, options: &[&str]) -> Result<String> {
    let seed = number("STORM_SEED", fastrand::u64(..));
    let mut random = Rng::with_seed(seed);
    let before = State::now()?;
    let mut start = Duration::ZERO;
    for run in 0..number("STORM_RUNS", 30) {
        // Measure again from time to time, because the machine may have become busier.
        if run % 50 == 0 {
            before.processes_restored()?;
            start = runner.time_to_start()?;
        }
        let signal = [SIGKILL, SIGKILL, SIGTERM, SIGINT, SIGHUP][random.usize(0..5)];
        let moment = (2 * start).mul_f64(random.f64());
        let mut command = runner.command(options.iter().chain(&["sleep", "777"]));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        thread::sleep(moment);
        kill(Pid::from_raw(child.id() as i32), signal)?;
        eventually(|| child.try_wait()?.context("it does not end"))
            .with_context(|| format!("{signal} after {moment:?}, STORM_SEED={seed}"))?;
    }
    let settled = || {
        before.processes_restored()?;
        // The next run removes the cgroups of the killed runs.
        runner.run(options.iter().chain(&["true"]))?.expect(0)?;
        before.restored().map(|()| String::new())
    };
    settled().with_context(|| format!("STORM_SEED={seed}"))
}

/// A program that unmounts its mounts, unless it is killed.
fn is_found_out() -> Result<String> {
    let real = program(STEPS[0].name).display().to_string();
    let script = format!(
        "mount -t tmpfs left /mnt; for i in 1 2 3; do '{real}' run true; done; umount /mnt
        exec '{real}' \"$@\""
    );
    let argv = ["sh", "-c", &script, "saboteur"].map(OsString::from).to_vec();
    let why = format!("{:#}", storm(&Runner::new(argv, None)?, &[]).err().context("it passes")?);
    ensure!(why.contains("mounts on the host"), "it is caught for another reason: {why}");
    Ok(String::new())
}
