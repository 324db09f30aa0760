//! What is wrong with the sources of the book: what mdBook lets pass, and what we have agreed on.
//!
//! What mdBook itself refuses (a page that is listed twice, or is not there) is left to it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result;
use workshop::steps::Step;

use super::page::{Fence, Page};
use super::{Finding, blocks, picture};

const PAGES: &str = "book/src";
const SUMMARY: &str = "book/src/SUMMARY.md";
const EXERCISES: &str = "book/exercises";
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

/// What a lint has seen.
pub struct Lint {
    /// What is wrong, in order.
    pub findings: Vec<Finding>,
    /// How much was looked at, in words.
    pub seen: String,
}

/// The pages of the book in the order of its summary, and the README.
pub fn pages(root: &Path) -> Result<Vec<Page>> {
    let mut pages = Vec::new();
    for name in Page::read(root, SUMMARY)?.links {
        pages.push(Page::read(root, &format!("{PAGES}/{name}"))?);
    }
    pages.push(Page::read(root, README)?);
    Ok(pages)
}

/// Looks at the book in a workspace that has these steps.
pub fn lint(root: &Path, steps: &[Step]) -> Result<Lint> {
    let root = &root.canonicalize()?;
    let pages = pages(root)?;
    let mut book = Book { root, pages: &pages, findings: Vec::new(), shown: BTreeSet::new() };
    for page in &pages {
        book.findings.extend(page.findings.iter().cloned());
        book.findings.extend(blocks::groups(page).1);
        if page.titles != [1] {
            book.wrong(&page.file, 1, "it must start with its title, and have no other");
        }
        if page.file != README {
            book.includes(page);
            for fence in &page.fences {
                book.typed(page, fence);
            }
        }
    }
    for step in steps {
        book.step(step);
        book.anchors(step);
    }
    book.files();
    book.exercises();
    let mut findings = book.findings;
    findings.sort();
    let blocks = pages.iter().flat_map(|page| &page.fences).filter(|it| it.language == "sh");
    let (blocks, shown, pages) = (blocks.count(), book.shown.len(), pages.len() - 1);
    let seen = format!("{pages} pages, {blocks} blocks of commands, {shown} things included");
    Ok(Lint { findings, seen })
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

    fn includes(&mut self, page: &Page) {
        let lines: Vec<_> = page.text.lines().collect();
        for (at, text) in lines.iter().enumerate() {
            if !text.contains("{{#") {
                continue;
            }
            if let Err(what) = self.include(page, at + 1, text) {
                self.wrong(&page.file, at + 1, what);
            }
            let blank = |line: Option<&&str>| line.is_none_or(|line| line.trim().is_empty());
            let alone = blank(lines[..at].last()) && blank(lines.get(at + 1));
            if text.ends_with(".svg}}") && !alone {
                self.wrong(&page.file, at + 1, "a picture needs a blank line before and after it");
            }
        }
    }

    /// Looks at what an include shows, and at where it stands. An error says what is wrong.
    fn include(&mut self, page: &Page, line: usize, text: &str) -> Result<(), String> {
        let what = text.strip_prefix("{{#include ").and_then(|what| what.strip_suffix("}}"));
        // If it is indented, only its first line would be.
        let what =
            what.ok_or("`{{#include PATH:ANCHOR}}` must stand alone, at the start of its line")?;
        let (path, part) = what.split_once(':').unwrap_or((what, ""));
        let file = fs::canonicalize(self.root.join(PAGES).join(path));
        let file = file.map_err(|_| format!("there is no file {path}"))?;
        let source = fs::read_to_string(&file).unwrap_or_default();
        let file = file.strip_prefix(self.root).unwrap_or(&file).to_string_lossy().into_owned();
        let suffix = path.rsplit('.').next().unwrap_or_default();
        let known = SHOWN.iter().find(|(of, place, _)| *of == suffix && file.starts_with(place));
        let (_, _, blocks) = known.ok_or(format!("{path}: what pages show is not kept there"))?;
        self.shown.insert((file.clone(), part.to_owned()));
        let fence = page.fences.iter().find(|fence| fence.lines().contains(&line));
        let language = fence.map_or(NO_BLOCK, |fence| &fence.language);
        if !blocks.contains(&language) {
            return Err(format!("{path} belongs in {}, not in {language}", blocks.join(" or ")));
        }
        let shown = match part {
            _ if suffix == "snap" => {
                if !part.starts_with("4:") {
                    return Err(format!("a snapshot is shown from its line 4 on: {path}:4:"));
                }
                source.split_inclusive('\n').skip(3).collect()
            }
            "" => source,
            anchor => anchored(&source, anchor).map_err(|what| format!("{file}: {what}"))?,
        };
        if shown.contains("ANCHOR") {
            return Err(format!("{file} has marks of anchors, which would be shown"));
        }
        if shown.trim().is_empty() {
            return Err(format!("there is nothing in {what}"));
        }
        Ok(())
    }

    /// What may not be typed in by hand.
    fn typed(&mut self, page: &Page, fence: &Fence) {
        let included = INCLUDED.contains(&fence.language.as_str());
        if page.file == QUOTES && fence.language == "console" {
            return;
        }
        for (line, text) in fence.lines().zip(fence.text.lines()) {
            let by_hand = !text.trim().is_empty() && !text.contains("{{#");
            let disguised = DISGUISED.iter().any(|start| text.trim_start().starts_with(start));
            if included && by_hand || fence.language == "text" && disguised {
                self.wrong(&page.file, line, "typed in by hand: it must be included");
                break;
            }
        }
    }

    /// A step has a page, and a row in the README.
    fn step(&mut self, step: &Step) {
        let page = format!("{PAGES}/{}.md", step.name);
        if !self.pages.iter().any(|other| other.file == page) {
            self.wrong(SUMMARY, 1, format!("the step {} has no page in it: {page}", step.name));
        }
        let readme = self.pages.iter().find(|page| page.file == README);
        let row = format!("| [{}]", step.name);
        if !readme.is_some_and(|page| page.text.lines().any(|line| line.starts_with(&row))) {
            self.wrong(README, 1, format!("the step {} has no row", step.name));
        }
    }

    /// Every anchor of a step is shown, or in the same file of another step: a file that a step does
    /// not change is shown where it comes up.
    fn anchors(&mut self, step: &Step) {
        for file in files(self.root, &format!("{}/src", step.name)) {
            let text = fs::read_to_string(self.root.join(&file)).unwrap_or_default();
            let name = file.trim_start_matches(step.name);
            for (line, text) in (1..).zip(text.lines()) {
                let Some((_, mark)) = text.split_once("ANCHOR") else { continue };
                let anchor = mark.trim_start_matches("_END").trim_start_matches(": ");
                let is = |file: &str, part: &str| part == anchor && file.ends_with(name);
                let shown = self.shown.iter().any(|(file, part)| is(file, part));
                if !text.trim().starts_with("// ANCHOR") {
                    self.wrong(&file, line, "the mark of an anchor needs a line of its own");
                } else if !shown {
                    self.wrong(&file, line, format!("no page shows the anchor {anchor}"));
                }
            }
        }
    }

    /// What is in `book` is shown. (Of what is recorded, some is shown elsewhere.)
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
            if file.ends_with(".svg") {
                let text = fs::read_to_string(self.root.join(&file)).unwrap_or_default();
                self.findings.extend(picture::look(&file, &text));
            }
        }
    }

    /// Every exercise is on a page, and a page names none that is not there.
    fn exercises(&mut self) {
        let mut tests = files(self.root, EXERCISES);
        tests.retain(|file| file.ends_with("/test.sh"));
        for page in self.pages {
            for fence in page.fences.iter().filter(|fence| fence.has("fails")) {
                for line in fence.text.lines() {
                    let Some(test) = line.strip_prefix("sh ") else { continue };
                    if test.starts_with(EXERCISES) && !self.root.join(test).is_file() {
                        self.wrong(&page.file, fence.line, format!("there is no {test}"));
                    }
                    tests.retain(|other| other != test);
                }
            }
        }
        for test in tests {
            self.wrong(&test, 1, format!("no page has a block `sh,fails` with `sh {test}`"));
        }
    }
}

/// The files in a directory of the workspace and in those below it, by their paths from its root.
fn files(root: &Path, dir: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = fs::read_dir(root.join(&dir)) else { continue };
        for entry in entries.flatten() {
            let path = format!("{dir}/{}", entry.file_name().to_string_lossy());
            let is_dir = entry.path().is_dir();
            if is_dir { dirs.push(path) } else { files.push(path) }
        }
    }
    files
}

/// What stands between the marks of an anchor, without the marks of others; or what is wrong.
fn anchored(source: &str, anchor: &str) -> Result<String, String> {
    let (start, end) = (format!("// ANCHOR: {anchor}"), format!("// ANCHOR_END: {anchor}"));
    let mut lines = source.lines();
    if !lines.any(|line| line.trim() == start) {
        return Err(format!("there is no anchor {anchor}"));
    }
    let mut shown = String::new();
    for line in lines {
        if line.trim() == end {
            return Ok(shown);
        }
        if !line.contains("ANCHOR") {
            shown += &format!("{line}\n");
        }
    }
    Err(format!("the anchor {anchor} does not end"))
}
