//! Every system call that a step makes on purpose fails once, through strace's `inject`. The step
//! must then end with 125 (or 126 or 127 if the command's exec failed), print one line that says
//! what failed, and leave the host as it was. The book shows the results as a table.

#[path = "faults/list.rs"]
mod list;

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use list::{FAULTS, Fault, NO_FAULT, Then};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::{read, write};
use proof::case::{self, Needs, case, here, recorded, said};
use proof::programs::{program, rootfs};
use proof::strace::{Call, INCIDENTAL, Process, Who, known_as, strace};
use workshop::command::Ended;
use workshop::host::{self, State};
use workshop::steps::{STEPS, step};

/// The case in which we make a call several times and then become a step.
const BEFORE: &str = "before";

fn main() -> ExitCode {
    if let Some((_, words)) = host::case().filter(|(name, _)| name == BEFORE) {
        return become_step(&words);
    }
    let mut cases = Vec::new();
    for (number, row) in (1..).zip(&STEPS) {
        let needs = Needs::root_if(row.root).with(&["strace"]);
        for fault in FAULTS.iter().filter(|fault| fault.steps.contains(&number)) {
            let what_comes = move || what_comes_of(fault, number);
            cases.push(case(name(fault, number), needs, what_comes));
        }
        let name = format!("{}::every-call-is-tried", row.name);
        cases.push(case(name, needs, move || every_call_is_tried(number)));
    }
    cases.push(here("table", Needs::ROOT.with(&["strace"]), table));
    // They wait more than they compute.
    case::run(8, cases)
}

/// The name of the case in which a step meets a fault.
fn name(fault: &Fault, number: usize) -> String {
    let whose = format!("{:?}", fault.who).to_lowercase();
    let (step, call, errno) = (step(number).name, name_of(fault.call), fault.errno());
    format!("{step}::{whose}-{call}-{errno} ({})", fault.purpose)
}

fn command(number: usize, words: &[&str]) -> Command {
    let mut command = Command::new(program(step(number).name));
    command.arg("run").args((number > 1).then_some("--hostname=box")).args(words);
    command
}

/// Traces everything and lets nothing fail.
fn undisturbed(command: &Command) -> Result<Vec<Process>> {
    let (ended, processes) = strace(&["-ff"], command)?;
    ended.expect(0).context("undisturbed")?;
    Ok(processes)
}

/// Makes the call fail. Returns the exit code and the line that the step printed.
fn what_comes_of(fault: &Fault, number: usize) -> Result<String> {
    let before = State::now()?;
    let step = command(number, fault.command);
    for _ in 0..5 {
        let Some(ended) = injected(fault, &step)? else { continue };
        let line = judged(fault, number, &ended)?;
        if let Then::Leaves(_) = fault.then {
            undisturbed(&step).context("the next run")?;
        }
        before.restored()?;
        return Ok(format!("{}\n{line}", ended.code));
    }
    bail!("another call failed each time")
}

/// Runs the step with a fault. Returns nothing if the command ended before the call, or if another
/// call failed: a file may have grown since the undisturbed run and needed one more read.
fn injected(fault: &Fault, step: &Command) -> Result<Option<Ended>> {
    let inject = |name: &str, count: usize| {
        format!("--inject={name}:error={:?}:when={count}{}", fault.errno, fault.again)
    };
    let (ended, processes) = if let Some(path) = fault.call.strip_prefix("execve ") {
        strace(&["-ff", &inject("execve", 1), "--trace-path", path.trim_matches('"')], step)?
    } else {
        let processes = undisturbed(step)?;
        let Some(calls) = up_to(fault, &processes) else { return Ok(None) };
        let name = &calls[calls.len() - 1].name;
        let count = calls.iter().filter(|call| call.name == *name).count();
        let (trace, inject) = (format!("--trace={name},execve"), inject(name, count));
        if fault.who == Who::Run {
            strace(&[&trace, &inject], step)?
        } else {
            // strace counts the calls of each process separately, so `run` must get past
            // its own failure first.
            let mut both = host::ourselves(BEFORE)?;
            both.args([name, &count.to_string()]).arg(step.get_program()).args(step.get_args());
            strace(&["-ff", &trace, &inject], &both)?
        }
    };
    let its = processes.iter().filter(|process| process.who == fault.who);
    let mut calls = its.flat_map(|process| &process.calls);
    let failed = calls.find(|call| call.line.ends_with("(INJECTED)"));
    Ok(failed.is_some_and(|call| is(call, fault.call)).then_some(ended))
}

/// The calls of the process, up to the one that must fail.
fn up_to<'a>(fault: &Fault, processes: &'a [Process]) -> Option<&'a [Call]> {
    let calls = &processes.iter().find(|process| process.who == fault.who)?.calls;
    let mut start = 0;
    if let Some(before) = fault.after {
        start = calls.iter().position(|call| is(call, before))? + 1;
    }
    let there = calls[start..].iter().position(|call| is(call, fault.call))?;
    Some(&calls[..=start + there])
}

