//! A program that makes containers, and one of its containers. The checks look at these.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, alarm};

use crate::command::{Ended, behind, end, end_in_time, words};
use crate::host::{self, command_below};
use crate::machine::{eventually, patience, slowness};
use crate::temp::TempDir;
use crate::terminal::Terminal;

/// A program that is started as `PROGRAM run [OPTIONS] COMMAND [ARGS]...`.
pub struct Runner {
    argv: Vec<OsString>,
    /// The command that starts it as another user: `setpriv …`. Empty if we start it.
    pub caller: &'static [&'static str],
    last: Mutex<Vec<OsString>>,
    rootfs: Option<PathBuf>,
    /// A directory for the files of a check: the same path on the host and in the container.
    place: TempDir,
}

impl Runner {
    /// A runner for one check, on its throw-away host. It is given `run` and a command.
    pub fn new(mut argv: Vec<OsString>, rootfs: Option<PathBuf>) -> Result<Runner> {
        argv.push("run".into());
        Runner::without_run(argv, rootfs)
    }

    /// A runner that is given only a command.
    pub fn without_run(argv: Vec<OsString>, rootfs: Option<PathBuf>) -> Result<Runner> {
        let place = TempDir::new("check-")?;
        fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755))?;
        let runner = Runner { argv, caller: &[], last: Mutex::default(), rootfs, place };
        if let Some(inside) = runner.inside() {
            fs::create_dir_all(&inside).with_context(|| format!("mkdir {}", inside.display()))?;
        }
        Ok(runner)
    }

    /// A copy of its root filesystem, for one check alone.
    pub fn own_rootfs(&self) -> Result<PathBuf> {
        let copy = self.place.path().join("rootfs");
        if let Some(rootfs) = &self.rootfs {
            copy_rootfs(rootfs, &copy)?;
        }
        Ok(copy)
    }

    /// The check's directory inside the container, as a path on the host, if there is a rootfs.
    fn inside(&self) -> Option<PathBuf> {
        let place = self.place.path().strip_prefix("/").ok()?;
        Some(self.rootfs.as_ref()?.join(place))
    }

    /// Puts a file where host and container see it at the same path, and returns the path.
    pub fn put(&self, name: &str, content: &[u8], mode: u32) -> Result<String> {
        for dir in [Some(self.place.path().to_owned()), self.inside()].into_iter().flatten() {
            let path = dir.join(name);
            fs::write(&path, content)?;
            fs::set_permissions(&path, PermissionsExt::from_mode(mode))?;
        }
        Ok(self.place.path().join(name).display().to_string())
    }

    /// `PROGRAM run ARGS`, not started yet.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).args(args);
        let command = behind(self.caller, &command);
        if let Ok(mut last) = self.last.lock() {
            *last = words(&command).map(OsStr::to_owned).collect();
        }
        command
    }

    /// The same, started by another command, such as `env -i`.
    pub fn behind<S: AsRef<OsStr>>(
        &self,
        front: &[&str],
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        behind(front, &self.command(args))
    }

    /// The command line that started it last, as one would type it; empty if none did.
    pub fn last(&self) -> String {
        self.last.lock().map(|last| typed(&last)).unwrap_or_default()
    }

    /// The first option that it was given last, if that is one of ours.
    pub fn last_option(&self) -> Option<&'static str> {
        let last = self.last.lock().ok()?;
        let first = last.get(self.caller.len() + self.argv.len())?.to_str()?.split('=').next();
        let ours = ["--hostname", "--rootfs", "--memory", "--cpus", "--pids-limit"];
        ours.into_iter().find(|option| first == Some(*option))
    }

    /// A copy of the program that every user can reach.
    pub fn copy(&self) -> Result<String> {
        let mut cat = Command::new("sh");
        cat.args(["-c", r#"cat "$(command -v "$0")""#]).arg(&self.argv[0]);
        self.put("program", &end(&mut cat)?.expect(0)?.stdout, 0o755)
    }

    /// Runs a container to its end.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Ended> {
        end(&mut self.command(args))
    }

    /// Runs a shell script in a container to its end.
    pub fn sh(&self, script: &str) -> Result<Ended> {
        self.run(["sh", "-c", script])
    }

    /// Starts a container with a shell script, and waits until that prints `ready`.
    pub fn start(&self, options: &[&str], script: &str) -> Result<Running> {
        let args = options.iter().copied().chain(["sh", "-c", script]);
        let mut child = self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (mut said, mut byte) = (Vec::new(), [0]);
        while !said.ends_with(b"ready\n") {
            let stdout = child.stdout.as_mut().context("no stdout")?;
            if stdout.read(&mut byte).context("read stdout")? == 0 {
                let ended = Ended::from(child.wait_with_output()?);
                bail!("it ended too soon, with {}\n{}", ended.code, ended.complaint());
            }
            said.push(byte[0]);
        }
        Ok(Running { child })
    }

    /// Starts `sleep 777` in a container.
    pub fn sleeping(&self) -> Result<Child> {
        let mut command = self.command(["sleep", "777"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("start it")
    }

    /// Measures how long it takes until `sleep 777` runs in a container.
    pub fn time_to_start(&self) -> Result<Duration> {
        let started = Instant::now();
        let running = Running { child: self.sleeping()? };
        let there = command_below(running.pid(), "sleep 777").map(|_| started.elapsed());
        running.kill()?;
        there
    }

    /// Moments at which a kill or a signal may come. They are spread evenly over twice the time
    /// that `sleep 777` needs to start, and there are as many as can be tried in `time`.
    pub fn moments(&self, time: Duration) -> Result<impl Iterator<Item = Duration> + use<>> {
        let twice = 2 * self.time_to_start()?;
        // By the golden ratio, each falls into the widest gap between those before it.
        let moment = move |count| twice.mul_f64((f64::from(count) * 0.618034).fract());
        Ok(for_some(time, 10).map(moment))
    }

    /// A shell at a new terminal, in which the container can be run by hand.
    pub fn terminal(&self) -> Result<Terminal> {
        self.command::<&str>([]);
        Terminal::open(self.last())
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(inside) = self.inside() {
            let _ = fs::remove_dir_all(inside);
        }
    }
}

/// Counts from 0 as long as there is time, but at least up to `least`. So what is tried many times
/// is tried fewer times on a slow machine, instead of longer.
pub fn for_some(time: Duration, least: u32) -> impl Iterator<Item = u32> {
    let begun = Instant::now();
    (0..).take_while(move |count| *count < least || begun.elapsed() < time)
}

/// A command line as one would type it.
pub fn typed(words: &[OsString]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    let typed = words.iter().map(|word| match word.to_string_lossy() {
        word if !word.is_empty() && word.chars().all(plain) => word.into_owned(),
        word => format!("'{}'", word.replace('\'', r"'\''")),
    });
    typed.collect::<Vec<_>>().join(" ")
}

/// Copies a root filesystem, without the files in /tmp: they belong to other checks.
pub fn copy_rootfs(rootfs: &Path, copy: &Path) -> Result<()> {
    let script = r#"mkdir -p "$0/tmp"; for name in *; do
        [ "$name" = tmp ] || cp -a "$name" "$0"; done"#;
    let mut shell = Command::new("sh");
    end(shell.args(["-ec", script]).arg(copy).current_dir(rootfs))?.expect(0).map(drop)
}

/// The name of the case in which we become a command with an alarm.
pub const ALARM: &str = "alarm";

/// A command to which the kernel sends SIGALRM one second after its start (`man 2 alarm`).
pub fn alarmed(command: &Command) -> Result<Command> {
    let mut alarmed = host::ourselves(ALARM)?;
    alarmed.args(words(command));
    Ok(alarmed)
}

/// Becomes that command.
pub fn become_alarmed(words: &[OsString]) -> Result<()> {
    let (program, args) = words.split_first().context("no command")?;
    // It survives exec.
    alarm::set(slowness());
    Err(Command::new(program).args(args).exec().into())
}

/// A container that runs.
pub struct Running {
    child: Child,
}

impl Running {
    /// Ends it by SIGTERM, sent until it has ended: with hardly any CPU time it may still be starting,
    /// and miss one.
    pub fn terminate(mut self) -> Result<()> {
        eventually(|| {
            self.signal(Signal::SIGTERM)?;
            self.child.try_wait()?.context("it does not end")
        })?;
        Ok(())
    }

    /// The process id of the runner.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends the runner a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid()), signal).context("kill the runner")
    }

    /// Waits for the end of the runner, and of every process that holds its standard streams.
    pub fn end(mut self) -> Result<Ended> {
        let code = end_in_time(&mut self.child)?;
        let (send, said) = channel();
        thread::spawn(move || send.send(self.child.wait_with_output()));
        let Ok(output) = said.recv_timeout(patience()) else {
            bail!("it ended with {code}, but left a process running");
        };
        Ok(output.context("read what it says")?.into())
    }

    /// Ends it with a signal. Fails unless this is the exit code.
    pub fn end_by(self, signal: Signal, code: i32) -> Result<()> {
        self.signal(signal)?;
        self.end()?.expect(code).map(drop)
    }

    /// Kills the runner, and waits only for the runner's end.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}
