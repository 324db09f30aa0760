//! What came of the checks, in words.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc::Receiver;

use anyhow::{Context, Result};

use super::{Args, NEEDS_ROOT, Outcome};
use crate::checks::{Check, Subject, TRIED};
use crate::container::typed;

/// How many lines are shown of why a check fails, unless one wants to see all.
const SHOWN: usize = 3;

/// Says what came of the checks: what fails as soon as that is known, and a line for each wall.
pub(super) fn tell(
    checks: &[&Check],
    results: &[Receiver<Outcome>],
    args: &Args,
    subject: &Subject,
) -> Result<ExitCode> {
    let mut out = io::stdout();
    let mut outcomes = Vec::new();
    for wall in checks.chunk_by(|check, next| check.from == next.from) {
        let first = outcomes.len();
        for check in wall {
            let outcome = results[outcomes.len()].recv().context("a check crashed")?;
            let (proves, id) = (check.proves, check.id);
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
        let page = wall[0].chapter();
        match summary(page, &outcomes[first..]) {
            (line, 0) => writeln!(out, "{line}")?,
            (line, _) => writeln!(out, "{line}; read book/src/{page}.md")?,
        }
    }
    let (line, fail) = summary("together", &outcomes);
    if checks[0].from != checks[checks.len() - 1].from {
        writeln!(out, "{line}")?;
    }
    let hold = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Holds));
    if outcomes.iter().any(|outcome| matches!(outcome, Outcome::NotRun(NEEDS_ROOT))) {
        let us = env::current_exe().context("our own path")?;
        writeln!(out, "With root: sudo {} {}", us.display(), again(args, "", subject))?;
    }
    if fail > 0 && !hold {
        let run = if subject.run { " run" } else { "" };
        let command = typed(&subject.argv);
        writeln!(
            out,
            "Not one: does it start a command at all? Try it: {command}{run} echo hello"
        )?;
        if subject.rootfs.is_some() {
            // As Go's `exec.Command` does.
            let again = again(args, "env PATH=/bin:/usr/bin ", subject);
            writeln!(
                out,
                "If it looks for the command before it enters the root filesystem, it \
                finds the host's /usr/bin/echo. Give it another PATH:\n    cargo workshop {again}"
            )?;
        }
    }
    Ok(ExitCode::from(u8::from(fail > 0 || !hold)))
}

/// As in "✔ step03-pid: all 12 hold"; and how many fail.
fn summary(what: &str, outcomes: &[Outcome]) -> (String, usize) {
    let count = |is: fn(&&Outcome) -> bool| outcomes.iter().filter(is).count();
    let hold = count(|outcome| matches!(outcome, Outcome::Holds));
    let fail = count(|outcome| matches!(outcome, Outcome::Fails(_)));
    let all = outcomes.len();
    let line = match (fail, all - hold - fail) {
        (0, 0) => format!("✔ {what}: all {all} hold"),
        (0, not_run) => format!("· {what}: {hold} of {all} hold, {not_run} not run"),
        (_, 0) => format!("✘ {what}: {hold} of {all} hold"),
        (_, not_run) => format!("✘ {what}: {hold} of {all} hold, {not_run} not run"),
    };
    (line, fail)
}

/// Why a check failed, and how to see it.
fn in_words(why: &str, all: bool) -> String {
    let (why, tried) = why.split_at(why.rfind(&format!("\n{TRIED}")).unwrap_or(why.len()));
    // It may say twice how it was started: when it seems to hang, too.
    let mut words: Vec<_> = why.lines().filter(|line| !line.starts_with(TRIED)).collect();
    if words.len() > SHOWN && !all {
        words.truncate(SHOWN);
        words.push("…");
    }
    words.extend(tried.lines());
    words.retain(|line| !line.trim().is_empty());
    words.iter().map(|line| format!("    {}\n", cut(line))).collect()
}

/// A line of a length that one reads.
fn cut(line: &str) -> String {
    let short: String = line.trim_end().chars().take(200).collect();
    if short.len() < line.trim_end().len() { short + "…" } else { short }
}

/// The arguments that check the same, with some words before the program.
fn again(args: &Args, words: &str, subject: &Subject) -> String {
    let no_run = if args.no_run { " --no-run" } else { "" };
    format!("check {}{no_run} -- {words}{}", args.step, typed(&subject.argv))
}