/// Makes a harmless call so often that the injected failure hits one of these, then becomes the step.
fn become_step(words: &[OsString]) -> ExitCode {
    let [name, count, program, args @ ..] = words else { return ExitCode::FAILURE };
    for _ in 0..count.to_string_lossy().parse().unwrap_or(0) {
        match known_as(&name.to_string_lossy()) {
            "chdir" => drop(env::set_current_dir(".")),
            "clone" => drop(Command::new("true").stdin(Stdio::null()).status()),
            "mkdir" => drop(fs::create_dir("/")),
            "open" => drop(File::open("/")),
            "read" => drop(read(io::stdin(), &mut [])),
            "rt_sigprocmask" => drop(SigSet::thread_get_mask()),
            "signalfd" => drop(SignalFd::new(&SigSet::empty())),
            "unshare" => drop(unshare(CloneFlags::empty())),
            "wait" => drop(waitpid(None, Some(WaitPidFlag::WNOHANG))),
            "waitid" => drop(waitid(Id::All, WaitPidFlag::WEXITED)),
            "write" => drop(write(io::stdout(), &[])),
            // `run` does not make it.
            _ => {}
        }
    }
    eprintln!("{}", Command::new(program).args(args).exec());
    ExitCode::FAILURE
}

/// The name of a call such as `mount "/proc"`.
fn name_of(call: &str) -> &str {
    call.split(' ').next().unwrap_or(call)
}

/// Whether it is the wanted call: the name is the same and the arguments contain the words.
fn is(call: &Call, wanted: &str) -> bool {
    let (name, arguments) = wanted.split_once(' ').unwrap_or((wanted, ""));
    known_as(&call.name) == known_as(name) && call.line.contains(arguments) && !is_foreign(call)
}

/// Whether the call is about the cgroup of another container on this machine. Step 5 reads these,
/// too.
fn is_foreign(call: &Call) -> bool {
    let of = |part| call.line.contains(part);
    of("cgroup/") && of("/step0") && !of("/workshop-")
}

/// Checks the outcome of a fault. Returns the line.
fn judged(fault: &Fault, number: usize, ended: &Ended) -> Result<String> {
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
    let line = line
        .strip_prefix(step(number).name)
        .context("the line does not begin with the step's name")?;
    // In the words of nix or of libc.
    let errno = line.contains(fault.errno.desc())
        || line.contains(&io::Error::from(fault.errno).to_string());
    ensure!(line.contains(words) && errno, "no {words:?}, or not {}: {line:?}", fault.errno);
    Ok(everywhere(line.trim_start_matches(": ")))
}

/// Makes a line the same on every machine: removes the paths of the root filesystem and of cgroups.
fn everywhere(line: &str) -> String {
    let line = line.replace(&*rootfs().to_string_lossy(), "rootfs");
    let Some((before, path)) = line.split_once("/sys/fs/cgroup") else { return line };
    let (path, after) = path.split_once('"').unwrap_or((path, ""));
    match path.rsplit_once('/') {
        Some((_, file)) if file.contains('.') => format!("{before}…/{file}\"{after}"),
        _ => format!("{before}…\"{after}"),
    }
}

/// Fails if the step makes a call that has no fault in the list.
fn every_call_is_tried(number: usize) -> Result<String> {
    for words in [["/bin/echo", "started"], ["/bin/sleep", "0.1"]] {
        for Process { who, calls } in undisturbed(&command(number, &words))? {
            let its = FAULTS.iter().filter(|f| f.who == who && f.steps.contains(&number));
            let mut listed = [NO_FAULT, INCIDENTAL].concat();
            listed.extend(its.map(|fault| fault.call));
            // We do not care which calls the command makes.
            for call in calls.iter().filter(|call| call.in_main && who != Who::Command) {
                let tried = is_foreign(call) || listed.iter().any(|wanted| is(call, wanted));
                ensure!(tried, "{who:?}: no fault for {}", call.line);
            }
        }
    }
    Ok(String::new())
}

/// The table for the book.
fn table() -> Result<()> {
    let mut table = String::from(
        "| step | who | calls | what for | it fails with | exit code | it says |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for fault in FAULTS {
        // The outcome, with the first and the last of consecutive steps that share it.
        let mut rows: Vec<(String, usize, usize)> = Vec::new();
        for step in fault.steps.clone() {
            let outcome = said(&name(fault, step))?;
            match rows.last_mut() {
                Some((same, _, last)) if *same == outcome => *last = step,
                _ => rows.push((outcome, step, step)),
            }
        }
        let who = match fault.who {
            Who::Run => "`run`",
            Who::Child => "PID 1",
            Who::Command => "the command",
        };
        let (call, purpose, errno) = (name_of(fault.call), fault.purpose, fault.errno());
        let fails = format!("{who} | `{call}` | {purpose} | {errno}");
        for (outcome, first, last) in rows {
            let steps =
                if first == last { format!("{first}") } else { format!("{first}–{last}") };
            let (code, line) = outcome.split_once('\n').context("no line")?;
            let says = match fault.then {
                Then::Ignored(why) => format!("*{why}*"),
                _ => line.replace('|', "\\|"),
            };
            table += &format!("| {steps} | {fails} | {code} | {says} |\n");
        }
    }
    recorded("faults", &table);
    Ok(())
}
