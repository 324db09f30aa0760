//! What the book's page on troubleshooting quotes is what somebody gets to see, word for word.
//!
//! The headings of third rank are the quotations, in backticks, with `…` for what differs. They are
//! ours, and must be in a source or a snapshot, unless `<!-- said by NAME -->` follows.

use std::fs;
use std::path::Path;

use workshop::workspace::workspace;

const PAGE: &str = "book/src/troubleshooting.md";
/// Where our own words are: sources of what can be run, and recordings of what it says.
const SOURCES: [&str; 4] =
    [".cargo/runner", "Vagrantfile", "workshop/provision.sh", "workshop/src"];

/// A heading's quotation, and who says it, if not a program of ours.
struct Quotation {
    text: String,
    said_by: Option<String>,
}

/// The code in a line of Markdown: between two runs of as many backticks.
fn code(line: &str) -> Vec<String> {
    let (mut rest, mut found) = (line, Vec::new());
    while let Some(start) = rest.find('`') {
        let from = rest[start..].trim_start_matches('`');
        let fence = &rest[start..rest.len() - from.len()];
        // A longer run is not the end of a shorter one.
        let ends = from.match_indices(fence).map(|(at, _)| at);
        let mut ends = ends.filter(|&at| !from[at + fence.len()..].starts_with('`'));
        let end = ends.next().unwrap_or_else(|| panic!("{line}: the code does not end"));
        found.push(from[..end].trim().to_owned());
        rest = &from[end + fence.len()..];
    }
    found
}

fn quotations(page: &str) -> Vec<Quotation> {
    let mut lines = page.lines().peekable();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let Some(heading) = line.strip_prefix("### ") else {
            continue;
        };
        let said_by = lines.peek().and_then(|line| line.strip_prefix("<!-- said by "));
        let said_by = said_by.map(|name| name.trim_end_matches(" -->").to_owned());
        let quoted = code(heading).into_iter();
        found.extend(quoted.map(|text| Quotation { text, said_by: said_by.clone() }));
    }
    found
}

/// The texts of a file, or of all files in a directory.
fn read(path: &Path) -> String {
    if path.is_dir() {
        let files = fs::read_dir(path).expect("a directory").flatten();
        return files.map(|file| read(&file.path()) + "\n").collect();
    }
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Our own words, line by line.
fn ours() -> Vec<String> {
    let root = workspace();
    let steps = fs::read_dir(root).expect("the workspace").flatten().map(|entry| entry.path());
    let mut steps: Vec<_> = steps.filter(|path| path.join("src/main.rs").exists()).collect();
    steps.retain(|path| !path.ends_with("workshop"));
    assert_eq!(steps.len(), 5);
    let of_steps =
        steps.iter().flat_map(|step| ["src", "tests/snapshots"].map(|dir| step.join(dir)));
    let recorded = ["faults", "inputs"].map(|name| format!("workshop/tests/snapshots/{name}.snap"));
    let others = SOURCES.iter().map(|&path| path.to_owned()).chain(recorded);
    let paths = of_steps.chain(others.map(|path| root.join(path)));
    paths.flat_map(|path| read(&path).lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Does a line have these words, in this order, with anything where there is `…`?
fn says(line: &str, quotation: &str) -> bool {
    let mut rest = line;
    quotation.split('…').all(|words| match rest.split_once(words) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

#[test]
fn what_is_quoted_is_said() {
    let page = fs::read_to_string(workspace().join(PAGE)).expect(PAGE);
    let (quotations, ours) = (quotations(&page), ours());
    assert!(quotations.iter().filter(|quotation| quotation.said_by.is_none()).count() > 30);
    for Quotation { text, said_by } in quotations {
        // Too short, and it would be found anywhere.
        assert!(text.chars().count() >= 7, "{PAGE}: `{text}` is no quotation");
        let said = ours.iter().any(|line| says(line, &text));
        match said_by {
            None => assert!(said, "{PAGE}: no program of ours says `{text}`"),
            Some(name) => assert!(!said, "{PAGE}: it is not {name} who says `{text}`, but we"),
        }
    }
}

#[test]
fn quotations_are_found() {
    let page =
        "### `a`, ``b `c` … d``\n<!-- said by e -->\n### plain\n#### `not this`\n### ``x `y` ``\n";
    let found = quotations(page);
    let found: Vec<_> = found.iter().map(|q| (q.text.as_str(), q.said_by.as_deref())).collect();
    assert_eq!(found, [("a", Some("e")), ("b `c` … d", Some("e")), ("x `y`", None)]);
    assert!(says("step: exec: \"sh\": No such file", "exec: \"…\": No such"));
    assert!(!says("step: exec: \"sh\": No such file", "No such … exec"));
}
