//! What programs call: a run under strace, process by process and line by line.

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use workshop::container::{Ended, end};
use workshop::temp::TempDir;

/// A process of the run.
pub struct Process {
    /// Who it is.
    pub who: Who,
    /// Its calls, signals and end, a line each, as strace writes them.
    pub lines: Vec<String>,
}

/// Who a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The one that we start as `PROGRAM run …`.
    Run,
    /// PID 1 of the container: it starts as `/proc/self/exe child …`.
    Child,
    /// Any other: the one that becomes the command, for one.
    Command,
}

/// System calls under the name that we use, and under those of other architectures and versions of
/// libc.
const ALIASES: &[&[&str]] = &[
    &["clone", "clone3", "vfork", "fork"],
    &["getdents", "getdents64"],
    &["kill", "tgkill", "rt_sigqueueinfo"],
    &["mkdir", "mkdirat"],
    &["open", "openat", "creat"],
    &["pipe", "pipe2"],
    &["poll", "ppoll"],
    &["readlink", "readlinkat"],
    &["rmdir", "unlinkat"],
    &["signalfd", "signalfd4"],
    &["stat", "statx", "newfstatat", "fstatat64", "lstat", "access", "faccessat", "faccessat2"],
    &["symlink", "symlinkat"],
    &["umount", "umount2"],
    &["wait", "wait4", "waitpid"],
    &["write", "writev"],
];

/// Calls that nobody makes on purpose: they are the allocator's, std's for threads and panics, and
/// libc's around a spawn.
#[rustfmt::skip]
pub const INCIDENTAL: &[&str] = &[
    "brk", "clock_gettime", "exit_group", "futex", "getrandom", "gettid", "madvise", "mmap",
    "mprotect", "mremap", "munmap", "rt_sigaction", "sigaltstack",
];

/// The name of the call in a line, and the rest of the line. Nothing for a signal, or the end.
pub fn call(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.split_once('(')?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.chars().all(plain).then_some((name, rest))
}

/// The name that we use for a call, whatever name it has here.
pub fn known_as(name: &str) -> &str {
    let same = ALIASES.iter().find(|names| names.contains(&name));
    same.map_or(name, |names| names[0])
}

/// Runs a command under strace to its end, and returns what it called. With the option `-ff`, what
/// all of its processes called.
pub fn strace(options: &[impl AsRef<OsStr>], command: &Command) -> Result<(Ended, Vec<Process>)> {
    let logs = TempDir::new("strace-")?;
    let mut strace = Command::new("strace");
    // With the paths of descriptors (-y). To look where an error comes from takes calls, too.
    strace
        .env_remove("RUST_BACKTRACE")
        .args(["-y", "--quiet=all", "-o"])
        .arg(logs.path().join("log"))
        .args(options);
    strace.arg("--").arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    let ended = end(&mut strace)?;
    let mut processes = Vec::new();
    for log in fs::read_dir(logs.path()).context("read what strace wrote")? {
        let log = fs::read(log?.path()).context("read what strace wrote")?;
        let lines: Vec<String> = String::from_utf8_lossy(&log).lines().map(str::to_owned).collect();
        let who = match lines.iter().find(|line| line.starts_with("execve(")) {
            Some(line) if line.contains("\"/proc/self/exe\"") => Who::Child,
            Some(line) if line.contains("\"run\"") => Who::Run,
            _ => Who::Command,
        };
        processes.push(Process { who, lines });
    }
    Ok((ended, processes))
}
