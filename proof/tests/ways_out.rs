//! Every known way out of a container is tried: those that are closed do not get out, where the
//! wall is missing they do, and the known limits work, or they would be none. And the table of it.

#[path = "ways_out/tricks.rs"]
mod tricks;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{LazyLock, OnceLock};

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use workshop::snapshot;
use workshop::testing::{self, program, rootfs, trial};
use workshop::ways_out::{self, By, Outcome, WAYS, Way};

fn main() -> ExitCode {
    if let Some(code) = tricks::inside().or_else(ways_out::on_the_host) {
        return code;
    }
    // They wait more than they compute.
    testing::run(4, trials)
}

fn trials() -> Vec<Trial> {
    let mut trials: Vec<_> = WAYS.iter().flat_map(trials_of).collect();
    trials.push(trial("known-limits".into(), true, known_limits));
    trials
}

fn trials_of(way: &'static Way) -> Vec<Trial> {
    let names = way.tried_by().into_iter().map(|by| match by {
        By::Root(step) => (by, format!("step0{step}::{}", way.id)),
        By::User => (by, format!("user-namespace::{}", way.id)),
        By::Witness => (by, format!("witness::{}", way.id)),
    });
    names.map(|(by, name)| trial(name, true, move || as_expected(way, by))).collect()
}

/// Did it get out, once that is known?
type Measured = OnceLock<Result<bool, String>>;

/// One for each way and each who tries it, measured once, whoever asks for it first.
static MEASURED: LazyLock<Vec<Vec<(By, Measured)>>> = LazyLock::new(|| {
    let of = |way: &Way| way.tried_by().into_iter().map(|by| (by, Measured::new())).collect();
    WAYS.iter().map(of).collect()
});

fn as_expected(way: &Way, by: By) -> Result<()> {
    let row = WAYS.iter().position(|other| other.id == way.id).expect("it is one of them");
    let cell = MEASURED[row].iter().find(|(other, _)| *other == by).expect("it is tried by them");
    let steps = program("workshop");
    let steps = steps.parent().unwrap_or(Path::new("/"));
    let try_it = || way.gets_out(by, steps, rootfs()).map_err(|error| format!("{error:#}"));
    match (cell.1.get_or_init(try_it), way.expected(by)) {
        (Err(error), _) => bail!("{}: it could not be tried: {error}", way.id),
        (Ok(true), false) => bail!("{}: it gets out", way.id),
        (Ok(false), true) => bail!("{}: it does not get out", way.id),
        _ => Ok(()),
    }
}

/// The table for the book. It is the same on every machine, as what was measured is as expected.
fn known_limits() -> Result<()> {
    let mut table = String::from(
        "| way | what it does | as root | in a user namespace | why | chapter |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    let closed = |way: &&Way| matches!(way.outcome, Outcome::Closed { .. });
    let limits = WAYS.iter().filter(|way| !closed(way));
    let mut wrong = Vec::new();
    for way in limits.chain(WAYS.iter().filter(closed)) {
        wrong.extend(
            way.tried_by().into_iter().filter_map(|by| {
                as_expected(way, by).err().map(|error| format!("{by:?}: {error:#}"))
            }),
        );
        let why = match way.outcome {
            Outcome::Closed { by, .. } => by,
            Outcome::KnownLimit { why, .. } => why,
        };
        let (root, user) = way.open();
        let (root, user, chapter) = (root.cell(), user.cell(), way.chapter());
        let row = format!("`{}` | {} | {root} | {user} | {why} | {chapter}", way.id, way.does);
        ensure!(row.matches('|').count() == 5, "a bar in {row}");
        table += &format!("| {row} |\n");
    }
    ensure!(wrong.is_empty(), "the snapshot must not be of a failure:\n{}", wrong.join("\n"));
    snapshot!("known-limits", table);
    Ok(())
}
