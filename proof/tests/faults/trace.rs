//! Runs of a step under strace: one that nothing disturbs shows which calls it makes, and where to
//! find the one that is to fail in another.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use workshop::container::{Ended, end};

/// Whose call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The process that we start.
    Run,
    /// PID 1 of the container.
    Child,
    /// The process that becomes the command.
    Command,
}

/// What a process called, a line each.
pub struct Process {
    pub who: Who,
    pub lines: Vec<String>,
}

/// Other names of a system call, on other architectures and in other versions of libc.
const ALIASES: &[&[&str]] = &[
    &["clone3", "clone", "vfork", "fork"],
    &["mkdir", "mkdirat"],
    &["pipe2", "pipe"],
    &["rmdir", "unlinkat"],
    &["statx", "newfstatat", "stat"],
    &["symlink", "symlinkat"],
];

/// Whether a line is of a call, such as `mount "/proc"`: its name, and what is in its arguments.
pub fn is(line: &str, call: &str) -> bool {
    let (wanted, arguments) = call.split_once(' ').unwrap_or((call, ""));
    let aliases = ALIASES.iter().find(|names| names[0] == wanted);
    let known = |name| name == wanted || aliases.is_some_and(|names| names.contains(&name));
    let of = line.split_once('(');
    of.is_some_and(|(name, rest)| known(name) && rest.contains(arguments)) && !is_foreign(line)
}

/// Whether it is about the cgroup of a container that runs elsewhere on this machine, which step 5
/// looks at, too.
pub fn is_foreign(line: &str) -> bool {
    line.contains("cgroup/") && line.contains("/step05-") && !line.contains("/workshop-")
}

/// The name of the last of these calls, one after the other, and how many of that name the process
/// has made by then.
pub fn find(process: &Process, calls: &[&str]) -> Option<(String, usize)> {
    let mut at = 0;
    for call in calls {
        at += process.lines[at..].iter().position(|line| is(line, call))? + 1;
    }
    let name = |line: &String| line.split('(').next().unwrap_or_default().to_owned();
    let wanted = name(&process.lines[at - 1]);
    let count = process.lines[..at].iter().filter(|line| name(line) == wanted).count();
    Some((wanted, count))
}

/// Runs a program under strace with these options, and returns what all of its processes called.
pub fn strace(options: &[String], argv: &[OsString]) -> Result<(Ended, Vec<Process>)> {
    let logs = tempfile::tempdir().context("make a directory")?;
    let mut strace = Command::new("strace");
    strace.env_remove("RUST_BACKTRACE");
    // With the paths of descriptors.
    strace.args(["--quiet=all", "-y", "-o"]).arg(logs.path().join("log")).args(options).arg("--");
    let ended = end(strace.args(argv).stdin(Stdio::null()))?;
    let mut processes = Vec::new();
    for log in fs::read_dir(logs.path())? {
        let text = fs::read(log?.path())?;
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let first = lines.iter().find(|line| is(line, "execve"));
        let who = match first {
            Some(line) if line.contains("\"/proc/self/exe\"") => Who::Child,
            Some(line) if is(line, "execve \"run\"") => Who::Run,
            _ => Who::Command,
        };
        processes.push(Process { who, lines });
    }
    Ok((ended, processes))
}
