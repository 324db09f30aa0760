//! What a container must leave as it was: the host's name, mounts, processes, cgroups, open files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::cgroups::cgroups;
use super::processes::{open_files, processes};
use crate::machine::eventually;

/// What a container must leave as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    hostname: String,
    mounts: BTreeSet<String>,
    processes: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    open_files: BTreeSet<String>,
}

impl State {
    /// The host as it is now.
    pub fn now() -> Result<State> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").context("read mountinfo")?;
        // Behind the dash are the options of the whole filesystem. Anybody may change them, from
        // another mount of it.
        let mounts = mountinfo.lines().filter_map(|line| Some(line.split_once(" - ")?.0));
        let processes = processes().into_iter().map(|p| format!("{} {}", p.pid, p.command));
        Ok(State {
            hostname: hostname()?,
            mounts: mounts.map(str::to_owned).collect(),
            processes: processes.collect(),
            cgroups: cgroups().iter().map(|cgroup| cgroup.display().to_string()).collect(),
            open_files: open_files().into_iter().collect(),
        })
    }

    /// Waits until the host is as it was: what was killed may still be on its way out.
    pub fn restored(&self) -> Result<()> {
        eventually(|| {
            let now = State::now()?;
            ensure!(now.hostname == self.hostname, "the host is called {} now", now.hostname);
            self.same_mounts(&now)?;
            self.same_processes(&now)?;
            same("cgroups", &self.cgroups, &now.cgroups, |cgroup| cgroup)?;
            same("open files", &self.open_files, &now.open_files, |file| file)
        })
    }

    /// Waits until the processes are as they were.
    pub fn processes_restored(&self) -> Result<()> {
        eventually(|| self.same_processes(&State::now()?))
    }

    /// Fails unless the mounts are as they were, now.
    pub fn mounts_unchanged(&self) -> Result<()> {
        self.same_mounts(&State::now()?)
    }

    fn same_mounts(&self, now: &State) -> Result<()> {
        // If anybody removes a directory, what is mounted on it goes, on every host: not our doing.
        let mut old = self.mounts.clone();
        old.retain(|mount| now.mounts.contains(mount) || Path::new(mount_point(mount)).exists());
        same("mounts", &old, &now.mounts, mount_point)
    }

    fn same_processes(&self, now: &State) -> Result<()> {
        same("processes", &self.processes, &now.processes, without_id)
    }
}

/// What tells of a process in an error: its command.
fn without_id(process: &str) -> &str {
    process.split_once(' ').unwrap_or_default().1
}

/// The fifth field of a line of mountinfo (`man 5 proc_pid_mountinfo`).
fn mount_point(mount: &str) -> &str {
    mount.split(' ').nth(4).unwrap_or(mount)
}

/// Fails unless two sets are the same. `tell` is what is said of one in them.
fn same(
    what: &str,
    old: &BTreeSet<String>,
    new: &BTreeSet<String>,
    tell: fn(&str) -> &str,
) -> Result<()> {
    let more: BTreeSet<_> = new.difference(old).map(|one| tell(one)).collect();
    let less: BTreeSet<_> = old.difference(new).map(|one| tell(one)).collect();
    ensure!(more.is_empty(), "{what} on the host that were not there before: {more:?}");
    ensure!(less.is_empty(), "{what} on the host that are gone: {less:?}");
    Ok(())
}

/// The host's name.
pub fn hostname() -> Result<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").context("read the hostname")?;
    Ok(name.trim_end().to_owned())
}
