//! `cargo proof bench`: what it costs to start a container, in each step, in plain C that makes the
//! same system calls (`floor.c`), and in other programs that are installed here.
//!
//! We measure a whole process, from its start until it is reaped. Each round runs on its own
//! throw-away host and begins with a different row, so that other work on the machine slows every
//! row alike.

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

/// Measure what starting a container costs, beside plain C and other installed programs
#[derive(clap::Args)]
pub struct Args {
    /// Try it: one round with few runs
    #[arg(long)]
    quick: bool,
    /// Write what the book shows, such as bench.svg, to this directory
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
}

/// For those who are not root. A directory of its own, so that `target` stays the user's.
const HOW: &str = "sudo env PATH=\"$PATH\" HOME=\"$HOME\" CARGO_TARGET_DIR=/var/tmp/as-root \
                   cargo proof bench";

/// Builds, measures and prints the results.
pub fn run(args: &Args) -> Result<ExitCode> {
    ensure!(Privilege::ours() == Privilege::Root, "this needs root: {HOW}");
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

/// Where the floor, the static step 5 and the talk's program are built.
fn built() -> PathBuf {
    target().join("bench")
}

/// Builds what is measured: the floor, the steps in both profiles, and the talk's program if Go is
/// installed.
fn build() -> Result<()> {
    fs::create_dir_all(built())?;
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-static", "-o"]).arg(built().join("floor"));
    output(cc.arg(workspace().join("proof/src/bench/floor.c")))
        .context("build the floor, which is static C (sudo apt-get install gcc libc6-dev)")?;
    for profile in ["dev", "release"] {
        let mut build = cargo("build");
        build.args(["--workspace", "--bins", "--exclude", "proof", "--profile", profile]);
        output(&mut build)?;
    }
    // A separate folder, because otherwise each build would replace the other.
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
