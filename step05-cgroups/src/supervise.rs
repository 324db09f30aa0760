//! `run` waits for PID 1, and PID 1 for the command. Both pass signals on and reap, as tini does.

use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitCode, ExitStatus};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{self, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

// ANCHOR: supervise
/// Waits until `child` ends, and returns its exit code.
pub fn supervise(child: &mut Child, signals: &SignalFd) -> Result<ExitCode> {
    // These came while the command was starting: it may have missed them, even ^C.
    while let Some(signal) = signals.read_signal().context("read signalfd")? {
        pass_on(&signal, child);
    }
    loop {
        if let Some(code) = reap(child)? {
            return Ok(ExitCode::from(code));
        }
        let mut wait_for = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        poll(&mut wait_for, PollTimeout::NONE).context("poll")?;
        while let Some(signal) = signals.read_signal().context("read signalfd")? {
            if !sent_by_the_terminal(&signal) {
                pass_on(&signal, child);
            }
        }
    }
}
// ANCHOR_END: supervise

// ANCHOR: block_signals
/// Blocks signals: they wait until we read them from the descriptor that this returns.
pub fn block_signals() -> Result<SignalFd> {
    let mut signals = SigSet::all();
    // These keep their effect: ^Z must stop us, and `fg` must continue us.
    for signal in [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGCONT] {
        signals.remove(signal);
    }
    signals.thread_block().context("block signals")?;
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    SignalFd::with_flags(&signals, flags).context("signalfd")
}
// ANCHOR_END: block_signals

// ANCHOR: sent_by_the_terminal
/// Did the terminal send it? Then every process in the foreground has it, the command included.
fn sent_by_the_terminal(signal: &siginfo) -> bool {
    let keys = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGWINCH]; // ^C, ^\, a new window size
    // If a process sent it, the code is 0 or less (`man 2 sigaction`).
    signal.ssi_code > 0 && keys.iter().any(|key| *key as u32 == signal.ssi_signo)
}
// ANCHOR_END: sent_by_the_terminal

// ANCHOR: pass_on
/// Sends the child a signal that we received.
fn pass_on(signal: &siginfo, child: &Child) {
    match Signal::try_from(signal.ssi_signo as i32) {
        Ok(Signal::SIGCHLD) => {} // a child of ours has ended
        Ok(signal) => {
            let _ = signal::kill(Pid::from_raw(child.id() as i32), signal);
        }
        Err(_) => {
            crate::fail(125, &format!("real-time signal {} is not passed on", signal.ssi_signo));
        }
    }
}
// ANCHOR_END: pass_on

// ANCHOR: reap
/// Reaps every process that has ended: orphans, and our child, whose exit code this returns.
fn reap(child: &mut Child) -> Result<Option<u8>> {
    let ours = Pid::from_raw(child.id() as i32);
    let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    loop {
        // WNOWAIT: only look who it is.
        let who = match waitid(Id::All, ended | WaitPidFlag::WNOWAIT) {
            Ok(WaitStatus::StillAlive) => return Ok(None),
            Ok(status) => status.pid(),
            Err(Errno::EINVAL) => None, // killed by a real-time signal, which nix does not know
            Err(error) => return Err(error).context("waitid"),
        };
        // std knows all signals, so our child is left to it.
        if let Some(status) = child.try_wait().context("wait")? {
            return Ok(Some(exit_code(status)));
        }
        match waitid(who.map_or(Id::All, Id::Pid), ended) {
            // Our child after all: it has ended just now.
            Ok(WaitStatus::Exited(pid, code)) if pid == ours => return Ok(Some(code as u8)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == ours => {
                return Ok(Some(128 + signal as u8));
            }
            _ => {}
        }
    }
}
// ANCHOR_END: reap

// ANCHOR: exit_code
/// The exit code as a shell reports it: 128 + n for a process killed by signal n (`man 1p sh`).
fn exit_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => 128 + signal as u8,
        (None, None) => 125, // stopped or continued: we did not ask for those
    }
}
// ANCHOR_END: exit_code
