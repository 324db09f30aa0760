//! The measuring itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;
use workshop::host::State;
use workshop::patience::eventually;
use workshop::programs::rootfs;
use workshop::temp::TempDir;

use super::cgroups;
use super::machine::Machine;
use super::report::{Measured, Results};
use super::rows::{self, BASE, Row, SLOTS};
use super::stats::Rounds;
use super::{Args, Part, build, growth};

/// How many run at once.
const WIDTHS: [usize; 4] = [1, 2, 4, SLOTS];

/// What takes the times, and what counts.
pub fn tools() -> Result<()> {
    for (tool, option) in [("hyperfine", "--version"), ("strace", "--version")] {
        let hint = format!("{tool} is missing: apt install {tool} (or your like of it)");
        ensure!(Command::new(tool).arg(option).output().is_ok(), hint);
    }
    Ok(())
}

/// Measures all that is asked for.
pub fn all(args: &Args, place: &Path) -> Result<Results> {
    // Those of the talk's program would come back to us.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("make / private")?;
    let (mut rows, mut notes) = rows::all(place)?;
    if args.part == [Part::Walls] {
        notes.clear();
    }
    let wanted = |row: &Row| args.row.iter().any(|text| row.id.contains(text.as_str()));
    rows.retain(|row| args.row.is_empty() || row.id == BASE || wanted(row));
    ensure!(args.row.is_empty() || rows.len() > 1, "no row has this in its name");

    let bench = Bench { rows: &rows, before: State::now()? };
    let mut measured: Vec<Measured> = rows.iter().map(Measured::of).collect();
    let rounds = args.quickly(args.rounds, 2);
    let these = |part| (0..rows.len()).filter(|&i| rows[i].is_in(part)).collect::<Vec<usize>>();

    if args.wants(Part::Calls) {
        eprintln!("system calls");
        for i in these(Part::Calls) {
            let calls = (0..3).map(|_| bench.calls(&rows[i], place));
            measured[i].calls = calls.collect::<Result<_>>()?;
        }
    }
    if args.wants(Part::Busy) {
        let runs = args.quickly(args.runs, 10);
        let times = bench.rounds("back to back", &these(Part::Busy), rounds, runs, false)?;
        times.into_iter().for_each(|(i, times)| measured[i].busy = times);
    }
    if args.wants(Part::Walls) {
        let runs = args.quickly(args.runs, 10);
        let times = bench.rounds("one wall each", &these(Part::Walls), rounds, runs, false)?;
        times.into_iter().for_each(|(i, times)| measured[i].busy = times);
    }
    if args.wants(Part::Idle) {
        let runs = args.quickly(args.idle_runs, 2);
        let times = bench.rounds("after idling", &these(Part::Idle), rounds, runs, true)?;
        times.into_iter().for_each(|(i, times)| measured[i].idle = times);
    }
    if args.wants(Part::Crowd) {
        let time = Duration::from_millis(if args.quick { 100 } else { 500 });
        for round in 0..rounds as usize {
            eprintln!("some at once, round {} of {rounds}", round + 1);
            for i in rotated(&these(Part::Crowd), round) {
                for width in WIDTHS {
                    let per_second = bench.crowd(&rows[i], width, time)?;
                    measured[i].crowd.entry(width).or_default().push(per_second);
                }
            }
        }
    }
    if args.wants(Part::Growth) {
        let runs = args.quickly(args.runs, 10);
        growth::measure(&bench, &these(Part::Growth), rounds, runs, place, &mut measured)?;
    }
    Ok(Results {
        machine: Machine::this(std::env::var(super::LOAD).unwrap_or_default()),
        rows: measured,
        notes,
    })
}

/// What the bare floor calls, with the seconds since the call before: for people to read.
pub fn trace(place: &Path) -> Result<String> {
    let log = place.join("trace");
    let rootfs = rootfs().display().to_string();
    let floor = build::floor().display().to_string();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-r", "--quiet=all", "-o"]).arg(&log);
    strace.args([&floor, "bare", &rootfs, "/bin/true"]);
    let output = strace.output().context("strace")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log = fs::read_to_string(log)?.replace(&floor, "floor").replace(&rootfs, "rootfs");
    let mut pids: Vec<&str> = Vec::new();
    let mut text = String::new();
    for line in log.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let known = pids.iter().position(|known| *known == pid);
        let who = known.unwrap_or_else(|| {
            pids.push(pid);
            pids.len() - 1
        });
        let who = ["floor", "PID 1", "PID 2"].get(who).context("a process too many")?;
        let line: String = format!("{who} {}", call.trim_start()).chars().take(100).collect();
        text += line.trim_end();
        text.push('\n');
    }
    Ok(text)
}

/// The same, but begins elsewhere in each round.
fn rotated(rows: &[usize], round: usize) -> Vec<usize> {
    let mut rows = rows.to_vec();
    if !rows.is_empty() {
        let by = round % rows.len();
        rows.rotate_left(by);
    }
    rows
}

/// What measures, on the throw-away host.
pub struct Bench<'a> {
    rows: &'a [Row],
    /// The host before the first run.
    before: State,
}

