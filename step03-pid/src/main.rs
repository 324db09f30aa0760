//! Step 3: run a command that has its own hostname and process ids.
//!
//! A PID namespace numbers its processes from 1. It is for *later children* of the process that
//! makes it, so `run` starts this program anew as `child`: the namespace's PID 1, which starts the
//! command and stays. (`ps` still shows the host: it reads `/proc`, and that is step 4.)

#![forbid(unsafe_code)]
#[cfg(not(target_os = "linux"))]
compile_error!("containers are made by Linux, and `vagrant up` brings one (see Vagrantfile)");

mod child;
mod run;
mod supervise;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use nix::errno::Errno;

// ANCHOR: Cli
#[derive(Parser)]
enum Cli {
    /// Run a command that has its own hostname and process ids
    Run(Container),
    /// PID 1 of the container: `run` starts it
    #[command(hide = true, disable_help_flag = true)]
    Child {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}
// ANCHOR_END: Cli

#[derive(clap::Args)]
struct Container {
    /// The hostname inside, at most 64 bytes [default: the host's]
    #[arg(long, value_name = "NAME")]
    hostname: Option<OsString>,

    /// The program to run, and its arguments
    #[arg(required = true, trailing_var_arg = true, num_args = 1.., value_names = ["COMMAND", "ARGS"])]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(Cli::Run(container)) => run::run(&container),
        Ok(Cli::Child { command }) => child::child(&command),
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 125 } else { 0 });
        }
    };
    result.unwrap_or_else(|error| match error.downcast_ref::<Errno>() {
        Some(Errno::EPERM) => fail(125, &format!("{error:#}: try sudo, unshare -Ur or vagrant up")),
        _ => fail(125, &format!("{error:#}")),
    })
}

/// Says why we fail, and returns the exit code.
fn fail(code: u8, why: &str) -> ExitCode {
    say(&format!("{}: {why}", env!("CARGO_BIN_NAME")));
    ExitCode::from(code)
}

/// Prints a line to stderr, in one write. `eprintln!` would panic if stderr is closed.
fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
