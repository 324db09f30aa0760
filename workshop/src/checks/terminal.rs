//! The terminal: ^C, ^\\, ^Z and fg, pressed for real; its size, and its settings.

use std::iter::repeat_n;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Check;
use super::Fails::{Saboteur, Step};
use crate::container::Runner;
use crate::host::processes;
use crate::machine::eventually;
use crate::terminal::Terminal;

#[rustfmt::skip] // A check is two lines.
pub(super) const CHECKS: &[Check] = &[
    Check::new("ctrl-c-once", 1, ctrl_c_once, Saboteur(r#"trap 'kill -INT $!' INT; "$REAL" "$@" & wait; wait"#),
        "^C at the terminal reaches the command, and reaches it once."),
    Check::new("ctrl-c-and-the-shell", 1, ctrl_c_and_the_shell, Saboteur(r#""$REAL" "$@" <&0 & wait"#),
        "A shell at its prompt outlives ^C, and the runner waits for it."),
    Check::new("ctrl-z-and-fg", 1, ctrl_z_and_fg, Saboteur(r#"trap '' TSTP; exec "$REAL" "$@""#),
        "^Z stops the command and gives the prompt back; fg goes on with it."),
    Check::new("ctrl-backslash", 1, ctrl_backslash, Saboteur(r#"exec env --ignore-signal=QUIT "$REAL" "$@""#),
        "^\\ at the terminal ends the command: 131."),
    Check::new("loses-no-early-key", 1, loses_no_early_key, Saboteur(r#"trap '' INT QUIT; sleep 1; trap - INT QUIT; exec "$REAL" "$@""#),
        "^C and ^\\ at the terminal end it whenever they are pressed, at start-up too."),
    Check::new("window-size", 1, window_size, Saboteur(r#"exec setsid --wait "$REAL" "$@""#),
        "When the window changes its size, the command is told, and sees the new one."),
    Check::new("full-screen", 1, full_screen, Saboteur(r#""$REAL" "$@"; code=$?; stty -echo; exit $code"#),
        "Full-screen programs work, and after them and after ^C the terminal is as before."),
    Check::new("killed-in-full-screen", 1, killed_in_full_screen, Saboteur(r#""$REAL" "$@"; exit $?"#),
        "`kill -9` of the runner leaves the terminal as `kill -9` of the program alone does."),
    Check::new("gives-the-terminal-back", 1, gives_the_terminal_back, Saboteur(r#"shift; exec unshare --pid --fork --kill-child "$@""#),
        "After a shell inside, whoever called has the terminal again, a script, too."),
    Check::new("killed-shell-gives-it-back", 3, killed_shell_gives_it_back, Step(2),
        "So it is when the shell inside is killed."),
    Check::new("takes-no-terminal-from-a-shell", 1, takes_no_terminal_from_a_shell, Saboteur(r#""$REAL" "$@"; code=$?; unshare --pid --fork sh -i -c exit; exit $code"#,),
        "What ends in the background (^Z, bg) takes the terminal from nobody."),
    Check::new("hangup", 1, hangup, Saboteur(r#"exec env --ignore-signal=HUP "$REAL" "$@""#),
        "When its terminal is closed, it ends, though the kernel tells only the session's leader."),
];

fn ctrl_c_once(runner: &Runner) -> Result<()> {
    let script = b"count=0; trap 'count=$((count + 1)); echo count $count.' INT
        echo ready; while :; do :; done";
    let script = runner.put("script", script, 0o644)?;
    let mut terminal = runner.terminal()?;
    terminal.keys(&format!("{} sh {script}\n", terminal.run))?;
    terminal.wait_for("ready")?;
    // In the moment of the start ^C may come twice, rather than never: it has to be over.
    eventually(|| {
        let mut awake = terminal.processes();
        awake.pop(); // the command, which counts
        awake.retain(|process| process.state != 'S');
        ensure!(awake.is_empty(), "the runner does not come to rest");
        Ok(())
    })?;
    // Whoever stands between runner and command is stopped meanwhile, or the signal that it passes
    // on might come before the terminal's is counted, and the two be one.
    let line = terminal.processes();
    let between = || line.iter().skip(1).rev().skip(1).map(|process| Pid::from_raw(process.pid));
    between().try_for_each(|pid| kill(pid, Signal::SIGSTOP))?;
    terminal.keys("\x03")?;
    let counted = terminal.wait_for("count 1.").context("after ^C");
    // A runner that dies of it needs a moment.
    sleep(Duration::from_millis(200));
    let runner = terminal.processes().into_iter().next();
    let lives = runner.is_some_and(|runner| line.iter().any(|before| before.pid == runner.pid));
    ensure!(lives, "^C ends the runner, before its command has ended");
    counted?;
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
    terminal.wait_for_no("sleep 777").context("after fg and ^C")?;
    terminal.keys("echo code=$?.\n")?;
    terminal.wait_for("code=130.").context("after fg and ^C")
}

fn ctrl_backslash(runner: &Runner) -> Result<()> {
    let mut terminal = runner.terminal()?;
    terminal.keys(&format!("ulimit -c 0; {} sleep 777; echo code=$?.\n", terminal.run))?;
    terminal.wait_for_state("sleep 777", 'S')?;
    terminal.keys("\x1c")?;
    terminal.wait_for("code=131.").context("after ^\\")
}

fn loses_no_early_key(runner: &Runner) -> Result<()> {
    for (key, name, code) in [("\x03", "^C", 130), ("\x1c", "^\\", 131)] {
        // Some as late as its first word.
        let late = repeat_n(None, 10);
        for moment in runner.moments(40)?.map(Some).chain(late) {
            let when = moment.map(|moment| format!("{moment:.1?} after the start"));
            let when = when.unwrap_or("as it says `Running`".into());
            let mut terminal = Terminal::before(&runner.command(["sleep", "777"]))?;
            terminal.keys("\n")?;
            match moment {
                Some(moment) => sleep(moment),
                None => terminal.wait_for("Running")?,
            }
            terminal.keys(key)?;
            let ended = terminal.end().with_context(|| format!("{name} was lost, pressed {when}"));
            let ended = ended?;
            ensure!(ended == code, "exit code {ended} after {name}, pressed {when}");
        }
    }
    Ok(())
}

fn window_size(runner: &Runner) -> Result<()> {
    let script = b"trap 'echo size $(stty size).' WINCH
        echo ready; while :; do sleep 0.05; done";
    let script = runner.put("script", script, 0o644)?;
    let mut terminal = runner.terminal()?;
    terminal.keys(&format!("{} sh {script}\n", terminal.run))?;
    terminal.wait_for("ready")?;
    for (rows, columns) in [(30, 100), (7, 20)] {
        terminal.resize(rows, columns)?;
        terminal.wait_for(&format!("size {rows} {columns}."))?;
    }
    Ok(())
}

/// A terminal at its prompt.
fn at_the_prompt(runner: &Runner) -> Result<Terminal> {
    let mut terminal = runner.terminal()?;
    terminal.keys("TERM=xterm; export TERM; echo ready $((1 + 1))\n")?;
    terminal.wait_for("ready 2")?;
    Ok(terminal)
}

/// Starts a program that fills the screen, and waits until it has the terminal: until that leaves
/// the editing of lines to the program.
fn start_full_screen(terminal: &mut Terminal, line: &str) -> Result<()> {
    terminal.keys(&format!("{line}\n"))?;
    eventually(|| {
        let raw = terminal.settings()?.contains("-icanon");
        raw.then_some(()).with_context(|| format!("{line} does not take the terminal"))
    })
}

/// Waits for the end of what is called so, and fails unless the terminal is as it was then.
fn ends_as_before(terminal: &mut Terminal, before: &(String, Pid), name: &str) -> Result<()> {
    terminal.wait_for_no(name)?;
    // What is typed is to be seen, too; only the shell can add it up.
    terminal.keys("echo prompt $((1 + 1))\n")?;
    terminal.wait_for("prompt 2").with_context(|| format!("after {name}"))?;
    let now = (terminal.settings()?, terminal.foreground()?);
    ensure!(now == *before, "after {name} the terminal is {now:?} instead of {before:?}");
    Ok(())
}

fn full_screen(runner: &Runner) -> Result<()> {
    let file = runner.put("file", b"one\n", 0o644)?;
    let mut terminal = at_the_prompt(runner)?;
    let before = (terminal.settings()?, terminal.foreground()?);
    let run = terminal.run.clone();

    start_full_screen(&mut terminal, &format!("{run} busybox vi {file}"))?;
    terminal.keys("Otwo\x1b")?;
    // An ESC with more behind it could be the start of a key's code.
    sleep(Duration::from_millis(300));
    terminal.keys(":wq\r")?;
    ends_as_before(&mut terminal, &before, "busybox vi")?;
    let written = runner.run(["cat", &file])?.expect(0)?.text();
    ensure!(written == "two\none\n", "vi wrote {written:?}");

    start_full_screen(&mut terminal, &format!("{run} busybox top"))?;
    terminal.wait_for("PID").context("in top")?;
    terminal.keys("q")?;
    ends_as_before(&mut terminal, &before, "busybox top")?;

    terminal.keys(&format!("{run} sleep 777\n"))?;
    terminal.wait_for_state("sleep 777", 'S')?;
    terminal.keys("\x03")?;
    ends_as_before(&mut terminal, &before, "sleep 777")
}

/// The settings that `kill -9` leaves behind of what is started by a line that ends in vi. The shell
/// must be in front again.
fn killed_in_vi(runner: &Runner, start: fn(&Terminal) -> &str) -> Result<String> {
    let mut terminal = at_the_prompt(runner)?;
    let before = (terminal.settings()?, terminal.foreground()?);
    let vi = "busybox vi /tmp/of-the-check";
    let line = format!("{} {vi}", start(&terminal));
    start_full_screen(&mut terminal, &line)?;
    terminal.wait_for_state(vi, 'S')?;
    let first = terminal.processes().into_iter().next().context("nothing runs")?;
    kill(Pid::from_raw(first.pid), Signal::SIGKILL)?;
    terminal.wait_for_no(vi)?;
    terminal.keys("echo prompt $((1 + 1))\n")?;
    terminal.wait_for("prompt 2").context("after kill -9")?;
    let settings = terminal.settings()?;
    ensure!(settings != before.0, "vi had not changed the terminal");
    ensure!(terminal.foreground()? == before.1, "the shell does not get its terminal back");
    Ok(settings)
}

fn killed_in_full_screen(runner: &Runner) -> Result<()> {
    let alone = killed_in_vi(runner, |_| "env").context("the program alone")?;
    let ours = killed_in_vi(runner, |terminal| &terminal.run)?;
    ensure!(ours == alone, "it leaves {ours:?}, and the program alone {alone:?}");
    Ok(())
}

/// The shells that there are inside, to sit at.
fn shells(runner: &Runner) -> Result<Vec<&'static str>> {
    let mut there = Vec::new();
    for shell in ["sh", "bash"] {
        if runner.run([shell, "-c", "exit 3"])?.code == 3 {
            there.push(shell);
        }
    }
    ensure!(!there.is_empty(), "no shell runs inside");
    Ok(there)
}

/// Who calls a shell inside.
struct Caller {
    /// A script, which has no job control, or else the shell at its prompt.
    script: bool,
    /// A program in between, as sudo and cargo are.
    between: &'static str,
    /// The shell that is called.
    shell: &'static str,
}

impl Caller {
    /// Calls it and has it ended. Fails unless the caller has the terminal then, as before.
    fn has_it_after(
        &self,
        runner: &Runner,
        end_it: impl FnOnce(&mut Terminal) -> Result<()>,
    ) -> Result<()> {
        let who = || {
            let caller = if self.script { "a script" } else { "the prompt" };
            format!("{}, called from {caller} {}", self.shell, self.between)
        };
        self.look(runner, end_it).with_context(who)
    }

    fn look(
        &self,
        runner: &Runner,
        end_it: impl FnOnce(&mut Terminal) -> Result<()>,
    ) -> Result<()> {
        let mut terminal = runner.terminal()?;
        let run = format!("{} {}", terminal.run, self.shell);
        let run = match self.between {
            "sh" => {
                // With more to do, the shell stays.
                let script = format!("{run}\nexit $?");
                format!("sh {}", runner.put("between", script.as_bytes(), 0o644)?)
            }
            between => format!("{between} {run}"),
        };
        let lines = format!(
            "echo ready $((1 + 1)); read word
            {run}
            echo ended with $?
            read word; echo got $word.
            sleep 777"
        );
        let caller = runner.put("caller", lines.as_bytes(), 0o644)?;
        // `.`: by the shell at its prompt itself.
        terminal.keys(&format!("{} {caller}\n", if self.script { "sh" } else { "." }))?;
        terminal.wait_for("ready 2")?;
        let before = (terminal.settings()?, terminal.foreground()?);
        terminal.keys("\n")?;
        terminal.wait_for(&format!("Running [{}]", self.shell))?;
        terminal.keys("echo inside $((1 + 1))\n")?;
        terminal.wait_for("inside 2")?;
        end_it(&mut terminal)?;
        // With what does not matter: Debian's sh takes it for an error of its own that it cannot
        // give the terminal back.
        terminal.wait_for("ended with")?;
        let now = (terminal.settings()?, terminal.foreground()?);
        ensure!(now == before, "afterwards the terminal is {now:?} instead of {before:?}");
        // First as it is typed, then as it is read.
        terminal.keys("word\n")?;
        terminal.wait_for("word").context("what is typed afterwards")?;
        terminal.wait_for("got word.").context("what is read afterwards")?;
        terminal.wait_for_state("sleep 777", 'S')?;
        terminal.keys("\x03")?;
        terminal.wait_for_no("sleep 777").context("^C afterwards")
    }
}

fn gives_the_terminal_back(runner: &Runner) -> Result<()> {
    for shell in shells(runner)? {
        for (script, between, code) in
            [(true, "", 4), (true, "env", 0), (true, "sh", 4), (false, "", 0), (false, "sh", 4)]
        {
            let exit = |terminal: &mut Terminal| terminal.keys(&format!("exit {code}\n"));
            Caller { script, between, shell }.has_it_after(runner, exit)?;
        }
    }
    Ok(())
}

fn killed_shell_gives_it_back(runner: &Runner) -> Result<()> {
    for shell in shells(runner)? {
        for (script, between) in [(true, ""), (true, "sh"), (false, ""), (false, "env")] {
            let kill_it = |terminal: &mut Terminal| {
                // While a shell edits a line, the terminal's settings are its own.
                terminal.keys("sleep 778\n")?;
                let sleeps = terminal.wait_for_state("sleep 778", 'S')?;
                kill(Pid::from_raw(sleeps.parent), Signal::SIGKILL).context("kill the shell")
            };
            Caller { script, between, shell }.has_it_after(runner, kill_it)?;
        }
    }
    Ok(())
}

fn takes_no_terminal_from_a_shell(runner: &Runner) -> Result<()> {
    let go = runner.put("script", b"", 0o644)?.replace("script", "go");
    let script = format!("echo ready; while [ ! -e {go} ]; do sleep 0.05; done");
    let script = runner.put("script", script.as_bytes(), 0o644)?;
    let mut terminal = at_the_prompt(runner)?;
    let before = (terminal.settings()?, terminal.foreground()?);
    terminal.keys(&format!("{} sh {script}\n", terminal.run))?;
    terminal.wait_for("ready")?;
    terminal.keys("\x1a")?;
    terminal.wait_for_state(&format!("sh {script}"), 'T').context("after ^Z")?;
    terminal.keys("bg\n")?;
    terminal.wait_for_state(&format!("sh {script}"), 'S').context("after bg")?;
    runner.put("go", b"", 0o644)?;
    ends_as_before(&mut terminal, &before, &script)
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
