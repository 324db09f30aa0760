//! A page as its reader goes through it: what is typed is what is shown, and how long it takes.

use std::fs;
use std::path::Path;

use workshop::steps::STEPS;

use super::Finding;
use super::lint::PAGES;
use super::page::{Fence, Page};

/// What people read in a minute.
const WORDS: usize = 200;

/// How many minutes a page takes: its words, and half a minute for each block that is typed. What is
/// folded can wait.
pub fn minutes(page: &Page) -> usize {
    (2 * page.words[0] + WORDS * blocks(page)).div_ceil(2 * WORDS)
}

/// How many blocks all readers type.
pub fn blocks(page: &Page) -> usize {
    page.fences.iter().filter(|fence| fence.language == "sh" && !fence.folded).count()
}

/// What is wrong with the time that a page says it takes, in its first paragraph.
pub fn time(page: &Page) -> Option<Finding> {
    let lines = (1..).zip(page.text.lines()).skip_while(|(_, text)| !text.starts_with("# "));
    let (line, first) = lines.skip(1).find(|(_, text)| !text.is_empty()).unwrap_or((1, ""));
    let plural = if minutes(page) == 1 { "" } else { "s" };
    let right = format!("*About {} minute{plural}", minutes(page));
    let what = || format!("the first paragraph must begin with the reading time: `{right}`");
    (!first.starts_with(&right)).then(|| Finding::new(&page.file, line, what()))
}

/// A line of a block: is it typed in a container, and what is typed, as transcripts show it.
type Typed = (bool, String);

/// The transcripts of a page that show something else than what the blocks right above them have
/// their reader type.
pub fn shown(root: &Path, page: &Page) -> Vec<Finding> {
    let (mut findings, mut blocks) = (Vec::new(), Vec::<Vec<Typed>>::new());
    for fence in &page.fences {
        if fence.language == "sh" {
            blocks.push(typed(fence));
        }
        if fence.language != "console" || fence.why("not typed").is_some() {
            continue;
        }
        let transcript = transcript(root, fence);
        let some = fence.why("not shown").is_some();
        let from = |at: usize| repeats(&transcript, &blocks[at..].concat(), some);
        // If it is empty, its include is wrong, and that is said elsewhere.
        if !transcript.is_empty() && !(0..blocks.len()).any(from) {
            let what = difference(&transcript, &blocks.concat());
            findings.push(Finding::new(&page.file, fence.line, what));
        }
        blocks.clear();
    }
    findings
}

/// The lines of a block.
fn typed(fence: &Fence) -> Vec<Typed> {
    let mut text = fence.text.clone();
    for step in STEPS.iter().map(|step| step.name) {
        for (cargo, program) in [("", step), (" --example talk", "talk")] {
            text =
                text.replace(&format!("cargo run -q -p {step}{cargo} -- "), &format!("{program} "));
            text = text.replace(&format!("cargo run -p {step}{cargo} -- "), &format!("{program} "));
        }
    }
    text.lines().map(|line| (fence.has("inside"), line.to_owned())).collect()
}

/// What a block shows.
fn transcript(root: &Path, fence: &Fence) -> String {
    let mut shown = String::new();
    for line in fence.text.lines() {
        let path = line.strip_prefix("{{#include ").and_then(|line| line.strip_suffix(":4:}}"));
        shown += &match path {
            Some(path) => fs::read_to_string(root.join(PAGES).join(path))
                .unwrap_or_default()
                .split_inclusive('\n')
                .skip(3)
                .collect(),
            None => format!("{line}\n"),
        };
    }
    shown
}

/// The first line of a command in a transcript, if this is one.
fn command(line: &str) -> Option<Typed> {
    let command = |(prompt, inside)| Some((inside, line.strip_prefix(prompt)?.to_owned()));
    [("$ ", false), ("# ", true), ("/ # ", true)].into_iter().find_map(command)
}

/// Are these the commands of a transcript, line by line? With `some`, it may leave out some of them.
fn repeats(transcript: &str, typed: &[Typed], some: bool) -> bool {
    let mut typed = typed.iter().peekable();
    let mut in_command = false;
    for line in transcript.lines() {
        if in_command && typed.next_if(|(_, next)| next == line).is_some() {
            continue;
        }
        let command = command(line);
        in_command = command.is_some();
        let is_typed = command.is_none_or(|command| match some {
            true => typed.any(|next| *next == command),
            false => typed.next() == Some(&command),
        });
        if !is_typed {
            return false;
        }
    }
    some || typed.next().is_none()
}

/// What is wrong with a transcript that does not repeat what is typed.
fn difference(transcript: &str, typed: &[Typed]) -> String {
    let shown: Vec<_> = transcript.lines().filter_map(command).collect();
    let untyped = shown.iter().find(|line| !typed.contains(line));
    let from_there = typed.iter().skip_while(|line| shown.first() != Some(line));
    let hidden = from_there.into_iter().find(|(_, line)| !transcript.contains(line));
    match (untyped, hidden) {
        _ if shown.is_empty() => "it shows no command: what is typed?".to_owned(),
        (Some((_, line)), _) => format!("the blocks above it do not type `{line}`"),
        (_, Some((_, line))) => format!("typed above it, but not shown: `{line}`"),
        _ => "what is typed above it is shown in another order, or at another prompt".to_owned(),
    }
}
