//! Who sends a signal to a running container, and what becomes of it in each step: a table, as
//! measured. What a step still owes is in it, too, so that it is noticed when that changes.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sys::signal::Signal::{
    self, SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGURG, SIGUSR1, SIGUSR2,
    SIGWINCH,
};
use nix::sys::signal::{kill, killpg};
use nix::unistd::Pid;
use workshop::container::{Runner, alarmed, code, end, on_alarm};
use workshop::host;
use workshop::patience::eventually;
use workshop::snapshot;
use workshop::steps::STEPS;
use workshop::terminal::Terminal;
use workshop::testing::{self, PRIVILEGE, program, rootfs, trial};

/// For the part that runs on a throw-away host: the step's path.
const PROGRAM: &str = "WORKSHOP_PROGRAM";

/// For those who read the snapshot.
const LEGEND: &str = "\
A number is the exit code of a command that does nothing about the signal; behind a comma stands
that of one which catches it, and exits with 7 then. A real-time signal has no name in nix: `run`
can only say that it does not pass it on. To a process group it goes twice, from the sender and
from `run`: the command sees it once or twice. `run` exits, and does not die of SIGINT, so bash
takes it that the command has dealt with ^C, and goes on. A shell inside cannot see that it is in
the background (the group in front has no number for it), and takes the terminal.
";

fn main() -> ExitCode {
    if let Some(code) = on_alarm() {
        return code;
    }
    if let Some(program) = env::var_os(PROGRAM) {
        return host::exit_code(column(program));
    }
    testing::run(1, || vec![trial("table".into(), true, table)])
}

/// What sends a signal, which, and how it is measured what becomes of it.
type Row = (&'static str, String, Box<dyn Fn(&Runner) -> Result<String>>);

fn rows() -> Vec<Row> {
    let row = |sender, what: &str, measure: fn(&Runner) -> Result<String>| -> Row {
        (sender, what.to_owned(), Box::new(measure))
    };
    let name = |signal: Signal| signal.as_str().trim_start_matches("SIG").to_owned();
    let ends = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM];
    let ends = ends.map(|signal| -> Row {
        let measure = move |runner: &Runner| {
            Ok(format!("{}, {}", sent(runner, signal)?, sent_and_caught(runner, signal)?))
        };
        ("a process", name(signal), Box::new(measure))
    });
    let harmless = [SIGWINCH, SIGURG].map(|signal| -> Row {
        let measure = move |runner: &Runner| Ok(format!("–, {}", sent_and_caught(runner, signal)?));
        ("a process", name(signal), Box::new(measure))
    });
    let mut rows: Vec<Row> = ends.into_iter().chain(harmless).collect();
    rows.extend([
        row("a process", "TSTP", stopped),
        row("a process", "RTMIN+3", real_time),
        row("a process", "TERM, to the group", to_the_group),
        row("the terminal", "^C", |runner| key(runner, "\x03", "INT")),
        row("the terminal", "^\\", |runner| key(runner, "\x1c", "QUIT")),
        row("the terminal", "^Z, and fg", stopped_by_key),
        row("the terminal", "a new size", resized),
        row("the terminal", "closed", hung_up),
        row("the terminal", "^C, in a loop of bash", in_a_loop),
        row("the terminal", "`run sh &` in bash", shell_in_the_background),
        row("the kernel", "ALRM, of alarm(2)", alarm),
        row("the kernel", "XCPU, of ulimit -t", |runner| {
            limited(runner, "-t 1", "while :; do :; done")
        }),
        row("the kernel", "XFSZ, of ulimit -f", |runner| {
            limited(runner, "-f 0", "echo >/tmp/file")
        }),
        row("the kernel", "PIPE", closed_pipe),
    ]);
    rows
}

