//! The book has no faults, and each fault that we know is found in a small book that has it.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use workshop::book::{Finding, links, lint};
use workshop::snapshot;
use workshop::workspace::workspace;

/// A small book without a fault.
const BOOK: [(&str, &str); 13] = [
    ("README.md", "# Read me\n\n```sh\ntrue\n```\n"),
    ("step01-exec/src/main.rs", "// ANCHOR: run\nfn run() {}\n// ANCHOR_END: run\n"),
    ("step01-exec/tests/snapshots/hello.snap", "---\nsource: x\n---\n$ echo hello\nhello\n"),
    ("step01-exec/tests/snapshots/empty.snap", "---\nsource: x\n---\n"),
    ("step01-exec/tests/snapshots/fence.snap", "---\nsource: x\n---\n```\n"),
    (
        "tests/go/talk.go",
        "// ANCHOR: a\n\n// ANCHOR_END: a\n// ANCHOR: b\nb\n// ANCHOR: c\nc\n// ANCHOR: c\n",
    ),
    ("book/exercises/one/solution.diff", "--- a\n+++ b\n"),
    ("book/exercises/one/test.sh", "exit 1\n"),
    (
        "book/src/pictures/one.svg",
        "<svg class=\"picture\" viewBox=\"0 0 640 100\" role=\"img\" aria-labelledby=\"one\">\n\
         <title id=\"one\">One</title>\n<text font-size=\"13\">x</text>\n</svg>\n",
    ),
    (
        "book/src/SUMMARY.md",
        "# Summary\n\n- [One](step01-exec.md)\n- [Quoted](a-real-one.md)\n- [Minutes](for-the-leader.md)\n",
    ),
    ("book/src/a-real-one.md", "# Quoted\n\n```console\n$ docker run\n```\n"),
    (
        "book/src/for-the-leader.md",
        "# Minutes\n\n## The 90 minutes\n\n| what | minutes |\n| --- | --- |\n| one | 30 |\n| two | 60 |\n\
         | **Total** | **90** |\n",
    ),
    (
        "book/src/step01-exec.md",
        r#"# One

A word, and a [link](a-real-one.md#quoted).

```sh
cargo run -- run sh
```

```sh,inside
exit
```

* In a list:

  <!-- not run: it takes
       too long -->
  ```sh
  sleep inf
  ```

```console
{{#include ../../step01-exec/tests/snapshots/hello.snap:4:}}
```

```rust,ignore
{{#include ../../step01-exec/src/main.rs:run}}
```

{{#include pictures/one.svg}}

```text
an error
```

```sh,fails
sh book/exercises/one/test.sh
```

<details><summary>Solution</summary>

```diff
{{#include ../exercises/one/solution.diff}}
```

</details>
"#,
    ),
];

const PAGE: &str = "book/src/step01-exec.md";
const LEADER: &str = "book/src/for-the-leader.md";
const SUMMARY: &str = "book/src/SUMMARY.md";
const PICTURE: &str = "book/src/pictures/one.svg";
const SOURCE: &str = "step01-exec/src/main.rs";
const TEXT: &str = "```text\nan error\n```\n";
const SNAP: &str = "{{#include ../../step01-exec/tests/snapshots/hello.snap:4:}}";
const RUST: &str = "{{#include ../../step01-exec/src/main.rs:run}}";

/// The fault, and what makes it: in which file, what becomes what. An empty text becomes the whole
/// file; what becomes nothing is removed.
const FAULTS: &[(&str, &str, &str, &str)] = &[
    // Includes
    ("no-such-file", PAGE, "hello.snap", "hullo.snap"),
    ("out-of-the-workspace", PAGE, SNAP, "{{#include ../../../hello.snap:4:}}"),
    (
        "no-such-anchor",
        PAGE,
        "main.rs:run}}\n",
        "main.rs:run}}\n{{#include ../../step01-exec/src/main.rs:ran}}\n",
    ),
    ("empty-anchor", PAGE, TEXT, "```go\n{{#include ../../tests/go/talk.go:a}}\n```\n"),
    ("endless-anchor", PAGE, TEXT, "```go\n{{#include ../../tests/go/talk.go:b}}\n```\n"),
    ("anchor-twice", PAGE, TEXT, "```go\n{{#include ../../tests/go/talk.go:c}}\n```\n"),
    ("anchors-shown", PAGE, TEXT, "```go\n{{#include ../../tests/go/talk.go}}\n```\n"),
    ("anchors-in-a-diff", "book/exercises/one/solution.diff", "+++ b\n", "+++ b\n // ANCHOR: a\n"),
    ("by-lines", PAGE, TEXT, "```go\n{{#include ../../tests/go/talk.go:5:7}}\n```\n"),
    (
        "indented-include",
        PAGE,
        SNAP,
        "  {{#include ../../step01-exec/tests/snapshots/hello.snap:4:}}",
    ),
    ("snapshot-with-its-head", PAGE, "hello.snap:4:", "hello.snap"),
    ("snapshot-from-elsewhere", PAGE, "hello.snap:4:", "hello.snap:5:"),
    ("empty-snapshot", PAGE, "hello.snap", "empty.snap"),
    ("fence-in-an-include", PAGE, "hello.snap", "fence.snap"),
    (
        "code-in-a-wrong-fence",
        PAGE,
        TEXT,
        "```text\n{{#include ../../step01-exec/src/main.rs:run}}\n```\n",
    ),
    ("picture-in-a-fence", PAGE, TEXT, "```text\n\n{{#include pictures/one.svg}}\n\n```\n"),
    (
        "picture-in-a-paragraph",
        PAGE,
        "\n{{#include pictures/one.svg}}",
        "See:\n{{#include pictures/one.svg}}",
    ),
    (
        "include-in-a-sentence",
        PAGE,
        TEXT,
        "It is {{#include ../../step01-exec/tests/snapshots/hello.snap:4:}}\n",
    ),
    ("endless-include", PAGE, "A word,", "A word, {{#include,"),
    ("other-preprocessing", PAGE, "A word,", "A word, {{#playground x.rs}},"),
    // What is typed in
    ("transcript-typed-in", PAGE, SNAP, "$ hello"),
    ("rust-typed-in", PAGE, RUST, "{{#include ../../step01-exec/src/main.rs:run}}\nfn main() {}"),
    ("diff-typed-in", PAGE, TEXT, "```diff\n+a\n```\n"),
    ("go-typed-in", PAGE, TEXT, "```go\nfunc main() {}\n```\n"),
    ("transcript-as-text", PAGE, "an error", "$ ls"),
    ("rust-as-text", PAGE, "an error", "let x = 1;"),
    // Fences
    ("no-language", PAGE, "```text", "```"),
    ("other-language", PAGE, "```text", "```python"),
    ("capitals", PAGE, "```sh,fails", "```Sh,fails"),
    ("a-space", PAGE, "```sh,inside", "```sh, inside"),
    ("other-attribute", PAGE, "```sh,fails", "```sh,fails,quick"),
    ("not-ignored", PAGE, "```rust,ignore", "```rust"),
    ("by-indent", PAGE, TEXT, "    ls\n"),
    ("fence-by-indent", PAGE, TEXT, "    ```sh\n    ls\n    ```\n"),
    ("fence-in-html", PAGE, TEXT, "<details>\n```sh\nls\n```\n</details>\n"),
    ("tildes", PAGE, TEXT, "~~~text\nls\n~~~\n"),
    ("endless-fence", PAGE, "</details>\n", "</details>\n\n```sh\nls\n"),
    ("empty-block", PAGE, "an error", ""),
    // Blocks
    ("reason-without-a-block", PAGE, "A word,", "<!-- not run: why -->\n\nA word,"),
    ("reason-too-far-away", PAGE, "```sh\ncargo", "<!-- not run: why -->\n\n```sh\ncargo"),
    ("reason-in-capitals", PAGE, "```sh\ncargo", "<!-- Not run: why -->\n```sh\ncargo"),
    ("reason-for-nothing", PAGE, TEXT, "<!-- not run: why -->\n```text\nls\n```\n"),
    ("no-reason", PAGE, "it takes\n       too long", ""),
    ("inside-of-nothing", "README.md", "```sh", "```sh,inside"),
    ("a-prompt", PAGE, "cargo run", "$ cargo run"),
    ("a-comment", "README.md", "true", "# it's\ntrue"),
    ("half-a-command", "README.md", "true", "sh -c '"),
    ("both-versions", "README.md", "```sh", "```sh,v1,v2"),
    ("readme-fence", "README.md", "```sh", "```bash"),
    // Pages
    ("no-page-of-that-name", SUMMARY, "[One]", "[None](none.md)\n- [One]"),
    ("page-twice", SUMMARY, "[One]", "[One](step01-exec.md)\n- [One]"),
    ("chapter-without-a-page", SUMMARY, "[One]", "[Draft]()\n- [One]"),
    ("page-outside", "book/src/other.md", "", "# Other\n"),
    ("page-in-a-directory", "book/src/more/other.md", "", "# Other\n"),
    ("step-without-a-page", "step02-uts/src/main.rs", "", "fn main() {}\n"),
    ("no-title", "book/src/a-real-one.md", "# Quoted", "Quoted"),
    ("two-titles", "book/src/a-real-one.md", "# Quoted\n", "# Quoted\n\n# Again\n"),
    // Anchors
    ("unused-anchor", SOURCE, "// ANCHOR_END: run\n", "// ANCHOR_END: run\n// ANCHOR: more\n"),
    (
        "anchor-beside-code",
        SOURCE,
        "// ANCHOR_END: run\n",
        "// ANCHOR_END: run\nfn more() {} // ANCHOR: more\n",
    ),
    // Minutes
    ("wrong-sum", LEADER, "| 60 |", "| 61 |"),
    ("other-than-promised", LEADER, "The 90", "The 95"),
    ("no-minutes", LEADER, "| 30 |", "| half an hour |\n| two | 30 |"),
    ("no-total", LEADER, "**Total**", "Sum"),
    ("no-column", LEADER, "| minutes |", "| min |"),
    // Pictures
    ("blank-line", PICTURE, "</title>\n", "</title>\n\n"),
    ("no-picture-title", PICTURE, "<title id=\"one\">One</title>", "<g id=\"one\"/>"),
    ("other-label", PICTURE, "labelledby=\"one\"", "labelledby=\"two\""),
    ("no-role", PICTURE, "role=\"img\" ", ""),
    ("no-class", PICTURE, "class=\"picture\" ", ""),
    ("no-view-box", PICTURE, "viewBox=\"0 0 640 100\" ", ""),
    ("small-letters", PICTURE, "640 100", "800 100"),
    ("a-style", PICTURE, "<text font-size=\"13\">", "<text style=\"font-size: 3px\">"),
    ("id-twice", PICTURE, "<text ", "<text id=\"one\" "),
    ("not-a-picture", PICTURE, "<svg", "<p>\n<svg"),
    (
        "unused-picture",
        "book/src/pictures/two.svg",
        "",
        "<svg class=\"picture\" viewBox=\"0 0 9 9\" \
        role=\"img\" aria-labelledby=\"two\"><title id=\"two\">2</title></svg>",
    ),
    ("other-file", "book/src/pictures/one.png", "", "PNG"),
    // Exercises
    ("no-solution", "book/exercises/two/test.sh", "", "exit 1"),
    ("no-test", "book/exercises/one/test.sh", "exit 1\n", ""),
    ("no-task", PAGE, "```sh,fails\nsh book", "```sh,fails\nsh ./book"),
    ("not-to-fail", PAGE, "```sh,fails", "```sh"),
    ("solution-not-shown", PAGE, "{{#include ../exercises/one/solution.diff}}", SNAP),
    ("no-such-exercise", PAGE, "A word,", "A word, `book/exercises/won/test.sh`,"),
];

/// The same for links, in a book as built: the page, and what the link to it becomes.
const LINKS: &[(&str, &str)] = &[
    ("no-page", "two.html"),
    ("no-page-of-the-source", "one.md"),
    ("no-heading", "one.html#two"),
    ("no-heading-here", "#two"),
    ("outside", "../one.html"),
    ("from-the-root", "/one.html"),
    ("http", "http://example.org/"),
    ("other-scheme", "ftp://example.org/"),
    ("no-host", "https:///path"),
    ("half-a-host", "https://example/path"),
    ("a-full-stop", "https://example.org/path."),
    ("a-space", "https://example.org/a path"),
];

/// Those that lead somewhere.
const GOOD_LINKS: &[&str] = &[
    "",
    "one.html",
    "./one.html",
    "one.html#here",
    "#here",
    "one.html?q#here",
    "#h%65re",
    "a.png",
    "https://example.org/a(b)?c=d#e",
    "http://localhost:3000",
];

fn main() -> ExitCode {
    let trial = |name: String, test: fn() -> Result<()>| {
        Trial::test(name, move || test().map_err(|error| Failed::from(format!("{error:#}"))))
    };
    let mut trials = vec![
        trial("the-book".into(), the_book),
        trial("the-small-book".into(), the_small_book),
        trial("good-links".into(), good_links),
        trial("messages".into(), messages),
    ];
    let one = |name: &str, found: Result<Vec<Finding>>| -> Result<(), Failed> {
        let found = found.map_err(|error| Failed::from(format!("{error:#}")))?;
        let all: String = found.iter().map(|finding| format!("\n{finding}")).collect();
        if found.len() == 1 {
            Ok(())
        } else {
            Err(format!("{name} is {} faults:{all}", found.len()).into())
        }
    };
    for fault in FAULTS {
        trials
            .push(Trial::test(format!("fault::{}", fault.0), move || one(fault.0, faults(fault))));
    }
    for (name, link) in LINKS {
        trials.push(Trial::test(format!("link::{name}"), move || one(name, links_of(link))));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn small_book() -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    for (file, text) in BOOK {
        write(&dir.path().join(file), text)?;
    }
    Ok(dir)
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(file.parent().context("no directory")?)?;
    Ok(fs::write(file, text)?)
}

/// What is found in the small book with this fault.
fn faults((_, file, old, new): &(&str, &str, &str, &str)) -> Result<Vec<Finding>> {
    let dir = small_book()?;
    let path = dir.path().join(file);
    let text = fs::read_to_string(&path).unwrap_or_default();
    ensure!(old.is_empty() || text.contains(old), "{old:?} is not in {file}");
    match text.replacen(old, new, 1) {
        text if text.is_empty() => fs::remove_file(&path)?,
        text => write(&path, &text)?,
    }
    Ok(lint::lint(dir.path())?.findings)
}

/// What is found in a book as built that has this link.
fn links_of(link: &str) -> Result<Vec<Finding>> {
    let dir = tempfile::tempdir()?;
    write(&dir.path().join("book/src/one.md"), "# One\n\n[x](one.md#two)\n")?;
    let out = dir.path().join("out");
    write(&out.join("a.png"), "PNG")?;
    write(
        &out.join("print.html"),
        &format!("<h1 id=here>x</h1><h1 id=two>x</h1><a href='{link}'>x</a>"),
    )?;
    let page =
        format!("<script>'<a href=dead>'</script>\n<h1 id=here>x</h1><a href='{link}'>x</a>");
    write(&out.join("one.html"), &page)?;
    Ok(links::check(dir.path(), &out)?.0)
}

fn none(found: &[Finding]) -> Result<()> {
    let all: String = found.iter().map(|finding| format!("{finding}\n")).collect();
    ensure!(found.is_empty(), "{all}");
    Ok(())
}

fn the_book() -> Result<()> {
    let lint = lint::lint(workspace())?;
    println!("{:?}", lint.counts);
    none(&lint.findings)
}

fn the_small_book() -> Result<()> {
    let lint = lint::lint(small_book()?.path())?;
    none(&lint.findings)?;
    let counts: Vec<_> = lint.counts.iter().map(|(_, count)| *count).collect();
    ensure!(counts == [3, 24, 1, 1, 1, 1, 4, 1], "{:?}", lint.counts);
    Ok(())
}

fn good_links() -> Result<()> {
    GOOD_LINKS.iter().try_for_each(|link| none(&links_of(link)?))
}

/// All that can be said.
fn messages() -> Result<()> {
    let mut all = String::new();
    for fault in FAULTS {
        let found = faults(fault)?;
        all += &format!(
            "{}\n{}",
            fault.0,
            found.iter().map(|it| format!("    {it}\n")).collect::<String>()
        );
    }
    for (name, link) in LINKS {
        let found = links_of(link)?;
        all += &format!(
            "{name}\n{}",
            found.iter().map(|it| format!("    {it}\n")).collect::<String>()
        );
    }
    snapshot!("book-faults", all);
    Ok(())
}
