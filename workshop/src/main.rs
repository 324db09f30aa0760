//! `cargo workshop`: the tools of the workshop.
#![forbid(unsafe_code)]

mod books;
mod rootfs;
mod storms;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The tools of the workshop
#[derive(Parser)]
#[command(name = "cargo workshop", bin_name = "cargo workshop")]
struct Cli {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Subcommand)]
enum Tool {
    Book(books::Args),
    Rootfs(rootfs::Args),
    Storm(storms::Args),
    Vm(vm::Args),
}

fn main() -> ExitCode {
    if let Some(code) = workshop::storm::on_the_host() {
        return code;
    }
    let result = match Cli::parse().tool {
        Tool::Book(args) => books::run(&args),
        Tool::Rootfs(args) => rootfs::run(&args).map(|()| ExitCode::SUCCESS),
        Tool::Storm(args) => storms::run(&args),
        Tool::Vm(args) => vm::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("workshop: {error:#}");
        ExitCode::FAILURE
    })
}
