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
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::container::{ALARM, Runner, become_alarmed};
use crate::host;
use crate::machine::{PATIENCE, Privilege};
use crate::steps::STEPS;

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
    /// A check that no step before `from` passes.
    const fn new(
        id: &'static str,
        from: usize,
        look: fn(&Runner) -> Result<()>,
        fails: Fails,
        proves: &'static str,
    ) -> Check {
        Check { id, proves, from, free: &[], fails, look }
    }

    /// Earlier steps that pass it all the same.
    const fn free(self, free: &'static [usize]) -> Check {
        Check { free, ..self }
    }

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
        STEPS[self.from - 1].name
    }

    /// Whether a user namespace will not do for checking a step.
    pub fn needs_root(&self, step: usize) -> bool {
        let as_root = ["without-privilege", "no-cgroups-inside", "nothing-of-the-host-changes"];
        STEPS[step - 1].root || STEPS[self.from - 1].root || as_root.contains(&self.id)
    }

    /// Checks a program on a throw-away host.
    pub fn run(&self, subject: &Subject) -> Result<()> {
        let mut options = host::Options::new(subject.privilege);
        options.limit = subject.limit;
        options.args = subject.argv.clone();
        options.envs.extend(subject.rootfs.map(|rootfs| ("ROOTFS", rootfs.as_os_str())));
        options.envs.extend(subject.patience.map(|seconds| (PATIENCE, OsStr::new(seconds))));
        let how = match (subject.run, subject.sabotaged) {
            (true, false) => "check",
            (true, true) => "sabotaged",
            (false, _) => "no-run",
        };
        host::again(&format!("{how} {}", self.id), &options).map(drop)
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
    /// Whether it is only what the check's saboteur calls `$REAL`.
    pub sabotaged: bool,
    /// The root filesystem, for those that have come to step 4.
    pub rootfs: Option<&'a Path>,
    /// How long a check may take.
    pub limit: Duration,
    /// How many seconds it waits for what is to happen, if it is to fail.
    pub patience: Option<&'a str>,
}

/// What stands before the line that says how the program was started.
pub const TRIED: &str = "as in: ";

/// What a program does that was started for a case: a check, or what a check starts.
pub fn inside(case: &str, args: &[OsString]) -> ExitCode {
    let said = match case.split_once(' ') {
        None if case == ALARM => become_alarmed(args),
        Some((how, id)) => find(id)
            .with_context(|| format!("no such check: {id}"))
            .and_then(|check| look(check, how, args.to_vec())),
        None => Err(anyhow!("no such case: {case}")),
    };
    host::end_case(said.map(|()| String::new()))
}

fn look(check: &Check, how: &str, mut argv: Vec<OsString>) -> Result<()> {
    if let (Fails::Saboteur(script), "sabotaged") = (check.fails, how) {
        let script = format!("REAL='{}'; {script}", argv[0].to_string_lossy());
        argv = ["sh", "-c", &script, "saboteur"].map(OsString::from).to_vec();
    }
    let rootfs = env::var_os("ROOTFS").map(PathBuf::from);
    let runner = match how {
        "no-run" => Runner::without_run(argv, rootfs)?,
        _ => Runner::new(argv, rootfs)?,
    };
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
