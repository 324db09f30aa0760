//! Every system call that a step makes on purpose fails once, by strace's `inject`: then it must end
//! with 125 (126 or 127 where it is the command's own exec) and one line that says what failed, and
//! leave the host as it was. What came of each is a table for the book.

#[path = "faults/list.rs"]
mod list;
#[path = "faults/trace.rs"]
mod trace;

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use list::{FAULTS, Fault, NO_FAULT, Then};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, waitpid};
use trace::{Process, Who, find, is, is_foreign, strace};
use workshop::container::Ended;
use workshop::host::{self, State};
use workshop::snapshot;
use workshop::steps::STEPS;
use workshop::testing::{
    self, PRIVILEGE, missing_privilege, missing_strace, program, rootfs, trial_unless,
};

/// For the part that runs on a throw-away host: the number of the fault, and the step's path.
const FAULT: &str = "WORKSHOP_FAULT";
const STEP: &str = "WORKSHOP_STEP";
/// For the part that starts a step: which call to make beforehand, and how often.
const BEFORE: &str = "WORKSHOP_BEFORE";

fn main() -> ExitCode {
    if let Ok(calls) = env::var(BEFORE) {
        return become_step(&calls);
    }
    if let Ok(fault) = env::var(FAULT) {
        return on_the_host(&fault);
    }
    // They wait more than they compute.
    testing::run(8, trials)
}

fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = FAULTS.iter().flat_map(trials_of).collect();
    for step in 1..=5 {
        let name = format!("{}::every-call-is-tried", STEPS[step - 1]);
        trials.push(trial(name, step == 5, move || run(step, "every").map(drop)));
    }
    trials.push(trial("table".into(), true, table));
    trials
}

/// A trial that is ignored where strace is missing, too, or may not trace.
fn trial(
    name: String,
    needs_root: bool,
    test: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    trial_unless(missing_privilege(needs_root).or_else(missing_strace), name, test)
}

/// A trial for each step that makes the call.
fn trials_of(fault: &'static Fault) -> Vec<Trial> {
    let trial_of = |step: usize| {
        let whose = format!("{:?}", fault.who).to_lowercase();
        let (call, errno) = (fault.call(), fault.errno);
        let name = format!("{}::{whose}-{call}-{errno:?} ({})", STEPS[step - 1], fault.purpose);
        trial(name, step == 5, move || measured(fault, step).map(drop))
    };
    fault.steps.clone().map(trial_of).collect()
}

/// What came of a fault: the exit code, and the line.
type Outcome = (String, String);

/// Each is measured once, whoever asks for it first.
fn measured(fault: &'static Fault, step: usize) -> Result<Outcome> {
    type Cells = BTreeMap<(usize, usize), std::sync::Arc<Mutex<Option<Result<Outcome, String>>>>>;
    static CELLS: Mutex<Cells> = Mutex::new(BTreeMap::new());
    let number = FAULTS.iter().position(|other| std::ptr::eq(other, fault)).context("unknown")?;
    let cell = CELLS.lock().expect("no panic").entry((number, step)).or_default().clone();
    let mut cell = cell.lock().expect("no panic");
    let outcome = cell.get_or_insert_with(|| {
        let said = run(step, &number.to_string()).map_err(|error| format!("{error:#}"))?;
        let (code, line) = said.split_once('\n').unwrap_or((&said, ""));
        Ok((code.to_owned(), line.trim_end().to_owned()))
    });
    outcome.clone().map_err(anyhow::Error::msg)
}

