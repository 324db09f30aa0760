//! The known ways out of a container, each as an attempt that can be made: closed, or a known limit.
//!
//! A shell script inside does most of them. What a shell cannot do, the test program does itself:
//! it is put into the container with its libraries, and started there as `trick NAME`.

mod attempts;
mod list;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use crate::checks::Fails;
use crate::container::Runner;
use crate::host;
use crate::machine::Privilege;
use crate::steps::STEPS;

pub use list::WAYS;

/// A way out.
pub struct Way {
    /// Its name.
    pub id: &'static str,
    /// What it does, in a sentence.
    pub does: &'static str,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Tries it on a throw-away host: does it get out?
    pub attempt: fn(&Container) -> Result<bool>,
}

/// What becomes of a way out.
pub enum Outcome {
    /// It does not get out, from a step on.
    Closed {
        /// The first step that closes it; its chapter explains it.
        from: usize,
        /// What closes it.
        by: &'static str,
        /// Where this is missing, and the same attempt gets out.
        witness: Fails,
    },
    /// It gets out, and a chapter says so.
    KnownLimit {
        /// The step whose chapter it is, and with which it is tried first.
        step: usize,
        /// Why it is still open, and what Docker does about it.
        why: &'static str,
        /// Where it is open, when root is root.
        root: Open,
        /// Where it is open for a user in a user namespace, with step 4.
        user: Open,
    },
}

/// Where a way out is open.
#[derive(Clone, Copy)]
pub enum Open {
    /// Everywhere.
    Yes,
    /// Nowhere.
    No,
    /// Where this holds, in words and as looked up.
    If(&'static str, fn() -> bool),
}

impl Open {
    /// Is it, on this machine?
    pub fn here(self) -> bool {
        match self {
            Open::Yes => true,
            Open::No => false,
            Open::If(_, holds) => holds(),
        }
    }

    /// A cell of the table.
    pub fn cell(self) -> String {
        match self {
            Open::Yes => "**open**".into(),
            Open::No => "closed".into(),
            Open::If(condition, _) => format!("**open** {condition}"),
        }
    }
}

/// Who tries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Root, in a container of that step.
    Root(usize),
    /// A user, in a user namespace and a container of step 4.
    User,
    /// Root, in what must let it out.
    Witness,
}

impl Way {
    /// The step whose chapter has it.
    pub fn step(&self) -> usize {
        match self.outcome {
            Outcome::Closed { from, .. } => from,
            Outcome::KnownLimit { step, .. } => step,
        }
    }

    /// The chapter that says so.
    pub fn chapter(&self) -> &'static str {
        STEPS[self.step() - 1]
    }

    /// Where it is open, for root and for a user.
    pub fn open(&self) -> (Open, Open) {
        match self.outcome {
            Outcome::Closed { .. } => (Open::No, Open::No),
            Outcome::KnownLimit { root, user, .. } => (root, user),
        }
    }

    /// All who try it.
    pub fn tried_by(&self) -> Vec<By> {
        let mut all: Vec<_> = (self.step()..=5).map(By::Root).collect();
        all.push(By::User);
        if let Outcome::Closed { .. } = self.outcome {
            all.push(By::Witness);
        }
        all
    }

    /// Whether it is to get out, on this machine.
    pub fn expected(&self, by: By) -> bool {
        match by {
            By::Root(_) => self.open().0.here(),
            By::User => self.open().1.here(),
            By::Witness => true,
        }
    }

    /// Tries it on a throw-away host, with the programs in `steps`: does it get out?
    pub fn gets_out(&self, by: By, steps: &Path, rootfs: &Path) -> Result<bool> {
        let (step, script) = match (by, &self.outcome) {
            (By::Root(step), _) => (step, ""),
            (By::User, _) => (4, ""),
            (_, Outcome::Closed { witness: Fails::Step(step), .. }) => (*step, ""),
            (_, Outcome::Closed { witness: Fails::Saboteur(script), .. }) => (5, *script),
            (By::Witness, _) => bail!("a known limit needs no witness"),
        };
        let program = steps.join(STEPS[step - 1]);
        let user = if by == By::User { "1" } else { "" };
        let envs = [
            (WAY, OsStr::new(self.id)),
            (PROGRAM, program.as_os_str()),
            (SABOTEUR, OsStr::new(script)),
            (USER, OsStr::new(user)),
        ];
        let rootfs = (step > 3).then_some(("ROOTFS", rootfs.as_os_str()));
        let envs: Vec<_> = envs.into_iter().chain(rootfs).collect();
        let output = host::run(Privilege::Root, &env::current_exe()?, &envs)?;
        match output.stdout.as_slice() {
            b"out\n" => Ok(true),
            b"in\n" => Ok(false),
            said => bail!(
                "it says {:?}, and {:?}",
                String::from_utf8_lossy(said),
                String::from_utf8_lossy(&output.stderr)
            ),
        }
    }
}

