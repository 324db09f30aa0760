//! What the book's page on troubleshooting quotes is what somebody gets to see, word for word.
//!
//! The headings of third rank are the quotations, in backticks, with `…` for what differs. They are
//! ours, and must be in a source or a recording, unless `<!-- said by NAME -->` follows. And the other
//! way round: whatever a step has been made to say has a heading, and every heading is in the index.

use std::path::PathBuf;
use std::process::Command;

use proof::programs::output;
use pulldown_cmark::{Event, Parser};
use workshop::steps::STEPS;
use workshop::workspace::workspace;

const PAGE: &str = "book/src/troubleshooting.md";
/// Where our own words are, beside the sources of the steps.
const SOURCES: [&str; 4] = [".cargo/runner", "Vagrantfile", "workshop", "proof/src"];
/// Where they are seen, as well as those of other programs.
const RECORDED: &str = "book/recorded";

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

/// What the tests have made the steps say, by system calls that fail and by invalid input: the last
/// column of these tables, but for what is in italics, which explains why nothing is said.
const SAID: [&str; 2] = ["book/recorded/faults.snap", "book/recorded/inputs.snap"];

#[test]
fn what_is_said_has_a_heading() {
    let quotations = quotations(&read(&[workspace().join(PAGE)]));
    let (mut looked_at, mut missing) = (0, String::new());
    for file in SAID {
        for line in read(&[workspace().join(file)]).lines().filter(|line| line.starts_with("| ")) {
            let mut cells = line.trim_end_matches(" |").rsplit(" | ");
            let (said, code) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
            // Otherwise it is a header, what the command says, or help.
            let failed = code.parse().is_ok_and(|code: u8| code >= 125);
            if failed && !said.starts_with('*') && !said.starts_with("Usage:") {
                if !quotations.iter().any(|(quotation, _)| says(said, quotation)) {
                    missing += &format!("\n{file}: {said}");
                }
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 100, "{looked_at} lines only");
    assert!(missing.is_empty(), "{PAGE} has no heading for{missing}");
}

/// The id that mdBook gives a heading.
fn id(heading: &str) -> String {
    let text: String = Parser::new(heading)
        .filter_map(|event| match event {
            Event::Code(text) | Event::Text(text) => Some(text.into_string()),
            _ => None,
        })
        .collect();
    let kept = text.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || "_-".contains(c) => c.to_lowercase().next(),
        _ => None,
    });
    kept.collect()
}

#[test]
fn every_heading_is_in_the_index() {
    let page = read(&[workspace().join(PAGE)]);
    let (index, rest) = page.split_once("\n## ").unwrap();
    let links = index.lines().filter(|line| line.starts_with("* [")).map(|line| {
        let (_, link) = line.rsplit_once("](#").unwrap();
        link.trim_end_matches(')').to_owned()
    });
    let mut headings: Vec<_> =
        rest.lines().filter_map(|line| line.strip_prefix("### ")).map(id).collect();
    // The index may have another order.
    let mut links: Vec<_> = links.collect();
    headings.sort();
    links.sort();
    assert_eq!(links, headings, "{PAGE}: the index, and the headings");
}

#[test]
fn what_is_quoted_is_said() {
    let mut paths: Vec<_> = SOURCES.iter().map(|path| workspace().join(path)).collect();
    paths.extend(STEPS.iter().map(|step| workspace().join(step.name).join("src")));
    let ours = read(&paths);
    let seen = read(&[workspace().join(RECORDED)]);
    let quotations = quotations(&read(&[workspace().join(PAGE)]));
    assert!(quotations.len() > 30);
    let mut wrong = String::new();
    // Both kinds, so that what is found everywhere, or nowhere, fails.
    for (text, by_us) in quotations {
        let said = ours.lines().any(|line| says(line, &text));
        let right = if by_us { said || seen.lines().any(|line| says(line, &text)) } else { !said };
        // Too short, and it would be found anywhere.
        if !right || text.chars().count() < 7 {
            wrong += &format!("\n`{text}`: by a program of ours: {said}");
        }
    }
    assert!(wrong.is_empty(), "{PAGE}: wrong, or too short:{wrong}");
}
