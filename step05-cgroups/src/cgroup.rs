//! The wall of step 5 is a cgroup (`man 7 cgroups`): a directory whose files say what its processes
//! may use. A process joins by writing its id to one of them. `v1` and `v2` are the two versions.

mod directory;
mod trees;
mod v1;
mod v2;

use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::close;

use directory::{Directory, sweep};

// ANCHOR: Limits
/// What the container may use.
#[derive(clap::Args)]
pub struct Limits {
    /// Maximum number of processes and threads, PID 1 included
    #[arg(long, value_name = "N", default_value = "20")]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=4194304))]
    pub pids_limit: u32,
    /// Maximum memory in bytes, or with a unit: b, k, m, g, t [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = bytes, allow_negative_numbers = true)]
    pub memory: Option<u64>,
    /// Number of CPUs, such as 0.5 for half a CPU [default: no limit]
    #[arg(long, value_name = "FLOAT", value_parser = quota, allow_negative_numbers = true)]
    pub cpus: Option<u64>,
}
// ANCHOR_END: Limits

// ANCHOR: create
/// Makes the container's cgroup and sets its limits: one directory, or one per limit in version 1.
pub fn create(limits: &Limits) -> Result<Vec<Directory>> {
    let own = trees::own_cgroups()?;
    for own in own.values() {
        for dir in own.ancestors().take_while(|dir| dir.join("cgroup.procs").exists()) {
            sweep(dir);
        }
    }
    // A hybrid machine has both versions mounted, and its controllers in version 1.
    if own.contains_key("pids") {
        return v1::create(limits, &own);
    }
    v2::create(limits, &own)
}
// ANCHOR_END: create

// ANCHOR: join
/// Joins the cgroup that `run` made, before we use memory and while its files are still in sight.
pub fn join() -> Result<()> {
    // `run` left the directories open for us, as descriptors 6 and up.
    for fd in 6.. {
        let dir = match fs::read_link(format!("/proc/self/fd/{fd}")) {
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            dir => dir.with_context(|| format!("read /proc/self/fd/{fd}"))?,
        };
        // In version 1, `tasks` moves a single thread, which is milliseconds faster.
        let file = if dir.join("tasks").exists() { "tasks" } else { "cgroup.procs" };
        // ANCHOR: join-write
        fs::write(dir.join(file), "0").with_context(|| format!("join {dir:?}"))?;
        // ANCHOR_END: join-write
        close(fd).context("close the cgroup")?;
    }
    unshare(CloneFlags::CLONE_NEWCGROUP).context("unshare CLONE_NEWCGROUP")
}
// ANCHOR_END: join

// ANCHOR: write
/// Sets a limit: writes to a file of the cgroup.
fn write(dir: &Path, name: &str, value: impl Display) -> Result<()> {
    let file = dir.join(name);
    fs::write(&file, value.to_string()).with_context(|| format!("write {value} to {file:?}"))
}

/// Limits swap. A kernel that does not count swap lacks the file. That is fine if there is no swap.
fn write_swap(dir: &Path, name: &str, value: u64) -> Result<()> {
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if dir.join(name).exists() || swaps.lines().count() > 1 {
        write(dir, name, value)?;
    }
    Ok(())
}
// ANCHOR_END: write

// ANCHOR: bytes
/// Parses a size in bytes. As in Docker, it may have a unit: `m`, `mb` or `MiB`.
fn bytes(size: &str) -> Result<u64, String> {
    let size = size.to_lowercase();
    let number = size.trim_end_matches(char::is_alphabetic);
    let power = match &size[number.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err("must be a number, with or without a unit: b, k, m, g, t".into()),
    };
    match number.parse::<f64>().map(|number| number * 2f64.powi(power)) {
        Ok(bytes) if (6291456.0..=2f64.powi(50)).contains(&bytes) => Ok(bytes as u64),
        _ => Err("must be 6m to 1024t, such as 64m or 1.5g".into()),
    }
}

/// Parses a number of CPUs. Returns the time they have in each 100,000 microseconds.
fn quota(cpus: &str) -> Result<u64, String> {
    match cpus.parse::<f64>() {
        Ok(cpus) if (0.01..=8192.0).contains(&cpus) => Ok((cpus * 100_000.0).round() as u64),
        _ => Err("must be 0.01 to 8192, such as 0.5 or 2".into()),
    }
}
// ANCHOR_END: bytes
