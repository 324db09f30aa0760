//! Limits: how many processes, how much memory and CPU the container may use.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal::SIGTERM;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::Check;
use super::Fails::Step;
use crate::container::{Ended, Runner, end};
use crate::host::{cgroups, descendants, trees};
use crate::machine::eventually;

#[rustfmt::skip] // A check is two lines.
pub(super) const CHECKS: &[Check] = &[
    Check::new("pids-limit-by-default", 5, pids_limit_by_default, Step(4),
        "Without a word of ours there are at most 20 processes, PID 1 included."),
    Check::new("pids-limit", 5, pids_limit, Step(4),
        "`--pids-limit N` allows N processes."),
    Check::new("memory-limit", 5, memory_limit, Step(4),
        "`--memory SIZE`: who takes more is killed (137), who takes less is not."),
    Check::new("swap-does-not-widen-it", 5, swap_does_not_widen_it, Step(4),
        "The memory limit is not widened by swap."),
    Check::new("cpu-limit", 5, cpu_limit, Step(4),
        "`--cpus FLOAT`: who wants more is throttled."),
    Check::new("units-of-memory", 5, units_of_memory, Step(4),
        "SIZE is Docker's: bytes, or b, k, m, g."),
    Check::new("cpus-are-exact", 5, cpus_are_exact, Step(4),
        "`--cpus 0.29` are 29,000 of 100,000 microseconds, and not one less."),
    Check::new("refuses-zero", 5, refuses_zero, Step(4),
        "Limits of zero or less are refused (125), not taken for none."),
    Check::new("refuses-in-words", 5, refuses_in_words, Step(4),
        "A `--cpus` that the kernel would refuse is refused in words: 0.01 is the least."),
    Check::new("less-cpu-above", 5, less_cpu_above, Step(4),
        "If the cgroup above has less CPU, that is all there is, or it is named (125, v1)."),
    Check::new("init-is-limited-too", 5, init_is_limited_too, Step(4),
        "PID 1 is in the cgroup before it starts the command."),
    Check::new("no-silent-absence", 5, no_silent_absence, Step(4),
        "Where cgroups are read-only, or not there, it says so (125) and starts nothing."),
    Check::new("missing-controller", 5, missing_controller, Step(4),
        "If the kernel counts no memory, it says with which option it would (125)."),
    Check::new("stays-below-its-caller", 5, stays_below_its_caller, Step(4),
        "In a cgroup namespace, where the host's trees are in sight, too, the cgroup is not \
         made outside the caller's: below it, or not at all (125)."),
    Check::new("odd-names-of-cgroups", 5, odd_names_of_cgroups, Step(4),
        "Blanks in the path of a tree, and a cgroup whose name is no UTF-8, are no obstacle."),
    Check::new("own-cgroup-namespace", 5, own_cgroup_namespace, Step(4),
        "Inside, the container's cgroup is `/`."),
];

/// Starts up to 30 processes, and says of each that it has. None ends before all are tried, however
/// slow the machine is.
pub(super) const START_30: &str = "i=0; while [ $i -lt 30 ]; do
    sleep 99 >/dev/null 2>&1 & echo started; i=$((i + 1)); done; exit 0";

/// How many of 30 processes a shell in a container could start.
pub(super) fn started(ended: &Ended) -> Result<usize> {
    let started = ended.text().lines().filter(|line| *line == "started").count();
    let forks = started == 30 || ended.stderr.contains("fork");
    ensure!(forks, "it starts {started}, and fails otherwise: {}", ended.stderr);
    Ok(started)
}

fn pids_limit_by_default(runner: &Runner) -> Result<()> {
    // PID 1 and the shell count, too.
    let started = started(&runner.sh(START_30)?)?;
    ensure!(started == 18, "a shell could start {started} processes, instead of 18");
    Ok(())
}

