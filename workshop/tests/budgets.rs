//! A step stays small, and so does the difference to the one before.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use similar::{ChangeTag, TextDiff};
use workshop::steps::{self, STEPS};
use workshop::workspace::workspace;

/// The most lines that a step may have, comments included.
const LINES: [usize; 5] = [60, 80, 180, 260, 420];
/// The most lines that may change in `main.rs` from the step before, removed and added.
const CHANGES: [usize; 4] = [80, 130, 80, 80];
/// The most lines of step 5's own file.
const CGROUP_LINES: usize = 160;
/// The most crates that a room waits for before it has all steps.
const CRATES: usize = 40;

fn read(step: &str, file: &str) -> String {
    steps::read(step, file).expect("a source file")
}

/// The lines of a step, in all its files.
fn lines(step: &str) -> usize {
    let files = fs::read_dir(steps::path(step, "")).expect("a src folder");
    let names = files.map(|file| file.expect("a file").file_name().into_string().expect("a name"));
    names.map(|name| read(step, &name).lines().count()).sum()
}

#[test]
fn steps_are_small() {
    for (step, most) in STEPS.into_iter().zip(LINES) {
        println!("{step}: {} lines of {most}", lines(step));
        assert!(lines(step) <= most, "{step}: {} lines, the most is {most}", lines(step));
    }
    let lines = read(STEPS[4], "cgroup.rs").lines().count();
    assert!(lines <= CGROUP_LINES, "cgroup.rs: {lines} lines, the most is {CGROUP_LINES}");
}

#[test]
fn differences_are_small() {
    for (pair, most) in STEPS.windows(2).zip(CHANGES) {
        let (old, new) = (read(pair[0], "main.rs"), read(pair[1], "main.rs"));
        let diff = TextDiff::from_lines(&old, &new);
        let changed = diff.iter_all_changes().filter(|change| change.tag() != ChangeTag::Equal);
        let changed = changed.count();
        println!("{} to {}: {changed} lines of {most}", pair[0], pair[1]);
        assert!(
            changed <= most,
            "{} to {}: {changed} lines changed, the most is {most}",
            pair[0],
            pair[1]
        );
    }
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
        for file in fs::read_dir(steps::path(step, "")).expect("a src folder").flatten() {
            let text = fs::read_to_string(file.path()).expect("a source file");
            let word = ["target_arch", "target_pointer_width", "env::consts", "x86", "aarch64"];
            let found = word.into_iter().find(|word| text.contains(word));
            assert_eq!(found, None, "in {}", file.path().display());
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
