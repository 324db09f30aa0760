//! Running commands, and how they end.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use anyhow::{Context, Result, ensure};

use crate::machine::eventually;

/// How a command ended, and what it printed.
#[derive(Debug)]
pub struct Ended {
    /// The exit code as a shell reports it: 128 + n for a command killed by signal n.
    pub code: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
}

impl Ended {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Fails unless this is the exit code.
    pub fn expect(self, code: i32) -> Result<Ended> {
        let (is, why) = (self.code, self.complaint());
        ensure!(is == code, "exit code {is} instead of {code}\n{why}");
        Ok(self)
    }

    /// Fails unless the exit code is 0 and this is standard output.
    pub fn says(self, right: &str) -> Result<()> {
        let said = self.expect(0)?.text();
        ensure!(said == right, "it printed {said:?} instead of {right:?}");
        Ok(())
    }

    /// Fails unless the exit code is 125 and there is one line with these words (in lower case).
    pub fn refuses(self, words: &[&str]) -> Result<()> {
        let ended = self.expect(125)?;
        let said = ended.stderr.to_lowercase();
        let one_line = said.lines().count() == 1 && ended.stdout.is_empty();
        ensure!(one_line, "not one line, but {said:?} and {:?}", ended.text());
        let missing = words.iter().find(|word| !said.contains(**word));
        ensure!(missing.is_none(), "{missing:?} is not in {said:?}");
        Ok(())
    }

    /// Standard error, without the line that announces the command.
    pub(crate) fn complaint(&self) -> String {
        let lines = self.stderr.lines().filter(|line| !line.starts_with("Running ["));
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Ended { code: code(output.status), stdout: output.stdout, stderr }
    }
}

/// The exit code as a shell reports it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// A command that is started by another one, which comes before it, in the same environment.
pub fn behind(front: &[&str], command: &Command) -> Command {
    let mut words = front.iter().map(OsStr::new).chain(words(command));
    let mut both = Command::new(words.next().unwrap_or_default());
    both.args(words).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => both.env(name, value),
            None => both.env_remove(name),
        };
    }
    both
}

/// Its program and arguments.
pub fn words(command: &Command) -> impl Iterator<Item = &OsStr> {
    [command.get_program()].into_iter().chain(command.get_args())
}

/// Runs a command to its end.
pub fn end(command: &mut Command) -> Result<Ended> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    Ok(output.into())
}

/// Runs a shell script on the host, which must not fail. Returns what it printed.
pub fn on_the_host(script: &str) -> Result<String> {
    Ok(end(Command::new("sh").args(["-c", script]))?.expect(0)?.text())
}

/// Waits for the end of a program, and returns its exit code. Kills it if it does not end.
pub fn end_in_time(child: &mut Child) -> Result<i32> {
    let ended = eventually(|| child.try_wait()?.context("it does not end"));
    if ended.is_err() {
        child.kill()?;
    }
    Ok(code(ended?))
}
