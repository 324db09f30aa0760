//! One round of one measurement, on its throw-away host. It prints a line for each row: kind, title
//! and numbers.

use std::env::temp_dir;
use std::ffi::OsString;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use workshop::command::behind;
use workshop::host::{self, State};

use super::rows::{self, BASE, Row};
use crate::programs::output;
use crate::strace::strace;

/// What is measured: system calls, then times back to back, after idling, and for single
/// namespaces.
pub const ALL: [&str; 4] = ["calls", "busy", "idle", "walls"];

/// Where `cargo proof` goes on after it has started itself on the host: one of `ALL`, or `trace`.
pub fn on_the_host(what: &str, args: &[OsString]) -> ExitCode {
    host::end_case(measure(what, args))
}

fn measure(what: &str, args: &[OsString]) -> Result<String> {
    let words: Vec<_> = args.iter().map(|word| word.to_string_lossy()).collect();
    let [round, quick] = &words[..] else { bail!("two words, not {words:?}") };
    let (round, quick) = (round.parse::<usize>()?, quick == "true");
    // Otherwise the mounts of the talk's program would appear here.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("make / private")?;
    // crun cannot handle version 2 mounted beside version 1.
    let _ = umount2("/sys/fs/cgroup/unified", MntFlags::MNT_DETACH);
    let mut rows = if what == "walls" { rows::walls() } else { rows::all(&temp_dir())? };
    if what == "trace" {
        return trace(rows.iter().find(|row| row.title == BASE).context("no floor")?);
    }
    let before = State::now()?;
    let by = round % rows.len();
    rows.rotate_left(by);
    let mut lines = String::new();
    for row in &rows {
        let numbers = match what {
            "calls" => vec![calls(row)?],
            "idle" => times(row, if quick { 2 } else { 20 }, Duration::from_millis(100))?,
            _ => times(row, if quick { 10 } else { 100 }, Duration::ZERO)?,
        };
        before.restored().with_context(|| format!("{} left something behind", row.title))?;
        let numbers: Vec<_> = numbers.iter().map(f64::to_string).collect();
        lines += &format!("{}\t{}\t{}\n", row.kind, row.title, numbers.join(" "));
    }
    Ok(lines)
}

/// The times of some runs in microseconds, without the first run, which warms up.
fn times(row: &Row, runs: usize, pause: Duration) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for _ in 0..=runs {
        let mut command = row.command();
        sleep(pause);
        let start = Instant::now();
        let ended = command.status().with_context(|| format!("start {}", row.title))?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
        ensure!(ended.success(), "{}: {ended}", row.title);
    }
    times.remove(0);
    Ok(times)
}

/// How many system calls return in a run, including those of the command.
fn calls(row: &Row) -> Result<f64> {
    let (ended, processes) = strace(&["-ff"], &row.command())?;
    ended.expect(0).with_context(|| row.title.clone())?;
    let calls = processes.iter().flat_map(|process| &process.calls);
    Ok(calls.filter(|call| !call.line.ends_with(" = ?")).count() as f64)
}

/// What the bare floor calls, with the seconds since the call before, for people to read.
fn trace(floor: &Row) -> Result<String> {
    let script = r#"
        strace -f -r -s 200 --quiet=all -o "$TMPDIR/trace" "$@"
        sed "s|$1|floor|; s|$1|floor|; s|$3|rootfs|" "$TMPDIR/trace" | awk '
            !($1 in who) { who[$1] = n ? "PID " n : "floor"; n++ }
            { pid = $1; sub(/^[0-9]+ +/, ""); print substr(who[pid] " " $0, 1, 100) }' |
        sed 's/ *$//'"#;
    Ok(String::from_utf8(output(&mut behind(&["sh", "-ec", script, "sh"], &floor.command()))?)?)
}
