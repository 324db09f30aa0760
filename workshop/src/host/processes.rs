//! The processes of a host, as `/proc` has them.

use std::fs;

/// A process as `/proc/PID/stat` and `cmdline` have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Its state: Z is for zombie, T for stopped.
    pub state: char,
    /// Its arguments, joined by spaces.
    pub command: String,
}

/// All processes of the host.
pub fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// A process, if there is one of this id.
pub(super) fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let (state, parent) = (fields.next()?.chars().next()?, fields.next()?.parse().ok()?);
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
    Some(Process { pid, parent, state, command })
}

/// All that the processes of the host have open, in order.
pub fn open_files() -> Vec<String> {
    let open = |process: Process| {
        let fds = fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten();
        let targets = fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        // The listing's own is not to be seen.
        let targets = targets.filter(|target| !target.starts_with("/proc"));
        targets.map(move |target| format!("{} {}", process.pid, target.display()))
    };
    let mut files: Vec<_> = processes().into_iter().flat_map(open).collect();
    files.sort_unstable();
    files
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
