//! What a container owes, written once: each check looks at one thing that a program for step N,
//! ours or a learner's, has to do.

mod command;
mod exit_codes;
mod filesystem;
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

use anyhow::{Context, Result, bail};

use crate::container::Runner;
use crate::host;
use crate::privilege::Privilege;

/// The five steps, by name.
pub const STEPS: [&str; 5] =
    ["step01-exec", "step02-uts", "step03-pid", "step04-mount", "step05-cgroups"];

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
        step == 5 || self.from == 5 || ["without-privilege", "no-cgroups-inside"].contains(&self.id)
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
        let mut envs = vec![(ID, OsStr::new(self.id)), (PROGRAM, program.as_os_str())];
        envs.extend(rootfs.map(|rootfs| ("ROOTFS", rootfs.as_os_str())));
        envs.extend(sabotaged.then_some((SABOTAGED, OsStr::new("1"))));
        let output = host::run(privilege, &env::current_exe()?, &envs)?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

const ID: &str = "WORKSHOP_CHECK";
const PROGRAM: &str = "WORKSHOP_PROGRAM";
const SABOTAGED: &str = "WORKSHOP_SABOTAGED";

/// The part of `Check::run` that runs on the throw-away host. A program that uses it calls this
/// first thing in `main`, and ends if it gives an exit code.
pub fn on_the_host() -> Option<ExitCode> {
    let id = env::var(ID).ok()?;
    let looked = find(&id).with_context(|| format!("no such check: {id}")).and_then(look);
    Some(match looked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    })
}

fn look(check: &Check) -> Result<()> {
    let program = env::var_os(PROGRAM).unwrap_or_default();
    let argv = match check.fails {
        Fails::Saboteur(script) if env::var_os(SABOTAGED).is_some() => {
            let script = format!("REAL='{}'; {script}", program.to_string_lossy());
            ["sh", "-c", &script, "saboteur"].map(OsString::from).to_vec()
        }
        _ => vec![program],
    };
    (check.look)(&Runner::new(argv, env::var_os("ROOTFS").map(PathBuf::from))?)
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
