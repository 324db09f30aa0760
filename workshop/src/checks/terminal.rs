//! The terminal: ^C, ^\\, ^Z and fg, really pressed; its size, and its settings.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Check;
use super::Fails::{Saboteur, Step};
use crate::container::Runner;
use crate::machine::eventually;
use crate::terminal::Terminal;

#[rustfmt::skip] // A check is two lines.
pub(super) const CHECKS: &[Check] = &[
    Check::new("ctrl-c-once", 1, ctrl_c_once, Saboteur(PASSES_IT_ON),
        "^C at the terminal reaches the command exactly once."),
    Check::new("ctrl-c-and-the-shell", 1, ctrl_c_and_the_shell, Saboteur(r#""$REAL" "$@" <&0 & wait"#),
        "A shell at its prompt survives ^C, and the runner keeps waiting for it."),
    Check::new("ctrl-z-and-fg", 1, ctrl_z_and_fg, Saboteur(r#"trap '' TSTP; exec "$REAL" "$@""#),
        "^Z stops the command and brings back the prompt; fg continues the command."),
    Check::new("ctrl-backslash", 1, ctrl_backslash, Saboteur(r#"exec env --ignore-signal=QUIT "$REAL" "$@""#),
        "^\\ at the terminal ends the command (131)."),
    Check::new("loses-no-early-key", 1, loses_no_early_key, Saboteur(r#"trap '' INT QUIT; sleep 1; trap - INT QUIT; exec "$REAL" "$@""#),
        "^C and ^\\ at the terminal end it at any moment, even while it starts."),
    Check::new("window-size", 1, window_size, Saboteur(r#"exec setsid --wait "$REAL" "$@""#),
        "When the window is resized, the command is notified and sees the new size."),
    Check::new("full-screen", 1, full_screen, Saboteur(r#""$REAL" "$@"; code=$?; stty -echo; exit $code"#),
        "Full-screen programs work. After them, and after ^C, the terminal is as it was."),
    Check::new("killed-in-full-screen", 1, killed_in_full_screen, Saboteur(r#""$REAL" "$@"; exit $?"#),
        "`kill -9` of the runner leaves the terminal as `kill -9` of the command alone would."),
    Check::new("gives-the-terminal-back", 1, gives_the_terminal_back, Saboteur(r#"shift; exec unshare --pid --fork --kill-child "$@""#),
        "After a shell inside, the caller has the terminal again, even if it is a script."),
    Check::new("killed-shell-gives-it-back", 3, killed_shell_gives_it_back, Step(2),
        "The caller has the terminal again even if the shell inside was killed."),
    Check::new("takes-no-terminal-from-a-shell", 1, takes_no_terminal_from_a_shell, Saboteur(TAKES_IT_AT_ITS_END),
        "A container that ends in the background (^Z, bg) does not take the terminal."),
    Check::new("hangup", 1, hangup, Saboteur(r#"exec env --ignore-signal=HUP "$REAL" "$@""#),
        "It ends when its terminal is closed, though the kernel tells only the session leader."),
];

/// It passes on a signal that the terminal has sent to all.
const PASSES_IT_ON: &str = r#"trap 'kill -INT $!' INT
    env --default-signal=INT "$REAL" "$@" <&0 & while kill -0 $!; do wait; done"#;

fn ctrl_c_once(runner: &Runner) -> Result<()> {
    let script = "count=0; trap 'count=$((count + 1)); echo count $count.' INT
        trap 'echo in all $count.' USR1; sleep 777 & echo ready; while :; do wait; done";
    let mut terminal = Terminal::before(&runner.command(["sh", "-c", script]))?;
    // On a line of its own: the announcement has the word, too.
    terminal.enter("", "\nready")?;
    // While the command starts, ^C may come twice, rather than never. Wait until that is over.
    at_rest(&terminal)?;
    let mut line = terminal.processes();
    line.retain(|process| process.command != "sleep 777");
    let (command, others) = line.split_last().context("nothing runs")?;
    // Stops each process in turn until the command has counted. If that one then passes on the
    // terminal's signal, it is counted again. If both came at once, they could count as one.
    for (count, late) in (1..).zip(others) {
        let late = Pid::from_raw(late.pid);
        kill(late, Signal::SIGSTOP)?;
        terminal.keys("\x03")?;
        let counted = terminal.wait_for(&format!("count {count}."));
        at_rest(&terminal)?;
        kill(late, Signal::SIGCONT)?;
        at_rest(&terminal)?;
        ensure!(terminal.ended()?.is_none(), "^C ended the runner before its command");
        counted.context("after ^C")?;
        // Of two signals, a shell handles the one with the lower number first: SIGINT.
        kill(Pid::from_raw(command.pid), Signal::SIGUSR1)?;
        terminal.wait_for(&format!("in all {count}.")).context("after one ^C")?;
    }
    Ok(())
}

/// Waits until all processes wait for something: then they have handled every signal.
fn at_rest(terminal: &Terminal) -> Result<()> {
    eventually(|| {
        // Neither sleeping, nor stopped, nor a zombie.
        let awake = terminal.processes().into_iter().find(|it| !"STZ".contains(it.state));
        ensure!(awake.is_none(), "it does not settle: {awake:?}");
        Ok(())
    })
}

fn ctrl_c_and_the_shell(runner: &Runner) -> Result<()> {
    let mut terminal = runner.terminal()?;
    let line = format!("where=out; {} sh; echo it\\ ended", terminal.run);
    terminal.enter(&line, "Running [sh]")?;
    terminal.enter("where=in; echo ready $((1 + 1))", "ready 2")?;
    terminal.keys("\x03")?;
    eventually(|| {
        // While the shell handles ^C, it discards what is typed.
        terminal.keys("echo we are ${where}side\n")?;
        ensure!(terminal.shows("we are outside")? || terminal.shows("we are inside")?, "no answer");
        Ok(())
    })?;
    ensure!(!terminal.shows("we are outside")?, "^C ended the shell");
    terminal.enter("exit", "it ended")
}

fn ctrl_z_and_fg(runner: &Runner) -> Result<()> {
    let mut terminal = runner.terminal()?;
    let command = terminal.start("sleep 777")?;
    terminal.keys("\x1a")?;
    terminal.wait_for_state("sleep 777", 'T').context("after ^Z")?;
    terminal.enter("echo prompt $((1 + 1))", "prompt 2")?;
    terminal.keys("fg\n")?;
    let again = terminal.wait_for_state("sleep 777", 'S').context("after fg")?;
    ensure!(again.pid == command.pid, "fg continued another process");
    terminal.keys("\x03")?;
    terminal.wait_for_no("sleep 777").context("after fg and ^C")?;
    terminal.enter("echo code=$?.", "code=130.")
}

fn ctrl_backslash(runner: &Runner) -> Result<()> {
    let mut terminal = runner.terminal()?;
    terminal.keys(&format!("ulimit -c 0; {} sleep 777; echo code=$?.\n", terminal.run))?;
    terminal.wait_for_state("sleep 777", 'S')?;
    terminal.keys("\x1c")?;
    terminal.wait_for("code=131.").context("after ^\\")
}

fn loses_no_early_key(runner: &Runner) -> Result<()> {
    for (key, code) in [("\x03", 130), ("\x1c", 131)] {
        let moments = runner.moments(Duration::from_secs(1))?.map(Some);
        // And the moment of its first output.
        for moment in moments.chain([None; 10]) {
            let mut terminal = Terminal::before(&runner.command(["sleep", "777"]))?;
            terminal.keys("\n")?;
            match moment {
                Some(moment) => sleep(moment),
                None => terminal.wait_for("Running")?,
            }
            terminal.keys(key)?;
            let when = || format!("{key:?}, {moment:.1?} after the start (None: at its output)");
            let ended = terminal.end().with_context(when)?;
            ensure!(ended == code, "exit code {ended} after {}", when());
        }
    }
    Ok(())
}

fn window_size(runner: &Runner) -> Result<()> {
    let script = "trap 'echo size $(stty size).' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut terminal = Terminal::before(&runner.command(["sh", "-c", script]))?;
    terminal.enter("", "\nready")?;
    for (rows, columns) in [(30, 100), (7, 20)] {
        terminal.resize(rows, columns)?;
        terminal.wait_for(&format!("size {rows} {columns}."))?;
    }
    Ok(())
}

/// A terminal at its prompt, and its state.
fn at_the_prompt(runner: &Runner) -> Result<(Terminal, (String, Pid))> {
    let mut terminal = runner.terminal()?;
    terminal.enter("TERM=xterm; export TERM; echo ready $((1 + 1))", "ready 2")?;
    let state = terminal.state()?;
    Ok((terminal, state))
}

/// Starts a full-screen program, and waits until it has taken the terminal, that is, until the
/// terminal leaves line editing to the program.
fn start_full_screen(terminal: &mut Terminal, line: &str) -> Result<()> {
    terminal.keys(&format!("{line}\n"))?;
    eventually(|| {
        let raw = terminal.state()?.0.contains("-icanon");
        raw.then_some(()).with_context(|| format!("{line} did not take the terminal"))
    })
}

/// Waits for the end of a program and for the shell to answer. Returns the terminal's state then.
fn ends(terminal: &mut Terminal, name: &str) -> Result<(String, Pid)> {
    terminal.wait_for_no(name)?;
    // The typed line is shown, too; only the shell does the sum.
    terminal
        .enter("echo prompt $((1 + 1))", "prompt 2")
        .with_context(|| format!("after {name}"))?;
    terminal.state()
}

fn full_screen(runner: &Runner) -> Result<()> {
    let file = runner.put("file", b"one\n", 0o644)?;
    let (mut terminal, before) = at_the_prompt(runner)?;
    let run = terminal.run.clone();

    start_full_screen(&mut terminal, &format!("{run} busybox vi {file}"))?;
    terminal.keys("Otwo")?;
    terminal.wait_for("I ").context("in vi, when it inserts")?;
    // Wait after ESC: with more behind it, it could be the start of a key's code.
    terminal.keys("\x1b")?;
    terminal.wait_for("- ").context("in vi, after ESC")?;
    terminal.keys(":wq\r")?;
    same(&ends(&mut terminal, "busybox vi")?, &before)?;
    runner.run(["cat", &file])?.says("two\none\n")?;

    start_full_screen(&mut terminal, &format!("{run} busybox top"))?;
    terminal.wait_for("PID").context("in top")?;
    terminal.keys("q")?;
    same(&ends(&mut terminal, "busybox top")?, &before)?;

    terminal.start("sleep 777")?;
    terminal.keys("\x03")?;
    same(&ends(&mut terminal, "sleep 777")?, &before)
}

fn same(now: &(String, Pid), before: &(String, Pid)) -> Result<()> {
    ensure!(now == before, "the terminal is {now:?} instead of {before:?}");
    Ok(())
}

fn killed_in_full_screen(runner: &Runner) -> Result<()> {
    let vi = "busybox vi /tmp/of-the-check";
    let mut left = Vec::new();
    for ours in [false, true] {
        let (mut terminal, before) = at_the_prompt(runner)?;
        let start = if ours { terminal.run.clone() } else { "env".into() };
        start_full_screen(&mut terminal, &format!("{start} {vi}"))?;
        terminal.wait_for_state(vi, 'S')?;
        let first = terminal.processes().into_iter().next().context("nothing runs")?;
        kill(Pid::from_raw(first.pid), Signal::SIGKILL)?;
        let (settings, foreground) = ends(&mut terminal, vi)?;
        ensure!(settings != before.0, "vi did not change the terminal");
        ensure!(foreground == before.1, "the shell did not get its terminal back");
        left.push(settings);
    }
    ensure!(left[0] == left[1], "alone it leaves {:?}, in the runner {:?}", left[0], left[1]);
    Ok(())
}

fn gives_the_terminal_back(runner: &Runner) -> Result<()> {
    has_it_after(runner, |terminal| terminal.keys("exit 4\n"))
}

fn killed_shell_gives_it_back(runner: &Runner) -> Result<()> {
    has_it_after(runner, |terminal| {
        // Not at its prompt: while a shell edits a line, it changes the terminal's settings.
        terminal.keys("sleep 778\n")?;
        let sleeps = terminal.wait_for_state("sleep 778", 'S')?;
        kill(Pid::from_raw(sleeps.parent), Signal::SIGKILL).context("kill the shell")
    })
}

/// How a shell inside is called: by what, and with which program in between, such as sudo or cargo.
/// `sh` is a script, which has no job control; `.` is the shell at its prompt itself.
const CALLERS: [(&str, &str); 6] =
    [("sh", ""), ("sh", "env"), ("sh", "sh"), (".", ""), (".", "env"), (".", "sh")];

/// Calls each shell that exists inside, and ends it. Then the caller must have the terminal, as
/// before.
fn has_it_after(runner: &Runner, end_it: fn(&mut Terminal) -> Result<()>) -> Result<()> {
    let has_bash = runner.run(["bash", "-c", "exit 3"])?.code == 3;
    for shell in if has_bash { vec!["sh", "bash"] } else { vec!["sh"] } {
        for caller in CALLERS {
            call(runner, caller, shell, end_it)
                .with_context(|| format!("{shell}, called by {caller:?}"))?;
        }
    }
    Ok(())
}

fn call(
    runner: &Runner,
    (by, between): (&str, &str),
    shell: &str,
    end_it: fn(&mut Terminal) -> Result<()>,
) -> Result<()> {
    let mut terminal = runner.terminal()?;
    let mut run = format!("{between} {} {shell}", terminal.run);
    if between == "sh" {
        // With another line to run, this shell does not exec the last one.
        let script = format!("{} {shell}\nexit $?", terminal.run);
        run = format!("sh {}", runner.put("between", script.as_bytes(), 0o644)?);
    }
    let lines = format!(
        "echo ready $((1 + 1)); read word
        {run}
        echo ended with $?
        read word; echo got $word.
        sleep 777"
    );
    let caller = runner.put("caller", lines.as_bytes(), 0o644)?;
    terminal.enter(&format!("{by} {caller}"), "ready 2")?;
    let before = terminal.state()?;
    terminal.enter("\necho inside $((1 + 1))", "inside 2")?;
    end_it(&mut terminal)?;
    // The code does not matter: Debian's sh reports an error when it cannot give the terminal back.
    terminal.wait_for("ended with")?;
    same(&terminal.state()?, &before)?;
    // It is shown first as it is typed, then as it is read.
    terminal.enter("word", "word")?;
    terminal.wait_for("got word.").context("reading a line afterwards")?;
    terminal.wait_for_state("sleep 777", 'S')?;
    terminal.keys("\x03")?;
    terminal.wait_for_no("sleep 777").context("^C afterwards")
}

const TAKES_IT_AT_ITS_END: &str =
    r#""$REAL" "$@"; code=$?; unshare --pid --fork sh -i -c exit; exit $code"#;

fn takes_no_terminal_from_a_shell(runner: &Runner) -> Result<()> {
    let (mut terminal, before) = at_the_prompt(runner)?;
    terminal.start("sleep 777")?;
    terminal.keys("\x1a")?;
    terminal.wait_for_state("sleep 777", 'T').context("after ^Z")?;
    terminal.keys("bg\n")?;
    let command = terminal.wait_for_state("sleep 777", 'S').context("after bg")?;
    kill(Pid::from_raw(command.pid), Signal::SIGTERM)?;
    same(&ends(&mut terminal, "sleep 777")?, &before)
}

fn hangup(runner: &Runner) -> Result<()> {
    let mut terminal = Terminal::before(&runner.command(["sleep", "777"]))?;
    terminal.keys("\n")?;
    terminal.wait_for_state("sleep 777", 'S')?;
    terminal.hang_up()?;
    terminal.wait_for_no("sleep 777").context("without its terminal")
}
