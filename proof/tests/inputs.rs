//! Bad input for every step. Whatever the input is, a step does what it says or prints one line
//! about why not. It never panics or hangs, and it leaves the host as it was.
//!
//! Some input is listed, and a snapshot has what each step does with it. Other input is random:
//! `INPUTS_CASES=2000 cargo test -p proof --test inputs random` tries more of it, and
//! `INPUTS_SEED=7` starts with another seed. A failure prints the seed that repeats it.

#[path = "inputs/list.rs"]
mod list;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::iter::repeat_with;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use proof::case::{self, Needs, case, here, number, recorded, said};
use proof::programs::{program, rootfs};
use workshop::command::{Ended, end};
use workshop::container::copy_rootfs;
use workshop::host::State;
use workshop::steps::{LAST, STEPS, Step, step};

/// What is tried with a step: its program and its number.
type Part = fn(&Path, usize) -> Result<String>;

/// Programs that must be caught, or this test would prove nothing: a name, the part that catches
/// the program, what that part says, and a script that gets `run ...` (`$REAL` is the last step).
#[rustfmt::skip] // One is two lines.
const SABOTEURS: &[(&str, Part, &str, &str)] = &[
    ("adds-an-argument", random, "it arrives as",
        r#"exec "$REAL" "$@" ''"#),
    ("says-more", random, "not with one line",
        r#""$REAL" "$@"; code=$?; [ $code -lt 125 ] || echo more >&2; exit $code"#),
    ("dies", listed, "it died of a signal",
        r#""$REAL" "$@" || kill -SEGV $$"#),
    ("leaves-a-file", listed, "it has made or removed files",
        r#""$REAL" "$@"; code=$?; : > left; exit $code"#),
];

fn main() -> ExitCode {
    let mut cases = Vec::new();
    let needs = |step: &Step| Needs::root_if(step.root).within(60 + number("INPUTS_CASES", 0) / 2);
    for (number, step) in (1..).zip(&STEPS) {
        for (name, part) in [("listed", listed as Part), ("random", random)] {
            let name = format!("{}::{name}", step.name);
            cases.push(case(name, needs(step), move || part(&program(step.name), number)));
        }
    }
    for &(name, part, says, script) in SABOTEURS {
        let found_out = move || is_found_out(part, says, script);
        cases.push(case(format!("saboteur::{name}"), Needs::ROOT.in_vain(), found_out));
    }
    cases.push(here("outcomes", Needs::root_if(LAST.root), outcomes));
    // They wait more than they compute.
    case::run(8, cases)
}

/// A directory on the throw-away host with a copy of the root filesystem.
fn place() -> Result<PathBuf> {
    let place = env::temp_dir();
    copy_rootfs(rootfs(), &place.join("rootfs"))?;
    Ok(place)
}

fn is_found_out(part: Part, says: &str, script: &str) -> Result<String> {
    let (file, real) = (env::temp_dir().join("saboteur"), program(LAST.name));
    fs::write(&file, format!("#!/bin/sh\nREAL='{}'\n{script}\n", real.display()))?;
    fs::set_permissions(&file, PermissionsExt::from_mode(0o755))?;
    let why = format!("{:#}", part(&file, STEPS.len()).err().context("it is not caught")?);
    ensure!(why.contains(says), "{why:?} instead of {says:?}");
    Ok(String::new())
}

/// What a step prints after it has announced the command. The command's arguments may have several
/// lines.
fn complaint(stderr: &str) -> &str {
    let Some(announced) = stderr.strip_prefix("Running [") else { return stderr };
    let rest = announced.rsplit_once("] as pid: 1\n").or_else(|| announced.rsplit_once("]\n"));
    rest.map_or(stderr, |(_, complaint)| complaint)
}

/// True for every input: no panic, and an exit code of ours comes with an error of one line or with
/// the usage.
fn sane(ended: &Ended) -> Result<()> {
    let (code, said) = (ended.code, complaint(&ended.stderr));
    ensure!(!said.contains("panicked"), "it panicked: {said}");
    ensure!(code < 128, "it died of a signal: {code}: {said}");
    let usage = said.contains("Usage: ") || said.ends_with("try '--help'.\n");
    let line = said.starts_with("step") && said.lines().count() == 1;
    let ours = (125..=127).contains(&code);
    ensure!(!ours || line || usage, "exit code {code}, not with one line, but with {said:?}");
    ensure!(ours || !said.contains("step0"), "exit code {code}, with an error: {said:?}");
    Ok(())
}

/// What the program does with the listed input, a line each. The line is empty if the input is for
/// later steps only.
fn listed(program: &Path, number: usize) -> Result<String> {
    let place = place()?;
    let mut outcomes = String::new();
    for (at, (from, before, typed)) in (0..).zip(list::inputs()) {
        if from <= number {
            let outcome = outcome(program, &place.join(format!("input-{at}")), before, &typed);
            outcomes += &outcome.with_context(|| format!("{before}; {typed}"))?;
        }
        outcomes += "\n";
    }
    Ok(outcomes)
}

/// The exit code, and the first line of the complaint.
fn outcome(program: &Path, dir: &Path, before: &str, typed: &str) -> Result<String> {
    fs::create_dir(dir)?;
    let sh = |script: &str| {
        let mut sh = Command::new("sh");
        sh.args(["-c", script]).current_dir(dir).stdin(Stdio::null()).env_remove("ROOTFS");
        end(sh.env("run", format!("{} run", program.display())).env("LC_ALL", "C"))
    };
    let find = "find . ! -name gone | sort";
    let files = sh(&format!("set -e; cp -al ../rootfs rootfs\n{before}\n{find}"))?.expect(0)?;
    let host = State::now()?;
    let ended = sh(&format!("{typed}; exit $?"))?;
    host.restored()?;
    ensure!(sh(find)?.stdout == files.stdout, "it has made or removed files");
    sane(&ended)?;
    let line = complaint(&ended.stderr).lines().next().unwrap_or_default();
    Ok(format!("{} | {}", ended.code, line.replace(&dir.display().to_string(), "DIR")))
}

/// The table of all outcomes. Steps with the same outcome share a row.
fn outcomes() -> Result<()> {
    let mut table = String::from("| before | typed | steps | ends with | says |\n");
    table += "| --- | --- | --- | --- | --- |\n";
    for (at, (from, before, typed)) in list::inputs().iter().enumerate() {
        let mut rows: Vec<(String, String)> = Vec::new();
        for number in *from..=STEPS.len() {
            let name = step(number).name;
            let outcomes = said(&format!("{name}::listed"))?;
            let outcome = outcomes.lines().nth(at).context("no outcome")?.replace(name, "PROGRAM");
            match rows.iter_mut().find(|(other, _)| *other == outcome) {
                Some((_, steps)) => *steps += &format!(" {number}"),
                None => rows.push((outcome, number.to_string())),
            }
        }
        for (outcome, steps) in rows {
            table += &format!("| {before} | {typed} | {steps} | {outcome} |\n");
        }
    }
    insta::with_settings!({ filters => [("0{65,}", "0…0")] }, { recorded("inputs", &table) });
    Ok(())
}

/// Arguments that must arrive unchanged, and command lines that may be nonsense.
fn random(program: &Path, step: usize) -> Result<String> {
    let (place, host) = (place()?, State::now()?);
    // The root filesystem holds a single program, because a random name must not run anything else.
    let script = "mkdir -p with/bin with/proc with/dev with/sys; cp rootfs/bin/busybox with/bin
        ln -s busybox with/bin/printf; rm -r rootfs; mv with rootfs";
    end(Command::new("sh").args(["-ec", script]).current_dir(&place))?.expect(0)?;
    let command = |first: OsString| {
        let mut command = Command::new(program);
        command.arg(first).current_dir(&place).stdin(Stdio::null());
        command.env("PATH", place.join("rootfs/bin")).env("ROOTFS", place.join("rootfs"));
        command
    };
    // The longest argument that the kernel accepts, and many arguments.
    let many = (0..10_000).map(|i| i.to_string().into()).collect();
    for arguments in [vec!["x".repeat(131_071).into()], many] {
        end_sanely(&mut command("run".into()), &arguments, true)?;
    }
    let first = number("INPUTS_SEED", 1);
    for seed in first..first + number("INPUTS_CASES", 32) {
        let random = &mut Rng::with_seed(seed);
        for arrive in [true, false] {
            let words: &[_] = if arrive { &["run"] } else { &["run", "run", "child", "--"] };
            let mut command = command(any(random, words));
            command.args(options(random, step));
            let tried = end_sanely(&mut command, &arguments(random), arrive);
            tried.and_then(|()| host.restored()).with_context(|| {
                let start: String = format!("{command:?}").chars().take(600).collect();
                format!("INPUTS_SEED={seed} INPUTS_CASES=1: {start}")
            })?;
        }
    }
    Ok(String::new())
}

fn any(random: &mut Rng, words: &[&'static str]) -> OsString {
    random.choice(words).copied().unwrap_or_default().into()
}

/// Any bytes except NUL, which an argument cannot contain.
fn bytes(random: &mut Rng, start: &str, at_most: usize) -> OsString {
    let length = random.usize(0..=at_most);
    let rest = repeat_with(|| random.u8(1..)).take(length);
    OsString::from_vec(start.bytes().chain(rest).collect())
}

/// What may come before the command.
fn options(random: &mut Rng, step: usize) -> Option<OsString> {
    let options = random.choice(&STEPS[..step])?.options;
    match random.u8(0..4) {
        0 => Some("--".into()),
        1 if step > 1 => Some(bytes(random, "--hostname=", 64)),
        2 => random.choice(options).map(OsString::from),
        _ => None,
    }
}

/// Arguments: random bytes, words that look like ours, sensible words, or long ones.
fn arguments(random: &mut Rng) -> Vec<OsString> {
    const KNOWN: &str = "|-|--|---|-h|--help|-V|--version|--hostname|--hostname=x|--rootfs|\
        --rootfs=rootfs|--rootfs=/|--memory|--memory=64m|--cpus=1|--pids-limit=9|--no-such-flag|\
        --no\nsuch\nflag|-xyz|-1|run|child|help|a b|a\nb|\n|*|$HOME|%s|\\|'|\"|é|\u{202e}|\x1b[2J|\
        printf|%s\\0|/bin/printf";
    let known: Vec<_> = KNOWN.split('|').collect();
    let lengths = [255, 256, 4095, 4096, 65536, 131_071];
    let count = random.usize(0..12);
    let one = || match random.u8(0..8) {
        0..3 => bytes(random, "", 39),
        3..6 => any(random, &known),
        6 => bytes(random, "--", 39),
        _ => OsString::from_vec(vec![random.u8(1..); lengths[random.usize(0..lengths.len())]]),
    };
    repeat_with(one).take(count).collect()
}

/// Runs the command to its end, which must be sane. If `arrive` is set, the arguments are for a
/// command and must arrive there.
fn end_sanely(command: &mut Command, arguments: &[OsString], arrive: bool) -> Result<()> {
    if arrive {
        command.args(["printf", "%s\\0"]);
    }
    let ended = end(command.args(arguments))?;
    sane(&ended)?;
    if arrive {
        let mut sent = arguments.join(OsStr::new("\0"));
        sent.push("\0");
        let ended = ended.expect(0)?;
        ensure!(ended.stdout == sent.as_bytes(), "it arrives as {:.600?}", ended.text());
    }
    Ok(())
}
