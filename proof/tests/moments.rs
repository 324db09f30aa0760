//! What goes wrong only if two things happen at the same moment. strace makes that moment longer.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proof::case::{self, Needs, case};
use proof::programs::{program, rootfs};
use proof::strace::strace;
use workshop::container::copy_rootfs;
use workshop::machine::eventually;
use workshop::steps::{STEPS, Step};

/// An orphan dies of a real-time signal, which nix does not know. While PID 1 looks which child has
/// died, the command ends, too.
const ORPHAN: &str =
    "orphan=$(sleep 777 >/dev/null & echo $!); kill -40 $orphan; sleep 1.5; exit 7";
/// The command itself dies of one, while `run` or PID 1 is about to look.
const COMMAND: &str = "sleep 0.4; kill -40 $$";

fn main() -> ExitCode {
    let mut cases = Vec::new();
    for (number, step) in (1..).zip(&STEPS) {
        let needs = Needs::root_if(step.root).with(&["strace"]);
        let name = |moment| format!("{}::{moment}", step.name);
        // From step 3 on, `run` and PID 1 look which child has died.
        if number >= 3 {
            let kept = |script, code| move || the_code_is_kept(step, script, code);
            cases.push(case(name("an-orphan-and-the-command-end"), needs, kept(ORPHAN, 7)));
            cases.push(case(name("a-death-that-nix-does-not-know"), needs, kept(COMMAND, 168)));
        }
        if step.rootfs {
            cases.push(case(name("a-swapped-dev-is-refused"), needs, || swapped(step, false)));
            cases.push(case(name("a-swapped-dev-that-fits-is-not"), needs, || swapped(step, true)));
        }
    }
    case::run(4, cases)
}

fn the_code_is_kept(step: &Step, script: &str, code: i32) -> Result<String> {
    let mut command = Command::new(program(step.name));
    command.args(["run", "sh", "-c", script]);
    // Each look takes a second longer.
    let options = ["-ff", "--trace=waitid", "--inject=waitid:delay_enter=1000000"];
    strace(&options, &command)?.0.expect(code)?;
    Ok(String::new())
}

/// During the start, somebody who may write to the root filesystem replaces its `/dev` with a
/// symlink that leads out. A step looks for symlinks only before it mounts. If there is no `pts`
/// where the link leads, it refuses to go on. If there is one, it goes on there, which is a known
/// limit.
fn swapped(step: &Step, fits: bool) -> Result<String> {
    let place = env::temp_dir();
    let (root, outside, log) = (place.join("rootfs"), place.join("host"), place.join("trace"));
    copy_rootfs(rootfs(), &root)?;
    fs::create_dir_all(if fits { outside.join("pts") } else { outside.clone() })?;
    let mut strace = Command::new("strace");
    // PID 1 stops when it has made /dev/pts.
    strace.args(["-f", "--quiet=all", "--inject=mkdir,mkdirat:signal=SIGSTOP"]);
    strace.args(["--trace=mkdir,mkdirat", "--trace-path=/dev/pts", "-o"]).arg(&log);
    strace.arg(program(step.name)).args(["run", "--rootfs"]).arg(&root).arg("true");
    let mut strace = strace.spawn().context("start strace")?;
    let stopped = eventually(|| {
        let log = fs::read_to_string(&log).context("strace has not started")?;
        let line = log.lines().find(|line| line.ends_with("--- stopped by SIGSTOP ---"));
        let pid = line.context("it does not make /dev/pts")?.split(' ').next();
        Ok(Pid::from_raw(pid.context("no process id")?.parse()?))
    })?;
    // On the host this is an empty directory. Removing it removes the mounts on it elsewhere.
    fs::remove_dir_all(root.join("dev"))?;
    symlink(Path::new("..").join(outside.strip_prefix("/")?), root.join("dev"))?;
    kill(stopped, Signal::SIGCONT)?;
    let refused = strace.wait()?.code() == Some(125);
    let made = outside.join("shm").exists();
    ensure!(refused != fits && made == fits, "refused: {refused}; made outside: {made}");
    Ok(String::new())
}
