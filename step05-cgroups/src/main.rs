//! Step 5: run a command that has its own hostname, process ids and filesystem, within limits.
//!
//! Namespaces decide what a process can see, cgroups what it can use. `cgroup.rs` sets the limits.

#![forbid(unsafe_code)]
#[cfg(not(target_os = "linux"))]
compile_error!("containers need Linux: `vagrant up` starts a VM that has it (see Vagrantfile)");

mod cgroup;
mod child;
mod root;
mod run;
mod supervise;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use cgroup::Limits;
use clap::Parser;
use nix::errno::Errno;

// ANCHOR: Cli
#[derive(Parser)]
enum Cli {
    /// Run a command that has its own hostname, process ids and filesystem, within limits
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

    /// The directory that becomes `/` inside
    #[arg(long, value_name("DIR"), env("ROOTFS"), default_value("rootfs"), hide_env_values(true))]
    rootfs: PathBuf,

    #[command(flatten)]
    limits: Limits,

    /// The program to run, and its arguments
    #[arg(required = true, trailing_var_arg = true, num_args = 1.., value_names = ["COMMAND", "ARGS"])]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    const HINT: &str = "try sudo, vagrant up or systemd-run --user --scope -p Delegate=yes \
        unshare -Ur (cargo workshop doctor says which)";
    let result = match Cli::try_parse() {
        Ok(Cli::Run(container)) => run::run(&container),
        Ok(Cli::Child { command }) => child::child(&command),
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 125 } else { 0 });
        }
    };
    result.unwrap_or_else(|error| match error.downcast_ref::<Errno>() {
        Some(Errno::EPERM | Errno::EACCES) => fail(125, &format!("{error:#}: {HINT}")),
        _ => fail(125, &format!("{error:#}")),
    })
}

/// Prints why we fail, and returns the exit code.
fn fail(code: u8, why: &str) -> ExitCode {
    say(&format!("{}: {why}", env!("CARGO_BIN_NAME")));
    ExitCode::from(code)
}

/// Prints a line to stderr, in one write. `eprintln!` would panic if stderr is closed.
fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
