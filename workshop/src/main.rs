//! `cargo workshop`: the tools of the workshop.
#![forbid(unsafe_code)]

mod tools {
    pub mod bench;
    pub mod book;
    pub mod check;
    pub mod doctor;
    pub mod rootfs;
    pub mod storm;
    pub mod vm;
}

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tools::{bench, book, check, doctor, rootfs, storm, vm};

/// The tools of the workshop
#[derive(Parser)]
#[command(name = "cargo workshop", bin_name = "cargo workshop")]
struct Cli {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Subcommand)]
enum Tool {
    Bench(bench::Args),
    Check(check::Args),
    Doctor(doctor::Args),
    Book(book::Args),
    Rootfs(rootfs::Args),
    Storm(storm::Args),
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let on_the_host = workshop::storm::on_the_host().or_else(workshop::checks::on_the_host);
    if let Some(code) = on_the_host {
        return code;
    }
    let result = match Cli::parse().tool {
        Tool::Bench(args) => bench::run(&args),
        Tool::Check(args) => check::run(&args),
        Tool::Doctor(args) => doctor::run(&args),
        Tool::Book(args) => book::run(&args),
        Tool::Rootfs(args) => rootfs::run(&args).map(|()| ExitCode::SUCCESS),
        Tool::Storm(args) => storm::run(&args),
        Tool::Vm(args) => vm::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("workshop: {error:#}");
        ExitCode::FAILURE
    })
}
