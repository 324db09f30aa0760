//! Signals: which ones reach the command, and which it finds blocked or ignored.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal::{self, SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use nix::sys::signal::kill;
use nix::unistd::{Pid, pipe2};

use super::Check;
use super::Fails::Saboteur;
use crate::command::{end, end_in_time, on_the_host};
use crate::container::{Runner, alarmed};
use crate::machine::eventually;

#[rustfmt::skip] // A check is two lines.
pub(super) const CHECKS: &[Check] = &[
    Check::new("blocks-no-signals", 1, |it| it.run(BLOCKED)?.says(NONE), Saboteur(r#"shift; exec env --block-signal=TERM "$@""#),
        "The command starts with no signal blocked."),
    Check::new("blocks-all-or-none", 1, blocks_all_or_none, Saboteur(r#"shift; exec env --block-signal=USR1 "$@""#),
        "Of the signals that the caller blocks, the command starts with all blocked, or none."),
    Check::new("ignores-no-signals", 1, ignores_no_signals, Saboteur(r#"trap '' PIPE; shift; exec "$@""#),
        "The command ignores the signals that the caller ignores, and no others (Rust adds \
         SIGPIPE)."),
    Check::new("ignored-stays-ignored", 1, ignored_stays_ignored, Saboteur(r#"exec env --default-signal=HUP,USR1 "$REAL" "$@""#),
        "Signals that the caller ignores stay ignored, as under nohup."),
    Check::new("bears-an-ignored-sigchld", 1, bears_an_ignored_sigchld, Saboteur(r#""$REAL" "$@"; exec sleep 777"#),
        "A caller that ignores SIGCHLD gets the exit code, or an error (125). Nothing hangs."),
    Check::new("dies-of-a-closed-pipe", 1, dies_of_a_closed_pipe, Saboteur(r#""$REAL" "$@" | cat; exit 0"#),
        "A command that writes to a closed pipe is killed by SIGPIPE (141)."),
    Check::new("passes-signals-on", 1, passes_signals_on, Saboteur(r#""$REAL" "$@"; exit $?"#),
        "TERM, HUP and other signals that are sent to the runner reach the command."),
    Check::new("kernel-signals-too", 1, kernel_signals_too, Saboteur(r#"exec env --ignore-signal=ALRM "$REAL" "$@""#),
        "Signals that the kernel sends to the runner reach the command, too: SIGALRM after \
         `alarm(2)`."),
    Check::new("loses-no-early-signal", 1, loses_no_early_signal, Saboteur(r#"trap '' TERM; sleep 1; trap - TERM; exec "$REAL" "$@""#),
        "TERM, INT and other signals end it at any moment, even while it starts."),
    Check::new("ends-while-it-starts", 1, ends_while_it_starts, Saboteur(r#"trap '' TERM INT; echo "$@" >&2; exec "$REAL" "$@""#),
        "TERM and INT end it even if it is stuck at the start, as nobody reads its standard \
         error."),
];

const BLOCKED: [&str; 3] = ["grep", "SigBlk", "/proc/self/status"];
const NONE: &str = "SigBlk:\t0000000000000000\n";

fn blocks_all_or_none(runner: &Runner) -> Result<()> {
    let front = ["env", "--block-signal=ILL,TERM,TTIN"];
    let said = end(&mut runner.behind(&front, BLOCKED))?.expect(0)?.text();
    // Signal n is bit n - 1.
    let all = format!("SigBlk:\t{:016x}\n", 1 << 3 | 1 << 14 | 1 << 20);
    ensure!(said == all || said == NONE, "{said:?} instead of {all:?} or {NONE:?}");
    Ok(())
}

fn ignores_no_signals(runner: &Runner) -> Result<()> {
    ignores_what_its_caller_ignores(runner, "env")
}

fn ignored_stays_ignored(runner: &Runner) -> Result<()> {
    ignores_what_its_caller_ignores(runner, "env --ignore-signal=HUP,USR1")
}

fn ignores_what_its_caller_ignores(runner: &Runner, caller: &str) -> Result<()> {
    let ignored = on_the_host(&format!("{caller} grep SigIgn /proc/self/status"))?;
    let front: Vec<_> = caller.split(' ').collect();
    end(&mut runner.behind(&front, ["grep", "SigIgn", "/proc/self/status"]))?.says(&ignored)
}

fn bears_an_ignored_sigchld(runner: &Runner) -> Result<()> {
    let mut command = runner.behind(&["env", "--ignore-signal=CHLD"], ["sh", "-c", "exit 7"]);
    let code = end_in_time(&mut command.stderr(Stdio::null()).spawn()?)?;
    ensure!(code == 7 || code == 125, "exit code {code} instead of 7 or 125");
    Ok(())
}

fn dies_of_a_closed_pipe(runner: &Runner) -> Result<()> {
    // Nobody reads more than the first line.
    let front = ["sh", "-c", r#"exec 3>&1; { "$@" 3>&-; echo $? >&3; } | head -n 1 >&2"#, "sh"];
    end(&mut runner.behind(&front, ["yes"]))?.says("141\n")
}

fn passes_signals_on(runner: &Runner) -> Result<()> {
    for signal in [SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM] {
        let name = signal.as_str().trim_start_matches("SIG");
        let script = format!("trap 'exit 7' {name}; echo ready; while :; do sleep 0.05; done");
        let running = runner.start(&[], &script)?;
        running.end_by(signal, 7).with_context(|| format!("after {signal}"))?;
    }
    Ok(())
}

fn kernel_signals_too(runner: &Runner) -> Result<()> {
    let script = "trap 'exit 7' ALRM; for i in $(seq 100); do sleep 0.05; done";
    let command = runner.command(["sh", "-c", script]);
    // On a busy machine the alarm may go off before the trap is set. Then we try again.
    eventually(|| end(&mut alarmed(&command)?)?.expect(7))?;
    end(&mut alarmed(&runner.command(["sleep", "5"]))?)?.expect(142).map(drop)
}

fn loses_no_early_signal(runner: &Runner) -> Result<()> {
    for signal in [SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1] {
        for moment in runner.moments(Duration::from_millis(500))? {
            ended_by(runner.sleeping()?, signal, moment)?;
        }
    }
    Ok(())
}

fn ends_while_it_starts(runner: &Runner) -> Result<()> {
    for signal in [SIGTERM, SIGINT] {
        for moment in runner.moments(Duration::from_millis(200))? {
            // A full pipe: not one more byte fits.
            let (reader, writer) = pipe2(OFlag::O_CLOEXEC).context("pipe")?;
            let size = fcntl(&writer, FcntlArg::F_GETPIPE_SZ).context("fcntl")?;
            let mut writer = File::from(writer);
            writer.write_all(&vec![b'.'; size as usize])?;
            let stuck = runner.command(["sleep", "777"]).stderr(writer).spawn()?;
            ended_by(stuck, signal, moment)?;
            drop(reader);
        }
    }
    Ok(())
}

/// Sends a program a signal after some time. The program must die of it.
fn ended_by(mut child: Child, signal: Signal, after: Duration) -> Result<()> {
    sleep(after);
    kill(Pid::from_raw(child.id() as i32), signal)?;
    let when = || format!("{signal} was sent {after:.1?} after the start");
    let code = end_in_time(&mut child).with_context(when)?;
    ensure!(code == 128 + signal as i32, "exit code {code}: {}", when());
    Ok(())
}
