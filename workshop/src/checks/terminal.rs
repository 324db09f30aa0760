//! The terminal: ^C, ^Z and fg, pressed for real.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Check, Fails};
use crate::container::Runner;
use crate::host::{eventually, processes};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "ctrl-c-once",
        proves: "^C at the terminal reaches the command, and reaches it once.",
        from: 1,
        free: &[],
        fails: Fails::Saboteur(r#"trap 'kill -INT $!' INT; "$REAL" "$@" & wait; wait"#),
        look: ctrl_c_once,
    },
    Check {
        id: "ctrl-c-and-the-shell",
        proves: "A shell at its prompt outlives ^C, and the runner waits for it.",
        from: 1,
        free: &[],
        fails: Fails::Saboteur(r#""$REAL" "$@" <&0 & wait"#),
        look: ctrl_c_and_the_shell,
    },
    Check {
        id: "ctrl-z-and-fg",
        proves: "^Z stops the command and gives the prompt back; fg goes on with it.",
        from: 1,
        free: &[],
        fails: Fails::Saboteur(r#"trap '' TSTP; exec "$REAL" "$@""#),
        look: ctrl_z_and_fg,
    },
    Check {
        id: "hangup",
        proves: "When its terminal is closed, it ends, though the kernel tells only the session's leader.",
        from: 1,
        free: &[],
        fails: Fails::Saboteur(r#"exec env --ignore-signal=HUP "$REAL" "$@""#),
        look: hangup,
    },
];

fn ctrl_c_once(runner: &Runner) -> Result<()> {
    let script = b"count=0; trap 'count=$((count + 1)); echo count $count.' INT
        echo ready; while :; do :; done";
    let script = runner.put("script", script, 0o644)?;
    let mut terminal = runner.terminal()?;
    terminal.keys(&format!("{} sh {script}\n", terminal.run))?;
    terminal.wait_for("ready")?;
    // Whoever stands between runner and command is stopped meanwhile, or the signal that it passes
    // on might come before the terminal's is counted, and the two be one.
    let line = terminal.processes();
    let between = || line.iter().skip(1).rev().skip(1).map(|process| Pid::from_raw(process.pid));
    between().try_for_each(|pid| kill(pid, Signal::SIGSTOP))?;
    terminal.keys("\x03")?;
    terminal.wait_for("count 1.").context("after ^C")?;
    between().try_for_each(|pid| kill(pid, Signal::SIGCONT))?;
    let more = terminal.watch(Duration::from_millis(500))?;
    ensure!(!more.contains("count"), "after one ^C the command counts on: {more:?}");
    Ok(())
}

fn ctrl_c_and_the_shell(runner: &Runner) -> Result<()> {
    let mut terminal = runner.terminal()?;
    terminal.keys(&format!("where=outside; {} sh; echo it\\ ended\n", terminal.run))?;
    terminal.wait_for("Running [sh]")?;
    terminal.keys("where=inside; echo ready $((1 + 1))\n")?;
    terminal.wait_for("ready 2")?;
    terminal.keys("\x03")?;
    // ^C throws away what is typed with it.
    sleep(Duration::from_millis(300));
    terminal.keys("echo we are $where, $((1 + 1))\n")?;
    terminal.wait_for("we are inside, 2").context("after ^C")?;
    terminal.keys("exit\n")?;
    terminal.wait_for("it ended").context("after exit")
}

fn ctrl_z_and_fg(runner: &Runner) -> Result<()> {
    let mut terminal = runner.terminal()?;
    terminal.keys(&format!("{} sleep 777\n", terminal.run))?;
    terminal.wait_for_state("sleep 777", 'S')?;
    terminal.keys("\x1a")?;
    let command = terminal.wait_for_state("sleep 777", 'T').context("after ^Z")?;
    terminal.keys("echo prompt $((1 + 1))\n")?;
    terminal.wait_for("prompt 2").context("after ^Z")?;
    terminal.keys("fg\n")?;
    let again = terminal.wait_for_state("sleep 777", 'S').context("after fg")?;
    ensure!(again.pid == command.pid, "fg goes on with another process");
    terminal.keys("\x03")?;
    eventually(|| match terminal.wait_for_state("sleep 777", 'S') {
        Ok(_) => bail!("^C after fg did not end it"),
        Err(_) => Ok(()),
    })?;
    terminal.keys("echo code=$?.\n")?;
    terminal.wait_for("code=130.").context("after fg and ^C")
}

fn hangup(runner: &Runner) -> Result<()> {
    let pty = openpty(None, None).context("openpty")?;
    // Ours alone, or it would not be closed when we close it.
    fcntl(&pty.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).context("fcntl")?;
    let stdio = || pty.slave.try_clone().map(Stdio::from);
    let container = runner.command(["sleep", "777"]);
    let mut leader = Command::new("setsid");
    leader.args(["--ctty", "--wait"]).arg(container.get_program()).args(container.get_args());
    let mut leader = leader.stdin(stdio()?).stdout(stdio()?).stderr(stdio()?).spawn()?;
    let sleeping = || processes().iter().any(|process| process.command == "sleep 777");
    eventually(|| sleeping().then_some(()).context("the command does not start"))?;
    drop(pty);
    eventually(|| (!sleeping()).then_some(()).context("it lives on without its terminal"))?;
    leader.wait().context("wait for setsid").map(drop)
}
