//! Limits: how many processes, how much memory and CPU the container may use.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal::SIGTERM;

use super::Check;
use super::Fails::Step;
use crate::command::{Ended, end, on_the_host};
use crate::container::Runner;
use crate::host::{cgroups, descendants, trees};
use crate::machine::eventually;

#[rustfmt::skip] // A check is two lines.
pub(super) const CHECKS: &[Check] = &[
    Check::new("pids-limit-by-default", 5, |it| could_start(&it.sh(START_30)?, 18), Step(4),
        "Without an option there are at most 20 processes, PID 1 included."),
    Check::new("pids-limit", 5, pids_limit, Step(4),
        "`--pids-limit N` allows N processes."),
    Check::new("memory-limit", 5, memory_limit, Step(4),
        "`--memory SIZE`: a command that takes more is killed (137), one that takes less is not."),
    Check::new("swap-does-not-widen-it", 5, swap_does_not_widen_it, Step(4),
        "Swap does not raise the memory limit."),
    Check::new("cpu-limit", 5, cpu_limit, Step(4),
        "`--cpus FLOAT`: a command that wants more is throttled."),
    Check::new("units-of-memory", 5, units_of_memory, Step(4),
        "SIZE is written as in Docker: in bytes, or with b, k, m or g."),
    Check::new("cpus-are-exact", 5, cpus_are_exact, Step(4),
        "`--cpus 0.29` is exactly 29,000 of 100,000 microseconds."),
    Check::new("refuses-zero", 5, refuses_zero, Step(4),
        "Limits of zero or less are refused (125), and not treated as no limit."),
    Check::new("refuses-in-words", 5, refuses_in_words, Step(4),
        "A `--cpus` that the kernel would refuse gets a clear error, which says that 0.01 is the \
         least."),
    Check::new("less-cpu-above", 5, less_cpu_above, Step(4),
        "If the parent cgroup has less CPU, its limit applies, or the error names it (125, v1)."),
    Check::new("init-is-limited-too", 5, init_is_limited_too, Step(4),
        "PID 1 is in the cgroup before it starts the command."),
    Check::new("no-silent-absence", 5, no_silent_absence, Step(4),
        "Where cgroups are read-only or missing, it says so (125) and starts nothing."),
    Check::new("missing-controller", 5, missing_controller, Step(4),
        "If the kernel does not count memory, the error names the boot option that helps (125)."),
    Check::new("stays-below-its-caller", 5, stays_below_its_caller, Step(4),
        "The cgroup is made below the caller's, or not at all (125), even in a cgroup namespace \
         where the host's trees are still in sight."),
    Check::new("odd-names-of-cgroups", 5, odd_names_of_cgroups, Step(4),
        "It works where a tree's path has blanks, and in a cgroup whose name is not UTF-8."),
    Check::new("own-cgroup-namespace", 5, own_cgroup_namespace, Step(4),
        "Inside, the container's cgroup is `/`."),
];

/// Tries to start 30 processes, and prints a line for each that started. None ends before all are
/// tried, however slow the machine is.
pub(super) const START_30: &str = "i=0; while [ $i -lt 30 ]; do
    sleep 99 >/dev/null 2>&1 & echo started; i=$((i + 1)); done; exit 0";

/// Fails unless a shell that tried to start 30 started this many. PID 1 and the shell count, too.
pub(super) fn could_start(ended: &Ended, right: usize) -> Result<()> {
    let started = ended.text().lines().filter(|line| *line == "started").count();
    let why = &ended.stderr;
    ensure!(started == right && why.contains("fork"), "{started} started, not {right}: {why}");
    Ok(())
}

fn pids_limit(runner: &Runner) -> Result<()> {
    could_start(&runner.run(["--pids-limit=5", "sh", "-c", START_30])?, 3)?;
    could_start(&runner.run(["--pids-limit=25", "sh", "-c", START_30])?, 23)
}

