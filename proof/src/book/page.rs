//! A page as mdBook reads it, with the lines at which things stand.
//!
//! Nothing may be overlooked here: a block that is not seen is a block that is not run. So whatever
//! looks like a fence has to be one.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag};

use super::Finding;

/// What may stand behind the opening of a fence. (`mdbook test` would compile a plain `rust`.)
const BLOCKS: [&str; 6] = ["console", "rust,ignore", "diff", "go", "c", "text"];
/// What may follow `sh`, after commas.
const OF_SH: [&str; 6] = ["inside", "fails", "user", "v1", "v2", "vm"];

/// A page of the book, or the README.
#[derive(Default)]
pub struct Page {
    /// Its file, from the workspace's root.
    pub file: String,
    /// What is in it.
    pub text: String,
    /// Its fenced blocks.
    pub fences: Vec<Fence>,
    /// Its words outside of blocks: those that all read, and those that are folded.
    pub words: [usize; 2],
    /// Where its links lead to.
    pub links: Vec<String>,
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
    attributes: Vec<String>,
    /// What is in it.
    pub text: String,
    /// Is it folded, in `<details>`?
    pub folded: bool,
    /// The comment on the line before it.
    comment: String,
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

    /// Why something does not hold for it, such as `not run`: `<!-- not run: why -->` is before it.
    pub fn why(&self, not: &str) -> Option<&str> {
        // Without a reason, it does.
        self.comment.strip_prefix(not)?.strip_prefix(": ")
    }
}

impl Page {
    /// Reads a page.
    pub fn read(root: &Path, file: &str) -> Result<Page> {
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("read {file}"))?;
        Ok(Page::parse(file, text))
    }

    /// Takes a page apart.
    pub fn parse(file: &str, text: String) -> Page {
        let mut page = Page { file: file.to_owned(), ..Page::default() };
        let mut in_blocks: Vec<Range<usize>> = Vec::new();
        // As mdBook has them set.
        let options = Options::ENABLE_TABLES
            | Options::ENABLE_FOOTNOTES
            | Options::ENABLE_STRIKETHROUGH
            | Options::ENABLE_TASKLISTS
            | Options::ENABLE_HEADING_ATTRIBUTES
            | Options::ENABLE_DEFINITION_LIST
            | Options::ENABLE_GFM;
        let mut folded = false;
        let mut events = Parser::new_ext(&text, options).into_offset_iter();
        while let Some((event, bytes)) = events.next() {
            let line = text[..bytes.start].matches('\n').count() + 1;
            match event {
                Event::Start(Tag::CodeBlock(kind)) => {
                    let mut inner = String::new();
                    while let Some((Event::Text(text), _)) = events.next() {
                        inner += &text;
                    }
                    let source = text[bytes].trim_end();
                    in_blocks.push(line..line + source.lines().count());
                    let CodeBlockKind::Fenced(info) = kind else {
                        page.wrong(line, "a block by its indent: it needs a fence");
                        continue;
                    };
                    if inner.contains("```") {
                        page.wrong(line, "a fence is in it: where does it end?");
                    }
                    let mut words = info.split(',').map(str::to_owned);
                    let language = words.next().unwrap_or_default();
                    let attributes: Vec<_> = words.collect();
                    let of_sh = attributes.iter().all(|own| OF_SH.contains(&own.as_str()));
                    if !(BLOCKS.contains(&&*info) || language == "sh" && of_sh) {
                        page.wrong(line, format!("we have no blocks that are `{info}`"));
                    }
                    let comment = comment(&text, line).unwrap_or_default();
                    page.fences.push(Fence {
                        line,
                        language,
                        attributes,
                        text: inner,
                        folded,
                        comment,
                    });
                }
                Event::Html(html) => {
                    folded = !html.contains("</details>") && (folded || html.contains("<details"));
                }
                Event::Text(said) | Event::Code(said) if !said.starts_with("{{#") => {
                    let words = said.split_whitespace();
                    page.words[usize::from(folded)] +=
                        words.filter(|word| word.contains(char::is_alphanumeric)).count();
                }
                Event::Start(Tag::Link { dest_url, .. }) => page.links.push(dest_url.into_string()),
                _ => {}
            }
        }
        for (line, said) in (1..).zip(text.lines()) {
            let in_block = in_blocks.iter().any(|block| block.contains(&line));
            if !in_block && (said.contains("```") || said.contains("~~~")) {
                page.wrong(line, "this fence is none: is there a blank line before it?");
            }
        }
        page.text = text;
        page
    }

    fn wrong(&mut self, line: usize, what: impl Into<String>) {
        self.findings.push(Finding::new(&self.file, line, what));
    }
}

/// The comment that ends on the line before this one.
fn comment(text: &str, line: usize) -> Option<String> {
    let before: String = text.split_inclusive('\n').take(line - 1).collect();
    let (_, comment) = before.trim_end().strip_suffix("-->")?.rsplit_once("<!--")?;
    Some(comment.split_whitespace().collect::<Vec<_>>().join(" "))
}
