//! Who sends a signal to a running container, and what becomes of it in each step: a table, as
//! measured. What a step still owes is in it, too, so that it is noticed when that changes.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal::{self, SIGCONT, SIGTERM, SIGTSTP};
use nix::sys::signal::{kill, killpg};
use nix::unistd::Pid;
use proof::case::{self, Needs, case, here, recorded, said};
use proof::programs::runner;
use workshop::container::{Runner, alarmed, behind, code, end};
use workshop::host;
use workshop::machine::eventually;
use workshop::steps::{LAST, STEPS, Step};
use workshop::terminal::Terminal;

/// For those who read the snapshot.
const LEGEND: &str = "\
A number is the exit code of a command that does nothing about the signal; behind a comma stands
that of one which catches it, and exits with 7 then. A real-time signal has no name in nix: `run`
can only say that it does not pass it on. To a process group it goes twice, from the sender and
from `run`: the command sees it once or twice. `run` exits, and does not die of SIGINT, so bash
takes it that the command has dealt with ^C, and goes on. A shell inside cannot see that it is in
the background (the group in front has no number for it), and takes the terminal.
";

/// What becomes of a signal of this name.
type Measure = fn(&Runner, &str) -> Result<String>;

/// Who sends a signal, which, and how what becomes of it is measured.
const ROWS: &[(&str, &str, Measure)] = &[
    ("a process", "HUP", sent),
    ("a process", "INT", sent),
    ("a process", "QUIT", sent),
    ("a process", "TERM", sent),
    ("a process", "USR1", sent),
    ("a process", "USR2", sent),
    ("a process", "ALRM", sent),
    ("a process", "WINCH", sent_and_caught),
    ("a process", "URG", sent_and_caught),
    ("a process", "TSTP", stopped),
    ("a process", "RTMIN+3", real_time),
    ("a process", "TERM, to the group", to_the_group),
    ("the terminal", "^C", |it, _| at_a_terminal(it, "INT", |terminal| terminal.keys("\x03"))),
    ("the terminal", "^\\", |it, _| at_a_terminal(it, "QUIT", |terminal| terminal.keys("\x1c"))),
    ("the terminal", "^Z, and fg", stopped_by_key),
    ("the terminal", "a new size", |it, _| {
        caught_at_a_terminal(it, "WINCH", |terminal| terminal.resize(9, 9))
    }),
    ("the terminal", "closed", |it, _| at_a_terminal(it, "HUP", Terminal::hang_up)),
    ("the terminal", "^C, in a loop of bash", in_a_loop),
    ("the terminal", "`run sh &` in bash", shell_in_the_background),
    ("the kernel", "ALRM, of alarm(2)", alarm),
    ("the kernel", "XCPU, of ulimit -t", |it, _| limited(it, "-t 1", "while :; do :; done")),
    ("the kernel", "XFSZ, of ulimit -f", |it, _| limited(it, "-f 0", "echo >/tmp/file")),
    ("the kernel", "PIPE", closed_pipe),
];

fn main() -> ExitCode {
    let mut cases = Vec::new();
    for step in &STEPS {
        for sender in ["a process", "the terminal", "the kernel"] {
            let (name, needs) = (format!("{}::{sender}", step.name), Needs::root_if(step.root));
            cases.push(case(name, needs.within(300), move || cells(step, sender)));
        }
    }
    cases.push(here("table", Needs::root_if(LAST.root), table));
    // They wait more than they compute.
    case::run(8, cases)
}

/// What becomes of the signals, a line for each; for those of another sender it is empty.
fn cells(step: &Step, sender: &str) -> Result<String> {
    let runner = runner(step)?;
    let mut cells = String::new();
    for (from, what, measure) in ROWS {
        if *from == sender {
            cells += &measure(&runner, what).context(*what)?;
        }
        cells += "\n";
    }
    Ok(cells)
}

