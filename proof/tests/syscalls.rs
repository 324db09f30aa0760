//! How many system calls each step makes, exactly: a step that makes one more, or one less, does
//! not go unnoticed. Time depends on the machine, this does not.
//!
//! Counted is what the step's own lines ask for, and not what comes with the machine: see `LEFT_OUT`.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use workshop::container::end;
use workshop::host;
use workshop::snapshot;
use workshop::steps::STEPS;
use workshop::testing::{
    self, PRIVILEGE, missing_privilege, missing_strace, program, rootfs, trial_unless,
};

/// For the part that runs on a throw-away host: where the steps are.
const PROGRAMS: &str = "WORKSHOP_SYSCALLS";

/// For those who read the snapshot.
const LEFT_OUT: &str = "\
Not counted, for it depends on the machine, on the versions of libc and Rust, or on the moment:
what is called before main and after it, and by the command; memory; signals' masks and handlers;
the looks (waitid, read of the signalfd) before a child is reaped; the fstat and lseek of an open
file; cgroups above the test's own; what only some kernels have (five files in /proc, the limit of
swap). A file is read once, however long it is, and a directory, too.
";

/// What is counted, and under which name: architectures and versions of libc differ.
const NAMES: &[(&str, &[&str])] = &[
    ("chdir", &["chdir"]),
    ("clone", &["clone3", "clone", "vfork", "fork"]),
    ("close", &["close"]),
    ("execve", &["execve"]),
    ("flock", &["flock"]),
    ("getdents", &["getdents64", "getdents"]),
    ("kill", &["kill", "tgkill", "rt_sigqueueinfo"]),
    ("mkdir", &["mkdir", "mkdirat"]),
    ("mount", &["mount"]),
    ("open", &["openat", "open", "creat"]),
    ("pipe", &["pipe2", "pipe"]),
    ("pivot_root", &["pivot_root"]),
    ("prctl", &["prctl"]),
    ("read", &["read"]),
    ("readlink", &["readlink", "readlinkat"]),
    ("rmdir", &["rmdir"]),
    ("setns", &["setns"]),
    ("sethostname", &["sethostname"]),
    ("signalfd", &["signalfd4", "signalfd"]),
    (
        "stat",
        &["statx", "newfstatat", "stat", "lstat", "fstatat64", "access", "faccessat", "faccessat2"],
    ),
    ("symlink", &["symlink", "symlinkat"]),
    ("umount", &["umount2"]),
    ("unlink", &["unlink"]),
    ("unshare", &["unshare"]),
    ("wait", &["wait4", "waitpid"]),
    ("write", &["write", "writev"]),
];

/// What only some kernels have.
const OPTIONAL: &[&str] = &[
    "/proc/acpi\"",
    "/proc/scsi\"",
    "/proc/kcore\"",
    "/proc/keys\"",
    "/proc/sysrq-trigger\"",
    "memory.memsw.",
    "memory.swap.",
];

fn main() -> ExitCode {
    if let Some(programs) = env::var_os(PROGRAMS) {
        return host::exit_code(on_the_host(Path::new(&programs)));
    }
    testing::run(1, trials)
}

fn trials() -> Vec<Trial> {
    let missing = missing_privilege(true).or_else(missing_strace);
    vec![
        trial_unless(missing, "as-in-the-snapshot".into(), as_in_the_snapshot),
        trial_unless(None, "counts-what-is-ours".into(), counts_what_is_ours),
    ]
}

/// Counts on a throw-away host, whose cgroups have nobody else's beside them.
fn as_in_the_snapshot() -> Result<()> {
    let programs = program("");
    let envs = [(PROGRAMS, programs.as_os_str()), ("ROOTFS", rootfs().as_os_str())];
    let output = host::run(*PRIVILEGE, &env::current_exe()?, &envs)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    let said = String::from_utf8(output.stdout)?;
    let (world, table) = said.split_once('\n').context("no table")?;
    snapshot!(format!("syscalls-{world}"), table);
    Ok(())
}

