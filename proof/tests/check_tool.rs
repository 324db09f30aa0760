//! `cargo workshop check`: against our steps, against programs that are made to fail, and against
//! those that people write: the talk's (in Rust, and in Go), Julian Friedman's, and one line of shell.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use workshop::host::{self, processes};
use workshop::patience::eventually;
use workshop::testing::{self, program, programs, rootfs, trial, trial_if};
use workshop::workspace::{cargo, workspace};

fn main() -> ExitCode {
    testing::run(4, trials)
}

fn trials() -> Vec<Trial> {
    let go = Command::new("go").arg("version").output().is_ok_and(|go| go.status.success());
    let with_go = |name: &str, test: fn() -> Result<()>| {
        trial_if(go, "no Go here, and none is needed", name.into(), test)
    };
    let with_root = |name: &str, test: fn() -> Result<()>| trial(name.into(), true, test);
    vec![
        with_root("our-own-step", our_own_step),
        with_root("a-saboteur", a_saboteur),
        with_root("path-outside", path_outside),
        with_root("starts-nothing", starts_nothing),
        with_root("it-hangs", it_hangs),
        with_root("interrupted", interrupted),
        with_root("killed-with-its-worker", killed_with_its_worker),
        with_root("wrong-usage", wrong_usage),
        with_root("without-root", without_root),
        with_root("unshare", unshare),
        with_root("talk", talk),
        with_go("talk-go", talk_go),
        with_go("pivot-go", pivot_go),
    ]
}

/// `cargo workshop check ARGS`, in a directory.
fn check<S: AsRef<OsStr>>(dir: &TempDir, args: impl IntoIterator<Item = S>) -> Command {
    let mut check = Command::new(program("workshop"));
    check.arg("check").args(args).current_dir(dir).env_remove("ROOTFS").stdin(Stdio::null());
    // What does not happen within three seconds does not happen.
    check.env("WORKSHOP_PATIENCE", "3");
    check
}

fn run(command: &mut Command) -> Result<(String, Option<i32>)> {
    let Output { status, stdout, stderr } = command.output()?;
    let said = [stdout, stderr].concat();
    Ok((String::from_utf8_lossy(&said).into_owned(), status.code()))
}

/// A directory that everybody can reach, with a program of this name in it.
fn with_program(name: &str, content: &[u8]) -> Result<(TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
    let file = dir.path().join(name);
    fs::write(&file, content)?;
    fs::set_permissions(&file, Permissions::from_mode(0o755))?;
    Ok((dir, file))
}

fn our_own_step() -> Result<()> {
    let step = program("step02-uts");
    let args = [OsStr::new("2"), "--bin".as_ref(), step.as_ref()];
    // What holds is not waited for, so there may be more time for it.
    let (said, code) = run(check(&tempfile::tempdir()?, args).env_remove("WORKSHOP_PATIENCE"))?;
    ensure!(code == Some(0) && !said.contains('✘'), "{code:?}: {said}");
    let lines = said.lines().filter(|line| line.starts_with("✔ ")).count();
    ensure!(lines > 30 && said.ends_with(&format!("\nAll {lines} hold.\n")), "{said}");
    let chapters: Vec<_> = said.lines().filter(|line| line.starts_with("step")).collect();
    ensure!(chapters == ["step01-exec:", "step02-uts:"], "{chapters:?}");
    Ok(())
}

fn a_saboteur() -> Result<()> {
    let script = format!("#!/bin/sh\n'{}' \"$@\"; exit 0\n", program("step01-exec").display());
    let (dir, _) = with_program("mine", script.as_bytes())?;
    let (said, code) = run(&mut check(&dir, ["1", "--bin", "mine", "--only", "exit-code"]))?;
    let wanted = "\
step01-exec:
✘ Every exit code of the command, 0 to 255, is the runner's. (exit-code)
    exit code 0 instead of 1
    as in: ./mine run sh -c 'exit 1'
    read step01-exec: book/src/step01-exec.md
0 of 1 hold; read step01-exec.
";
    ensure!(said == wanted && code == Some(1), "{code:?}: {said}");
    // The same with its interpreter, with one more word before the command, and in short.
    let words = ["1", "--brief", "--only", "exit-code", "--no-run", "--", "sh", "./mine", "run"];
    let (said, code) = run(&mut check(&dir, words))?;
    ensure!(said.contains(")\n    exit code 0 instead of 1\n0 of 1") && code == Some(1), "{said}");
    Ok(())
}

/// It looks for the command outside, as the talk's program does; here without Go.
fn path_outside() -> Result<()> {
    let script = format!(
        "#!/bin/sh\nshift; c=/usr/bin/$1; shift\nexec '{}' run $c \"$@\"\n",
        program("step04-mount").display()
    );
    let (dir, _) = with_program("mine", script.as_bytes())?;
    let args = ["4", "--brief", "--bin", "mine", "--only", "runs-the-command"];
    let (said, code) = run(&mut check(&dir, args))?;
    let wanted = "\
0 of 1 hold; read step01-exec.
Not one: /usr/bin/echo is on this machine, and not in the root filesystem. It looks for the \
command in the PATH outside; this gives it one that fits both:
    cargo workshop check 4 -- env PATH=/bin:/usr/bin ./mine
";
    ensure!(said.ends_with(wanted) && code == Some(1), "{code:?}: {said}");
    Ok(())
}

