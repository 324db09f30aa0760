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

/// Says what came of the checks: what fails as soon as that is known, a line for each wall, and one
/// about the ways out.
pub(super) fn tell(
    checks: &[&Check],
    results: &[Receiver<Outcome>],
    args: &Args,
    subject: &Subject,
) -> Result<ExitCode> {
    let mut out = io::stdout();
    let (owed, ways) = checks.split_at(checks.partition_point(|check| check.from <= args.step));
    let mut results = results.iter();
    let mut next = || results.next().context("no result")?.recv().context("a check crashed");
    let (mut outcomes, mut starts) = (Vec::new(), true);
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
                    starts &= id != "runs-the-command";
                }
            }
            outcomes.push(outcome);
        }
        writeln!(out, "{}", summary(wall[0].chapter(), &outcomes[first..], true))?;
    }
    if owed[0].from != owed[owed.len() - 1].from {
        writeln!(out, "{}", summary("together", &outcomes, false))?;
    }
    if outcomes.iter().any(|outcome| matches!(outcome, Outcome::NotRun(NEEDS_ROOT))) {
        let us = env::current_exe().context("our own path")?;
        writeln!(out, "With root: sudo {} {}", us.display(), again(args, "", subject))?;
    }
    if !starts {
        let run = if subject.run { " run" } else { "" };
        let command = typed(&subject.argv);
        writeln!(out, "Does it start a command at all? Try it: {command}{run} echo hello")?;
    }
    if !starts && subject.rootfs.is_some() {
        // As Go's `exec.Command` does.
        let again = again(args, "env PATH=/bin:/usr/bin ", subject);
        writeln!(
            out,
            "If it looks for the command before it enters the root filesystem, it finds \
            the host's: /usr/bin/echo. Give it another PATH:\n    cargo workshop {again}"
        )?;
    }
    let mut open = Vec::new();
    for way in ways {
        if let Outcome::Fails(_) = next()? {
            open.push(way.id);
        }
    }
    if starts && !ways.is_empty() {
        let open = if open.is_empty() { "none".to_owned() } else { open.join(", ") };
        writeln!(out, "Known ways out that are open (book/src/ways-out.md): {open}")?;
    }
    let holds = |outcome| matches!(outcome, &Outcome::Holds);
    let fails = |outcome| matches!(outcome, &Outcome::Fails(_));
    Ok(ExitCode::from(u8::from(outcomes.iter().any(fails) || !outcomes.iter().any(holds))))
}

/// As in "✔ step03-pid: all 12 hold".
fn summary(what: &str, outcomes: &[Outcome], is_page: bool) -> String {
    let (all, mut hold, mut not_run) = (outcomes.len(), 0, 0);
    for outcome in outcomes {
        match outcome {
            Outcome::Holds => hold += 1,
            Outcome::NotRun(_) => not_run += 1,
            Outcome::Fails(_) => {}
        }
    }
    let some = if not_run == 0 { String::new() } else { format!(", {not_run} not run") };
    match all - hold - not_run {
        0 if not_run == 0 => format!("✔ {what}: all {all} hold"),
        0 => format!("· {what}: {hold} of {all} hold{some}"),
        _ if is_page => format!("✘ {what}: {hold} of {all} hold{some}; read book/src/{what}.md"),
        _ => format!("✘ {what}: {hold} of {all} hold{some}"),
    }
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
