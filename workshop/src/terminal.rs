//! A terminal with a shell, in which keys can be pressed.

use std::fs::File;
use std::io::{Read, Write};
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{Pid, tcgetpgrp};

use crate::command::{behind, code, end};
use crate::host::{Process, descendants, process, processes};
use crate::machine::eventually;

/// A terminal with a shell, in which keys can be pressed.
pub struct Terminal {
    shell: Child,
    master: OwnedFd,
    screen: String,
    /// The command line that runs a container; a command must follow.
    pub run: String,
}

impl Terminal {
    /// Opens one. `run` is the command line that runs a container.
    pub fn open(run: String) -> Result<Terminal> {
        let mut shell = Command::new("sh");
        // Prompts would only get in the way.
        shell.arg("-i").env("PS1", "").env("ENV", "/dev/null");
        Terminal::with(&shell, run)
    }

    /// Opens one for a command without a shell. It starts as soon as Enter is pressed.
    pub fn before(command: &Command) -> Result<Terminal> {
        let gate = ["sh", "-c", r#"ulimit -c 0; echo ready; read enter; exec "$@""#, "sh"];
        let mut terminal = Terminal::with(&behind(&gate, command), String::new())?;
        // Before this, ^C would reach nobody.
        terminal.wait_for("ready")?;
        Ok(terminal)
    }

    fn with(leader: &Command, run: String) -> Result<Terminal> {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).context("openpty")?;
        // ^C must not discard what is typed and printed at the same time.
        let mut settings = tcgetattr(&pty.slave).context("tcgetattr")?;
        settings.local_flags |= LocalFlags::NOFLSH;
        tcsetattr(&pty.slave, SetArg::TCSANOW, &settings).context("tcsetattr")?;
        // Nobody else may have it open, so that it is really closed when we close it.
        fcntl(&pty.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).context("fcntl")?;
        let stdio = || pty.slave.try_clone().map(Stdio::from);
        let mut shell = behind(&["setsid", "--ctty", "--wait"], leader);
        let shell = shell.stdin(stdio()?).stdout(stdio()?).stderr(stdio()?).spawn()?;
        Ok(Terminal { shell, master: pty.master, screen: String::new(), run })
    }

    /// Types text, control characters included (`\x03` is ^C).
    pub fn keys(&mut self, keys: &str) -> Result<()> {
        File::from(self.master.try_clone()?).write_all(keys.as_bytes()).context("type")
    }

    /// Changes its size.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        self.stty(&["rows", &rows.to_string(), "columns", &columns.to_string()]).map(drop)
    }

    /// Its settings, in the words of stty, and the process group in the foreground.
    pub fn state(&self) -> Result<(String, Pid)> {
        Ok((self.stty(&["-a"])?, self.foreground()?))
    }

    fn stty(&self, args: &[&str]) -> Result<String> {
        let mut stty = Command::new("stty");
        Ok(end(stty.args(args).stdin(self.master.try_clone()?))?.expect(0)?.text())
    }

    /// Types a line, and waits until a text is shown.
    pub fn enter(&mut self, line: &str, shown: &str) -> Result<()> {
        self.keys(&format!("{line}\n"))?;
        self.wait_for(shown).with_context(|| format!("after {line:?}"))
    }

    /// Runs a command in a container, and waits until it sleeps.
    pub fn start(&mut self, command: &str) -> Result<Process> {
        self.keys(&format!("{} {command}\n", self.run))?;
        self.wait_for_state(command, 'S')
    }

    /// Does it show this text, after the text that we waited for last?
    pub fn shows(&mut self, text: &str) -> Result<bool> {
        self.read()?;
        Ok(self.screen.contains(text))
    }

    /// What it has shown since it was last asked.
    pub fn seen(&mut self) -> Result<String> {
        self.read()?;
        Ok(mem::take(&mut self.screen))
    }

    /// Closes it, as closing the window does.
    pub fn hang_up(&mut self) -> Result<()> {
        self.master = File::open("/dev/null")?.into();
        Ok(())
    }

    /// The exit code of its session leader, if that has ended.
    pub fn ended(&mut self) -> Result<Option<i32>> {
        Ok(self.shell.try_wait()?.map(code))
    }

    /// Waits for the end of its session leader, and returns the exit code.
    pub fn end(&mut self) -> Result<i32> {
        eventually(|| {
            // It cannot end before its output is read.
            self.read()?;
            self.ended()?.context("it does not end")
        })
    }

    /// The process group in the foreground.
    pub fn foreground(&self) -> Result<Pid> {
        tcgetpgrp(&self.master).context("tcgetpgrp")
    }

    /// Waits until it shows this text, after the text that we waited for last.
    pub fn wait_for(&mut self, text: &str) -> Result<()> {
        eventually(|| {
            self.read()?;
            let Some(at) = self.screen.find(text) else {
                bail!("no {text:?} on the terminal, but:\n{}", self.screen.replace('\r', ""));
            };
            self.screen.drain(..at + text.len());
            Ok(())
        })
    }

    fn read(&mut self) -> Result<()> {
        let mut ready = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(50u8)).context("poll")? > 0 {
            let mut buffer = [0; 4096];
            let read = File::from(self.master.try_clone()?).read(&mut buffer).unwrap_or(0);
            self.screen += &String::from_utf8_lossy(&buffer[..read]);
        }
        Ok(())
    }

    /// The processes at the terminal: the runner first, the command last.
    pub fn processes(&self) -> Vec<Process> {
        let leader = self.shell.id() as i32;
        let mut found: Vec<_> = process(leader).into_iter().chain(descendants(leader)).collect();
        found.retain(|process| process.command != "sh -i");
        found
    }

    /// Waits until a process with exactly these arguments is in a state, such as `T`.
    pub fn wait_for_state(&self, command: &str, state: char) -> Result<Process> {
        eventually(|| {
            let found = processes().into_iter().find(|p| p.command == command && p.state == state);
            found.with_context(|| format!("no process {command:?} in state {state}"))
        })
    }

    /// Waits until no process has these words in its arguments.
    pub fn wait_for_no(&mut self, command: &str) -> Result<()> {
        eventually(|| {
            self.read()?;
            let left = processes().into_iter().find(|process| process.command.contains(command));
            ensure!(left.is_none(), "{left:?} is still there");
            Ok(())
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
