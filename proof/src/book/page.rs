//! A page as mdBook reads it, with the lines at which things stand.
//!
//! Nothing may be overlooked here: a block that is not seen is a block that is not run. So whatever
//! looks like a fence has to be one.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::Finding;

/// The languages of fences, and the attributes that may follow them after commas.
const LANGUAGES: [(&str, &[&str]); 8] = [
    ("sh", &["inside", "fails", "v1", "v2"]),
    ("console", &[]),
    ("rust", &["ignore"]),
    ("diff", &[]),
    ("go", &[]),
    ("c", &[]),
    ("text", &[]),
    ("toml", &[]),
];

/// The first words of a comment on the line before a block that is not run.
const NOT_RUN: &str = "not run:";

/// A page of the book, or the README.
#[derive(Default)]
pub struct Page {
    /// Its file, from the workspace's root.
    pub file: String,
    /// What is in it.
    pub text: String,
    /// Its fenced blocks.
    pub fences: Vec<Fence>,
    /// Its headings, with their lines.
    pub headings: Vec<(usize, HeadingLevel, String)>,
    /// Its tables.
    pub tables: Vec<Table>,
    /// Where its links lead to, with their lines.
    pub links: Vec<(usize, String)>,
    /// How many words it has, without its blocks.
    pub words: usize,
    /// What is wrong with its form.
    pub findings: Vec<Finding>,
}

/// A fenced block.
#[derive(Clone)]
pub struct Fence {
    /// The line of the opening fence.
    pub line: usize,
    /// Its language.
    pub language: String,
    /// What follows the language.
    pub attributes: Vec<String>,
    /// What is in it.
    pub text: String,
    /// Why it is not run, if it says so.
    pub not_run: Option<String>,
}

impl Fence {
    /// The lines of what is in it.
    pub fn lines(&self) -> Range<usize> {
        self.line + 1..self.line + 1 + self.text.lines().count()
    }

    /// Does it have this attribute?
    pub fn has(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|own| own == attribute)
    }
}

/// A table.
pub struct Table {
    /// The line of each row, and its cells; the first is the head.
    pub rows: Vec<(usize, Vec<String>)>,
    /// The heading that it stands under.
    pub heading: String,
}

