//! `cargo workshop storm`: kills containers at random moments and runs them in crowds, and looks at
//! what is left on the host.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use workshop::privilege::Privilege;
use workshop::programs::{programs, rootfs};
use workshop::steps::STEPS;
use workshop::storm;
use workshop::worker;

/// Kill containers at random moments, run crowds of them, and see whether anything is left
#[derive(clap::Args)]
pub struct Args {
    /// How many to kill of each step, and how many to run in crowds
    #[arg(long, value_name = "N", default_value = "1000")]
    runs: usize,
    /// Where the random moments begin, to have the same again [default: the time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Only this step, 1 to 5
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
    step: Option<u8>,
}

/// Storms, step by step, and says what was done.
pub fn run(args: &Args) -> Result<ExitCode> {
    worker::work(|| work(args))
}

fn work(args: &Args) -> Result<ExitCode> {
    let privilege = Privilege::ours();
    ensure!(privilege != Privilege::None, "this takes root (try sudo), or user namespaces");
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let seed = args.seed.unwrap_or(time);
    for step in (1..=5).filter(|&step| args.step.is_none_or(|only| usize::from(only) == step)) {
        let name = STEPS[step - 1];
        if step == 5 && privilege != Privilege::Root {
            println!("{name}: left out, its cgroups take root");
            continue;
        }
        let said = storm::of(step, programs(), rootfs(), args.runs, seed).run(privilege);
        println!("{name}: {}", said.map_err(|error| error.context(name))?);
    }
    Ok(ExitCode::SUCCESS)
}