fn table() -> Result<()> {
    let numbers: String = (1..=STEPS.len()).map(|number| format!(" {number} |")).collect();
    let mut table = format!("{LEGEND}\n| from | signal |{numbers}\n");
    table += &format!("| --- | --- |{}\n", " --- |".repeat(STEPS.len()));
    for (at, (sender, what, _)) in ROWS.iter().enumerate() {
        table += &format!("| {sender} | {what} |");
        for step in &STEPS {
            let cells = said(&format!("{}::{sender}", step.name))?;
            table += &format!(" {} |", cells.lines().nth(at).context("no cell")?);
        }
        table += "\n";
    }
    recorded("senders", &table);
    Ok(())
}

/// A script that exits with 7 when it catches a signal, and lets nothing else end it soon.
fn catching(name: &str) -> String {
    format!("trap 'exit 7' {name}; echo ready; while :; do sleep 0.05; done")
}

/// Starts `sleep 777` in a container, and waits until it sleeps. No shell before it: busybox's
/// loses SIGQUIT when it is about to become another program.
fn sleeping(runner: &Runner) -> Result<Child> {
    let mut command = runner.command(["sleep", "777"]);
    // In a group of its own: the host's first has no shell above it, and SIGTSTP stops nobody in it.
    command.process_group(0).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn()?;
    eventually(|| {
        let all = host::processes();
        let sleeps = all.iter().any(|it| it.command == "sleep 777" && it.state == 'S');
        sleeps.then_some(()).context("it does not start its command")
    })?;
    Ok(child)
}

/// Waits for the end of it: its exit code.
fn ended(child: &mut Child) -> Result<i32> {
    eventually(|| child.try_wait()?.context("it does not end")).map(code)
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32)
}

fn signal(name: &str) -> Result<Signal> {
    format!("SIG{name}").parse().context("no such signal")
}

/// The exit codes after a signal to the runner: of a command that does nothing about it, and of one
/// that catches it.
fn sent(runner: &Runner, name: &str) -> Result<String> {
    let mut child = sleeping(runner)?;
    kill(pid(&child), signal(name)?)?;
    let alone = ended(&mut child)?;
    Ok(sent_and_caught(runner, name)?.replace('–', &alone.to_string()))
}

/// The same, for a signal that is not the end of a command that does nothing about it.
fn sent_and_caught(runner: &Runner, name: &str) -> Result<String> {
    let running = runner.start(&[], &catching(name))?;
    running.signal(signal(name)?)?;
    Ok(format!("–, {}", running.end()?.code))
}

/// Who is stopped by a SIGTSTP to the runner.
fn stopped(runner: &Runner, _: &str) -> Result<String> {
    let mut child = sleeping(runner)?;
    kill(pid(&child), SIGTSTP)?;
    let command = eventually(|| {
        let mut stopped = host::processes();
        stopped.retain(|process| process.state == 'T');
        let run = stopped.iter().any(|process| process.pid == child.id() as i32);
        ensure!(run, "it does not stop");
        Ok(stopped.iter().any(|process| process.command == "sleep 777"))
    })?;
    kill(pid(&child), SIGCONT)?;
    kill(pid(&child), SIGTERM)?;
    ensure!(ended(&mut child)? == 143, "it does not end as it should");
    Ok(if command { "the command stops" } else { "`run` alone stops" }.into())
}

/// What becomes of a real-time signal, and whether it is the end.
fn real_time(runner: &Runner, _: &str) -> Result<String> {
    let mut child = sleeping(runner)?;
    end(Command::new("sh").arg("-c").arg(format!("kill -37 {}", child.id())))?.expect(0)?;
    // Two that wait would come in the order of their numbers.
    eventually(|| {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
        let taken = ["State:\tZ", "ShdPnd:\t0000000000000000"].map(|line| status.contains(line));
        ensure!(taken.contains(&true), "it does not take the signal");
        Ok(())
    })?;
    // If it lives on, this ends it.
    kill(pid(&child), SIGTERM)?;
    let code = ended(&mut child)?;
    let mut said = String::new();
    child.stderr.take().context("no stderr")?.read_to_string(&mut said)?;
    let said = said.lines().find_map(|line| Some(&line[line.find("real-time")?..]));
    Ok(said.map_or(code.to_string(), |said| format!("\"{said}\", lives on")))
}

