//! Counts the system calls of each step, exactly, so that one call more or less is noticed. The
//! time depends on the machine, and this number does not.

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

/// For readers of the snapshot.
const LEFT_OUT: &str = "\
Not counted, because it depends on the machine, on the versions of libc and Rust, or on timing:
calls before and after main, and calls of the command; memory; signal masks and handlers; the looks
(poll, waitid, read of the signalfd) before a child is reaped; calls that only ask (getcwd, or fstat
and lseek of an open file); umask; cgroups above the test's own; files that only some kernels have
(five in /proc, the limit of swap). Reading a file or a directory counts once, however long it is.
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

/// How often each step makes each call.
type Counts = BTreeMap<String, [usize; STEPS.len()]>;

/// The version of the host's cgroups, and the table.
fn count_all() -> Result<String> {
    // A step closes what it inherits, and we do not know what that is.
    for fd in 3..1024 {
        let _ = close(fd);
    }
    let v2 = host::trees().iter().any(|dir| dir.join("cgroup.subtree_control").exists());
    let mut counts = Counts::new();
    for (i, step) in STEPS.iter().enumerate() {
        let options = STEPS[..=i].iter().flat_map(|step| step.options);
        let mut command = Command::new(program(step.name));
        // $ROOTFS names it already.
        command.arg("run").args(options.filter(|option| !option.starts_with("--rootfs")));
        // Without its own root filesystem, `true` would be the machine's.
        let root = if step.rootfs { Path::new("/") } else { rootfs() };
        for process in traced(command.arg(root.join("bin/true"))).context(step.name)? {
            for name in counted(&process.calls) {
                counts.entry(name.to_owned()).or_default()[i] += 1;
            }
        }
    }
    Ok(format!("{}\n{}", if v2 { "v2" } else { "v1" }, table(&counts)))
}

/// The calls of its processes. Tries again if the cgroup could not be removed at once, because then
/// the step tries again, too.
fn traced(command: &Command) -> Result<Vec<Process>> {
    for _ in 0..20 {
        let (ended, processes) = strace(&["-ff"], command)?;
        ended.expect(0)?;
        let mut calls = processes.iter().flat_map(|process| &process.calls);
        if !calls.any(|call| call.line.contains(" EBUSY ")) {
            return Ok(processes);
        }
    }
    bail!("its cgroup could never be removed at once")
}

/// The names of the calls of a process that count.
fn counted(calls: &[Call]) -> Vec<&str> {
    let mut names = Vec::new();
    // The last call, and its file.
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

/// Whether it depends on the machine or on timing.
fn is_left_out(name: &str, line: &str) -> bool {
    // Only the throw-away host has no other cgroups beside ours.
    let elsewhere = line.contains("/sys/fs/cgroup") && !line.contains("/workshop-");
    match name {
        _ if INCIDENTAL.contains(&name) => true,
        "fcntl" | "fstat" | "getcwd" | "getpid" | "lseek" | "poll" | "rt_sigprocmask" | "umask"
        | "waitid" => true,
        "clone" => line.contains(" ENOSYS "),
        // strace cuts the path in this call.
        "readlink" => false,
        "read" if line.contains("signalfd") => true,
        "stat" if line.contains("AT_EMPTY_PATH") => true,
        // Only calls that found a child.
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