fn table() -> Result<()> {
    // They wait more than they compute.
    let columns: Vec<_> = (1..=5).map(|step| thread::spawn(move || start_column(step))).collect();
    let columns =
        columns.into_iter().map(|column| column.join().map_err(|_| anyhow!("a panic"))?);
    let columns: Vec<String> = columns.collect::<Result<_>>()?;
    let mut columns: Vec<_> = columns.iter().map(|column| column.lines()).collect();
    let mut table = format!("{LEGEND}\n| from | signal | 1 | 2 | 3 | 4 | 5 |\n");
    table += "| --- | --- | --- | --- | --- | --- | --- |\n";
    for (sender, what, _) in rows() {
        let cells: Vec<_> = columns.iter_mut().filter_map(|column| column.next()).collect();
        ensure!(cells.len() == columns.len(), "a column ends before {sender}, {what}");
        table += &format!("| {sender} | {what} | {} |\n", cells.join(" | "));
    }
    ensure!(!table.contains('✘'), "the snapshot must not be of a failure:\n{table}");
    snapshot!("senders", table);
    Ok(())
}

/// Measures a step on a throw-away host; a line for each row.
fn start_column(step: usize) -> Result<String> {
    let program = program(STEPS[step - 1]);
    let mut envs = vec![(PROGRAM, program.as_os_str())];
    envs.extend((step >= 4).then(|| ("ROOTFS", rootfs().as_os_str())));
    // Whatever does not happen is waited for in vain.
    let limit = Duration::from_secs(300);
    let output = host::run_for(limit, *PRIVILEGE, &env::current_exe()?, &envs)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "step {step}: {said}");
    Ok(String::from_utf8(output.stdout)?)
}

fn column(program: OsString) -> Result<()> {
    let runner = Runner::new(vec![program], env::var_os("ROOTFS").map(PathBuf::from))?;
    for (_, _, measure) in rows() {
        // All the others are measured all the same.
        let failed = |error| format!("✘ {error:#}").replace('\n', " ");
        println!("{}", measure(&runner).unwrap_or_else(failed));
    }
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
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    eventually(|| {
        let all = host::processes();
        let sleeps = all.iter().any(|it| it.command == "sleep 777" && it.state == 'S');
        sleeps.then_some(()).context("it does not start its command")
    })?;
    Ok(child)
}

/// Waits for the end of it: its exit code.
fn ended(child: &mut Child) -> Result<i32> {
    let ended = eventually(|| child.try_wait()?.context("it does not end"));
    if ended.is_err() {
        child.kill()?;
    }
    ended.map(code)
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32)
}

/// The exit code of a command that does nothing about it, after a signal to the runner.
fn sent(runner: &Runner, signal: Signal) -> Result<i32> {
    let mut child = sleeping(runner)?;
    kill(pid(&child), signal)?;
    ended(&mut child)
}

/// The exit code of a command that catches a signal, after it was sent to the runner.
fn sent_and_caught(runner: &Runner, signal: Signal) -> Result<i32> {
    let running = runner.start(&[], &catching(signal.as_str().trim_start_matches("SIG")))?;
    running.signal(signal)?;
    running.end().map(|ended| ended.code)
}

/// Who is stopped by a SIGTSTP to the runner.
fn stopped(runner: &Runner) -> Result<String> {
    let mut child = sleeping(runner)?;
    kill(pid(&child), SIGTSTP)?;
    let stopped = eventually(|| {
        let mut stopped = host::processes();
        stopped.retain(|process| process.state == 'T');
        let ours = stopped.iter().any(|process| process.pid == child.id() as i32);
        ours.then_some(stopped).context("it does not stop")
    })?;
    let command = stopped.iter().any(|process| process.command == "sleep 777");
    kill(pid(&child), SIGCONT)?;
    kill(pid(&child), SIGTERM)?;
    ensure!(ended(&mut child)? == 143, "it does not end as it should");
    Ok(if command { "the command stops" } else { "`run` alone stops" }.into())
}