const WAY: &str = "WORKSHOP_WAY";
const PROGRAM: &str = "WORKSHOP_PROGRAM";
const SABOTEUR: &str = "WORKSHOP_SABOTEUR";
const USER: &str = "WORKSHOP_USER";

/// The part of `Way::gets_out` that runs on the throw-away host, as `checks::on_the_host` is.
pub fn on_the_host() -> Option<ExitCode> {
    let id = env::var(WAY).ok()?;
    let way = WAYS.iter().find(|way| way.id == id).with_context(|| format!("no such way: {id}"));
    let tried = way.and_then(|way| (way.attempt)(&Container::from_env()?));
    Some(host::exit_code(tried.map(|out| println!("{}", if out { "out" } else { "in" }))))
}

/// What stands before a command of that user, who is nobody else's.
const AS_USER: [&str; 6] = ["setpriv", "--reuid", "4711", "--regid", "4711", "--clear-groups"];

/// What is to be got out of: made by copies of the program and of the root filesystem, which may
/// come to harm.
pub struct Container {
    /// Makes such containers.
    runner: Runner,
    /// The program, on the host.
    program: PathBuf,
    /// Is its caller the user?
    user: bool,
    /// Keeps the copies.
    _copies: Runner,
}

impl Container {
    fn from_env() -> Result<Container> {
        let var = |name| env::var_os(name).filter(|value| !value.is_empty());
        let original = var(PROGRAM).context("no program")?;
        let rootfs = var("ROOTFS").map(PathBuf::from);
        let copies = Runner::new(vec![original.clone()], rootfs.clone())?;
        let program = PathBuf::from(copies.put("program", &fs::read(&original)?, 0o755)?);
        let mut argv: Vec<OsString> = Vec::new();
        let rootfs = rootfs.map(|_| copies.own_rootfs()).transpose()?;
        if let Some(rootfs) = &rootfs {
            argv.extend([
                "env".into(),
                [OsStr::new("ROOTFS="), rootfs.as_os_str()].join(OsStr::new("")),
            ]);
        }
        let user = var(USER).is_some();
        if user {
            chown(&program, Some(4711), Some(4711))?;
            argv.extend(AS_USER.map(OsString::from));
            argv.extend(["unshare", "-Ur"].map(OsString::from));
        }
        match var(SABOTEUR) {
            Some(script) => {
                let real = format!("REAL='{}'; ", program.display());
                let script = [OsStr::new(&real), &script].join(OsStr::new(""));
                argv.extend(["sh".into(), "-c".into(), script, "saboteur".into()]);
            }
            None => argv.push(program.clone().into()),
        }
        Ok(Container { runner: Runner::new(argv, rootfs)?, program, user, _copies: copies })
    }

    /// Runs a condition in a shell inside: a list of commands that succeeds if it gets out.
    fn sh(&self, condition: &str) -> Result<bool> {
        self.behind(&[], condition)
    }

    /// The same, with something in front of the runner that starts it.
    fn behind(&self, front: &[&str], condition: &str) -> Result<bool> {
        let script = format!("if {{ {condition}\n}} > /dev/null; then echo out; else echo in; fi");
        let command = self.runner.command(["sh", "-c", &script]);
        let ended = crate::container::end(&mut crate::container::behind(front, &command))?;
        match ended.text().as_str() {
            "out\n" => Ok(true),
            "in\n" => {
                // What stood in the way, for those who look (`--nocapture`).
                eprintln!("{}", ended.stderr.trim());
                Ok(false)
            }
            other => bail!("inside it says {other:?}, and {:?}", ended.stderr),
        }
    }

    /// A file that is on the host only: its path there.
    fn marker(&self) -> Result<String> {
        let both = self.runner.put("both", b"", 0o644)?;
        let marker = format!("{both}-not");
        fs::write(&marker, "")?;
        ensure!(Path::new(&marker).exists(), "no marker");
        Ok(marker)
    }

    /// The words that start a trick of the test program's, inside and on the host: it is put there
    /// with all that it has loaded itself, as it need not be linked statically.
    fn trick(&self) -> Result<String> {
        let maps = fs::read_to_string("/proc/self/maps").context("read /proc/self/maps")?;
        let mut files: Vec<_> =
            maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..])).collect();
        files.sort_unstable();
        files.dedup();
        let mut loader = String::new();
        for file in files {
            let name = Path::new(file).file_name().and_then(OsStr::to_str).context("a name")?;
            let there = self.runner.put(name, &fs::read(file)?, 0o755)?;
            if name.starts_with("ld-") {
                let dir = Path::new(&there).parent().context("a directory")?.display();
                loader = format!("{there} --library-path {dir} ");
            }
        }
        let us = env::current_exe()?;
        let name = us.file_name().and_then(OsStr::to_str).context("our name")?;
        Ok(format!("{loader}{} trick", self.runner.put(name, &fs::read(&us)?, 0o755)?))
    }
}
