//! The exercises of the book. The test of an exercise must fail on the step and pass with the
//! solution, and `cargo workshop check` must find nothing except what the solution announces.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use proof::book::{blocks::as_a_reader, scratch};
use proof::case::{self, Needs, case};
use proof::programs::program;
use workshop::host::State;
use workshop::workspace::workspace;

fn main() -> ExitCode {
    let mut cases = Vec::new();
    for entry in fs::read_dir(workspace().join("book/exercises")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("step") {
            // cargo builds the solution, and then all checks of the step run.
            let needs = Needs::ROOT.with(&["patch"]).within(300);
            cases.push(case(name.clone(), needs, move || {
                scratch::move_in(true)?;
                try_it(&name, &format!("book/exercises/{name}"))?;
                Ok(String::new())
            }));
        }
    }
    // They wait as much as they compute.
    case::run(4, cases)
}

fn try_it(name: &str, dir: &str) -> Result<()> {
    let state = State::now()?;
    let (code, said) = test(dir)?;
    ensure!(code == Some(1) && said.lines().count() == 1, "without the solution: {code:?}, {said}");
    let mut patch = Command::new("patch");
    patch.args(["-p1", "--force", "--fuzz=0", "-i"]).arg(format!("{dir}/solution.diff"));
    let patched = patch.output().context("start patch")?;
    let said = String::from_utf8_lossy(&patched.stdout);
    ensure!(patched.status.success(), "the solution does not apply: {said}");
    let (code, said) = test(dir)?;
    let done = code == Some(0) && said == format!("{name}: well done\n");
    ensure!(done, "with the solution: {code:?}, {said}");
    deviates_as_announced(&name[5..6], dir)?;
    state.restored().context("something is left")
}

/// Runs the test as a reader would. Returns its exit code and output.
fn test(dir: &str) -> Result<(Option<i32>, String)> {
    let mut test = Command::new("sh");
    let output = as_a_reader(test.arg(format!("{dir}/test.sh"))).output().context("start sh")?;
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Runs the checks on the changed step. A solution that breaks some of them on purpose says so in
/// its first lines: `# deviates: CHECK CHECK, because ...`.
fn deviates_as_announced(step: &str, dir: &str) -> Result<()> {
    let mut announced = BTreeSet::new();
    for line in fs::read_to_string(format!("{dir}/solution.diff"))?.lines() {
        if let Some(line) = line.strip_prefix("# deviates: ") {
            let (ids, _) =
                line.split_once(", because ").context("the first line gives no reason")?;
            announced.extend(ids.split(' ').map(str::to_owned));
        }
    }
    let mut check = Command::new(program("workshop"));
    // A check may be slow on a busy machine.
    check.args(["check", step, "--limit=200"]);
    let output = as_a_reader(&mut check).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let ran = said.contains(" step01-exec: ") && !said.contains("not run");
    ensure!(ran, "check: {said}{}", String::from_utf8_lossy(&output.stderr));
    let mut fail = BTreeSet::new();
    for line in said.lines().filter(|line| line.starts_with('✘')) {
        let id = line.strip_suffix(')').and_then(|line| line.rsplit_once('('));
        fail.extend(id.map(|(_, id)| id.to_owned()));
    }
    ensure!(fail == announced, "it fails {fail:?} and announces {announced:?}:\n{said}");
    Ok(())
}
