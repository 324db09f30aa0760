//! The process outside: makes the namespaces, starts PID 1 in them, and waits for it.

use std::env;
use std::fs::{self, File};
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
use crate::cgroup;
use crate::supervise::{block_signals, supervise};

// ANCHOR: run
/// Makes the namespaces, starts `child` in them and waits for it.
pub fn run(container: &Container) -> Result<ExitCode> {
    // ANCHOR: run-unshare
    unshare(CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWPID).context("unshare UTS, PID")?;
    // ANCHOR_END: run-unshare
    // Not before the unshare: that would rename the host.
    if let Some(name) = &container.hostname {
        sethostname(name).with_context(|| format!("sethostname {name:?} (at most 64 bytes)"))?;
    }
    close_inherited()?;
    let ignored = ignored_signals()?;
    // While SIGCHLD is ignored, the kernel throws exit codes away (`man 2 wait`).
    ensure!(!ignored.contains(Signal::SIGCHLD), "SIGCHLD is ignored: try env --default-signal");
    // ANCHOR: run-chdir
    // PID 1 starts in our working directory, so it needs no path.
    chdir(&container.rootfs).with_context(|| {
        format!("rootfs {:?} (`cargo workshop rootfs` makes one)", container.rootfs)
    })?;
    // ANCHOR_END: run-chdir
    let signals = block_signals()?;
    // PID 1 reports through a pipe. It inherits both ends, as descriptors 4 and 5: `signals` is 3.
    let (reader, writer) = pipe().context("pipe")?;
    let cgroup = cgroup::create(&container.limits)?;
    // ANCHOR: run-start
    let mut init = init_command(container).spawn().context("start /proc/self/exe")?;
    // ANCHOR_END: run-start
    drop(writer);
    // No `?` from here on: whatever happens, we clean up.
    let ended = match wait_for_start(reader, ignored) {
        Ok(None) => supervise(&mut init, &signals),
        Ok(Some(signal)) => Ok(ExitCode::from(128 + signal)),
        Err(error) => Err(error),
    };
    // PID 1 still runs if we failed or were interrupted. Killing it ends its whole namespace.
    let _ = init.kill();
    let _ = init.wait();
    take_the_terminal_back();
    drop(cgroup); // after PID 1: a cgroup with a process in it cannot be removed
    ended
}
// ANCHOR_END: run

// ANCHOR: init_command
/// The command line of PID 1: this program again, as `child`.
fn init_command(container: &Container) -> Command {
    let mut init = Command::new("/proc/self/exe");
    init.arg("child");
    // Otherwise a command named `--` would be taken for the end of the options.
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
// ANCHOR_END: init_command

// ANCHOR: wait_for_start
/// Waits until PID 1 has started the command. Returns the signal that interrupts this, if any.
fn wait_for_start(pipe: OwnedFd, ignored: SigSet) -> Result<Option<u8>> {
    let ends = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];
    let ends: SigSet = ends.into_iter().filter(|signal| !ignored.contains(*signal)).collect();
    let signals = SignalFd::new(&ends).context("signalfd")?;
    let fds = [pipe.as_fd(), signals.as_fd()];
    let mut ready = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    poll(&mut ready, PollTimeout::NONE).context("poll")?;
    if ready[0].any() != Some(true) {
        let signal = signals.read_signal().context("read signalfd")?;
        return Ok(signal.map(|signal| signal.ssi_signo as u8));
    }
    // PID 1 closes the pipe once the command runs. The command may hold it open: wait 1 s at most.
    let mut closed = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
    poll(&mut closed, PollTimeout::from(1000u16)).context("poll")?;
    Ok(None)
}
// ANCHOR_END: wait_for_start

// ANCHOR: close_inherited
/// Closes everything above stderr: an open directory of the host is a way out (CVE-2024-21626).
fn close_inherited() -> Result<()> {
    let mut open: Vec<RawFd> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").context("read /proc/self/fd")? {
        let name = entry.context("read /proc/self/fd")?.file_name();
        open.push(name.to_string_lossy().parse()?);
    }
    for fd in open {
        if fd > 2 {
            let _ = close(fd); // EBADF: the descriptor that listed them
        }
    }
    Ok(())
}
// ANCHOR_END: close_inherited

// ANCHOR: ignored_signals
/// The signals that we inherited as ignored (`man 5 proc_pid_status`, SigIgn: bit 0 is signal 1).
fn ignored_signals() -> Result<SigSet> {
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap_or("0");
    let mask = u64::from_str_radix(mask, 16)?;
    Ok(Signal::iterator().filter(|signal| mask & (1 << (*signal as u32 - 1)) != 0).collect())
}
// ANCHOR_END: ignored_signals

// ANCHOR: take_the_terminal_back
/// Takes the terminal back after a shell inside has ended. It put itself in the foreground, and it
/// could not put us there again: our process group has no number in its namespace.
fn take_the_terminal_back() {
    let Ok(terminal) = File::open("/dev/tty") else { return };
    let Ok(foreground) = tcgetpgrp(&terminal) else { return };
    if killpg(foreground, None) == Err(Errno::ESRCH) {
        // The kernel stops a background process that does this, unless it blocks SIGTTOU.
        let _ = SigSet::from(Signal::SIGTTOU).thread_block();
        let _ = tcsetpgrp(&terminal, getpgrp());
    }
}
// ANCHOR_END: take_the_terminal_back
