//! Each step is complete and small. Its page, its row in the README, its checks and its limits on
//! lines exist. It differs from the step before by one new file, which is the wall, and the few
//! lines that call it. If a new step lacks something, a test here fails by name.

use std::collections::BTreeSet;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use proof::case::{self, Case, Needs, here, recorded};
use proof::programs::output;
use similar::{ChangeTag, TextDiff};
use workshop::checks;
use workshop::steps::{self, STEPS, Step};
use workshop::workspace::{cargo, workspace};

/// The most lines that a file may have.
const LINES_OF_A_FILE: usize = 150;
/// The files in the order of the story. A step may change something only in these.
const STORY: [&str; 4] = ["main.rs", "run.rs", "child.rs", "supervise.rs"];
/// The most crates that a room has to build before it can start.
const CRATES: usize = 22;

fn main() -> ExitCode {
    let mut cases: Vec<Case> = Vec::new();
    for (i, step) in STEPS.iter().enumerate() {
        let mut add = |name: &str, test: fn(usize) -> Result<()>| {
            let name = format!("{}::{name}", step.name);
            cases.push(here(name, Needs::NOTHING, move || test(i)));
        };
        add("is-whole", is_whole);
        add("is-small", is_small);
        if i > 0 {
            add("differs-as-recorded", differs_as_recorded);
        }
    }
    cases.push(here("every-folder-is-a-step", Needs::NOTHING, every_folder_is_a_step));
    cases.push(here("files", Needs::NOTHING, table_of_files));
    cases.push(here("a-room-builds-little", Needs::NOTHING, a_room_builds_little));
    cases.push(here("nothing-is-built-twice", Needs::NOTHING, nothing_is_built_twice));
    case::run(4, cases)
}

/// The lines of a step, file by file.
fn lines(step: &Step) -> Result<Vec<(String, usize)>> {
    let files = steps::files(step.name)?.into_iter();
    files.map(|file| Ok((file.clone(), steps::read(step.name, &file)?.lines().count()))).collect()
}

fn is_small(step: usize) -> Result<()> {
    let step = &STEPS[step];
    let mut all = 0;
    for (file, count) in lines(step)? {
        ensure!(count <= LINES_OF_A_FILE, "{file} has {count} lines");
        all += count;
    }
    ensure!(all <= step.lines, "it has {all} lines, the most is {}", step.lines);
    Ok(())
}

/// The lint of the book checks that the page is in the summary and shows the code.
fn is_whole(step: usize) -> Result<()> {
    let name = STEPS[step].name;
    let main = steps::read(name, "main.rs")?;
    ensure!(main.contains("#![forbid(unsafe_code)]"), "main.rs does not forbid unsafe code");
    ensure!(workspace().join(format!("book/src/{name}.md")).exists(), "it has no page");
    let readme = fs::read_to_string(workspace().join("README.md")).context("no README")?;
    let row = readme.lines().find(|line| line.starts_with(&format!("| [{name}]")));
    let row = row.context("it has no row in the README")?;
    let lines: usize = lines(&STEPS[step])?.iter().map(|(_, count)| count).sum();
    ensure!(
        row.ends_with(&format!("| {lines} |")),
        "it has {lines} lines, but its row says: {row}"
    );
    let owes = checks::all().any(|check| check.from == step + 1);
    ensure!(owes, "no check begins with step {}", step + 1);
    // Every recorded transcript is still played.
    let mut tests = String::new();
    for file in fs::read_dir(workspace().join(name).join("tests")).context("no tests")? {
        tests += &fs::read_to_string(file?.path())?;
    }
    let recorded = fs::read_dir(workspace().join("book/recorded").join(name));
    for file in recorded.context("no folder in book/recorded")? {
        let file = file?.file_name().into_string().unwrap_or_default();
        let transcript = file.trim_end_matches(".snap");
        ensure!(tests.contains(&format!("\"{transcript}\": [")), "nothing plays {file}");
    }
    Ok(())
}

/// The files that a step adds, changes (a little) and keeps (byte for byte).
fn table_of_files() -> Result<()> {
    let mut table = "| step | new files | changed files (lines) | files as before |\n".to_owned();
    table += "| --- | --- | --- | --- |\n";
    for pair in STEPS.windows(2) {
        let (old, step) = (&pair[0], &pair[1]);
        let (mut new, mut changed, mut same, mut changes) = (vec![], vec![], vec![], 0);
        for file in steps::files(step.name)? {
            if !steps::path(old.name, &file).exists() {
                new.push(format!("`{file}`"));
            } else if fs::read(steps::path(old.name, &file))?
                == fs::read(steps::path(step.name, &file))?
            {
                same.push(format!("`{file}`"));
            } else {
                ensure!(STORY[..3].contains(&&*file), "{file} of {} is changed", step.name);
                let (before, now) = (steps::read(old.name, &file)?, steps::read(step.name, &file)?);
                let diff = TextDiff::from_lines(&before, &now);
                let count =
                    diff.iter_all_changes().filter(|it| it.tag() != ChangeTag::Equal).count();
                changed.push(format!("`{file}` ({count})"));
                changes += count;
            }
        }
        ensure!(changes <= step.changes, "{} changes {changes} lines", step.name);
        let [new, changed, same] = [new, changed, same].map(|files| files.join(", "));
        table += &format!("| {} | {new} | {changed} | {same} |\n", step.name);
    }
    recorded("files", &table);
    Ok(())
}