fn starts_nothing() -> Result<()> {
    let (said, code) = run(&mut check(&tempfile::tempdir()?, ["1", "--brief", "--", "false"]))?;
    let wanted = " hold; read step01-exec.\nNot one: does it start a command at all? Try it: false \
                  run echo hello\n";
    ensure!(said.ends_with(wanted) && code == Some(1), "{code:?}: {said}");
    Ok(())
}

fn it_hangs() -> Result<()> {
    let (dir, _) = with_program("mine", b"#!/bin/sh\nexec sleep 4711\n")?;
    let (said, code) =
        run(&mut check(&dir, ["1", "--limit=2", "--bin=mine", "--only=runs-the-command"]))?;
    ensure!(said.contains("it hung, and was ended after 2 s"), "{said}");
    ensure!(said.contains("as in: ./mine run echo 'Hello, our container'"), "{said}");
    ensure!(code == Some(1), "{code:?}");
    Ok(())
}

/// ^C in the middle of a check: nothing of it is left, no process, no directory, no cgroup.
fn interrupted() -> Result<()> {
    ended_by(|running| running.kill().context("kill it"))
}

/// All at once: then nobody is there to clean up, and the next run does.
fn killed_with_its_worker() -> Result<()> {
    ended_by(|running| {
        let pid = running.id() as i32;
        let worker = processes().into_iter().find(|process| process.parent == pid);
        let worker = Pid::from_raw(worker.context("no worker")?.pid);
        kill(worker, Signal::SIGSTOP)?;
        running.kill()?;
        running.wait()?;
        kill(worker, Signal::SIGKILL)?;
        eventually(|| {
            ensure!(host::is_gone(worker.as_raw() as u32), "the worker lives on");
            Ok(())
        })?;
        let args = ["1", "--only", "runs-the-command", "--", "env"];
        run(&mut check(&tempfile::tempdir()?, args)).map(drop)
    })
}

/// Fails if there is anything left of a check, in the middle of which its tool is ended.
fn ended_by(end: impl FnOnce(&mut Child) -> Result<()>) -> Result<()> {
    let (dir, file) = with_program("mine", b"#!/bin/sh\nwhile :; do sleep 1; done\n")?;
    let file = file.display().to_string();
    let mut command = check(&dir, ["4", "--bin", &file, "--only", "runs-the-command"]);
    let mut running = command.arg("--limit=60").stdout(Stdio::null()).spawn()?;
    // The tool's own arguments have the file in them, too.
    let hangs = eventually(|| {
        let hangs =
            processes().into_iter().find(|p| p.command.starts_with(&format!("/bin/sh {file}")));
        hangs.context("it does not start")
    })?;
    let environment = fs::read(format!("/proc/{}/environ", hangs.pid))?;
    let environment = String::from_utf8_lossy(&environment).into_owned();
    let of = |name: &str| {
        let line = environment.split('\0').find_map(|line| line.strip_prefix(name));
        line.with_context(|| format!("no {name}")).map(|paths| paths.split(':').map(PathBuf::from))
    };
    let left: Vec<_> =
        of("WORKSHOP_CGROUPS=")?.chain(of("TMPDIR=")?).chain(of("ROOTFS=")?).collect();
    ensure!(left.len() > 2 && left.iter().all(|dir| dir.is_dir()), "{left:?}");
    end(&mut running)?;
    running.wait()?;
    eventually(|| {
        let process = processes().into_iter().find(|p| p.command.contains(&file));
        ensure!(process.is_none(), "{process:?} lives on");
        let left = left.iter().find(|dir| dir.exists());
        ensure!(left.is_none(), "{left:?} is still there");
        Ok(())
    })
}

fn wrong_usage() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let cases: [(&[&str], i32, &str); 5] = [
        (&["6"], 2, "6 is not in 1..=5"),
        (&[], 2, "Usage: cargo workshop check"),
        (&["1", "--bin", "x", "--", "y"], 2, "cannot be used with"),
        (&["1", "--bin", "no-such-file"], 1, "workshop: --bin no-such-file: there is no such file"),
        (&["1", "--bin", "/bin/sh", "--only", "pid-1"], 1, "step 1 has no check of the name pid-1"),
    ];
    for (args, wanted, word) in cases {
        let (said, code) = run(&mut check(&dir, args))?;
        ensure!(code == Some(wanted) && said.contains(word), "{args:?}: {code:?}, {said}");
    }
    let (said, code) =
        run(&mut check(&dir, ["1", "--only", "runs-the-command", "--", "/no/such"]))?;
    ensure!(said.contains("No such file or directory") && code == Some(1), "{said}");
    Ok(())
}

