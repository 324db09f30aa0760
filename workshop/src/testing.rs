//! What the test programs share: their `main`, trials that are ignored where the privilege is
//! missing, and transcripts.

use std::env;
use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::host;
use crate::privilege::Privilege;
pub use crate::programs::{program, programs, rootfs};
use crate::worker;

/// With this variable set, tests that would be ignored fail.
const NONE_IGNORED: &str = "NO_TEST_IGNORED";

/// What we may do.
pub static PRIVILEGE: LazyLock<Privilege> = LazyLock::new(Privilege::ours);

/// Runs trials in a worker, some at once.
pub fn run(at_once: usize, trials: impl FnOnce() -> Vec<Trial>) -> ExitCode {
    let ended = worker::work(|| {
        let mut arguments = Arguments::from_args();
        arguments.test_threads.get_or_insert(at_once);
        Ok(libtest_mimic::run(&arguments, trials()).exit_code())
    });
    ended.unwrap_or_else(|error| host::exit_code(Err(error)))
}

/// A trial that is ignored, with the reason in its name, where the privilege is missing: root, or
/// (`needs_root` is false) at least a user namespace.
pub fn trial(
    name: String,
    needs_root: bool,
    test: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    trial_unless(missing_privilege(needs_root), name, test)
}

/// The privilege that is missing, if it is: root, or at least a user namespace.
pub fn missing_privilege(needs_root: bool) -> Option<&'static str> {
    match *PRIVILEGE {
        Privilege::Root => None,
        Privilege::UserNamespace if needs_root => Some("needs root"),
        Privilege::UserNamespace => None,
        Privilege::None => Some("needs root, or user namespaces"),
    }
}

/// A trial that is ignored, with the reason in its name, where something is missing.
pub fn trial_unless(
    missing: Option<&'static str>,
    name: String,
    test: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    let test = || test().map_err(|error| Failed::from(format!("{error:#}")));
    match missing {
        None => Trial::test(name, test),
        Some(why) if env::var_os(NONE_IGNORED).is_some() => {
            Trial::test(name, move || Err(format!("{why}, and {NONE_IGNORED} is set").into()))
        }
        Some(why) => Trial::test(name, test).with_ignored_flag(true).with_kind(why),
    }
}

/// A trial that is ignored, with the reason in its name, where something is missing that nobody has
/// to have: it is no failure then, with `NO_TEST_IGNORED` neither.
pub fn trial_if(
    there: bool,
    missing: &'static str,
    name: String,
    test: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    match there {
        true => trial(name, true, test),
        false => Trial::test(name, || Ok(())).with_ignored_flag(true).with_kind(missing),
    }
}

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
            let all = &[$($crate::testing::Transcript { name: $name, typed: &[$($typed),*] }),*];
            $crate::testing::transcripts($step, all, |name, seen| {
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
pub fn transcripts(step: &str, all: &'static [Transcript], assert: fn(&str, &str)) -> ExitCode {
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
    run(2, || trials.collect())
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
