//! Every check against every step, and against the program that must fail it; and the matrix of it
//! all, as measured.

use std::process::ExitCode;
use std::sync::{LazyLock, OnceLock};

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use workshop::checks::{self, Cell, Check, Fails};
use workshop::privilege::Privilege;
use workshop::snapshot;
use workshop::steps::STEPS;
use workshop::testing::{self, PRIVILEGE, program, rootfs, trial};

fn main() -> ExitCode {
    if let Some(code) = checks::on_the_host() {
        return code;
    }
    // They wait more than they compute.
    testing::run(8, trials)
}

fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = checks::all().flat_map(trials_of).collect();
    trials.push(trial("every-id-is-unique".into(), false, every_id_is_unique));
    trials.push(trial("matrix".into(), true, matrix));
    trials
}

/// A trial for each step, and one for the saboteur.
fn trials_of(check: &'static Check) -> Vec<Trial> {
    let mut trials: Vec<_> = (1..=5)
        .map(|step| {
            let name = format!("{}::{}", STEPS[step - 1], check.id);
            let trial = trial(name, check.needs_root(step), move || as_expected(check, step));
            match check.expected(step) {
                Cell::NotYet if trial.kind().is_empty() => trial.with_kind("must fail"),
                _ => trial,
            }
        })
        .collect();
    if let Fails::Saboteur(_) = check.fails {
        let name = format!("saboteur::{}", check.id);
        trials.push(trial(name, check.needs_root(check.from), move || fails_the_saboteur(check)));
    }
    trials
}

/// What a step made of a check, once that is known.
type Measured = OnceLock<Result<(), String>>;

/// A row for each check: a cell is measured once, whoever asks for it first.
static CELLS: LazyLock<Vec<[Measured; 5]>> =
    LazyLock::new(|| checks::all().map(|_| Default::default()).collect());

fn measured(check: &'static Check, step: usize) -> &'static Result<(), String> {
    let row = checks::all().position(|other| other.id == check.id).expect("it is one of them");
    CELLS[row][step - 1].get_or_init(|| {
        let rootfs = (step >= 4).then(rootfs);
        let looked = check.run(*PRIVILEGE, &program(STEPS[step - 1]), rootfs, false);
        looked.map_err(|error| format!("{error:#}"))
    })
}

fn as_expected(check: &'static Check, step: usize) -> Result<()> {
    match (check.expected(step), measured(check, step)) {
        (Cell::Must | Cell::Free, Ok(())) | (Cell::NotYet, Err(_)) => Ok(()),
        (Cell::Must | Cell::Free, Err(error)) => bail!("{}\n{error}", check.proves),
        (Cell::NotYet, Ok(())) => bail!("it passes, before its layer is there"),
    }
}

fn fails_the_saboteur(check: &'static Check) -> Result<()> {
    // The furthest step that we may run.
    let real = if *PRIVILEGE == Privilege::Root { STEPS[4] } else { STEPS[3] };
    let looked = check.run(*PRIVILEGE, &program(real), Some(rootfs()), true);
    ensure!(looked.is_err(), "the saboteur passes: this check proves nothing");
    Ok(())
}

fn every_id_is_unique() -> Result<()> {
    let mut ids: Vec<_> = checks::all().map(|check| check.id).collect();
    ids.sort_unstable();
    let twice = ids.windows(2).find(|pair| pair[0] == pair[1]);
    ensure!(twice.is_none(), "twice: {twice:?}");
    for check in checks::all() {
        if let Fails::Step(step) = check.fails {
            ensure!(
                check.expected(step) == Cell::NotYet,
                "{}: step {step} is to fail it",
                check.id
            );
        }
    }
    Ok(())
}

/// The table for the book.
fn matrix() -> Result<()> {
    let mut table =
        String::from("| what is owed | 1 | 2 | 3 | 4 | 5 |\n| --- | - | - | - | - | - |\n");
    for check in checks::all() {
        let cells = (1..=5).map(|step| match (measured(check, step), step >= check.from) {
            (Ok(()), true) => "✔",
            (Ok(()), false) => "free",
            (Err(_), true) => "✘",
            (Err(_), false) => "·",
        });
        let cells: Vec<_> = cells.collect();
        table += &format!("| {} `{}` | {} |\n", check.proves, check.id, cells.join(" | "));
    }
    ensure!(!table.contains('✘'), "the snapshot must not be of a failure:\n{table}");
    snapshot!("matrix", table);
    Ok(())
}
