//! The known ways out. One that is closed is a check like the others. One that is open is a check
//! whose step has not come: it says which step closes it, and why it is open until then.
//!
//! (Some are checks of other files: `root-cannot-leave`, `mounts-stay-inside`,
//! `nothing-of-the-host-changes`, `no-inherited-descriptors`.)

use std::fs::{self, File};
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};

use super::Fails::{Saboteur, Step};
use super::Where::{Everywhere, If, Nowhere};
use super::filesystem::{BY_CHROOT, hold_the_machine, own_devices};
use super::{Check, NEVER, Where, tricks};
use crate::command::{behind, end};
use crate::container::Runner;
use crate::host::descendants;
use crate::machine::eventually;

/// A root by pivot_root(2), with the host's still below it.
const WITHOUT_UMOUNT: &str = r#"shift; exec unshare --mount sh -c '
    mount --bind "$ROOTFS" "$ROOTFS" && cd "$ROOTFS" && pivot_root . . && exec "$@"' sh "$@""#;

const WITHOUT_NSDELEGATE: Where = If("with cgroups v1, or v2 without nsdelegate", || {
    let is_one = |line: &str| line.starts_with("cgroup") && !line.contains("nsdelegate");
    read("/proc/mounts").lines().any(is_one)
});
const WITH_MODULES: Where =
    If("where the kernel has modules", || Path::new("/proc/modules").exists());
const LEGACY_TIOCSTI: Where = If("where `dev.tty.legacy_tiocsti` is 1, or missing", || {
    read("/proc/sys/dev/tty/legacy_tiocsti") != "0\n"
});
const DMESG: Where =
    If("where `kernel.dmesg_restrict` is 0", || read("/proc/sys/kernel/dmesg_restrict") == "0\n");
const OWN_PROGRAM: Where = If("if it is the user's own", || true);

const DOT_DOT: &str = "up=../../../../../../../../../../../../../../../..
    cd / && test -e $up$marker || { mount --rbind / /mnt && cd /mnt && test -e $up$marker; }";

// Opened, not written to.
const PROC_SETTINGS: &str = "(true >> /proc/sys/kernel/core_pattern) ||
    { test -e /proc/sysrq-trigger && (true >> /proc/sysrq-trigger); }";
const PROC_ANEW: &str = "mount -t proc proc /mnt && (true >> /mnt/sys/kernel/core_pattern)";

// With a network of one's own comes a `/sys` of one's own, which was mounted read-only first, and
// some of which is one's own.
const SYSFS_ANEW: &str = "opens() { (true >> /mnt/kernel/rcu_expedited); }
    mount -t sysfs sysfs /mnt && { opens || { mount -o remount,rw /mnt && opens; }; }";

const PROC_SECRETS: &str = r#"test -n "$(head -c 1 /proc/kcore; head -c 1 /proc/keys)""#;

const STDIN: &str = "test -e /proc/self/fd/0$marker";

const SYS_UNCOVERED: &str =
    "umount /sys/fs; cat /sys/fs/cgroup/cgroup.procs || cat /sys/fs/cgroup/pids/cgroup.procs";

// The kernel's log, or FUSE, which even Docker's root may make, but not open. On a mount of its own,
// too: another may know no devices.
const DEVICE_NODE: &str = "opens() { mknod $1 c $2 $3 && (true < $1); }
    opens $marker-1 1 11 || opens $marker-2 10 229 ||
    { mount -t tmpfs tmpfs /mnt && { opens /mnt/1 1 11 || opens /mnt/2 10 229; }; }";

const CLOCK: &str = "tick=$(adjtimex | grep tick: | tr -dc 0-9) && adjtimex -t $tick";

const MODULES: &str = r#"said=$(insmod /etc/passwd 2>&1); test -n "$said" &&
    ! echo "$said" | grep -qE 'not permitted|not support|not implemented|denied'"#;

// The top has no limits.
const LEAVE_THE_CGROUP: &str =
    "{ mount -t cgroup -o pids cgroup /mnt || mount -t cgroup2 cgroup2 /mnt; } &&
    test -e /mnt/cgroup.procs && test ! -e /mnt/pids.max";
const RAISE_THE_LIMITS: &str =
    "{ mount -t cgroup -o pids cgroup /mnt || mount -t cgroup2 cgroup2 /mnt; } &&
    test -e /mnt/pids.max && echo 4711 > /mnt/pids.max && grep -qx 4711 /mnt/pids.max";

