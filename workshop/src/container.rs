//! A program that makes containers, and one of its containers: what the checks look at.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, alarm};

use crate::host::{self, Process, descendants, processes};
use crate::machine::{eventually, patience, slowness};
use crate::temp::TempDir;
use crate::terminal::Terminal;

/// A program that is started as `PROGRAM run [OPTIONS] COMMAND [ARGS]...`.
pub struct Runner {
    /// The program, and what stands before `[OPTIONS] COMMAND`.
    argv: Vec<OsString>,
    /// What starts it as somebody else: `setpriv …`. Nothing, if we start it.
    pub caller: &'static [&'static str],
    /// How it was started last.
    last: Mutex<Vec<OsString>>,
    /// The root filesystem of its containers, if it has come so far.
    rootfs: Option<PathBuf>,
    /// A directory for the files of a check: the same path on the host and in the container.
    place: TempDir,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// The exit code as a shell has it: 128 + n after a death by signal n.
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

    /// Fails unless the exit code is this.
    pub fn expect(self, code: i32) -> Result<Ended> {
        if self.code == code {
            return Ok(self);
        }
        bail!("exit code {} instead of {code}{}", self.code, complaint(&self.stderr))
    }
}

/// What was said on standard error, to be put behind an error of ours.
fn complaint(stderr: &str) -> String {
    let said = stderr.lines().filter(|line| !line.starts_with("Running ["));
    let said: String = said.map(|line| format!("\n{line}")).collect();
    if said.is_empty() { said } else { format!(", and it says:{said}") }
}

/// The exit code as a shell has it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

impl Runner {
    /// A runner for one check, on its throw-away host. It is given `run` and a command.
    pub fn new(mut argv: Vec<OsString>, rootfs: Option<PathBuf>) -> Result<Runner> {
        argv.push("run".into());
        Runner::without_run(argv, rootfs)
    }

    /// A runner that is given a command alone.
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

    /// The check's directory as the container will see it, if that is another one.
    fn inside(&self) -> Option<PathBuf> {
        let place = self.place.path().strip_prefix("/").ok()?;
        self.rootfs.as_ref().map(|rootfs| rootfs.join(place))
    }

    /// Puts a file where host and container see it at the same path, which it returns.
    pub fn put(&self, name: &str, content: &[u8], mode: u32) -> Result<String> {
        let path = self.place.path().join(name);
        for path in
            [Some(path.clone()), self.inside().map(|dir| dir.join(name))].into_iter().flatten()
        {
            fs::write(&path, content)?;
            fs::set_permissions(&path, PermissionsExt::from_mode(mode))?;
        }
        Ok(path.display().to_string())
    }

