//! Step 5: run a command that has its own hostname, process ids and filesystem, and its limits.
//!
//! Namespaces decide what a process can see, cgroups what it can use: how much, is in `cgroup.rs`.

#![forbid(unsafe_code)]
#[cfg(not(target_os = "linux"))]
compile_error!("containers are made by Linux, and `vagrant up` brings one (see Vagrantfile)");

mod cgroup;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::{ffi::OsStrExt, process::ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};

use anyhow::{Context, Result};
use cgroup::{Cgroup, Limits};
use clap::Parser;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SIGCONT, SIGHUP, SIGKILL, SIGTSTP, SIGTTIN, SIGTTOU, SigSet, Signal, kill};
use nix::sys::wait::WaitStatus::{Exited, Signaled, StillAlive};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::sys::{prctl::set_pdeathsig, signalfd::SignalFd};
use nix::unistd::{Pid, chdir, close, pipe, pivot_root, sethostname};

const HINT: &str = "try sudo, vagrant up or systemd-run --user --scope -p Delegate=yes unshare -Ur";

#[derive(Parser)]
enum Cli {
    /// Run a command that has its own hostname, process ids and filesystem, and its limits
    Run(Container),
    /// PID 1 of the container: `run` starts it
    #[command(hide = true)]
    Child(Container),
}

#[derive(clap::Args)]
struct Container {
    /// The hostname inside, at most 64 bytes [default: the host's]
    #[arg(long, value_name = "NAME")]
    hostname: Option<OsString>,

    /// The directory that becomes `/` inside
    #[arg(long, value_name("DIR"), env("ROOTFS"), default_value("rootfs"), hide_env_values(true))]
    rootfs: PathBuf,

    #[command(flatten)]
    limits: Limits,

    /// The program to run, and its arguments
    #[arg(required = true, trailing_var_arg = true, num_args = 1.., value_names = ["COMMAND", "ARGS"])]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(Cli::Run(container)) => run(&container),
        Ok(Cli::Child(container)) => child(&container),
        Err(usage) => {
            let _ = usage.print();
            return ExitCode::from(if usage.use_stderr() { 125 } else { 0 });
        }
    };
    result.unwrap_or_else(|error| match error.downcast_ref::<Errno>() {
        Some(Errno::EPERM | Errno::EACCES) => fail(125, &format!("{error:#}: {HINT}")),
        _ => fail(125, &format!("{error:#}")),
    })
}

/// Makes the namespaces, starts `child` in them and waits for it.
fn run(container: &Container) -> Result<ExitCode> {
    unshare(CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWPID).context("unshare UTS, PID")?;
    // In the new namespace: before, this would rename the host.
    if let Some(name) = &container.hostname {
        sethostname(name).with_context(|| format!("sethostname {name:?} (at most 64 bytes)"))?;
    }
    close_inherited()?;
    // With SIGCHLD ignored no child would leave an exit code (`man 2 wait`).
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap_or("0");
    anyhow::ensure!(u64::from_str_radix(ignored, 16)? >> 16 & 1 == 0, "our caller ignores SIGCHLD");
    // From here on signals wait, until PID 1 can hear them and closes the pipe (3 and 4).
    signals().thread_block().context("block signals")?;
    let (reader, writer) = pipe().context("pipe")?;
    let cgroup = Cgroup::create(&container.limits)?;
    let mut init = Command::new("/proc/self/exe");
    init.arg("child").args(env::args_os().skip(2));
    init.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    init.env("HOME", "/root").envs(env::var_os("TERM").map(|term| ("TERM", term)));
    init.env("ROOTFS", &container.rootfs).env("CGROUP", cgroup.0.join(OsStr::new("\n")));
    let mut child = init.spawn().context("start /proc/self/exe")?;
    drop(writer);
    let mut reader = File::from(reader);
    let ready = reader.read_to_end(&mut Vec::new()).context("wait for PID 1");
    let ended = ready.and_then(|_| supervise(&mut child));
    // If it is we who failed, nothing in the namespace may go on.
    ended.inspect_err(|_| drop(child.kill().and(child.wait())))
}

