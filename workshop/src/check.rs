//! `cargo workshop check`: the checks that a step must pass, against the learner's own program.

mod report;

use std::env;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::num::NonZero;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::checks::{self, Check, Subject};
use crate::machine::{self, Privilege};
use crate::rootfs;
use crate::steps::STEPS;
use crate::temp::TempDir;
use crate::workspace::cargo;
use anyhow::{Context, Result, ensure};

/// How many checks run at once: they wait more than they compute.
const AT_ONCE: usize = 8;

/// See what a program of yours owes: the checks of a step and of those before it, in words
///
/// The program may be written in any language. It is started as ours are, `PROGRAM run [OPTIONS]
/// COMMAND [ARGS]`; from step 4 on, $ROOTFS names a root filesystem. It is run on a throw-away host:
/// mounts, a hostname, processes and cgroups of its own, so nothing is left of it on this machine.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo workshop check 3                          your changes in step03-pid
  cargo workshop check 3 --bin ./mine             ./mine run [OPTIONS] COMMAND
  cargo workshop check 4 -- python3 mine.py       python3 mine.py run [OPTIONS] COMMAND
  cargo workshop check 3 --no-run -- unshare -fp  unshare -fp COMMAND

It ends with 0 if all hold, else with 1.")]
pub struct Args {
    /// The step, 1 to 5
    #[arg(value_name = "STEP", value_parser = clap::value_parser!(u8).range(1..=5))]
    step: u8,
    /// The program to check [default: the step, built by cargo as it is now]
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
    /// Do not say `run` to it: the command comes at once
    #[arg(long)]
    no_run: bool,
    /// Only what fails, and why in a line
    #[arg(long)]
    brief: bool,
    /// Only the check of this name (they stand behind each sentence)
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// How long a check may take; ours take a second
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Instead of --bin: a program and its first arguments
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "bin")]
    command: Vec<OsString>,
}

/// Why a check was not run that only root can make.
const NEEDS_ROOT: &str = "it needs root";

/// What came of a check.
enum Outcome {
    Holds,
    Fails(String),
    NotRun(&'static str),
}

/// Checks, and says what holds.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.step == 5 && Privilege::ours() != Privilege::Root {
        by_sudo(args)?;
    }
    work(args)
}

/// What step 5 owes only root can see. As `cargo run` does: what cargo builds is the user's, and
/// what runs is root's. Returns if there is no sudo.
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

fn work(args: &Args) -> Result<ExitCode> {
    let step = usize::from(args.step);
    let privilege = Privilege::ours();
    ensure!(privilege != Privilege::None, "this takes root (try sudo), or user namespaces");
    let mut checks: Vec<_> = checks::all().filter(|check| check.from <= step).collect();
    if let Some(only) = &args.only {
        checks.retain(|check| check.id == only);
        ensure!(!checks.is_empty(), "step {step} has no check of the name {only}");
    }
    checks.sort_by_key(|check| check.from);
    let argv = argv(args)?;
    // In a user namespace that we have not made, say: then no check could tell anything.
    let dir = TempDir::new("check-")?;
    let rootfs = dir.path().join("rootfs");
    let rootfs = if STEPS[step - 1].rootfs { Some(rootfs::for_checks(&rootfs)?) } else { None };
    let rootfs = rootfs.as_deref();
    let subject = Subject {
        privilege,
        argv,
        run: !args.no_run,
        rootfs,
        limit: Duration::from_secs(args.limit),
    };
    run_all(&checks, step, &subject, args.brief)
}

/// The program, and what stands before `run`.
fn argv(args: &Args) -> Result<Vec<OsString>> {
    if !args.command.is_empty() {
        return Ok(args.command.clone());
    }
    let Some(bin) = &args.bin else {
        let built = build(STEPS[usize::from(args.step) - 1].name)?;
        let here = env::current_dir().unwrap_or_default();
        return Ok(vec![built.strip_prefix(here).unwrap_or(&built).into()]);
    };
    ensure!(bin.is_file(), "--bin {}: there is no such file", bin.display());
    // Without a slash it would be looked for in $PATH.
    let named = bin.components().count() == 1;
    Ok(vec![if named { Path::new(".").join(bin) } else { bin.clone() }.into()])
}

/// Has a step built, by name, and returns its program, which is beside ours.
fn build(step: &str) -> Result<PathBuf> {
    if !machine::is_vm() {
        let built = cargo("build").args(["--package", step]).status().context("start cargo")?;
        ensure!(built.success(), "{step} does not compile");
    }
    Ok(env::current_exe().context("our own path")?.with_file_name(step))
}

/// Runs the checks and says what came of each, in their order, as soon as that is known.
fn run_all(
    checks: &[&'static Check],
    step: usize,
    subject: &Subject,
    brief: bool,
) -> Result<ExitCode> {
    let next = Mutex::new(0..checks.len());
    let threads = thread::available_parallelism().map_or(1, NonZero::get) * AT_ONCE / 2;
    thread::scope(|scope| {
        let (outcomes, results): (Vec<_>, Vec<_>) = checks.iter().map(|_| channel()).unzip();
        for _ in 0..threads.min(AT_ONCE) {
            let (next, outcomes) = (&next, outcomes.clone());
            scope.spawn(move || {
                while let Some(i) = next.lock().ok().and_then(|mut next| next.next()) {
                    let _ = outcomes[i].send(outcome(checks[i], step, subject));
                }
            });
        }
        drop(outcomes);
        report::tell(checks, &results, step, subject, brief)
    })
}

fn outcome(check: &Check, step: usize, subject: &Subject) -> Outcome {
    let missing = |tool| Command::new(tool).arg("--help").output().is_err();
    let full_screen = ["full-screen", "killed-in-full-screen"].contains(&check.id);
    if check.needs_root(step) && subject.privilege != Privilege::Root {
        return Outcome::NotRun(NEEDS_ROOT);
    } else if full_screen && missing("busybox") {
        return Outcome::NotRun("it needs a busybox on this machine, for its vi");
    }
    match check.run(subject) {
        Ok(()) => Outcome::Holds,
        Err(error) => Outcome::Fails(format!("{error:#}")),
    }
}