/// Whether a signal to the process group arrives: once, or twice.
fn to_the_group(runner: &Runner, _: &str) -> Result<String> {
    let mut command = runner.command(["sh", "-c", &catching("TERM")]);
    command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let mut ready = [0; 6];
    child.stdout.as_mut().context("no stdout")?.read_exact(&mut ready)?;
    killpg(pid(&child), SIGTERM)?;
    Ok(format!("–, {}", ended(&mut child)?))
}

/// Something that is done to a terminal.
type Event = fn(&mut Terminal) -> Result<()>;

/// The exit codes after something done to the terminal: of a command that does nothing about it, and
/// of one that catches it.
fn at_a_terminal(runner: &Runner, name: &str, event: Event) -> Result<String> {
    let mut alone = Terminal::before(&runner.command(["sleep", "777"]))?;
    alone.keys("\n")?;
    alone.wait_for_state("sleep 777", 'S')?;
    event(&mut alone)?;
    let alone = alone.end()?;
    Ok(caught_at_a_terminal(runner, name, event)?.replace('–', &alone.to_string()))
}

fn caught_at_a_terminal(runner: &Runner, name: &str, event: Event) -> Result<String> {
    let mut terminal = Terminal::before(&runner.command(["sh", "-c", &catching(name)]))?;
    terminal.keys("\n")?;
    // First it stands in what we say that we run.
    terminal.wait_for("Running")?;
    terminal.wait_for("\nready")?;
    event(&mut terminal)?;
    Ok(format!("–, {}", terminal.end()?))
}

fn stopped_by_key(runner: &Runner, _: &str) -> Result<String> {
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

/// Whether ^C ends a loop of bash, too.
fn in_a_loop(runner: &Runner, _: &str) -> Result<String> {
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

/// What becomes of bash when a shell inside is started in the background.
fn shell_in_the_background(runner: &Runner, _: &str) -> Result<String> {
    let mut terminal = runner.terminal()?;
    terminal.keys("PS1='\\s,' exec bash --norc --noprofile -i\n")?;
    terminal.wait_for("bash,")?;
    let (bash, file) = (terminal.foreground()?, runner.put("go", b"", 0o644)?);
    let shell = format!("sh -c 'until [ -s {file} ]; do sleep 0.05; done; exec sh'");
    terminal.keys(&format!("{} {shell} &\n", terminal.run))?;
    // Bash takes the terminal before each prompt, and is not to do so once the shell inside has it.
    terminal.wait_for("bash,")?;
    runner.put("go", b"now", 0o644)?;
    eventually(|| {
        let stops = host::processes().iter().any(|it| it.command == "sh" && it.state == 'T');
        ensure!(stops || terminal.foreground()? != bash, "the shell inside does not start");
        Ok(())
    })?;
    eventually(|| {
        // Bash says nothing of its jobs before.
        let _ = terminal.keys("\n");
        match (terminal.shows("Stopped")?, terminal.ended()?) {
            (true, _) => Ok("stops".to_owned()),
            (false, Some(_)) => Ok("bash loses the terminal, and ends".to_owned()),
            _ => bail!("neither does the shell stop, nor bash end"),
        }
    })
}

fn alarm(runner: &Runner, _: &str) -> Result<String> {
    let alone = end(&mut alarmed(&runner.command(["sleep", "10"]))?)?.code;
    let script = "trap 'exit 7' ALRM; for i in $(seq 200); do sleep 0.05; done";
    // On a busy machine the alarm may go off before the trap is set: then once more.
    let caught = eventually(|| {
        end(&mut alarmed(&runner.command(["sh", "-c", script]))?)?.expect(7).map(|ended| ended.code)
    })?;
    Ok(format!("{alone}, {caught}"))
}

/// The exit code of a script with a limit of the kernel's.
fn limited(runner: &Runner, limit: &str, script: &str) -> Result<String> {
    let command = runner.command(["sh", "-c", script]);
    let limit = format!(r#"ulimit -S -c 0; ulimit -S {limit}; exec "$@""#);
    Ok(end(&mut behind(&["sh", "-c", &limit, "sh"], &command))?.code.to_string())
}

fn closed_pipe(runner: &Runner, _: &str) -> Result<String> {
    let mut child = runner.command(["yes"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    drop(child.stdout.take());
    Ok(code(child.wait()?).to_string())
}
