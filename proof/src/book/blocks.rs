//! The commands that a reader types: the `sh` blocks of a page, as a shell runs them.
//!
//! A block is `sh`; if its last command opens a shell, the `sh,inside` blocks after it are typed
//! there.

use std::env;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::Finding;
use super::page::{Fence, Page};

/// A block, and those that are typed in the shell that it opens.
pub struct Group {
    /// The block.
    pub outer: Fence,
    /// What is typed in its shell.
    pub inside: Vec<Fence>,
}

/// The blocks of a page in their order, and what is wrong with them.
pub fn groups(page: &Page) -> (Vec<Group>, Vec<Finding>) {
    let (mut groups, mut findings) = (Vec::<Group>::new(), Vec::new());
    let mut wrong = |line, what: &str| findings.push(Finding::new(&page.file, line, what));
    for fence in page.fences.iter().filter(|fence| fence.language == "sh") {
        if fence.has("v1") && fence.has("v2") {
            wrong(fence.line, "on cgroup v1 and on v2: then it needs neither word");
        }
        let prompt = |line: &str| ["$ ", "/ # ", "> "].iter().any(|it| line.starts_with(it));
        if let Some(at) = fence.text.lines().position(prompt) {
            wrong(fence.line + 1 + at, "a prompt: whoever copies the block copies it, too");
        }
        let comment = |line: &str| line.trim_start().starts_with('#');
        if let Some(at) = fence.text.lines().position(comment) {
            wrong(fence.line + 1 + at, "a comment: at a prompt, zsh has none");
        } else if !parses(&fence.text) {
            wrong(fence.line, "a shell cannot read that");
        }
        match (fence.has("inside"), groups.last_mut()) {
            (false, _) => groups.push(Group { outer: fence.clone(), inside: Vec::new() }),
            (true, Some(group)) => group.inside.push(fence.clone()),
            (true, None) => wrong(fence.line, "inside of what? No block before it opens a shell"),
        }
    }
    (groups, findings)
}

/// The cgroups of the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cgroups {
    /// Version 1, or both at a time.
    V1,
    /// Version 2.
    V2,
}

impl Cgroups {
    /// Ours.
    pub fn ours() -> Cgroups {
        let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        if v2 { Cgroups::V2 } else { Cgroups::V1 }
    }
}

/// Is a block run on a machine with these cgroups?
pub fn is_run(fence: &Fence, cgroups: Cgroups) -> bool {
    let other = if cgroups == Cgroups::V2 { "v1" } else { "v2" };
    fence.not_run.is_none() && !fence.has(other)
}

/// Has a command see nothing of the variables that cargo, or we, have set for a test: no reader has
/// them.
pub fn as_a_reader(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let starts = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "WORKSHOP_", "INSTA_"];
        let names = ["CARGO", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "CARGO_TARGET_TMPDIR"];
        let ours = ["CGROUPS", "NO_TEST_IGNORED", "ROOTFS", "TMPDIR"];
        if starts.iter().any(|start| name.starts_with(start))
            || names.contains(&&*name)
            || ours.contains(&&*name)
        {
            command.env_remove(&*name);
        }
    }
    command.env("CARGO_NET_OFFLINE", "true").stdin(Stdio::null())
}

/// The commands of a block, each with the comments before it. What follows the last one, blank lines
/// and comments, is dropped.
fn commands(text: &str) -> Vec<String> {
    let (mut commands, mut command) = (Vec::new(), String::new());
    let says_nothing = |line: &str| line.trim().is_empty() || line.trim().starts_with('#');
    for line in text.lines() {
        command += &format!("{line}\n");
        // It may have many lines; the shell knows where it ends.
        let ends = !command.lines().all(says_nothing) && !line.ends_with('\\') && parses(&command);
        if ends {
            commands.push(std::mem::take(&mut command));
        }
    }
    if !command.lines().all(says_nothing) {
        commands.push(command);
    }
    commands
}

/// Is that a script, or half of one?
fn parses(script: &str) -> bool {
    let mut shell = Command::new("sh");
    shell.args(["-n", "-c", script]).stdin(Stdio::null()).stderr(Stdio::null());
    shell.status().is_ok_and(|status| status.success())
}

