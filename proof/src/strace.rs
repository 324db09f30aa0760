//! What programs call: a run under strace, process by process and line by line.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use workshop::command::{Ended, behind, end};
use workshop::temp::TempDir;

/// A process of the run.
pub struct Process {
    /// Who it is.
    pub who: Who,
    /// What it called.
    pub calls: Vec<Call>,
}

/// A system call.
pub struct Call {
    /// Its name on this machine.
    pub name: String,
    /// The whole line, as strace writes it.
    pub line: String,
    /// Whether it comes from a Rust program's `main`, not from what is done before and after that.
    pub in_main: bool,
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
#[rustfmt::skip]
const ALIASES: &[&[&str]] = &[
    &["clone", "clone3", "vfork", "fork"], &["getdents", "getdents64"], &["mkdir", "mkdirat"],
    &["open", "openat", "creat"], &["pipe", "pipe2"], &["poll", "ppoll"],
    &["readlink", "readlinkat"], &["rmdir", "unlinkat"], &["signalfd", "signalfd4"],
    &["stat", "statx", "newfstatat", "fstatat64", "lstat", "access", "faccessat", "faccessat2"],
    &["symlink", "symlinkat"], &["umount", "umount2"], &["wait", "wait4", "waitpid"],
    &["write", "writev"],
];

/// Calls that nobody makes on purpose: they are the allocator's, std's for threads and panics, and
/// libc's around a spawn.
#[rustfmt::skip]
pub const INCIDENTAL: &[&str] = &[
    "brk", "clock_gettime", "exit_group", "futex", "getrandom", "gettid", "madvise", "mmap",
    "mprotect", "mremap", "munmap", "rt_sigaction", "sigaltstack",
];

/// The name that we use for a call, whatever name it has here.
pub fn known_as(name: &str) -> &str {
    let same = ALIASES.iter().find(|names| names.contains(&name));
    same.map_or(name, |names| names[0])
}

/// Runs a command under strace to its end, and returns what it called. With the option `-ff`, what
/// all of its processes called.
pub fn strace(options: &[&str], command: &Command) -> Result<(Ended, Vec<Process>)> {
    let logs = TempDir::new("strace-")?;
    let log = logs.path().join("log").display().to_string();
    // With the paths of descriptors (-y).
    let front = [&["strace", "-y", "--quiet=all", "-o", &log], options, &["--"]].concat();
    let mut strace = behind(&front, command);
    // To find out where an error comes from takes calls, too.
    strace.env("RUST_BACKTRACE", "0");
    let ended = end(&mut strace)?;
    let mut processes = Vec::new();
    for log in fs::read_dir(logs.path()).context("read what strace wrote")? {
        let log = fs::read(log?.path()).context("read what strace wrote")?;
        processes.push(process(&String::from_utf8_lossy(&log)));
    }
    Ok((ended, processes))
}

fn process(log: &str) -> Process {
    let who = match log.lines().find(|line| line.starts_with("execve(")) {
        Some(line) if line.contains("\"/proc/self/exe\"") => Who::Child,
        Some(line) if line.contains("\"run\"") => Who::Run,
        _ => Who::Command,
    };
    let mut calls = Vec::new();
    let mut in_main = false;
    // The others say that it was sent a signal, or how it ended.
    for line in log.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase())) {
        let Some((name, rest)) = line.split_once('(') else { continue };
        match name {
            // The last call that std makes before main, and its first one after that.
            "sigaltstack" => in_main = rest.starts_with('{') && !rest.contains("SS_DISABLE"),
            "execve" => in_main &= rest.contains(") = -1 "),
            _ => {}
        }
        calls.push(Call { name: name.to_owned(), line: line.to_owned(), in_main });
    }
    Process { who, calls }
}
