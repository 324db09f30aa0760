//! Limits: how many processes, how much memory and CPU the container may use.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal::SIGTERM;

use super::{Check, Fails};
use crate::container::{Runner, end};
use crate::host::cgroups;
use crate::patience::eventually;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "pids-limit-by-default",
        proves: "Without a word of ours there are at most 20 processes, PID 1 included.",
        from: 5,
        free: &[],
        fails: Fails::Step(4),
        look: pids_limit_by_default,
    },
    Check {
        id: "pids-limit",
        proves: "`--pids-limit N` allows N processes.",
        from: 5,
        free: &[],
        fails: Fails::Step(4),
        look: pids_limit,
    },
    Check {
        id: "memory-limit",
        proves: "`--memory SIZE`: who takes more is killed (137), who takes less is not.",
        from: 5,
        free: &[],
        fails: Fails::Step(4),
        look: memory_limit,
    },
    Check {
        id: "swap-does-not-widen-it",
        proves: "The memory limit is not widened by swap.",
        from: 5,
        free: &[],
        fails: Fails::Step(4),
        look: swap_does_not_widen_it,
    },
    Check {
        id: "cpu-limit",
        proves: "`--cpus FLOAT`: who wants more is throttled.",
        from: 5,
        free: &[],
        fails: Fails::Step(4),
        look: cpu_limit,
    },
    Check {
        id: "units-of-memory",
        proves: "SIZE is Docker's: bytes, or b, k, m, g.",
        from: 5,
        free: &[],
        fails: Fails::Step(4),
        look: units_of_memory,
    },
    Check {
        id: "refuses-zero",
        proves: "Limits of zero or less are refused (125), not taken for none.",
        from: 5,
        free: &[],
        fails: Fails::Step(4),
        look: refuses_zero,
    },
    Check {
        id: "init-is-limited-too",
        proves: "PID 1 is in the cgroup before it starts the command.",
        from: 5,
        free: &[],
        fails: Fails::Step(4),
        look: init_is_limited_too,
    },
    Check {
        id: "no-silent-absence",
        proves: "Where cgroups are read-only, or not there, it says so (125) and starts nothing.",
        from: 5,
        free: &[],
        fails: Fails::Step(4),
        look: no_silent_absence,
    },
    Check {
        id: "own-cgroup-namespace",
        proves: "Inside, the container's cgroup is `/`.",
        from: 5,
        free: &[],
        fails: Fails::Step(4),
        look: own_cgroup_namespace,
    },
];

/// Starts up to 30 processes in a container, and says how many came to run.
fn processes_started(runner: &Runner, options: &[&str]) -> Result<usize> {
    let script = "i=0; while [ $i -lt 30 ]; do sleep 3 & echo started; i=$((i + 1)); done; exit 0";
    let said = runner.run(options.iter().copied().chain(["sh", "-c", script]))?;
    let started = said.text().lines().filter(|line| *line == "started").count();
    ensure!(started == 30 || said.stderr.contains("fork"), "it fails otherwise: {}", said.stderr);
    Ok(started)
}

fn pids_limit_by_default(runner: &Runner) -> Result<()> {
    // PID 1 and the shell count, too.
    let started = processes_started(runner, &[])?;
    ensure!(started == 18, "a shell could start {started} processes, instead of 18");
    Ok(())
}

fn pids_limit(runner: &Runner) -> Result<()> {
    for limit in [5, 25] {
        let started = processes_started(runner, &["--pids-limit", &limit.to_string()])?;
        ensure!(started == limit - 2, "--pids-limit {limit}: {started} processes in a shell");
    }
    Ok(())
}

fn memory_limit(runner: &Runner) -> Result<()> {
    let less = "head -c 8m /dev/zero | tail -c 8m | wc -c";
    let said = runner.run(["--memory", "64m", "sh", "-c", less])?.expect(0)?.text();
    ensure!(said.trim() == "8388608", "8 MiB of 64 were {said:?}");
    runner.run(["--memory", "64m", "tail", "/dev/zero"])?.expect(137).map(drop)
}

/// What the first of these files says in a cgroup of a running container.
fn limit(options: &[&str], runner: &Runner, names: &[&str]) -> Result<String> {
    let running =
        runner.start(options, "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done")?;
    let dirs = cgroups();
    let files = names.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
    let said = files.filter_map(|file| fs::read_to_string(file).ok()).next();
    running.signal(SIGTERM)?;
    running.end()?.expect(0)?;
    said.map(|said| said.trim().to_owned()).with_context(|| format!("no cgroup with {names:?}"))
}

