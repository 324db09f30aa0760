//! What is left on the host: nothing, however the container ends.

use std::fs::{self, File};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal::SIGTERM;

use super::Check;
use super::Fails::{Saboteur, Step};
use crate::command::end;
use crate::container::{Runner, for_some};
use crate::host::{State, cgroups, trees};
use crate::machine::eventually;

#[rustfmt::skip] // A check is two lines.
pub(super) const CHECKS: &[Check] = &[
    Check::new("leaves-nothing", 1, leaves_nothing, Saboteur(r#""$REAL" "$@"; code=$?; sleep 777 >&- 2>&- & exit $code"#),
        "After success, failure, a missing command, a missing rootfs and a signal, the host's \
         name, mounts, processes and cgroups are as before."),
    Check::new("has-a-cgroup-while-it-runs", 5, has_a_cgroup_while_it_runs, Step(4),
        "There is a cgroup while the container runs, and none afterwards."),
    Check::new("next-run-cleans-up", 5, next_run_cleans_up, Step(4),
        "The next run removes a cgroup that a killed runner left behind."),
    Check::new("spares-others", 5, spares_others, Step(4),
        "A run removes no cgroup that is in use, not even from another PID namespace."),
    Check::new("spares-what-is-locked", 5, |it| removes(it, "step05-staled", "step05-making", true), Saboteur(REMOVES_THE_LOCKED),
        "A run does not remove a cgroup that is just being made: empty, but locked."),
    Check::new("spares-what-is-not-ours", 5, |it| removes(it, STALE, NOT_OURS, false), Saboteur(REMOVES_BY_PREFIX),
        "A run does not remove a cgroup whose name is not exactly like ours, or that holds \
         somebody else's."),
    Check::new("many-at-once", 1, many_at_once, Saboteur(ONE_AT_A_TIME),
        "Many containers at once do not disturb each other."),
];

fn leaves_nothing(runner: &Runner) -> Result<()> {
    let before = State::now()?;
    for (args, code) in [
        (&["true"][..], 0),
        (&["false"], 1),
        (&["no-such-command"], 127),
        (&["--rootfs", "/no/such/directory", "true"], 125),
        (&["sh", "-c", "kill -9 $$"], 137),
    ] {
        runner.run(args)?.expect(code)?;
        before.restored()?;
    }
    runner.start(&[], LOOP)?.end_by(SIGTERM, 143)?;
    before.restored()
}

/// Prints that it is ready, and runs until a signal ends it.
const LOOP: &str = "echo ready; while :; do sleep 0.05; done";

fn has_a_cgroup_while_it_runs(runner: &Runner) -> Result<()> {
    let running = runner.start(&[], LOOP)?;
    ensure!(!cgroups().is_empty(), "there is no cgroup while it runs");
    running.end_by(SIGTERM, 143)?;
    ensure!(cgroups().is_empty(), "left: {:?}", cgroups());
    Ok(())
}

fn next_run_cleans_up(runner: &Runner) -> Result<()> {
    let running = runner.start(&["--memory", "64m"], "echo ready; sleep 777")?;
    running.kill()?;
    ensure!(!cgroups().is_empty(), "the killed run had no cgroup");
    eventually(|| {
        runner.run(["true"])?.expect(0)?;
        let left = cgroups();
        ensure!(left.is_empty(), "left: {left:?}");
        Ok(())
    })
}

fn spares_others(runner: &Runner) -> Result<()> {
    let running = runner.start(&[], LOOP)?;
    let there = cgroups();
    ensure!(!there.is_empty(), "there is no cgroup");
    for front in [&["env"][..], &["unshare", "--pid", "--fork", "--mount-proc"]] {
        let ended = end(&mut runner.behind(front, ["true"]))?.expect(0);
        ended.with_context(|| format!("by {front:?}"))?;
    }
    let now = cgroups();
    ensure!(now == there, "there were {there:?}, now there are {now:?}");
    running.end_by(SIGTERM, 143)
}

const REMOVES_THE_LOCKED: &str = r#"for tree in $(echo "$WORKSHOP_CGROUPS" | tr : ' '); do
    rmdir "$tree"/step05-*; done; exec "$REAL" "$@""#;

const REMOVES_BY_PREFIX: &str = r#"for tree in $(echo "$WORKSHOP_CGROUPS" | tr : ' '); do
    rmdir "$tree"/step05-*/* "$tree"/step05-*; done 2> /dev/null; exec "$REAL" "$@""#;

const STALE: &str = "step05-abc124 step05-abc125/step05-abc126 step05-abc125";
const NOT_OURS: &str = "step05-by-hand/child step05-web.slice step05-abc123/child-of-somebody \
    step05-abc12 step05-abc1234 step05-ab.123 step05-ééé step05-";

/// Fails unless a run removes what is stale, and spares the others, which may be locked.
fn removes(runner: &Runner, stale: &str, spared: &str, locked: bool) -> Result<()> {
    let in_each = |names: &str| -> Vec<PathBuf> {
        trees().iter().flat_map(|tree| names.split(' ').map(|name| tree.join(name))).collect()
    };
    let (stale, spared, mut locks) = (in_each(stale), in_each(spared), Vec::new());
    for dir in stale.iter().chain(&spared) {
        fs::create_dir_all(dir).with_context(|| format!("mkdir {}", dir.display()))?;
    }
    for dir in spared.iter().filter(|_| locked) {
        let lock = Flock::lock(File::open(dir)?, FlockArg::LockExclusive);
        locks.push(lock.map_err(|(_, error)| error)?);
    }
    runner.run(["--memory=64m", "--cpus=1", "true"])?.expect(0)?;
    let gone = spared.iter().find(|dir| !dir.exists());
    ensure!(gone.is_none(), "it removed {gone:?}");
    let left = stale.iter().find(|dir| dir.exists());
    ensure!(left.is_none(), "it did not remove {left:?}");
    Ok(())
}

const ONE_AT_A_TIME: &str = r#"mkdir "$TMPDIR/mine" || exit 1
    "$REAL" "$@"; code=$?; rmdir "$TMPDIR/mine"; exit $code"#;

fn many_at_once(runner: &Runner) -> Result<()> {
    let before = State::now()?;
    let alone = runner.run(["true"])?.expect(0)?.stderr;
    let runs = || {
        for_some(Duration::from_secs(2), 2).take(8).try_for_each(|_| {
            let said = runner.run(["true"])?.expect(0)?.stderr;
            // Only the number of lines: ids of processes, say, may differ.
            let same = said.lines().count() == alone.lines().count();
            ensure!(same, "alone it says {alone:?}, here {said:?}");
            Ok(())
        })
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(runs)).collect();
        threads
            .into_iter()
            .try_for_each(|it| it.join().map_err(|_| anyhow!("a thread panicked"))?)
    })?;
    before.restored()
}
