//! What the book's page on troubleshooting quotes is what somebody gets to see, word for word.
//!
//! The headings of third rank are the quotations, in backticks, with `…` for what differs. They are
//! ours, and must be in a source or a recording, unless `<!-- said by NAME -->` follows.

use std::fs;
use std::path::Path;

use pulldown_cmark::{Event, HeadingLevel, Parser, Tag, TagEnd};
use workshop::steps::STEPS;
use workshop::workspace::workspace;

const PAGE: &str = "book/src/troubleshooting.md";
/// Where our own words are, beside the sources of the steps.
const SOURCES: [&str; 6] = [
    ".cargo/runner",
    "Vagrantfile",
    "workshop",
    "proof/src",
    "book/recorded/faults.snap",
    "book/recorded/inputs.snap",
];

/// A heading's quotation.
#[derive(Debug, PartialEq)]
struct Quotation {
    text: String,
    /// By a program of ours.
    ours: bool,
}

fn quotations(page: &str) -> Vec<Quotation> {
    let mut found: Vec<Quotation> = vec![];
    // Where the quotations of the last heading begin, and whether we are still in it.
    let (mut first, mut in_heading) = (0, false);
    for event in Parser::new(page) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                (first, in_heading) = (found.len(), level == HeadingLevel::H3);
            }
            Event::End(TagEnd::Heading(_)) => in_heading = false,
            Event::Code(text) if in_heading => {
                found.push(Quotation { text: text.trim().to_owned(), ours: true });
            }
            Event::Html(text) if text.starts_with("<!-- said by ") => {
                for quotation in &mut found[first..] {
                    quotation.ours = false;
                }
            }
            _ => {}
        }
    }
    found
}

/// The texts of a file, or of all files in a directory.
fn read(path: &Path) -> String {
    if !path.is_dir() {
        return fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    }
    let files = fs::read_dir(path).expect("a directory").flatten();
    files.map(|file| read(&file.path()) + "\n").collect()
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
    let mut ours = SOURCES.map(|path| read(&workspace().join(path))).join("\n");
    for step in &STEPS {
        ours += &read(&workspace().join(step.name).join("src"));
        ours += &read(&workspace().join("book/recorded").join(step.name));
    }
    let quotations = quotations(&read(&workspace().join(PAGE)));
    assert!(quotations.iter().filter(|quotation| quotation.ours).count() > 30);
    for Quotation { text, ours: by_us } in quotations {
        // Too short, and it would be found anywhere.
        assert!(text.chars().count() >= 7, "{PAGE}: `{text}` is no quotation");
        let said = ours.lines().any(|line| says(line, &text));
        assert!(said || !by_us, "{PAGE}: no program of ours says `{text}`");
        assert!(!said || by_us, "{PAGE}: it is we who say `{text}`");
    }
}

#[test]
fn quotations_are_found() {
    let page = "### `a`, ``b `c` … d``\n<!-- said by e -->\n### plain\n#### `no`\n### ``x `y` ``\n";
    let found = [("a", false), ("b `c` … d", false), ("x `y`", true)];
    let found = found.map(|(text, ours)| Quotation { text: text.to_owned(), ours });
    assert_eq!(quotations(page), found);
    assert!(says("step: exec: \"sh\": No such file", "exec: \"…\": No such"));
    assert!(!says("step: exec: \"sh\": No such file", "No such … exec"));
}