fn memory_limit(runner: &Runner) -> Result<()> {
    let less = "head -c 8m /dev/zero | tail -c 8m | wc -c";
    runner.run(["--memory", "64m", "sh", "-c", less])?.says("8388608\n")?;
    runner.run(["--memory", "64m", "tail", "/dev/zero"])?.expect(137).map(drop)
}

const MEMORY: [&str; 2] = ["memory.max", "memory.limit_in_bytes"];
const CPU: [&str; 2] = ["cpu.max", "cpu.cfs_quota_us"];

/// The first word in the first of these files that a container's cgroup has.
fn limit(runner: &Runner, option: &str, size: &str, names: [&str; 2]) -> Result<String> {
    let running = runner.start(&[option, size], "echo ready; exec sleep 777")?;
    let dirs = cgroups();
    let mut files = names.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
    let file =
        files.find(|file| file.exists()).with_context(|| format!("no cgroup with {names:?}"))?;
    let said = fs::read_to_string(&file)?;
    // Lift the limit, in v2's words and in v1's: at 0.01 CPUs a slow machine takes minutes to end.
    for none in ["max", "-1"] {
        let _ = fs::write(&file, none);
    }
    running.terminate()?;
    Ok(said.split_whitespace().next().unwrap_or_default().to_owned())
}

/// Fails unless each value of an option becomes the number next to it.
fn becomes(runner: &Runner, option: &str, names: [&str; 2], sizes: &[[&str; 2]]) -> Result<()> {
    for [size, right] in sizes {
        let said = limit(runner, option, size, names)?;
        ensure!(said == *right, "{option} {size} became {said}");
    }
    Ok(())
}

fn swap_does_not_widen_it(runner: &Runner) -> Result<()> {
    let files = ["memory.swap.max", "memory.memsw.limit_in_bytes"];
    let said = limit(runner, "--memory", "64m", files)?;
    ensure!(["0", "67108864"].contains(&said.as_str()), "the limit with swap is {said}");
    Ok(())
}

fn cpu_limit(runner: &Runner) -> Result<()> {
    // So little that one time slice is too much, however busy the machine is.
    let running = runner.start(&["--cpus", "0.02"], "echo ready; while :; do :; done")?;
    eventually(|| {
        let files = cgroups().into_iter().map(|dir| dir.join("cpu.stat"));
        let stat: String = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
        let times = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        ensure!(times.is_some_and(|times| times != "0"), "it was throttled this often: {times:?}");
        Ok(())
    })?;
    running.end_by(SIGTERM, 143)
}

fn units_of_memory(runner: &Runner) -> Result<()> {
    for size in "67108864 67108864b 65536k 64m 64M 64mb 64MB 64MiB 65536KiB".split(' ') {
        becomes(runner, "--memory", MEMORY, &[[size, "67108864"]])?;
    }
    let sizes = [["1.5g", "1610612736"], ["0.03125g", "33554432"], ["1t", "1099511627776"]];
    becomes(runner, "--memory", MEMORY, &sizes)
}

fn cpus_are_exact(runner: &Runner) -> Result<()> {
    // As binary fractions, times 100,000, some of these are slightly less, one is slightly more.
    let fractions = [["0.29", "29000"], ["0.57", "57000"], ["1.13", "113000"], ["0.07", "7000"]];
    becomes(runner, "--cpus", CPU, &fractions)?;
    becomes(runner, "--cpus", CPU, &[["0.01", "1000"], ["2", "200000"]])
}

fn refuses_in_words(runner: &Runner) -> Result<()> {
    for wrong in ["0.009", "0", "-1", "nan", "inf", "-inf", "1e300", "8193"] {
        let option = format!("--cpus={wrong}");
        let said = runner.run([&option, "echo", "started"])?.expect(125)?;
        let words = ["--cpus", "0.01"].iter().all(|word| said.stderr.contains(word));
        let errors = ["os error", "EINVAL", "ERANGE"].iter().any(|word| said.stderr.contains(word));
        ensure!(said.stdout.is_empty() && words && !errors, "{option}: {said:?}");
    }
    Ok(())
}