/// What is run before and after a command that is to fail.
const MAY_FAIL: &str = "set +e\n";
const FAILED: &str =
    "[ $? -ne 0 ] || { echo 'workshop: the last command did not fail'; exit 1; }\n";

/// What is run after a command, without changing `$?`, to see that we came so far.
fn mark(when: &str, mark: &str) -> String {
    format!("(code=$?; {when} echo '{mark}'; exit $code)\n")
}

impl Group {
    /// The outer block as a script for `sh -e`. Only its last command may read what is typed.
    fn script(&self) -> String {
        let mut commands = commands(&self.outer.text);
        let last = commands.pop().unwrap_or_default();
        let start = format!("exec 2>&1 3<&0 </dev/null\n{}exec <&3 3<&-\n", commands.concat());
        match self.outer.has("fails") {
            false => start + &last,
            true => start + MAY_FAIL + &last + FAILED,
        }
    }

    /// What is typed in the shell that it opens, and the lines by which one sees that it was.
    fn typed(&self, cgroups: Cgroups) -> (String, Vec<String>) {
        let (mut typed, mut marks) = (String::new(), Vec::new());
        for fence in self.inside.iter().filter(|fence| is_run(fence, cgroups)) {
            let mut commands = commands(&fence.text);
            let leaves =
                |last: &String| last.lines().last().is_some_and(|it| it.starts_with("exit"));
            let exit = if commands.last().is_some_and(leaves) { commands.pop() } else { None };
            let fails = format!("workshop: a command failed in the block in line {}", fence.line);
            typed += if fence.has("fails") { "set +e\n" } else { "set -e\n" };
            for command in commands {
                typed += &command;
                if fence.has("fails") {
                    typed += &mark("[ $code -eq 0 ] ||", &fails);
                }
            }
            if fence.has("fails") {
                marks.push(fails);
            }
            let all = format!("workshop: typed all of the block in line {}", fence.line);
            typed += &mark("", &all);
            typed += &exit.unwrap_or_default();
            marks.push(all);
        }
        (typed, marks)
    }

    /// Runs it. Returns what was to be seen; an error says what was wrong, and shows that, too.
    pub fn run(&self, dir: &Path, cgroups: Cgroups) -> Result<String> {
        let (typed, marks) = self.typed(cgroups);
        let mut shell = Command::new("sh");
        as_a_reader(shell.args(["-ec", &self.script()]).current_dir(dir));
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = shell.spawn().context("start sh")?;
        let mut stdin = shell.stdin.take().context("no stdin")?;
        // The pipe takes this much before anybody reads.
        ensure!(typed.len() < 60_000, "it types too much");
        // If nobody reads it, the marks are missing below.
        let _ = stdin.write_all(typed.as_bytes());
        drop(stdin);
        let mut seen = Vec::new();
        shell.stdout.take().context("no stdout")?.read_to_end(&mut seen)?;
        let status = shell.wait()?;
        let seen = String::from_utf8_lossy(&seen).into_owned();
        let hint = match self.inside.is_empty() {
            true => "",
            false => " (is a command inside meant to fail? Then it is `sh,inside,fails`)",
        };
        ensure!(status.success(), "it ended with {status}{hint}, and said:\n{seen}");
        // A misspelt command fails, too.
        let not_found = |line: &&str| {
            let said = line.strip_prefix("sh: ").and_then(|said| said.split_once(": "));
            let own = said.filter(|(at, _)| at.trim_start_matches("line ").parse::<u32>().is_ok());
            own.is_some_and(|(_, what)| {
                what.ends_with("not found")
                    || what.ends_with("Permission denied") && !what.starts_with("cannot")
            })
        };
        if let Some(line) = seen.lines().find(not_found) {
            bail!("{line}; it said:\n{seen}");
        }
        let missing = marks.iter().find(|mark| !seen.lines().any(|line| line == **mark));
        if let Some(missing) = missing {
            bail!("not seen{hint}: {missing:?}; it said:\n{seen}");
        }
        Ok(seen)
    }
}