fn pids_limit(runner: &Runner) -> Result<()> {
    for limit in [5, 25] {
        let option = format!("--pids-limit={limit}");
        let started = started(&runner.run([&option, "sh", "-c", START_30])?)?;
        ensure!(started == limit - 2, "{option}: {started} processes in a shell");
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
    let files = ["memory.swap.max", "memory.memsw.limit_in_bytes"];
    let said = limit(&["--memory", "64m"], runner, &files)?;
    ensure!(["0", "67108864"].contains(&said.as_str()), "memory and swap, or swap: {said}");
    Ok(())
}

fn cpu_limit(runner: &Runner) -> Result<()> {
    let busy = "trap 'exit 0' TERM; echo ready; while :; do :; done";
    // Little, for it must be less than it would get on a busy machine.
    let running = runner.start(&["--cpus", "0.02"], busy)?;
    while let Err(error) = eventually(throttled) {
        let ours = our_share_of_cpu()?;
        // If we get no more ourselves, that says nothing: once more.
        ensure!(ours < 0.02, "{error}, and {ours:.2} CPUs are to be had");
    }
    running.signal(SIGTERM)?;
    running.end()?.expect(0)?;
    let quota = limit(&["--cpus", "0.5"], runner, &["cpu.max", "cpu.cfs_quota_us"])?;
    ensure!(quota == "50000 100000" || quota == "50000", "half a CPU is {quota}");
    Ok(())
}

/// Fails unless a cgroup of a container has been throttled.
fn throttled() -> Result<()> {
    for dir in cgroups() {
        let Ok(stat) = fs::read_to_string(dir.join("cpu.stat")) else { continue };
        let times = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        if let Some(times) = times {
            ensure!(times != "0", "it was not throttled");
            return Ok(());
        }
    }
    bail!("no cgroup with nr_throttled in its cpu.stat")
}

/// How many CPUs this machine gives us now, if we want one.
fn our_share_of_cpu() -> Result<f64> {
    // In nanoseconds: its first field (Documentation/scheduler/sched-stats.rst).
    let used = || -> Result<u64> {
        let stat = fs::read_to_string("/proc/thread-self/schedstat").context("read schedstat")?;
        Ok(stat.split(' ').next().unwrap_or_default().parse()?)
    };
    let (begun, before) = (Instant::now(), used()?);
    while begun.elapsed() < Duration::from_secs(1) {}
    let spent = Duration::from_nanos(used()? - before);
    Ok(spent.as_secs_f64() / begun.elapsed().as_secs_f64())
}

fn units_of_memory(runner: &Runner) -> Result<()> {
    let sizes = [("67108864", 2), ("67108864b", 2), ("65536k", 2), ("64m", 2), ("64M", 2)];
    let docker_takes = [("64mb", 2), ("64MB", 2), ("64MiB", 2), ("65536KiB", 2), ("1t", 32768)];
    let sizes = sizes.into_iter().chain([("1g", 32), ("1.5g", 48), ("0.03125g", 1)]);
    for (size, factor) in sizes.chain(docker_takes) {
        let names = ["memory.max", "memory.limit_in_bytes"];
        let said = limit(&["--memory", size], runner, &names)?;
        ensure!(said == (33554432u64 * factor).to_string(), "{size} became {said}");
    }
    Ok(())
}

fn cpus_are_exact(runner: &Runner) -> Result<()> {
    // As binary fractions, times 100,000, some are a little less, and one is a little more.
    let sizes = [("0.29", "29000"), ("0.57", "57000"), ("1.13", "113000"), ("0.07", "7000")];
    for (cpus, quota) in sizes.into_iter().chain([("0.01", "1000"), ("2", "200000")]) {
        let said = limit(&["--cpus", cpus], runner, &["cpu.max", "cpu.cfs_quota_us"])?;
        ensure!(said.split(' ').next() == Some(quota), "{cpus} CPUs became {said:?}");
    }
    Ok(())
}

fn refuses_in_words(runner: &Runner) -> Result<()> {
    for wrong in ["0.009", "0", "-1", "nan", "inf", "-inf", "1e300", "8193"] {
        let option = format!("--cpus={wrong}");
        let said = runner.run([&option, "echo", "started"])?.expect(125)?;
        ensure!(said.text().is_empty(), "{option}: it started the command");
        let words = ["--cpus", "0.01"].iter().all(|word| said.stderr.contains(word));
        let errors = ["os error", "EINVAL", "ERANGE"].iter().any(|word| said.stderr.contains(word));
        ensure!(words && !errors, "{option}: it says {:?}", said.stderr);
    }
    Ok(())
}

fn less_cpu_above(runner: &Runner) -> Result<()> {
    let files = ["cpu.max", "cpu.cfs_quota_us"];
    let mut files = trees().into_iter().flat_map(|tree| files.map(|name| tree.join(name)));
    let file = files.find(|file| file.exists()).context("no cgroup with a limit of CPU")?;
    fs::write(&file, "50000").context("half a CPU for this host")?;
    runner.run(["--cpus", "0.4", "true"])?.expect(0).context("less than there is")?;
    let said = runner.run(["--cpus", "1", "echo", "started"])?;
    if file.ends_with("cpu.max") {
        return said.expect(0).map(drop);
    }
    let said = said.expect(125)?;
    let named = said.stderr.contains("the cgroup above") && said.stderr.lines().count() == 1;
    ensure!(named && said.text().is_empty(), "it says {:?}", said.stderr);
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
    let inside = descendants(running.pid());
    let dirs = cgroups();
    ensure!(!dirs.is_empty(), "there is no cgroup");
    for dir in dirs {
        let procs = fs::read_to_string(dir.join("cgroup.procs"))?;
        for process in &inside {
            let is_in = procs.lines().any(|line| line == process.pid.to_string());
            ensure!(is_in, "{process:?} is not in {}", dir.display());
        }
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
    for (command, why) in [(read_only, "Read-only file system"), (gone, "no cgroups")] {
        let script = r#"while read -r _ dir type _; do
            case $type in cgroup*) $0 "$dir" || exit;; esac; done < /proc/mounts"#;
        end(Command::new("sh").args(["-c", script, command]))?.expect(0).context(command)?;
        let said = runner.run(["--memory", "64m", "echo", "started"])?.expect(125)?;
        ensure!(said.stderr.contains(why) && said.text().is_empty(), "it says {:?}", said.stderr);
    }
    Ok(())
}

/// A tree of cgroups that is mounted: where, as what, and with which options.
fn mounted_trees() -> Result<Vec<[String; 3]>> {
    let mounts = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    let trees = mounts.lines().filter_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        let [_, place, kind, options, ..] = fields[..] else { return None };
        kind.starts_with("cgroup").then(|| [place, kind, options].map(str::to_owned))
    });
    Ok(trees.collect())
}