fn on_the_host(programs: &Path) -> Result<()> {
    // Each step closes what it inherits, and that may be anything.
    (3..1024).for_each(|fd| {
        let _ = nix::unistd::close(fd);
    });
    let rootfs = env::var("ROOTFS")?;
    let host = Host::this()?;
    let mut counts = Vec::new();
    for (i, step) in STEPS.iter().enumerate() {
        // The first three have no root filesystem yet.
        let command = if i < 3 { format!("{rootfs}/bin/true") } else { "/bin/true".to_owned() };
        let mut argv = vec![programs.join(step).into_os_string(), "run".into()];
        let options: &[&str] = match i {
            0 => &[],
            1..=3 => &["--hostname", "box"],
            _ => &["--hostname", "box", "--memory", "64m", "--cpus", "0.5"],
        };
        argv.extend(options.iter().map(Into::into));
        argv.push(command.into());
        counts.push(host.count(&argv).with_context(|| (*step).to_owned())?);
    }
    println!("{}\n{}", host.world(), table(&counts));
    Ok(())
}

/// How often what is called.
type Counts = BTreeMap<&'static str, usize>;

/// What has to be known about the host.
struct Host {
    /// Its own cgroups.
    own: Vec<PathBuf>,
    /// Where the trees of cgroups are mounted.
    trees: Vec<String>,
}

impl Host {
    fn this() -> Result<Host> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("read mountinfo")?;
        let trees = mounts.lines().filter(|line| line.contains(" - cgroup"));
        let trees = trees.filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect();
        let own = host::trees();
        ensure!(!own.is_empty(), "no cgroups");
        Ok(Host { own, trees })
    }

    /// The version of its cgroups.
    fn world(&self) -> &'static str {
        let v2 = self.own.iter().any(|dir| dir.join("cgroup.subtree_control").exists());
        if v2 { "v2" } else { "v1" }
    }

    /// Runs it under strace, and counts. Anew, if a cgroup was not yet free when it was removed:
    /// then the step tries again.
    fn count(&self, argv: &[impl AsRef<OsStr>]) -> Result<Counts> {
        for _ in 0..20 {
            let logs = tempfile::tempdir()?;
            let mut strace = Command::new("strace");
            strace.args(["-ff", "-y", "--quiet=all", "-o"]).arg(logs.path().join("log"));
            end(strace.arg("--").args(argv).stdin(Stdio::null()))?.expect(0)?;
            let mut counts = Counts::new();
            let mut again = false;
            for log in fs::read_dir(logs.path())? {
                let log = fs::read(log?.path())?;
                let log = String::from_utf8_lossy(&log);
                again |= log.lines().any(|line| line.contains(" EBUSY "));
                self.add(&log, &mut counts);
            }
            if !again {
                return Ok(counts);
            }
        }
        bail!("its cgroup was never free at once")
    }

    /// Counts what a process calls.
    fn add(&self, log: &str, counts: &mut Counts) {
        let mut in_main = false;
        // What was called last and of which file.
        let mut last = ("", "");
        for line in log.lines() {
            let Some((call, rest)) = line.split_once('(') else { continue };
            let name = NAMES.iter().find(|(_, calls)| calls.contains(&call)).map(|(name, _)| *name);
            // The last thing that std does before main, the first after it.
            if call == "sigaltstack" {
                in_main = rest.starts_with('{') && !rest.contains("SS_DISABLE");
            }
            let Some(name) = name else { continue };
            let succeeded = !line.contains(") = -1 ");
            if name == "execve" && succeeded {
                in_main = false;
                *counts.entry(name).or_default() += 1;
                continue;
            }
            if !in_main || self.leaves_out(name, line) {
                continue;
            }
            let this = (name, rest.split([',', ')']).next().unwrap_or_default());
            let more = ["read", "getdents"].contains(&name) && this == last;
            last = this;
            if !more {
                *counts.entry(name).or_default() += 1;
            }
        }
    }

    /// Does it depend on the machine, or on the moment?
    fn leaves_out(&self, name: &str, line: &str) -> bool {
        let ours = |line: &str| self.own.iter().any(|dir| line.contains(&*dir.to_string_lossy()));
        let below = |path: &str| {
            line.contains(&format!("{path}/"))
                || line.contains(&format!("{path}\""))
                || line.contains(&format!("<{path}>"))
        };
        let of_cgroups =
            self.trees.iter().any(|tree| below(tree)) || line.contains("/cgroup.procs\"");
        match name {
            "clone" => line.contains(" ENOSYS "),
            "read" if line.contains("signalfd") => true,
            "stat" if line.contains("AT_EMPTY_PATH") => true,
            // Only those that found a child.
            "wait" => !line.contains("WIFEXITED"),
            _ => of_cgroups && !ours(line) || OPTIONAL.iter().any(|path| line.contains(path)),
        }
    }
}

