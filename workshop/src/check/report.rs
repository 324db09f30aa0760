//! The outcome of the checks, in words.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc::Receiver;

use anyhow::{Context, Result};

use super::{Args, NEEDS_ROOT, Outcome};
use crate::checks::{Check, TRIED};
use crate::container::typed;
use crate::steps::step;

/// How many lines are shown of why a check fails, and how long they are, without --verbose.
const SHOWN: (usize, usize) = (3, 160);

/// Prints the outcome of the checks: each failure as soon as it is known, a line for each step, and
/// one about the ways out.
pub(super) fn tell(
    checks: &[&Check],
    results: &[Receiver<Outcome>],
    args: &Args,
    argv: &[OsString],
) -> Result<ExitCode> {
    let mut out = io::stdout();
    let (owed, ways) = checks.split_at(checks.partition_point(|check| check.from <= args.step));
    let mut results = results.iter();
    let mut next = || results.next().context("no result")?.recv().context("a check crashed");
    let mut outcomes = Vec::new();
    for wall in owed.chunk_by(|check, next| check.from == next.from) {
        let first = outcomes.len();
        for check in wall {
            let (proves, id) = (check.proves, check.id);
            let outcome = next()?;
            match &outcome {
                Outcome::Holds if args.verbose => writeln!(out, "✔ {proves} ({id})")?,
                Outcome::Holds => {}
                Outcome::NotRun(why) => writeln!(out, "· {proves} ({id})\n    not run: {why}")?,
                Outcome::Fails(why) => {
                    write!(out, "✘ {proves} ({id})\n{}", in_words(why, args.verbose))?;
                }
            }
            outcomes.push(outcome);
        }
        let page = step(wall[0].from).name;
        let mut line = summary(page, &outcomes[first..]);
        if line.starts_with('✘') {
            line += &format!("; read book/src/{page}.md");
        }
        writeln!(out, "{line}")?;
    }
    let line = summary("total", &outcomes);
    if owed[0].from != owed[owed.len() - 1].from {
        writeln!(out, "{line}")?;
    }
    if outcomes.contains(&Outcome::NotRun(NEEDS_ROOT)) {
        let us = env::current_exe().context("our own path")?;
        writeln!(out, "With root: sudo {} {}", us.display(), again(args, "", argv))?;
    }
    let (fail, holds) = (line.starts_with('✘'), outcomes.contains(&Outcome::Holds));
    let first_wall = &outcomes[..owed.partition_point(|check| check.from == 1)];
    if owed[0].id == "runs-the-command" && !first_wall.contains(&Outcome::Holds) {
        let run = if args.no_run { "" } else { " run" };
        writeln!(out, "Does it start a command at all? Try it: {}{run} echo hello", typed(argv))?;
        if step(args.step).rootfs {
            let again = again(args, "env PATH=/bin:/usr/bin ", argv);
            writeln!(out, "If it looks up commands outside, as Go does: cargo workshop {again}")?;
        }
    }
    let mut open = Vec::new();
    for way in ways {
        if let Outcome::Fails(_) = next()? {
            open.push(way.id);
        }
    }
    if !open.is_empty() {
        writeln!(out, "Known ways out that are open (book/src/ways-out.md): {}", open.join(", "))?;
    }
    Ok(ExitCode::from(u8::from(fail || !holds)))
}

/// A line such as "✔ step03-pid: all 12 hold".
fn summary(what: &str, outcomes: &[Outcome]) -> String {
    let count = |is: fn(&&Outcome) -> bool| outcomes.iter().filter(is).count();
    let hold = count(|outcome| **outcome == Outcome::Holds);
    let fail = count(|outcome| matches!(outcome, Outcome::Fails(_)));
    let all = outcomes.len();
    let mark = if fail > 0 { '✘' } else { '·' };
    match all - hold - fail {
        0 if fail == 0 => format!("✔ {what}: all {all} hold"),
        0 => format!("{mark} {what}: {hold} of {all} hold"),
        not_run => format!("{mark} {what}: {hold} of {all} hold, {not_run} not run"),
    }
}

/// Why a check failed, and how to see it: everything, or only the start.
fn in_words(why: &str, all: bool) -> String {
    let (most, longest) = if all { (usize::MAX, usize::MAX) } else { SHOWN };
    let (why, tried) = why.split_at(why.rfind(TRIED).unwrap_or(why.len()));
    // A program that seems to hang is named twice.
    let why = why.lines().filter(|line| !line.trim().is_empty() && !line.starts_with(TRIED));
    // After that there may be more of a script, or a hint: `--hostname is an option`.
    let tried =
        tried.lines().filter(|line| all || line.starts_with(TRIED) || line.starts_with("--"));
    let mut words = String::new();
    for line in why.take(most).chain(tried) {
        let short: String = line.chars().take(longest).collect();
        let more = if short.len() < line.len() { "…" } else { "" };
        words += &format!("    {short}{more}\n");
    }
    words
}

/// The arguments that run the same checks, with some words before the program.
fn again(args: &Args, words: &str, argv: &[OsString]) -> String {
    let no_run = if args.no_run { " --no-run" } else { "" };
    format!("check {}{no_run} -- {words}{}", args.step, typed(argv))
}
