//! PID 1 of the container: finishes the walls from inside, starts the command, and waits for it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{self, Command, ExitCode};

use anyhow::{Context, Result};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::close;

use crate::root::change_root;
use crate::supervise::{block_signals, supervise};

// ANCHOR: child
/// As PID 1, finishes the walls from inside, starts the command and waits for it.
pub fn child(command: &[OsString]) -> Result<ExitCode> {
    // However `run` dies, the kernel then kills us, and the whole namespace with us.
    set_pdeathsig(Signal::SIGKILL).context("prctl PR_SET_PDEATHSIG")?;
    // `run` left us its pipe, as 4 and 5. Reopen it: the command does not inherit what std opens.
    let mut pipe = File::create("/proc/self/fd/5").context("open the pipe of `run`")?;
    close(4).context("close the pipe of `run`")?;
    close(5).context("close the pipe of `run`")?;
    // ANCHOR: child-change_root
    // The usual 022, whatever our caller's umask is.
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    change_root()?;
    // ANCHOR_END: child-change_root
    let words = command.join(OsStr::new(" "));
    crate::say(&format!("Running [{}] as pid: {}", words.to_string_lossy(), process::id()));
    // EPIPE means that `run` died before the prctl: then we must not start anything.
    pipe.write_all(b".").context("tell `run`")?;
    // Otherwise the command would inherit what we block.
    SigSet::all().thread_unblock().context("unblock signals")?;
    // ANCHOR: child-start
    let started = Command::new(&command[0]).args(&command[1..]).spawn();
    // ANCHOR_END: child-start
    let signals = block_signals()?;
    // From now on, `run` may pass signals on to us.
    drop(pipe);
    // ANCHOR: child-wait
    match started {
        Ok(mut child) => supervise(&mut child, &signals),
        Err(error) => Ok(not_started(&command[0], &error)),
    }
    // ANCHOR_END: child-wait
}
// ANCHOR_END: child

// ANCHOR: not_started
/// Prints why the command did not start: 127 if not found, else 126 (`man 1p sh`).
fn not_started(program: &OsStr, error: &io::Error) -> ExitCode {
    let (code, what) = match (error.kind(), is_there(program)) {
        (ErrorKind::NotFound, false) => (127, ""),
        (ErrorKind::NotFound, true) => (126, "the interpreter of "), // its `#!`, or ld.so
        _ => (126, ""),
    };
    crate::fail(code, &format!("exec: {what}{program:?}: {error}"))
}

/// Does the program exist? A name without `/` is looked up in the directories of PATH.
fn is_there(program: &OsStr) -> bool {
    if program.as_bytes().contains(&b'/') {
        return Path::new(program).is_file();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
// ANCHOR_END: not_started