fn missing_controller(runner: &Runner) -> Result<()> {
    let memory = |tree: &[String; 3]| tree[2].split(',').any(|option| option == "memory");
    let Some([place, ..]) = mounted_trees()?.into_iter().find(memory) else {
        // In version 2 there is one tree. What a kernel without it says is a matter of a boot.
        return runner.run(["--memory", "64m", "true"])?.expect(0).map(drop);
    };
    umount2(Path::new(&place), MntFlags::MNT_DETACH).context("umount the tree of memory")?;
    runner.run(["--cpus", "1", "true"])?.expect(0).context("limits that it has")?;
    let said = runner.run(["--memory", "64m", "echo", "started"])?.expect(125)?;
    let told = said.stderr.contains("cgroup_enable=memory") && said.stderr.lines().count() == 1;
    ensure!(told && said.text().is_empty(), "it says {:?}", said.stderr);
    Ok(())
}

/// Mounts the trees anew, then starts a command.
const TREES_ANEW: &str = r#"grep ' cgroup' /proc/mounts > "$TMPDIR/trees"
    while read -r _ place kind options _; do
        umount --lazy $place && mount -t $kind -o $options cgroup $place || exit
    done < "$TMPDIR/trees"; exec "$@""#;

/// Shows nothing of the tree of `pids` but a cgroup beside ours, then starts a command.
const ANOTHER_CGROUP: &str = r#"for tree in $(echo "$WORKSHOP_CGROUPS" | tr : ' '); do
        [ ! -e "$tree/pids.max" ] || break; done
    mkdir "$tree/another" "$tree/ours"; echo max > "$tree/pids.max"; echo 15 > "$tree/ours/pids.max"
    echo 0 > "$tree/ours/cgroup.procs"; mount --bind "$tree/another" /mnt
    grep ' cgroup' /proc/mounts > "$TMPDIR/mounts"
    while read -r _ place _; do case $tree in "$place"/*) umount --lazy "$place";; esac
    done < "$TMPDIR/mounts"; exec "$@""#;

fn stays_below_its_caller(runner: &Runner) -> Result<()> {
    let file = trees().into_iter().map(|tree| tree.join("pids.max")).find(|file| file.exists());
    let file = file.context("no cgroup with a limit of processes")?;
    let processes = fs::read_to_string(file.with_file_name("pids.current"))?;
    let limit = processes.trim().parse::<u32>()? + 12;
    fs::write(&file, limit.to_string()).context("a limit for this host")?;
    let started = |front: &[&str]| -> Result<(usize, Ended)> {
        let ended = end(&mut runner.behind(front, ["--pids-limit", "60", "sh", "-c", START_30]))?;
        Ok((ended.text().lines().count(), ended))
    };
    let (count, ended) = started(&["env"])?;
    ensure!((1..30).contains(&count), "it started {count} processes: {}", ended.stderr);
    let (count, ended) = started(&["unshare", "--cgroup"])?;
    ensure!(count < 30, "in a cgroup namespace it is beside our cgroup, without its limit");
    let refused = ended.code == 125 && ended.stderr.lines().count() == 1;
    ensure!(count > 0 || refused, "in a cgroup namespace it says {:?}", ended.stderr);
    let (count, ended) = started(&["unshare", "--mount", "sh", "-c", ANOTHER_CGROUP, "sh"])?;
    ensure!(count < 30, "where another cgroup is all that is in sight, it is below that");
    ensure!(count > 0 || ended.code == 125, "in sight of another cgroup: {:?}", ended.stderr);
    fs::write(&file, limit.to_string()).context("a limit for this host, again")?;
    // In version 2 only the root may have limited children and processes.
    if !trees().iter().any(|tree| tree.join("cgroup.subtree_control").exists()) {
        let front = ["unshare", "--cgroup", "--mount", "sh", "-c", TREES_ANEW, "sh"];
        let (count, ended) = started(&front)?;
        ensure!((1..30).contains(&count), "with its own trees: {count}, {:?}", ended.stderr);
    }
    Ok(())
}

fn odd_names_of_cgroups(runner: &Runner) -> Result<()> {
    let place = env::temp_dir().join("odd \t\\040");
    let mut odd = Vec::new();
    for (number, [old, kind, options]) in mounted_trees()?.iter().enumerate() {
        let new = place.join(number.to_string());
        fs::create_dir_all(&new).with_context(|| format!("mkdir {}", new.display()))?;
        let mut mount = Command::new("mount");
        end(mount.args(["-t", kind, "-o", options, "cgroup"]).arg(&new))?.expect(0)?;
        umount2(Path::new(old), MntFlags::MNT_DETACH).with_context(|| format!("umount {old}"))?;
        for tree in trees() {
            if let Ok(ours) = tree.strip_prefix(old) {
                odd.push(new.join(ours).join(OsStr::from_bytes(b"caf\xe9 a:b")));
            }
        }
    }
    ensure!(!odd.is_empty(), "there are no cgroups on this host");
    let join = r#"until [ "$1" = -- ]; do echo 0 > "$1" || exit; shift; done; shift; exec "$@""#;
    let mut joined = Command::new("sh");
    joined.args(["-c", join, "sh"]);
    for dir in &odd {
        fs::create_dir(dir).with_context(|| format!("mkdir {}", dir.display()))?;
        let control = dir.join("cgroup.subtree_control");
        let mut own = dir.clone();
        if control.exists() {
            // In version 2 one with limited children has no processes.
            fs::write(control, "+pids +memory +cpu").context("enable the controllers")?;
            own = dir.join("host");
            fs::create_dir(&own).context("mkdir host")?;
        }
        joined.arg(own.join("cgroup.procs"));
    }
    let command = runner.command(["--pids-limit=7", "--memory=64m", "--cpus=1", "sleep", "777"]);
    joined.arg("--").arg(command.get_program()).args(command.get_args());
    joined.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = joined.spawn().context("start a shell")?;
    let inside = |dir: &PathBuf| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(dir)?.flatten().map(|entry| entry.path());
        Ok(entries.filter(|path| path.is_dir() && !path.ends_with("host")).collect())
    };
    let limited = eventually(|| {
        let ended = child.try_wait()?;
        let mut limits = Vec::new();
        for dir in odd.iter().map(inside).collect::<Result<Vec<_>>>()?.concat() {
            let procs = fs::read_to_string(dir.join("cgroup.procs"))?;
            ensure!(!procs.is_empty() || ended.is_some(), "nobody is in {}", dir.display());
            limits.extend(fs::read_to_string(dir.join("pids.max")));
        }
        ensure!(limits == ["7\n"] || ended.is_some(), "the limits of processes are {limits:?}");
        Ok(ended.is_none())
    });
    let _ = kill(Pid::from_raw(child.id() as i32), SIGTERM); // ESRCH: it has ended
    let output = child.wait_with_output()?;
    ensure!(limited?, "it ended: {}", String::from_utf8_lossy(&output.stderr));
    let left = odd.iter().map(inside).collect::<Result<Vec<_>>>()?.concat();
    ensure!(left.is_empty(), "left: {left:?}");
    Ok(())
}
