//! Transcripts: what is typed, and what is then to be seen, for the book.

use std::env;
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use workshop::steps::STEPS;

use crate::case::{self, Case, Needs, case, recorded};
use crate::programs::programs;

/// A session, line by line: `$ ` stands before what is typed on the host, `# ` before what is typed
/// into the shell that the line before has started. In front is its name, which is its snapshot's.
pub type Transcript = (&'static str, &'static [&'static str]);

/// Makes the `main` of a test program that plays the transcripts of a step.
#[macro_export]
macro_rules! transcripts {
    ($step:literal, $($name:literal: [$($typed:literal),* $(,)?]),* $(,)?) => {
        fn main() -> std::process::ExitCode {
            $crate::transcripts::run($step, &[$(($name, &[$($typed),*])),*])
        }
    };
}

/// What `transcripts!` calls.
pub fn run(step: &'static str, all: &'static [Transcript]) -> ExitCode {
    let case_of = |(name, typed): &'static Transcript| -> Case {
        // A user namespace has to show more mounts, and has but one user.
        let root = STEPS.iter().any(|row| row.name == step && row.root)
            || ["mounts", "without-privilege"].contains(name);
        case(*name, Needs::root_if(root), || play(typed)).then(move |seen| {
            // Debian's busybox runs `ps` inside its shell, and says so.
            insta::with_settings!({ filters => vec![(r"\{(\w+)\} /bin/sh", "$1")] }, {
                recorded(&format!("{step}/{name}"), seen);
            });
            Ok(())
        })
    };
    case::run(2, all.iter().map(case_of).collect())
}

/// Types the lines, and shows them with what they say.
fn play(typed: &[&str]) -> Result<String> {
    nix::unistd::sethostname("host").context("sethostname")?;
    let path = format!("{}:{}", programs().display(), env::var("PATH")?);
    let mut seen = String::new();
    let mut lines = typed.iter().peekable();
    while let Some(line) = lines.next() {
        let command = line.strip_prefix("$ ").with_context(|| format!("{line:?} is for nobody"))?;
        let mut inside = String::new();
        while let Some(line) = lines.next_if(|line| line.starts_with("# ")) {
            inside += &format!("echo '{}'\n{}\n", line.replace('\'', r"'\''"), &line[2..]);
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec 2>&1; {command}")]).env_remove("TMPDIR");
        shell.env("PATH", &path).env("TERM", "xterm");
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        shell.stdin.take().context("no stdin")?.write_all(inside.as_bytes())?;
        let said = shell.wait_with_output()?.stdout;
        seen += &format!("{line}\n{}", String::from_utf8_lossy(&said));
    }
    Ok(seen)
}