/// By file, or by function if the step splits `main.rs` into files.
fn differs_as_recorded(step: usize) -> Result<()> {
    let (old, new) = (STEPS[step - 1].name, STEPS[step].name);
    let split = steps::files(old)?.len() == 1 && steps::files(new)?.len() > 1;
    let diff = if split { by_function(old, new)? } else { by_file(old, new)? };
    recorded(&format!("diff-{new}"), &diff);
    Ok(())
}

/// The differences in files that both have, and the names of new files.
fn by_file(old: &str, new: &str) -> Result<String> {
    let mut text = String::new();
    for file in STORY {
        if steps::path(old, file).exists() {
            text += &diff(old, &steps::read(old, file)?, new, &steps::read(new, file)?, file);
        }
    }
    for file in steps::files(new)? {
        if !steps::path(old, &file).exists() {
            let lines = steps::read(new, &file)?.lines().count();
            text += &format!("+++ {new}/src/{file}: new, {lines} lines\n");
        }
    }
    Ok(text)
}

/// The differences in functions and types that both have, and the names of new ones.
fn by_function(old: &str, new: &str) -> Result<String> {
    let before = items(&steps::read(old, "main.rs")?);
    let mut text = String::new();
    for file in STORY {
        for (name, now) in items(&steps::read(new, file)?) {
            match before.iter().find(|(other, _)| *other == name) {
                Some((_, before)) => text += &diff(old, before, new, &now, &name),
                None => text += &format!("+++ {new}/src/{file}: {name}, new\n"),
            }
        }
    }
    Ok(text)
}

fn diff(old: &str, before: &str, new: &str, now: &str, of: &str) -> String {
    let (old, new) = (format!("{old}: {of}"), format!("{new}: {of}"));
    let diff = TextDiff::from_lines(before, now);
    diff.unified_diff().context_radius(3).header(&old, &new).to_string()
}

/// The functions and types of a file by name, with their comments. Each ends with a brace at the
/// left margin and begins after a blank line.
fn items(text: &str) -> Vec<(String, String)> {
    let mut items = Vec::new();
    for piece in text.split_inclusive("\n}\n").map(|piece| piece.trim_start_matches('\n')) {
        let mut at_margin = piece.lines().filter(|line| !line.starts_with([' ', '/', '#']));
        let is_item = |line: &&str| ["fn ", "struct ", "enum "].iter().any(|it| line.contains(it));
        let Some(first) = at_margin.find(is_item) else { continue };
        let before = &piece[..piece.find(first).unwrap_or_default()];
        let start = before.rfind("\n\n").map_or(0, |at| at + 2);
        let mut words = first.split(|c: char| !c.is_alphanumeric() && c != '_');
        let kind = words.find(|word| ["fn", "struct", "enum"].contains(word)).unwrap_or_default();
        let name = format!("{kind} {}", words.next().unwrap_or_default());
        items.push((name, piece[start..].to_owned()));
    }
    items
}

fn every_folder_is_a_step() -> Result<()> {
    for entry in fs::read_dir(workspace())? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        let has_row = STEPS.iter().any(|step| step.name == name);
        ensure!(!name.starts_with("step") || has_row, "{name} has no row in workshop/src/steps.rs");
    }
    Ok(())
}

/// The crates that cargo builds for these packages, their own included: `name version features`.
fn builds(packages: &[&str]) -> Result<BTreeSet<String>> {
    let mut tree = cargo("tree");
    tree.args(["--offline", "--edges", "normal,build", "--prefix", "none", "--no-dedupe"]);
    tree.args(["--format", "{p} {f}"]);
    tree.args(packages.iter().flat_map(|package| ["--package", package]));
    let text = String::from_utf8(output(&mut tree)?)?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// What the README's first command has to build.
fn a_room_builds_little() -> Result<()> {
    let crates = builds(&["workshop", steps::LAST.name])?;
    ensure!(crates.len() <= CRATES, "{} crates, the most is {CRATES}: {crates:?}", crates.len());
    Ok(())
}

/// With other features, a crate is built again. Then people who go from `cargo test` to `cargo run
/// -p`, or back, would wait for that.
fn nothing_is_built_twice() -> Result<()> {
    let mut packages: Vec<_> = STEPS.iter().map(|step| step.name).collect();
    packages.extend(["workshop", "proof"]);
    let all = builds(&packages)?;
    for package in packages {
        let again: Vec<_> = builds(&[package])?.difference(&all).cloned().collect();
        ensure!(again.is_empty(), "{package} has its own build of {again:?}");
    }
    Ok(())
}
