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

use crate::cgroup;
use crate::root::change_root;
use crate::supervise::{block_signals, supervise};

// ANCHOR: child
/// As PID 1, finishes the walls from inside, starts the command and waits for it.
pub fn child(command: &[OsString]) -> Result<ExitCode> {
    // When `run` dies, of whatever, the kernel kills us, and with us the whole namespace.
    set_pdeathsig(Signal::SIGKILL).context("prctl PR_SET_PDEATHSIG")?;
    // `run` left us both ends of its pipe, as 4 and 5. What std opens, the command will not inherit.
    let mut pipe = File::create("/proc/self/fd/5").context("open the pipe of `run`")?;
    close(4).context("close the pipe of `run`")?;
    close(5).context("close the pipe of `run`")?;
    cgroup::join()?;
    // ANCHOR: child-change_root
    // 022, as usual, whatever our caller's is.
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    change_root()?;
    // ANCHOR_END: child-change_root
    let words = command.join(OsStr::new(" "));
    crate::say(&format!("Running [{}] as pid: {}", words.to_string_lossy(), process::id()));
    // EPIPE if `run` died before we asked to die with it: then we must not start anything.
    pipe.write_all(b".").context("tell `run`")?;
    // The command would inherit what we block.
    SigSet::all().thread_unblock().context("unblock signals")?;
    // ANCHOR: child-start
    let started = Command::new(&command[0]).args(&command[1..]).spawn();
    // ANCHOR_END: child-start
    let signals = block_signals()?;
    // From now on `run` may pass signals on.
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
/// Says why the command did not start: 127 not found, 126 anything else (`man 1p sh`).
fn not_started(program: &OsStr, error: &io::Error) -> ExitCode {
    let (code, what) = match (error.kind(), is_there(program)) {
        (ErrorKind::NotFound, false) => (127, ""),
        (ErrorKind::NotFound, true) => (126, "the interpreter of "), // its `#!`, or ld.so
        _ => (126, ""),
    };
    crate::fail(code, &format!("exec: {what}{program:?}: {error}"))
}

/// Is there such a file: by its path, or for a name without `/` in a directory of PATH?
fn is_there(program: &OsStr) -> bool {
    if program.as_bytes().contains(&b'/') {
        return Path::new(program).is_file();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
// ANCHOR_END: not_started
