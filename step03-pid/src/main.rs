//! Step 3: run a command that has its own hostname and process ids.
//!
//! A PID namespace numbers its processes from 1. It is for *later children* of the process that
//! makes it, so `run` starts this program anew as `child`: the namespace's PID 1, which starts the
//! command and stays. (`ps` still shows the host: it reads `/proc`, and that is step 4.)

#![forbid(unsafe_code)]
#[cfg(not(target_os = "linux"))]
compile_error!("containers are made by Linux, and `vagrant up` brings one (see Vagrantfile)");

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::{ffi::OsStrExt, process::ExitStatusExt};
use std::process::{Child, Command, ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SIGCONT, SIGHUP, SIGKILL, SIGTSTP, SIGTTIN, SIGTTOU, SigSet, Signal, kill};
use nix::sys::wait::WaitStatus::{Exited, Signaled, StillAlive};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::sys::{prctl::set_pdeathsig, signalfd::SignalFd};
use nix::unistd::{Pid, close, pipe, sethostname};

// ANCHOR: Cli
#[derive(Parser)]
enum Cli {
    /// Run a command that has its own hostname and process ids
    Run(Container),
    /// PID 1 of the container: `run` starts it
    #[command(hide = true)]
    Child(Container),
}
// ANCHOR_END: Cli

#[derive(clap::Args)]
struct Container {
    /// The hostname inside, at most 64 bytes [default: the host's]
    #[arg(long, value_name = "NAME")]
    hostname: Option<OsString>,

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
        Some(Errno::EPERM) => fail(125, &format!("{error:#}: try sudo, unshare -Ur or vagrant up")),
        _ => fail(125, &format!("{error:#}")),
    })
}

// ANCHOR: run
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
    let mut init = Command::new("/proc/self/exe");
    init.arg("child").args(env::args_os().skip(2));
    let mut child = init.spawn().context("start /proc/self/exe")?;
    drop(writer);
    let mut reader = File::from(reader);
    let ready = reader.read_to_end(&mut Vec::new()).context("wait for PID 1");
    let ended = ready.and_then(|_| supervise(&mut child));
    // If it is we who failed, nothing in the namespace may go on.
    ended.inspect_err(|_| drop(child.kill().and(child.wait())))
}
// ANCHOR_END: run

// ANCHOR: child
/// As PID 1, finishes the walls from inside, starts the command and waits for it.
fn child(container: &Container) -> Result<ExitCode> {
    // Whatever kills `run`, the kernel kills us then, and all in the namespace with us.
    set_pdeathsig(SIGKILL).context("prctl PR_SET_PDEATHSIG")?;
    let mut writer = File::create("/proc/self/fd/4").context("open the pipe of `run`")?;
    close(3).and(close(4)).context("close the pipe of `run`")?;
    let command = &container.command;
    let words = command.join(OsStr::new(" "));
    say(&format!("Running [{}] as pid: {}", words.to_string_lossy(), std::process::id()));
    // EPIPE if `run` died before we asked to die with it: then nothing may start.
    writer.write_all(b".").context("tell `run`")?;
    // Nothing that we block may reach the command.
    signals().thread_unblock().context("unblock signals")?;
    let started = Command::new(&command[0]).args(&command[1..]).spawn();
    signals().thread_block().context("block signals")?;
    drop(writer);
    match started {
        Ok(mut child) => supervise(&mut child),
        Err(error) => Ok(not_started(&command[0], &error)),
    }
}
// ANCHOR_END: child

// ANCHOR: close_inherited
/// Closes all above stderr: a directory of the host's, left open, is a way out (CVE-2024-21626).
fn close_inherited() -> Result<()> {
    let fds = fs::read_dir("/proc/self/fd").context("read /proc/self/fd")?;
    let fds = fds.map(|fd| Ok(fd?.file_name().to_string_lossy().parse()?));
    for fd in fds.collect::<Result<Vec<i32>>>().context("read /proc/self/fd")? {
        let _ = (fd > 2).then(|| close(fd)); // EBADF: the listing's own
    }
    Ok(())
}
// ANCHOR_END: close_inherited

// ANCHOR: signals
/// The signals to pass on: all but those of ^Z and `fg`, which must stop and continue us.
fn signals() -> SigSet {
    Signal::iterator().filter(|s| ![SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU].contains(s)).collect()
}
// ANCHOR_END: signals

// ANCHOR: supervise
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
// ANCHOR_END: supervise

// ANCHOR: pass_on
/// Waits for a signal and passes it on if a process sent it (`man 2 sigaction`, si_code <= 0). What
/// the terminal sends (^C) goes to all in front of it, but SIGHUP perhaps only to us.
fn pass_on(signals: &SignalFd, pid: Pid) -> Result<()> {
    let signal = signals.read_signal().context("read signalfd")?;
    if let Some(signal) = signal.filter(|s| s.ssi_code <= 0 || s.ssi_signo == SIGHUP as u32) {
        let _ = kill(pid, Signal::try_from(signal.ssi_signo as i32)?);
    }
    Ok(())
}
// ANCHOR_END: pass_on

// ANCHOR: not_started
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
// ANCHOR_END: not_started

/// Says why we end and with which exit code.
fn fail(code: u8, why: &str) -> ExitCode {
    say(&format!("{}: {why}", env!("CARGO_BIN_NAME")));
    ExitCode::from(code)
}

/// Prints a line on stderr, in one piece; where stderr is closed, `eprintln!` would panic.
fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