impl Bench<'_> {
    /// Times of some rows, in rounds.
    pub fn rounds(
        &self,
        what: &str,
        rows: &[usize],
        rounds: u32,
        runs: u32,
        idle: bool,
    ) -> Result<BTreeMap<usize, Rounds>> {
        let mut times = BTreeMap::<usize, Rounds>::new();
        for round in 0..rounds as usize {
            eprintln!("{what}, round {} of {rounds}", round + 1);
            for i in rotated(rows, round) {
                let batch = self.batch(&self.rows[i], runs, idle)?;
                times.entry(i).or_default().push(batch);
            }
        }
        Ok(times)
    }

    /// The times of some runs in microseconds, of which each must succeed, and leave nothing.
    fn batch(&self, row: &Row, runs: u32, idle: bool) -> Result<Vec<f64>> {
        let cover = Cover::over_version_2(row)?;
        let place = TempDir::new("bench-")?;
        let export = place.path().join("times");
        let mut hyperfine = Command::new("hyperfine");
        hyperfine.args(["-N", "--style", "none", "--runs", &runs.to_string()]);
        hyperfine.args(["--warmup", if idle { "1" } else { "3" }]);
        if idle {
            hyperfine.args(["--prepare", "sleep 0.1"]);
        }
        let line: Vec<_> = row.argv(0).map(|word| quoted(&word)).collect();
        hyperfine.arg("--export-json").arg(&export).arg(line.join(" "));
        let output = hyperfine.envs(row.envs.iter().cloned()).output().context("hyperfine")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {}", row.id, said.trim());
        drop(cover);
        self.unchanged(row)?;
        let json: Value = serde_json::from_slice(&fs::read(&export)?)?;
        let result = &json["results"][0];
        let ended = result["exit_codes"].as_array().context("no exit codes from hyperfine")?;
        ensure!(ended.iter().all(|code| code == 0), "{}: exit codes {ended:?}", row.id);
        let times = result["times"].as_array().context("no times from hyperfine")?;
        let times: Vec<_> = times.iter().filter_map(Value::as_f64).map(|s| s * 1e6).collect();
        ensure!(times.len() == runs as usize, "{}: {} times of {runs}", row.id, times.len());
        Ok(times)
    }

    /// How many system calls a run makes, the command's and its own.
    fn calls(&self, row: &Row, place: &Path) -> Result<u64> {
        let cover = Cover::over_version_2(row)?;
        let table = place.join("strace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c", "-o"]).arg(&table).arg("--").args(row.argv(0));
        let output = strace.envs(row.envs.iter().cloned()).output().context("strace")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} under strace: {}", row.id, said.trim());
        drop(cover);
        self.unchanged(row)?;
        total(&fs::read_to_string(table)?).context("no total from strace")
    }

    /// How many runs a second end, so many at once.
    fn crowd(&self, row: &Row, width: usize, time: Duration) -> Result<f64> {
        let cover = Cover::over_version_2(row)?;
        let (count, failed) = (AtomicU64::new(0), AtomicBool::new(false));
        let begin = Instant::now();
        thread::scope(|scope| {
            for slot in 0..width {
                let (count, failed) = (&count, &failed);
                scope.spawn(move || {
                    while begin.elapsed() < time && !failed.load(Ordering::Relaxed) {
                        match row.command(slot).status() {
                            Ok(status) if status.success() => count.fetch_add(1, Ordering::Relaxed),
                            _ => return failed.store(true, Ordering::Relaxed),
                        };
                    }
                });
            }
        });
        let took = begin.elapsed().as_secs_f64();
        if failed.load(Ordering::Relaxed) {
            bail!("{}, {width} at once: a run failed", row.id);
        }
        drop(cover);
        self.unchanged(row)?;
        Ok(count.load(Ordering::Relaxed) as f64 / took)
    }

    /// Fails if a run has left something behind.
    fn unchanged(&self, row: &Row) -> Result<()> {
        self.before.restored().with_context(|| format!("{} left something behind", row.id))
    }

    /// The same, on a host that has been changed on purpose.
    pub fn on_this_host(&self) -> Result<Bench<'_>> {
        Ok(Bench { rows: self.rows, before: State::now()? })
    }
}

/// A word as hyperfine takes it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The sum of all calls in the table of `strace -c`.
fn total(table: &str) -> Option<u64> {
    let line = table.lines().rfind(|line| line.ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// An empty directory over the tree of version 2, as long as this lives, for who does not know what
/// to make of two versions. Only where the limits are in version 1.
struct Cover(Option<String>);

impl Cover {
    fn over_version_2(row: &Row) -> Result<Cover> {
        let tree = cgroups::version_2_beside_1().filter(|_| row.one_version);
        let Some(tree) = tree else { return Ok(Cover(None)) };
        mount(Some("cover"), tree.as_str(), Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        Ok(Cover(Some(tree)))
    }
}

impl Drop for Cover {
    fn drop(&mut self) {
        if let Some(tree) = &self.0 {
            let _ = eventually(|| Ok(umount2(tree.as_str(), MntFlags::MNT_DETACH)?));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_begins_elsewhere() {
        assert_eq!(rotated(&[0, 1, 2], 0), [0, 1, 2]);
        assert_eq!(rotated(&[0, 1, 2], 4), [1, 2, 0]);
        assert!(rotated(&[], 4).is_empty());
    }

    #[test]
    fn straces_table_has_a_total() {
        let table = "% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 57.14    0.000004           4         1         1 access
------ ----------- ----------- --------- --------- ----------------
100.00    0.000007           0       142         1 total
";
        assert_eq!(total(table), Some(142));
        assert_eq!(total(&table.replace("         1 total", " total")), Some(142));
        assert_eq!(total(""), None);
    }
}
