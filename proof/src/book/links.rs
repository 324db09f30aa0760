//! The links of the built book, and what they point to: all that a browser would follow or load.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
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
    /// Where its links lead to.
    links: Vec<String>,
}

/// Looks at all pages of a book that is built in `out`: what is wrong, and how many links there are.
/// Nobody is asked whether what they lead to elsewhere is there.
pub fn check(root: &Path, out: &Path) -> Result<(Vec<Finding>, usize)> {
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(out).with_context(|| format!("read {}", out.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // That one is mdBook's own, and is shown anywhere.
        if name.ends_with(".html") && name != "404.html" {
            let text = fs::read_to_string(out.join(&name));
            pages.insert(name.clone(), read(&text.with_context(|| format!("read {name}"))?));
        }
    }
    let (mut findings, mut count) = (Vec::new(), 0);
    for (name, page) in &pages {
        for id in &page.twice {
            findings.push(place(root, name, id, format!("the id #{id} is there twice")));
        }
        for link in &page.links {
            let wrong = if link.split('/').next().is_some_and(|start| start.ends_with(':')) {
                malformed(link)
            } else {
                dead(out, &pages, name, link)
            };
            if let Some(what) = wrong {
                findings.push(place(root, name, link, format!("{what}: {link}")));
            }
        }
        count += page.links.len();
    }
    findings.sort();
    findings.dedup();
    Ok((findings, count))
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
            if [b"href".as_slice(), b"src"].contains(&name.as_slice()) {
                html.links.push(value);
            } else if name.as_slice() == b"id" && !html.ids.insert(value.clone()) {
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
    let target = if file.is_empty() { page } else { file };
    if !out.join(target).is_file() {
        return Some("there is no such page");
    }
    let there = pages.get(target).is_some_and(|page| page.ids.contains(fragment));
    (!there && !fragment.is_empty()).then_some("there is no such heading")
}

/// Why a link to elsewhere cannot be right.
fn malformed(link: &str) -> Option<&'static str> {
    if link.starts_with("http://localhost:") {
        return None;
    }
    let Some(rest) = link.strip_prefix("https://") else { return Some("it is not https") };
    if !rest.split('/').next().is_some_and(|host| host.contains('.')) {
        return Some("no such host can be");
    }
    let good = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c);
    if !rest.chars().all(good) || rest.ends_with(['.', ',', ';']) {
        return Some("a character that does not belong in an address");
    }
    None
}

/// Where it stands in the sources, if it does.
fn place(root: &Path, html: &str, link: &str, what: String) -> Finding {
    let source = format!("book/src/{}", html.replace(".html", ".md"));
    let Ok(text) = fs::read_to_string(root.join(&source)) else {
        return Finding::new(&format!("book, as built: {html}"), 1, what);
    };
    // mdBook makes x.html of x.md.
    let typed = link.replacen(".html", ".md", 1);
    let at = text.lines().position(|line| line.contains(&typed) || line.contains(link));
    Finding::new(&source, at.unwrap_or(0) + 1, what)
}
