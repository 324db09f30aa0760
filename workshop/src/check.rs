//! `cargo workshop check`: runs the checks that a step must pass on the learner's own program.

mod report;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::num::NonZero;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::builder::RangedU64ValueParser;

use crate::checks::{self, Check, GETS_OUT};
use crate::host;
use crate::machine::{self, Privilege};
use crate::rootfs;
use crate::steps::{STEPS, step};
use crate::workspace::cargo;

/// The most checks that run at once: they wait more than they compute.
const AT_ONCE: usize = 8;

/// Check your own program against the checks of a step and of the steps before it
///
/// The program may be written in any language. It is started like ours: `PROGRAM run [OPTIONS]
/// COMMAND [ARGS]`. From step 4 on, $ROOTFS is the path of a root filesystem. The program runs on a
/// throw-away host with its own mounts, hostname, processes and cgroups, and leaves nothing behind.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo workshop check 3                          your changes in step03-pid
  cargo workshop check 3 --bin ./mine             ./mine run [OPTIONS] COMMAND
  cargo workshop check 4 -- python3 mine.py       python3 mine.py run [OPTIONS] COMMAND
  cargo workshop check 3 --no-run -- unshare -fp  unshare -fp COMMAND
  cargo workshop check 3 --times 100              catch rare failures, too

The exit code is 0 if all checks hold, else 1.")]
pub struct Args {
    /// The number of the step, from 1
    #[arg(value_name = "STEP",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=STEPS.len() as u64))]
    step: usize,
    /// The program to check [default: the step in this workspace, built by cargo]
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
    /// Start it as PROGRAM COMMAND, without `run`
    #[arg(long)]
    no_run: bool,
    /// Also show the checks that hold, and the full output of those that fail
    #[arg(short, long)]
    verbose: bool,
    /// Run only this check. Its name is in parentheses after its sentence
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Run each check N times: it must hold every time
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// How long one check may take (with our steps, about a second)
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Instead of --bin: a program and its first arguments
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "bin")]
    command: Vec<OsString>,
}

/// Why a check was not run that needs root.
const NEEDS_ROOT: &str = "it needs root";

/// The outcome of a check, or of a way out.
#[derive(PartialEq, Eq)]
enum Outcome {
    Holds,
    Fails(String),
    NotRun(&'static str),
}

/// Runs the checks, and prints what holds.
pub fn run(args: &Args) -> Result<ExitCode> {
    let privilege = Privilege::ours();
    let needs_root = step(args.step).root || privilege == Privilege::None;
    // Root without its capabilities gets no more of them by sudo.
    if needs_root && privilege != Privilege::Root && fs::metadata("/proc/self")?.uid() != 0 {
        by_sudo(args)?;
    }
    ensure!(privilege != Privilege::None, "this needs root (try sudo) or user namespaces");
    let mut checks: Vec<_> = checks::every().filter(|check| check.from <= args.step).collect();
    if let Some(only) = &args.only {
        checks.retain(|check| check.id == only);
        ensure!(!checks.is_empty(), "step {} has no check named {only}", args.step);
    } else {
        checks.extend(checks::every().filter(|check| check.is_open_at(args.step)));
    }
    checks.sort_by_key(|check| check.from);
    let (place, _held) = host::place()?;
    // In a directory below it: making a rootfs locks the parent directory, and `place` is locked.
    let rootfs = place.path().join("made/rootfs");
    let mut options = host::Options::new(privilege);
    options.limit = Duration::from_secs(args.limit);
    options.args = argv(args)?;
    if step(args.step).rootfs {
        rootfs::for_checks(&rootfs)?;
        options.envs.push(("ROOTFS", rootfs.as_os_str()));
    }
    run_all(&checks, args, &options)
}

/// Starts this program again with sudo, for checks that need root. As with `cargo run`, the user
/// builds and root runs. Returns if there is no sudo.
fn by_sudo(args: &Args) -> Result<()> {
    let mut sudo = Command::new("sudo");
    sudo.arg(env::current_exe().context("our own path")?).args(env::args_os().skip(1));
    if args.bin.is_none() && args.command.is_empty() {
        sudo.arg("--bin").args(argv(args)?);
    }
    let error = sudo.exec();
    ensure!(error.kind() == ErrorKind::NotFound, "start sudo: {error}");
    Ok(())
}

/// The program, and its arguments before `run`.
fn argv(args: &Args) -> Result<Vec<OsString>> {
    if !args.command.is_empty() {
        return Ok(args.command.clone());
    }
    let Some(bin) = &args.bin else {
        let step = step(args.step).name;
        if !machine::is_vm() {
            let built = cargo("build").args(["--package", step]).status().context("start cargo")?;
            ensure!(built.success(), "{step} does not compile");
        }
        let built = env::current_exe().context("our own path")?.with_file_name(step);
        let here = env::current_dir().unwrap_or_default();
        return Ok(vec![built.strip_prefix(here).unwrap_or(&built).into()]);
    };
    ensure!(bin.is_file(), "--bin {}: there is no such file", bin.display());
    // A name without a slash would be looked up in $PATH.
    let slash = bin.components().count() > 1;
    Ok(vec![if slash { bin.into() } else { Path::new(".").join(bin).into() }])
}

/// Runs the checks, then tries the ways out. Prints each outcome as soon as it is known.
fn run_all(checks: &[&Check], args: &Args, options: &host::Options) -> Result<ExitCode> {
    let (outcomes, results): (Vec<_>, Vec<_>) = checks.iter().map(|_| channel()).unzip();
    let queue = Mutex::new(checks.iter().zip(outcomes));
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(4 * processors) {
            scope.spawn(|| {
                let next = || queue.lock().ok()?.next();
                while let Some((check, came_of_it)) = next() {
                    let _ = came_of_it.send(outcome(check, args, options));
                }
            });
        }
        report::tell(checks, &results, args, &options.args)
    })
}

fn outcome(check: &Check, args: &Args, options: &host::Options) -> Outcome {
    let full_screen = ["full-screen", "killed-in-full-screen"].contains(&check.id);
    if check.needs_root(args.step) && options.privilege != Privilege::Root {
        return Outcome::NotRun(NEEDS_ROOT);
    } else if full_screen && Command::new("busybox").arg("--help").output().is_err() {
        return Outcome::NotRun("it needs busybox on this machine, for its vi");
    }
    if check.from > args.step {
        // If it could not be tried, it does not count as open.
        return match check.run(args.no_run, options) {
            Err(error) if error.to_string().contains(GETS_OUT) => Outcome::Fails(String::new()),
            _ => Outcome::Holds,
        };
    }
    for time in 1..=args.times {
        if let Err(error) = check.run(args.no_run, options) {
            let when = if args.times > 1 { format!("time {time}: ") } else { String::new() };
            return Outcome::Fails(format!("{when}{error:#}"));
        }
    }
    Outcome::Holds
}