fn swap_does_not_widen_it(runner: &Runner) -> Result<()> {
    let options = ["--memory", "64m"];
    let v2 = limit(&options, runner, &["memory.swap.max"]);
    let said = v2.or_else(|_| limit(&options, runner, &["memory.memsw.limit_in_bytes"]))?;
    ensure!(["0", "67108864"].contains(&said.as_str()), "memory and swap, or swap: {said}");
    Ok(())
}

fn cpu_limit(runner: &Runner) -> Result<()> {
    let busy = "trap 'exit 0' TERM; echo ready; while :; do :; done";
    let running = runner.start(&["--cpus", "0.2"], busy)?;
    let throttled = || {
        let stats =
            cgroups().into_iter().filter_map(|dir| fs::read_to_string(dir.join("cpu.stat")).ok());
        let stats: String = stats.collect();
        let times = stats.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        let times: u32 = times.context("no cgroup with cpu.stat")?.parse()?;
        ensure!(times > 0, "it was not throttled");
        Ok(())
    };
    eventually(throttled)?;
    running.signal(SIGTERM)?;
    running.end()?.expect(0)?;
    let quota = limit(&["--cpus", "0.5"], runner, &["cpu.max", "cpu.cfs_quota_us"])?;
    ensure!(quota == "50000 100000" || quota == "50000", "half a CPU is {quota}");
    Ok(())
}

fn units_of_memory(runner: &Runner) -> Result<()> {
    let sizes = [("67108864", 2), ("67108864b", 2), ("65536k", 2), ("64m", 2), ("64M", 2)];
    for (size, factor) in sizes.into_iter().chain([("1g", 32), ("1.5g", 48), ("0.03125g", 1)]) {
        let names = ["memory.max", "memory.limit_in_bytes"];
        let said = limit(&["--memory", size], runner, &names)?;
        ensure!(said == (33554432u64 * factor).to_string(), "{size} became {said}");
    }
    Ok(())
}

fn refuses_zero(runner: &Runner) -> Result<()> {
    runner.run(["--memory=64m", "--cpus=0.5", "--pids-limit=9", "true"])?.expect(0)?;
    for wrong in ["--pids-limit=0", "--pids-limit=-1", "--cpus=0", "--cpus=-1", "--cpus=nan"] {
        runner.run([wrong, "true"])?.expect(125).context(wrong)?;
    }
    for wrong in
        ["0", "-1", "0m", "5m", "m", "1x", "", "18446744073709551616", "18014398509481984k"]
    {
        runner.run([&format!("--memory={wrong}"), "true"])?.expect(125).context(wrong)?;
    }
    Ok(())
}

fn init_is_limited_too(runner: &Runner) -> Result<()> {
    let running = runner.start(&[], "echo ready; sleep 777 & wait")?;
    let inside: Vec<_> =
        running.processes().iter().map(|process| process.pid.to_string()).collect();
    let dirs = cgroups();
    ensure!(!dirs.is_empty(), "there is no cgroup");
    for dir in dirs {
        let procs = fs::read_to_string(dir.join("cgroup.procs"))?;
        let missing = inside.iter().find(|pid| !procs.lines().any(|line| line == *pid));
        ensure!(missing.is_none(), "of {inside:?} only {procs:?} are in {}", dir.display());
    }
    running.signal(SIGTERM)?;
    running.wait().map(drop)
}

fn own_cgroup_namespace(runner: &Runner) -> Result<()> {
    let ours = fs::read_to_string("/proc/self/cgroup")?;
    ensure!(ours.lines().any(|line| !line.ends_with(":/")), "the host's is `/` already: {ours}");
    let said = runner.run(["cat", "/proc/self/cgroup"])?.expect(0)?.text();
    ensure!(said.lines().all(|line| line.ends_with(":/")), "it sees {said}");
    Ok(())
}

fn no_silent_absence(runner: &Runner) -> Result<()> {
    let (read_only, gone) = ("mount -o remount,bind,ro", "umount --lazy");
    for (command, why) in [(read_only, "Read-only file system"), (gone, "no cgroups are mounted")] {
        let script = r#"while read -r _ dir type _; do
            case $type in cgroup*) $0 "$dir" || exit;; esac; done < /proc/mounts"#;
        end(Command::new("sh").args(["-c", script, command]))?.expect(0).context(command)?;
        let said = runner.run(["--memory", "64m", "echo", "started"])?.expect(125)?;
        ensure!(said.stderr.contains(why) && said.text().is_empty(), "it says {:?}", said.stderr);
    }
    Ok(())
}
