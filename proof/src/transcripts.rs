//! Transcripts for the book: what is typed, and what then appears.

use std::env;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use workshop::steps::STEPS;
use workshop::temp::TempDir;

use crate::case::{self, Case, Needs, case, recorded};
use crate::programs::programs;

/// The name of a transcript, which is also the name of its snapshot, and its lines. A line that
/// begins with `$ ` is typed on the host. A line that begins with `# ` is typed into the shell that
/// the line before started.
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
        // In a user namespace there are more mounts and only one user, so these need root.
        let root = STEPS.iter().any(|row| row.name == step && row.root)
            || ["mounts", "without-privilege"].contains(name);
        case(*name, Needs::root_if(root), || play_here(typed)).then(move |seen| {
            // Debian's busybox runs `ps` inside its shell, and says so.
            insta::with_settings!({ filters => vec![(r"\{(\w+)\} /bin/sh", "$1")] }, {
                recorded(&format!("{step}/{name}"), seen);
            });
            Ok(())
        })
    };
    case::run(2, all.iter().map(case_of).collect())
}

/// Types the lines where there is a folder `rootfs`, as where a reader types.
fn play_here(typed: &[&str]) -> Result<String> {
    let here = TempDir::new("transcript-")?;
    if let Some(rootfs) = env::var_os("ROOTFS") {
        symlink(rootfs, here.path().join("rootfs")).context("symlink rootfs")?;
    }
    env::set_current_dir(here.path()).context("chdir")?;
    play(typed, || Command::new("sh"))
}

/// Types the lines into shells, and shows them with what they say.
pub fn play(typed: &[&str], shell: fn() -> Command) -> Result<String> {
    nix::unistd::sethostname("host").context("sethostname")?;
    let programs = programs().display();
    let path = format!("{programs}:{programs}/examples:{}", env::var("PATH")?);
    let mut seen = String::new();
    let mut lines = typed.iter().peekable();
    while let Some(line) = lines.next() {
        let command =
            line.strip_prefix("$ ").with_context(|| format!("{line:?} has no `$ ` before it"))?;
        let mut inside = String::new();
        while let Some(line) = lines.next_if(|line| line.starts_with("# ")) {
            inside += &format!("echo '{}'\n{}\n", line.replace('\'', r"'\''"), &line[2..]);
        }
        let mut shell = shell();
        // We are root, and the page says `sudo` for those who are not.
        let sudo = r#"sudo() { [ "$1" = -v ] || "$@"; }"#;
        shell.args(["-c", &format!("exec 2>&1; {sudo}; {command}")]).env_remove("TMPDIR");
        shell.env("PATH", &path).env("TERM", "xterm");
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        shell.stdin.take().context("no stdin")?.write_all(inside.as_bytes())?;
        let said = shell.wait_with_output()?.stdout;
        seen += &format!("{line}\n{}", String::from_utf8_lossy(&said));
    }
    Ok(seen)
}
