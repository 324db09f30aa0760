//! The book has no faults, and each fault that we know is found in a small book that has it.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use proof::book::{Finding, links, lint};
use proof::case::{self, Needs, here, snapshot};
use workshop::temp::TempDir;
use workshop::workspace::workspace;

/// A small book without a fault.
const SMALL: &str = "proof/tests/small-book";

const PAGE: &str = "book/src/step01-exec.md";
const QUOTES: &str = "book/src/a-real-one.md";
const SUMMARY: &str = "book/src/SUMMARY.md";
const README: &str = "README.md";
const PICTURE: &str = "book/src/pictures/one.svg";
const SOURCE: &str = "step01-exec/src/main.rs";

// Parts of the page.
const TEXT: &str = "```text\nan error\n```\n";
const SNAP: &str = "{{#include ../recorded/hello.snap:4:}}";
const END: &str = "// ANCHOR_END: run\n";

/// The fault, and what makes it: in which file, what becomes what. No text becomes all of a file that
/// is not there; a file that has nothing left is removed.
const FAULTS: &[(&str, &str, &str, &str)] = &[
    // Includes
    ("no-such-file", PAGE, "hello.snap", "hullo.snap"),
    ("out-of-the-workspace", PAGE, "../recorded", "../../../recorded"),
    ("not-in-the-book", PAGE, "../recorded", "../../proof/tests/snapshots"),
    ("no-such-anchor", PAGE, "main.rs:run}}", "main.rs:ran}}"),
    ("empty-anchor", PAGE, TEXT, "```go\n{{#include ../../proof/go/talk.go:empty}}\n```\n"),
    ("endless-anchor", PAGE, TEXT, "```go\n{{#include ../../proof/go/talk.go:endless}}\n```\n"),
    ("anchors-shown", PAGE, TEXT, "```go\n{{#include ../../proof/go/talk.go}}\n```\n"),
    ("snapshot-with-its-head", PAGE, "hello.snap:4:", "hello.snap"),
    ("code-in-a-wrong-block", PAGE, "```rust,ignore", "```text"),
    ("picture-in-a-block", PAGE, TEXT, "```text\n\n{{#include pictures/one.svg}}\n\n```\n"),
    ("picture-in-a-paragraph", PAGE, "\n{{#include pictures", "See:\n{{#include pictures"),
    ("indented-include", PAGE, SNAP, "  {{#include ../recorded/hello.snap:4:}}"),
    // What is typed in
    ("transcript-typed-in", PAGE, SNAP, "$ hello"),
    ("rust-typed-in", PAGE, "main.rs:run}}\n", "main.rs:run}}\nfn main() {}\n"),
    ("transcript-as-text", PAGE, "an error", "$ ls"),
    // Fences
    ("other-language", PAGE, "```text", "```python"),
    ("a-space", PAGE, "```sh,inside", "```sh, inside"),
    ("not-ignored", PAGE, "```rust,ignore", "```rust"),
    ("by-indent", PAGE, TEXT, "    ls\n"),
    ("endless-fence", PAGE, "an error\n```\n", "an error\n"),
    ("fence-in-html", PAGE, TEXT, "<details>\n```sh\nls\n```\n</details>\n"),
    // Blocks
    ("inside-of-nothing", README, "```sh", "```sh,inside"),
    ("a-prompt", PAGE, "cargo run", "$ cargo run"),
    ("a-comment", README, "true", "# it's\ntrue"),
    ("a-line-after-sudo", PAGE, "echo hello", "echo hello && sudo true\ntrue"),
    ("a-line-after-a-container", README, "true", "cargo run -p step02-uts -- run true\ntrue"),
    ("in-the-background", README, "true", "cargo run -p step03-pid -- run sleep 1 2>&1 & wait"),
    ("of-history", README, "true", "echo '!' \"it's mine!\""),
    // What is shown of them
    ("other-command", PAGE, "    echo hello", "    echo hullo"),
    ("other-prompt", PAGE, "```sh\ncargo run -p", "```sh,inside\ncargo run -p"),
    ("more-typed", PAGE, "    echo hello", "    echo hello\nls"),
    ("nothing-typed", QUOTES, "```sh\ndocker run\n```\n\n", ""),
    ("other-quote", QUOTES, "$ docker run", "/ # docker run"),
    (
        "not-even-some",
        PAGE,
        "```console",
        "<!-- not shown: all of it -->\n```console\n$ ls\n```\n\n```console",
    ),
    ("no-time", PAGE, "*About 3 minutes, with the typing.*\n\n", ""),
    ("wrong-time", PAGE, "About 3", "About 30"),
    // Pages and steps
    ("page-outside", "book/src/other.md", "", "# Other\n"),
    ("step-not-in-the-summary", SUMMARY, "- [One](step01-exec.md)\n", ""),
    ("unused-anchor", SOURCE, END, "// ANCHOR_END: run\n// ANCHOR: more\n"),
    ("anchor-beside-code", SOURCE, END, "// ANCHOR_END: run\nfn more() {} // ANCHOR: more\n"),
    // Pictures
    ("blank-line", PICTURE, "</title>\n", "</title>\n\n"),
    ("no-picture-title", PICTURE, "<title id=\"one\">One</title>", "<g id=\"one\"/>"),
    ("no-class", PICTURE, "class=\"picture\" ", ""),
    ("a-style", PICTURE, "<text font-size=\"13\">", "<text style=\"font-size: 3px\">"),
    ("unused-picture", PAGE, "{{#include pictures/one.svg}}", "A picture."),
    // Exercises
    ("exercise-on-no-page", "book/exercises/two/test.sh", "", "exit 1"),
    ("solution-not-shown", PAGE, "{{#include ../exercises/one/solution.diff}}", SNAP),
];