/// Runs `on_the_host` on a throw-away host, and returns what it prints.
fn run(step: usize, fault: &str) -> Result<String> {
    let step = program(STEPS[step - 1]);
    let envs =
        [(FAULT, OsStr::new(fault)), (STEP, step.as_os_str()), ("ROOTFS", rootfs().as_os_str())];
    let output = host::run(*PRIVILEGE, &env::current_exe()?, &envs)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn on_the_host(fault: &str) -> ExitCode {
    let looked = match fault.parse().ok().and_then(|number: usize| FAULTS.get(number)) {
        Some(fault) => look(fault),
        None => every_call_is_tried(),
    };
    host::exit_code(looked)
}

/// The number of the step that runs here.
fn step() -> Result<usize> {
    let program = env::var(STEP).context("no step")?;
    let step = STEPS.iter().position(|name| program.ends_with(name)).context("no such step")?;
    Ok(step + 1)
}

/// The step's command line.
fn argv(command: &[&str]) -> Result<Vec<OsString>> {
    let program = env::var_os(STEP).context("no step")?;
    let options: &[&str] = if step()? > 1 { &["run", "--hostname", "box"] } else { &["run"] };
    let words = options.iter().chain(command).map(OsString::from);
    Ok([program].into_iter().chain(words).collect())
}

/// Everything is traced, and nothing fails.
fn undisturbed(command: &[&str]) -> Result<Vec<Process>> {
    let (ended, processes) = strace(&["-ff".into()], &argv(command)?)?;
    ended.expect(0).context("undisturbed")?;
    Ok(processes)
}

/// Has the call fail, and prints what came of it.
fn look(fault: &Fault) -> Result<()> {
    let before = State::now()?;
    for _ in 0..5 {
        if let Some(ended) = injected(fault)? {
            let line = judged(fault, &ended)?;
            if let Then::Leaves(_) = fault.then {
                strace(&[], &argv(fault.command)?)?.0.expect(0).context("the next run")?;
            }
            before.restored()?;
            println!("{}\n{line}", ended.code);
            return Ok(());
        }
    }
    bail!("it never was the call that failed")
}

/// Runs the step with a fault. Nothing, if it was another call that failed: a file may have grown
/// since the undisturbed run, and took one more read.
fn injected(fault: &Fault) -> Result<Option<Ended>> {
    let (options, argv) = with_fault(fault)?;
    let (ended, processes) = strace(&options, &argv)?;
    let its = processes.iter().filter(|process| process.who == fault.who);
    let lines = its.flat_map(|process| &process.lines);
    let failed: Vec<_> = lines.filter(|line| line.ends_with("(INJECTED)")).collect();
    let right = failed.first().is_some_and(|line| is(line, fault.last()));
    Ok((right && (failed.len() == 1 || !fault.again.is_empty())).then_some(ended))
}

/// The options of strace with which a call fails, and the command line that it is to start.
fn with_fault(fault: &Fault) -> Result<(Vec<String>, Vec<OsString>)> {
    let argv = argv(fault.command)?;
    if let Some(path) = fault.last().strip_prefix("execve ") {
        let path = format!("--trace-path={}", path.trim_matches('"'));
        return Ok((vec!["-ff".into(), path, inject(fault, "execve", 1)], argv));
    }
    let processes = undisturbed(fault.command)?;
    let process = processes.iter().find(|process| process.who == fault.who);
    let found = find(process.context("no such process")?, fault.at);
    let (name, count) = found.context("it makes no such call")?;
    let mut options = vec![format!("--trace={name},execve"), inject(fault, &name, count)];
    if fault.who == Who::Run {
        return Ok((options, argv));
    }
    // Strace counts for each process by itself, so `run` has to have made as many calls before.
    options.push("-ff".into());
    let before = format!("{BEFORE}={name} {count}");
    let start = ["env".into(), before.into(), env::current_exe()?.into()];
    Ok((options, start.into_iter().chain(argv).collect()))
}

fn inject(fault: &Fault, name: &str, count: usize) -> String {
    format!("--inject={name}:error={:?}:when={count}{}", fault.errno, fault.again)
}

/// Makes a call so often that the one which fails is among them, and becomes the step.
fn become_step(calls: &str) -> ExitCode {
    let (name, count) = calls.split_once(' ').unwrap_or((calls, ""));
    for _ in 0..count.parse().unwrap_or(0) {
        harmless(name);
    }
    let mut argv = env::args_os().skip(1);
    let mut step = Command::new(argv.next().unwrap_or_default());
    eprintln!("{}", step.args(argv).env_remove(BEFORE).exec());
    ExitCode::FAILURE
}

/// Makes a call of that name, of which nothing comes.
fn harmless(name: &str) {
    match name {
        "clone3" | "clone" | "vfork" | "fork" => {
            let _ = Command::new("true").stdin(Stdio::null()).status();
        }
        "chdir" => drop(env::set_current_dir(".")),
        "close" => drop(nix::unistd::close(-1)),
        "mkdir" | "mkdirat" => drop(std::fs::create_dir("/")),
        "openat" => drop(std::fs::File::open("/")),
        "read" => drop(nix::unistd::read(std::io::stdin(), &mut [])),
        "rt_sigprocmask" => drop(SigSet::thread_get_mask()),
        "signalfd4" => drop(SignalFd::new(&SigSet::empty())),
        "unshare" => drop(unshare(CloneFlags::empty())),
        "wait4" => drop(waitpid(None, Some(WaitPidFlag::WNOHANG))),
        "waitid" => drop(nix::sys::wait::waitid(nix::sys::wait::Id::All, WaitPidFlag::WEXITED)),
        "write" => drop(nix::unistd::write(std::io::stdout(), &[])),
        _ => {}
    }
}

/// Fails if what came of a fault is not right. Returns the line.
fn judged(fault: &Fault, ended: &Ended) -> Result<String> {
    let (code, words) = match fault.then {
        Then::Stops(words) | Then::Ends(words) => (125, Some(words)),
        Then::Unexecuted(code, words) => (code.into(), Some(words)),
        Then::Ignored(_) => (0, None),
        Then::Leaves(words) => (0, Some(words)),
    };
    let lines: Vec<_> = ended.stderr.lines().filter(|l| !l.starts_with("Running [")).collect();
    let right = ended.code == code && lines.len() == usize::from(words.is_some());
    ensure!(right, "exit code {} instead of {code}; it says {:?}", ended.code, ended.stderr);
    let early = matches!(fault.then, Then::Stops(_) | Then::Unexecuted(..));
    ensure!(!early || ended.stdout.is_empty(), "the command was started");
    let (Some(words), Some(line)) = (words, lines.first()) else { return Ok(String::new()) };
    let program = format!("{}: ", STEPS[step()? - 1]);
    let line = line.strip_prefix(&program).context("it does not say who it is")?;
    // As nix has it, or libc.
    let errno = [fault.errno.desc(), &std::io::Error::from(fault.errno).to_string()];
    let errno = errno.iter().any(|errno| line.contains(errno));
    ensure!(line.contains(words) && errno, "no {words:?}, or not {}: {line:?}", fault.errno);
    Ok(everywhere(line))
}

/// A line as it is on every machine.
fn everywhere(line: &str) -> String {
    let mut line = line.to_owned();
    if let Some(rootfs) = env::var_os("ROOTFS") {
        line = line.replace(&*rootfs.to_string_lossy(), "rootfs");
    }
    let Some(start) = line.find("/sys/fs/cgroup") else { return line };
    let end = line[start..].find(['"', ':']).map_or(line.len(), |end| start + end);
    let file = line[start..end].rsplit('/').next().filter(|name| name.contains('.'));
    let file = file.map(|file| format!("/{file}")).unwrap_or_default();
    line.replace_range(start..end, &format!("…{file}"));
    line
}

/// Fails if the step makes a call that no fault is for.
fn every_call_is_tried() -> Result<()> {
    let step = step()?;
    for command in [&["/bin/echo", "started"][..], &["/bin/sleep", "0.1"]] {
        for process in undisturbed(command)? {
            let first = match (process.who, step) {
                (Who::Run, 1) => "write \"Running",
                (Who::Run, _) => "unshare",
                (Who::Child, _) => "prctl PR_SET_PDEATHSIG",
                (Who::Command, _) => continue,
            };
            let ours = process.lines.iter().skip_while(|line| !is(line, first));
            // What comes after is the command's.
            let ours = ours.take_while(|line| !is(line, "execve"));
            let calls = ours.filter(|line| line.split_once('(').is_some_and(is_name));
            let mut calls = calls.filter(|line| !is_tried(line, process.who, step));
            let missing = calls.next();
            ensure!(missing.is_none(), "{:?}: no fault for {missing:?}", process.who);
        }
    }
    Ok(())
}

fn is_name((name, _): (&str, &str)) -> bool {
    name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn is_tried(line: &str, who: Who, step: usize) -> bool {
    let of = |fault: &&Fault| fault.steps.contains(&step) && fault.who == who;
    let mut calls = FAULTS.iter().filter(of).filter_map(|fault| fault.at.last());
    let listed = calls.any(|call| is(line, call)) || NO_FAULT.iter().any(|call| is(line, call));
    listed || is_foreign(line)
}

/// The table for the book.
fn table() -> Result<()> {
    let mut table = String::from(
        "| step | who | calls | what for | it fails with | exit code | it says |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for fault in FAULTS {
        let mut rows: Vec<(Outcome, Vec<usize>)> = Vec::new();
        for step in fault.steps.clone() {
            let outcome = measured(fault, step)?;
            match rows.last_mut().filter(|(last, _)| *last == outcome) {
                Some((_, steps)) => steps.push(step),
                None => rows.push((outcome, vec![step])),
            }
        }
        for (outcome, steps) in rows {
            table += &row(fault, &outcome, &steps);
        }
    }
    snapshot!("faults", table);
    Ok(())
}

fn row(fault: &Fault, (code, line): &Outcome, steps: &[usize]) -> String {
    let steps = match steps {
        [one] => one.to_string(),
        [first, .., last] => format!("{first}–{last}"),
        [] => String::new(),
    };
    let errno = format!("{:?}{}", fault.errno, if fault.again == "+" { " for good" } else { "" });
    let says = match fault.then {
        Then::Ignored(why) => format!("*{why}*"),
        _ => line.replace('|', "\\|"),
    };
    let who = match fault.who {
        Who::Run => "`run`",
        Who::Child => "PID 1",
        Who::Command => "the command",
    };
    let (call, purpose) = (fault.call(), fault.purpose);
    format!("| {steps} | {who} | `{call}` | {purpose} | {errno} | {code} | {says} |\n")
}