fn less_cpu_above(runner: &Runner) -> Result<()> {
    let mut files = trees().into_iter().flat_map(|tree| CPU.map(|name| tree.join(name)));
    let file = files.find(|file| file.exists()).context("no cgroup with a limit of CPU")?;
    fs::write(&file, "50000").context("half a CPU for this host")?;
    runner.run(["--cpus", "0.4", "true"])?.expect(0).context("less than there is")?;
    let said = runner.run(["--cpus", "1", "echo", "started"])?;
    if file.ends_with("cpu.max") {
        return said.says("started\n");
    }
    said.refuses(&["the cgroup above"])
}

fn refuses_zero(runner: &Runner) -> Result<()> {
    runner.run(["--memory=64m", "--cpus=0.5", "--pids-limit=9", "true"])?.expect(0)?;
    let wrong = "--pids-limit=0 --pids-limit=-1 --cpus=0 --cpus=-1 --cpus=nan --memory=0 \
        --memory=-1 --memory=0m --memory=5m --memory=m --memory=1x --memory= \
        --memory=18446744073709551616 --memory=18014398509481984k";
    for option in wrong.split(' ') {
        runner.run([option, "true"])?.expect(125).context(option)?;
    }
    Ok(())
}

fn init_is_limited_too(runner: &Runner) -> Result<()> {
    let running = runner.start(&[], "echo ready; sleep 777 & wait")?;
    let inside = descendants(running.pid());
    ensure!(!cgroups().is_empty(), "there is no cgroup");
    for dir in cgroups() {
        let procs = fs::read_to_string(dir.join("cgroup.procs"))?;
        let out = inside.iter().find(|it| !procs.lines().any(|line| line == it.pid.to_string()));
        ensure!(out.is_none(), "{out:?} is not in {}", dir.display());
    }
    running.kill()
}

fn own_cgroup_namespace(runner: &Runner) -> Result<()> {
    let ours = fs::read_to_string("/proc/self/cgroup")?;
    ensure!(ours.lines().any(|line| !line.ends_with(":/")), "the host's is `/` already: {ours}");
    runner.sh("grep -v ':/$' /proc/self/cgroup; exit 0")?.says("")
}

fn no_silent_absence(runner: &Runner) -> Result<()> {
    let (read_only, gone) = ("mount -o remount,bind,ro", "umount --lazy");
    for (command, why) in [(read_only, "read-only file system"), (gone, "no cgroups")] {
        on_the_host(&format!(
            "while read -r _ dir type _; do
                case $type in cgroup*) {command} $dir || exit;; esac; done </proc/mounts"
        ))?;
        runner.run(["--memory", "64m", "echo", "started"])?.refuses(&[why])?;
    }
    Ok(())
}

fn missing_controller(runner: &Runner) -> Result<()> {
    let script =
        "place=$(sed -nE 's/^[^ ]+ ([^ ]+) cgroup ([^ ]*,)?memory[ ,].*/\\1/p' /proc/mounts)
        [ -z $place ] || { umount --lazy $place && echo $place; }";
    if on_the_host(script)?.is_empty() {
        // Version 2 has one tree. Only a reboot could show a kernel without the controller.
        return runner.run(["--memory", "64m", "true"])?.expect(0).map(drop);
    }
    runner.run(["--cpus", "1", "true"])?.expect(0).context("with limits that it has")?;
    runner.run(["--memory", "64m", "echo", "started"])?.refuses(&["cgroup_enable=memory"])
}

/// Mounts the trees again, then starts a command.
const TREES_ANEW: &str = r#"grep ' cgroup' /proc/mounts > "$TMPDIR/trees"
    while read -r _ place kind options _; do
        umount --lazy $place && mount -t $kind -o $options cgroup $place || exit
    done < "$TMPDIR/trees"; exec "$@""#;

