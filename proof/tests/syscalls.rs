//! How many system calls each step makes, exactly: a step that makes one more, or one less, does
//! not go unnoticed. Time depends on the machine, this does not.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use nix::unistd::close;
use proof::case::{self, Needs, case, snapshot};
use proof::programs::{program, rootfs};
use proof::strace::{Call, INCIDENTAL, Process, known_as, strace};
use workshop::host;
use workshop::steps::STEPS;

/// For those who read the snapshot.
const LEFT_OUT: &str = "\
Not counted, for it depends on the machine, on the versions of libc and Rust, or on the moment:
what is called before main and after it, and by the command; memory; signals' masks and handlers;
the looks (poll, waitid, read of the signalfd) before a child is reaped; what only asks (getcwd, or
the fstat and lseek of an open file); umask; cgroups above the test's own; what only some kernels
have (five files in /proc, the limit of swap). A file is read once, however long it is, and a
directory, too.
";

/// What only some kernels have.
#[rustfmt::skip]
const OPTIONAL: &[&str] = &[
    "/proc/acpi\"", "/proc/scsi\"", "/proc/kcore\"", "/proc/keys\"", "/proc/sysrq-trigger\"",
    "memory.memsw.", "memory.swap.",
];

fn main() -> ExitCode {
    let counted = case("as-in-the-snapshot", Needs::ROOT.with(&["strace"]), count_all);
    let recorded = counted.then(|said| {
        let (version, table) = said.split_once('\n').context("no table")?;
        snapshot(&format!("syscalls-{version}"), table);
        Ok(())
    });
    case::run(1, vec![recorded])
}

/// How often each step calls what.
type Counts = BTreeMap<String, [usize; STEPS.len()]>;

/// The version of the host's cgroups, and the table.
fn count_all() -> Result<String> {
    // Each step closes what it inherits, and that may be anything.
    for fd in 3..1024 {
        let _ = close(fd);
    }
    let v2 = host::trees().iter().any(|dir| dir.join("cgroup.subtree_control").exists());
    let mut counts = Counts::new();
    for (i, step) in STEPS.iter().enumerate() {
        let options = STEPS[..=i].iter().flat_map(|step| step.options);
        let mut command = Command::new(program(step.name));
        // That one is in $ROOTFS.
        command.arg("run").args(options.filter(|option| !option.starts_with("--rootfs")));
        // Without a root filesystem of its own, what is `true` depends on the machine.
        let root = if step.rootfs { Path::new("/") } else { rootfs() };
        for process in traced(command.arg(root.join("bin/true"))).context(step.name)? {
            for name in counted(&process.calls) {
                counts.entry(name.to_owned()).or_default()[i] += 1;
            }
        }
    }
    Ok(format!("{}\n{}", if v2 { "v2" } else { "v1" }, table(&counts)))
}

/// What its processes call. Anew, if a cgroup was not yet free when it was removed: then the step
/// tries again.
fn traced(command: &Command) -> Result<Vec<Process>> {
    for _ in 0..20 {
        let (ended, processes) = strace(&["-ff"], command)?;
        ended.expect(0)?;
        let mut calls = processes.iter().flat_map(|process| &process.calls);
        if !calls.any(|call| call.line.contains(" EBUSY ")) {
            return Ok(processes);
        }
    }
    bail!("its cgroup was never free at once")
}

/// The names of a process's calls that count.
fn counted(calls: &[Call]) -> Vec<&str> {
    let mut names = Vec::new();
    // What was called last and of which file.
    let mut last = ("", "");
    for call in calls {
        let name = known_as(&call.name);
        let executed = name == "execve" && !call.line.contains(") = -1 ");
        if !executed && (!call.in_main || is_left_out(name, &call.line)) {
            continue;
        }
        let this = (name, call.line.split([',', ')']).next().unwrap_or_default());
        let goes_on = ["read", "getdents"].contains(&name) && this == last;
        if !goes_on {
            names.push(name);
        }
        last = this;
    }
    names
}

/// Does it depend on the machine, or on the moment?
fn is_left_out(name: &str, line: &str) -> bool {
    // Only the cgroups of the throw-away host have nobody else's beside them.
    let elsewhere = line.contains("/sys/fs/cgroup") && !line.contains("/workshop-");
    match name {
        _ if INCIDENTAL.contains(&name) => true,
        "fcntl" | "fstat" | "getcwd" | "getpid" | "lseek" | "poll" | "rt_sigprocmask" | "umask"
        | "waitid" => true,
        "clone" => line.contains(" ENOSYS "),
        // Strace cuts the path that it says.
        "readlink" => false,
        "read" if line.contains("signalfd") => true,
        "stat" if line.contains("AT_EMPTY_PATH") => true,
        // Only those that found a child.
        "wait" => !line.contains("WIFEXITED"),
        _ => elsewhere || OPTIONAL.iter().any(|path| line.contains(path)),
    }
}

/// For the snapshot.
fn table(counts: &Counts) -> String {
    let row = |name: &str, cell: &dyn Fn(usize) -> usize| {
        let cells: String = (0..STEPS.len()).map(|i| format!("{:>6}", cell(i))).collect();
        format!("{name:12}{cells}\n")
    };
    let mut text = format!("{LEFT_OUT}\n{}", row("step", &|i| i + 1));
    for (name, cells) in counts {
        text += &row(name, &|i| cells[i]);
    }
    text + &row("all", &|i| counts.values().map(|cells| cells[i]).sum())
}
