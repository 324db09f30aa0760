//! The commands that a reader types: the `sh` blocks of a page, as a shell runs them.
//!
//! A block is `sh`; if its last command opens a shell, the `sh,inside` blocks after it are typed
//! there. `sh,fails`: its last command must fail; `sh,inside,fails`: any of its commands may. `sh,user`
//! is typed as an ordinary user.

use std::env;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use workshop::machine;
use workshop::steps::{STEPS, Step};

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
        for (line, text) in (fence.line + 1..).zip(fence.text.lines()) {
            if ["$ ", "/ # ", "> "].iter().any(|prompt| text.starts_with(prompt)) {
                wrong(line, "a prompt: whoever copies the block copies it, too");
            } else if text.trim_start().starts_with('#') {
                wrong(line, "a comment: at a prompt, zsh has none");
            }
        }
        if !fence.has("inside") && asks(last_command(&fence.text).0) {
            wrong(
                fence.line,
                "sudo may ask for a password before its last command: what is pasted \
                after that is lost. Join them with && at the end of the line, or make two blocks",
            );
        }
        if asks(&fence.text) && in_background(&fence.text) && !fence.text.starts_with("sudo -v &&")
        {
            wrong(fence.line, "in the background, sudo cannot ask: begin with `sudo -v &&`");
        }
        if quotes(&fence.text).any(|(quote, c)| quote == Some('"') && c == '!') {
            wrong(fence.line, "bash and zsh take `!` in double quotes for one of their own");
        }
        match (fence.has("inside"), groups.last_mut()) {
            (false, _) => groups.push(Group { outer: fence.clone(), inside: Vec::new() }),
            (true, Some(group)) => group.inside.push(fence.clone()),
            (true, None) => wrong(fence.line, "inside of what? No block before it opens a shell"),
        }
    }
    (groups, findings)
}

/// Is a block run on this machine, with its cgroups? `vm`: only where the machine is thrown away, too.
pub fn is_run(fence: &Fence) -> bool {
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if fence.has("vm") && !machine::is_vm() {
        return false;
    }
    fence.why("not run").is_none() && !fence.has(if v2 { "v1" } else { "v2" })
}

/// How the names begin of what cargo, or we, have set for a test.
const SET_FOR_TESTS: &str = "CARGO_PKG_ CARGO_MANIFEST_ CARGO_BIN_ CARGO_CRATE_ CARGO_PRIMARY_ \
    CARGO_TARGET_TMPDIR WORKSHOP_ INSTA_ CGROUPS NO_TEST_IGNORED ROOTFS TMPDIR";

/// Has a command see what a reader's would.
pub fn as_a_reader(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name == "CARGO" || SET_FOR_TESTS.split(' ').any(|set| name.starts_with(set)) {
            command.env_remove(&*name);
        }
    }
    command.env("CARGO_NET_OFFLINE", "true").stdin(Stdio::null())
}

/// A command as an ordinary user, who is nobody else's.
pub fn as_user(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "1000", "--regid", "1000", "--clear-groups", program]);
    command
}

/// May sudo ask for a password in there? (`.cargo/runner` knows what takes root, and who is root.)
pub fn asks(script: &str) -> bool {
    if ["--map-root-user", "unshare -Ur"].iter().any(|root| script.contains(root)) {
        return false;
    }
    let word = |c: char| !c.is_alphanumeric();
    let takes_root = |step: &Step| {
        let (_, run) = script.split_once(&format!("-p {} ", step.name)).unwrap_or_default();
        run.contains("-- run ") && !run.contains("-- run --help")
    };
    script.split(word).any(|word| word == "sudo") || STEPS[1..].iter().any(takes_root)
}

/// Does it put something in the background?
fn in_background(script: &str) -> bool {
    let bare: String = quotes(script).filter(|(quote, _)| quote.is_none()).map(|it| it.1).collect();
    ["&&", ">&", "&>"].iter().fold(bare, |bare, other| bare.replace(other, "")).contains('&')
}

