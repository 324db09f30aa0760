//! `cargo proof bench`: what it costs to start a container, in each step, in the plainest C that
//! makes the same system calls (`floor.c`), and in whatever else is installed here.
//!
//! The unit is a whole process, from its start until it is reaped. It is measured in rounds, each of
//! them on a throw-away host and beginning with another row: what the machine does meanwhile hits
//! all rows alike.

mod chart;
mod report;
mod round;
mod rows;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use workshop::host;
use workshop::machine::Privilege;
use workshop::steps::LAST;
use workshop::workspace::{cargo, target, workspace};

use crate::programs::{output, rootfs};
use report::Results;

pub use round::on_the_host;

/// Measure what starting a container costs, beside plain C and what else is installed
#[derive(clap::Args)]
pub struct Args {
    /// A try: one round of few runs
    #[arg(long)]
    quick: bool,
    /// Write what the book shows, such as bench.svg, into this directory
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
}

/// Builds, measures, and shows what came of it.
pub fn run(args: &Args) -> Result<ExitCode> {
    ensure!(Privilege::ours() == Privilege::Root, "this takes root (try sudo)");
    build()?;
    let mut results = Results::default();
    let rounds = if args.quick { 1 } else { 5 };
    for round in 0..rounds {
        for what in round::ALL {
            eprintln!("round {} of {rounds}: {what}", round + 1);
            results.add(what, &on_a_host(what, round, args)?)?;
        }
    }
    let (table, walls) = (report::table(&results), report::walls(&results));
    print!("{table}{walls}");
    if let Some(dir) = &args.record {
        let machine = report::machine()?;
        fs::write(dir.join("bench.txt"), format!("{machine}\n{table}"))?;
        fs::write(dir.join("walls.txt"), format!("{machine}\n{walls}"))?;
        fs::write(dir.join("bench.svg"), chart::svg(&results, &machine))?;
        fs::write(dir.join("strace.txt"), on_a_host("trace", 0, args)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn on_a_host(what: &str, round: u32, args: &Args) -> Result<String> {
    let mut options = host::Options::new(Privilege::Root);
    options.limit = Duration::from_secs(3600);
    options.envs.push(("ROOTFS", rootfs().as_os_str()));
    options.args = [round.to_string(), args.quick.to_string()].map(OsString::from).to_vec();
    host::again(what, &options)
}

/// Where the floor, step 5 linked statically and the talk's program are built.
fn built() -> PathBuf {
    target().join("bench")
}

/// Builds what is measured: the floor, the steps twice, and the talk's Go program where Go is.
fn build() -> Result<()> {
    fs::create_dir_all(built())?;
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-static", "-o"]).arg(built().join("floor"));
    output(cc.arg(workspace().join("proof/src/bench/floor.c"))).context(
        "the floor is C, linked statically: apt install gcc libc6-dev (or your like of it)",
    )?;
    for profile in ["dev", "release"] {
        let mut build = cargo("build");
        build.args(["--workspace", "--bins", "--exclude", "proof", "--profile", profile]);
        output(&mut build)?;
    }
    // In a folder of its own, or the two would take turns in being built anew.
    let mut build = cargo("rustc");
    build.args(["--release", "--package", LAST.name, "--target-dir"]).arg(built().join("static"));
    output(build.args(["--", "-C", "target-feature=+crt-static"]))?;
    if rows::version("go").is_some() {
        let mut go = Command::new("go");
        go.args(["build", "-o"]).arg(built().join("talk"));
        output(go.arg(workspace().join("proof/go/talk.go")))?;
    }
    Ok(())
}
