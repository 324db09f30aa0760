//! Sends signals to a running container from different senders, and measures what happens in each
//! step. The table includes what a step still does wrong, so that we notice when that changes.

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use nix::sys::signal::{Signal::SIGTERM, kill};
use nix::unistd::Pid;
use proof::case::{self, Needs, case, here, recorded, said};
use proof::programs::runner;
use workshop::command::{behind, end};
use workshop::container::{Runner, alarmed};
use workshop::host;
use workshop::machine::eventually;
use workshop::steps::{LAST, STEPS, Step};
use workshop::terminal::Terminal;

/// For readers of the snapshot.
const LEGEND: &str = "\
The first number is the exit code of a command that does nothing about the signal. The number after
the comma is that of a command that catches the signal and then exits with 7. nix has no names for
real-time signals, so `run` can only say that it does not pass them on. A signal to a process group
comes from the sender and from `run`, so the command sees it once or twice. On ^C `run` exits and
does not die of SIGINT, so bash assumes that the command has handled ^C, and goes on with its loop.
A shell inside cannot see that it is in the background, because the foreground group has no number
inside. So it takes the terminal.
";

/// Goes before every script, whose arguments are `PROGRAM run`. Each job has its own process group,
/// because the host's first group has no shell above it, so SIGTSTP would stop nothing in it.
const SHELL: &str = r#"
    set -m; cd $TMPDIR; run=("$@")
    # No loop, because bash leaves a loop when a job stops.
    soon() { "$@" || { sleep 0.05; soon "$@"; }; }
    is() { ps -eo stat=,args= | grep -q "^$1[^ ]* *sleep 777\$"; }
    # No shell before it: busybox's shell loses SIGQUIT when it is about to exec.
    sleeping() { "${run[@]}" sleep 777 2>said & soon is S; }
    caught() { # SIGNAL [- if it is for the group]
        "${run[@]}" sh -c "trap 'exit 7' $1; echo ready; while :; do sleep 0.05; done" >ready &
        soon grep -q ready ready; kill -$1 -- $2$!; wait $!; printf $?
    }
    sent() { sleeping; kill -$1 $!; wait $!; printf "$?, "; caught $1; }
    stopped() {
        sleeping; kill -TSTP $!; soon grep -q 'State:.T' /proc/$!/status
        if is T; then printf 'the command stops'; else printf '`run` alone stops'; fi
        kill -CONT $!; kill -TERM $!
        # A wait may end because the process has stopped.
        soon eval '! kill -0 $! 2>/dev/null'; wait $!; [ $? = 143 ] || printf ', and ends with %s' $?
    }
    real_time() {
        sleeping; kill -37 $!
        # Two pending signals would arrive in the order of their numbers.
        soon eval '! grep -qs ShdPnd:.*[1-9a-f] /proc/$!/status'
        kill -TERM $!; wait $!; code=$?
        grep -o 'real-time.*' said | sed 's/.*/"&", lives on/' | grep . || echo $code
    }
    closed_pipe() { { "${run[@]}" yes; echo $? >code; } | true; cat code; }
    limited() { (ulimit -S -c 0; ulimit -S $1; "${run[@]}" sh -c "$2"); printf $?; }
"#;