#[rustfmt::skip] // A check is two lines; if it is open, with where and why below.
pub(super) const CHECKS: &[Check] = &[
    Check::script("dot-dot", 4, DOT_DOT, Saboteur(WITHOUT_UMOUNT),
        "Many `..` lead nowhere, from `/` and from a bind mount of `/` below it."),
    Check::script("proc-1-root", 4, "test -e /proc/1/root$marker", Saboteur(BY_CHROOT),
        "`/proc/1/root` is the container's root, as PID 1 is its own."),
    Check::script("nsenter", 4, "nsenter -t 1 -m sh -c \"test -e $marker\"", Saboteur(BY_CHROOT),
        "`nsenter -t 1 -m` leads into no mount namespace of the host's."),
    Check::script("proc-settings", 4, PROC_SETTINGS, Step(3),
        "Nobody writes to `/proc/sys/kernel/core_pattern` (a program that the host's kernel starts \
         as root) or to `/proc/sysrq-trigger`."),
    Check::script("proc-secrets", 4, PROC_SECRETS, Step(3),
        "Nobody reads the host's memory in `/proc/kcore`, or its keys in `/proc/keys`."),
    Check::new("signal", 3, |runner| to_a_process(runner, "kill -0"), Step(2),
        "No process of the host's can be sent a signal: what has no number cannot be named."),
    Check::new("ptrace", 3, |runner| to_a_process(runner, "$trick ptrace"), Step(2),
        "No process of the host's can be taken over with `ptrace`."),
    Check::script("leave-the-cgroup", 5, LEAVE_THE_CGROUP, Step(4),
        "Cgroups that are mounted anew lead to none without limits, and to no `release_agent` of \
         v1's (a program that the host's kernel starts as root)."),

    Check::new("stdin", NEVER, |runner| stays_in_with_stdin("/", runner, STDIN), Step(4),
        "A directory that is the caller's standard input (`run … < /`) opens no way out.")
        .open(Everywhere, Everywhere,
            "Standard streams are what the caller hands in on purpose. Docker has pipes or a \
             terminal of its own there."),
    Check::new("proc-1-exe", 7, proc_1_exe, Step(4),
        "`chmod` of `/proc/1/exe` does not make the host's own binary setuid (after CVE-2019-5736; \
         tried with a harmless bit).")
        .open(Everywhere, OWN_PROGRAM,
            "PID 1 runs the host's binary. It cannot be written to while it runs (ETXTBSY), but its \
             mode and owner can. runc runs a sealed copy of itself, or itself through a read-only \
             overlay."),
    Check::script("proc-anew", 7, PROC_ANEW, Step(4),
        "A `/proc` that is mounted once more has nothing that can be written to.")
        .open(Everywhere, Nowhere,
            "Root inside may mount (CAP_SYS_ADMIN), and may unmount what we have mounted. Docker \
             takes the capability away. A user's root is no root to these files."),
    Check::script("sysfs-anew", 7, SYSFS_ANEW, Step(4),
        "A `/sys` that is mounted once more sets none of the host's devices.")
        .open(Everywhere, Nowhere,
            "CAP_SYS_ADMIN, which Docker takes away. In a user namespace sysfs can only be mounted \
             by who owns the network, too."),
    Check::new("device-mode-anew", 7, device_mode_anew, Step(4),
        "`/dev/null` cannot be mounted writable again, and its mode then be changed on the host.")
        .open(Everywhere, Nowhere,
            "CAP_SYS_ADMIN, as with `/proc`. A user's root does not own the devices."),
    Check::new("proc-mode", 7, proc_mode, Step(4),
        "`chmod` of a file in `/proc` is refused: every `/proc` that is mounted later would have \
         it, too.")
        .open(Everywhere, Nowhere,
            "Files that are not about a process are there once, whatever shows them, and root owns \
             them. Docker's profile for AppArmor forbids it."),
    Check::script("sys-uncovered", 6, SYS_UNCOVERED, Step(4),
        "`umount /sys/fs` uncovers no cgroups of the host's.")
        .open(Nowhere, Everywhere,
            "There `/sys` is the host's, with all that is mounted in it, and root inside may \
             unmount what we have mounted. What lies below can be changed by who could do so \
             outside. Docker takes CAP_SYS_ADMIN away."),
    Check::script("device-node", 7, DEVICE_NODE, Step(4),
        "`mknod` makes no device that can be opened: not the host's disk, and not its kernel's \
         log, as is tried.")
        .open(Everywhere, Nowhere,
            "CAP_MKNOD, and no list in the cgroup of what may be opened. Docker leaves the \
             capability, and has the list. In a user namespace the kernel refuses."),
    Check::script("kernel-log", 9, "test -n \"$(dmesg)\"", Step(4),
        "`dmesg` does not show what the host's kernel says.")
        .open(Everywhere, DMESG,
            "There is one kernel and one log. Docker takes CAP_SYSLOG away, and its seccomp filter \
             refuses the call."),
    Check::script("clock", 7, CLOCK, Step(4),
        "Nobody sets the host's clock. (Tried with the length of a tick, to what it is.)")
        .open(Everywhere, Nowhere,
            "CAP_SYS_TIME: root inside is root. Docker takes it away."),
    Check::script("modules", 7, MODULES, Step(4),
        "Nobody loads code into the host's kernel. (Tried with a file that is no module.)")
        .open(WITH_MODULES, Nowhere,
            "CAP_SYS_MODULE; with CAP_BPF, CAP_PERFMON and CAP_SYS_RAWIO it is the same. Docker \
             takes them away."),
    Check::new("keyring", 9, keyring, Step(4),
        "Nobody reads a key in the keyring of the caller's session.")
        .open(Everywhere, Everywhere,
            "No namespace is about keyrings. runc joins a new session keyring, and Docker's seccomp \
             filter refuses the calls."),
    Check::new("abstract-socket", 6, abstract_socket, Step(5),
        "Nobody connects to a Unix socket of the host's that is in no directory (CVE-2020-15257).")
        .open(Everywhere, Everywhere,
            "It is in the network namespace, and the network is the host's. Docker makes a network \
             namespace."),
    Check::new("ipc", 6, ipc, Step(5),
        "The host's System V shared memory, semaphores and message queues are out of reach.")
        .open(Everywhere, Everywhere,
            "There is no IPC namespace (`CLONE_NEWIPC`). Docker makes one."),
    Check::new("group-signal", 7, group_signal, Step(3),
        "`kill 0`, to the process group, does not reach those who were started with the runner.")
        .open(Everywhere, Everywhere,
            "The process group began on the host. A session of its own would cost ^C and ^Z; Docker \
             has one, and with `-t` a terminal of its own."),
    Check::new("terminal", 9, terminal, Step(3),
        "Nobody types a command for the shell outside, with the ioctl TIOCSTI.")
        .open(Everywhere, LEGACY_TIOCSTI,
            "It is the caller's terminal. Since Linux 6.2 the kernel refuses where \
             `dev.tty.legacy_tiocsti` is 0, except to CAP_SYS_ADMIN. With `-t` Docker makes a \
             terminal."),
    Check::script("raise-the-limits", 7, RAISE_THE_LIMITS, Step(5),
        "Cgroups that are mounted anew do not let a container write itself a higher limit.")
        .open(WITHOUT_NSDELEGATE, Nowhere,
            "CAP_SYS_ADMIN, which Docker takes away; its `/sys/fs/cgroup` is read-only."),
];

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

