//! The filesystem: a root, a `/proc`, a `/dev` and a `/sys` of its own, and mounts that stay inside.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal::SIGKILL;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::Check;
use super::Fails::{Saboteur, Step};
use crate::container::{Runner, end};
use crate::host::State;

/// A root by chroot(2), with the host's `/proc` in it.
pub(crate) const BY_CHROOT: &str = r#"shift; exec unshare --mount sh -c '
    mount --rbind /proc "$ROOTFS/proc" && exec chroot "$ROOTFS" "$@"' sh "$@""#;

/// The host's devices, each shown once more, and not made read-only.
pub(crate) const WITH_DEVICES_TO_CHANGE: &str = r#"shift; export REAL; exec unshare --mount sh -c '
    mount --bind /dev "$ROOTFS/mnt" && exec "$REAL" run sh -c "
        for name in null zero full random urandom tty; do
            umount /dev/\$name && mount --bind /mnt/\$name /dev/\$name || exit 125; done
        exec \"\$@\"" sh "$@"' sh "$@""#;

#[rustfmt::skip] // A check is two lines.
pub(super) const CHECKS: &[Check] = &[
    Check::new("own-root", 4, own_root, Step(3),
        "`/` is the root filesystem, and the host's files are out of reach."),
    Check::new("starts-in-the-root", 4, starts_in_the_root, Step(3),
        "The command starts in `/`."),
    Check::new("own-proc", 4, own_proc, Step(3),
        "`/proc` shows the container's processes and nobody else's."),
    Check::new("own-dev", 4, own_dev, Step(3),
        "`/dev` has what programs expect, it works, and there is nothing else."),
    Check::new("dev-has-a-size", 4, dev_has_a_size, Step(3),
        "What is written to `/dev` and `/dev/shm` takes memory: 64 MiB each at most."),
    Check::new("nothing-of-the-host-changes", 4, nothing_of_the_host_changes, Saboteur(WITH_DEVICES_TO_CHANGE),
        "What `/dev`, `/proc` and `/sys` show of the host keeps its mode, owner and times."),
    Check::new("read-only-sys", 4, read_only_sys, Step(3),
        "`/sys` can be read and not written."),
    Check::new("lets-go-of-the-host", 4, lets_go_of_the_host, Step(3),
        "No mount of the host's is left in the container."),
    Check::new("root-cannot-leave", 4, root_cannot_leave, Saboteur(BY_CHROOT),
        "Root inside cannot leave its `/`, not by `chroot` and `..` either."),
    Check::new("no-symlink-leads-out", 4, no_symlink_leads_out, Step(3),
        "A root filesystem whose `/proc`, `/dev` or `/sys` is a symlink to `..` opens no way out."),
    Check::new("mounts-stay-inside", 4, mounts_stay_inside, Step(3),
        "No mount of the container's shows up on the host, where `/` is shared."),
];

fn own_root(runner: &Runner) -> Result<()> {
    let both = runner.put("both", b"", 0o644)?;
    let host = format!("{both}-not");
    fs::write(&host, "")?;
    runner.sh(&format!("test -e {both}"))?.expect(0).context("a file of the root filesystem")?;
    runner.sh(&format!("test -e {host}"))?.expect(1).context("a file of the host")?;
    Ok(())
}

fn starts_in_the_root(runner: &Runner) -> Result<()> {
    let said = runner.run(["pwd"])?.expect(0)?.text();
    ensure!(said == "/\n", "it starts in {said:?}");
    Ok(())
}

fn own_proc(runner: &Runner) -> Result<()> {
    let said = runner.sh("cat /proc/[0-9]*/cmdline")?.expect(0)?.text().replace('\0', " ");
    ensure!(said.contains("cat /proc/[0-9]*/cmdline"), "no sign of itself: {said:?}");
    let us = std::env::current_exe()?.display().to_string();
    ensure!(!said.contains(&us), "the host's processes are visible: {said:?}");
    Ok(())
}

/// What the devices are there for.
const DEVICES_WORK: &[&str] = &[
    "echo lost > /dev/null && test -z \"$(cat /dev/null)\"",
    "test $(head -c 5 /dev/zero | wc -c) = 5",
    "! echo full > /dev/full",
    "test $(head -c 5 /dev/random | wc -c) = 5",
    "test $(head -c 5 /dev/urandom | wc -c) = 5",
    "test -c /dev/tty",
];

