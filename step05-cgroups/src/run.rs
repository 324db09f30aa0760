//! The process outside: makes the namespaces, starts PID 1 in them, and waits for it.

use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::signalfd::SignalFd;
use nix::unistd::{chdir, close, getpgrp, pipe, sethostname, tcgetpgrp, tcsetpgrp};

use crate::Container;
use crate::cgroup::Cgroup;
use crate::supervise::{block_signals, supervise};

// ANCHOR: run
/// Makes the namespaces, starts `child` in them and waits for it.
pub fn run(container: &Container) -> Result<ExitCode> {
    unshare(CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWPID).context("unshare UTS, PID")?;
    // In the new namespace: before, this would rename the host.
    if let Some(name) = &container.hostname {
        sethostname(name).with_context(|| format!("sethostname {name:?} (at most 64 bytes)"))?;
    }
    close_inherited()?;
    let ignored = ignored_signals()?;
    // Then no child would leave an exit code (`man 2 wait`).
    ensure!(!ignored.contains(Signal::SIGCHLD), "our caller ignores SIGCHLD");
    // ANCHOR: run-chdir
    // PID 1 starts where we are. By an argument its command could learn the path.
    chdir(&container.rootfs).with_context(|| {
        format!("rootfs {:?} (`cargo workshop rootfs` makes one)", container.rootfs)
    })?;
    // ANCHOR_END: run-chdir
    let signals = block_signals()?;
    // PID 1 inherits both ends, and tells us how far it is.
    let (reader, writer) = pipe().context("pipe")?;
    let cgroup = Cgroup::create(&container.limits)?;
    let mut init = init(container).spawn().context("start /proc/self/exe")?;
    drop(writer);
    let ended = match wait_for_start(reader, ignored) {
        Ok(None) => supervise(&mut init, &signals),
        Ok(Some(signal)) => Ok(ExitCode::from(128 + signal)),
        Err(error) => Err(error),
    };
    // If PID 1 still runs, it is we who failed: then nothing in the namespace may go on.
    let _ = init.kill();
    let _ = init.wait();
    take_the_terminal_back();
    drop(cgroup);
    ended
}
// ANCHOR_END: run

// ANCHOR: init
/// This program anew, as `child` in front of the command: PID 1.
fn init(container: &Container) -> Command {
    let mut init = Command::new("/proc/self/exe");
    init.arg("child");
    // A command of that name would be taken for the end of the options.
    if container.command[0] == "--" {
        init.arg("--");
    }
    init.args(&container.command);
    // ANCHOR: run-environment
    init.env_clear();
    init.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    init.env("HOME", "/root");
    if let Some(terminal) = env::var_os("TERM") {
        init.env("TERM", terminal);
    }
    // ANCHOR_END: run-environment
    init
}
// ANCHOR_END: init

// ANCHOR: wait_for_start
/// Waits until PID 1 has started the command, or until a signal ends the start: its number.
fn wait_for_start(pipe: OwnedFd, ignored: SigSet) -> Result<Option<u8>> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        if !ignored.contains(signal) {
            signals.add(signal);
        }
    }
    let signals = SignalFd::new(&signals).context("signalfd")?;
    let told = PollFd::new(pipe.as_fd(), PollFlags::POLLIN);
    let mut ready = [told, PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    poll(&mut ready, PollTimeout::NONE).context("poll")?;
    if ready[0].any() == Some(false) {
        let signal = signals.read_signal().context("read signalfd")?;
        return Ok(signal.map(|signal| signal.ssi_signo as u8));
    }
    // A byte before the start and one after it; no more, for who is inside may send some, too.
    File::from(pipe).take(2).read_to_end(&mut Vec::new()).context("wait for PID 1")?;
    Ok(None)
}
// ANCHOR_END: wait_for_start

// ANCHOR: close_inherited
/// Closes all above stderr: a directory of the host's, left open, is a way out (CVE-2024-21626).
fn close_inherited() -> Result<()> {
    let mut open: Vec<RawFd> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").context("read /proc/self/fd")? {
        let name = entry.context("read /proc/self/fd")?.file_name();
        open.push(name.to_string_lossy().parse()?);
    }
    for fd in open {
        if fd > 2 {
            let _ = close(fd); // EBADF: the listing's own
        }
    }
    Ok(())
}
// ANCHOR_END: close_inherited

// ANCHOR: ignored_signals
/// The signals that our caller ignores, and so we do (`man 5 proc_pid_status`, SigIgn).
fn ignored_signals() -> Result<SigSet> {
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap_or("0");
    let mask = u64::from_str_radix(mask, 16)?;
    // Bit 0 is of signal 1.
    Ok(Signal::iterator().filter(|signal| mask & 1 << (*signal as u32 - 1) != 0).collect())
}
// ANCHOR_END: ignored_signals

// ANCHOR: take_the_terminal_back
/// Takes the terminal back from a shell that ended inside. It had put itself in the foreground, and
/// could not put us there again: outside its namespace nobody has a number.
fn take_the_terminal_back() {
    let Ok(terminal) = File::open("/dev/tty") else { return };
    let Ok(foreground) = tcgetpgrp(&terminal) else { return };
    if killpg(foreground, None) == Err(Errno::ESRCH) {
        // We are in the background, and without this would be stopped for it.
        let _ = SigSet::from(Signal::SIGTTOU).thread_block();
        let _ = tcsetpgrp(&terminal, getpgrp());
    }
}
// ANCHOR_END: take_the_terminal_back