impl Page {
    /// Reads a page; `file` is its path from the root.
    pub fn read(root: &Path, file: &str) -> Result<Page> {
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("read {file}"))?;
        Ok(Page::parse(file, text))
    }

    /// Takes a page apart.
    pub fn parse(file: &str, text: String) -> Page {
        let mut page = Page { file: file.to_owned(), ..Page::default() };
        let blocks = page.take_apart(&text);
        page.look_for_forgotten(&text, &blocks);
        page.text = text;
        page
    }

    /// Returns the lines of all blocks, and of the comments that belong to them.
    fn take_apart(&mut self, text: &str) -> Vec<Range<usize>> {
        let line_of = |byte: usize| text[..byte].matches('\n').count() + 1;
        // As mdBook has them set.
        let options = Options::ENABLE_TABLES
            | Options::ENABLE_FOOTNOTES
            | Options::ENABLE_STRIKETHROUGH
            | Options::ENABLE_TASKLISTS
            | Options::ENABLE_HEADING_ATTRIBUTES
            | Options::ENABLE_DEFINITION_LIST
            | Options::ENABLE_GFM;
        let mut blocks = Vec::new();
        let (mut words, mut said) = (String::new(), String::new());
        let mut events = Parser::new_ext(text, options).into_offset_iter();
        while let Some((event, bytes)) = events.next() {
            let line = line_of(bytes.start);
            match event {
                Event::Start(Tag::CodeBlock(kind)) => {
                    let mut content = String::new();
                    while let Some((Event::Text(text), _)) = events.next() {
                        content += &text;
                    }
                    let source = &text[bytes.clone()];
                    let first = match (kind, comment_before(text, line)) {
                        (CodeBlockKind::Indented, _) => {
                            self.wrong(line, "a block by its indent: it needs a fence");
                            line
                        }
                        (CodeBlockKind::Fenced(info), comment) => {
                            let reason = comment.and_then(|(_, text)| text.strip_prefix(NOT_RUN));
                            self.fence(line, &info, content, source, reason);
                            comment.filter(|_| reason.is_some()).map_or(line, |(first, _)| first)
                        }
                    };
                    blocks.push(first..line + source.trim_end().lines().count());
                }
                Event::Text(text) | Event::Code(text) => {
                    words += &text;
                    said += &text;
                }
                Event::SoftBreak | Event::HardBreak => words.push(' '),
                Event::Start(Tag::Heading { level, .. }) => {
                    self.headings.push((line, level, String::new()));
                    said.clear();
                }
                Event::Start(Tag::Table(_)) => {
                    let heading = self.headings.last();
                    let heading = heading.map(|(_, _, title)| title.clone()).unwrap_or_default();
                    self.tables.push(Table { rows: Vec::new(), heading });
                }
                Event::Start(Tag::TableHead | Tag::TableRow) => {
                    if let Some(table) = self.tables.last_mut() {
                        table.rows.push((line, Vec::new()));
                    }
                }
                Event::Start(Tag::TableCell) => said.clear(),
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    self.links.push((line, dest_url.into_string()));
                }
                Event::End(end) => {
                    let row = self.tables.last_mut().and_then(|table| table.rows.last_mut());
                    match (end, row, self.headings.last_mut()) {
                        (TagEnd::Heading(_), _, Some(heading)) => heading.2 = said.clone(),
                        (TagEnd::TableCell, Some(row), _) => row.1.push(said.clone()),
                        _ => {}
                    }
                    let inline = [TagEnd::Emphasis, TagEnd::Strong, TagEnd::Link];
                    words.push_str(if inline.contains(&end) { "" } else { " " });
                }
                _ => {}
            }
        }
        self.words = words.split_whitespace().count();
        blocks
    }

    fn wrong(&mut self, line: usize, what: impl Into<String>) {
        self.findings.push(Finding::new(&self.file, line, what));
    }

    /// Takes a fence in, and says what is wrong with it.
    fn fence(&mut self, line: usize, info: &str, text: String, source: &str, why: Option<&str>) {
        let last = source.trim_end().lines().skip(1).last().unwrap_or_default();
        if !last.trim_start_matches([' ', '\t', '>']).starts_with("```") {
            self.wrong(line, "the fence is not closed, or not by ```");
        }
        let mut words = info.split(',').map(str::to_owned);
        let language = words.next().unwrap_or_default();
        let attributes: Vec<_> = words.collect();
        match LANGUAGES.iter().find(|(name, _)| *name == language) {
            None if info.is_empty() => self.wrong(line, "the fence has no language"),
            None => self.wrong(line, format!("`{language}` is no language of ours")),
            Some((_, known)) => {
                let other = attributes.iter().find(|own| !known.contains(&own.as_str()));
                if let Some(other) = other {
                    self.wrong(line, format!("`{language}` cannot be `{other}`"));
                }
            }
        }
        if language == "rust" && attributes != ["ignore"] {
            self.wrong(line, "it must be `rust,ignore`, or `mdbook test` would compile it");
        }
        let not_run = why.map(|why| why.split_whitespace().collect::<Vec<_>>().join(" "));
        if not_run.is_some() && language != "sh" {
            self.wrong(line, "only `sh` is run: the comment is for nothing");
        }
        if not_run.as_ref().is_some_and(String::is_empty) {
            self.wrong(line, "not run, but why?");
        }
        if text.trim().is_empty() {
            self.wrong(line, "the block is empty");
        }
        self.fences.push(Fence { line, language, attributes, text, not_run });
    }

    /// What looks like a block, or like a reason, and is none.
    fn look_for_forgotten(&mut self, text: &str, blocks: &[Range<usize>]) {
        let mut open = false;
        for (at, line) in (1..).zip(text.lines()) {
            if blocks.iter().any(|block| block.contains(&at)) {
                continue;
            }
            if line.contains("```") || line.contains("~~~") {
                open = !open;
                if open {
                    self.wrong(at, "this fence is none: is there a blank line before it?");
                }
            }
            let comment = line.contains("<!--") || line.contains("-->");
            if comment && line.to_lowercase().contains("not run") {
                let how = format!("`<!-- {NOT_RUN} why -->` on the line before the block");
                self.wrong(at, format!("this comment belongs to no block: {how}"));
            }
        }
    }
}

/// The comment that ends on the line before this one: its first line, and what it says.
fn comment_before(text: &str, line: usize) -> Option<(usize, &str)> {
    let start = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let comment = text[..start].trim_end_matches(['\n', '\r', ' ']).strip_suffix("-->")?;
    // No blank line between them.
    let between = &text[comment.len()..start];
    let comment = (between.matches('\n').count() == 1).then_some(comment)?;
    let first = comment.rfind("<!--")?;
    Some((text[..first].matches('\n').count() + 1, comment[first + 4..].trim()))
}
