//! The storm: containers killed at random moments, and crowds of them. Afterwards the host must be
//! as it was.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use fastrand::Rng;

use crate::container::Runner;
use crate::host::{self, State};
use crate::privilege::Privilege;
use crate::steps::STEPS;

/// How many containers run at once in a crowd.
const CROWD: usize = 64;

/// A storm for one step.
pub struct Storm {
    /// The step, 1 to 5, whose options are used.
    pub step: usize,
    /// The program, and what stands before `run`.
    pub argv: Vec<OsString>,
    /// The root filesystem of its containers.
    pub rootfs: PathBuf,
    /// How many to kill, and how many to let run in crowds.
    pub runs: usize,
    /// Where the random moments begin.
    pub seed: u64,
}

const STORM: &str = "WORKSHOP_STORM";
const ARGV: &str = "WORKSHOP_STORM_ARGV";

impl Storm {
    /// Storms on a throw-away host; says what was done.
    pub fn run(&self, privilege: Privilege) -> Result<String> {
        let numbers = format!("{} {} {}", self.step, self.runs, self.seed);
        let argv = self.argv.join(OsStr::new("\n"));
        let rootfs = self.rootfs.as_os_str();
        let envs = [(STORM, OsStr::new(&numbers)), (ARGV, &argv), ("ROOTFS", rootfs)];
        // A run takes milliseconds: a hundred of them, and it hangs.
        let limit = Duration::from_secs(60) + Duration::from_millis(200) * self.runs as u32;
        let output = host::run_for(limit, privilege, &env::current_exe()?, &envs)?;
        let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{said}{}", complaint.trim_end());
        Ok(said)
    }
}

/// The part that runs on the throw-away host. A program that uses `Storm::run` calls this first
/// thing in `main`, and ends if it gives an exit code.
pub fn on_the_host() -> Option<ExitCode> {
    let numbers = env::var(STORM).ok()?;
    Some(host::exit_code(storm(&numbers).map(|said| println!("{said}"))))
}

fn storm(numbers: &str) -> Result<String> {
    let numbers: Vec<u64> = numbers.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [step, runs, seed] = numbers[..] else { return Err(anyhow!("{STORM}: {numbers:?}")) };
    let argv = env::var(ARGV)?.split('\n').map(OsString::from).collect();
    let rootfs = (step >= 4).then(|| env::var_os("ROOTFS").map(PathBuf::from)).flatten();
    let runner = Runner::new(argv, rootfs)?;
    let before = (State::now()?, host::open_files());
    let killed = kills(&runner, step, runs, seed).context("kill -9 at random moments");
    settled(&runner, step, &before).context("after the kills")?;
    let crowd = crowds(&runner, step, runs as usize).context("in a crowd");
    settled(&runner, step, &before).context("after the crowds")?;
    crowd?;
    Ok(format!("{}, {runs} runs {CROWD} at once, the host as before", killed?))
}

/// What a step runs in the storm, with all that it can set.
fn arguments(step: u64) -> Vec<&'static str> {
    let hostname = ["--hostname", "storm"].into_iter().filter(|_| step >= 2);
    let limits = ["--memory", "64m", "--cpus", "1", "--pids-limit", "5"].into_iter();
    hostname.chain(limits.filter(|_| step >= 5)).chain(["true"]).collect()
}

/// Kills runners at moments evenly spread from the start to twice the length of a run.
fn kills(runner: &Runner, step: u64, runs: u64, seed: u64) -> Result<String> {
    let mut random = Rng::with_seed(seed);
    let (mut twice, mut running) = (Duration::ZERO, 0);
    for run in 0..runs {
        // Anew from time to time: the machine may have got other work.
        if run % 50 == 0 {
            twice = 2 * length(runner, step)?;
        }
        let mut child = start(runner, step)?;
        thread::sleep(twice.mul_f64(random.f64()));
        running += u64::from(child.try_wait()?.is_none());
        child.kill()?;
        child.wait()?;
    }
    // It would be half of them, were a run always as long.
    ensure!(running >= runs / 10, "only {running} of {runs} were still running when killed");
    Ok(format!("{runs} kills (seed {seed}), {running} of them while it ran"))
}

fn start(runner: &Runner, step: u64) -> Result<Child> {
    let mut command = runner.command(arguments(step));
    Ok(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

/// The median length of a run.
fn length(runner: &Runner, step: u64) -> Result<Duration> {
    let mut lengths = Vec::new();
    for _ in 0..9 {
        let begin = Instant::now();
        let ended = start(runner, step)?.wait()?;
        ensure!(ended.success(), "it does not even run in peace: {ended}");
        lengths.push(begin.elapsed());
    }
    lengths.sort_unstable();
    Ok(lengths[4])
}

fn crowds(runner: &Runner, step: u64, runs: usize) -> Result<()> {
    thread::scope(|scope| {
        let share = |i| runs / CROWD + usize::from(i < runs % CROWD);
        let one = move || runner.run(arguments(step))?.expect(0).map(drop);
        let crowd: Vec<_> = (0..CROWD)
            .map(|i| scope.spawn(move || (0..share(i)).try_for_each(|_| one())))
            .collect();
        crowd.into_iter().try_for_each(|t| t.join().map_err(|_| anyhow!("a thread panicked"))?)
    })
}

/// Fails unless the host is as it was, once the next run has removed the cgroups of killed ones.
fn settled(runner: &Runner, step: u64, before: &(State, Vec<String>)) -> Result<()> {
    before.0.processes_restored()?;
    runner.run(arguments(step))?.expect(0)?;
    before.0.restored()?;
    let open = host::open_files();
    ensure!(open == before.1, "open files: {:?} before, {open:?} now", before.1);
    Ok(())
}

/// The storm for a step as cargo built it.
pub fn of(step: usize, program: &Path, rootfs: &Path, runs: usize, seed: u64) -> Storm {
    let argv = vec![program.join(STEPS[step - 1]).into()];
    Storm { step, argv, rootfs: rootfs.to_owned(), runs, seed }
}
