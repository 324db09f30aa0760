//! What changes from one step to the next, for the book: in the files that both have, and where
//! `main.rs` is split, in its functions.

use similar::TextDiff;
use workshop::snapshot;
use workshop::steps::{self, STEPS};

/// The files in the order in which the story is told.
const STORY: [&str; 4] = ["main.rs", "run.rs", "child.rs", "supervise.rs"];

fn read(step: &str, file: &str) -> String {
    steps::read(step, file).expect("a source file")
}

#[test]
fn each_step_and_the_one_before() {
    for pair in STEPS.windows(2) {
        let before = steps::files(pair[0]).expect("a src folder");
        let now = steps::files(pair[1]).expect("a src folder");
        let split = before.len() == 1 && now.len() > 1;
        let diff = if split { by_function(pair[0], pair[1]) } else { by_file(pair[0], pair[1]) };
        snapshot!(format!("diff-{}", pair[1]), diff);
    }
}

/// The differences of the files that both have, and the names of those that are new.
fn by_file(old: &str, new: &str) -> String {
    let mut text = String::new();
    for file in STORY {
        if steps::path(old, file).exists() {
            text += &diff(old, &read(old, file), new, &read(new, file), file);
        }
    }
    for file in steps::files(new).expect("a src folder") {
        if !steps::path(old, &file).exists() {
            let lines = read(new, &file).lines().count();
            text += &format!("+++ {new}/src/{file}: new, {lines} lines\n");
        }
    }
    text
}

/// The differences of the functions and types that both have, and the names of those that are new.
fn by_function(old: &str, new: &str) -> String {
    let before = items(&read(old, "main.rs"));
    let mut text = String::new();
    for file in STORY {
        for (name, now) in items(&read(new, file)) {
            match before.iter().find(|(other, _)| *other == name) {
                Some((_, before)) => text += &diff(old, before, new, &now, &name),
                None => text += &format!("+++ {new}/src/{file}: {name}, new\n"),
            }
        }
    }
    text
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
