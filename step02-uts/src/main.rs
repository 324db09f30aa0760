//! Step 2: run a command that has its own hostname.
//!
//! The first wall is a UTS namespace. It holds the hostname, and changes to it stay inside.

#![forbid(unsafe_code)]
#[cfg(not(target_os = "linux"))]
compile_error!("containers need Linux: `vagrant up` starts a VM that has it (see Vagrantfile)");

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
    const HINT: &str = "try sudo, unshare -Ur or vagrant up (cargo workshop doctor says which)";
    let result = match Cli::try_parse() {
        Ok(Cli::Run(container)) => run(&container),
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 125 } else { 0 });
        }
    };
    result.unwrap_or_else(|error| match error.downcast_ref::<Errno>() {
        Some(Errno::EPERM) => fail(125, &format!("{error:#}: {HINT}")),
        _ => fail(125, &format!("{error:#}")),
    })
}
// ANCHOR_END: main

// ANCHOR: run
/// Makes the namespace, announces the command, then becomes it. Returns only if that fails.
fn run(container: &Container) -> Result<ExitCode> {
    unshare(CloneFlags::CLONE_NEWUTS).context("unshare CLONE_NEWUTS")?;
    // Not before the unshare: that would rename the host.
    if let Some(name) = &container.hostname {
        sethostname(name).with_context(|| format!("sethostname {name:?} (at most 64 bytes)"))?;
    }
    let command = &container.command;
    say(&format!("Running [{}]", command.join(OsStr::new(" ")).to_string_lossy()));
    let error = Command::new(&command[0]).args(&command[1..]).exec();
    // The exit codes of a shell (`man 1p sh`): 127 if not found, 126 if not executable.
    let code = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
    Ok(fail(code, &format!("exec: {:?}: {error}", command[0])))
}
// ANCHOR_END: run

/// Prints why we fail, and returns the exit code.
fn fail(code: u8, why: &str) -> ExitCode {
    say(&format!("{}: {why}", env!("CARGO_BIN_NAME")));
    ExitCode::from(code)
}

/// Prints a line to stderr, in one write. `eprintln!` would panic if stderr is closed.
fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
