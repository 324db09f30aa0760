//! A step stays small, and so does the difference to the one before: one new file, which is the wall,
//! and the few lines that call it.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use similar::{ChangeTag, TextDiff};
use workshop::snapshot;
use workshop::steps::{self, STEPS};
use workshop::workspace::workspace;

/// The most lines that a step may have, comments included.
const LINES: [usize; STEPS.len()] = [70, 95, 340, 490, 850];
/// The most lines of a file.
const LINES_OF_A_FILE: usize = 150;
/// The most lines, removed and added, that may change in the files that both steps have.
const CHANGED_LINES: usize = 40;
/// The step in which one file becomes four: no limit is on what changes there.
const SPLIT: &str = STEPS[2];
/// The files in which a step may change something: all others stay as they are, to the byte.
const CHANGED_FILES: [&str; 3] = ["main.rs", "run.rs", "child.rs"];
/// The most crates that a room waits for before it has all steps.
const CRATES: usize = 40;

fn read(step: &str, file: &str) -> String {
    steps::read(step, file).expect("a source file")
}

fn files(step: &str) -> Vec<String> {
    steps::files(step).expect("a src folder")
}

/// The lines of a step, in all its files.
fn lines(step: &str) -> usize {
    files(step).iter().map(|file| read(step, file).lines().count()).sum()
}

#[test]
fn steps_are_small() {
    for (step, most) in STEPS.into_iter().zip(LINES) {
        println!("{step}: {} lines of {most}", lines(step));
        assert!(lines(step) <= most, "{step}: {} lines, the most is {most}", lines(step));
        for file in files(step) {
            let lines = read(step, &file).lines().count();
            assert!(lines <= LINES_OF_A_FILE, "{step}: {file} has {lines} lines");
        }
    }
}

/// The lines that were removed and added.
fn changed_lines(old: &str, new: &str) -> usize {
    let diff = TextDiff::from_lines(old, new);
    diff.iter_all_changes().filter(|change| change.tag() != ChangeTag::Equal).count()
}

/// What became of a file from one step to the next.
#[derive(PartialEq, Eq)]
enum Became {
    New,
    Changed(usize),
    Same,
}

fn became(old: &str, new: &str, file: &str) -> Became {
    if !steps::path(old, file).exists() {
        return Became::New;
    }
    // With the marks of the book: to the byte.
    let bytes = |step| fs::read(steps::path(step, file)).expect("a source file");
    if bytes(old) == bytes(new) {
        return Became::Same;
    }
    Became::Changed(changed_lines(&read(old, file), &read(new, file)))
}

/// What a step adds, changes and keeps, for the book.
#[test]
fn a_wall_is_a_file() {
    let mut table = "| step | new files | changed files (lines) | files as before |\n".to_owned();
    table += "| --- | --- | --- | --- |\n";
    for pair in STEPS.windows(2) {
        let (mut new, mut changed, mut same) = (Vec::new(), Vec::new(), Vec::new());
        let mut lines = 0;
        for file in files(pair[1]) {
            match became(pair[0], pair[1], &file) {
                Became::New => new.push(format!("`{file}`")),
                Became::Same => same.push(format!("`{file}`")),
                Became::Changed(count) => {
                    let may = CHANGED_FILES.contains(&file.as_str());
                    assert!(may, "{}: {file} is not as in {}", pair[1], pair[0]);
                    lines += count;
                    changed.push(format!("`{file}` ({count})"));
                }
            }
        }
        if pair[1] != SPLIT {
            assert!(lines <= CHANGED_LINES, "{}: {lines} changed lines", pair[1]);
        }
        let [new, changed, same] = [new, changed, same].map(|files| files.join(", "));
        table += &format!("| {} | {new} | {changed} | {same} |\n", pair[1]);
    }
    println!("{table}");
    snapshot!("files", table);
}

#[test]
fn the_readme_counts_right() {
    let readme = workspace().join("README.md");
    let readme = fs::read_to_string(readme).expect("a README");
    for step in STEPS {
        let row = readme.lines().find(|line| line.starts_with(&format!("| [{step}]")));
        let row = row.unwrap_or_else(|| panic!("no row for {step}"));
        assert!(row.ends_with(&format!("| {} |", lines(step))), "{step}: {} lines", lines(step));
    }
}

#[test]
fn steps_have_no_unsafe_code() {
    for step in STEPS {
        assert!(read(step, "main.rs").contains("#![forbid(unsafe_code)]"), "{step}");
    }
}

/// They are tried on some architectures, and must run on all.
#[test]
fn no_step_depends_on_an_architecture() {
    for step in STEPS {
        for file in files(step) {
            let text = read(step, &file);
            let word = ["target_arch", "target_pointer_width", "env::consts", "x86", "aarch64"];
            let found = word.into_iter().find(|word| text.contains(word));
            assert_eq!(found, None, "in {step}: {file}");
        }
    }
}

/// What cargo builds for some packages, their own crates included: `name version features`.
fn builds(packages: &[&str]) -> BTreeSet<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--offline", "--edges", "normal,build", "--prefix", "none", "--no-dedupe"]);
    tree.args(["--format", "{p} {f}"]);
    tree.args(packages.iter().flat_map(|package| ["--package", package]));
    let output = tree.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The names of these crates.
fn crates(packages: &[&str]) -> BTreeSet<String> {
    let builds = builds(packages);
    let names = builds.iter().filter_map(|build| build.split(' ').next());
    names.map(str::to_owned).collect()
}

#[test]
fn the_steps_are_built_quickly() {
    let crates = crates(&STEPS);
    println!("{} crates", crates.len());
    assert!(STEPS.iter().all(|step| crates.iter().any(|name| name == step)), "{crates:?}");
    assert!(crates.len() <= CRATES, "{} crates, the most is {CRATES}: {crates:?}", crates.len());
}

#[test]
fn the_tools_need_no_test_dependencies() {
    let crates = crates(&["workshop"]);
    for name in ["insta", "libtest-mimic", "proptest", "similar"] {
        assert!(!crates.iter().any(|built| built == name), "{name} is built for the tools");
    }
}

/// Else a step would wait for its own build of a crate that is there: with other features it is
/// another one.
#[test]
fn nothing_is_built_twice() {
    let packages: Vec<_> = STEPS.into_iter().chain(["workshop"]).collect();
    let all = builds(&packages);
    for package in packages {
        let again: Vec<_> = builds(&[package]).difference(&all).cloned().collect();
        assert!(again.is_empty(), "{package} has its own build of {again:?}");
    }
}
