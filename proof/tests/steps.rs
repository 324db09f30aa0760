//! Each step is whole, and small: its page, its row in the README, its checks and its budget are
//! there; and the difference to the step before is one new file, which is the wall, and the few lines
//! that call it. What must hold for a step holds for all, so a new one that lacks something fails
//! here by name.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use proof::case::{self, Case, Needs, here, recorded};
use similar::{ChangeTag, TextDiff};
use workshop::checks;
use workshop::steps::{self, STEPS, Step};
use workshop::workspace::workspace;

/// The most lines of a file.
const LINES_OF_A_FILE: usize = 150;
/// The files in the order in which the story is told. Only in these may a step change something.
const STORY: [&str; 4] = ["main.rs", "run.rs", "child.rs", "supervise.rs"];
/// The most crates that a room waits for before it can start.
const CRATES: usize = 22;

fn main() -> ExitCode {
    type Test = fn(usize) -> Result<()>;
    let of_each: [(&str, Test); 7] = [
        ("is-small", is_small),
        ("forbids-unsafe-code", forbids_unsafe_code),
        ("depends-on-no-architecture", depends_on_no_architecture),
        ("has-a-page", has_a_page),
        ("has-a-row-in-the-readme", has_a_row_in_the_readme),
        ("has-checks", has_checks),
        ("has-transcripts", has_transcripts),
    ];
    let of_each_but_the_first: [(&str, Test); 2] =
        [("changes-little", changes_little), ("differs-as-recorded", differs_as_recorded)];
    let mut cases: Vec<Case> = Vec::new();
    for (i, step) in STEPS.iter().enumerate() {
        let later = of_each_but_the_first.iter().filter(|_| i > 0);
        for (name, test) in of_each.iter().chain(later) {
            let (name, test) = (format!("{}::{name}", step.name), *test);
            cases.push(here(name, Needs::NOTHING, move || test(i)));
        }
    }
    cases.push(here("every-folder-is-a-step", Needs::NOTHING, every_folder_is_a_step));
    cases.push(here("files", Needs::NOTHING, table_of_files));
    cases.push(here("a-room-builds-little", Needs::NOTHING, a_room_builds_little));
    cases.push(here("nothing-is-built-twice", Needs::NOTHING, nothing_is_built_twice));
    case::run(4, cases)
}

/// The lines of a step, in all its files.
fn lines(step: &Step) -> Result<usize> {
    let mut lines = 0;
    for file in steps::files(step.name)? {
        lines += steps::read(step.name, &file)?.lines().count();
    }
    Ok(lines)
}

fn is_small(step: usize) -> Result<()> {
    let step = &STEPS[step];
    let count = lines(step)?;
    ensure!(count <= step.lines, "it has {count} lines, the most is {}", step.lines);
    for file in steps::files(step.name)? {
        let count = steps::read(step.name, &file)?.lines().count();
        ensure!(count <= LINES_OF_A_FILE, "{file} has {count} lines");
    }
    Ok(())
}

fn forbids_unsafe_code(step: usize) -> Result<()> {
    let main = steps::read(STEPS[step].name, "main.rs")?;
    ensure!(main.contains("#![forbid(unsafe_code)]"), "main.rs does not");
    Ok(())
}

/// They are tried on some architectures, and must run on all.
fn depends_on_no_architecture(step: usize) -> Result<()> {
    for file in steps::files(STEPS[step].name)? {
        let text = steps::read(STEPS[step].name, &file)?;
        for word in ["target_arch", "target_pointer_width", "env::consts", "x86", "aarch64"] {
            ensure!(!text.contains(word), "{word} in {file}");
        }
    }
    Ok(())
}

fn has_a_page(step: usize) -> Result<()> {
    let name = STEPS[step].name;
    let book = workspace().join("book/src");
    let page = fs::read_to_string(book.join(format!("{name}.md"))).context("no page")?;
    ensure!(page.contains(&format!("../../{name}/src/")), "its page shows none of its code");
    let summary = fs::read_to_string(book.join("SUMMARY.md"))?;
    ensure!(summary.contains(&format!("({name}.md)")), "its page is not in SUMMARY.md");
    Ok(())
}

fn has_a_row_in_the_readme(step: usize) -> Result<()> {
    let name = STEPS[step].name;
    let readme = fs::read_to_string(workspace().join("README.md")).context("no README")?;
    let row = readme.lines().find(|line| line.starts_with(&format!("| [{name}]")));
    let (row, lines) = (row.context("there is none")?, lines(&STEPS[step])?);
    ensure!(row.ends_with(&format!("| {lines} |")), "it has {lines} lines, but the row is: {row}");
    Ok(())
}

fn has_checks(step: usize) -> Result<()> {
    let count = checks::all().filter(|check| check.from == step + 1).count();
    ensure!(count > 0, "no check is from step {} on: what does it owe?", step + 1);
    Ok(())
}

