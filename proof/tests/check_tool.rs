//! `cargo workshop check`: against our steps, against programs that are made to fail, and against
//! those that people write: the talk's (in Rust, and in Go), Julian Friedman's, and one line of shell.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use proof::case::{self, Needs, here, recorded};
use proof::programs::{program, programs, rootfs};
use workshop::host::processes;
use workshop::machine::{PATIENCE, eventually};
use workshop::temp::TempDir;
use workshop::workspace::{cargo, workspace};

/// The talk's program finds commands outside, so it needs a `PATH` that fits both.
const TALK: &[&str] = &["4", "--", "env", "PATH=/bin:/usr/bin", "./talk"];

fn main() -> ExitCode {
    let go = Needs { optional: true, ..Needs::ROOT.with(&["go"]) };
    let mut cases = vec![
        here("our-own-step", Needs::ROOT, our_own_step),
        here("killed", Needs::ROOT, killed),
        here("without-root", Needs::ROOT, without_root),
        here("talk", Needs::ROOT.with(&["busybox"]), talk),
        here("talk-go", go, || record("check-talk-go", &built("talk")?, TALK).map(drop)),
        here("pivot-go", go, || {
            record("check-pivot-go", &built("pivot")?, &["4", "--bin", "./pivot"]).map(drop)
        }),
        here("unshare", Needs::ROOT.with(&["busybox"]), || {
            let args = ["3", "--no-run", "--", "unshare", "-fp", "--mount-proc"];
            record("check-unshare", &TempDir::new("check-tool-")?, &args).map(drop)
        }),
    ];
    for (name, script, args, code, words) in MINE {
        cases.push(here(format!("mine::{name}"), Needs::ROOT, move || {
            let dir = with_program("mine", format!("#!/bin/sh\n{script}\n").as_bytes())?;
            let (said, ended) = run(&mut check(&dir, *args))?;
            ensure!(ended == Some(*code) && said.contains(words), "{ended:?}: {said}");
            Ok(())
        }));
    }
    case::run(4, cases)
}

