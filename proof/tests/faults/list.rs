//! The faults: every system call that a step makes on purpose, and what must happen when it fails.

use std::ops::RangeInclusive;

use nix::errno::Errno::{self, *};
use proof::strace::Who::{self, Child, Command, Run};
use workshop::steps::STEPS;

pub struct Fault {
    pub steps: RangeInclusive<usize>,
    pub who: Who,
    /// The first call with this name and these words in its arguments.
    pub call: &'static str,
    /// Only calls after this one.
    pub after: Option<&'static str>,
    pub purpose: &'static str,
    pub errno: Errno,
    pub then: Then,
    /// Which later calls of that name fail, too, in strace's syntax: `+` is all of them, `+2` every
    /// second one.
    pub again: &'static str,
    /// The command in the container.
    pub command: &'static [&'static str],
}

/// What must happen. The line must contain the words, which name the call.
#[derive(Clone, Copy)]
pub enum Then {
    /// It ends with 125 and has not started the command.
    Stops(&'static str),
    /// It ends with 125, and the command, which may have been running, is gone.
    Ends(&'static str),
    /// The command could not be executed. It ends with this code.
    Unexecuted(u8, &'static str),
    /// Nothing happens, for this reason.
    Ignored(&'static str),
    /// It ends with the command's code and leaves something on the host until the next run.
    Leaves(&'static str),
}

use Then::{Ends, Ignored, Leaves, Stops, Unexecuted};

impl Fault {
    pub fn errno(&self) -> String {
        let for_good = if self.again == "+" { " for good" } else { "" };
        format!("{:?}{for_good}", self.errno)
    }

    const fn after(self, call: &'static str) -> Fault {
        Fault { after: Some(call), ..self }
    }

    const fn again(self, again: &'static str) -> Fault {
        Fault { again, ..self }
    }

    const fn with(self, command: &'static [&'static str]) -> Fault {
        Fault { command, ..self }
    }
}

/// This step and all later ones.
const fn from(step: usize) -> RangeInclusive<usize> {
    step..=STEPS.len()
}

const fn fault(
    steps: RangeInclusive<usize>,
    who: Who,
    call: &'static str,
    purpose: &'static str,
    errno: Errno,
    then: Then,
) -> Fault {
    let command = &["/bin/echo", "started"];
    Fault { steps, who, call, after: None, purpose, errno, then, again: "", command }
}

/// For faults that happen while the command runs: it has to stay for a moment.
const SLEEP: &[&str] = &["/bin/sleep", "0.3"];
/// Sends PID 1 a signal, which PID 1 passes on. It sends two, because its own first kill fails,
/// too.
const SIGNAL: &[&str] = &["/bin/sh", "-c", "kill -WINCH 1 2>/dev/null; kill -WINCH 1; sleep 0.3"];

const SIGNALS: &str = "rt_sigprocmask SIG_BLOCK, ~[CONT";
/// pthread_sigmask(3) returns its error, but nix 0.31 looks into errno. (The only error is EINVAL,
/// for an invalid first argument.)
const NIX: &str = "nix does not report it";
const CLEANS: &str = "the next run cleans up after killed runs, too";

/// In the order of the calls.
#[rustfmt::skip] // A line each.
pub static FAULTS: &[Fault] = &[
    // The first wall.
    fault(from(2), Run, "unshare CLONE_NEWUTS", "UTS (from step 3 PID, too)", EPERM, Stops("unshare")),
    fault(from(2), Run, "unshare CLONE_NEWUTS", "UTS (from step 3 PID, too)", ENOSPC, Stops("unshare")),
    fault(from(2), Run, "sethostname \"box\"", "--hostname", EPERM, Stops("sethostname \"box\"")),
    fault(from(2), Run, "sethostname \"box\"", "--hostname", EINVAL, Stops("sethostname \"box\"")),
    // `run`, before it starts PID 1.
    fault(from(3), Run, "openat \"/proc/self/fd\"", "what the caller left open", EMFILE, Stops("/proc/self/fd")),
    fault(from(3), Run, "getdents64 /fd>", "what the caller left open", EIO, Stops("/proc/self/fd")),
    fault(from(3), Run, "close", "what the caller left open", EIO, Ignored("it is closed anyway")).after("close /fd>"),
    fault(from(3), Run, "openat \"/proc/self/status\"", "is SIGCHLD ignored", EMFILE, Stops("/proc/self/status")),
    fault(from(3), Run, "read /status>", "is SIGCHLD ignored", EIO, Stops("/proc/self/status")),
    fault(from(4), Run, "chdir", "PID 1 starts in the rootfs", EACCES, Stops("rootfs")),
    fault(from(3), Run, SIGNALS, "to block signals", EINVAL, Ignored(NIX)),
    fault(from(3), Run, "signalfd4", "to receive signals", EMFILE, Stops("signalfd")),
    fault(from(3), Run, "pipe2", "PID 1 reports to `run`", EMFILE, Stops("pipe")),
    // The cgroup.
    fault(from(5), Run, "openat \"/proc/self/mountinfo\"", "where are cgroups", EMFILE, Stops("/proc/self/mountinfo")),
    fault(from(5), Run, "read /mountinfo>", "where are cgroups", EIO, Stops("/proc/self/mountinfo")),
    fault(from(5), Run, "openat \"/proc/self/cgroup\"", "which is ours", EMFILE, Stops("/proc/self/cgroup")),
    fault(from(5), Run, "read /cgroup>", "which is ours", EIO, Stops("/proc/self/cgroup")),
    fault(from(5), Run, "statx cgroup.procs\"", "killed runs: is it a cgroup", EACCES, Ignored(CLEANS)).after("pipe2"),
    fault(from(5), Run, "openat O_DIRECTORY", "killed runs: what is in it", EMFILE, Ignored(CLEANS)).after("pipe2"),
    fault(from(5), Run, "getdents64", "killed runs: what is in it", EIO, Ignored(CLEANS)).after("pipe2"),
    fault(from(5), Run, "mkdir /step0", "the cgroup", ENOSPC, Stops("mkdir in")),
    fault(from(5), Run, "mkdir /step0", "the cgroup", EACCES, Stops("mkdir in")),
    fault(from(5), Run, "openat /step0", "to lock it", EMFILE, Stops("lock")),
    fault(from(5), Run, "flock LOCK_EX", "to mark it as in use", ENOLCK, Stops("lock")),
    fault(from(5), Run, "flock LOCK_EX", "to mark it as in use", ENOLCK, Stops("lock")).again("+"),
    fault(from(5), Run, "statx /step0", "has another run removed it", EACCES, Ignored("counts as removed, and another one is made")).after("flock LOCK_EX"),
    fault(from(5), Run, "openat pids.max", "the limit", EACCES, Stops("write 20 to")),
    fault(from(5), Run, "write \"20\"", "the limit", EINVAL, Stops("write 20 to")).after("openat pids.max"),
    // PID 1 starts.
    fault(from(3), Run, "clone3", "a process for PID 1", EAGAIN, Stops("start /proc/self/exe")),
    fault(from(3), Run, "clone3", "a process for PID 1", ENOMEM, Stops("start /proc/self/exe")),
    fault(from(3), Child, "execve \"/proc/self/exe\"", "PID 1 is this program", EACCES, Stops("start /proc/self/exe")),
    fault(from(3), Run, "signalfd4", "to receive ^C during the start", EMFILE, Ends("signalfd")).after("signalfd4"),
    fault(from(3), Run, "poll }], 2, -1", "is PID 1 ready, or was ^C typed", ENOMEM, Ends("poll")),
    fault(from(3), Run, "poll }], 1, 1000", "has PID 1 started the command", ENOMEM, Ends("poll")),
    fault(from(3), Child, "prctl PR_SET_PDEATHSIG", "die with `run`", EINVAL, Stops("prctl PR_SET_PDEATHSIG")),
    fault(from(3), Child, "openat \"/proc/self/fd/5\"", "the pipe", EMFILE, Stops("open the pipe")),
    fault(from(5), Child, "readlink /proc/self/fd/", "where is the cgroup", EACCES, Stops("/proc/self/fd/6")),
    fault(from(5), Child, "statx /step0", "is it of version 1", EACCES, Ignored("it joins by cgroup.procs, as in version 2")),
    fault(from(5), Child, "openat /step0", "join the cgroup", EACCES, Stops("join")),
    fault(from(5), Child, "write \"0\"", "join the cgroup", ENOSPC, Stops("join")).after("openat /step0"),
    fault(from(5), Child, "unshare CLONE_NEWCGROUP", "what /proc/self/cgroup says", ENOSPC, Stops("unshare CLONE_NEWCGROUP")),
    // The root filesystem.
    fault(from(4), Child, "unshare CLONE_NEWNS", "mounts", EPERM, Stops("unshare CLONE_NEWNS")),
    fault(from(4), Child, "unshare CLONE_NEWNS", "mounts", ENOSPC, Stops("unshare CLONE_NEWNS")),
    fault(from(4), Child, "getcwd", "where is the rootfs", ENOENT, Stops("rootfs: getcwd")),
    fault(from(4), Child, "mount \"/\"", "to keep our mounts off the host", EINVAL, Stops("mount / as private")),
    fault(from(4), Child, "mount MS_BIND|MS_REC", "the rootfs is a mount point", ENOENT, Stops("rootfs")).after("mount \"/\""),
    fault(from(4), Child, "mount MS_BIND|MS_REC", "the rootfs is a mount point", EACCES, Stops("rootfs")).after("mount \"/\""),
    fault(from(4), Child, "chdir", "into the rootfs", EACCES, Stops("rootfs")),
    fault(from(4), Child, "pivot_root", "the rootfs becomes /", EINVAL, Stops("pivot_root")),
    fault(from(4), Child, "statx \"/proc\"", "is /proc a symlink", EIO, Stops("mount on /proc,")),
    fault(from(4), Child, "mount \"/proc\"", "/proc", EPERM, Stops("mount proc on /proc:")),
    fault(from(4), Child, "statx \"/proc/", "which parts of /proc there are", EIO, Ignored("counts as missing")),
    fault(from(4), Child, "mount \"/proc/", "to close it", EPERM, Stops("mount /proc/")),
    fault(from(4), Child, "mount MS_REMOUNT", "to make it read-only", EPERM, Stops("mount /proc/")),
    fault(from(4), Child, "statx \"/dev\"", "is /dev a symlink", EIO, Stops("mount on /dev,")),
    fault(from(4), Child, "mount \"/dev\"", "/dev", ENOMEM, Stops("mount tmpfs on /dev:")),
    fault(from(4), Child, "openat \"/dev/", "/dev/null and the others", ENOSPC, Stops("create /dev/null")),
    fault(from(4), Child, "statx \"/dev/", "is /dev/null a symlink", EIO, Stops("mount on /dev/null,")).after("openat \"/dev/"),
    fault(from(4), Child, "mount \"/dev/null", "/dev/null and the others", ENOENT, Stops("mount ../dev/null on /dev/null:")),
    fault(from(4), Child, "mount MS_REMOUNT", "to make the device read-only", EPERM, Stops("mount /dev/null read-only:")).after("mount \"/dev/null"),
    fault(from(4), Child, "symlink \"/dev/", "/dev/fd and the others", ENOSPC, Stops("symlink /dev/fd")),
    fault(from(4), Child, "mkdir \"/dev/pts\"", "/dev/pts", ENOSPC, Stops("mkdir /dev/pts")),
    fault(from(4), Child, "statx \"/dev/pts\"", "is /dev/pts a symlink", EIO, Stops("mount on /dev/pts,")),
    fault(from(4), Child, "mount \"/dev/pts\"", "/dev/pts", EINVAL, Stops("mount devpts on /dev/pts:")),
    fault(from(4), Child, "mkdir \"/dev/shm\"", "/dev/shm", ENOSPC, Stops("mkdir /dev/shm")),
    fault(from(4), Child, "statx \"/dev/shm\"", "is /dev/shm a symlink", EIO, Stops("mount on /dev/shm,")),
    fault(from(4), Child, "mount \"/dev/shm\"", "/dev/shm", ENOMEM, Stops("mount tmpfs on /dev/shm:")),
    fault(from(4), Child, "statx \"/sys\"", "is /sys a symlink", EIO, Ignored("the host's is tried, and that looks again")),
    fault(from(4), Child, "mount \"sysfs\"", "/sys", EPERM, Ignored("the host's is used instead, without its cgroups")),
    fault(from(4), Child, "mount \"sysfs\"", "/sys", EPERM, Stops("mount ../sys on /sys:")).again("+"),
    fault(from(4), Child, "mount \"sysfs\"", "/sys, and the host's read-only", EPERM, Stops("mount /sys read-only:")).again("+2"),
    fault(from(4), Child, "mount \"sysfs\"", "/sys, and over the host's cgroups", EPERM, Stops("mount tmpfs on /sys/fs:")).again("+3"),
    fault(from(4), Child, "umount2", "to remove the host's /", EINVAL, Stops("umount2 the host's /")),
    // The command.
    fault(1..=2, Run, "write \"Running ", "announce the command", EIO, Ignored("there is no way to report it")),
    fault(from(3), Child, "write \"Running ", "announce the command", EIO, Ignored("there is no way to report it")).with(&["/bin/true"]),
    fault(from(3), Child, "write \".\"", "PID 1 is ready", EPIPE, Stops("tell `run`")).after("write \"Running "),
    fault(from(3), Child, "rt_sigprocmask SIG_UNBLOCK", "to unblock signals for the command", EINVAL, Ignored(NIX)),
    fault(from(3), Child, "clone3", "a process for the command", EAGAIN, Unexecuted(126, "exec: \"/bin/echo\"")),
    fault(from(1), Command, "execve \"/bin/echo\"", "the command", EACCES, Unexecuted(126, "exec: \"/bin/echo\"")),
    fault(from(1), Command, "execve \"/bin/echo\"", "the command", E2BIG, Unexecuted(126, "exec: \"/bin/echo\"")),
    fault(1..=2, Command, "execve \"/bin/echo\"", "the command", ENOENT, Unexecuted(127, "exec: \"/bin/echo\"")),
    fault(from(3), Command, "execve \"/bin/echo\"", "the command, whose file is there", ENOENT, Unexecuted(126, "exec: the interpreter of \"/bin/echo\"")),
    fault(from(3), Child, SIGNALS, "to block signals again", EINVAL, Ignored(NIX)).after("clone3"),
    // Both processes wait.
    fault(from(3), Child, "signalfd4", "to receive signals", EMFILE, Ends("signalfd")),
    fault(from(3), Run, "waitid P_ALL", "which child has ended", EINVAL, Ignored("nix reports a death by real-time signal in this way")).with(SLEEP),
    fault(from(3), Child, "waitid P_ALL", "which child has ended", EINVAL, Ignored("nix reports a death by real-time signal in this way")).with(SLEEP),
    fault(from(3), Run, "wait4", "has our child ended", ECHILD, Ends("wait")).with(SLEEP),
    fault(from(3), Child, "wait4", "has our child ended", ECHILD, Ends("wait")).with(SLEEP),
    fault(from(3), Run, "poll }], 1, -1", "for signals", ENOMEM, Ends("poll")).with(SLEEP),
    fault(from(3), Child, "poll }], 1, -1", "for signals", ENOMEM, Ends("poll")).with(SLEEP),
    fault(from(3), Run, "read signalfd", "signals", EIO, Ends("read signalfd")).with(SLEEP),
    fault(from(3), Child, "read signalfd", "signals", EIO, Ends("read signalfd")).with(SLEEP),
    fault(from(3), Child, "kill SIGWINCH", "pass a signal on", ESRCH, Ignored("it was too late")).with(SIGNAL),
    fault(from(3), Run, "openat \"/dev/tty\"", "is a shell of the container still in the foreground", EACCES, Ignored("the terminal stays as it is")),
    // The cgroup is removed.
    fault(from(5), Run, "rmdir /step0", "the cgroup", EBUSY, Ignored("it is tried again")),
    fault(from(5), Run, "rmdir /step0", "the cgroup", EPERM, Leaves("rmdir")).again("+"),
];

/// Calls that need no fault, besides those that nobody makes on purpose: they cannot fail, or
/// nothing depends on them.
#[rustfmt::skip]
pub const NO_FAULT: &[&str] = &[
    // These only ask.
    "getpid", "lseek", "umask", "fcntl F_GETFD", "fstat", "statx \"\"",
    // libc makes these around a spawn: it blocks all signals and has the child reset their actions.
    "rt_sigprocmask SIG_BLOCK, ~[", "rt_sigprocmask SIG_SETMASK", "rt_sigprocmask SIG_BLOCK, NULL",
    // std makes these when a file is dropped. Linux closes the file even if the call fails (`man 2
    // close`), but an injected fault would prevent that.
    "close", "flock LOCK_UN",
    // Only without sysfs. The faults of that mount that fail `again` try these.
    "mount \"/sys/fs\"", "statx \"/sys/fs\"",
    // Only with cgroup version 2. If they fail, the step looks at the next cgroup above.
    "openat cgroup.subtree_control", "read cgroup.subtree_control", "statx cgroup.type",
];
