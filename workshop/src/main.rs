//! `cargo workshop`: the learner's tools.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use workshop::{check, checks, doctor, host, rootfs};

/// Tools for the workshop
#[derive(Parser)]
#[command(name = "cargo workshop", bin_name = "cargo workshop")]
struct Cli {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Subcommand)]
enum Tool {
    Check(check::Args),
    Doctor(doctor::Args),
    Rootfs(rootfs::Args),
}

fn main() -> ExitCode {
    if let Some((case, args)) = host::case() {
        return checks::inside(&case, &args);
    }
    let result = match Cli::parse().tool {
        Tool::Check(args) => check::run(&args),
        Tool::Doctor(args) => doctor::run(&args),
        Tool::Rootfs(args) => rootfs::run(&args).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("workshop: {error:#}");
        ExitCode::FAILURE
    })
}