/// What becomes of a real-time signal, and whether it is the end.
fn real_time(runner: &Runner) -> Result<String> {
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
fn to_the_group(runner: &Runner) -> Result<String> {
    let command = runner.command(["sh", "-c", &catching("TERM")]);
    let mut leader = Command::new("setsid");
    leader.arg("--wait").arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    let mut child = leader.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut ready = [0; 6];
    child.stdout.as_mut().context("no stdout")?.read_exact(&mut ready)?;
    killpg(pid(&child), SIGTERM)?;
    Ok(format!("–, {}", ended(&mut child)?))
}

/// The exit codes after a key at the terminal.
fn key(runner: &Runner, key: &str, name: &str) -> Result<String> {
    both_at_a_terminal(runner, name, |terminal| terminal.keys(key))
}

fn hung_up(runner: &Runner) -> Result<String> {
    both_at_a_terminal(runner, "HUP", Terminal::hang_up)
}

/// The exit codes after something done to the terminal: of a command that does nothing about it, and
/// of one that catches it.
fn both_at_a_terminal(
    runner: &Runner,
    name: &str,
    do_it: impl Fn(&mut Terminal) -> Result<()>,
) -> Result<String> {
    let mut alone = Terminal::before(&runner.command(["sleep", "777"]))?;
    alone.keys("\n")?;
    alone.wait_for_state("sleep 777", 'S')?;
    do_it(&mut alone)?;
    Ok(format!("{}, {}", alone.end()?, caught_at_a_terminal(runner, name, do_it)?))
}

fn caught_at_a_terminal(
    runner: &Runner,
    name: &str,
    do_it: impl Fn(&mut Terminal) -> Result<()>,
) -> Result<i32> {
    let mut terminal = Terminal::before(&runner.command(["sh", "-c", &catching(name)]))?;
    terminal.keys("\n")?;
    // First it stands in what we say that we run.
    terminal.wait_for("Running")?;
    terminal.wait_for("\nready")?;
    do_it(&mut terminal)?;
    terminal.end()
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

fn resized(runner: &Runner) -> Result<String> {
    let code = caught_at_a_terminal(runner, "WINCH", |terminal| terminal.resize(30, 100))?;
    Ok(format!("–, {code}"))
}

/// Whether ^C ends a loop of bash, too.
fn in_a_loop(runner: &Runner) -> Result<String> {
    let command = runner.command(["sleep", "777"]);
    let mut bash = Command::new("bash");
    bash.args(["-c", r#"for i in 1 2; do "$@"; echo round $i.; done"#, "bash"]);
    bash.arg(command.get_program()).args(command.get_args());
    let mut terminal = Terminal::before(&bash)?;
    terminal.keys("\n")?;
    terminal.wait_for_state("sleep 777", 'S')?;
    terminal.keys("\x03")?;
    eventually(|| match (terminal.shows("round 1.")?, terminal.ended()?) {
        (true, _) => Ok("the loop goes on".to_owned()),
        (false, Some(code)) => Ok(code.to_string()),
        _ => bail!("neither does the loop end, nor does it go on"),
    })
}

/// What becomes of bash when a shell inside is started in the background.
fn shell_in_the_background(runner: &Runner) -> Result<String> {
    let mut terminal = runner.terminal()?;
    terminal.keys("exec bash --norc --noprofile -i\n")?;
    terminal.keys(&format!("{} sh &\n", terminal.run))?;
    terminal.wait_for("Running [sh]")?;
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

fn alarm(runner: &Runner) -> Result<String> {
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
    let mut caller = Command::new("sh");
    caller.args(["-c", &format!(r#"ulimit -S -c 0; ulimit -S {limit}; exec "$@""#), "sh"]);
    caller.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    Ok(end(&mut caller)?.code.to_string())
}

fn closed_pipe(runner: &Runner) -> Result<String> {
    let mut child = runner.command(["yes"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    drop(child.stdout.take());
    Ok(code(child.wait()?).to_string())
}
