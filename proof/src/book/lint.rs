//! What is wrong with the sources of the book: what mdBook lets pass, and what we have agreed on.
//!
//! What mdBook itself refuses (a page that is listed twice, or is not there) is left to it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use workshop::steps::STEPS;

use super::page::Page;
use super::{Finding, blocks, reader};
use crate::programs::output;

pub(super) const PAGES: &str = "book/src";
const SUMMARY: &str = "book/src/SUMMARY.md";
/// It has blocks that are run, too.
const README: &str = "README.md";
/// The only page whose transcripts are quoted, and not played.
const QUOTES: &str = "book/src/a-real-one.md";

/// What pages may show: its suffix, where it is kept, and the blocks in which it may stand. What is
/// not code is in `book`, which is whole in itself.
const SHOWN: [(&str, &str, &[&str]); 7] = [
    ("rs", "step", &["rust"]),
    ("go", "proof/", &["go"]),
    ("c", "proof/", &["c"]),
    ("diff", "book/exercises/", &["diff"]),
    ("snap", "book/recorded/", &["console", "diff", "text", NO_BLOCK]),
    ("svg", "book/", &[NO_BLOCK]),
    ("txt", "book/recorded/", &["text"]),
];
/// Pictures are not in a block, and tables are not.
const NO_BLOCK: &str = "no block";

/// What may not be typed in: it must be included.
const INCLUDED: [&str; 5] = ["rust", "diff", "go", "c", "console"];
/// How a transcript, or Rust, starts that is typed in as `text`.
const DISGUISED: [&str; 9] = ["$ ", "# ", "/ # ", "fn ", "pub ", "use ", "impl ", "let ", "#["];

/// The pages of the book in the order of its summary, and the README.
pub fn pages(root: &Path) -> Result<Vec<Page>> {
    let mut pages = Vec::new();
    for name in Page::read(root, SUMMARY)?.links {
        pages.push(Page::read(root, &format!("{PAGES}/{name}"))?);
    }
    pages.push(Page::read(root, README)?);
    Ok(pages)
}

/// Looks at the book in a workspace.
pub fn lint(root: &Path) -> Result<Vec<Finding>> {
    let root = &root.canonicalize()?;
    let pages = pages(root)?;
    let summary = fs::read_to_string(root.join(SUMMARY))?;
    // What is looked up is not read in one go.
    let (to_read, _) = summary.split_once("\n# Reference\n").unwrap_or((&summary, ""));
    let mut book = Book { root, pages: &pages, findings: Vec::new(), shown: BTreeSet::new() };
    for page in &pages {
        book.findings.extend(page.findings.iter().cloned());
        book.findings.extend(blocks::groups(page).1);
        if page.file == README {
            continue;
        }
        book.typed(page);
        book.findings.extend(reader::shown(root, page));
        let name = page.file.trim_start_matches("book/src/");
        if to_read.contains(&format!("({name})")) {
            book.findings.extend(reader::time(page));
        }
        for (line, text) in (1..).zip(page.text.lines()).filter(|(_, text)| text.contains("{{#")) {
            if let Err(what) = book.include(page, line, text) {
                book.wrong(&page.file, line, what.to_string());
            }
        }
    }
    book.anchors();
    book.files();
    book.findings.sort();
    Ok(book.findings)
}

struct Book<'a> {
    root: &'a Path,
    pages: &'a [Page],
    findings: Vec<Finding>,
    /// What pages include: the file, from the workspace's root, and which part of it.
    shown: BTreeSet<(String, String)>,
}

