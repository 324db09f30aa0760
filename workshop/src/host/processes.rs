//! The processes of a host, as `/proc` shows them.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

use crate::machine::eventually;

/// A process as `/proc/PID/stat` and `cmdline` describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's id.
    pub parent: i32,
    /// Its state: S for sleeping, Z for zombie, T for stopped.
    pub state: char,
    /// Its arguments, joined by spaces.
    pub command: String,
}

/// All processes of the host.
pub fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// A process, if there is one with this id.
pub fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let (state, parent) = (fields.next()?.chars().next()?, fields.next()?.parse().ok()?);
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
    Some(Process { pid, parent, state, command })
}

/// The descendants of a process, nearest first.
pub fn descendants(pid: i32) -> Vec<Process> {
    let all = processes();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|process| process.parent == parent) {
            parents.push(child.pid);
            found.push(child.clone());
        }
    }
    found
}

/// All files that the processes of the host have open, each with the process id.
pub(super) fn open_files() -> BTreeSet<(String, String)> {
    let mut open = BTreeSet::new();
    for Process { pid, .. } in processes() {
        for fd in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(file) = fs::read_link(fd.path()) else { continue };
            // Leave out /proc, which we read all this from.
            if !file.starts_with("/proc") {
                open.insert((file.display().to_string(), pid.to_string()));
            }
        }
    }
    open
}

/// Waits until a process, or one of its descendants, is this command.
pub fn command_below(pid: i32, command: &str) -> Result<Process> {
    eventually(|| {
        let mut all = process(pid).into_iter().chain(descendants(pid));
        all.find(|process| process.command == command).context("the command did not start")
    })
}