fn own_dev(runner: &Runner) -> Result<()> {
    let said = runner.run(["ls", "/dev"])?.expect(0)?.text();
    let names = "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero";
    ensure!(said.split_whitespace().eq(names.split(' ')), "/dev holds {said:?}");
    let others = [
        "echo kept > /dev/shm/file && test $(cat /dev/shm/file) = kept",
        "test $(echo through | cat /dev/stdin) = through",
        "test $(echo through > /dev/stdout) = through",
        "test $(echo through | cat /dev/fd/0) = through",
        "exec 3<>/dev/ptmx && test -c /dev/pts/0",
    ];
    for script in DEVICES_WORK.iter().copied().chain(others) {
        runner.sh(script)?.expect(0).with_context(|| script.to_owned())?;
    }
    Ok(())
}

fn dev_has_a_size(runner: &Runner) -> Result<()> {
    for dir in ["/dev", "/dev/shm"] {
        let said = runner.run(["df", "-k", dir])?.expect(0)?.text();
        let size = said.lines().last().and_then(|line| line.split_whitespace().nth(1));
        ensure!(size == Some("65536"), "{dir} has {size:?} KiB: {said}");
    }
    let more = runner.sh("head -c 65m /dev/zero > /dev/shm/file")?;
    ensure!(more.code != 0, "65 MiB went into /dev/shm");
    Ok(())
}