impl Book<'_> {
    fn wrong(&mut self, file: &str, line: usize, what: impl Into<String>) {
        self.findings.push(Finding::new(file, line, what));
    }

    /// Looks at what an include shows, and at where it stands. An error says what is wrong.
    fn include(&mut self, page: &Page, line: usize, text: &str) -> Result<()> {
        let what = text.strip_prefix("{{#include ").and_then(|what| what.strip_suffix("}}"));
        // If it is indented, only its first line would be.
        let what =
            what.context("`{{#include PATH:ANCHOR}}` must stand alone, at the start of its line")?;
        let (path, part) = what.split_once(':').unwrap_or((what, ""));
        let file = fs::canonicalize(self.root.join(PAGES).join(path));
        let file = file.with_context(|| format!("there is no file {path}"))?;
        let source = fs::read_to_string(&file)?;
        let file = file.strip_prefix(self.root).unwrap_or(&file).to_string_lossy().into_owned();
        let suffix = path.rsplit('.').next().unwrap_or_default();
        let known = SHOWN.iter().find(|(of, place, _)| *of == suffix && file.starts_with(place));
        let Some((_, _, blocks)) = known else {
            bail!("{path}: what pages show is not kept there")
        };
        self.shown.insert((file.clone(), part.to_owned()));
        let fence = page.fences.iter().find(|fence| fence.lines().contains(&line));
        let language = fence.map_or(NO_BLOCK, |fence| &fence.language);
        let belongs = blocks.join(" or ");
        ensure!(blocks.contains(&language), "{path} belongs in {belongs}, not in {language}");
        let alone = suffix != "svg" || page.text.contains(&format!("\n\n{text}\n\n"));
        ensure!(alone, "a picture needs a blank line before and after it");
        let shown = if suffix == "snap" {
            let head = part.starts_with("4:");
            ensure!(head, "a snapshot is shown from its line 4 on: {path}:4:");
            source.split_inclusive('\n').skip(3).collect()
        } else if part.is_empty() {
            source
        } else {
            anchored(&source, part)
                .with_context(|| format!("{file}: no anchor {part}, or no end"))?
        };
        ensure!(!shown.contains("ANCHOR"), "{file} has marks of anchors, which would be shown");
        ensure!(!shown.trim().is_empty(), "there is nothing in {what}");
        Ok(())
    }

    /// What may not be typed in by hand.
    fn typed(&mut self, page: &Page) {
        for fence in &page.fences {
            if page.file == QUOTES && fence.language == "console" {
                continue;
            }
            let included = INCLUDED.contains(&fence.language.as_str());
            let by_hand = |text: &&str| {
                let disguised = DISGUISED.iter().any(|start| text.trim_start().starts_with(start));
                included && !text.trim().is_empty() && !text.contains("{{#")
                    || fence.language == "text" && disguised
            };
            if let Some(at) = fence.text.lines().position(|text| by_hand(&text)) {
                let what = "typed in by hand: it must be included";
                self.wrong(&page.file, fence.line + 1 + at, what);
            }
        }
    }

    /// Every anchor of a step is shown, or in the same file of another step: a file that a step does
    /// not change is shown where it comes up.
    fn anchors(&mut self) {
        for step in &STEPS {
            for file in files(self.root, &format!("{}/src", step.name)) {
                let text = fs::read_to_string(self.root.join(&file)).unwrap_or_default();
                let name = file.trim_start_matches(step.name);
                for (line, text) in (1..).zip(text.lines()) {
                    let Some((_, anchor)) = text.split_once("ANCHOR: ") else { continue };
                    let is = |file: &str, part: &str| part == anchor && file.ends_with(name);
                    if !self.shown.iter().any(|(file, part)| is(file, part)) {
                        self.wrong(&file, line, format!("no page shows the anchor {anchor}"));
                    }
                }
            }
        }
    }

    /// What is in `book` is shown, and every exercise is on a page. (Of what is recorded, some is
    /// shown elsewhere.)
    fn files(&mut self) {
        for file in files(self.root, "book") {
            let is_listed = file == SUMMARY || self.pages.iter().any(|page| page.file == file);
            if file.starts_with(PAGES) && file.ends_with(".md") && !is_listed {
                self.wrong(&file, 1, "it is not in SUMMARY.md");
            }
            let is_shown = self.shown.iter().any(|(shown, _)| *shown == file);
            if [".svg", ".diff", ".txt"].iter().any(|end| file.ends_with(end)) && !is_shown {
                self.wrong(&file, 1, "no page shows it");
            }
            let mut tests = self.pages.iter().flat_map(|page| &page.fences);
            let task = format!("sh {file}\n");
            if file.ends_with("/test.sh")
                && !tests.any(|fence| fence.has("fails") && fence.text.contains(&task))
            {
                self.wrong(&file, 1, format!("no page has a block `sh,fails` with `sh {file}`"));
            }
            if file.ends_with(".svg") {
                self.picture(&file);
            }
        }
    }

    /// What a picture must be, to be shown inside a page in every theme and to be read by everybody.
    fn picture(&mut self, file: &str) {
        let text = fs::read_to_string(self.root.join(file)).unwrap_or_default();
        for part in [" class=\"picture\"", " role=\"img\"", " viewBox=\"0 0 "] {
            if !text.contains(part) {
                self.wrong(file, 1, format!("it needs{part}"));
            }
        }
        let (_, label) = text.split_once(" aria-labelledby=\"").unwrap_or_default();
        let title = label.split(['"', ' ']).next().unwrap_or_default();
        if !text.contains(&format!("<title id=\"{title}\">")) {
            self.wrong(file, 1, "aria-labelledby must start with the id of its <title>");
        }
        for (line, text) in (1..).zip(text.lines()) {
            if text.trim().is_empty() {
                self.wrong(file, line, "a blank line: Markdown takes the picture apart there");
            }
            if text.contains("<style") || text.contains(" style=") {
                self.wrong(file, line, "a style would be the whole page's: use attributes");
            }
        }
    }
}

/// The files in a directory of the workspace and in those below it, by their paths from its root.
fn files(root: &Path, dir: &str) -> Vec<String> {
    let mut find = Command::new("find");
    let found = output(find.args([dir, "-type", "f"]).current_dir(root)).unwrap_or_default();
    String::from_utf8_lossy(&found).lines().map(str::to_owned).collect()
}

/// What stands between the marks of an anchor, without the marks of others.
fn anchored(source: &str, anchor: &str) -> Option<String> {
    let (_, from) = source.split_once(&format!("// ANCHOR: {anchor}\n"))?;
    let (shown, _) = from.split_once(&format!("// ANCHOR_END: {anchor}\n"))?;
    Some(
        shown
            .lines()
            .filter(|line| !line.contains("ANCHOR"))
            .map(|line| format!("{line}\n"))
            .collect(),
    )
}
