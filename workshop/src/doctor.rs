//! `cargo workshop doctor`: runs each step on this machine, as `cargo run` would. If something is
//! in the way, it says what to type.

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
use advice::{advice, in_user_namespace, surroundings};

/// Test whether the steps run on this machine, and say what to type if they do not
#[derive(clap::Args)]
pub struct Args {}

/// Without root: a user namespace and, for limits, a cgroup that systemd delegates to a user.
const USER_NAMESPACE: &str = "unshare -Ur";
const DELEGATED: &str = "systemd-run --quiet --user --scope -p Delegate=yes unshare -Ur";

/// Something that was found: ✔ is fine, · is good to know, ✘ is in the way. What to type is on a
/// line of its own.
type Line = (char, String);

const SUDO_FIRST: &str =
    "not tried, because sudo would ask for your password\n    sudo -v && cargo workshop doctor";

/// How `cargo run` becomes root (see .cargo/runner).
enum Root {
    Ours,
    /// With a sudo that does not ask.
    Sudo,
    /// With a sudo that will ask for a password.
    Password,
    /// It cannot, for this reason.
    Never(String),
}

/// Tries the steps, and prints what was found.
pub fn run(_: &Args) -> Result<ExitCode> {
    ensure!(Path::new("/proc/self").exists(), "there is no /proc: sudo mount -t proc proc /proc");
    let root = root();
    let place = TempDir::new("check-");
    let (rootfs_line, rootfs) = rootfs_to_try(&place);
    let mut found = vec![machine_line(), root_line(&root), rootfs_line];
    for (number, step) in (1..).zip(&STEPS) {
        let (mark, said) = step_line(step, &root, rootfs.as_deref());
        found.push((mark, format!("step {number}: {said}")));
    }
    let mut out = io::stdout();
    for (mark, said) in &found {
        writeln!(out, "{mark} {said}")?;
    }
    if found.iter().any(|(mark, _)| *mark == '✘') {
        writeln!(out, "Something is in the way. The line below each ✘ says what to do.")?;
        writeln!(out, "If that does not help, read book/src/troubleshooting.md")?;
        return Ok(ExitCode::FAILURE);
    }
    let all = !found.iter().any(|(_, said)| said.contains(SUDO_FIRST));
    writeln!(
        out,
        "{}",
        if all { "All steps run here." } else { "Everything that could be tried runs here." }
    )?;
    Ok(ExitCode::SUCCESS)
}

fn machine_line() -> Line {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let place = surroundings();
    let place = if place.is_empty() { String::new() } else { format!(", in {place}") };
    ('·', format!("machine: Linux {}, {}{place}", kernel.trim_end(), env::consts::ARCH))
}

/// Finds out how `cargo run` can become root here.
fn root() -> Root {
    if fs::metadata("/proc/self").is_ok_and(|us| us.uid() == 0) {
        return Root::Ours;
    }
    let Err(why) = said(Command::new("sudo").args(["-n", "true"])) else {
        return Root::Sudo;
    };
    // The second is what sudo-rs says, the sudo of Ubuntu since 25.10.
    let asks = ["a password is required", "authentication is required"];
    if !asks.iter().any(|words| why.to_string().contains(words)) {
        return Root::Never(why.to_string());
    }
    // If you may not use it, it says so before it asks.
    match said(Command::new("sudo").args(["-n", "-v"])) {
        Err(why) if why.to_string().contains("may not run sudo") => Root::Never(why.to_string()),
        _ => Root::Password,
    }
}

fn root_line(root: &Root) -> Line {
    match root {
        Root::Ours if in_user_namespace() => {
            ('✔', "root: you are root, in a user namespace".to_owned())
        }
        Root::Ours => ('✔', "root: you are root".to_owned()),
        Root::Sudo => ('✔', "root: with sudo, which does not need a password right now".to_owned()),
        Root::Password => ('✔', "root: with sudo, which will ask for your password".to_owned()),
        Root::Never(why) => ('✘', format!("root: {why}\n    {}", advice(why))),
    }
}

/// The root filesystem that exists, or else a new one, made in `place`.
fn rootfs_to_try(place: &Result<TempDir>) -> (Line, Option<PathBuf>) {
    let here = rootfs::default_place();
    let shown = here.display();
    match rootfs::origin(&here) {
        Ok(Some(origin)) => (('✔', format!("rootfs: {shown}, made from {origin}")), Some(here)),
        Ok(None) => {
            let line = ('✘', format!("rootfs: there is no {shown}\n    cargo workshop rootfs"));
            // It fails where nothing can be written.
            let Ok(place) = place else { return (line, None) };
            (line, rootfs::for_checks(&place.path().join("rootfs")).ok())
        }
        Err(_) => (('·', format!("rootfs: {shown}, made by another tool")), Some(here)),
    }
}

/// Runs a step, and says whether it runs as `cargo run` starts it, or else how it can run.
fn step_line(step: &Step, root: &Root, rootfs: Option<&Path>) -> Line {
    let program = match built(step) {
        Ok(program) => program,
        Err(why) => return ('✘', format!("{why:#}\n    cargo build -p {}", step.name)),
    };
    if step.rootfs && rootfs.is_none() {
        return ('✘', "cannot be tried without a rootfs\n    cargo workshop rootfs".to_owned());
    }
    let run = |before: &str| try_step(step, before, &program, rootfs);
    let mut by_cargo = run("");
    if let (Err(_), Root::Sudo) = (&by_cargo, root) {
        by_cargo = run("sudo -n");
    }
    let Err(mut why) = by_cargo else {
        return ('✔', "runs".to_owned());
    };
    let ways: &[&str] = if step.root { &[USER_NAMESPACE, DELEGATED] } else { &[USER_NAMESPACE] };
    for way in ways {
        match (run(way), root) {
            (Ok(()), Root::Password) => {
                return ('✔', "runs (tried in a user namespace)".to_owned());
            }
            (Ok(()), _) => {
                let fix = format!("{way} cargo run -p {} -- run /bin/sh", step.name);
                return ('✘', format!("`cargo run` alone fails: {why:#}\n    {fix}"));
            }
            // A user who cannot become root knows that already: say why this way fails, too.
            (Err(error), Root::Never(_)) if *way == USER_NAMESPACE => why = error,
            _ => {}
        }
    }
    if let Root::Password = root {
        return ('·', SUDO_FIRST.to_owned());
    }
    ('✘', format!("{why:#}\n    {}", advice(&format!("{why:#}"))))
}

/// The program of a step, next to our own. Cargo builds it if it does not exist yet.
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
    command.args(rootfs.map(|rootfs| format!("ROOTFS={}", rootfs.display())));
    command.arg(program).arg("run");
    command.args(step.options.iter().filter(|option| !option.starts_with("--rootfs")));
    said(command.args(["/bin/sh", "-c", "true"]))
}

/// Runs a command to its end. If it fails, the error is what it printed, in one line.
fn said(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output();
    let output = output.ok().with_context(|| format!("there is no {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    // Leaves out sudo's warnings, and what a step prints in any case.
    let is_why = |line: &&str| {
        !line.starts_with("sudo: unable to resolve") && !line.starts_with("Running [")
    };
    let why = said.lines().find(is_why).unwrap_or("it failed without a message");
    // Leaves out the steps' own hints: we may have tried those already.
    let why = why.split(": try ").next().unwrap_or(why);
    ensure!(output.status.success(), "{why}");
    Ok(())
}
