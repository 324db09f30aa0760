//! The known ways out. A closed one is a check like the others. An open one is a check whose step
//! does not exist yet: it says which step will close it, and why it is open until then.
//!
//! Some are checks in other files: `root-cannot-leave`, `mounts-stay-inside`,
//! `nothing-of-the-host-changes`, `no-inherited-descriptors`.

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

/// A root made by pivot_root(2), with the host's still mounted.
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
const OWN_PROGRAM: Where = If("if the user owns the binary", || true);

const DOT_DOT: &str = "up=../../../../../../../../../../../../../../../..
    cd / && test -e $up$marker || { mount --rbind / /mnt && cd /mnt && test -e $up$marker; }";

// Opened, not written to.
const PROC_SETTINGS: &str = "(true >> /proc/sys/kernel/core_pattern) ||
    { test -e /proc/sysrq-trigger && (true >> /proc/sysrq-trigger); }";
const PROC_ANEW: &str = "mount -t proc proc /mnt && (true >> /mnt/sys/kernel/core_pattern)";

// A container with its own network has its own `/sys`, which was mounted read-only first, and some
// of its files belong to the container.
const SYSFS_ANEW: &str = "opens() { (true >> /mnt/kernel/rcu_expedited); }
    mount -t sysfs sysfs /mnt && { opens || { mount -o remount,rw /mnt && opens; }; }";

const PROC_SECRETS: &str = r#"test -n "$(head -c 1 /proc/kcore; head -c 1 /proc/keys)""#;

const STDIN: &str = "test -e /proc/self/fd/0$marker";

const SYS_UNCOVERED: &str =
    "umount /sys/fs; cat /sys/fs/cgroup/cgroup.procs || cat /sys/fs/cgroup/pids/cgroup.procs";

// The kernel's log, or FUSE, which even Docker's root may make, but not open. Also on a new mount,
// because the first one may not allow devices.
const DEVICE_NODE: &str = "opens() { mknod $1 c $2 $3 && (true < $1); }
    opens $marker-1 1 11 || opens $marker-2 10 229 ||
    { mount -t tmpfs tmpfs /mnt && { opens /mnt/1 1 11 || opens /mnt/2 10 229; }; }";

const CLOCK: &str = "tick=$(adjtimex | grep tick: | tr -dc 0-9) && adjtimex -t $tick";

const MODULES: &str = r#"said=$(insmod /etc/passwd 2>&1); test -n "$said" &&
    ! echo "$said" | grep -qE 'not permitted|not support|not implemented|denied'"#;

// The root cgroup has no limits.
const LEAVE_THE_CGROUP: &str =
    "{ mount -t cgroup -o pids cgroup /mnt || mount -t cgroup2 cgroup2 /mnt; } &&
    test -e /mnt/cgroup.procs && test ! -e /mnt/pids.max";
const RAISE_THE_LIMITS: &str =
    "{ mount -t cgroup -o pids cgroup /mnt || mount -t cgroup2 cgroup2 /mnt; } &&
    test -e /mnt/pids.max && echo 4711 > /mnt/pids.max && grep -qx 4711 /mnt/pids.max";

