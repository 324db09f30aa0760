//! Every check against every step, and against the program that must fail it. The ways out are also
//! tried as a user in a user namespace. Two tables show the results: what each step keeps, and
//! which ways out are open.

use std::ffi::OsString;
use std::os::unix::fs::chown;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use proof::case::{self, Case, Needs, PRIVILEGE, case, here, recorded, said};
use proof::programs::{program, rootfs, runner};
use workshop::checks::{self, Cell, Check, Fails, GETS_OUT, Where};
use workshop::container::Runner;
use workshop::machine::Privilege;
use workshop::steps::{STEPS, Step, step};

fn main() -> ExitCode {
    let mut cases = vec![
        here("a-step-that-is-to-fail-fails", Needs::NOTHING, a_step_that_is_to_fail_fails),
        here("matrix", Needs::ROOT, matrix),
        here("known-limits", Needs::ROOT, known_limits),
    ];
    for check in checks::every() {
        for number in tried(check) {
            let expected = check.expected(number);
            cases.push(case(of_step(check, number), needs(check, number, expected), move || {
                held(check, &runner(step(number))?, expected)
            }));
        }
        if let Fails::Saboteur(script) = check.fails {
            cases.push(of_saboteur(check, script));
        }
    }
    let also = ["root-cannot-leave", "mounts-stay-inside", "no-inherited-descriptors"];
    let also = checks::every().filter(|check| also.contains(&check.id));
    cases.extend(checks::ways_out().chain(also).map(of_user));
    // They wait more than they compute.
    case::run(8, cases)
}

fn of_step(check: &Check, number: usize) -> String {
    format!("{}::{}", step(number).name, check.id)
}

/// The steps that the check is tried with.
fn tried(check: &Check) -> impl Iterator<Item = usize> {
    (1..=STEPS.len()).filter(|number| check.expected(*number) != Cell::NotTried)
}

fn is_way_out(check: &Check) -> bool {
    checks::ways_out().any(|way| way.id == check.id)
}

fn needs(check: &Check, number: usize, expected: Cell) -> Needs {
    let needs = Needs::root_if(check.needs_root(number) || is_way_out(check));
    // Getting out is a success, and takes its time.
    let in_vain = expected == Cell::NotYet && !is_way_out(check);
    if in_vain { needs.in_vain() } else { needs }
}

/// Runs a check. Returns its mark in the matrix if the result is the expected one.
fn held(check: &Check, runner: &Runner, expected: Cell) -> Result<String> {
    let mark = match (expected, check.look(runner)) {
        (Cell::Must, Ok(())) => "✔",
        (Cell::Free, Ok(())) => "free",
        (Cell::NotYet, Err(error)) => {
            // If it failed for another reason, this would prove nothing.
            let tried = !is_way_out(check) || format!("{error:#}").contains(GETS_OUT);
            ensure!(tried, "it could not be tried: {error:#}");
            "·"
        }
        (_, Ok(())) => bail!("it passes, before its layer is there"),
        (_, Err(error)) => bail!("{}\n{error:#}", check.proves),
    };
    Ok(mark.into())
}

/// The saboteur must fail the check, although everything else is right. `$REAL` is the last step
/// that we may run.
fn of_saboteur(check: &'static Check, script: &'static str) -> Case {
    let needs = needs(check, check.from, Cell::NotYet);
    case(format!("saboteur::{}", check.id), needs, move || {
        let may_run = |step: &&Step| *PRIVILEGE == Privilege::Root || !step.root;
        let real = STEPS.iter().rfind(may_run).context("no step")?;
        let script = format!("REAL='{}'; {script}", program(real.name).display());
        let argv = ["sh", "-c", &script, "saboteur"].map(OsString::from).to_vec();
        held(check, &Runner::new(argv, Some(rootfs().to_owned()))?, Cell::NotYet)
    })
}

/// A user that owns nothing else.
const AS_USER: &[&str] = &["setpriv", "--reuid", "4711", "--regid", "4711", "--clear-groups"];

/// A user tries to get out of a container in a user namespace, with the last step that needs no
/// root.
fn of_user(check: &'static Check) -> Case {
    case(format!("user-namespace::{}", check.id), Needs::ROOT, move || {
        let number = 1 + STEPS.iter().rposition(|step| !step.root).context("no step")?;
        // Copies that the user can reach.
        let copies = runner(step(number))?;
        let (program, rootfs) = (copies.copy()?, copies.own_rootfs()?);
        chown(&program, Some(4711), Some(4711)).context("chown")?;
        let setting = format!("ROOTFS={}", rootfs.display());
        let argv = ["env", &setting, "unshare", "-Ur", &program].map(OsString::from).to_vec();
        let mut runner = Runner::new(argv, Some(rootfs))?;
        runner.caller = AS_USER;
        let open = check.open.as_ref().filter(|_| number < check.from);
        let gets_out = open.is_some_and(|open| open.user.here());
        held(check, &runner, if gets_out { Cell::NotYet } else { Cell::Must })
    })
}

fn a_step_that_is_to_fail_fails() -> Result<()> {
    for check in checks::every() {
        if let Fails::Step(step) = check.fails {
            let fails = check.expected(step) == Cell::NotYet || check.open.is_some();
            ensure!(fails, "{}: step {step} is to fail it", check.id);
        }
    }
    Ok(())
}

/// What each step keeps.
fn matrix() -> Result<()> {
    let numbers: String = (1..=STEPS.len()).map(|step| format!(" {step} |")).collect();
    let mut table =
        format!("| what the step must do |{numbers}\n| --- |{}\n", " - |".repeat(STEPS.len()));
    for check in checks::all() {
        table += &format!("| {} `{}` |", check.proves, check.id);
        for number in 1..=STEPS.len() {
            let tried = check.expected(number) != Cell::NotTried;
            let mark = if tried { said(&of_step(check, number))? } else { String::new() };
            table += &format!(" {mark} |");
        }
        table += "\n";
    }
    recorded("matrix", &table);
    Ok(())
}

/// The ways out that are open, which later steps will close. The table is the same on every
/// machine, because each result was the expected one.
fn known_limits() -> Result<()> {
    let cell = |place: Where| match place {
        Where::Everywhere => "**open**".to_owned(),
        Where::Nowhere => "closed".to_owned(),
        Where::If(condition, _) => format!("**open** {condition}"),
    };
    let mut table = String::from(
        "| way out | what does not hold yet | as root | in a user namespace | why | closed by step |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for check in checks::every().filter(|check| check.from > STEPS.len()) {
        for number in tried(check) {
            said(&of_step(check, number))?;
        }
        said(&format!("user-namespace::{}", check.id))?;
        let open = check.open.as_ref().with_context(|| format!("{}: why?", check.id))?;
        let (root, user) = (cell(open.root), cell(open.user));
        let step = if check.from == checks::NEVER { "–".into() } else { check.from.to_string() };
        let row =
            format!("`{}` | {} | {root} | {user} | {} | {step}", check.id, check.proves, open.why);
        ensure!(row.matches('|').count() == 5, "a bar in {row}");
        table += &format!("| {row} |\n");
    }
    recorded("known-limits", &table);
    Ok(())
}