/// As PID 1, finishes the walls from inside, starts the command and waits for it.
fn child(container: &Container) -> Result<ExitCode> {
    // Whatever kills `run`, the kernel kills us then, and all in the namespace with us.
    set_pdeathsig(SIGKILL).context("prctl PR_SET_PDEATHSIG")?;
    let mut writer = File::create("/proc/self/fd/4").context("open the pipe of `run`")?;
    close(3).and(close(4)).context("close the pipe of `run`")?;
    cgroup::join()?;
    change_root(&container.rootfs)?;
    let command = &container.command;
    let words = command.join(OsStr::new(" "));
    say(&format!("Running [{}] as pid: {}", words.to_string_lossy(), std::process::id()));
    // EPIPE if `run` died before we asked to die with it: then nothing may start.
    writer.write_all(b".").context("tell `run`")?;
    // Nothing that we block may reach the command.
    signals().thread_unblock().context("unblock signals")?;
    let mut program = Command::new(&command[0]);
    let started = program.args(&command[1..]).env_remove("ROOTFS").env_remove("CGROUP").spawn();
    signals().thread_block().context("block signals")?;
    drop(writer);
    match started {
        Ok(mut child) => supervise(&mut child),
        Err(error) => Ok(not_started(&command[0], &error)),
    }
}

/// Makes `rootfs` our `/`, and that of all we start, and lets the host's go.
fn change_root(rootfs: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unshare CLONE_NEWNS")?;
    // Where mounts are shared, as systemd has them, ours would show up on the host.
    mount_on("/", "", "", MsFlags::MS_PRIVATE | MsFlags::MS_REC, "")?;
    let made = || format!("rootfs {rootfs:?} (`cargo workshop rootfs` makes one)");
    // pivot_root wants a mount point.
    mount(Some(rootfs), rootfs, Some(""), MsFlags::MS_BIND | MsFlags::MS_REC, Some(""))
        .and_then(|()| chdir(rootfs))
        .with_context(made)?;
    // Until the unmount the host's root lies on ours and `..` leads there (`man 2 pivot_root`).
    pivot_root(".", ".").context("pivot_root").with_context(made)?;
    mount_the_usual().with_context(made)?;
    umount2(".", MntFlags::MNT_DETACH).context("umount2 the host's /")
}

/// Mounts what programs expect: `/proc`, `/sys`, and a `/dev` with the host's harmless devices.
fn mount_the_usual() -> Result<()> {
    let inert = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_on("/proc", "proc", "proc", inert, "")?;
    mount_on("/dev", "tmpfs", "tmpfs", inert, "mode=755")?;
    fs::create_dir("/dev/pts").and(fs::create_dir("/dev/shm")).context("mkdir in /dev")?;
    mount_on("/dev/pts", "devpts", "devpts", inert - MsFlags::MS_NODEV, "ptmxmode=666,mode=620")?;
    mount_on("/dev/shm", "tmpfs", "tmpfs", inert, "mode=1777")?;
    for device in ["dev/null", "dev/zero", "dev/full", "dev/random", "dev/urandom", "dev/tty"] {
        File::create(device).with_context(|| format!("create {device}"))?;
        mount_on(device, &format!("../{device}"), "", MsFlags::MS_BIND, "")?;
    }
    let targets = ["/proc/self/fd", "fd/0", "fd/1", "fd/2", "pts/ptmx"];
    for (name, target) in ["fd", "stdin", "stdout", "stderr", "ptmx"].iter().zip(targets) {
        std::os::unix::fs::symlink(target, format!("dev/{name}")).context("symlink in /dev")?;
    }
    // Parts of `/proc` are the host's: directories become read-only, and files are closed.
    let inert = inert | MsFlags::MS_RDONLY;
    let parts = ["sys", "bus", "fs", "irq", "acpi", "scsi", "kcore", "keys", "sysrq-trigger"];
    for part in parts.map(|part| format!("/proc/{part}")).iter().filter(|p| Path::new(p).exists()) {
        let source = if Path::new(part).is_dir() { part } else { "/dev/null" };
        mount_on(part, source, "", MsFlags::MS_BIND, "")?;
        mount_on(part, "", "", MsFlags::MS_BIND | MsFlags::MS_REMOUNT | inert, "")?;
    }
    // A user namespace may have no sysfs of its own: the host's has to do, less its cgroups.
    mount_on("/sys", "sysfs", "sysfs", inert, "").or_else(|_| {
        mount_on("/sys", "../sys", "", MsFlags::MS_BIND | MsFlags::MS_REC, "")?;
        mount_on("/sys", "", "", MsFlags::MS_BIND | MsFlags::MS_REMOUNT | inert, "")?;
        mount_on("/sys/fs", "tmpfs", "tmpfs", inert, "")
    })
}