/// What the error says if a way out is open, and not if it could not be tried.
pub const GETS_OUT: &str = "it gets out";

/// Fails if commands succeed in a shell inside: then it gets out. `$marker` is a file that is on the
/// host only, and `$trick` starts a trick.
pub(super) fn stays_in(runner: &Runner, commands: &str) -> Result<()> {
    stays_in_with_stdin("/dev/null", runner, commands)
}

fn stays_in_with_stdin(stdin: &str, runner: &Runner, commands: &str) -> Result<()> {
    let marker = marker(runner)?;
    let mut script = format!("marker={marker}; ");
    if commands.contains("$trick") {
        script += &format!("trick='{}'; ", tricks::put(runner)?);
    }
    script += &format!("if {{ {commands}\n}} >&2; then echo out; else echo in; fi");
    let ended = end(runner.command(["sh", "-c", &script]).stdin(File::open(stdin)?))?;
    match ended.text().as_str() {
        "in\n" => Ok(()),
        "out\n" => bail!(GETS_OUT),
        other => bail!("it says {other:?}, and {:?}", ended.stderr),
    }
}

/// A file that is on the host only: its path there.
fn marker(runner: &Runner) -> Result<String> {
    let marker = runner.put("both", b"", 0o644)? + "-not";
    fs::write(&marker, "").context("a file on the host")?;
    Ok(marker)
}

/// Does something to a process of the host's that the caller may do something to.
fn to_a_process(runner: &Runner, what: &str) -> Result<()> {
    // Its number is to be none that a process of the container has.
    for _ in 0..64 {
        end(&mut Command::new("true"))?;
    }
    let mut sleep = Command::new("sleep");
    let mut sleep = behind(runner.caller, sleep.arg("778")).stdout(Stdio::null()).spawn()?;
    let stayed = stays_in(runner, &format!("{what} {}", sleep.id()));
    sleep.kill()?;
    sleep.wait()?;
    stayed
}

