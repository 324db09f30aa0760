//! Processes: their own ids, an init that reaps, and no process left over, however it ends.

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal::SIGTERM;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::Check;
use super::Fails::{Saboteur, Step};
use crate::command::{end_in_time, on_the_host};
use crate::container::{Runner, for_some};
use crate::host::{State, command_below, descendants, process};
use crate::machine::eventually;

#[rustfmt::skip] // A check is two lines.
pub(super) const CHECKS: &[Check] = &[
    Check::new("pid-1", 3, pid_1, Step(2),
        "The command's parent is the container's PID 1, which says so."),
    Check::new("reaps-orphans", 3, reaps_orphans, Saboteur(r#"shift; exec unshare --pid --fork --kill-child "$@""#),
        "Orphans are reaped when they end: no zombies.").free(&[1, 2]),
    Check::new("ends-with-its-command", 3, ends_with_its_command, Step(2),
        "When the command ends, so does everything that it started."),
    Check::new("killed-runner-leaves-nobody", 3, killed_runner_leaves_nobody, Step(2),
        "`kill -9` of the runner ends every process of the container."),
    Check::new("killed-early-leaves-nobody", 3, killed_early_leaves_nobody, Saboteur(r#"shift; exec unshare --pid --fork "$@""#),
        "`kill -9` of the runner at any moment of its start leaves no process \
         behind.").free(&[1, 2]),
    Check::new("no-inherited-descriptors", 3, no_inherited_descriptors, Step(2),
        "Files that the caller left open are closed inside, and in PID 1, too."),
    Check::new("leaves-the-runner-alone", 3, leaves_the_runner_alone, Saboteur(READS_A_PIPE),
        "A command that seizes what PID 1 has open cannot disturb the runner.").free(&[1, 2]),
];

fn pid_1(runner: &Runner) -> Result<()> {
    let said = runner.sh("echo $PPID")?.expect(0)?;
    ensure!(said.text() == "1\n", "the command's parent is {:?}", said.text());
    let told = said.stderr.contains("as pid: 1");
    ensure!(told, "\"as pid: 1\" is not in standard error: {:?}", said.stderr);
    Ok(())
}

fn reaps_orphans(runner: &Runner) -> Result<()> {
    let running = runner.start(&[], "(sleep 778 &); (sleep 779 &); echo ready; exec sleep 777")?;
    // Not every library's wait understands a process that a real-time signal killed.
    for (orphan, signal) in [("sleep 778", "-TERM"), ("sleep 779", "-40")] {
        let orphan = command_below(1, orphan)?.pid;
        on_the_host(&format!("kill {signal} {orphan}"))?;
        eventually(|| {
            let zombie = process(orphan);
            ensure!(zombie.is_none(), "nobody reaps the process that `kill {signal}` ended");
            Ok(())
        })?;
    }
    running.kill()
}

fn ends_with_its_command(runner: &Runner) -> Result<()> {
    let before = State::now()?;
    runner.sh("sleep 777 >/dev/null 2>&1 & exit 3")?.expect(3)?;
    before.processes_restored()
}

fn killed_runner_leaves_nobody(runner: &Runner) -> Result<()> {
    let before = State::now()?;
    let running = runner.start(&[], "sleep 777 & echo ready; wait")?;
    command_below(running.pid(), "sleep 777")?;
    running.kill()?;
    before.processes_restored()
}

fn killed_early_leaves_nobody(runner: &Runner) -> Result<()> {
    let before = State::now()?;
    for moment in runner.moments(Duration::from_secs(2))? {
        let mut child = runner.sleeping()?;
        sleep(moment);
        child.kill()?;
        child.wait()?;
    }
    before.processes_restored()
}

fn no_inherited_descriptors(runner: &Runner) -> Result<()> {
    let front = ["sh", "-c", r#"exec "$@" 7</ 9</proc"#, "sh"];
    let mut command = runner.behind(&front, ["sh", "-c", "sleep 777 & wait"]);
    let mut caller = command.stderr(Stdio::null()).spawn()?;
    let started = command_below(caller.id() as i32, "sleep 777");
    let closed = eventually(|| {
        // PID 1 may still be about to close its pipe to the runner.
        for process in descendants(caller.id() as i32) {
            // Descriptors such as signalfd lead nowhere.
            let fds = "grep -E ' ([3-9]|[0-9]{2,}) -> ' | grep -v anon_inode: || true";
            let open = on_the_host(&format!("ls -l /proc/{}/fd | {fds}", process.pid))?;
            ensure!(open.is_empty(), "open in `{}`: {open}", process.command);
        }
        Ok(())
    });
    caller.kill()?;
    caller.wait()?;
    started.and(closed)
}

/// Its runner reads a pipe to the end, and does not end before.
const READS_A_PIPE: &str = r#"shift; line=$TMPDIR/line; mkfifo "$line"
    trap 'kill -KILL $!; exit 143' TERM
    unshare --pid --fork --kill-child sh -c 'exec 3>"$0"; "$@" 3>&- & sleep 3
        exec 3>&-; wait' "$line" "$@" & cat <"$line" >/dev/null; rm "$line"; wait"#;

/// Opens whatever PID 1 has open, and keeps using it. PID 1 has another number where `/proc` is the
/// host's.
const SEIZES: &str = r#"hold() { eval "$0" & }
    read -r _ _ _ parent _ </proc/self/stat
    [ $PPID = 1 ] && for fd in 3 4 5 6; do hold 9<>/proc/$parent/fd/$fd; done
    exec sleep 777"#;

fn leaves_the_runner_alone(runner: &Runner) -> Result<()> {
    let before = State::now()?;
    for count in for_some(Duration::from_secs(2), 6) {
        // The command must not read what PID 1 writes to the runner, or write to it.
        let and_then = ["yes >&9", "cat <&9"][count as usize % 2];
        let mut command = runner.command(["sh", "-c", SEIZES, and_then]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let pid = child.id() as i32;
        command_below(pid, "sleep 777")?;
        kill(Pid::from_raw(pid), SIGTERM)?;
        let code = end_in_time(&mut child).context("after TERM")?;
        ensure!(code == 143, "exit code {code} after TERM, instead of 143");
    }
    before.processes_restored()
}