/// Transcripts that are played, and all that is recorded is still played.
fn has_transcripts(step: usize) -> Result<()> {
    let name = STEPS[step].name;
    let tests = workspace().join(name).join("tests/transcripts.rs");
    let tests = fs::read_to_string(tests).context("no tests/transcripts.rs")?;
    let recorded = fs::read_dir(workspace().join("book/recorded").join(name));
    let mut count = 0;
    for file in recorded.context("no folder in book/recorded")? {
        let file = file?.file_name().into_string().unwrap_or_default();
        let transcript = file.trim_end_matches(".snap");
        ensure!(tests.contains(&format!("\"{transcript}\": [")), "nothing plays {file}");
        count += 1;
    }
    ensure!(count > 0, "nothing is recorded");
    Ok(())
}

fn every_folder_is_a_step() -> Result<()> {
    for entry in fs::read_dir(workspace())? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        let is_step = name.starts_with("step") && workspace().join(&name).is_dir();
        let has_row = STEPS.iter().any(|step| step.name == name);
        ensure!(!is_step || has_row, "{name} has no row in workshop/src/steps.rs");
    }
    Ok(())
}

/// What became of a file from one step to the next.
enum Became {
    New,
    Changed(usize),
    Same,
}

fn became(old: &Step, new: &Step, file: &str) -> Result<Became> {
    if !steps::path(old.name, file).exists() {
        return Ok(Became::New);
    }
    // With the marks of the book: to the byte.
    if fs::read(steps::path(old.name, file))? == fs::read(steps::path(new.name, file))? {
        return Ok(Became::Same);
    }
    let (before, now) = (steps::read(old.name, file)?, steps::read(new.name, file)?);
    let diff = TextDiff::from_lines(&before, &now);
    let changed = diff.iter_all_changes().filter(|change| change.tag() != ChangeTag::Equal);
    Ok(Became::Changed(changed.count()))
}

fn changes_little(step: usize) -> Result<()> {
    let (old, new) = (&STEPS[step - 1], &STEPS[step]);
    let mut lines = 0;
    for file in steps::files(new.name)? {
        if let Became::Changed(count) = became(old, new, &file)? {
            ensure!(STORY[..3].contains(&file.as_str()), "{file} is not as in {}", old.name);
            lines += count;
        }
    }
    ensure!(lines <= new.changes, "it changes {lines} lines, the most is {}", new.changes);
    Ok(())
}

/// What each step adds, changes and keeps.
fn table_of_files() -> Result<()> {
    let mut table = "| step | new files | changed files (lines) | files as before |\n".to_owned();
    table += "| --- | --- | --- | --- |\n";
    for pair in STEPS.windows(2) {
        let (mut new, mut changed, mut same) = (Vec::new(), Vec::new(), Vec::new());
        for file in steps::files(pair[1].name)? {
            match became(&pair[0], &pair[1], &file)? {
                Became::New => new.push(format!("`{file}`")),
                Became::Changed(count) => changed.push(format!("`{file}` ({count})")),
                Became::Same => same.push(format!("`{file}`")),
            }
        }
        let [new, changed, same] = [new, changed, same].map(|files| files.join(", "));
        table += &format!("| {} | {new} | {changed} | {same} |\n", pair[1].name);
    }
    recorded("files", &table);
    Ok(())
}

/// By file; and where `main.rs` is split into files, by function.
fn differs_as_recorded(step: usize) -> Result<()> {
    let (old, new) = (STEPS[step - 1].name, STEPS[step].name);
    let split = steps::files(old)?.len() == 1 && steps::files(new)?.len() > 1;
    let diff = if split { by_function(old, new)? } else { by_file(old, new)? };
    recorded(&format!("diff-{new}"), &diff);
    Ok(())
}

/// The differences of the files that both have, and the names of those that are new.
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

/// The differences of the functions and types that both have, and the names of those that are new.
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

/// The functions and types of a file, by name, with their comments: whatever begins at the left
/// margin with such a word, and ends with a brace there.
fn items(text: &str) -> Vec<(String, String)> {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut name = None;
    for line in text.split_inclusive('\n') {
        let words: Vec<_> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        for pair in words.windows(2) {
            if ["fn", "struct", "enum"].contains(&pair[0]) && !line.starts_with([' ', '/']) {
                name = Some(format!("{} {}", pair[0], pair[1]));
            }
        }
        item += line;
        if line == "}\n" {
            items.extend(name.take().map(|name| (name, std::mem::take(&mut item))));
        }
        if line == "\n" && name.is_none() {
            item.clear();
        }
    }
    items
}

/// What cargo builds for some packages, their own crates included: `name version features`.
fn builds(packages: &[&str]) -> Result<BTreeSet<String>> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--offline", "--edges", "normal,build", "--prefix", "none", "--no-dedupe"]);
    tree.args(["--format", "{p} {f}"]);
    tree.args(packages.iter().flat_map(|package| ["--package", package]));
    let output = tree.current_dir(workspace()).output().context("start cargo tree")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// What the README's first command has to build.
fn a_room_builds_little() -> Result<()> {
    let builds = builds(&["workshop", steps::LAST.name])?;
    let crates: BTreeSet<_> = builds.iter().filter_map(|build| build.split(' ').next()).collect();
    ensure!(crates.contains(steps::LAST.name), "{crates:?}");
    ensure!(crates.len() <= CRATES, "{} crates, the most is {CRATES}: {crates:?}", crates.len());
    Ok(())
}

/// Else who goes from `cargo test` to `cargo run -p`, or back, would wait for another build of a
/// crate that is there: with other features it is another one.
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
