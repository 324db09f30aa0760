//! `cargo workshop doctor`: runs each step here as `cargo run` would, and says for what is in the way
//! what to type.

mod advice;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

use crate::rootfs;
use crate::steps::{STEPS, Step};
use crate::temp::TempDir;
use crate::workspace::cargo;
use advice::{advice, surroundings};

/// Whether the steps run here; for what is in the way, a line that mends it
#[derive(clap::Args)]
pub struct Args {}

/// Without root: a user namespace; and for limits, a cgroup that systemd gives to a user.
const USER_NAMESPACE: &str = "unshare -Ur";
const DELEGATED: &str = "systemd-run --quiet --user --scope -p Delegate=yes unshare -Ur";

/// Something that was found.
struct Line {
    /// ✔ is well, · is good to know, ✘ is in the way.
    mark: char,
    found: String,
    /// What to type.
    fix: Option<String>,
}

impl Line {
    fn good(found: impl Into<String>) -> Line {
        Line { mark: '✔', found: found.into(), fix: None }
    }

    fn note(found: impl Into<String>) -> Line {
        Line { mark: '·', found: found.into(), fix: None }
    }

    fn bad(found: impl Into<String>, fix: impl Into<String>) -> Line {
        Line { mark: '✘', found: found.into(), fix: Some(fix.into()) }
    }
}

/// How `cargo run` becomes root (see .cargo/runner).
enum Root {
    /// We are root already.
    Ours,
    /// By a sudo that does not ask.
    Sudo,
    /// By a sudo that will ask for a password.
    Password,
    /// It cannot, for this reason.
    Never(String),
}

