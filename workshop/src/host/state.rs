//! What a container must not change: the host's name, mounts, processes, cgroups and open files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::cgroups::cgroups;
use super::processes::{open_files, processes};
use crate::machine::eventually;

/// What a container must not change, by kind. Each thing has the words that describe it, and the
/// words that identify it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State(BTreeMap<&'static str, BTreeSet<(String, String)>>);

impl State {
    /// The host as it is now.
    pub fn now() -> Result<State> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").context("read mountinfo")?;
        let mut mounts = BTreeSet::new();
        for line in mountinfo.lines() {
            // After the dash come the options of the whole filesystem, which may change through any
            // of its mounts. The fifth field is the mount point (`man 5 proc_pid_mountinfo`).
            let mount = line.split(" - ").next().unwrap_or(line);
            let point = mount.split(' ').nth(4).unwrap_or(mount);
            mounts.insert((point.to_owned(), mount.to_owned()));
        }
        let processes = processes().into_iter().map(|it| (it.command, it.pid.to_string()));
        let cgroups = cgroups().into_iter().map(|dir| (dir.display().to_string(), String::new()));
        Ok(State(BTreeMap::from([
            ("hostnames", [(hostname()?, String::new())].into()),
            ("mounts", mounts),
            ("processes", processes.collect()),
            ("cgroups", cgroups.collect()),
            ("open files", open_files()),
        ])))
    }

    /// Waits until the host is as it was: killed processes may still be exiting.
    pub fn restored(&self) -> Result<()> {
        eventually(|| {
            let now = State::now()?;
            self.0.keys().try_for_each(|kind| self.same(kind, &now))
        })
    }

    /// Waits until the processes are as they were.
    pub fn processes_restored(&self) -> Result<()> {
        eventually(|| self.same("processes", &State::now()?))
    }

    /// Fails unless the mounts are as they were, now.
    pub fn mounts_unchanged(&self) -> Result<()> {
        self.same("mounts", &State::now()?)
    }

    fn same(&self, kind: &str, now: &State) -> Result<()> {
        let (old, new) = (&self.0[kind], &now.0[kind]);
        let more: BTreeSet<_> = new.difference(old).map(|(said, _)| said).collect();
        let mut less: BTreeSet<_> = old.difference(new).map(|(said, _)| said).collect();
        // If somebody removes a directory, a mount on it goes away on every host: not our doing.
        less.retain(|said| kind != "mounts" || Path::new(said).exists());
        ensure!(more.is_empty(), "new {kind} on the host: {more:?}");
        ensure!(less.is_empty(), "{kind} that are gone from the host: {less:?}");
        Ok(())
    }
}

/// The host's name.
pub fn hostname() -> Result<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").context("read the hostname")?;
    Ok(name.trim_end().to_owned())
}