#[rustfmt::skip] // A check is two lines; if it is open, with where and why below.
pub(super) const CHECKS: &[Check] = &[
    Check::script("dot-dot", 4, DOT_DOT, Saboteur(WITHOUT_UMOUNT),
        "Many `..` do not lead out, neither from `/` nor from a bind mount of `/` below it."),
    Check::script("proc-1-root", 4, "test -e /proc/1/root$marker", Saboteur(BY_CHROOT),
        "`/proc/1/root` is the container's root, because PID 1 is the container's."),
    Check::script("nsenter", 4, "nsenter -t 1 -m sh -c \"test -e $marker\"", Saboteur(BY_CHROOT),
        "`nsenter -t 1 -m` does not enter the host's mount namespace."),
    Check::script("proc-settings", 4, PROC_SETTINGS, Step(3),
        "Nobody inside can write to `/proc/sys/kernel/core_pattern` (it can name a program that \
         the host's kernel starts as root) or to `/proc/sysrq-trigger`."),
    Check::script("proc-secrets", 4, PROC_SECRETS, Step(3),
        "Nobody inside can read the host's memory in `/proc/kcore`, or its keys in `/proc/keys`."),
    Check::new("signal", 3, |runner| to_a_process(runner, "kill -0"), Step(2),
        "The host's processes cannot be sent signals: they have no number inside."),
    Check::new("ptrace", 3, |runner| to_a_process(runner, "$trick ptrace"), Step(2),
        "The host's processes cannot be taken over with `ptrace`."),
    Check::script("leave-the-cgroup", 5, LEAVE_THE_CGROUP, Step(4),
        "Mounting the cgroups again leads to none without limits, and to no `release_agent` of \
         version 1 (a program that the host's kernel starts as root)."),

    Check::new("stdin", NEVER, |runner| stays_in_with_stdin("/", runner, STDIN), Step(4),
        "A directory that is the caller's standard input (`run … < /`) opens no way out.")
        .open(Everywhere, Everywhere,
            "The caller hands in its standard streams on purpose. Docker puts its own pipes or \
             terminal there."),
    Check::new("proc-1-exe", 7, proc_1_exe, Step(4),
        "`chmod` of `/proc/1/exe` does not make the host's binary setuid (as in CVE-2019-5736; \
         tried with a harmless bit).")
        .open(Everywhere, OWN_PROGRAM,
            "PID 1 runs the host's binary. While it runs, nobody can write to it (ETXTBSY), but \
             its mode and owner can be changed. runc runs a sealed copy of itself, or itself \
             through a read-only overlay."),
    Check::script("proc-anew", 7, PROC_ANEW, Step(4),
        "A second mount of `/proc` has no settings that can be written.")
        .open(Everywhere, Nowhere,
            "Root inside may mount, and may unmount what we have mounted (CAP_SYS_ADMIN). Docker \
             drops the capability. In a user namespace, root does not own these files."),
    Check::script("sysfs-anew", 7, SYSFS_ANEW, Step(4),
        "A second mount of `/sys` cannot change the host's devices.")
        .open(Everywhere, Nowhere,
            "CAP_SYS_ADMIN, which Docker drops. In a user namespace, only the owner of the network \
             namespace may mount sysfs."),
    Check::new("device-mode-anew", 7, device_mode_anew, Step(4),
        "Nobody inside can remount `/dev/null` writable and then change its mode on the host.")
        .open(Everywhere, Nowhere,
            "CAP_SYS_ADMIN, as with `/proc`. In a user namespace, root does not own the devices."),
    Check::new("proc-mode", 7, proc_mode, Step(4),
        "`chmod` of a file in `/proc` is refused: it would show in every `/proc` that is mounted \
         later.")
        .open(Everywhere, Nowhere,
            "Files that are not about a process exist only once, whichever mount shows them, and \
             root owns them. Docker's AppArmor profile forbids it."),
    Check::script("sys-uncovered", 6, SYS_UNCOVERED, Step(4),
        "`umount /sys/fs` does not uncover the host's cgroups.")
        .open(Nowhere, Everywhere,
            "There, `/sys` is the host's with all its mounts, and root inside may unmount our \
             cover. A user can change below it what the same user can change outside. Docker drops \
             CAP_SYS_ADMIN."),
    Check::script("device-node", 7, DEVICE_NODE, Step(4),
        "A device made with `mknod` cannot be opened: not the host's disk, and not its kernel's \
         log (which is tried).")
        .open(Everywhere, Nowhere,
            "CAP_MKNOD, and our cgroup has no list of allowed devices. Docker keeps the \
             capability, but has the list. In a user namespace the kernel refuses."),
    Check::script("kernel-log", 9, "test -n \"$(dmesg)\"", Step(4),
        "`dmesg` does not show the log of the host's kernel.")
        .open(Everywhere, DMESG,
            "There is one kernel and one log. Docker drops CAP_SYSLOG, and its seccomp filter \
             refuses the call."),
    Check::script("clock", 7, CLOCK, Step(4),
        "Nobody inside can set the host's clock. (Tried by setting the length of a tick to what it \
         is.)")
        .open(Everywhere, Nowhere,
            "CAP_SYS_TIME: root inside is root. Docker drops it."),
    Check::script("modules", 7, MODULES, Step(4),
        "Nobody inside can load code into the host's kernel. (Tried with a file that is not a \
         module.)")
        .open(WITH_MODULES, Nowhere,
            "CAP_SYS_MODULE; CAP_BPF, CAP_PERFMON and CAP_SYS_RAWIO allow the same. Docker drops \
             them."),
    Check::new("keyring", 9, keyring, Step(4),
        "Nobody inside can read a key from the keyring of the caller's session.")
        .open(Everywhere, Everywhere,
            "There is no namespace for keyrings. runc joins a new session keyring, and Docker's \
             seccomp filter refuses the calls."),
    Check::new("abstract-socket", 6, abstract_socket, Step(5),
        "Nobody inside can connect to a Unix socket of the host that is in no directory \
         (CVE-2020-15257).")
        .open(Everywhere, Everywhere,
            "Such a socket belongs to the network namespace, and we share the host's. Docker makes \
             a new one."),
    Check::new("ipc", 6, ipc, Step(5),
        "The host's System V shared memory, semaphores and message queues are out of reach.")
        .open(Everywhere, Everywhere,
            "There is no IPC namespace (`CLONE_NEWIPC`). Docker makes one."),
    Check::new("group-signal", 7, group_signal, Step(3),
        "`kill 0`, which signals the process group, does not reach processes that were started \
         along with the runner.")
        .open(Everywhere, Everywhere,
            "The process group began on the host. A new session would avoid that, but lose ^C and \
             ^Z. Docker makes one, and with `-t` a new terminal."),
    Check::new("terminal", 9, terminal, Step(3),
        "Nobody inside can type a command into the shell outside, with the ioctl TIOCSTI.")
        .open(Everywhere, LEGACY_TIOCSTI,
            "The terminal is the caller's. Since Linux 6.2 the kernel refuses where \
             `dev.tty.legacy_tiocsti` is 0, except with CAP_SYS_ADMIN. With `-t`, Docker makes a \
             new terminal."),
    Check::script("raise-the-limits", 7, RAISE_THE_LIMITS, Step(5),
        "Mounting the cgroups again does not let a container raise its own limits.")
        .open(WITHOUT_NSDELEGATE, Nowhere,
            "CAP_SYS_ADMIN, which Docker drops; its `/sys/fs/cgroup` is read-only."),
];

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

