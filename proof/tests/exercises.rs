//! The exercises of the book: as a step stands, its test fails; with the solution it passes.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use workshop::book::scratch;
use workshop::host::{self, State};
use workshop::testing::{self, PRIVILEGE, trial};
use workshop::workspace::workspace;

const EXERCISE: &str = "WORKSHOP_EXERCISE";
const EXERCISES: &str = "book/exercises";

/// For one exercise; cargo builds the solution.
const LIMIT: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    if let Ok(name) = env::var(EXERCISE) {
        return host::exit_code(on_the_host(&name));
    }
    // They wait as much as they compute.
    testing::run(4, trials)
}

fn trials() -> Vec<Trial> {
    let entries = fs::read_dir(workspace().join(EXERCISES)).into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.path().is_dir());
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut trials: Vec<Trial> = names
        .map(|name| trial(format!("exercise::{name}"), true, move || proven(&name, None)))
        .collect();
    for (name, files, expected) in MADE_UP {
        let name = format!("made-up::{name}");
        trials.push(trial(name.clone(), true, move || proven(&name, Some((files, expected)))));
    }
    trials
}

/// `solution.diff` and `test.sh`.
type Files = [&'static str; 2];

/// Tries an exercise on a throw-away host; one that is made up goes as expected.
fn proven(name: &str, made_up: Option<(&Files, &str)>) -> Result<()> {
    scratch::prepare()?;
    let envs = [(EXERCISE, OsStr::new(name))];
    let output = host::run_for(LIMIT, *PRIVILEGE, &env::current_exe()?, &envs)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let expected = made_up.map(|(_, expected)| expected).unwrap_or_default();
    match (output.status.success(), expected) {
        (true, "") => Ok(()),
        (false, expected) if !expected.is_empty() && said.contains(expected) => Ok(()),
        (true, _) => bail!("it is found to be good"),
        (false, _) => bail!("{said}"),
    }
}

/// In the process on the host, with a workspace to play in.
fn on_the_host(name: &str) -> Result<()> {
    scratch::move_in(true)?;
    let state = State::now()?;
    let dir = match MADE_UP.iter().find(|(made_up, ..)| name == format!("made-up::{made_up}")) {
        None => format!("{EXERCISES}/{name}"),
        Some((_, [solution, test], _)) => {
            let dir = format!("{EXERCISES}/made-up");
            fs::create_dir_all(&dir)?;
            fs::write(format!("{dir}/solution.diff"), solution)?;
            fs::write(format!("{dir}/test.sh"), test)?;
            dir
        }
    };
    let name = Path::new(&dir).file_name().context("no name")?.to_string_lossy();
    let (code, line, stderr) = test(&dir)?;
    ensure!(code == 1, "as the step stands, the test ends with {code}, not 1: {line:?} {stderr}");
    let done = format!("{name}: well done");
    ensure!(line != done, "as the step stands, the test says {line:?}");

    let mut patch = Command::new("patch");
    patch.args(["-p1", "--force", "--fuzz=0", "-i"]).arg(format!("{dir}/solution.diff"));
    let patched = patch.output().context("start patch (sudo apt-get install patch)")?;
    let said = String::from_utf8_lossy(&patched.stdout);
    ensure!(patched.status.success(), "the solution does not apply: {said}");
    ensure!(!said.contains("fuzz"), "the solution hardly applies: {said}");

    let (code, line, stderr) = test(&dir)?;
    ensure!(code == 0, "with the solution, the test ends with {code}: {line:?} {stderr}");
    ensure!(line == done, "with the solution, the test says {line:?}, not {done:?}");
    state.restored().context("something is left")
}

/// Runs the test as a reader would. Its exit code, what it says in its one line, and on stderr.
fn test(dir: &str) -> Result<(i32, String, String)> {
    let mut test = Command::new("sh");
    test.arg(format!("{dir}/test.sh")).stdin(Stdio::null()).env("CARGO_NET_OFFLINE", "true");
    let output = test.env_remove("TMPDIR").output().context("start sh")?;
    let code = output.status.code().context("it was killed")?;
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    let line = stdout.strip_suffix('\n').unwrap_or_default();
    let one = !line.is_empty() && !line.contains('\n');
    ensure!(one, "the test says {stdout:?}, not one line, and ends with {code}: {stderr}");
    Ok((code, line.to_owned(), stderr))
}

const SOLUTION: &str = "\
--- a/step01-exec/src/main.rs
+++ b/step01-exec/src/main.rs
@@ -1,3 +1,3 @@
-//! Step 1: run a command.
+//! Step one: run a command.
 //!
 //! There is no wall yet. We say what we run, and then *become* it: `exec` replaces us with the
";

const BUILDS: &str = "\
--- a/step01-exec/src/main.rs
+++ b/step01-exec/src/main.rs
@@ -1,3 +1,4 @@
+/* No program any more.
 //! Step 1: run a command.
 //!
 //! There is no wall yet. We say what we run, and then *become* it: `exec` replaces us with the
";

const TEST: &str = "\
cargo run -q -p step01-exec -- run true 2>/dev/null || { echo 'it does not build'; exit 1; }
grep -q 'Step one' step01-exec/src/main.rs || { echo 'it says 1'; exit 1; }
echo 'made-up: well done'
";

/// Exercises, and what is wrong with them.
const MADE_UP: &[(&str, Files, &str)] = &[
    ("good", [SOLUTION, TEST], ""),
    ("passes-as-it-stands", [SOLUTION, "echo 'made-up: well done'\n"], "ends with 0, not 1"),
    ("says-nothing", [SOLUTION, "exit 1\n"], "not one line"),
    ("says-too-much", [SOLUTION, "echo 1; echo 2; exit 1\n"], "not one line"),
    ("other-code", [SOLUTION, "echo 1; exit 2\n"], "ends with 2, not 1"),
    ("no-solution", [SOLUTION, "echo 1; exit 1\n"], "with the solution, the test ends with 1"),
    ("does-not-build", [BUILDS, TEST], "it does not build"),
    (
        "does-not-apply",
        [
            "--- a/step01-exec/src/main.rs\n+++ b/step01-exec/src/main.rs\n@@ -1 +1 @@\n-x\n+y\n",
            TEST,
        ],
        "does not apply",
    ),
    (
        "says-another-name",
        [SOLUTION, "grep -q 'Step one' step01-exec/src/main.rs; x=$?; echo done; exit $x\n"],
        "not \"made-up: well done\"",
    ),
    (
        "leaves-a-process",
        [
            SOLUTION,
            "{ sleep 99 & } >/dev/null 2>&1\ncargo run -q -p step01-exec -- run true 2>/dev/null\n\
            grep -q 'Step one' step01-exec/src/main.rs || { echo 1; exit 1; }\necho 'made-up: well done'\n",
        ],
        "something is left",
    ),
];
