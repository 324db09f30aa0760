//! Bad input for every step: whatever it is given, a step does as told or says in one line why not,
//! never panics, never hangs, and leaves the host as it was.
//!
//! Some input is listed, with what a step makes of it as a snapshot, and some is made up at random:
//! `INPUTS_CASES=2000 cargo test -p proof --test inputs random` tries more of it, and
//! `INPUTS_SEED=7` begins elsewhere. A failure tells the seed that makes the same again.

#[path = "inputs/list.rs"]
mod list;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::iter::repeat_with;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use list::{INPUTS, Input};
use nix::mount::{MntFlags, umount2};
use proof::case::{self, Needs, case, here, number, recorded, said};
use proof::programs::{program, rootfs};
use workshop::container::{Ended, copy_rootfs, end};
use workshop::host::State;
use workshop::machine::slowness;
use workshop::steps::{LAST, STEPS, step};
use workshop::temp::TempDir;

/// What is tried with a step.
type Part = fn(&Subject) -> Result<String>;

/// Programs that must be found out, without which this would prove nothing: a name, the part that
/// finds it out, what that says, and a script that is given `run ...` (`$REAL` is the last step).
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
    ("leaves-a-mount", listed, "mounts on the host",
        r#""$REAL" "$@"; code=$?; mount -t tmpfs tmpfs /mnt; exit $code"#),
    ("takes-no-more-than-fits", long, "it arrives as",
        r#"[ $# -lt 9999 ] && exec "$REAL" "$@"; exec "$REAL" run printf '%s\0' much"#),
];

fn main() -> ExitCode {
    let mut cases = Vec::new();
    let parts: [(&str, Part); 3] = [("listed", listed), ("random", random), ("long", long)];
    for (name, part) in parts {
        for number in 1..=STEPS.len() {
            let step = step(number);
            let needs = Needs::root_if(step.root).within(60 + tries() / 2);
            let name = format!("{}::{name}", step.name);
            cases.push(case(name, needs, move || part(&Subject::new(number, program(step.name))?)));
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

/// How much random input is tried.
fn tries() -> u64 {
    number("INPUTS_CASES", 32 / u64::from(slowness()))
}

/// A program that is tried as a step, in a directory of its own, with a copy of the root filesystem.
struct Subject {
    number: usize,
    program: PathBuf,
    place: TempDir,
}

impl Subject {
    fn new(number: usize, program: PathBuf) -> Result<Subject> {
        let place = TempDir::new("inputs-")?;
        copy_rootfs(rootfs(), &place.path().join("rootfs"))?;
        Ok(Subject { number, program, place })
    }

    /// The program, which finds the same commands in every step.
    fn command(&self) -> Command {
        let (mut command, place) = (Command::new(&self.program), self.place.path());
        command.env("PATH", format!("{0}/rootfs/bin:{0}/rootfs/usr/bin", place.display()));
        command.env("ROOTFS", place.join("rootfs")).current_dir(place).stdin(Stdio::null());
        command
    }

    fn shell(&self, dir: &Path, script: &str) -> Result<Ended> {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).current_dir(dir).stdin(Stdio::null());
        shell.env("run", format!("{} run", self.program.display()));
        end(shell.env_remove("ROOTFS").env("LC_ALL", "C"))
    }
}

fn is_found_out(part: Part, says: &str, script: &str) -> Result<String> {
    let dir = TempDir::new("saboteur-")?;
    let (file, real) = (dir.path().join("saboteur"), program(LAST.name));
    fs::write(&file, format!("#!/bin/sh\nREAL='{}'\n{script}\n", real.display()))?;
    fs::set_permissions(&file, PermissionsExt::from_mode(0o755))?;
    let tried = part(&Subject::new(STEPS.len(), file)?);
    let why = tried.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(why.contains(says), "{why:?} instead of {says:?}");
    Ok(String::new())
}

/// What a step says after it has announced the command, whose arguments may be of several lines.
fn complaint(stderr: &str) -> &str {
    let Some(announced) = stderr.strip_prefix("Running [") else { return stderr };
    let rest = announced.rsplit_once("] as pid: 1\n").or_else(|| announced.rsplit_once("]\n"));
    rest.map_or(stderr, |(_, complaint)| complaint)
}

/// What holds for every input: no panic, and an exit code of ours comes with an error of one line,
/// or with the usage.
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

/// What the program makes of the listed input: a line for each, which is empty for what only a later
/// step has a word to say on.
fn listed(subject: &Subject) -> Result<String> {
    let mut outcomes = String::new();
    for input in INPUTS {
        if input.from <= subject.number {
            let outcome = outcome(input, subject);
            outcomes += &outcome.with_context(|| format!("{}; {}", input.before, input.typed))?;
        }
        outcomes += "\n";
    }
    Ok(outcomes)
}

/// The exit code, and the first line of what is said.
fn outcome(input: &Input, subject: &Subject) -> Result<String> {
    let place = TempDir::below(subject.place.path(), "input-")?;
    let dir = place.path();
    let find = "find . ! -name gone | sort";
    let prepare = format!("set -e; cp -al ../rootfs rootfs\n{}\n{find}", input.before);
    let files = subject.shell(dir, &prepare)?.expect(0)?.stdout;
    let before = State::now()?;
    let ended = subject.shell(dir, &format!("{}; exit $?", input.typed))?;
    before.restored()?;
    let now = subject.shell(dir, find)?.expect(0)?.stdout;
    ensure!(now == files, "it has made or removed files");
    sane(&ended)?;
    // Or the directory could not be removed.
    for mounted in ["rootfs/tmp", "rootfs", "mnt"] {
        let _ = umount2(&dir.join(mounted), MntFlags::MNT_DETACH);
    }
    let line = complaint(&ended.stderr).lines().next().unwrap_or_default();
    Ok(format!("{} | {}", ended.code, line.replace(&dir.display().to_string(), "DIR")))
}

/// The table of them all; steps with the same outcome share a row.
fn outcomes() -> Result<()> {
    let mut table = String::from("| before | typed | steps | ends with | says |\n");
    table += "| --- | --- | --- | --- | --- |\n";
    for (at, input) in INPUTS.iter().enumerate() {
        let mut rows: Vec<(String, String)> = Vec::new();
        for number in input.from..=STEPS.len() {
            let name = step(number).name;
            let outcomes = said(&format!("{name}::listed"))?;
            let outcome = outcomes.lines().nth(at).context("no outcome")?.replace(name, "PROGRAM");
            match rows.iter_mut().find(|(other, _)| *other == outcome) {
                Some((_, steps)) => *steps += &format!(" {number}"),
                None => rows.push((outcome, number.to_string())),
            }
        }
        for (outcome, steps) in rows {
            table += &format!("| {} | {} | {steps} | {outcome} |\n", input.before, input.typed);
        }
    }
    insta::with_settings!({ filters => [("0{65,}", "0…0")] }, { recorded("inputs", &table) });
    Ok(())
}

/// Random input: a seed for each piece of it.
fn random(subject: &Subject) -> Result<String> {
    // One program is all there is to be found: at random, who knows what would be run.
    let script = "mkdir -p with/bin with/proc with/dev with/sys; cp rootfs/bin/busybox with/bin
        ln -s busybox with/bin/printf; rm -r rootfs; mv with rootfs";
    subject.shell(subject.place.path(), &format!("set -e; {script}"))?.expect(0)?;
    let first = number("INPUTS_SEED", 1);
    for seed in first..first + tries() {
        let tried = try_seed(subject, seed);
        tried.with_context(|| format!("INPUTS_SEED={seed} INPUTS_CASES=1"))?;
    }
    Ok(String::new())
}

/// A line whose arguments must arrive, and one that need not make sense.
fn try_seed(subject: &Subject, seed: u64) -> Result<()> {
    let (before, random) = (State::now()?, &mut Rng::with_seed(seed));
    let mut command = subject.command();
    command.arg("run").args(options(random, subject.number));
    echoes(&mut command, &arguments(random, 12))?;
    before.restored().with_context(|| shown(&command))?;

    let mut command = subject.command();
    command.arg(any(random, &["run", "run", "run", "run", "child", "--"]));
    command.args(options(random, subject.number)).args(arguments(random, 8));
    end_sanely(&mut command)?;
    before.restored().with_context(|| shown(&command))
}

fn any(random: &mut Rng, words: &[&'static str]) -> OsString {
    random.choice(words).copied().unwrap_or_default().into()
}

/// Any bytes but NUL, which an argument cannot have.
fn bytes(random: &mut Rng, start: &str, at_most: usize) -> OsString {
    let length = random.usize(0..=at_most);
    let rest = repeat_with(|| random.u8(1..)).take(length);
    OsString::from_vec(start.bytes().chain(rest).collect())
}

/// What may stand before the command.
fn options(random: &mut Rng, number: usize) -> Option<OsString> {
    let examples: Vec<_> = STEPS[..number].iter().flat_map(|step| step.options).copied().collect();
    match random.u8(0..4) {
        0 => Some("--".into()),
        1 if examples.contains(&"--hostname=box") => Some(bytes(random, "--hostname=", 64)),
        2 if !examples.is_empty() => Some(any(random, &examples)),
        _ => None,
    }
}

/// Arguments: any bytes, what could be mistaken for ours, what makes sense, or long ones.
fn arguments(random: &mut Rng, less_than: usize) -> Vec<OsString> {
    const KNOWN: &str = "|-|--|---|-h|--help|-V|--version|--hostname|--hostname=x|--rootfs|\
        --rootfs=rootfs|--rootfs=/|--memory|--memory=64m|--cpus=1|--pids-limit=9|--no-such-flag|\
        --no\nsuch\nflag|-xyz|-1|run|child|help|a b|a\nb|\n|*|$HOME|%s|\\|'|\"|é|\u{202e}|\x1b[2J|\
        printf|%s\\0|/bin/printf";
    let known: Vec<_> = KNOWN.split('|').collect();
    let lengths = [255, 256, 4095, 4096, 65536, 131_071];
    let count = random.usize(0..less_than);
    let one = || match random.u8(0..8) {
        0..3 => bytes(random, "", 39),
        3..6 => any(random, &known),
        6 => bytes(random, "--", 39),
        _ => OsString::from_vec(vec![random.u8(1..); lengths[random.usize(0..lengths.len())]]),
    };
    repeat_with(one).take(count).collect()
}

/// How a command is started, of long arguments only the beginning.
fn shown(command: &Command) -> String {
    format!("{command:?}").chars().take(600).collect()
}

/// Runs it to its end, which must be sane.
fn end_sanely(command: &mut Command) -> Result<Ended> {
    let ended = end(command)?;
    sane(&ended).with_context(|| shown(command))?;
    Ok(ended)
}

/// Fails unless the command gets the arguments as they are.
fn echoes(command: &mut Command, arguments: &[OsString]) -> Result<()> {
    let ended = end_sanely(command.args(["printf", "%s\\0"]).args(arguments))?;
    let ended = ended.expect(0).with_context(|| shown(command))?;
    let mut sent = arguments.join(OsStr::new("\0"));
    sent.push("\0");
    let arrived = || format!("it arrives as {:?}: {}", ended.text(), shown(command));
    ensure!(ended.stdout == sent.as_bytes(), arrived());
    Ok(())
}

/// The longest argument that the kernel takes, and many of them.
fn long(subject: &Subject) -> Result<String> {
    let before = State::now()?;
    echoes(subject.command().arg("run"), &["x".repeat(131_071).into()])?;
    let many: Vec<_> = (0..10_000).map(|i| OsString::from(i.to_string())).collect();
    echoes(subject.command().arg("run"), &many)?;
    before.restored()?;
    Ok(String::new())
}
