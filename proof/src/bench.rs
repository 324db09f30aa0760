//! `cargo proof bench`: what it costs to start a container, in each step, in the plainest C that
//! makes the same system calls (`floor.c`), and in whatever else is installed here.
//!
//! The unit is a whole process, from fork to wait. All is measured on a throw-away host, in rounds,
//! each of which begins with another row: what the machine does meanwhile then hits all alike.

mod build;
mod cgroups;
mod chart;
mod growth;
mod machine;
mod measure;
mod report;
mod rows;
mod stats;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use workshop::host::{self, Host};
use workshop::machine::Privilege;
use workshop::programs::rootfs;
use workshop::worker;

/// Measure what starting a container costs, beside plain C and what else is installed
#[derive(clap::Args)]
pub struct Args {
    /// How many rounds
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many runs of each row in a round, back to back
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(2..))]
    runs: u32,
    /// How many runs of each row in a round that begin after 100 ms of idling
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(2..))]
    idle_runs: u32,
    /// A try: few runs, in less than a minute
    #[arg(long)]
    quick: bool,
    /// Only the rows that have this in their names, and the bare floor; can be given again
    #[arg(long, value_name = "TEXT")]
    row: Vec<String>,
    /// Only this; can be given again
    #[arg(long, value_name = "PART", value_enum)]
    part: Vec<Part>,
    /// Write all numbers into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the chart for the book into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write what the bare floor calls, and when (`strace -r`), into this file
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// What there is to measure.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Times back to back
    Busy,
    /// Times after 100 ms of idling before each run
    Idle,
    /// System calls per run
    Calls,
    /// Runs per second, some at once
    Crowd,
    /// What 1,000 mounts and 10,000 cgroups on the host cost
    Growth,
    /// What each kind of namespace costs
    Walls,
}

impl Args {
    fn wants(&self, part: Part) -> bool {
        self.part.is_empty() || self.part.contains(&part)
    }

    /// Fewer of them in a try.
    fn quickly(&self, number: u32, quick: u32) -> u32 {
        if self.quick { number.min(quick) } else { number }
    }
}

/// Set for the part on the throw-away host, to what the load was.
const LOAD: &str = "WORKSHOP_BENCH_LOAD";

/// It takes minutes.
const LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Builds, makes a host, measures on it, and leaves nothing behind.
pub fn run(args: &Args) -> Result<ExitCode> {
    if env::var_os(LOAD).is_some() {
        return on_the_host(args, &env::temp_dir()).map(|()| ExitCode::SUCCESS);
    }
    worker::work(work)
}

fn work() -> Result<ExitCode> {
    ensure!(Privilege::ours() == Privilege::Root, "this takes root (try sudo)");
    // Before we build, which is a load itself.
    let load = machine::load();
    measure::tools()?;
    build::all()?;
    remove_cgroups(host::is_gone);
    let envs = [(LOAD, OsStr::new(&load)), ("ROOTFS", rootfs().as_os_str())];
    let host = Host::create(Privilege::Root, &envs)?;
    let mut command = host.command(&env::current_exe()?)?;
    command.args(env::args_os().skip(1)).stdin(Stdio::null());
    let output = host.wait(command, LIMIT);
    // Some runtimes make cgroups in more trees than the host has.
    remove_cgroups(|pid| pid == process::id());
    Ok(if output?.status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Removes our cgroups of those processes, in all trees: where we are, and at the top.
fn remove_cgroups(whose: impl Fn(u32) -> bool) {
    for dir in cgroups::cgroup_dirs() {
        host::sweep(&dir, &whose, |dir| {
            host::remove(dir);
        });
    }
}

/// The part that runs on the throw-away host.
fn on_the_host(args: &Args, place: &Path) -> Result<()> {
    let results = measure::all(args, place)?;
    print!("{}", report::table(&results));
    if let Some(file) = &args.json {
        let json = serde_json::to_string_pretty(&report::json(&results))? + "\n";
        fs::write(file, json).with_context(|| format!("write {}", file.display()))?;
    }
    if let Some(file) = &args.svg {
        let chart = chart::svg(&results);
        fs::write(file, chart).with_context(|| format!("write {}", file.display()))?;
    }
    if let Some(file) = &args.trace {
        let trace = measure::trace(place)?;
        fs::write(file, trace).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}
