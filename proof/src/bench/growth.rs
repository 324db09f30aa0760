//! What grows with the host: mounts, which every new mount namespace copies, and cgroups.
//!
//! Each is measured as A, B, A: without, with, and without again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use workshop::host;

use super::cgroups;
use super::measure::Bench;
use super::report::Measured;
use super::stats::{Rounds, median, medians};

/// How many mounts.
pub const MOUNTS: usize = 1_000;

/// How many cgroups, in each tree.
pub const CGROUPS: usize = 10_000;

/// Measures all of it.
pub fn measure(
    bench: &Bench,
    rows: &[usize],
    rounds: u32,
    runs: u32,
    place: &Path,
    measured: &mut [Measured],
) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let take = |what: &str| bench.on_this_host()?.rounds(what, rows, rounds, runs, false);
    let mut before = take("as it is")?;
    for case in 0..3 {
        let with = {
            let mounts = || Mounts::make(&place.join("mounts"));
            let _mounts = (case == 0).then(mounts).transpose()?;
            let below = [None, Some(""), Some("elsewhere")][case];
            let _cgroups = below.map(Cgroups::make).transpose()?;
            take(
                ["with 1,000 mounts", "with 10,000 cgroups beside it", "with 10,000 elsewhere"]
                    [case],
            )?
        };
        let after = take("as it was")?;
        for &i in rows {
            let without: Rounds = [&before[&i][..], &after[&i][..]].concat();
            let more = more(&with[&i], &without);
            let growth = &mut measured[i].growth;
            match case {
                0 => growth.mount = more.map(|more| more / MOUNTS as f64),
                1 => growth.siblings = more.map(|more| more / (CGROUPS as f64 / 1e3)),
                _ => growth.elsewhere = more.map(|more| more / (CGROUPS as f64 / 1e3)),
            }
        }
        before = after;
    }
    Ok(())
}

/// How many microseconds more it takes.
fn more(with: &Rounds, without: &Rounds) -> Option<f64> {
    Some(median(&medians(with))? - median(&medians(without))?)
}

/// Mounts that are gone when this is dropped.
struct Mounts(Vec<PathBuf>);

impl Mounts {
    fn make(place: &Path) -> Result<Mounts> {
        let mut mounts = Mounts(Vec::new());
        for n in 0..MOUNTS {
            let dir = place.join(n.to_string());
            fs::create_dir_all(&dir)?;
            mount(Some(&dir), &dir, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .with_context(|| format!("mount on {}", dir.display()))?;
            mounts.0.push(dir);
        }
        Ok(mounts)
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for dir in &self.0 {
            let _ = umount2(dir, MntFlags::MNT_DETACH).map(|()| fs::remove_dir(dir));
        }
    }
}

/// Cgroups in all trees of the host's limits that are gone when this is dropped.
struct Cgroups(Vec<PathBuf>);

impl Cgroups {
    /// Makes them beside those of containers, or below a cgroup there.
    fn make(below: &str) -> Result<Cgroups> {
        let mut cgroups = Cgroups(Vec::new());
        for tree in host::trees() {
            let dir = tree.join(below);
            if !below.is_empty() {
                fs::create_dir(&dir).with_context(|| format!("mkdir {}", dir.display()))?;
                cgroups.0.push(dir.clone());
                if cgroups::version_2().is_some() {
                    let offered = fs::read_to_string(dir.join("cgroup.controllers"))?;
                    let add: String =
                        offered.split_whitespace().map(|c| format!("+{c} ")).collect();
                    fs::write(dir.join("cgroup.subtree_control"), add)?;
                }
            }
            for n in 0..CGROUPS {
                let dir = dir.join(format!("more-{n}"));
                fs::create_dir(&dir).with_context(|| format!("mkdir {}", dir.display()))?;
                cgroups.0.push(dir);
            }
        }
        Ok(cgroups)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        // What is below goes first.
        for dir in self.0.iter().rev() {
            let _ = fs::remove_dir(dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_a_difference_of_medians() {
        let (with, without) = (vec![vec![9.0], vec![8.0], vec![90.0]], vec![vec![4.0], vec![6.0]]);
        assert_eq!(more(&with, &without), Some(4.0));
        assert_eq!(more(&Vec::new(), &without), None);
    }
}
