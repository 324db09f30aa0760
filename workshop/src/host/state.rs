//! What a container must leave as it was: the host's name, mounts, processes and cgroups.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::cgroups::cgroups;
use super::processes::processes;
use crate::machine::eventually;

/// What a container must leave as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    hostname: String,
    mounts: BTreeSet<String>,
    processes: BTreeSet<String>,
    cgroups: BTreeSet<PathBuf>,
}

impl State {
    /// The host as it is now.
    pub fn now() -> Result<State> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("read mountinfo")?;
        Ok(State {
            hostname: hostname()?,
            mounts: mounts.lines().map(str::to_owned).collect(),
            processes: processes()
                .into_iter()
                .map(|p| format!("{} {}", p.pid, p.command))
                .collect(),
            cgroups: cgroups(),
        })
    }

    /// Fails unless the host is as it was, or is within ten seconds: what was killed may still be
    /// on its way out.
    pub fn restored(&self) -> Result<()> {
        eventually(|| {
            let now = State::now()?;
            ensure!(now.hostname == self.hostname, "the host is called {} now", now.hostname);
            differ(MOUNTS, &self.mounts, &now.mounts)?;
            differ(PROCESSES, &self.processes, &now.processes)?;
            differ(CGROUPS_LEFT, &self.cgroups, &now.cgroups)
        })
    }
}

impl State {
    /// As `restored`, but looks at the processes only.
    pub fn processes_restored(&self) -> Result<()> {
        eventually(|| differ(PROCESSES, &self.processes, &State::now()?.processes))
    }

    /// Fails unless the mounts are as they were, now.
    pub fn mounts_unchanged(&self) -> Result<()> {
        differ(MOUNTS, &self.mounts, &State::now()?.mounts)
    }
}

/// What differs, and how one of them is told of.
type Kind<T> = (&'static str, fn(&T) -> String);

/// By their mount points.
const MOUNTS: Kind<String> =
    ("mounts", |mount| mount.split(' ').nth(4).unwrap_or(mount).to_owned());

/// By their arguments: their ids tell nothing.
const PROCESSES: Kind<String> =
    ("processes", |process| process.split_once(' ').unwrap_or_default().1.to_owned());

const CGROUPS_LEFT: Kind<PathBuf> = ("cgroups", |cgroup| cgroup.display().to_string());

fn differ<T: Ord>((what, tell): Kind<T>, old: &BTreeSet<T>, new: &BTreeSet<T>) -> Result<()> {
    let told =
        |more: &BTreeSet<T>, less| -> BTreeSet<_> { more.difference(less).map(tell).collect() };
    let (more, less) = (told(new, old), told(old, new));
    ensure!(more.is_empty(), "{what} on the host that were not there before: {more:?}");
    ensure!(less.is_empty(), "{what} on the host that are gone: {less:?}");
    Ok(())
}

/// The host's name.
pub fn hostname() -> Result<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").context("read the hostname")?;
    Ok(name.trim_end().to_owned())
}