/// Tries the steps, and says what was found.
pub fn run(_: &Args) -> Result<ExitCode> {
    ensure!(Path::new("/proc/self").exists(), "there is no /proc: sudo mount -t proc proc /proc");
    let root = root();
    let place = TempDir::new("check-");
    let (rootfs_line, rootfs) = rootfs_to_try(&place);
    let mut found = vec![machine_line(), root_line(&root), rootfs_line];
    for (i, step) in STEPS.iter().enumerate() {
        let mut line = step_line(step, &root, rootfs.as_deref());
        line.found = format!("step {}: {}", i + 1, line.found);
        found.push(line);
    }
    let mut out = io::stdout();
    for Line { mark, found, fix } in &found {
        writeln!(out, "{mark} {found}")?;
        if let Some(fix) = fix {
            writeln!(out, "    {fix}")?;
        }
    }
    if found.iter().any(|line| line.mark == '✘') {
        writeln!(out, "Something is in the way: below each ✘ stands what to type.")?;
        return Ok(ExitCode::FAILURE);
    }
    if found.iter().any(|line| line.fix.is_some()) {
        writeln!(out, "What could be tried runs here.")?;
    } else {
        writeln!(out, "All steps run here.")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn machine_line() -> Line {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let place = surroundings().map(|place| format!(", in {place}")).unwrap_or_default();
    Line::note(format!("machine: Linux {}, {}{place}", kernel.trim_end(), env::consts::ARCH))
}

/// Looks how one becomes root here.
fn root() -> Root {
    if fs::metadata("/proc/self").is_ok_and(|us| us.uid() == 0) {
        return Root::Ours;
    }
    let Err(why) = said(Command::new("sudo").args(["-n", "true"])) else {
        return Root::Sudo;
    };
    if !why.to_string().contains("a password is required") {
        return Root::Never(why.to_string());
    }
    // Whom it would not let in it tells so before it asks.
    match said(Command::new("sudo").args(["-n", "-v"])) {
        Err(why) if why.to_string().contains("may not run sudo") => Root::Never(why.to_string()),
        _ => Root::Password,
    }
}

fn root_line(root: &Root) -> Line {
    match root {
        Root::Ours => Line::good("root: you are"),
        Root::Sudo => Line::good("root: by sudo, which does not ask for a password now"),
        Root::Password => Line::good("root: by sudo, which will ask for your password"),
        Root::Never(why) => Line::bad(format!("root: {why}"), advice(why)),
    }
}

/// The root filesystem that is there, or else another, made in `place`.
fn rootfs_to_try(place: &Result<TempDir>) -> (Line, Option<PathBuf>) {
    let here = rootfs::default_place();
    let shown = here.display();
    match rootfs::origin(&here) {
        Ok(Some(origin)) => {
            (Line::good(format!("rootfs: {shown}, made from {origin}")), Some(here))
        }
        Ok(None) => {
            let line = Line::bad(format!("rootfs: there is no {shown}"), "cargo workshop rootfs");
            let Ok(place) = place else { return (line, None) };
            (line, rootfs::for_checks(&place.path().join("rootfs")).ok())
        }
        Err(_) => (Line::note(format!("rootfs: {shown}, which we did not make")), Some(here)),
    }
}

/// Runs a step, and says whether it runs as `cargo run` starts it, or else how it does.
fn step_line(step: &Step, root: &Root, rootfs: Option<&Path>) -> Line {
    let program = match built(step) {
        Ok(program) => program,
        Err(why) => return Line::bad(format!("{why:#}"), format!("cargo build -p {}", step.name)),
    };
    if step.rootfs && rootfs.is_none() {
        return Line::bad("cannot be tried without a rootfs", "cargo workshop rootfs");
    }
    let run = |before: &str| try_step(step, before, &program, rootfs);
    let mut by_cargo = run("");
    if let (Err(_), Root::Sudo) = (&by_cargo, root) {
        by_cargo = run("sudo -n");
    }
    let Err(mut why) = by_cargo else {
        return Line::good("runs");
    };
    let ways: &[&str] = if step.root { &[USER_NAMESPACE, DELEGATED] } else { &[USER_NAMESPACE] };
    for way in ways {
        match (run(way), root) {
            (Ok(()), Root::Password) => return Line::good("runs (tried in a user namespace)"),
            (Ok(()), _) => {
                let fix = format!("{way} cargo run -p {} -- run /bin/sh", step.name);
                return Line::bad(format!("not by `cargo run` alone: {why:#}"), fix);
            }
            // Who cannot become root knows that, and is to hear why this does not help either.
            (Err(error), Root::Never(_)) if *way == USER_NAMESPACE => why = error,
            _ => {}
        }
    }
    if let Root::Password = root {
        let fix = Some("sudo -v && cargo workshop doctor".to_owned());
        return Line { fix, ..Line::note("not tried, since sudo would ask for your password") };
    }
    let why = format!("{why:#}");
    Line::bad(&why, advice(&why))
}

/// The program of a step, beside our own. Cargo builds it if it is not there yet.
fn built(step: &Step) -> Result<PathBuf> {
    let program = env::current_exe().context("our own path")?.with_file_name(step.name);
    if !program.exists() {
        said(cargo("build").args(["-p", step.name])).context("it cannot be built")?;
    }
    Ok(program)
}

/// Runs a step, with words `before` it.
fn try_step(step: &Step, before: &str, program: &Path, rootfs: Option<&Path>) -> Result<()> {
    let mut command = Command::new("env");
    // The second env is for sudo, which drops the environment.
    command.args(before.split_whitespace()).arg("env");
    if let Some(rootfs) = rootfs {
        command.arg(format!("ROOTFS={}", rootfs.display()));
    }
    command.arg(program).arg("run");
    command.args(step.options.iter().filter(|option| !option.starts_with("--rootfs")));
    said(command.args(["/bin/sh", "-c", "true"]))
}

/// Runs a command to its end. If it fails, the error is what it says, in a line.
fn said(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output();
    let output = output.ok().with_context(|| format!("there is no {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    // Warnings of sudo, and what a step says in any case.
    let is_why = |line: &&str| {
        !line.starts_with("sudo: unable to resolve") && !line.starts_with("Running [")
    };
    let why = said.lines().find(is_why).unwrap_or("it failed, and said nothing");
    // The steps' own hints go: they do not know what was tried already.
    let why = why.split(": try ").next().unwrap_or(why);
    ensure!(output.status.success(), "{why}");
    Ok(())
}
