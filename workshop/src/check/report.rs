//! What came of the checks, in words.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::Receiver;

use crate::checks::{Check, Subject, TRIED};
use crate::container::typed;
use crate::machine::Privilege;
use anyhow::{Context, Result};

use super::{NEEDS_ROOT, Outcome};

/// How much of what a program says is shown.
const SHOWN: usize = 4;

/// Says what came of the checks, in their order, as soon as it is known.
pub(super) fn tell(
    checks: &[&Check],
    results: &[Receiver<Outcome>],
    step: usize,
    subject: &Subject,
    brief: bool,
) -> Result<ExitCode> {
    let mut out = io::stdout();
    let (mut hold, mut not_run, mut read, mut first) = (0, 0, Vec::new(), None);
    let (mut from, mut takes_root) = (0, false);
    for (check, result) in checks.iter().zip(results) {
        if check.from != from {
            from = check.from;
            writeln!(out, "{}:", check.chapter())?;
        }
        let (proves, id) = (check.proves, check.id);
        let result = result.recv().context("a check came to no end")?;
        match result {
            Outcome::Holds => {
                hold += 1;
                if !brief {
                    writeln!(out, "✔ {proves} ({id})")?;
                }
            }
            Outcome::NotRun(why) => {
                not_run += 1;
                takes_root |= why == NEEDS_ROOT;
                writeln!(out, "· {proves} ({id})\n    not run: {why}")?;
            }
            Outcome::Fails(why) => {
                writeln!(out, "✘ {proves} ({id})")?;
                if brief {
                    writeln!(out, "    {}", in_a_line(&why))?;
                } else {
                    writeln!(out, "{}", in_words(&why))?;
                    writeln!(out, "    read {0}: book/src/{0}.md", check.chapter())?;
                }
                if !read.contains(&check.chapter()) {
                    read.push(check.chapter());
                }
                first.get_or_insert(why);
            }
        }
    }
    let all = checks.len();
    let holding = match hold {
        all_of_them if all_of_them == all => format!("All {all} hold"),
        some => format!("{some} of {all} hold"),
    };
    let not_run = if not_run > 0 { format!(", {not_run} not run") } else { String::new() };
    let reading =
        if read.is_empty() { String::new() } else { format!("; read {}", read.join(", ")) };
    writeln!(out, "{holding}{not_run}{reading}.")?;
    if takes_root && subject.privilege != Privilege::Root {
        let us = env::current_exe().context("our own path")?;
        writeln!(out, "With root: sudo {}", again(&us, step, subject, &subject.argv))?;
    }
    if let (0, Some(why)) = (hold, first) {
        if let Some(path) = only_outside(subject, &why) {
            writeln!(out, "{}", another_path(step, subject, &path))?;
        } else if all > 1 {
            let run = if subject.run { " run" } else { "" };
            let typed = format!("{}{run} echo hello", typed(&subject.argv));
            writeln!(out, "Not one: does it start a command at all? Try it: {typed}")?;
        }
    }
    Ok(ExitCode::from(u8::from(!read.is_empty() || hold == 0)))
}

/// Why a check failed: the reason, as far as it is needed, and how to see it.
fn in_words(why: &str) -> String {
    let (why, tried) = match why.rfind(&format!("\n{TRIED}")) {
        Some(at) => (&why[..at], &why[at + 1..]),
        None => (why, ""),
    };
    let lines: Vec<_> = reasons(why).collect();
    let mut shown: Vec<_> = lines.iter().take(SHOWN).map(|line| cut(line)).collect();
    if lines.len() > SHOWN {
        shown.push("…".to_owned());
    }
    shown.extend(tried.lines().map(cut));
    shown.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// The lines that say why. (It may say twice how it was started: when it seems to hang, too.)
fn reasons(why: &str) -> impl Iterator<Item = &str> {
    why.lines().filter(|line| !line.trim().is_empty() && !line.starts_with(TRIED))
}

/// The same in a line.
fn in_a_line(why: &str) -> String {
    let mut lines = reasons(why);
    let first = lines.next().unwrap_or_default();
    match first.strip_suffix(", but:") {
        Some(first) => cut(first),
        None if first.ends_with(':') => {
            cut(&format!("{first} {}", lines.next().unwrap_or_default()))
        }
        None => cut(first),
    }
}

/// A line of a length that one reads.
fn cut(line: &str) -> String {
    let short: String = line.trim_end().chars().take(200).collect();
    if short.len() < line.trim_end().len() { short + "…" } else { short }
}

/// A file in what a program says that is on this machine and not in the root filesystem.
fn only_outside(subject: &Subject, why: &str) -> Option<String> {
    let rootfs = subject.rootfs?;
    let ends = |c: char| c.is_whitespace() || "\"'`:,;()[]".contains(c);
    let mut paths = reasons(why).flat_map(|line| line.split(ends));
    let found = paths.find(|path| {
        let inside = path.strip_prefix('/').map(|inside| rootfs.join(inside));
        let missing = inside.is_some_and(|inside| inside.symlink_metadata().is_err());
        missing && Path::new(path).is_file() && !path.starts_with("/proc/")
    });
    found.map(str::to_owned)
}

/// How to run the checks on a program that looks for the command before it enters the root.
fn another_path(step: usize, subject: &Subject, path: &str) -> String {
    let argv = ["env", "PATH=/bin:/usr/bin"].map(OsString::from);
    let argv: Vec<_> = argv.into_iter().chain(subject.argv.iter().cloned()).collect();
    format!(
        "Not one: {path} is on this machine, and not in the root filesystem. It looks for the \
         command in the PATH outside; this gives it one that fits both:\n    {}",
        again(Path::new("cargo workshop"), step, subject, &argv)
    )
}

/// The command that checks the same by other means.
fn again(tool: &Path, step: usize, subject: &Subject, argv: &[OsString]) -> String {
    let no_run = if subject.run { "" } else { " --no-run" };
    format!("{} check {step}{no_run} -- {}", tool.display(), typed(argv))
}