/// Programs of the name `mine`, with the arguments of `check`; its exit code, and what it says.
/// `$STEPS` is where our own steps are.
#[rustfmt::skip] // What is said is as it is seen.
const MINE: &[(&str, &str, &[&str], i32, &str)] = &[
    ("fails-a-check", r#"$STEPS/step01-exec "$@"; exit 0"#, &["1", "--bin=mine", "--only=exit-code"], 1, "\
✘ Every exit code of the command, 0 to 255, is the runner's. (exit-code)
    exit code 0 instead of 167
    as in: ./mine run sh -c 'exit 167'
✘ step01-exec: 0 of 1 hold; read book/src/step01-exec.md
"),
    ("has-an-interpreter-and-no-run", r#"$STEPS/step01-exec "$@"; exit 0"#,
        &["1", "--only=exit-code", "--no-run", "--", "sh", "./mine", "run"], 1,
        "as in: sh ./mine run sh -c 'exit 167'"),
    ("fails-in-the-third-run", r#"echo >>"$0.runs"; [ $(wc -l <"$0.runs") -lt 3 ] && exec $STEPS/step01-exec "$@""#,
        &["1", "--bin=mine", "--only=runs-the-command", "--times=9"], 1, "time 3: "),
    ("looks-for-the-command-outside", r#"shift; c=/usr/bin/$1; shift; exec $STEPS/step04-mount run $c "$@""#,
        &["4", "--bin=mine", "--only=runs-the-command"], 1, "\
Does it start a command at all? Try it: ./mine run echo hello
If it looks for commands outside, as in Go: cargo workshop check 4 -- env PATH=/bin:/usr/bin ./mine
"),
    ("starts-nothing", "exit 1", &["1", "--only=runs-the-command", "--bin=mine"], 1,
        "Does it start a command at all? Try it: ./mine run echo hello\n"),
    ("hangs", "exec sleep 4711", &["1", "--limit=2", "--bin=mine", "--only=runs-the-command"], 1,
        "it hung, and was ended after 2 s"),
    ("is-not-there", "", &["1", "--only", "runs-the-command", "--", "/no/such"], 1, "No such file or directory"),
    ("no-such-file", "", &["1", "--bin", "no-such-file"], 1, "workshop: --bin no-such-file: there is no such file"),
    ("no-such-step", "", &["99"], 2, "99 is not in 1..="),
    ("no-such-check", "", &["1", "--bin=mine", "--only", "pid-1"], 1, "step 1 has no check of the name pid-1"),
];

/// A directory that everybody can reach, with a program of this name in it.
fn with_program(name: &str, content: &[u8]) -> Result<TempDir> {
    let dir = TempDir::new("check-tool-")?;
    let file = dir.path().join(name);
    fs::write(&file, content)?;
    for path in [dir.path(), &file] {
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
    }
    Ok(dir)
}

/// `cargo workshop check ARGS`, in a directory.
fn check<S: AsRef<OsStr>>(dir: &TempDir, args: impl IntoIterator<Item = S>) -> Command {
    let mut check = Command::new(program("workshop"));
    check.arg("check").args(args).current_dir(dir.path()).stdin(Stdio::null());
    // Most fails here, and is not waited for.
    check.env_remove("ROOTFS").env(PATIENCE, "2").env("STEPS", programs());
    check
}

fn run(command: &mut Command) -> Result<(String, Option<i32>)> {
    let output = command.output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((String::from_utf8_lossy(&said).into_owned(), output.status.code()))
}

fn our_own_step() -> Result<()> {
    let dir = TempDir::new("check-tool-")?;
    let mut check = check(&dir, ["2", "--bin"]);
    let (said, code) = run(check.arg(program("step02-uts")).env_remove(PATIENCE))?;
    let lines: Vec<_> = said.lines().map(|line| line.trim_end_matches(|c| c != ':')).collect();
    ensure!(
        lines == ["✔ step01-exec:", "✔ step02-uts:", "✔ together:"] && code == Some(0),
        "{said}"
    );
    let (said, _) = run(check.args(["-v", "--only", "own-hostname"]))?;
    ensure!(said.starts_with("✔ `--hostname` names the container"), "{said}");
    Ok(())
}

/// Killed in the middle of a check: no process of it lives on, and the next run removes its
/// directories and cgroups.
fn killed() -> Result<()> {
    let dir = with_program("mine", b"#!/bin/sh\nwhile :; do sleep 1; done\n")?;
    let file = dir.path().join("mine").display().to_string();
    let mut command = check(&dir, ["4", "--bin", &file, "--only", "runs-the-command"]);
    let mut running = command.stdout(Stdio::null()).spawn()?;
    let started = format!("/bin/sh {file}");
    let hangs = eventually(|| {
        let hangs = processes().into_iter().find(|process| process.command.starts_with(&started));
        hangs.context("it does not start")
    })?;
    let environment = fs::read(format!("/proc/{}/environ", hangs.pid))?;
    let mut left = Vec::new();
    for line in String::from_utf8_lossy(&environment).split('\0') {
        if let Some(("WORKSHOP_CGROUPS" | "TMPDIR" | "ROOTFS", paths)) = line.split_once('=') {
            left.extend(paths.split(':').map(PathBuf::from));
        }
    }
    ensure!(left.len() > 2 && left.iter().all(|dir| dir.is_dir()), "{left:?}");
    running.kill()?;
    running.wait()?;
    eventually(|| {
        let process = processes().into_iter().find(|process| process.command.contains(&file));
        ensure!(process.is_none(), "{process:?} lives on");
        Ok(())
    })?;
    run(&mut check(&dir, ["1", "--only", "runs-the-command", "--", "env"]))?;
    let left = left.iter().find(|dir| dir.exists());
    ensure!(left.is_none(), "{left:?} is still there");
    Ok(())
}

/// As a user: what takes root is told, and not taken for done.
fn without_root() -> Result<()> {
    let dir = with_program("step03-pid", &fs::read(program("step03-pid"))?)?;
    let workshop = dir.path().join("workshop");
    fs::copy(program("workshop"), &workshop)?;
    let not_run =
        "    not run: it needs root\n· step02-uts: 0 of 1 hold, 1 not run\nWith root: sudo ";
    for (name, ends, words) in
        [("pid-1", 0, "✔ step03-pid: all 1 hold"), ("without-privilege", 1, not_run)]
    {
        let mut user = Command::new("setpriv");
        user.args(["--reuid", "4711", "--regid", "4711", "--clear-groups"]).arg(&workshop);
        user.args(["check", "3", "--bin", "step03-pid", "--only", name]).current_dir(dir.path());
        let (said, code) = run(&mut user)?;
        ensure!(code == Some(ends) && said.contains(words), "{name}: {code:?}, {said}");
    }
    Ok(())
}

/// The short version, in `step04-mount/examples`. It says itself in how many ways it is wrong.
fn talk() -> Result<()> {
    // As the page has one type it.
    let mut typed = cargo("run");
    typed.args(["-p", "step04-mount", "--example", "talk", "--"]);
    typed.args(["run", "/bin/sh", "-c", "echo $$"]).env("ROOTFS", rootfs()).stdin(Stdio::null());
    let (said, code) = run(&mut typed)?;
    ensure!(said == "Running [/bin/sh -c echo $$] as pid: 1\n2\n" && code == Some(0), "{said}");
    let dir = with_program("talk", &fs::read(programs().join("examples/talk"))?)?;
    let said = record("check-talk", &dir, TALK)?;
    let wrong = said.lines().filter(|line| line.starts_with("✘ ") && line.ends_with(')')).count();
    let source = fs::read_to_string(workspace().join("step04-mount/examples/talk.rs"))?;
    ensure!(source.contains(&format!("wrong in {wrong} ways")), "it is wrong in {wrong} ways");
    let lines = source.lines().filter(|line| !line.contains("// ANCHOR")).count();
    ensure!(lines <= 75, "talk.rs has {lines} lines");
    Ok(())
}

/// A program of `proof/go`, in a directory of its own.
fn built(name: &str) -> Result<TempDir> {
    let dir = TempDir::new("check-tool-")?;
    let mut go = Command::new("go");
    go.arg("build").arg("-o").arg(dir.path().join(name));
    go.arg(workspace().join(format!("proof/go/{name}.go")));
    ensure!(go.status()?.success(), "{name}.go does not compile");
    Ok(dir)
}

/// Records what is wrong. Why, that may differ from run to run.
fn record(name: &str, dir: &TempDir, args: &[&str]) -> Result<String> {
    // What takes a moment is not to be taken for wrong.
    let (said, code) = run(check(dir, args).env(PATIENCE, "5"))?;
    ensure!(code == Some(1), "it ends with {code:?}: {said}");
    let mut text = format!("$ cargo workshop check {} | grep -v '^    '\n", args.join(" "));
    for line in said.lines().filter(|line| !line.starts_with("    ")) {
        text += &format!("{line}\n");
    }
    // Those depend on the machine.
    insta::with_settings!({ filters => vec![(r"(ways out .*:) .*", "$1 …")] }, {
        recorded(name, &text);
    });
    Ok(said)
}
