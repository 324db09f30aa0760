//! What a picture must be, to be shown inside a page in every theme and to be read by everybody.

use std::collections::BTreeMap;

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{Span, StartTag, Token, Tokenizer};

use super::Finding;

/// The smallest letters, at a width of 640.
const SMALLEST: f32 = 13.0;

/// Looks at a picture. `ids` are those of all pictures: on the page that is printed they are
/// together.
pub fn look(file: &str, text: &str, ids: &mut BTreeMap<String, String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut wrong = |line, what: String| findings.push(Finding::new(file, line, what));
    if let Some(at) = text.lines().position(|line| line.trim().is_empty()) {
        wrong(at + 1, "a blank line: Markdown takes the picture apart there".into());
    }
    let line_of = |span: Span<usize>| text[..span.start].matches('\n').count() + 1;
    let emitter = DefaultEmitter::<usize>::new_with_span();
    let tokens = Tokenizer::new_with_emitter(text, emitter);
    let tags = tokens.flatten().filter_map(|token| match token {
        Token::StartTag(tag) => Some(tag),
        _ => None,
    });
    let tags: Vec<StartTag<usize>> = tags.collect();
    let Some(svg) = tags.first().filter(|tag| &*tag.name == b"svg") else {
        wrong(1, "it does not start with <svg>".into());
        return findings;
    };
    for (name, expected) in [("role", "img"), ("class", "picture")] {
        if attribute(svg, name).is_none_or(|value| value != expected) {
            wrong(1, format!("<svg> needs {name}=\"{expected}\""));
        }
    }
    let view_box = attribute(svg, "viewbox").unwrap_or_default();
    let width = view_box.split(' ').nth(2).and_then(|width| width.parse::<f32>().ok());
    if width.is_none() {
        wrong(1, "<svg> needs viewBox=\"0 0 WIDTH HEIGHT\"".into());
    }
    match tags.iter().find(|tag| &*tag.name == b"title") {
        None => wrong(1, "no <title> says what it shows".into()),
        Some(title) => {
            let label = attribute(svg, "aria-labelledby").unwrap_or_default();
            let first = label.split(' ').next().unwrap_or_default();
            if first.is_empty() || attribute(title, "id").is_none_or(|id| id != first) {
                wrong(1, "aria-labelledby must start with the id of its <title>".into());
            }
        }
    }
    for tag in &tags {
        let line = line_of(tag.span);
        if &*tag.name == b"style" || attribute(tag, "style").is_some() {
            wrong(line, "a style: it would be the whole page's, so use attributes".into());
        }
        if let Some(id) = attribute(tag, "id") {
            if let Some(other) = ids.insert(id.clone(), file.to_owned()) {
                wrong(line, format!("the id {id} is in {other}, too"));
            }
        }
        if let (Some(size), Some(width)) = (attribute(tag, "font-size"), width) {
            let size = size.parse::<f32>().unwrap_or_default() * 640.0 / width;
            if size < SMALLEST {
                wrong(line, format!("letters of {size:.1} at a width of 640: {SMALLEST} at least"));
            }
        }
    }
    findings
}

fn attribute(tag: &StartTag<usize>, name: &str) -> Option<String> {
    let value = tag.attributes.get(name.as_bytes())?;
    Some(String::from_utf8_lossy(value).into_owned())
}