/// The characters of a script, each with the quote that it is in.
fn quotes(script: &str) -> impl Iterator<Item = (Option<char>, char)> {
    let (mut quote, mut escaped) = (None, false);
    script.chars().map(move |c| {
        let is_quote = !escaped && (quote == Some(c) || quote.is_none() && "'\"".contains(c));
        escaped = !escaped && c == '\\' && quote != Some('\'');
        if is_quote {
            quote = if quote.is_none() { Some(c) } else { None };
        }
        (quote, c)
    })
}

/// What comes before the last command of a block, and that, which may have many lines: the shell knows
/// where one ends.
fn last_command(text: &str) -> (&str, &str) {
    for (at, _) in text.trim_end().rmatch_indices('\n') {
        let (before, last) = text.split_at(at + 1);
        if !before.ends_with("\\\n") && parses(before) && parses(last) {
            return (before, last);
        }
    }
    ("", text)
}

/// Is that a script, or half of one?
fn parses(script: &str) -> bool {
    let mut shell = Command::new("sh");
    shell.args(["-n", "-c", script]).stdin(Stdio::null()).stderr(Stdio::null());
    shell.status().is_ok_and(|status| status.success())
}

/// Does the shell say that there is no such command, as it does of a misspelt one?
fn is_misspelt(line: &str) -> bool {
    let said = line.strip_prefix("sh: ").unwrap_or_default().trim_start_matches("line ");
    said.starts_with(|c: char| c.is_ascii_digit()) && said.ends_with("not found")
}

impl Group {
    /// The outer block as a script for `sh -e`. Only its last command may read what is typed.
    fn script(&self) -> String {
        let (before, last) = last_command(&self.outer.text);
        let start = format!("exec 2>&1 3<&0 </dev/null\n{before}exec <&3 3<&-\n");
        if !self.outer.has("fails") {
            return start + last;
        }
        let failed = "[ $? -ne 0 ] || { echo 'the last command did not fail'; exit 1; }";
        format!("{start}set +e\n{last}{failed}\n")
    }

    /// What is typed in the shell that it opens, and the lines by which one sees that it was.
    fn typed(&self) -> (String, Vec<String>) {
        let (mut typed, mut marks) = (String::new(), Vec::new());
        for fence in self.inside.iter().filter(|fence| is_run(fence)) {
            let mark = format!("workshop: typed all of the block in line {}", fence.line);
            let (text, exit) = match fence.text.trim_end().rsplit_once('\n') {
                Some((text, last)) if last.starts_with("exit") => (text, last),
                None if fence.text.starts_with("exit") => ("", fence.text.as_str()),
                _ => (fence.text.as_str(), ""),
            };
            let errors = if fence.has("fails") { "set +e" } else { "set -e" };
            let look = format!("(code=$?; echo '{mark}'; exit $code)");
            typed += &format!("{errors}\n{text}\n{look}\n{exit}\n");
            marks.push(mark);
        }
        (typed, marks)
    }

    /// Runs it. Returns what was to be seen; an error says what was wrong, and shows that, too.
    pub fn run(&self, dir: &Path) -> Result<String> {
        let (typed, marks) = self.typed();
        let mut shell = if self.outer.has("user") { as_user("sh") } else { Command::new("sh") };
        as_a_reader(shell.args(["-ec", &self.script()]).current_dir(dir));
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = shell.spawn().context("start sh")?;
        // If nobody reads it, the marks are missing below.
        let _ = shell.stdin.take().context("no stdin")?.write_all(typed.as_bytes());
        let output = shell.wait_with_output()?;
        let seen = String::from_utf8_lossy(&output.stdout).into_owned();
        let status = output.status;
        ensure!(status.success(), "it ended with {status}, and said:\n{seen}");
        // It fails, too, where a command is to.
        let misspelt = seen.lines().find(|line| is_misspelt(line));
        ensure!(misspelt.is_none(), "{misspelt:?}; it said:\n{seen}");
        for mark in marks {
            let is_seen = seen.lines().any(|line| line == mark);
            ensure!(is_seen, "not seen: {mark:?}; it said:\n{seen}");
        }
        Ok(seen)
    }
}