fn proc_1_exe(runner: &Runner) -> Result<()> {
    let mut child = runner.sleeping()?;
    let program = eventually(|| {
        let inside = descendants(child.id() as i32);
        let command = inside.iter().find(|process| process.command == "sleep 777");
        let init = command.context("it does not start its command")?.parent;
        fs::read_link(format!("/proc/{init}/exe")).context("the program of PID 1")
    });
    child.kill()?;
    child.wait()?;
    let program = program?;
    // On this host a copy stands in for it, which may come to harm.
    let (is, copy) = (fs::metadata(&program)?, runner.put("copy", &fs::read(&program)?, 0o755)?);
    chown(&copy, Some(is.uid()), Some(is.gid()))?;
    mount(Some(&*copy), &program, None::<&str>, MsFlags::MS_BIND, None::<&str>).context("mount")?;
    runner.sh("chmod 1755 /proc/1/exe; exit 0")?.expect(0)?;
    ensure!(fs::metadata(&program)?.mode() & 0o7777 == 0o755, "{GETS_OUT}, by its own binary");
    Ok(())
}

fn device_mode_anew(runner: &Runner) -> Result<()> {
    own_devices()?;
    runner.sh("mount -o remount,bind,rw /dev/null && chmod 640 /dev/null; exit 0")?.expect(0)?;
    let mode = fs::metadata("/dev/null")?.mode() & 0o777;
    ensure!(mode == 0o666, "{GETS_OUT}: /dev/null is {mode:o} on the host");
    Ok(())
}

/// It is a bit that does no harm, and it is taken back.
fn proc_mode(runner: &Runner) -> Result<()> {
    let _held = hold_the_machine()?;
    runner.sh("chmod +t /proc/version; exit 0")?.expect(0)?;
    let look = "mount -t proc proc /mnt && stat -c %a /mnt/version && chmod 444 /mnt/version";
    let mode = end(Command::new("sh").args(["-c", look]))?.expect(0)?.text();
    ensure!(mode == "444\n", "{GETS_OUT}: /proc/version is {mode} on the host");
    Ok(())
}

fn keyring(runner: &Runner) -> Result<()> {
    tricks::keep_a_key()?;
    stays_in(runner, "$trick read-the-key")
}

fn abstract_socket(runner: &Runner) -> Result<()> {
    // The host that is thrown away shares its network with others: the name is ours alone.
    let name = marker(runner)?;
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    thread::spawn(move || listener.accept().map(|(mut client, _)| client.write_all(b"hello")));
    stays_in(runner, "$trick connect $marker")
}

fn ipc(runner: &Runner) -> Result<()> {
    let ours = fs::read_link("/proc/self/ns/ipc").context("readlink")?;
    stays_in(runner, &format!("test $(readlink /proc/self/ns/ipc) = '{}'", ours.display()))
}

fn group_signal(runner: &Runner) -> Result<()> {
    // USR1 comes before TERM, whichever was sent first.
    let script = r#"trap : USR1; $caller sleep 777 & bystander=$!; "$@" > /dev/null
        kill $bystander; wait $bystander; echo $?"#;
    let runs = runner.command(["sh", "-c", "trap : USR1; kill -USR1 0"]);
    let mut group = behind(&["setsid", "--wait", "sh", "-c", script, "sh"], &runs);
    let said = end(group.env("caller", runner.caller.join(" ")))?;
    match said.text().as_str() {
        "143\n" => Ok(()),
        "138\n" => bail!("{GETS_OUT}: a process of the host's has the signal"),
        other => bail!("it says {other:?}, and {:?}", said.stderr),
    }
}

fn terminal(runner: &Runner) -> Result<()> {
    let trick = tricks::put(runner)?;
    let mut terminal = runner.terminal()?;
    let line = format!("{} {trick} type 'echo typed $where'", terminal.run);
    terminal.keys(&format!("where=outside; {line}; echo over $((1 + 1))\n"))?;
    terminal.wait_for("over 2")?;
    // What was typed first is done first.
    terminal.keys("echo end $((2 + 2))\n")?;
    eventually(|| terminal.shows("end 4")?.then_some(()).context("the shell does nothing"))?;
    ensure!(!terminal.shows("typed outside")?, "{GETS_OUT}: the shell outside does what is typed");
    Ok(())
}