/// The devices of a container, which are the host's.
const DEVICES: &[(&str, u64, u64)] = &[
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Parts of `/proc` and `/sys` that are the host's, and something in each.
const PARTS: &str = "/proc/sys /proc/sys/kernel/hostname /proc/bus /proc/bus/pci /proc/fs /proc/irq \
    /proc/irq/default_smp_affinity /proc/acpi /proc/scsi /proc/kcore /proc/keys \
    /proc/sysrq-trigger /sys /sys/kernel /sys/class/net";

/// Mode, owner and group of those objects of the host's, and for devices when they were changed; the
/// others have the time of the first look. What is changed in one `/proc` shows in those that are
/// mounted later, so it is a new one that is looked at, on `/mnt`.
fn objects() -> Result<Vec<String>> {
    let script = format!(
        "mount -t proc proc /mnt; cd /dev; stat -c '%a %u:%g /dev/%n %Y' {}
        for part in {PARTS}; do [ ! -e $part ] || stat -c '%a %u:%g %n' $part; done; umount /mnt",
        devices("")
    );
    let script = script.replace("/proc/", "/mnt/");
    let said = end(Command::new("sh").args(["-c", &script]))?.expect(0)?.text();
    Ok(said.lines().map(|line| line.replace("/mnt", "/proc")).collect())
}

/// The devices' names, in a directory.
fn devices(dir: &str) -> String {
    DEVICES.iter().map(|(name, ..)| format!("{dir}{name} ")).collect()
}

/// Holds what a throw-away host has not of its own, but of the machine: `/proc` and `/sys`.
pub(crate) fn hold_the_machine() -> Result<Flock<File>> {
    let root = Flock::lock(File::open("/").context("open /")?, FlockArg::LockExclusive);
    root.map_err(|(_, error)| error).context("lock /")
}

/// Gives this host devices that are its own: those of the machine are not to come to harm.
pub(crate) fn own_devices() -> Result<()> {
    let mode = Some("mode=755");
    mount(Some("dev"), "/dev", Some("tmpfs"), MsFlags::empty(), mode).context("mount")?;
    for (name, major, minor) in DEVICES {
        let place = format!("/dev/{name}");
        mknod(place.as_str(), SFlag::S_IFCHR, Mode::empty(), makedev(*major, *minor))?;
        fs::set_permissions(place, Permissions::from_mode(0o666))?;
    }
    Ok(())
}

fn nothing_of_the_host_changes(runner: &Runner) -> Result<()> {
    own_devices()?;
    let _held = hold_the_machine()?;
    // What it sets in `/proc` and `/sys` does no harm.
    let script = format!(
        "for it in {}; do chmod 600 $it; chown 7:7 $it; touch -d '2001-02-03 04:05' $it; done; \
         for it in {PARTS}; do chmod +t $it; chown :7 $it; done; exit 0",
        devices("/dev/"),
    );
    let before = objects()?;
    for front in [&["env"][..], &["unshare", "-Ur"]] {
        let tried = end(&mut runner.behind(front, ["sh", "-c", &script]));
        let now = objects()?;
        let changed: Vec<_> = before.iter().filter(|line| !now.contains(line)).collect();
        for line in &changed {
            // There is no other `/proc` or `/sys` for us.
            let fields: Vec<_> = line.split(' ').collect();
            let restore = format!("chown {1} {2}; chmod {0} {2}", fields[0], fields[1], fields[2]);
            end(Command::new("sh").args(["-c", &restore]))?;
        }
        tried?.expect(0).with_context(|| format!("by {front:?}"))?;
        let is = now.iter().find(|line| !before.contains(line));
        ensure!(changed.is_empty(), "by {front:?}: {:?} became {is:?}", changed[0]);
        for script in DEVICES_WORK {
            let said = end(&mut runner.behind(front, ["sh", "-c", script]))?;
            said.expect(0).with_context(|| format!("by {front:?}: {script}"))?;
        }
    }
    Ok(())
}

fn read_only_sys(runner: &Runner) -> Result<()> {
    let said = runner.sh("ls /sys; grep ' /sys ' /proc/mounts")?.expect(0)?.text();
    ensure!(said.contains("kernel\n"), "/sys shows {said:?}");
    let options = said.lines().last().and_then(|line| line.split(' ').nth(3)).unwrap_or_default();
    ensure!(options.split(',').any(|option| option == "ro"), "/sys is mounted {options}");
    Ok(())
}

fn lets_go_of_the_host(runner: &Runner) -> Result<()> {
    let none = None::<&str>;
    mount(Some("of-the-host"), "/mnt", Some("tmpfs"), MsFlags::empty(), none).context("mount")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(mounts.contains("of-the-host"), "it is not even on the host");
    let inside = runner.run(["cat", "/proc/self/mountinfo"])?.expect(0)?.text();
    let left = inside.lines().find(|line| line.contains("of-the-host"));
    ensure!(left.is_none(), "a mount of the host's is inside: {}", left.unwrap_or_default());
    Ok(())
}

fn root_cannot_leave(runner: &Runner) -> Result<()> {
    let host = format!("{}-not", runner.put("both", b"", 0o644)?);
    fs::write(&host, "")?;
    // A root below ours is all that `..` stops at then, and 5 is above it.
    let up = "/..".repeat(32);
    let script = format!(
        "mkdir -p /mnt && mount --rbind / /mnt && chroot /mnt chroot /proc/self/fd/5{up} ls {host} 5</"
    );
    let said = runner.sh(&script)?.text();
    ensure!(!said.contains(&host), "`chroot` and `..` lead to a file of the host's");
    Ok(())
}

fn no_symlink_leads_out(runner: &Runner) -> Result<()> {
    let marker = runner.put("marker", b"", 0o644)?;
    let host = format!("{marker}-of-the-host");
    fs::write(&host, "")?;
    let rootfs = runner.own_rootfs()?.display().to_string();
    let shell = |script: String| end(Command::new("sh").args(["-c", &script]))?.expect(0);
    runner.run(["--rootfs", &rootfs, "true"])?.expect(0).context("as it was")?;
    for name in ["proc", "dev", "sys"] {
        shell(format!("cd {rootfs} && rmdir {name} && ln -s .. {name}"))?;
        let said = runner.run(["--rootfs", &rootfs, "ls", &format!("/{name}{host}")])?;
        ensure!(said.code != 0, "/{name} led to the host: {}", said.text());
        shell(format!("cd {rootfs} && rm {name} && mkdir {name}"))?;
    }
    Ok(())
}

fn mounts_stay_inside(runner: &Runner) -> Result<()> {
    let before = State::now()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap_or_default();
    ensure!(root.contains(" shared:"), "/ is not shared on this host: {root}");
    let script = "mount -t tmpfs of-the-container /tmp && grep of-the-container /proc/mounts
        echo ready; sleep 777";
    let running = runner.start(&[], script)?;
    before.mounts_unchanged().context("while it runs")?;
    running.signal(SIGKILL)?;
    running.wait()?;
    before.mounts_unchanged()
}