/// How to measure what happens: with a script, or at a terminal.
enum How {
    Script(&'static str),
    Function(fn(&Runner) -> Result<String>),
}

use How::{Function, Script};

/// The sender, the signal, and how to measure what happens.
const ROWS: &[(&str, &str, How)] = &[
    ("a process", "HUP", Script("sent HUP")),
    ("a process", "INT", Script("sent INT")),
    ("a process", "QUIT", Script("sent QUIT")),
    ("a process", "TERM", Script("sent TERM")),
    ("a process", "USR1", Script("sent USR1")),
    ("a process", "USR2", Script("sent USR2")),
    ("a process", "ALRM", Script("sent ALRM")),
    ("a process", "WINCH", Script("printf '–, '; caught WINCH")),
    ("a process", "URG", Script("printf '–, '; caught URG")),
    ("a process", "TSTP", Script("stopped")),
    ("a process", "RTMIN+3", Script("real_time")),
    ("a process", "TERM, to the group", Script("printf '–, '; caught TERM -")),
    ("the terminal", "^C", Function(|it| at_a_terminal(it, "INT", |it| it.keys("\x03")))),
    ("the terminal", "^\\", Function(|it| at_a_terminal(it, "QUIT", |it| it.keys("\x1c")))),
    ("the terminal", "^Z, and fg", Function(stopped_by_key)),
    ("the terminal", "a new size", Function(|it| caught_there(it, "WINCH", |it| it.resize(9, 9)))),
    ("the terminal", "closed", Function(|it| at_a_terminal(it, "HUP", Terminal::hang_up))),
    ("the terminal", "^C, in a loop of bash", Function(in_a_loop)),
    ("the terminal", "`run sh &` in bash", Function(shell_in_the_background)),
    ("the kernel", "ALRM, of alarm(2)", Function(alarm)),
    ("the kernel", "XCPU, of ulimit -t", Script("limited '-t 1' 'while :; do :; done'")),
    (
        "the kernel",
        "XFSZ, of ulimit -f",
        Script("limited '-f 0' 'exec 3>/tmp/file; rm /tmp/file; echo >&3'"),
    ),
    ("the kernel", "PIPE", Script("closed_pipe")),
];

fn main() -> ExitCode {
    let mut cases = vec![here("table", Needs::root_if(LAST.root), table)];
    for step in &STEPS {
        for (sender, what, how) in ROWS {
            let needs = Needs::root_if(step.root).with(&["bash", "ps"]);
            cases.push(case(name(step, sender, what), needs, move || cell(step, how)));
        }
    }
    // They wait more than they compute.
    case::run(8, cases)
}

fn name(step: &Step, sender: &str, what: &str) -> String {
    format!("{}::{sender}: {what}", step.name)
}

/// What happens on a signal.
fn cell(step: &Step, how: &How) -> Result<String> {
    let runner = runner(step)?;
    let script = match how {
        Function(measure) => return measure(&runner),
        Script(script) => format!("{SHELL}{script}"),
    };
    let mut command = behind(&["bash", "-c", &script, "bash"], &runner.command([""; 0]));
    Ok(end(&mut command)?.text().trim().to_owned())
}

fn table() -> Result<()> {
    let numbers: String = (1..=STEPS.len()).map(|number| format!(" {number} |")).collect();
    let mut table = format!("{LEGEND}\n| from | signal |{numbers}\n");
    table += &format!("| --- | --- |{}\n", " --- |".repeat(STEPS.len()));
    for (sender, what, _) in ROWS {
        table += &format!("| {sender} | {what} |");
        for step in &STEPS {
            table += &format!(" {} |", said(&name(step, sender, what))?);
        }
        table += "\n";
    }
    recorded("senders", &table);
    Ok(())
}

/// Something that happens to a terminal.
type Event = fn(&mut Terminal) -> Result<()>;

/// The exit codes after something happens to the terminal: of a command that does nothing
/// about the signal, and of one that catches it.
fn at_a_terminal(runner: &Runner, name: &str, event: Event) -> Result<String> {
    let mut alone = Terminal::before(&runner.command(["sleep", "777"]))?;
    alone.keys("\n")?;
    alone.wait_for_state("sleep 777", 'S')?;
    event(&mut alone)?;
    let alone = alone.end()?;
    Ok(caught_there(runner, name, event)?.replace('–', &alone.to_string()))
}

fn caught_there(runner: &Runner, name: &str, event: Event) -> Result<String> {
    let catching = format!("trap 'exit 7' {name}; echo ready; while :; do sleep 0.05; done");
    let mut terminal = Terminal::before(&runner.command(["sh", "-c", &catching]))?;
    terminal.keys("\n")?;
    // First the word appears in the line that announces the command.
    terminal.wait_for("Running")?;
    terminal.wait_for("\nready")?;
    event(&mut terminal)?;
    Ok(format!("–, {}", terminal.end()?))
}

fn stopped_by_key(runner: &Runner) -> Result<String> {
    let mut terminal = runner.terminal()?;
    terminal.keys(&format!("{} sleep 777\n", terminal.run))?;
    let command = terminal.wait_for_state("sleep 777", 'S')?;
    terminal.keys("\x1a")?;
    terminal.wait_for_state("sleep 777", 'T')?;
    terminal.keys("fg\n")?;
    terminal.wait_for_state("sleep 777", 'S')?;
    kill(Pid::from_raw(command.pid), SIGTERM)?;
    terminal.wait_for_no("sleep 777")?;
    Ok("stops, goes on".into())
}

/// Whether ^C also ends a loop in bash.
fn in_a_loop(runner: &Runner) -> Result<String> {
    let command = runner.command(["sleep", "777"]);
    let script = r#"for i in 1 2; do [ $i = 1 ] || exit 99; "$@"; done"#;
    let mut terminal = Terminal::before(&behind(&["bash", "-c", script, "bash"], &command))?;
    terminal.keys("\n")?;
    terminal.wait_for_state("sleep 777", 'S')?;
    terminal.keys("\x03")?;
    Ok(match terminal.end()? {
        99 => "the loop goes on".into(),
        code => code.to_string(),
    })
}

/// What happens to bash when a shell inside starts in the background.
fn shell_in_the_background(runner: &Runner) -> Result<String> {
    let mut terminal = runner.terminal()?;
    terminal.keys("PS1='\\s,' exec bash --norc --noprofile -i\n")?;
    terminal.wait_for("bash,")?;
    let (bash, file) = (terminal.foreground()?, runner.put("go", b"", 0o644)?);
    let shell = format!("sh -c 'until [ -s {file} ]; do sleep 0.05; done; exec sh'");
    terminal.keys(&format!("{} {shell} &\n", terminal.run))?;
    // bash takes the terminal before each prompt. It must not do so after the shell inside has it.
    terminal.wait_for("bash,")?;
    runner.put("go", b"now", 0o644)?;
    eventually(|| {
        let stops = host::processes().iter().any(|it| it.command == "sh" && it.state == 'T');
        ensure!(stops || terminal.foreground()? != bash, "the shell inside does not start");
        Ok(())
    })?;
    eventually(|| {
        // bash reports its jobs only before a prompt.
        let _ = terminal.keys("\n");
        match (terminal.shows("Stopped")?, terminal.ended()?) {
            (true, _) => Ok("stops".to_owned()),
            (false, Some(_)) => Ok("bash loses the terminal, and ends".to_owned()),
            _ => bail!("the shell does not stop, and bash does not end"),
        }
    })
}

fn alarm(runner: &Runner) -> Result<String> {
    let alone = end(&mut alarmed(&runner.command(["sleep", "10"]))?)?.code;
    let script = "trap 'exit 7' ALRM; for i in $(seq 200); do sleep 0.05; done";
    // On a busy machine the alarm may go off before the trap is set. Then try again.
    let caught = eventually(|| {
        end(&mut alarmed(&runner.command(["sh", "-c", script]))?)?.expect(7).map(|ended| ended.code)
    })?;
    Ok(format!("{alone}, {caught}"))
}
