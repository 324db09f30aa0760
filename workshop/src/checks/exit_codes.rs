//! How it ends: the command's exit codes and our own (125, 126 and 127, as in Docker).

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Check;
use super::Fails::{Saboteur, Step};
use crate::command::end;
use crate::container::{Runner, for_some};

#[rustfmt::skip] // A check is two lines.
pub(super) const CHECKS: &[Check] = &[
    Check::new("exit-code", 1, exit_code, Saboteur(r#""$REAL" "$@"; exit 0"#),
        "The runner ends with the exit code of the command, from 0 to 255."),
    Check::new("exit-126", 1, exit_126, Saboteur(r#""$REAL" "$@" || exit 1"#),
        "A command that exists but cannot be executed ends with 126."),
    Check::new("exit-127", 1, exit_127, Saboteur(r#""$REAL" "$@" || exit 1"#),
        "A command that does not exist ends with 127, and one line names it."),
    Check::new("exit-128-and-signal", 1, |it| killed_by(it, &[1, 2, 9, 13, 15]), Saboteur(r#""$REAL" "$@" || exit 1"#),
        "A command killed by signal n ends with 128 + n."),
    Check::new("exit-128-and-realtime-signal", 1, |it| killed_by(it, &[34, 40, 64]), Saboteur(r#""$REAL" "$@"; code=$?; [ $code -lt 162 ] && exit $code; exit 1"#),
        "A command killed by a real-time signal ends with 128 + n, too."),
    Check::new("usage-error-125", 1, usage_error_125, Saboteur(r#""$REAL" "$@"; [ $? != 125 ] || exit 2"#),
        "Wrong usage ends with 125 and prints the usage on standard error."),
    Check::new("help-0", 1, help_0, Saboteur(r#""$REAL" "$@" >&2"#),
        "`--help` prints to standard output, ends with 0, and does not mention `child`."),
    Check::new("without-privilege", 2, without_privilege, Step(1),
        "Without the privilege it ends with 125 and one line: the call, the reason, what to try."),
    Check::new("missing-interpreter", 3, missing_interpreter, Step(2),
        "A command with a missing interpreter is not reported as missing itself."),
    Check::new("wrong-architecture", 3, wrong_architecture, Step(2),
        "A command for another architecture ends with 126 and says so."),
    Check::new("missing-rootfs", 4, missing_rootfs, Step(3),
        "Without a root filesystem it ends with 125, and the line says how to get one."),
];

fn exit_code(runner: &Runner) -> Result<()> {
    // All of them if there is time, else a spread of them. 167 is odd, so none comes twice.
    for count in for_some(Duration::from_secs(5), 16).take(256) {
        let code = count * 167 % 256;
        runner.sh(&format!("exit {code}"))?.expect(code as i32)?;
    }
    Ok(())
}

fn exit_126(runner: &Runner) -> Result<()> {
    let file = runner.put("not-executable", b"#!/bin/sh\n", 0o644)?;
    runner.run([file])?.expect(126).context("a file without the permission")?;
    runner.run(["/tmp"])?.expect(126).context("a directory")?;
    Ok(())
}

fn exit_127(runner: &Runner) -> Result<()> {
    // The program may print lines of its own for any command.
    let always = runner.run(["true"])?.expect(0)?.stderr.lines().count();
    for command in ["no-such-command", "/no/such/command", "./no-such-command", ""] {
        let said = runner.run([command])?.expect(127).with_context(|| format!("{command:?}"))?;
        let lines: Vec<_> = said.stderr.lines().collect();
        let last = lines.last().filter(|line| !line.starts_with("Running"));
        let named = last.is_some_and(|line| line.contains(command)) && lines.len() <= always + 1;
        ensure!(named, "not one line that names {command:?}: {lines:?}");
    }
    Ok(())
}

fn killed_by(runner: &Runner, signals: &[i32]) -> Result<()> {
    for signal in signals {
        runner.sh(&format!("kill -{signal} $$; sleep 1"))?.expect(128 + signal)?;
    }
    Ok(())
}

fn usage_error_125(runner: &Runner) -> Result<()> {
    for (wrong, word) in [
        (&[][..], "--help"),
        (&["--no-such-option", "true"], "usage:"),
        (&["--hostname"], "--help"),
    ] {
        let said = runner.run(wrong)?.expect(125).with_context(|| format!("run {wrong:?}"))?;
        let told = said.stdout.is_empty() && said.stderr.to_lowercase().contains(word);
        ensure!(told, "no {word:?} on standard error for run {wrong:?}: {said:?}");
    }
    Ok(())
}

fn help_0(runner: &Runner) -> Result<()> {
    let said = runner.run(["--help"])?.expect(0)?.text();
    ensure!(said.to_lowercase().contains("usage:"), "no usage on standard output: {said:?}");
    ensure!(!said.contains("  child"), "it mentions `child`: {said}");
    Ok(())
}

fn without_privilege(runner: &Runner) -> Result<()> {
    let command = runner.command(["true"]);
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"]);
    let words = ["unshare", "operation not permitted", "sudo", "vagrant up"];
    end(nobody.arg(runner.copy()?).args(command.get_args()))?.refuses(&words)
}

fn missing_interpreter(runner: &Runner) -> Result<()> {
    let file = runner.put("script", b"#!/no/such/interpreter\n", 0o755)?;
    let said = runner.run([&file])?.expect(126)?.stderr;
    ensure!(said.contains("interpreter"), "\"interpreter\" is not in {said:?}");
    let said = runner.run([format!("{file}-not")])?.expect(127)?.stderr;
    ensure!(!said.contains("interpreter"), "the program is missing, but it says: {said:?}");
    Ok(())
}

fn wrong_architecture(runner: &Runner) -> Result<()> {
    // EM_AVR: a small chip, which is foreign to every machine we run on.
    let mut program = fs::read("/proc/self/exe").context("read an ELF file")?;
    program[18..20].copy_from_slice(&83u16.to_ne_bytes());
    let file = runner.put("for-another-machine", &program, 0o755)?;
    let said = runner.run([file])?.expect(126)?.stderr;
    ensure!(said.to_lowercase().contains("exec format error"), "no reason in {said:?}");
    Ok(())
}

fn missing_rootfs(runner: &Runner) -> Result<()> {
    let words = ["/no/such/directory", "no such file or directory", "workshop rootfs"];
    runner.run(["--rootfs", "/no/such/directory", "true"])?.refuses(&words)?;
    runner.run(["true"])?.expect(0).context("with the existing one").map(drop)
}