    /// `PROGRAM run ARGS`, to be started in whatever way.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).args(args);
        let command = behind(self.caller, &command);
        let line = [command.get_program()].into_iter().chain(command.get_args());
        let line: Vec<_> = line.map(OsStr::to_owned).collect();
        if let Ok(mut last) = self.last.lock() {
            *last = line;
        }
        command
    }

    /// How it was started last, as one would type it; nothing if it never was.
    pub fn last(&self) -> String {
        self.last.lock().map(|last| typed(&last)).unwrap_or_default()
    }

    /// The option that it was given last, before the command, if that is one of ours.
    pub fn last_option(&self) -> Option<&'static str> {
        let last = self.last.lock().ok()?;
        let first = last.get(self.caller.len() + self.argv.len())?.to_str()?.split('=').next();
        let ours = ["--hostname", "--rootfs", "--memory", "--cpus", "--pids-limit"];
        ours.into_iter().find(|option| first == Some(*option))
    }

    /// A copy of the program that every user can reach.
    pub fn copy(&self) -> Result<String> {
        let name = Path::new(&self.argv[0]);
        let path = env::var_os("PATH").filter(|_| name.components().count() == 1);
        let mut files = env::split_paths(path.as_deref().unwrap_or_default());
        let file = files.find_map(|dir| Some(dir.join(name)).filter(|file| file.is_file()));
        let file = file.unwrap_or(name.to_owned());
        let content = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        self.put("program", &content, 0o755)
    }

    /// Runs a container to its end.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Ended> {
        end(&mut self.command(args))
    }

    /// Runs a shell script in a container to its end.
    pub fn sh(&self, script: &str) -> Result<Ended> {
        self.run(["sh", "-c", script])
    }

    /// Starts a container that runs a shell script, which says `ready` when it is.
    pub fn start(&self, options: &[&str], script: &str) -> Result<Running> {
        let args = options.iter().copied().chain(["sh", "-c", script]);
        let mut child = self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut said = Vec::new();
        let stdout = child.stdout.as_mut().context("no stdout")?;
        while !said.ends_with(b"ready\n") {
            let mut byte = [0];
            if stdout.read(&mut byte).context("read stdout")? == 0 {
                let ended = child.wait_with_output()?;
                let stderr = String::from_utf8_lossy(&ended.stderr);
                bail!("it ended with {}, too soon{}", code(ended.status), complaint(&stderr));
            }
            said.push(byte[0]);
        }
        Ok(Running { child })
    }

    /// Moments of a run of `sleep 777` at which a kill or a signal may come, evenly spread from its
    /// start to as long again after its command was there.
    pub fn moments(&self, count: u32) -> Result<impl Iterator<Item = Duration> + use<>> {
        let started = Instant::now();
        let mut child = self.sleeping()?;
        let there = eventually(|| {
            let there = processes().iter().any(|process| process.command == "sleep 777");
            ensure!(there, "it does not start its command");
            Ok(started.elapsed())
        });
        child.kill()?;
        child.wait()?;
        let (twice, count) = (2 * there?, count / slowness());
        Ok((0..count).map(move |i| twice * i / count))
    }

    /// Starts `sleep 777` in a container.
    pub fn sleeping(&self) -> Result<Child> {
        let mut command = self.command(["sleep", "777"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("start it")
    }

    /// A shell on a terminal of its own, at which the container can be run by hand.
    pub fn terminal(&self) -> Result<Terminal> {
        let caller = self.caller.iter().map(|word| quoted(word));
        let argv = self.argv.iter().map(|word| quoted(&word.to_string_lossy()));
        Terminal::open(caller.chain(argv).collect::<Vec<_>>().join(" "))
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(inside) = self.inside() {
            let _ = fs::remove_dir_all(inside);
        }
    }
}

/// A command line as one would type it.
pub fn typed(words: &[OsString]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    let typed = words.iter().map(|word| match word.to_string_lossy() {
        word if !word.is_empty() && word.chars().all(plain) => word.into_owned(),
        word => quoted(&word),
    });
    typed.collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Copies a root filesystem, without what is in /tmp: that is of other checks.
pub fn copy_rootfs(rootfs: &Path, copy: &Path) -> Result<()> {
    let script = r#"mkdir -p "$1/tmp"; for name in *; do
        [ "$name" = tmp ] || cp -a "$name" "$1"; done"#;
    let mut shell = Command::new("sh");
    end(shell.args(["-ec", script, "sh"]).arg(copy).current_dir(rootfs))?.expect(0).map(drop)
}

/// A command, with another in front of it that starts it.
pub fn behind(front: &[&str], command: &Command) -> Command {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let mut words = front.iter().map(|word| (*word).as_ref()).chain(words);
    let mut both = Command::new(words.next().unwrap_or_default());
    both.args(words).stdin(Stdio::null());
    both
}

/// Runs a command to its end.
pub fn end(command: &mut Command) -> Result<Ended> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Ended { code: code(output.status), stdout: output.stdout, stderr })
}

/// The case in which we become a command with an alarm.
pub const ALARM: &str = "alarm";

/// A command to which the kernel sends SIGALRM, a second after its start (`man 2 alarm`).
pub fn alarmed(command: &Command) -> Result<Command> {
    let mut alarmed = host::ourselves(ALARM)?;
    alarmed.arg(command.get_program()).args(command.get_args());
    Ok(alarmed)
}

/// Becomes that command.
pub fn become_alarmed(words: &[OsString]) -> Result<()> {
    let (program, args) = words.split_first().context("no command")?;
    // It stays set through exec.
    alarm::set(slowness());
    Err(Command::new(program).args(args).exec().into())
}

/// A container that runs.
pub struct Running {
    child: Child,
}

impl Running {
    /// The process id of the runner.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends the runner a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid()), signal).context("kill the runner")
    }

    /// What runs below the runner.
    pub fn processes(&self) -> Vec<Process> {
        descendants(self.pid())
    }

    /// Waits for the end, ten seconds at most.
    pub fn end(mut self) -> Result<Ended> {
        let code = code(self.in_time()?);
        let (send, said) = channel();
        thread::spawn(move || send.send(self.child.wait_with_output()));
        // Only the last who has its end of a pipe closes it.
        let Ok(output) = said.recv_timeout(patience()) else {
            bail!("it ended with {code}, but something of it lives on");
        };
        let output = output.context("read what it says")?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Ended { code, stdout: output.stdout, stderr })
    }

    /// Waits for the end of the runner alone: what it left may hold its pipes open.
    pub fn wait(mut self) -> Result<i32> {
        Ok(code(self.in_time()?))
    }

    fn in_time(&mut self) -> Result<ExitStatus> {
        let ended = eventually(|| self.child.try_wait()?.context("it does not end"));
        if ended.is_err() {
            self.child.kill()?;
        }
        ended
    }
}
