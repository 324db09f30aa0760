//! What is wrong with the sources of the book: what mdBook lets pass, and what we have agreed on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use pulldown_cmark::HeadingLevel;

use super::page::{Fence, Page, Table};
use super::{Finding, blocks, picture};

/// Where the pages are.
const PAGES: &str = "book/src";
/// The only page whose transcripts are quoted, and not played.
const QUOTES: &str = "book/src/a-real-one.md";
/// The page whose tables of minutes must add up.
const SCHEDULES: &str = "book/src/for-the-leader.md";
/// The README has blocks that are run, too.
const README: &str = "README.md";

/// What a lint has seen.
#[derive(Default)]
pub struct Lint {
    /// What is wrong, in order.
    pub findings: Vec<Finding>,
    /// How much there is of everything, in words.
    pub counts: Vec<(&'static str, usize)>,
}

/// The pages of the book in the order of its summary, and the README.
pub fn pages(root: &Path) -> Result<Vec<Page>> {
    let summary = Page::read(root, &format!("{PAGES}/SUMMARY.md"))?;
    let names = summary.links.iter().map(|(_, name)| format!("{PAGES}/{name}"));
    let there = names.filter(|file| root.join(file).is_file());
    there.chain([README.to_owned()]).map(|file| Page::read(root, &file)).collect()
}

/// Looks at the book in a workspace.
pub fn lint(root: &Path) -> Result<Lint> {
    let mut book =
        Book { root, findings: Vec::new(), anchors: BTreeSet::new(), files: BTreeMap::new() };
    let pages = pages(root)?;
    book.summary()?;
    for page in &pages {
        book.findings.extend(page.findings.iter().cloned());
        book.findings.extend(blocks::groups(page).1);
        if page.file != README {
            book.title(page);
            book.includes(page);
            page.fences.iter().for_each(|fence| book.typed(page, fence));
        }
        if page.file == SCHEDULES {
            page.tables.iter().for_each(|table| book.adds_up(page, table));
        }
    }
    book.steps()?;
    book.pictures()?;
    let exercises = book.exercises(&pages)?;
    book.findings.sort();
    book.findings.dedup();
    let counts = counts(&pages, &book, exercises);
    Ok(Lint { findings: book.findings, counts })
}

fn counts(pages: &[Page], book: &Book, exercises: usize) -> Vec<(&'static str, usize)> {
    let fences = || pages.iter().flat_map(|page| &page.fences);
    let run = fences().filter(|fence| fence.language == "sh");
    let (run, not_run): (Vec<_>, Vec<_>) = run.partition(|fence| fence.not_run.is_none());
    let included = |suffix: &str| -> usize {
        let files = book.files.iter().filter(|(file, _)| file.ends_with(suffix));
        files.map(|(_, times)| times).sum()
    };
    vec![
        ("pages", pages.len() - 1),
        ("words", pages.iter().filter(|page| page.file != README).map(|page| page.words).sum()),
        ("pieces of code", included(".rs") + included(".go")),
        ("transcripts, diffs and tables", included(".snap")),
        ("pictures", included(".svg")),
        ("exercises", exercises),
        ("blocks that are run", run.len()),
        ("blocks that are not", not_run.len()),
    ]
}

struct Book<'a> {
    root: &'a Path,
    findings: Vec<Finding>,
    /// The anchors that are shown: the file, and the name.
    anchors: BTreeSet<(String, String)>,
    /// The files that are shown, and how often.
    files: BTreeMap<String, usize>,
}

/// `{{#include PATH:PART}}`.
struct Include<'a> {
    line: usize,
    path: &'a str,
    part: Option<&'a str>,
}

impl Include<'_> {
    /// By lines, not by an anchor.
    fn lines(&self) -> Option<&str> {
        self.part.filter(|part| part.chars().all(|c| c.is_ascii_digit() || c == ':'))
    }
}

