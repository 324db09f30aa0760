//! What a container must do, written once. Each check looks at one thing that a program for step N,
//! ours or a learner's, must do.

mod command;
mod escapes;
mod exit_codes;
pub(crate) mod filesystem;
mod limits;
mod processes;
mod remains;
mod rootless;
mod signals;
mod terminal;
#[allow(unsafe_code)]
mod tricks;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};

use crate::container::{ALARM, Runner, become_alarmed};
use crate::host;
use crate::steps::STEPS;

pub use escapes::GETS_OUT;

/// One thing that a container must do.
pub struct Check {
    /// Its name.
    pub id: &'static str,
    /// What it proves, in a sentence.
    pub proves: &'static str,
    /// The first step that must pass it. If that is not among `STEPS` yet, it is a way out that is
    /// still open.
    pub from: usize,
    /// Earlier steps that pass it anyway, because of the host or plain `exec`.
    pub free: &'static [usize],
    /// A program that fails it.
    pub fails: Fails,
    /// Where a way out is open before that step, and why.
    pub open: Option<Open>,
    look: Look,
}

/// How a check looks on a throw-away host. An error says what is wrong.
enum Look {
    By(fn(&Runner) -> Result<()>),
    /// A shell script that succeeds inside if there is a way out.
    Script(&'static str),
}

/// `from` of a check that no planned step will pass.
pub const NEVER: usize = usize::MAX;

/// A program that fails a check: without one, the check would prove nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fails {
    /// An earlier step, which lacks the layer. An open way out is not tried in steps before it.
    Step(usize),
    /// A saboteur: a shell script that is called with `run ...`. `$REAL` is a program that passes.
    Saboteur(&'static str),
}

/// A way out that is open until its step comes.
pub struct Open {
    /// Where it is open to real root.
    pub root: Where,
    /// Where it is open to a user in a user namespace.
    pub user: Where,
    /// Why, and what Docker does about it.
    pub why: &'static str,
}

/// On which machines a way out is open.
#[derive(Clone, Copy)]
pub enum Where {
    /// On all.
    Everywhere,
    /// On none.
    Nowhere,
    /// Where this is true, in words and as a test.
    If(&'static str, fn() -> bool),
}

impl Where {
    /// Is it open on this machine?
    pub fn here(self) -> bool {
        match self {
            Where::Everywhere => true,
            Where::Nowhere => false,
            Where::If(_, holds) => holds(),
        }
    }
}

/// How a step does in a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// It must pass.
    Must,
    /// It must fail: the layer is still missing.
    NotYet,
    /// It passes without doing anything for it.
    Free,
    /// It is a way out of something that the step does not have.
    NotTried,
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
        Check { id, proves, from, free: &[], fails, open: None, look: Look::By(look) }
    }

    /// The same for a way out, which a shell tries inside.
    const fn script(
        id: &'static str,
        from: usize,
        script: &'static str,
        fails: Fails,
        proves: &'static str,
    ) -> Check {
        Check { id, proves, from, free: &[], fails, open: None, look: Look::Script(script) }
    }

    /// Earlier steps that pass it anyway.
    const fn free(self, free: &'static [usize]) -> Check {
        Check { free, ..self }
    }

    /// A way out that is open until its step comes: to root, to a user, and why.
    const fn open(self, root: Where, user: Where, why: &'static str) -> Check {
        Check { open: Some(Open { root, user, why }), ..self }
    }

    /// How a step, from 1, should do in it.
    pub fn expected(&self, step: usize) -> Cell {
        if step >= self.from {
            return Cell::Must;
        }
        if let (Some(open), Fails::Step(first)) = (&self.open, self.fails) {
            return match open.root.here() {
                _ if step < first => Cell::NotTried,
                true => Cell::NotYet,
                false => Cell::Free,
            };
        }
        if self.free.contains(&step) { Cell::Free } else { Cell::NotYet }
    }

    /// Whether it is a way out that may still be open in a program for this step.
    pub(crate) fn is_open_at(&self, step: usize) -> bool {
        self.open.is_some() && step < self.from && self.expected(step) != Cell::NotTried
    }

    /// Whether a user namespace is not enough to check a step.
    pub fn needs_root(&self, step: usize) -> bool {
        let as_root = [
            "without-privilege",
            "no-cgroups-inside",
            "nothing-of-the-host-changes",
            "proc-settings",
            "proc-secrets",
        ];
        let root = |step: usize| STEPS.get(step - 1).is_some_and(|step| step.root);
        root(step) || root(self.from) || as_root.contains(&self.id)
    }

    /// Checks the program in `options` on a throw-away host.
    pub(crate) fn run(&self, no_run: bool, options: &host::Options) -> Result<()> {
        let how = if no_run { "no-run" } else { "check" };
        host::again(&format!("{how} {}", self.id), options).map(drop)
    }

    /// Checks a program on this host, which must be a throw-away one.
    pub fn look(&self, runner: &Runner) -> Result<()> {
        let looked = match self.look {
            Look::By(look) => look(runner),
            Look::Script(script) => escapes::stays_in(runner, script),
        };
        let Err(error) = looked else { return Ok(()) };
        let tried = runner.last();
        let tried = if tried.is_empty() { tried } else { format!("\n{TRIED}{tried}") };
        let hint = runner
            .last_option()
            .map(|option| format!("\n{option} is an option: does your program have it?"));
        bail!("{error:#}{tried}{}", hint.unwrap_or_default())
    }
}

/// What comes before the command line that started the program.
pub(crate) const TRIED: &str = "seen with: ";

/// The main function of a program that was started for a case: a check, or a part of one.
pub fn inside(case: &str, args: &[OsString]) -> ExitCode {
    let done = match case.split_once(' ') {
        None if case == ALARM => become_alarmed(args),
        None if case == tricks::TRICK => tricks::inside(args),
        Some((how, id)) => run_here(id, how == "check", args.to_vec()),
        None => Err(anyhow!("no such case: {case}")),
    };
    host::end_case(done.map(|()| String::new()))
}

fn run_here(id: &str, run: bool, argv: Vec<OsString>) -> Result<()> {
    let check = every().find(|check| check.id == id);
    let check = check.with_context(|| format!("no such check: {id}"))?;
    let rootfs = env::var_os("ROOTFS").map(PathBuf::from);
    let new = if run { Runner::new } else { Runner::without_run };
    check.look(&new(argv, rootfs)?)
}

/// All checks, including those whose step does not exist yet.
pub fn every() -> impl Iterator<Item = &'static Check> {
    let parts = [
        command::CHECKS,
        exit_codes::CHECKS,
        signals::CHECKS,
        terminal::CHECKS,
        processes::CHECKS,
        filesystem::CHECKS,
        escapes::CHECKS,
        limits::CHECKS,
        rootless::CHECKS,
        remains::CHECKS,
    ];
    parts.into_iter().flatten()
}

/// The checks that a step must pass, in the order of the matrix.
pub fn all() -> impl Iterator<Item = &'static Check> {
    every().filter(|check| check.from <= STEPS.len())
}

/// The known ways out, closed or not.
pub fn ways_out() -> impl Iterator<Item = &'static Check> {
    escapes::CHECKS.iter()
}
