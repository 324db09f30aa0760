//! Transcripts: what is typed, and what is then to be seen, for the book.

use std::env;
use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

use crate::host;
use crate::testing::{self, PRIVILEGE, programs, rootfs, trial};

/// A session, line by line: `$ ` stands before what is typed on the host, `# ` before what is typed
/// into the shell that the line before has started.
pub struct Transcript {
    /// Its name, and its snapshot's.
    pub name: &'static str,
    /// What is typed.
    pub typed: &'static [&'static str],
}

/// Makes the `main` of a test program that plays transcripts and holds them against snapshots.
#[macro_export]
macro_rules! transcripts {
    ($step:literal, $($name:literal: [$($typed:literal),* $(,)?]),* $(,)?) => {
        fn main() -> std::process::ExitCode {
            let all = &[$($crate::transcripts::Transcript { name: $name, typed: &[$($typed),*] }),*];
            $crate::transcripts::run($step, all, |name, seen| {
                insta::with_settings!({
                    omit_expression => true,
                    prepend_module_to_snapshot => false,
                    // Debian's busybox runs `ps` inside its shell, and says so.
                    filters => vec![(r"\{(\w+)\} /bin/sh", "$1")],
                }, {
                    insta::assert_snapshot!(name, seen);
                });
            })
        }
    };
}

const TRANSCRIPT: &str = "WORKSHOP_TRANSCRIPT";

/// What `transcripts!` calls. `assert` holds what was seen against the snapshot.
pub fn run(step: &str, all: &'static [Transcript], assert: fn(&str, &str)) -> ExitCode {
    if let Ok(name) = env::var(TRANSCRIPT) {
        let typed = all.iter().find(|transcript| transcript.name == name).map(|found| found.typed);
        return host::exit_code(typed.context("no such transcript").and_then(play));
    }
    // A user namespace has to show more mounts, and has but one user.
    let for_root =
        |name| step == "step05-cgroups" || ["mounts", "without-privilege"].contains(&name);
    let trials = all.iter().map(|transcript| {
        trial(transcript.name.to_owned(), for_root(transcript.name), move || {
            assert(transcript.name, &seen(transcript.name)?);
            Ok(())
        })
    });
    testing::run(2, || trials.collect())
}

/// Plays a transcript on a throw-away host, and returns what was to be seen.
fn seen(name: &str) -> Result<String> {
    let mut path = programs().as_os_str().to_owned();
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    // Where a user's shell does not look: chroot, pivot_root.
    path.push(":/usr/sbin:/sbin");
    let envs = [
        (TRANSCRIPT, OsStr::new(name)),
        ("PATH", &path),
        ("ROOTFS", rootfs().as_os_str()),
        ("TERM", OsStr::new("xterm")),
    ];
    let output = host::run(*PRIVILEGE, &env::current_exe()?, &envs)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the transcript does not play: {stderr}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Types the lines, and shows them with what they say.
fn play(typed: &[&str]) -> Result<()> {
    nix::unistd::sethostname("host").context("sethostname")?;
    let mut lines = typed.iter().peekable();
    while let Some(line) = lines.next() {
        let command = line.strip_prefix("$ ").with_context(|| format!("{line:?} is for nobody"))?;
        let mut inside = String::new();
        while let Some(line) = lines.next_if(|line| line.starts_with("# ")) {
            inside += &format!("echo '{}'\n{}\n", line.replace('\'', r"'\''"), &line[2..]);
        }
        println!("{line}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec 2>&1; {command}")]).env_remove("TMPDIR");
        let mut shell = shell.stdin(Stdio::piped()).spawn()?;
        shell.stdin.take().context("no stdin")?.write_all(inside.as_bytes())?;
        shell.wait()?;
    }
    Ok(())
}