impl Book<'_> {
    fn wrong(&mut self, file: &str, line: usize, what: impl Into<String>) {
        self.findings.push(Finding::new(file, line, what));
    }

    /// The names in a directory of the workspace; none if it is not there.
    fn names(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(dir)).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Every page is in the summary once, and the reverse.
    fn summary(&mut self) -> Result<()> {
        let summary = Page::read(self.root, &format!("{PAGES}/SUMMARY.md"))?;
        let mut listed = BTreeSet::new();
        for (line, name) in &summary.links {
            if name.is_empty() {
                self.wrong(&summary.file, *line, "a chapter without a page");
            } else if !self.root.join(PAGES).join(name).is_file() {
                self.wrong(&summary.file, *line, format!("there is no page {name}"));
            } else if !listed.insert(name.as_str()) {
                self.wrong(&summary.file, *line, format!("{name} is listed twice"));
            }
        }
        for name in self.names(PAGES) {
            let is_dir = self.root.join(PAGES).join(&name).is_dir();
            if is_dir && name != "pictures" {
                self.wrong(&format!("{PAGES}/{name}"), 1, "pages are not in directories");
            } else if name.ends_with(".md") && name != "SUMMARY.md" && !listed.contains(&*name) {
                self.wrong(&format!("{PAGES}/{name}"), 1, "it is not in SUMMARY.md");
            }
        }
        Ok(())
    }

    /// A page starts with its title, and has one.
    fn title(&mut self, page: &Page) {
        let mut titles = page.headings.iter().filter(|(_, level, _)| *level == HeadingLevel::H1);
        if titles.next().is_none_or(|(line, ..)| *line != 1) {
            self.wrong(&page.file, 1, "it does not start with its title");
        }
        if let Some((line, ..)) = titles.next() {
            self.wrong(&page.file, *line, "a second title");
        }
    }

    fn includes(&mut self, page: &Page) {
        for (line, text) in (1..).zip(page.text.lines()) {
            let mut rest = text;
            while let Some(start) = rest.find("{{#") {
                let escaped = rest[..start].ends_with('\\');
                let Some(end) = rest[start..].find("}}").filter(|_| !escaped) else {
                    if !escaped {
                        self.wrong(&page.file, line, "an include that does not end");
                    }
                    rest = &rest[start + 3..];
                    continue;
                };
                match rest[start + 3..start + end].strip_prefix("include ") {
                    None => self.wrong(&page.file, line, "of mdBook's `{{#…}}` we use `include`"),
                    Some(what) => {
                        let (path, part) = what
                            .trim()
                            .split_once(':')
                            .map_or((what.trim(), None), |(path, part)| (path, Some(part)));
                        self.include(page, text, &Include { line, path, part });
                    }
                }
                rest = &rest[start + end..];
            }
        }
    }

    /// Looks at what an include shows, and where.
    fn include(&mut self, page: &Page, text: &str, include: &Include) {
        let Include { line, path, .. } = *include;
        let wrong = |book: &mut Self, what: String| book.wrong(&page.file, line, what);
        let Some(file) = resolve(PAGES, path) else {
            return wrong(self, format!("{path} is not in the workspace"));
        };
        let Ok(source) = fs::read_to_string(self.root.join(&file)) else {
            return wrong(self, format!("there is no file {file}"));
        };
        *self.files.entry(file.clone()).or_default() += 1;
        let fence = page.fences.iter().find(|fence| fence.lines().contains(&line));
        let language = fence.map(|fence| fence.language.as_str());
        let suffix = Path::new(path).extension().and_then(|suffix| suffix.to_str()).unwrap_or("");
        let expected: &[_] = match suffix {
            "rs" => &[Some("rust")],
            "go" => &[Some("go")],
            "c" => &[Some("c")],
            // What the bench measured.
            "txt" => &[Some("text")],
            "diff" => &[Some("diff")],
            "toml" => &[Some("toml")],
            "svg" => &[None],
            // Some are tables.
            "snap" => &[Some("console"), Some("diff"), Some("text"), None],
            _ => &[Some("text"), Some("sh")],
        };
        if !expected.contains(&language) {
            let place = expected[0].map_or("no fence".into(), |of| format!("a fence of `{of}`"));
            wrong(self, format!("{path} belongs in {place}"));
        }
        // Indented, only its first line would be.
        if text.trim_end() != format!("{{{{#include {}}}}}", include_text(include)) {
            wrong(self, "an include stands alone in its line, and at the start of it".into());
        }
        let shown = match (suffix, include.part, include.lines()) {
            ("snap", _, lines) if !lines.is_some_and(|lines| lines.starts_with("4:")) => {
                return wrong(self, format!("a snapshot is shown from line 4: {path}:4:"));
            }
            ("snap", _, _) => source.lines().skip(3).map(|line| format!("{line}\n")).collect(),
            (_, Some(_), Some(_)) => {
                return wrong(self, format!("{path} by lines, which will move: name an anchor"));
            }
            (_, Some(anchor), None) => {
                self.anchors.insert((file.clone(), anchor.to_owned()));
                match anchored(&source, anchor) {
                    Ok(shown) => shown,
                    Err(what) => return wrong(self, format!("{file}: {what}")),
                }
            }
            ("diff", None, _) if source.contains("ANCHOR") => {
                return wrong(self, format!("{path} shows anchors: make it anew by `diff -U1`"));
            }
            (_, None, _) if source.contains("ANCHOR: ") => {
                return wrong(self, format!("{path} has anchors, which would be shown: name one"));
            }
            (_, None, _) => source,
        };
        if shown.trim().is_empty() {
            wrong(self, format!("there is nothing in {}", include_text(include)));
        }
        if shown.lines().any(|line| line.trim_start().starts_with("```")) {
            wrong(self, format!("{path} has a fence in it, which would end ours"));
        }
        if suffix == "svg" {
            let lines: Vec<_> = page.text.lines().collect();
            let blank = |at: usize| lines.get(at).is_none_or(|line| line.trim().is_empty());
            if !blank(line - 2) || !blank(line) {
                wrong(self, "a picture stands between blank lines".into());
            }
        }
    }

    /// What may not be typed in by hand.
    fn typed(&mut self, page: &Page, fence: &Fence) {
        let by_hand =
            |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("{{#include ");
        let made = match fence.language.as_str() {
            "console" => page.file != QUOTES,
            "rust" | "diff" | "go" | "c" => true,
            _ => false,
        };
        if let Some(at) = fence.text.lines().position(|line| made && by_hand(&line)) {
            let what = format!("`{}` that is typed in: it must be included", fence.language);
            self.wrong(&page.file, fence.line + 1 + at, what);
        }
        let starts = ["$ ", "# ", "/ # ", "fn ", "pub ", "use ", "impl ", "let ", "#["];
        let disguised =
            |line: &str| starts.iter().any(|start| line.trim_start().starts_with(start));
        if fence.language == "text" && page.file != QUOTES {
            if let Some(at) = fence.text.lines().position(disguised) {
                let what = "a transcript or Rust, as `text`: it must be included";
                self.wrong(&page.file, fence.line + 1 + at, what);
            }
        }
    }

    /// A table's total is the sum of its minutes, and what its heading promises.
    fn adds_up(&mut self, page: &Page, table: &Table) {
        let Some(((first, head), rows)) = table.rows.split_first() else { return };
        let column = head.iter().position(|cell| cell.trim().eq_ignore_ascii_case("minutes"));
        let is_total = |row: &[String]| {
            row.first().is_some_and(|cell| cell.trim().eq_ignore_ascii_case("total"))
        };
        let total = rows.iter().filter(|(_, row)| is_total(row)).count();
        let Some(column) = column else {
            if total > 0 {
                self.wrong(&page.file, *first, "a total, but no column `minutes`");
            }
            return;
        };
        if total != 1 {
            return self.wrong(&page.file, *first, format!("{total} rows of a total, not 1"));
        }
        let (mut sum, mut claimed) = (0, (0, 0));
        for (line, row) in rows {
            let cell = row.get(column).map(|cell| cell.trim()).unwrap_or_default();
            match cell.parse::<u32>() {
                Ok(minutes) if is_total(row) => claimed = (*line, minutes),
                Ok(minutes) => sum += minutes,
                Err(_) => {
                    self.wrong(&page.file, *line, format!("{cell:?} is no number of minutes"))
                }
            }
        }
        if claimed.1 != sum {
            let what = format!("the total is {}, but the sum is {sum} minutes", claimed.1);
            self.wrong(&page.file, claimed.0, what);
        }
        let words: Vec<_> = table.heading.split([' ', '-']).collect();
        let promised = words.windows(2).find(|pair| pair[1].starts_with("minute"));
        let promised = promised.and_then(|pair| pair[0].parse::<u32>().ok());
        if claimed.1 == sum && promised.is_some_and(|promised| promised != sum) {
            let what = format!("{sum} minutes under the heading {:?}", table.heading);
            self.wrong(&page.file, claimed.0, what);
        }
    }

    /// The files in a directory of the workspace and in those below it, by their paths from there.
    fn files_below(&self, dir: &str) -> Vec<String> {
        let mut files = Vec::new();
        for name in self.names(dir) {
            let path = format!("{dir}/{name}");
            if self.root.join(&path).is_dir() {
                let below = self.files_below(&path).into_iter();
                files.extend(below.map(|file| format!("{name}/{file}")));
            } else {
                files.push(name);
            }
        }
        files
    }

    /// Every step has a page, and every anchor in it is shown, or in the same file of another step:
    /// a file that a step does not change is shown where it comes up.
    fn steps(&mut self) -> Result<()> {
        let shown = self.anchors.iter().filter_map(|(file, anchor)| {
            let (_, file) = file.split_once('/')?;
            Some((file.to_owned(), anchor.clone()))
        });
        let shown: BTreeSet<_> = shown.collect();
        for step in self.names("").into_iter().filter(|name| name.starts_with("step")) {
            if !self.root.join(PAGES).join(format!("{step}.md")).is_file() {
                self.wrong(&format!("{step}/src/main.rs"), 1, format!("no page {step}.md"));
            }
            for name in self.files_below(&format!("{step}/src")) {
                let file = format!("{step}/src/{name}");
                let text = fs::read_to_string(self.root.join(&file))
                    .with_context(|| format!("read {file}"))?;
                for (line, text) in (1..).zip(text.lines()) {
                    let Some((_, mark)) = text.split_once("ANCHOR") else { continue };
                    if text.trim() != format!("// ANCHOR{mark}") {
                        self.wrong(&file, line, "an anchor has its own line, `// ANCHOR: NAME`");
                    } else if let Some(anchor) = mark.strip_prefix(": ") {
                        if !shown.contains(&(format!("src/{name}"), anchor.to_owned())) {
                            self.wrong(&file, line, format!("no page shows the anchor {anchor}"));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn pictures(&mut self) -> Result<()> {
        let mut ids = BTreeMap::new();
        for name in self.names(&format!("{PAGES}/pictures")) {
            let file = format!("{PAGES}/pictures/{name}");
            if !name.ends_with(".svg") {
                self.wrong(&file, 1, "a picture is an .svg");
                continue;
            }
            if !self.files.contains_key(&file) {
                self.wrong(&file, 1, "no page shows this picture");
            }
            let text = fs::read_to_string(self.root.join(&file))
                .with_context(|| format!("read {file}"))?;
            self.findings.extend(picture::look(&file, &text, &mut ids));
        }
        Ok(())
    }

    /// Every exercise is complete, and on a page; and a page names none that is not there.
    fn exercises(&mut self, pages: &[Page]) -> Result<usize> {
        const DIR: &str = "book/exercises";
        let mut names = self.names(DIR);
        names.retain(|name| self.root.join(DIR).join(name).is_dir());
        for name in &names {
            let files = ["solution.diff", "test.sh"].map(|file| format!("{DIR}/{name}/{file}"));
            let missing = files.iter().find(|file| !self.root.join(file).is_file());
            if let Some(missing) = missing {
                self.wrong(missing, 1, "it is missing");
                continue;
            }
            let test = format!("sh {DIR}/{name}/test.sh");
            let has = |fence: &Fence| {
                fence.has("fails") && fence.text.lines().any(|line| line.trim() == test)
            };
            if !pages.iter().any(|page| page.fences.iter().any(has)) {
                let what = format!("no page has a `sh,fails` block with `{test}`");
                self.wrong(&format!("{DIR}/{name}/test.sh"), 1, what);
            }
            let solution = format!("{DIR}/{name}/solution.diff");
            if !self.files.contains_key(&solution) {
                self.wrong(&solution, 1, "no page shows this solution");
            }
        }
        for page in pages {
            for (line, text) in (1..).zip(page.text.lines()) {
                for (_, path) in
                    text.match_indices("exercises/").map(|(at, it)| text.split_at(at + it.len()))
                {
                    let name = |c: char| c.is_ascii_alphanumeric() || c == '-';
                    let name: String = path.chars().take_while(|&c| name(c)).collect();
                    if !name.is_empty() && !names.contains(&name) {
                        self.wrong(&page.file, line, format!("there is no exercise {name}"));
                    }
                }
            }
        }
        Ok(names.len())
    }
}

fn include_text(include: &Include) -> String {
    format!("{}{}", include.path, include.part.map(|part| format!(":{part}")).unwrap_or_default())
}

/// A path from the workspace's root, unless it leads out of it.
fn resolve(dir: &str, path: &str) -> Option<String> {
    let mut parts: Vec<_> = dir.split('/').collect();
    for part in path.split('/') {
        match part {
            "" => return None,
            "." => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// What stands between the marks of an anchor, without the marks of others; or what is wrong.
fn anchored(source: &str, anchor: &str) -> Result<String, String> {
    let name = |line: &str, mark: &str| {
        let rest = line.split_once(mark).map(|(_, rest)| rest.trim_start());
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        rest.map(|rest| rest.split(|c| !word(c)).next().unwrap_or_default().to_owned())
    };
    let lines = || source.lines().enumerate();
    let at = |mark: &str| -> Vec<usize> {
        lines()
            .filter(|(_, line)| name(line, mark).as_deref() == Some(anchor))
            .map(|(at, _)| at)
            .collect()
    };
    let (starts, ends) = (at("ANCHOR:"), at("ANCHOR_END:"));
    match (&starts[..], &ends[..]) {
        ([], _) => Err(format!("there is no anchor {anchor}")),
        ([start], [end]) if start < end => Ok(lines()
            .filter(|(at, line)| start < at && at < end && !line.contains("ANCHOR"))
            .map(|(_, line)| format!("{line}\n"))
            .collect()),
        ([_], []) => Err(format!("the anchor {anchor} does not end")),
        _ => Err(format!("the anchor {anchor} is there twice, or ends before it starts")),
    }
}
