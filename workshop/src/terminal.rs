//! A terminal with a shell in front of it, in which keys can be pressed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::unistd::{Pid, tcgetpgrp};

use crate::container::{code, end};
use crate::host::{Process, descendants, processes};
use crate::machine::eventually;

/// A terminal with a shell in front of it, in which keys can be pressed.
pub struct Terminal {
    shell: Child,
    master: OwnedFd,
    screen: String,
    /// The command line that runs a container, to be followed by a command.
    pub run: String,
}

impl Terminal {
    /// Opens one. `run` is what runs a container.
    pub fn open(run: String) -> Result<Terminal> {
        let mut shell = Command::new("sh");
        // Prompts would only be in the way.
        shell.arg("-i").env("PS1", "").env("ENV", "/dev/null");
        Terminal::with(&shell, run)
    }

    /// Opens one with a command alone, which is started as soon as Enter is pressed.
    pub fn before(command: &Command) -> Result<Terminal> {
        let mut gate = Command::new("sh");
        gate.args(["-c", r#"ulimit -c 0; echo ready; read enter; exec "$@""#, "sh"]);
        gate.arg(command.get_program()).args(command.get_args());
        let mut terminal = Terminal::with(&gate, String::new())?;
        // Before it has the terminal, ^C reaches nobody.
        terminal.wait_for("ready")?;
        Ok(terminal)
    }

    /// Opens one with a leader of its session.
    fn with(leader: &Command, run: String) -> Result<Terminal> {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).context("openpty")?;
        // Ours alone, or it would not be closed when we close it.
        fcntl(&pty.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).context("fcntl")?;
        let stdio = || pty.slave.try_clone().map(Stdio::from);
        let mut shell = Command::new("setsid");
        shell.args(["--ctty", "--wait"]).arg(leader.get_program()).args(leader.get_args());
        shell.envs(leader.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let shell = shell.stdin(stdio()?).stdout(stdio()?).stderr(stdio()?).spawn()?;
        Ok(Terminal { shell, master: pty.master, screen: String::new(), run })
    }

    /// Types text, control characters included (`\x03` is ^C).
    pub fn keys(&mut self, keys: &str) -> Result<()> {
        File::from(self.master.try_clone()?).write_all(keys.as_bytes()).context("type")
    }

    /// Changes its size, as who drags the corner of a window does.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let mut stty = Command::new("stty");
        stty.args(["rows", &rows.to_string(), "columns", &columns.to_string()]);
        end(stty.stdin(self.master.try_clone()?))?.expect(0).context("stty").map(drop)
    }

    /// Its settings, in the words of stty.
    pub fn settings(&self) -> Result<String> {
        let mut stty = Command::new("stty");
        let settings = end(stty.arg("-a").stdin(self.master.try_clone()?))?.expect(0);
        Ok(settings.context("stty")?.text())
    }

    /// Does it show a text, after what was waited for last?
    pub fn shows(&mut self, text: &str) -> Result<bool> {
        self.read()?;
        Ok(self.screen.contains(text))
    }

    /// The exit code of what leads its session, if that has ended.
    pub fn ended(&mut self) -> Result<Option<i32>> {
        Ok(self.shell.try_wait()?.map(code))
    }

    /// Closes it, as who closes the window does.
    pub fn hang_up(&mut self) -> Result<()> {
        self.master = File::open("/dev/null")?.into();
        Ok(())
    }

    /// Waits for the end of what leads its session: its exit code.
    pub fn end(&mut self) -> Result<i32> {
        eventually(|| {
            // Who has still to say something could not end.
            self.read()?;
            self.ended()?.context("it does not end")
        })
    }

    /// The process group in front of it.
    pub fn foreground(&self) -> Result<Pid> {
        tcgetpgrp(&self.master).context("tcgetpgrp")
    }

    /// Waits until the terminal shows a text, after what was waited for last; ten seconds at most.
    pub fn wait_for(&mut self, text: &str) -> Result<()> {
        eventually(|| {
            self.read()?;
            let at = self.screen.find(text);
            let shown = || self.screen.replace('\r', "");
            let at =
                at.with_context(|| format!("no {text:?} on the terminal, but:\n{}", shown()))?;
            self.screen.drain(..at + text.len());
            Ok(())
        })
    }

    /// What the terminal shows, after what was waited for last, within some time.
    pub fn watch(&mut self, time: Duration) -> Result<String> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.read()?;
        }
        Ok(std::mem::take(&mut self.screen))
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

    /// What runs at the terminal: the runner first, the command last.
    pub fn processes(&self) -> Vec<Process> {
        let mut found = descendants(self.shell.id() as i32);
        // `setsid` may have put a process of its own before the shell.
        found.retain(|process| process.command != "sh -i");
        found
    }

    /// Waits until a process of the host with these arguments is in a state, such as `T`.
    pub fn wait_for_state(&self, command: &str, state: char) -> Result<Process> {
        eventually(|| {
            let found = processes().into_iter().find(|p| p.command == command && p.state == state);
            found.with_context(|| format!("no process {command:?} in state {state}"))
        })
    }

    /// Waits until no process has this in its arguments.
    pub fn wait_for_no(&mut self, command: &str) -> Result<()> {
        eventually(|| {
            self.read()?;
            let found = processes().into_iter().find(|process| process.command.contains(command));
            found.map_or(Ok(()), |found| bail!("`{}` is still there", found.command))
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
