//! What a picture must be, to be shown inside a page in every theme and to be read by everybody.

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{StartTag, Token, Tokenizer};

use super::Finding;

/// The smallest letters, at a width of 640.
const SMALLEST: f32 = 13.0;

/// Looks at a picture.
pub fn look(file: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut wrong = |line, what: &str| findings.push(Finding::new(file, line, what));
    if let Some(at) = text.lines().position(|line| line.trim().is_empty()) {
        wrong(at + 1, "a blank line: Markdown takes the picture apart there");
    }
    let mut width = 0.0;
    for token in Tokenizer::new_with_emitter(text, DefaultEmitter::new_with_span()).flatten() {
        let Token::StartTag(tag) = token else { continue };
        let line = text[..tag.span.start].matches('\n').count() + 1;
        if &*tag.name == b"svg" {
            let size = attribute(&tag, "viewbox").unwrap_or_default();
            width = size.split(' ').nth(2).and_then(|width| width.parse().ok()).unwrap_or(0.0);
            let label = attribute(&tag, "aria-labelledby").unwrap_or_default();
            let is = |name, value: &str| attribute(&tag, name).is_some_and(|it| it == value);
            if !is("class", "picture") || !is("role", "img") || width == 0.0 {
                wrong(line, "it needs class=\"picture\" role=\"img\" viewBox=\"0 0 WIDTH HEIGHT\"");
            }
            if !text.contains(&format!("<title id=\"{}\">", label.split(' ').next().unwrap_or("")))
            {
                wrong(line, "aria-labelledby must start with the id of its <title>");
            }
        }
        if &*tag.name == b"style" || attribute(&tag, "style").is_some() {
            wrong(line, "a style: it would be the whole page's, so use attributes");
        }
        if let Some(size) = attribute(&tag, "font-size") {
            let size = size.parse().unwrap_or(0.0) * 640.0 / width;
            if size < SMALLEST {
                let what = format!("letters of {size:.1} at a width of 640: {SMALLEST} at least");
                wrong(line, &what);
            }
        }
    }
    findings
}

fn attribute<S: html5gum::SpanBound>(tag: &StartTag<S>, name: &str) -> Option<String> {
    let value = tag.attributes.get(name.as_bytes())?;
    Some(String::from_utf8_lossy(value).into_owned())
}
