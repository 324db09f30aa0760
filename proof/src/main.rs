//! `cargo proof`: tools for maintainers.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use proof::{bench, book, vm};
use workshop::host;

/// Tools for people who work on the steps and the book
#[derive(Parser)]
#[command(name = "cargo proof", bin_name = "cargo proof")]
struct Cli {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Subcommand)]
enum Tool {
    Book(book::render::Args),
    Bench(bench::Args),
    Vm(vm::Args),
}

fn main() -> ExitCode {
    if let Some((what, args)) = host::case() {
        return bench::on_the_host(&what, &args);
    }
    let result = match Cli::parse().tool {
        Tool::Book(args) => book::render::run(&args),
        Tool::Bench(args) => bench::run(&args),
        Tool::Vm(args) => vm::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("proof: {error:#}");
        ExitCode::FAILURE
    })
}