/// Shows only a sibling of our cgroup in the tree of `pids`, then starts a command.
const ANOTHER_CGROUP: &str = r#"for tree in $(echo "$WORKSHOP_CGROUPS" | tr : ' '); do
        [ ! -e "$tree/pids.max" ] || break; done
    mkdir "$tree/another" "$tree/ours"; echo max > "$tree/pids.max"; echo 15 > "$tree/ours/pids.max"
    echo 0 > "$tree/ours/cgroup.procs"; mount --bind "$tree/another" /mnt
    grep ' cgroup' /proc/mounts > "$TMPDIR/mounts"
    while read -r _ place _; do case $tree in "$place"/*) umount --lazy "$place";; esac
    done < "$TMPDIR/mounts"; exec "$@""#;

fn stays_below_its_caller(runner: &Runner) -> Result<()> {
    let mut files = trees().into_iter().map(|tree| tree.join("pids.max"));
    let file = files.find(|file| file.exists()).context("no cgroup with a limit of processes")?;
    let processes = fs::read_to_string(file.with_file_name("pids.current"))?;
    let limit = processes.trim().parse::<u32>()? + 12;
    // In version 2 only the root may have both processes and children with limits.
    let version_1 = trees().iter().all(|tree| !tree.join("cgroup.subtree_control").exists());
    for (front, may_be_refused, possible) in [
        (&["env"][..], false, true),
        (&["unshare", "--cgroup"], true, true),
        (&["unshare", "--mount", "sh", "-c", ANOTHER_CGROUP, "sh"], true, true),
        (&["unshare", "--cgroup", "--mount", "sh", "-c", TREES_ANEW, "sh"], false, version_1),
    ] {
        if possible {
            fs::write(&file, limit.to_string()).context("a limit for this host")?;
            let ended = end(&mut runner.behind(front, ["--pids-limit=60", "sh", "-c", START_30]))?;
            let count = ended.text().lines().count();
            let refused = may_be_refused && count == 0 && ended.code == 125;
            ensure!(refused || (1..30).contains(&count), "{front:?}: {count} started, {ended:?}");
        }
    }
    Ok(())
}

/// Mounts the trees at paths with blanks, joins cgroups whose names are not UTF-8, starts a
/// command, and prints which cgroups are left.
const IN_ODD_CGROUPS: &str = r#"odd=$TMPDIR/$(printf 'odd \t\\040')
    # Others who try this see the same trees: the name is ours alone.
    name=$(printf 'caf\351 a:b ')${TMPDIR##*/}
    grep ' cgroup' /proc/mounts >"$TMPDIR/trees"
    while read -r _ old kind options _; do
        new="$odd/${old##*/}"; mkdir -p "$new"
        mount -t $kind -o $options cgroup "$new"; umount --lazy $old
        IFS=:; for tree in $WORKSHOP_CGROUPS; do
            case $tree in $old/*) ;; *) continue;; esac
            dir="$new${tree#$old}/$name"; mkdir "$dir"; own=$dir
            # In version 2 one with limited children has no processes.
            if [ -e "$dir/cgroup.subtree_control" ]; then
                echo +pids +memory +cpu >"$dir/cgroup.subtree_control"; own=$dir/host; mkdir "$own"
            fi
            echo 0 >"$own/cgroup.procs"
        done; unset IFS
    done <"$TMPDIR/trees"
    "$@" || : # the shell inside says that it cannot fork
    # Cgroups of others may vanish while `find` looks.
    LC_ALL=C find "$odd" -path "*/$name/*" -type d ! -name host 2>/dev/null || :"#;

fn odd_names_of_cgroups(runner: &Runner) -> Result<()> {
    let front = ["sh", "-ec", IN_ODD_CGROUPS, "sh"];
    let options = ["--pids-limit=7", "--memory=64m", "--cpus=1", "sh", "-c", START_30];
    let said = end(&mut runner.behind(&front, options))?.expect(0)?;
    ensure!(said.text() == "started\n".repeat(5), "5 must start, and no cgroup be left: {said:?}");
    Ok(())
}