/// For the snapshot.
fn table(counts: &[Counts]) -> String {
    let mut text = format!("{LEFT_OUT}\n");
    let mut row = |name: &str, cells: &mut dyn Iterator<Item = usize>| {
        let cells: String = cells.map(|count| format!("{count:>6}")).collect();
        let _ = writeln!(text, "{name:12}{cells}");
    };
    row("step", &mut (1..=counts.len()));
    for (name, _) in NAMES {
        if counts.iter().any(|counts| counts.contains_key(name)) {
            row(name, &mut counts.iter().map(|counts| counts.get(name).copied().unwrap_or(0)));
        }
    }
    row("all", &mut counts.iter().map(|counts| counts.values().sum()));
    text
}

/// What is counted of a log, and what is not.
fn counts_what_is_ours() -> Result<()> {
    let host = Host { own: vec!["/cg/pids/up/own".into()], trees: vec!["/cg/pids".into()] };
    let log = r#"execve("/step", ["step"], 0x7 /* 3 vars */) = 0
openat(AT_FDCWD, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3</etc/ld.so.cache>
sigaltstack(NULL, {ss_sp=NULL, ss_flags=SS_DISABLE, ss_size=0}) = 0
sigaltstack({ss_sp=0x7fc, ss_flags=0, ss_size=11952}, NULL) = 0
openat(AT_FDCWD</>, "/proc/self/mountinfo", O_RDONLY|O_CLOEXEC) = 3</proc/7/mountinfo>
statx(3</proc/7/mountinfo>, "", AT_STATX_SYNC_AS_STAT|AT_EMPTY_PATH, STATX_ALL, {}) = 0
read(3</proc/7/mountinfo>, "22", 32) = 32
read(3</proc/7/mountinfo>, "", 32) = 0
close(3</proc/7/mountinfo>) = 0
statx(AT_FDCWD</>, "/cg/pids/up/cgroup.procs", AT_STATX_SYNC_AS_STAT, STATX_ALL, {}) = 0
openat(AT_FDCWD</>, "/cg/pids/up", O_RDONLY) = 3</cg/pids/up>
getdents64(3</cg/pids/up>, 0x5 /* 8 entries */, 32768) = 280
close(3</cg/pids/up>) = 0
statx(AT_FDCWD</>, "/cg/cgroup.procs", AT_STATX_SYNC_AS_STAT, STATX_ALL, 0x7) = -1 ENOENT (No)
mkdir("/cg/pids/up/own/step05-RcyKGJ", 0700) = 0
clone3({flags=CLONE_VM}, 88) = -1 ENOSYS (Function not implemented)
clone(child_stack=NULL, flags=SIGCHLD) = 8
--- SIGCHLD {si_signo=SIGCHLD} ---
statx(AT_FDCWD</>, "/proc/scsi", AT_STATX_SYNC_AS_STAT, STATX_ALL, 0x7) = -1 ENOENT (No)
wait4(8, 0x7fff, WNOHANG, NULL) = 0
read(3<anon_inode:[signalfd]>, "\21", 128) = 128
wait4(8, [{WIFEXITED(s) && WEXITSTATUS(s) == 0}], WNOHANG, NULL) = 8
sigaltstack({ss_sp=NULL, ss_flags=SS_DISABLE, ss_size=11952}, NULL) = 0
write(2, "late", 4) = 4
"#;
    let mut counts = Counts::new();
    host.add(log, &mut counts);
    let expected = ["clone", "close", "execve", "mkdir", "open", "read", "wait"];
    let expected: Counts = expected.into_iter().map(|name| (name, 1)).collect();
    ensure!(counts == expected, "{counts:?} instead of {expected:?}");
    Ok(())
}
