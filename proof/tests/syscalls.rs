//! How many system calls each step makes, exactly: a step that makes one more, or one less, does
//! not go unnoticed. Time depends on the machine, this does not.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::close;
use proof::case::{self, Needs, case, snapshot};
use proof::programs::{program, rootfs};
use proof::strace::{Call, INCIDENTAL, known_as, strace};
use workshop::host;
use workshop::steps::{STEPS, Step};

/// For those who read the snapshot.
const LEFT_OUT: &str = "\
Not counted, for it depends on the machine, on the versions of libc and Rust, or on the moment:
what is called before main and after it, and by the command; memory; signals' masks and handlers;
the looks (poll, waitid, read of the signalfd) before a child is reaped; what only asks (getcwd, or
the fstat and lseek of an open file); umask; cgroups above the test's own; what only some kernels
have (five files in /proc, the limit of swap). A file is read once, however long it is, and a
directory, too.
";

/// What is not counted, whatever it is about. All that is not named, here or below, is.
#[rustfmt::skip]
const NOT_COUNTED: &[&str] = &[
    "fcntl", "fstat", "getcwd", "getpid", "lseek", "poll", "rt_sigprocmask", "umask", "waitid",
];

/// What only some kernels have.
#[rustfmt::skip]
const OPTIONAL: &[&str] = &[
    "/proc/acpi\"", "/proc/scsi\"", "/proc/kcore\"", "/proc/keys\"", "/proc/sysrq-trigger\"",
    "memory.memsw.", "memory.swap.",
];

fn main() -> ExitCode {
    let counted = case("as-in-the-snapshot", Needs::ROOT.with(&["strace"]), count_all);
    let as_in_the_snapshot = counted.then(|said| {
        let (version, table) = said.split_once('\n').context("no table")?;
        snapshot(&format!("syscalls-{version}"), table);
        Ok(())
    });
    case::run(1, vec![as_in_the_snapshot])
}

/// How often what is called.
type Counts = BTreeMap<String, usize>;

/// The version of the host's cgroups, and the table.
fn count_all() -> Result<String> {
    // Each step closes what it inherits, and that may be anything.
    for fd in 3..1024 {
        let _ = close(fd);
    }
    // Nobody else's cgroups are below those of the throw-away host.
    let own = host::trees();
    ensure!(!own.is_empty(), "no cgroups");
    let v2 = own.iter().any(|dir| dir.join("cgroup.subtree_control").exists());
    let own: Vec<String> = own.iter().map(|dir| dir.display().to_string()).collect();
    let mut counts = Vec::new();
    for (i, step) in STEPS.iter().enumerate() {
        let options = STEPS[..=i].iter().flat_map(|step| step.options);
        // That is in $ROOTFS.
        let options: Vec<_> = options.filter(|option| !option.starts_with("--rootfs")).collect();
        let counted = count(&run_of(step, &options), &own);
        counts.push(counted.with_context(|| step.name)?);
    }
    Ok(format!("{}\n{}", if v2 { "v2" } else { "v1" }, table(&counts)))
}

/// Runs `true` in a container.
fn run_of(step: &Step, options: &[&&str]) -> Command {
    let mut command = Command::new(program(step.name));
    command.arg("run").args(options);
    if step.rootfs {
        command.arg("/bin/true")
    } else {
        command.arg(rootfs().join("bin/true"))
    };
    command
}

/// Counts what it calls. Anew, if a cgroup was not yet free when it was removed: then the step
/// tries again.
fn count(command: &Command, own: &[String]) -> Result<Counts> {
    for _ in 0..20 {
        let (ended, processes) = strace(&["-ff"], command)?;
        ended.expect(0)?;
        let mut calls = processes.iter().flat_map(|process| &process.calls);
        if calls.any(|call| call.line.contains(" EBUSY ")) {
            continue;
        }
        let mut counts = Counts::new();
        for process in &processes {
            add(&process.calls, own, &mut counts);
        }
        return Ok(counts);
    }
    bail!("its cgroup was never free at once")
}

/// Counts what a process calls.
fn add(calls: &[Call], own: &[String], counts: &mut Counts) {
    // What was called last and of which file.
    let mut last = ("", "");
    for call in calls {
        let name = known_as(&call.name);
        let executed = name == "execve" && !call.line.contains(") = -1 ");
        if !executed && (!call.in_main || is_left_out(name, &call.line, own)) {
            continue;
        }
        let this = (name, call.line.split([',', ')']).next().unwrap_or_default());
        let goes_on = ["read", "getdents"].contains(&name) && this == last;
        last = this;
        if !goes_on {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
}

/// Does it depend on the machine, or on the moment?
fn is_left_out(name: &str, line: &str, own: &[String]) -> bool {
    let elsewhere = line.contains("/sys/fs/cgroup") && !own.iter().any(|dir| line.contains(dir));
    match name {
        _ if INCIDENTAL.contains(&name) || NOT_COUNTED.contains(&name) => true,
        "clone" => line.contains(" ENOSYS "),
        "read" if line.contains("signalfd") => true,
        "stat" if line.contains("AT_EMPTY_PATH") => true,
        // Only those that found a child.
        "wait" => !line.contains("WIFEXITED"),
        _ => elsewhere || OPTIONAL.iter().any(|path| line.contains(path)),
    }
}

/// For the snapshot.
fn table(counts: &[Counts]) -> String {
    let names: BTreeSet<&String> = counts.iter().flat_map(|counts| counts.keys()).collect();
    let mut text = format!("{LEFT_OUT}\n");
    text += &row("step", 1..=counts.len());
    for name in names {
        text += &row(name, counts.iter().map(|counts| counts.get(name).copied().unwrap_or(0)));
    }
    text + &row("all", counts.iter().map(|counts| counts.values().sum()))
}

fn row(name: &str, cells: impl Iterator<Item = usize>) -> String {
    let cells: String = cells.map(|count| format!("{count:>6}")).collect();
    format!("{name:12}{cells}\n")
}
