//! The links of the built book, and what they point to: all that a browser would follow or load.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use html5gum::emitters::default::DefaultEmitter;
use html5gum::{Token, Tokenizer};

use super::Finding;

/// A page as built.
#[derive(Default)]
struct Html {
    /// What a fragment can name.
    ids: BTreeSet<String>,
    /// What is there twice.
    twice: Vec<String>,
    /// The attribute, and what it links to.
    links: Vec<(&'static str, String)>,
}

/// Where links are.
const LINKS: [&str; 4] = ["href", "src", "data", "poster"];

/// Looks at all pages of a book that is built in `out`: what is wrong, and how many links there are
/// inside, and to elsewhere.
pub fn check(root: &Path, out: &Path) -> Result<(Vec<Finding>, [usize; 2])> {
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(out).with_context(|| format!("read {}", out.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".html") {
            let text =
                fs::read_to_string(out.join(&name)).with_context(|| format!("read {name}"))?;
            pages.insert(name, read(&text));
        }
    }
    ensure!(pages.contains_key("print.html"), "no print.html in {}", out.display());
    let (mut findings, mut count) = (Vec::new(), [0, 0]);
    for (name, page) in &pages {
        for id in &page.twice {
            findings.push(place(root, name, id, format!("the id #{id} is there twice")));
        }
        for (_, link) in &page.links {
            let elsewhere = link.split('/').next().is_some_and(|start| start.ends_with(':'));
            count[usize::from(elsewhere)] += 1;
            let wrong = match elsewhere || link.starts_with("mailto:") {
                true => malformed(link),
                false => dead(out, &pages, name, link),
            };
            if let Some(what) = wrong {
                findings.push(place(root, name, link, format!("{what}: {link}")));
            }
        }
    }
    findings.sort();
    findings.dedup();
    // The page that is printed has it all a second time.
    let (printed, others): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| finding.file.ends_with("print.html"));
    Ok((if others.is_empty() { printed } else { others }, count))
}

fn read(text: &str) -> Html {
    let mut html = Html::default();
    let mut emitter = DefaultEmitter::default();
    // What is in a script is no HTML.
    emitter.naively_switch_states(true);
    for token in Tokenizer::new_with_emitter(text, emitter).flatten() {
        let Token::StartTag(tag) = token else { continue };
        for (name, value) in &tag.attributes {
            let value = String::from_utf8_lossy(value).into_owned();
            let link = LINKS.iter().find(|link| link.as_bytes() == &***name);
            if let Some(link) = link {
                html.links.push((link, value));
            } else if let Some(id) = value.strip_prefix("url(#") {
                // An arrow's head in a picture.
                html.links.push(("url", format!("#{}", id.trim_end_matches(')'))));
            } else if &***name == b"id" && !html.ids.insert(value.clone()) {
                html.twice.push(value);
            }
        }
    }
    html
}

/// Why a link inside the book leads nowhere.
fn dead(
    out: &Path,
    pages: &BTreeMap<String, Html>,
    page: &str,
    link: &str,
) -> Option<&'static str> {
    let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
    let file = file.split('?').next().unwrap_or_default();
    let file = decoded(file.strip_prefix("./").unwrap_or(file));
    // The page that is shown for a missing one can be anywhere.
    let file = if page == "404.html" { file.trim_start_matches('/') } else { &file };
    let target = if file.is_empty() { page } else { file };
    if file.starts_with('/') || file.split('/').any(|part| part == "..") {
        return Some("it leads out of the book");
    }
    if target.ends_with(".md") {
        return Some("there is no such page");
    }
    if !out.join(target).is_file() {
        return Some("there is no such file");
    }
    let there = |page: &Html| page.ids.contains(fragment) || page.ids.contains(&decoded(fragment));
    let there = fragment.is_empty() || pages.get(target).is_some_and(there);
    (!there).then_some("there is no such heading")
}

/// Why a link to elsewhere cannot be right. Nobody is asked whether it is there.
fn malformed(link: &str) -> Option<&'static str> {
    if link.starts_with("http://localhost:") {
        return None;
    }
    let Some(rest) = link.strip_prefix("https://") else { return Some("it is not https") };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let label = |label: &str| {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.chars().all(letter) && !label.starts_with('-')
    };
    if !host.contains('.') || !host.split('.').all(label) {
        return Some("no such host can be");
    }
    let good = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c);
    if !rest.chars().all(good) || link.ends_with(['.', ',', ';', '>']) {
        return Some("a character that does not belong in an address");
    }
    None
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| byte == b'%');
        let hex = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(hex.unwrap_or(byte));
        rest = if hex.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where it stands in the sources, if it does.
fn place(root: &Path, html: &str, link: &str, what: String) -> Finding {
    let source = format!("book/src/{}.md", html.trim_end_matches(".html"));
    let text = fs::read_to_string(root.join(&source)).unwrap_or_default();
    // mdBook makes x.html of x.md.
    let typed = link.replacen(".html", ".md", 1);
    match text.lines().position(|line| line.contains(&typed) || line.contains(link)) {
        Some(at) => Finding::new(&source, at + 1, what),
        None if text.is_empty() => Finding::new(&format!("book, as built: {html}"), 1, what),
        None => Finding::new(&source, 1, what),
    }
}