/// Part of the error if a way out is open, but not if it could not be tried.
pub const GETS_OUT: &str = "it gets out";

/// Fails if commands succeed in a shell inside: then there is a way out. `$marker` is a file that
/// exists only on the host, and `$trick` starts a trick.
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
        other => bail!("it printed {other:?}, and on standard error {:?}", ended.stderr),
    }
}

/// Makes a file that exists only on the host, and returns its path.
fn marker(runner: &Runner) -> Result<String> {
    let marker = runner.put("both", b"", 0o644)? + "-not";
    fs::write(&marker, "").context("a file on the host")?;
    Ok(marker)
}

/// Does something to a process of the host that the caller is allowed to do.
fn to_a_process(runner: &Runner, what: &str) -> Result<()> {
    // So that no process of the container has the same number.
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
        let init = command.context("it did not start its command")?.parent;
        fs::read_link(format!("/proc/{init}/exe")).context("the program of PID 1")
    });
    child.kill()?;
    child.wait()?;
    let program = program?;
    // On this host a copy replaces it, which may be damaged.
    let (is, copy) = (fs::metadata(&program)?, runner.put("copy", &fs::read(&program)?, 0o755)?);
    chown(&copy, Some(is.uid()), Some(is.gid()))?;
    mount(Some(&*copy), &program, None::<&str>, MsFlags::MS_BIND, None::<&str>).context("mount")?;
    runner.sh("chmod 1755 /proc/1/exe; exit 0")?.expect(0)?;
    ensure!(fs::metadata(&program)?.mode() & 0o7777 == 0o755, "{GETS_OUT}, through its own binary");
    Ok(())
}

fn device_mode_anew(runner: &Runner) -> Result<()> {
    own_devices()?;
    runner.sh("mount -o remount,bind,rw /dev/null && chmod 640 /dev/null; exit 0")?.expect(0)?;
    let mode = fs::metadata("/dev/null")?.mode() & 0o777;
    ensure!(mode == 0o666, "{GETS_OUT}: /dev/null is {mode:o} on the host");
    Ok(())
}

/// The bit does no harm, and it is removed again.
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
    // Throw-away hosts share the network of the machine, so the name must be unique.
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
    // USR1 is handled before TERM, whichever was sent first. Until the bystander is `sleep`, it still
    // has the handler of its shell.
    let script = r#"trap : USR1; $caller sleep 777 & bystander=$!
        until grep -qx sleep /proc/$bystander/comm; do sleep 0.01; done; "$@" > /dev/null
        kill $bystander; wait $bystander; echo $?"#;
    let runs = runner.command(["sh", "-c", "trap : USR1; kill -USR1 0"]);
    let mut group = behind(&["setsid", "--wait", "sh", "-c", script, "sh"], &runs);
    let said = end(group.env("caller", runner.caller.join(" ")))?;
    match said.text().as_str() {
        "143\n" => Ok(()),
        "138\n" => bail!("{GETS_OUT}: a process of the host got the signal"),
        other => bail!("it printed {other:?}, and on standard error {:?}", said.stderr),
    }
}

fn terminal(runner: &Runner) -> Result<()> {
    let trick = tricks::put(runner)?;
    let mut terminal = runner.terminal()?;
    let line = format!("{} {trick} type 'echo typed $where'", terminal.run);
    terminal.keys(&format!("where=outside; {line}; echo over $((1 + 1))\n"))?;
    terminal.wait_for("over 2")?;
    // The shell runs lines in the order in which they are typed.
    terminal.keys("echo end $((2 + 2))\n")?;
    eventually(|| terminal.shows("end 4")?.then_some(()).context("the shell does not answer"))?;
    ensure!(!terminal.shows("typed outside")?, "{GETS_OUT}: the shell outside runs what was typed");
    Ok(())
}
