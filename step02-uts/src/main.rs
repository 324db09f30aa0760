//! Step 2: run a command that has its own hostname.
//!
//! The first wall is a UTS namespace (UNIX Time-Sharing, a name from the seventies): it holds the
//! hostname. Ours starts as a copy of the host's; to change it leaves the host's alone.

#![forbid(unsafe_code)]
#[cfg(not(target_os = "linux"))]
compile_error!("containers are made by Linux, and `vagrant up` brings one (see Vagrantfile)");

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;

#[derive(Parser)]
enum Cli {
    /// Run a command that has its own hostname
    Run(Container),
}

// ANCHOR: Container
#[derive(clap::Args)]
struct Container {
    /// The hostname inside, at most 64 bytes [default: the host's]
    #[arg(long, value_name = "NAME")]
    hostname: Option<OsString>,

    /// The program to run, and its arguments
    #[arg(required = true, trailing_var_arg = true, num_args = 1.., value_names = ["COMMAND", "ARGS"])]
    command: Vec<OsString>,
}
// ANCHOR_END: Container

// ANCHOR: main
fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(Cli::Run(container)) => run(&container),
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
// ANCHOR_END: main

// ANCHOR: run
/// Makes the namespace, announces the command and becomes it; returns only if that fails.
fn run(container: &Container) -> Result<ExitCode> {
    unshare(CloneFlags::CLONE_NEWUTS).context("unshare CLONE_NEWUTS")?;
    // Only now: before the unshare this would rename the host.
    if let Some(name) = &container.hostname {
        sethostname(name).with_context(|| format!("sethostname {name:?} (at most 64 bytes)"))?;
    }
    let command = &container.command;
    say(&format!("Running [{}]", command.join(OsStr::new(" ")).to_string_lossy()));
    let error = Command::new(&command[0]).args(&command[1..]).exec();
    // The codes of a shell (`man 1p sh`): 127 not found, 126 found but not executable.
    let code = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
    Ok(fail(code, &format!("exec: {:?}: {error}", command[0])))
}
// ANCHOR_END: run

/// Says why we fail, and returns the exit code.
fn fail(code: u8, why: &str) -> ExitCode {
    say(&format!("{}: {why}", env!("CARGO_BIN_NAME")));
    ExitCode::from(code)
}

/// Prints a line to stderr, in one write. `eprintln!` would panic if stderr is closed.
fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
