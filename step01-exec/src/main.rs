//! Step 1: run a command.
//!
//! There is no wall yet. We print what we run, then *become* it: `exec` replaces this program with
//! the command, so exit codes, signals and the terminal just work.

#![forbid(unsafe_code)]
#[cfg(not(target_os = "linux"))]
compile_error!("containers need Linux: `vagrant up` starts a VM that has it (see Vagrantfile)");

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use clap::Parser;

// ANCHOR: Cli
#[derive(Parser)]
enum Cli {
    /// Run a command
    Run(Container),
}
// ANCHOR_END: Cli

// ANCHOR: Container
#[derive(clap::Args)]
struct Container {
    /// The program to run, and its arguments
    #[arg(required = true, trailing_var_arg = true, num_args = 1.., value_names = ["COMMAND", "ARGS"])]
    command: Vec<OsString>,
}
// ANCHOR_END: Container

// ANCHOR: main
fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(Cli::Run(container)) => run(&container),
        Err(error) => {
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { 125 } else { 0 })
        }
    }
}
// ANCHOR_END: main

// ANCHOR: run
/// Announces the command, then becomes it. Returns only if that fails.
fn run(container: &Container) -> ExitCode {
    let command = &container.command;
    say(&format!("Running [{}]", command.join(OsStr::new(" ")).to_string_lossy()));
    let error = Command::new(&command[0]).args(&command[1..]).exec();
    // The exit codes of a shell (`man 1p sh`): 127 if not found, 126 if not executable.
    let code = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
    fail(code, &format!("exec: {:?}: {error}", command[0]))
}
// ANCHOR_END: run

// ANCHOR: fail
/// Prints why we fail, and returns the exit code.
fn fail(code: u8, why: &str) -> ExitCode {
    say(&format!("{}: {why}", env!("CARGO_BIN_NAME")));
    ExitCode::from(code)
}
// ANCHOR_END: fail

// ANCHOR: say
/// Prints a line to stderr, in one write. `eprintln!` would panic if stderr is closed.
fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
// ANCHOR_END: say
