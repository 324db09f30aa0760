//! What is left on the host: nothing, however it ends.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal::{SIGKILL, SIGTERM};

use super::Check;
use super::Fails::{Saboteur, Step};
use crate::container::{Ended, Runner, end};
use crate::host::{State, cgroups, trees};
use crate::machine::eventually;

#[rustfmt::skip] // A check is two lines.
pub(super) const CHECKS: &[Check] = &[
    Check::new("leaves-nothing", 1, leaves_nothing, Saboteur(r#""$REAL" "$@"; code=$?; sleep 777 >&- 2>&- & exit $code"#),
        "After success, failure, a missing command, a missing rootfs and a signal, the host's \
         name, mounts, processes and cgroups are as before."),
    Check::new("has-a-cgroup-while-it-runs", 5, has_a_cgroup_while_it_runs, Step(4),
        "There is a cgroup as long as the container runs, and none afterwards."),
    Check::new("next-run-cleans-up", 5, next_run_cleans_up, Step(4),
        "A cgroup that a killed runner left is removed by the next run."),
    Check::new("spares-others", 5, spares_others, Step(4),
        "A run removes no cgroup that is in use, across PID namespaces neither."),
    Check::new("spares-what-is-locked", 5, spares_what_is_locked, Saboteur(r#"for tree in $(echo "$WORKSHOP_CGROUPS" | tr : ' '); do rmdir "$tree"/step05-*; done
               exec "$REAL" "$@""#,),
        "A cgroup in the making, empty but locked, is spared as well."),
    Check::new("spares-what-is-not-ours", 5, spares_what_is_not_ours, Saboteur(r#"for tree in $(echo "$WORKSHOP_CGROUPS" | tr : ' '); do
                   rmdir "$tree"/step05-*/* "$tree"/step05-*; done 2> /dev/null
               exec "$REAL" "$@""#,),
        "What is not exactly of our name, or has a cgroup of somebody else's in it, is spared."),
    Check::new("many-at-once", 1, many_at_once, Saboteur(r#"mkdir "$TMPDIR/mine" || exit 1; "$REAL" "$@"; code=$?; rmdir "$TMPDIR/mine"; exit $code"#,),
        "Many containers at once do not get in each other's way."),
];

fn leaves_nothing(runner: &Runner) -> Result<()> {
    let before = State::now()?;
    runner.run(["true"])?.expect(0)?;
    before.restored().context("after success")?;
    runner.run(["false"])?.expect(1)?;
    before.restored().context("after failure")?;
    runner.run(["no-such-command"])?.expect(127)?;
    before.restored().context("after a missing command")?;
    runner.run(["--rootfs", "/no/such/directory", "true"])?.expect(125)?;
    before.restored().context("after a missing rootfs")?;
    runner.sh("kill -9 $$")?.expect(137)?;
    before.restored().context("after a signal to the command")?;
    let running = runner.start(&[], "echo ready; while :; do sleep 0.05; done")?;
    running.signal(SIGTERM)?;
    running.end()?.expect(143)?;
    before.restored().context("after a signal to the runner")
}

fn has_a_cgroup_while_it_runs(runner: &Runner) -> Result<()> {
    let running = runner.start(&[], "echo ready; while :; do sleep 0.05; done")?;
    let there = cgroups();
    running.signal(SIGTERM)?;
    running.end()?.expect(143)?;
    ensure!(!there.is_empty(), "there is none while it runs");
    let left = cgroups();
    ensure!(left.is_empty(), "left: {left:?}");
    Ok(())
}

fn next_run_cleans_up(runner: &Runner) -> Result<()> {
    let running = runner.start(&["--memory", "64m"], "echo ready; sleep 777")?;
    running.signal(SIGKILL)?;
    running.wait()?;
    ensure!(!cgroups().is_empty(), "the killed run had none");
    eventually(|| {
        runner.run(["true"])?.expect(0)?;
        let left = cgroups();
        ensure!(left.is_empty(), "left: {left:?}");
        Ok(())
    })
}

fn spares_others(runner: &Runner) -> Result<()> {
    let running =
        runner.start(&[], "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done")?;
    let there = cgroups();
    ensure!(!there.is_empty(), "there is none to spare");
    let other = runner.command(["true"]);
    for elsewhere in [&["env"][..], &["unshare", "--pid", "--fork", "--mount-proc"]] {
        let mut command = Command::new(elsewhere[0]);
        command.args(&elsewhere[1..]).arg(other.get_program()).args(other.get_args());
        end(command.stdin(Stdio::null()))?
            .expect(0)
            .with_context(|| format!("by {elsewhere:?}"))?;
    }
    let now = cgroups();
    ensure!(now == there, "there were {there:?}, now {now:?}");
    running.signal(SIGTERM)?;
    running.end()?.expect(7).map(drop)
}

fn spares_what_is_locked(runner: &Runner) -> Result<()> {
    let (mut locks, mut making, mut stale) = (Vec::new(), Vec::new(), Vec::new());
    for tree in trees() {
        for (name, dirs) in [("step05-making", &mut making), ("step05-staled", &mut stale)] {
            let dir = tree.join(name);
            fs::create_dir(&dir)?;
            dirs.push(dir);
        }
        let lock = Flock::lock(File::open(tree.join("step05-making"))?, FlockArg::LockExclusive);
        locks.push(lock.map_err(|(_, error)| error)?);
    }
    runner.run(["--memory=64m", "--cpus=1", "true"])?.expect(0)?;
    ensure!(making.iter().all(|dir| dir.exists()), "a locked one was removed: {making:?}");
    ensure!(!stale.iter().any(|dir| dir.exists()), "not all of these were removed: {stale:?}");
    Ok(())
}

fn spares_what_is_not_ours(runner: &Runner) -> Result<()> {
    let theirs = [
        "step05-by-hand/child",
        "step05-web.slice",
        "step05-abc123/child-of-somebody",
        "step05-abc12",
        "step05-abc1234",
        "step05-ab.123",
        "step05-ééé",
        "step05-",
    ];
    let stale = ["step05-abc124", "step05-abc125/step05-abc126"];
    for tree in trees() {
        for name in theirs.iter().chain(&stale) {
            let dir = tree.join(name);
            fs::create_dir_all(&dir).with_context(|| format!("mkdir {}", dir.display()))?;
        }
    }
    runner.run(["--memory=64m", "--cpus=1", "true"])?.expect(0)?;
    for tree in trees() {
        let gone = theirs.iter().find(|name| !tree.join(name).exists());
        ensure!(gone.is_none(), "it removed {gone:?} in {}", tree.display());
        let left = stale.iter().map(|name| name.split('/').next().unwrap_or_default());
        let left: Vec<_> = left.filter(|name| tree.join(name).exists()).collect();
        ensure!(left.is_empty(), "it did not remove {left:?} in {}", tree.display());
    }
    Ok(())
}

fn many_at_once(runner: &Runner) -> Result<()> {
    let before = State::now()?;
    let alone = runner.run(["true"])?.expect(0)?.stderr;
    let runs = |count: usize| -> Result<Vec<Ended>> {
        (0..count).map(|_| runner.run(["true"])?.expect(0)).collect()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| runs(8))).collect();
        for thread in threads {
            for ended in thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?? {
                // Ids of processes or namespaces, say, may be others.
                let lines = |text: &str| text.lines().count();
                let said = ended.stderr;
                ensure!(lines(&said) == lines(&alone), "alone it says {alone:?}, here {said:?}");
            }
        }
        Ok(())
    })?;
    before.restored()
}