/// The same for what a page links to, in a book as built.
const LINKS: &[(&str, &str)] = &[
    ("no-page", "two.html"),
    ("no-heading", "one.html#two"),
    ("no-heading-here", "#two"),
    ("outside", "../one.html"),
    ("http", "http://example.org/"),
    ("a-full-stop", "https://example.org/path."),
];

const GOOD_LINKS: [&str; 5] =
    ["one.html#here", "#here", "a.png", "https://example.org/a(b)?c=d#e", "http://localhost:3000"];

fn main() -> ExitCode {
    case::run(
        2,
        vec![
            here("the-book", Needs::NOTHING, || none(&lint::lint(workspace())?)),
            here("the-small-book", Needs::NOTHING, || none(&found(("", README, "true", "true"))?)),
            here("good-links", Needs::NOTHING, || none(&found_in_links(&GOOD_LINKS)?)),
            here("faults", Needs::NOTHING, faults),
        ],
    )
}

fn none(found: &[Finding]) -> Result<()> {
    ensure!(found.is_empty(), "{}", listed(found));
    Ok(())
}

fn listed(found: &[Finding]) -> String {
    found.iter().map(|finding| format!("    {finding}\n")).collect()
}

/// Each fault is found, and said as recorded.
fn faults() -> Result<()> {
    let mut all = Vec::new();
    for fault in FAULTS {
        all.push((fault.0, found(*fault).context(fault.0)?));
    }
    for (name, link) in LINKS {
        all.push((name, found_in_links(&[link])?));
    }
    let mut said = String::new();
    for (name, found) in all {
        ensure!(!found.is_empty(), "{name} is not found");
        said += &format!("{name}\n{}", listed(&found));
    }
    snapshot("book-faults", &said);
    Ok(())
}

/// What is found in the small book with this fault.
fn found((_, file, old, new): (&str, &str, &str, &str)) -> Result<Vec<Finding>> {
    let dir = TempDir::new("book-")?;
    let small = workspace().join(SMALL).join(".");
    let copied = Command::new("cp").arg("-r").args([&small, dir.path()]).status()?;
    ensure!(copied.success(), "cp: {copied}");
    let path = dir.path().join(file);
    let text = fs::read_to_string(&path).unwrap_or_default();
    ensure!(text.contains(old), "{old:?} is not in {file}");
    match text.replacen(old, new, 1) {
        text if text.is_empty() => fs::remove_file(&path)?,
        text => write(&path, &text)?,
    }
    lint::lint(dir.path())
}

/// What is found in a book as built whose page has these links.
fn found_in_links(links: &[&str]) -> Result<Vec<Finding>> {
    let dir = TempDir::new("book-")?;
    let mut page = "<script>'<a href=dead>'</script>\n<h1 id=here>x</h1>".to_owned();
    for link in links {
        page += &format!("<a href='{link}'>x</a>");
    }
    write(&dir.path().join("out/one.html"), &page)?;
    write(&dir.path().join("out/a.png"), "PNG")?;
    links::check(&dir.path().join("out"))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(file.parent().context("no directory")?)?;
    Ok(fs::write(file, text)?)
}