/// mount(2), with an error that says where and what. Not on a symlink: by `..` it may lead out.
fn mount_on(target: &str, source: &str, fstype: &str, flags: MsFlags, options: &str) -> Result<()> {
    let place = fs::symlink_metadata(target).with_context(|| format!("mount on {target}"))?;
    anyhow::ensure!(!place.is_symlink(), "mount on {target}: a symlink may lead out");
    mount(Some(source), target, Some(fstype), flags, Some(options))
        .with_context(|| format!("mount on {target}: {source:?} {flags:?}"))
}

/// Closes all above stderr: a directory of the host's, left open, is a way out (CVE-2024-21626).
fn close_inherited() -> Result<()> {
    let fds = fs::read_dir("/proc/self/fd").context("read /proc/self/fd")?;
    let fds = fds.map(|fd| Ok(fd?.file_name().to_string_lossy().parse()?));
    for fd in fds.collect::<Result<Vec<i32>>>().context("read /proc/self/fd")? {
        let _ = (fd > 2).then(|| close(fd)); // EBADF: the listing's own
    }
    Ok(())
}

/// The signals to pass on: all but those of ^Z and `fg`, which must stop and continue us.
fn signals() -> SigSet {
    Signal::iterator().filter(|s| ![SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU].contains(s)).collect()
}

/// Until our child ends, reaps the orphans that fall to PID 1 and passes signals on.
fn supervise(child: &mut Child) -> Result<ExitCode> {
    let pid = Pid::from_raw(child.id() as i32);
    let signals = SignalFd::new(&signals()).context("signalfd")?;
    let code = loop {
        // First std: nix says EINVAL of whoever died of a real-time signal.
        if let Some(status) = child.try_wait().context("wait")? {
            break status.code().or(status.signal().map(|signal| 128 + signal));
        }
        match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Ok(StillAlive) => pass_on(&signals, pid)?,
            Ok(Exited(dead, code)) if dead == pid => break Some(code),
            Ok(Signaled(dead, signal, _)) if dead == pid => break Some(128 + signal as i32),
            _ => {} // an orphan
        }
    };
    Ok(ExitCode::from(code.unwrap_or(125) as u8))
}

/// Waits for a signal and passes it on if a process sent it (`man 2 sigaction`, si_code <= 0). What
/// the terminal sends (^C) goes to all in front of it, but SIGHUP perhaps only to us.
fn pass_on(signals: &SignalFd, pid: Pid) -> Result<()> {
    let signal = signals.read_signal().context("read signalfd")?;
    if let Some(signal) = signal.filter(|s| s.ssi_code <= 0 || s.ssi_signo == SIGHUP as u32) {
        let _ = kill(pid, Signal::try_from(signal.ssi_signo as i32)?);
    }
    Ok(())
}

/// Says why the command did not start: 127 not found, 126 anything else (`man 1p sh`).
fn not_started(program: &OsStr, error: &io::Error) -> ExitCode {
    // A name is looked for in the directories of PATH, a path in "", which is here.
    let path = env::var_os("PATH").filter(|_| !program.as_bytes().contains(&b'/'));
    let mut dirs = env::split_paths(path.as_deref().unwrap_or_default());
    let missing = error.kind() == ErrorKind::NotFound;
    let found = dirs.any(|dir| dir.join(program).is_file());
    let code = if missing && !found { 127 } else { 126 };
    let what = if missing && found { "the interpreter of " } else { "" };
    fail(code, &format!("exec: {what}{program:?}: {error}"))
}

// ANCHOR: bytes
/// Reads a size as Docker writes it: a number of bytes, or with a unit.
fn bytes(size: &str) -> Result<u64, String> {
    let (number, unit) = size.split_at(size.trim_end_matches(char::is_alphabetic).len());
    let units = [("", 0), ("b", 0), ("k", 10), ("m", 20), ("g", 30)];
    let unit = units.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name));
    let bytes = unit.and_then(|(_, power)| Some(number.parse::<f64>().ok()? * 2f64.powi(*power)));
    let bytes = bytes.map(|bytes| bytes as u64).filter(|bytes| (6 << 20..=1 << 50).contains(bytes));
    bytes.ok_or("must be 6m to 1048576g, such as 64m or 1.5g".into())
}
// ANCHOR_END: bytes

/// Says why we end and with which exit code.
fn fail(code: u8, why: &str) -> ExitCode {
    say(&format!("{}: {why}", env!("CARGO_BIN_NAME")));
    ExitCode::from(code)
}

/// Prints a line on stderr, in one piece; where stderr is closed, `eprintln!` would panic.
fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
