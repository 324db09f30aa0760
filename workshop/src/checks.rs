//! What a container owes, written once: each check looks at one thing that a program for step N,
//! ours or a learner's, has to do.

mod command;
mod exit_codes;
pub(crate) mod filesystem;
mod limits;
mod processes;
mod remains;
mod rootless;
mod signals;
mod terminal;

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::container::{Runner, on_alarm};
use crate::host;
use crate::privilege::Privilege;
use crate::steps::STEPS;
use crate::vm;

/// One thing that a container owes.
pub struct Check {
    /// Its name.
    pub id: &'static str,
    /// What it proves, in a sentence.
    pub proves: &'static str,
    /// The first step that must pass it.
    pub from: usize,
    /// Steps before that pass it all the same: the host, or plain `exec`, gives it to them.
    pub free: &'static [usize],
    /// A program that fails it.
    pub fails: Fails,
    /// Looks; an error says what is wrong. Runs on a throw-away host.
    pub look: fn(&Runner) -> Result<()>,
}

/// A program that fails a check, without which the check would prove nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fails {
    /// An earlier step, in which the layer is missing.
    Step(usize),
    /// A saboteur: a shell script that is given `run ...`. `$REAL` is a
    /// program that passes.
    Saboteur(&'static str),
}

/// What a step makes of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// It must pass.
    Must,
    /// It really fails: the layer is still missing.
    NotYet,
    /// It passes without having done anything for it.
    Free,
}

impl Check {
    /// What a step (1 to 5) is to make of it.
    pub fn expected(&self, step: usize) -> Cell {
        match step {
            step if step >= self.from => Cell::Must,
            step if self.free.contains(&step) => Cell::Free,
            _ => Cell::NotYet,
        }
    }

    /// The chapter that explains it.
    pub fn chapter(&self) -> &'static str {
        STEPS[self.from - 1]
    }

    /// Whether a user namespace will not do for checking a step.
    pub fn needs_root(&self, step: usize) -> bool {
        let as_root = ["without-privilege", "no-cgroups-inside", "nothing-of-the-host-changes"];
        step == 5 || self.from == 5 || as_root.contains(&self.id)
    }

    /// Checks a program on a throw-away host. `rootfs` is for those that have come to step 4. With
    /// `sabotaged`, the program is what the check's saboteur calls `$REAL`.
    pub fn run(
        &self,
        privilege: Privilege,
        program: &Path,
        rootfs: Option<&Path>,
        sabotaged: bool,
    ) -> Result<()> {
        let argv = vec![program.into()];
        let subject =
            Subject { privilege, argv, run: true, rootfs, limit: Duration::from_secs(60) };
        let sabotaged = sabotaged.then_some((SABOTAGED, OsStr::new("1")));
        self.look_at(&subject, sabotaged)
    }

    /// Checks a program on a throw-away host.
    pub fn run_on(&self, subject: &Subject) -> Result<()> {
        self.look_at(subject, None)
    }

    fn look_at(&self, subject: &Subject, sabotaged: Option<(&str, &OsStr)>) -> Result<()> {
        let argv = subject.argv.join(OsStr::new(BETWEEN));
        let mut envs = vec![(ID, OsStr::new(self.id)), (ARGV, &argv)];
        envs.extend((!subject.run).then_some((NO_RUN, OsStr::new("1"))));
        envs.extend(subject.rootfs.map(|rootfs| ("ROOTFS", rootfs.as_os_str())));
        envs.extend(sabotaged);
        let seconds = (subject.limit * vm::slowness()).as_secs().saturating_sub(1).to_string();
        envs.push((SECONDS, OsStr::new(&seconds)));
        let output = host::run_for(subject.limit, subject.privilege, &env::current_exe()?, &envs)?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

/// A program to check, and how.
pub struct Subject<'a> {
    /// What we may do.
    pub privilege: Privilege,
    /// The program, and what stands before `run`.
    pub argv: Vec<OsString>,
    /// Whether it is given the word `run`.
    pub run: bool,
    /// The root filesystem, for those that have come to step 4.
    pub rootfs: Option<&'a Path>,
    /// How long a check may take.
    pub limit: Duration,
}

const ID: &str = "WORKSHOP_CHECK";
const ARGV: &str = "WORKSHOP_ARGV";
const SECONDS: &str = "WORKSHOP_SECONDS";
const NO_RUN: &str = "WORKSHOP_NO_RUN";
const SABOTAGED: &str = "WORKSHOP_SABOTAGED";

/// What stands between the arguments in `ARGV` (ASCII's unit separator).
const BETWEEN: &str = "\x1f";

/// What stands before the line that says how the program was started.
pub const TRIED: &str = "as in: ";

/// The part of `Check::run` that runs on the throw-away host. A program that uses it calls this
/// first thing in `main`, and ends if it gives an exit code.
pub fn on_the_host() -> Option<ExitCode> {
    if let Some(code) = on_alarm() {
        return Some(code);
    }
    let id = env::var(ID).ok()?;
    let looked = find(&id).with_context(|| format!("no such check: {id}")).and_then(look);
    Some(host::exit_code(looked))
}

fn look(check: &Check) -> Result<()> {
    let argv = env::var_os(ARGV).unwrap_or_default();
    let argv = argv.as_bytes().split(|byte| BETWEEN.as_bytes() == [*byte]);
    let mut argv: Vec<_> = argv.map(|word| OsStr::from_bytes(word).to_owned()).collect();
    if let (Fails::Saboteur(script), Some(_)) = (check.fails, env::var_os(SABOTAGED)) {
        let script = format!("REAL='{}'; {script}", argv[0].to_string_lossy());
        argv = ["sh", "-c", &script, "saboteur"].map(OsString::from).to_vec();
    }
    let rootfs = env::var_os("ROOTFS").map(PathBuf::from);
    let runner = match env::var_os(NO_RUN) {
        None => Runner::new(argv, rootfs)?,
        Some(_) => Runner::without_run(argv, rootfs)?,
    };
    let runner = Arc::new(runner);
    let watched = Arc::downgrade(&runner);
    let seconds = env::var(SECONDS).ok().and_then(|seconds| seconds.parse().ok());
    thread::spawn(move || {
        // It hangs, and will be ended.
        thread::sleep(Duration::from_secs(seconds.unwrap_or(60)));
        watched.upgrade().inspect(|runner| eprintln!("{TRIED}{}", runner.last()));
    });
    (check.look)(&runner).map_err(|error| match (runner.last(), runner.last_option()) {
        (last, _) if last.is_empty() => error,
        (last, None) => anyhow!("{error:#}\n{TRIED}{last}"),
        (last, Some(option)) => {
            anyhow!("{error:#}\n{TRIED}{last}\n{option} is an option: has your program got it?")
        }
    })
}

/// All checks, in the order of the matrix.
pub fn all() -> impl Iterator<Item = &'static Check> {
    let parts = [
        command::CHECKS,
        exit_codes::CHECKS,
        signals::CHECKS,
        terminal::CHECKS,
        processes::CHECKS,
        filesystem::CHECKS,
        limits::CHECKS,
        rootless::CHECKS,
        remains::CHECKS,
    ];
    parts.into_iter().flatten()
}

/// The check of that name.
pub fn find(id: &str) -> Option<&'static Check> {
    all().find(|check| check.id == id)
}
