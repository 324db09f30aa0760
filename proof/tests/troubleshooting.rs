//! What the book's page on troubleshooting quotes is what somebody gets to see, word for word.
//!
//! The headings of third rank are the quotations, in backticks, with `…` for what differs. They are
//! ours, and must be in a source or a recording, unless `<!-- said by NAME -->` follows.

use std::path::PathBuf;
use std::process::Command;

use proof::programs::output;
use pulldown_cmark::{Event, Parser};
use workshop::steps::STEPS;
use workshop::workspace::workspace;

const PAGE: &str = "book/src/troubleshooting.md";
/// Where our own words are, beside the sources of the steps.
const SOURCES: [&str; 5] =
    [".cargo/runner", "Vagrantfile", "workshop", "proof/src", "book/recorded"];

/// The quotations in headings of third rank, and whether they are of a program of ours.
fn quotations(page: &str) -> Vec<(String, bool)> {
    let mut found = vec![];
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let ours = lines.peek().is_none_or(|next| !next.starts_with("<!-- said by "));
        for event in Parser::new(line.strip_prefix("### ").unwrap_or_default()) {
            if let Event::Code(text) = event {
                found.push((text.trim().to_owned(), ours));
            }
        }
    }
    found
}

/// The texts of files, and of all files in directories.
fn read(paths: &[PathBuf]) -> String {
    let mut find = Command::new("find");
    let texts = output(find.args(paths).args(["-type", "f", "-exec", "cat", "{}", "+"]));
    String::from_utf8(texts.unwrap()).unwrap()
}

/// Does a line have these words, in this order, with anything where there is `…`?
fn says(line: &str, quotation: &str) -> bool {
    let mut rest = line;
    for words in quotation.split('…') {
        let Some((_, after)) = rest.split_once(words) else { return false };
        rest = after;
    }
    true
}

#[test]
fn what_is_quoted_is_said() {
    let mut paths: Vec<_> = SOURCES.iter().map(|path| workspace().join(path)).collect();
    paths.extend(STEPS.iter().map(|step| workspace().join(step.name).join("src")));
    let ours = read(&paths);
    let quotations = quotations(&read(&[workspace().join(PAGE)]));
    assert!(quotations.len() > 30);
    // Both kinds, so that what is found everywhere, or nowhere, fails.
    for (text, by_us) in quotations {
        // Too short, and it would be found anywhere.
        assert!(text.chars().count() >= 7, "{PAGE}: `{text}` is no quotation");
        let said = ours.lines().any(|line| says(line, &text));
        assert!(said == by_us, "{PAGE}: by a program of ours: {said}, but the page: `{text}`");
    }
}