/// As a user: what takes root is told, and not taken for done.
fn without_root() -> Result<()> {
    let (dir, _) = with_program("step03-pid", &fs::read(program("step03-pid"))?)?;
    let workshop = dir.path().join("workshop");
    fs::copy(program("workshop"), &workshop)?;
    for (name, wanted, word) in [
        ("pid-1", 0, "All 1 hold."),
        (
            "without-privilege",
            1,
            "    not run: it needs root\n0 of 1 hold, 1 not run.\nWith root: sudo ",
        ),
    ] {
        let mut user = Command::new("setpriv");
        user.args(["--reuid", "4711", "--regid", "4711", "--clear-groups"]).arg(&workshop);
        user.args(["check", "3", "--bin", "step03-pid", "--only", name]).current_dir(&dir);
        let (said, code) = run(&mut user)?;
        ensure!(code == Some(wanted) && said.contains(word), "{name}: {code:?}, {said}");
    }
    Ok(())
}

fn unshare() -> Result<()> {
    let args = ["3", "--brief", "--no-run", "--", "unshare", "-fp", "--mount-proc"];
    snapshot("check-unshare", &tempfile::tempdir()?, &args)
}

/// The short version, in `step04-mount/examples`. It says itself in how many ways it is wrong.
fn talk() -> Result<()> {
    // As the page has one type it.
    let mut typed = cargo("run");
    typed.args([
        "-p",
        "step04-mount",
        "--example",
        "talk",
        "--",
        "run",
        "/bin/sh",
        "-c",
        "echo $$",
    ]);
    let (said, code) = run(typed.env("ROOTFS", rootfs()).stdin(Stdio::null()))?;
    ensure!(said == "Running [/bin/sh -c echo $$] as pid: 1\n2\n" && code == Some(0), "{said}");
    let dir = tempfile::tempdir()?;
    fs::set_permissions(&dir, Permissions::from_mode(0o755))?;
    fs::copy(programs().join("examples/talk"), dir.path().join("talk"))?;
    let args = ["4", "--brief", "--", "env", "PATH=/bin:/usr/bin", "./talk"];
    let source = fs::read_to_string(workspace().join("step04-mount/examples/talk.rs"))?;
    let lines = source.lines().filter(|line| !line.contains("// ANCHOR")).count();
    ensure!(lines <= 75, "talk.rs has {lines} lines");
    let (said, _) = run(&mut check(&dir, args))?;
    let wrong = said.lines().filter(|line| line.starts_with("✘ ")).count();
    ensure!(
        source.contains(&format!("wrong in {wrong} ways")),
        "it is wrong in {wrong} ways: {said}"
    );
    snapshot("check-talk", &dir, &args)
}

fn talk_go() -> Result<()> {
    // As it is, it finds no command: it looks for them in the host's PATH, where /usr/bin comes
    // before /bin, and in the root filesystem most are in /bin.
    let dir = built("talk")?;
    let mut as_it_is = check(&dir, ["4", "--bin", "talk", "--only", "runs-the-command"]);
    as_it_is.env("PATH", "/usr/bin:/bin");
    let (said, _) = run(&mut as_it_is)?;
    ensure!(said.contains("panic: fork/exec /usr/bin/echo: no such file or directory"), "{said}");
    ensure!(said.ends_with("cargo workshop check 4 -- env PATH=/bin:/usr/bin ./talk\n"), "{said}");
    let args = ["4", "--brief", "--", "env", "PATH=/bin:/usr/bin", "./talk"];
    snapshot("check-talk-go", &dir, &args)
}

fn pivot_go() -> Result<()> {
    snapshot("check-pivot-go", &built("pivot")?, &["4", "--brief", "--bin", "./pivot"])
}

/// A program of workshop/tests/go, in a directory of its own.
fn built(name: &str) -> Result<TempDir> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/go/{name}.go"));
    let dir = tempfile::tempdir()?;
    let mut go = Command::new("go");
    go.arg("build").arg("-o").arg(dir.path().join(name)).arg(source);
    ensure!(go.status()?.success(), "{name}.go does not compile");
    Ok(dir)
}

/// Holds what is wrong against a snapshot, without what differs from run to run.
fn snapshot(name: &str, dir: &TempDir, args: &[&str]) -> Result<()> {
    let (said, code) = run(&mut check(dir, args))?;
    ensure!(code == Some(1), "it ends with {code:?}: {said}");
    let said = format!("$ cargo workshop check {}\n{said}", args.join(" "));
    let hostname = format!(r"\\n{}\\n", host::hostname()?);
    insta::with_settings!({
        omit_expression => true,
        prepend_module_to_snapshot => false,
        filters => vec![
            (r"/tmp/workshop-[-\d]+(/check-\w+)?", "/tmp/check"),
            (r"sent \S+ after", "sent … after"),
            (r"pressed \S+ after", "pressed … after"),
            (r"open inside: .*", "open inside: …"),
            (r"SigIgn:\\t\w+", r"SigIgn:\t…"),
            // The shell says it, in its own words.
            (r"(exit code \d+ instead of 126), and it says: .*for-another-machine: \d.*", "$1"),
            // Where a full-screen program gets stuck is a matter of the moment.
            (r"(\(full-screen\)\n) .*", "$1    …"),
            (hostname.as_str(), r"\nhost\n"),
        ],
    }, {
        insta::assert_snapshot!(name, said);
    });
    Ok(())
}
