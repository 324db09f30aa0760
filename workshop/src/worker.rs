//! A worker: another process that does the work, out of reach of ^C. When the one that we started is
//! gone, however it ended, the worker clears away what it had begun, and ends.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Context, Result};

use crate::host::{self, NAME, is_gone, sweep};

/// Set in the worker, to its program: what else it starts is no worker.
const WORKER: &str = "WORKSHOP_WORKER";

/// Does the work, in a worker. Its standard input is empty, and its temporary files go with it.
pub fn work(work: impl FnOnce() -> Result<ExitCode>) -> Result<ExitCode> {
    // Some may even have had our process id.
    let left = |pid| pid == process::id() || is_gone(pid);
    sweep(Path::new("/tmp"), left, |dir| drop(fs::remove_dir_all(dir)));
    let us = env::current_exe().context("our own path")?;
    if env::var_os(WORKER).is_none_or(|worker| worker != us) {
        return watch(Command::new(us.clone()).env(WORKER, us));
    }
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        host::end_all();
        clear();
        process::exit(1);
    });
    let ended = work();
    clear();
    ended
}

/// Removes the worker's temporary files, if that really is where they are.
fn clear() {
    let place = env::temp_dir();
    if place.file_name().is_some_and(|name| name.to_string_lossy().starts_with(NAME)) {
        let _ = fs::remove_dir_all(place);
    }
}

/// Starts the worker, and waits for it.
fn watch(worker: &mut Command) -> Result<ExitCode> {
    let place = Path::new("/tmp").join(format!("{NAME}{}", process::id()));
    let held = host::make(&place)?;
    // A program in it may be for every user.
    fs::set_permissions(&place, PermissionsExt::from_mode(0o755))?;
    worker.args(env::args_os().skip(1)).env("TMPDIR", &place).process_group(0);
    // Open until we end, however we do.
    let mut worker = worker.stdin(Stdio::piped()).spawn().context("start the worker")?;
    let stdin = worker.stdin.take();
    let ended = worker.wait().context("wait for the worker")?;
    drop((stdin, held));
    Ok(ExitCode::from(ended.code().map_or(1, |code| code as u8)))
}
