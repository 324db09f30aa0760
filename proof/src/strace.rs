//! The system calls of a program: a run under strace, by process and line.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use workshop::command::{Ended, behind, end};
use workshop::temp::TempDir;

/// A process of the run.
pub struct Process {
    /// Which process this is.
    pub who: Who,
    /// Its calls, in order.
    pub calls: Vec<Call>,
}

/// A system call.
pub struct Call {
    /// Its name on this machine.
    pub name: String,
    /// The whole line that strace writes.
    pub line: String,
    /// Whether `main` of a Rust program makes it, and not the code around `main`.
    pub in_main: bool,
}

/// The role of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The process that we start as `PROGRAM run …`.
    Run,
    /// PID 1 of the container, which starts as `/proc/self/exe child …`.
    Child,
    /// Any other process, such as the command.
    Command,
}

/// Our name for a system call, then its names on other architectures and in other versions of libc.
#[rustfmt::skip]
const ALIASES: &[&[&str]] = &[
    &["clone", "clone3", "vfork", "fork"], &["getdents", "getdents64"], &["mkdir", "mkdirat"],
    &["open", "openat", "creat"], &["pipe", "pipe2"], &["poll", "ppoll"],
    &["readlink", "readlinkat"], &["rmdir", "unlinkat"], &["signalfd", "signalfd4"],
    &["stat", "statx", "newfstatat", "fstatat64", "lstat", "access", "faccessat", "faccessat2"],
    &["symlink", "symlinkat"], &["umount", "umount2"], &["wait", "wait4", "waitpid"],
    &["write", "writev"],
];

/// Calls that nobody makes on purpose. They come from the allocator, from std for threads and
/// panics, and from libc around a spawn.
#[rustfmt::skip]
pub const INCIDENTAL: &[&str] = &[
    "brk", "clock_gettime", "exit_group", "futex", "getrandom", "gettid", "madvise", "mmap",
    "mprotect", "mremap", "munmap", "rt_sigaction", "sigaltstack",
];

/// Our name for a call.
pub fn known_as(name: &str) -> &str {
    let same = ALIASES.iter().find(|names| names.contains(&name));
    same.map_or(name, |names| names[0])
}

/// Runs a command under strace to its end, and returns its calls. With the option `-ff`, the calls
/// of all its processes.
pub fn strace(options: &[&str], command: &Command) -> Result<(Ended, Vec<Process>)> {
    let logs = TempDir::new("strace-")?;
    let log = logs.path().join("log").display().to_string();
    // -y shows the paths of descriptors.
    let front = [&["strace", "-y", "--quiet=all", "-o", &log], options, &["--"]].concat();
    let mut strace = behind(&front, command);
    // Collecting a backtrace makes calls, too.
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
    // Other lines report signals and exits.
    for line in log.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase())) {
        let Some((name, rest)) = line.split_once('(') else { continue };
        match name {
            // The last call of std before main, and its first call after main.
            "sigaltstack" => in_main = rest.starts_with('{') && !rest.contains("SS_DISABLE"),
            "execve" => in_main &= rest.contains(") = -1 "),
            _ => {}
        }
        calls.push(Call { name: name.to_owned(), line: line.to_owned(), in_main });
    }
    Process { who, calls }
}
