//! The links of the built book, and what they point to: all that a browser would follow or load.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use html5gum::emitters::default::DefaultEmitter;
use html5gum::{Token, Tokenizer};

use super::Finding;

type Pages = BTreeMap<String, Html>;

/// A page as built.
#[derive(Default)]
struct Html {
    ids: BTreeSet<String>,
    links: Vec<String>,
}

/// Looks at all pages of a book that is built in `out`. Nobody is asked whether what they lead to
/// elsewhere is there.
pub fn check(out: &Path) -> Result<Vec<Finding>> {
    let mut pages = Pages::new();
    for entry in fs::read_dir(out).with_context(|| format!("read {}", out.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // That one is mdBook's own, and is shown anywhere.
        if name.ends_with(".html") && name != "404.html" {
            pages.insert(name.clone(), read(&fs::read_to_string(out.join(&name))?));
        }
    }
    let mut findings = BTreeSet::new();
    for (name, page) in &pages {
        let file = format!("book, as built: {name}");
        for link in &page.links {
            if let Some(what) = dead(out, &pages, name, link) {
                findings.insert(Finding::new(&file, 1, format!("{what}: {link}")));
            }
        }
    }
    Ok(findings.into_iter().collect())
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
            } else if name.as_slice() == b"id" {
                html.ids.insert(value);
            }
        }
    }
    html
}

/// Why a link leads nowhere, or cannot be right.
fn dead(out: &Path, pages: &Pages, page: &str, link: &str) -> Option<&'static str> {
    if link.contains("://") {
        let good = link.starts_with("https://") && !link.ends_with(['.', ',', ';']);
        let good = good || link.starts_with("http://localhost:");
        return (!good).then_some("it is not https, or ends with the sentence");
    }
    let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { page } else { file };
    if !out.join(target).is_file() {
        return Some("there is no such page");
    }
    let there = pages.get(target).is_some_and(|page| page.ids.contains(fragment));
    (!there && !fragment.is_empty()).then_some("there is no such heading")
}
