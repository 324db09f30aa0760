//! A short storm for every step, and one that leaves something behind. `cargo workshop storm` makes
//! long ones.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use workshop::steps::STEPS;
use workshop::storm::{self, Storm};
use workshop::testing::{self, PRIVILEGE, program, programs, rootfs, trial};

const RUNS: usize = 100;

fn main() -> ExitCode {
    if let Some(code) = storm::on_the_host() {
        return code;
    }
    // Each would make the runs of the others longer.
    testing::run(1, trials)
}

fn trials() -> Vec<Trial> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let of = move |step| storm::of(step, programs(), rootfs(), RUNS, time);
    let mut trials: Vec<Trial> = (1..=5)
        .map(|step| {
            let name = format!("{}::storm", STEPS[step - 1]);
            trial(name, step == 5, move || of(step).run(*PRIVILEGE).map(|said| println!("{said}")))
        })
        .collect();
    trials.push(trial("saboteur::storm".into(), false, saboteur));
    trials
}

/// It cleans up after itself, unless it is killed.
fn saboteur() -> Result<()> {
    let real = program(STEPS[2]).display().to_string();
    let script = format!("mount -t tmpfs left /mnt; '{real}' \"$@\"; umount /mnt");
    let argv = ["sh", "-c", &script, "saboteur"].map(OsString::from).to_vec();
    let storm = Storm { argv, ..storm::of(3, programs(), rootfs(), RUNS, 0) };
    let error = storm.run(*PRIVILEGE).err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(error.contains("mounts on the host"), "this storm proves nothing: {error:?}");
    Ok(())
}
