//! The filesystem: its own `/`, `/proc`, `/dev` and `/sys`, and mounts that stay inside.

use std::fs::{self, File};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};

use super::Check;
use super::Fails::{Saboteur, Step};
use crate::command::{end, on_the_host};
use crate::container::Runner;
use crate::host::State;

/// A root by chroot(2), with the host's `/proc` in it.
pub(crate) const BY_CHROOT: &str = r#"shift; exec unshare --mount sh -c '
    mount --rbind /proc "$ROOTFS/proc" && exec chroot "$ROOTFS" "$@"' sh "$@""#;

/// The host's devices, each mounted again, and not made read-only.
pub(crate) const WITH_DEVICES_TO_CHANGE: &str = r#"shift; export REAL; exec unshare --mount sh -c '
    mount --bind /dev "$ROOTFS/mnt" && exec "$REAL" run sh -c "
        for name in null zero full random urandom tty; do
            umount /dev/\$name && mount --bind /mnt/\$name /dev/\$name || exit 125; done
        exec \"\$@\"" sh "$@"' sh "$@""#;

#[rustfmt::skip] // A check is two lines.
pub(super) const CHECKS: &[Check] = &[
    Check::new("own-root", 4, own_root, Step(3),
        "`/` is the root filesystem, and the host's files are out of reach."),
    Check::new("starts-in-the-root", 4, |it| it.run(["pwd"])?.says("/\n"), Step(3),
        "The command starts in `/`."),
    Check::new("own-proc", 4, own_proc, Step(3),
        "`/proc` shows the container's processes and no others."),
    Check::new("own-dev", 4, own_dev, Step(3),
        "`/dev` has the devices that programs expect, they work, and there are no others."),
    Check::new("dev-has-a-size", 4, dev_has_a_size, Step(3),
        "Files in `/dev` and `/dev/shm` take memory, so each holds at most 64 MiB."),
    Check::new("nothing-of-the-host-changes", 4, nothing_of_the_host_changes, Saboteur(WITH_DEVICES_TO_CHANGE),
        "What `/dev`, `/proc` and `/sys` show of the host keeps its mode, owner and times."),
    Check::new("read-only-sys", 4, read_only_sys, Step(3),
        "`/sys` can be read but not written."),
    Check::new("lets-go-of-the-host", 4, lets_go_of_the_host, Step(3),
        "None of the host's mounts is left in the container."),
    Check::new("root-cannot-leave", 4, root_cannot_leave, Saboteur(BY_CHROOT),
        "Root inside cannot leave its `/`, not even with `chroot` and `..`."),
    Check::new("no-symlink-leads-out", 4, no_symlink_leads_out, Step(3),
        "A root filesystem whose `/proc`, `/dev` or `/sys` is a symlink to `..` opens no way out."),
    Check::new("mounts-stay-inside", 4, mounts_stay_inside, Step(3),
        "The container's mounts do not show up on the host, where `/` is shared."),
];

fn own_root(runner: &Runner) -> Result<()> {
    let both = runner.put("both", b"", 0o644)?;
    fs::write(format!("{both}-not"), "")?;
    runner.sh(&format!("ls {both}*"))?.says(&(both + "\n"))
}

fn own_proc(runner: &Runner) -> Result<()> {
    let said = runner.sh("cat /proc/[0-9]*/cmdline")?.expect(0)?.text().replace('\0', " ");
    ensure!(said.contains("cat /proc/[0-9]*/cmdline"), "the command is not in it: {said:?}");
    let us = std::env::current_exe()?.display().to_string();
    ensure!(!said.contains(&us), "the host's processes are visible: {said:?}");
    Ok(())
}

/// Prints which devices do not work.
const DEVICES_WORK: &str = r#"echo lost >/dev/null && test -z "$(cat /dev/null)" || echo null
    for name in zero random urandom; do
        test $(head -c 5 /dev/$name | wc -c) = 5 || echo $name; done
    ! echo full >/dev/full || echo full
    test -c /dev/tty || echo tty"#;

/// Prints what else in `/dev` does not work.
const STREAMS_WORK: &str = "echo kept >/dev/shm/file; test $(cat /dev/shm/file) = kept || echo shm
    test $(echo through | cat /dev/stdin) = through || echo stdin
    test $(echo through >/dev/stdout) = through || echo stdout
    test $(echo through | cat /dev/fd/0) = through || echo fd
    exec 3<>/dev/ptmx; test -c /dev/pts/0 || echo pts";

fn own_dev(runner: &Runner) -> Result<()> {
    let names = "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero\n";
    runner.sh("cd /dev; echo *")?.says(names)?;
    runner.sh(DEVICES_WORK)?.says("")?;
    runner.sh(STREAMS_WORK)?.says("")
}

fn dev_has_a_size(runner: &Runner) -> Result<()> {
    let sizes = "for dir in /dev /dev/shm; do df -k $dir | awk 'END { print $2 }'; done";
    runner.sh(sizes)?.says("65536\n65536\n")?;
    runner.sh("! head -c 65m /dev/zero >/dev/shm/file")?.expect(0).map(drop)
}

/// The devices of a container, which are the host's.
const DEVICES: &str = "null zero full random urandom tty";

/// Parts of `/proc` and `/sys` that are the host's, and something in each of them.
const PARTS: &str = "/proc/sys /proc/sys/kernel/hostname /proc/bus /proc/bus/pci /proc/fs /proc/irq \
    /proc/irq/default_smp_affinity /proc/acpi /proc/scsi /proc/kcore /proc/keys \
    /proc/sysrq-trigger /sys /sys/kernel /sys/class/net";

/// Mode, owner and group of those objects, and for devices the time of change. (The others have the
/// time at which somebody first looked.) A change in one `/proc` shows in those that are mounted
/// later, so this looks at a new one, on `/mnt`.
fn objects() -> Result<Vec<String>> {
    let script = format!(
        "mount -t proc proc /mnt; cd /dev; stat -c '%a %u:%g /dev/%n %Y' {DEVICES}
        for part in {PARTS}; do [ ! -e $part ] || stat -c '%a %u:%g %n' $part; done; umount /mnt"
    );
    let said = on_the_host(&script.replace("/proc/", "/mnt/"))?;
    Ok(said.lines().map(|line| line.replace("/mnt", "/proc")).collect())
}

/// Locks what a throw-away host shares with the machine: `/proc` and `/sys`.
pub(crate) fn hold_the_machine() -> Result<Flock<File>> {
    let root = Flock::lock(File::open("/").context("open /")?, FlockArg::LockExclusive);
    root.map_err(|(_, error)| error).context("lock /")
}

/// Gives this host its own devices, so that those of the machine come to no harm.
pub(crate) fn own_devices() -> Result<()> {
    let script = "mount -t tmpfs -o mode=755 dev /dev && cd /dev || exit
        set -- null 1 3 zero 1 5 full 1 7 random 1 8 urandom 1 9 tty 5 0
        while [ $# != 0 ]; do mknod -m 666 $1 c $2 $3; shift 3; done";
    on_the_host(script).map(drop)
}

fn nothing_of_the_host_changes(runner: &Runner) -> Result<()> {
    own_devices()?;
    let _held = hold_the_machine()?;
    // The changes in `/proc` and `/sys` do no harm.
    let script = format!(
        "cd /dev; for it in {DEVICES}; do
            chmod 600 $it; chown 7:7 $it; touch -d '2001-02-03 04:05' $it; done
        for it in {PARTS}; do chmod +t $it; chown :7 $it; done; exit 0"
    );
    let before = objects()?;
    for front in [&["env"][..], &["unshare", "-Ur"]] {
        let by = || format!("by {front:?}");
        let tried = end(&mut runner.behind(front, ["sh", "-c", &script]));
        let now = objects()?;
        let changed: Vec<_> = before.iter().filter(|line| !now.contains(line)).collect();
        for line in &changed {
            // Undo it: `/proc` and `/sys` are the machine's.
            let fields: Vec<_> = line.split(' ').collect();
            on_the_host(&format!("chown {1} {2}; chmod {0} {2}", fields[0], fields[1], fields[2]))?;
        }
        tried?.expect(0).with_context(by)?;
        ensure!(changed.is_empty(), "by {front:?}: {changed:?} changed: {now:?}");
        end(&mut runner.behind(front, ["sh", "-c", DEVICES_WORK]))?.says("").with_context(by)?;
    }
    Ok(())
}

fn read_only_sys(runner: &Runner) -> Result<()> {
    let script = "ls -d /sys/kernel; grep ' /sys ' /proc/mounts | tail -n 1 | cut -d ' ' -f 4";
    let said = runner.sh(script)?.expect(0)?.text();
    ensure!(said.starts_with("/sys/kernel\nro,"), "/sys, and its mount options: {said:?}");
    Ok(())
}

fn lets_go_of_the_host(runner: &Runner) -> Result<()> {
    on_the_host("mount -t tmpfs of-the-host /mnt")?;
    let inside = runner.run(["cat", "/proc/self/mountinfo"])?.expect(0)?.text();
    let left = inside.lines().find(|line| line.contains("of-the-host"));
    ensure!(left.is_none(), "a mount of the host is inside: {left:?}");
    Ok(())
}

fn root_cannot_leave(runner: &Runner) -> Result<()> {
    let host = format!("{}-not", runner.put("both", b"", 0o644)?);
    fs::write(&host, "")?;
    // `..` stops only at the process's root. That is /mnt then, and descriptor 5 is above it.
    let up = "/..".repeat(32);
    let script = format!(
        "mkdir -p /mnt && mount --rbind / /mnt && chroot /mnt chroot /proc/self/fd/5{up} ls {host} 5</"
    );
    let said = runner.sh(&script)?.text();
    ensure!(!said.contains(&host), "`chroot` and `..` lead to a file of the host");
    Ok(())
}

fn no_symlink_leads_out(runner: &Runner) -> Result<()> {
    let host = format!("{}-not", runner.put("both", b"", 0o644)?);
    fs::write(&host, "")?;
    let rootfs = runner.own_rootfs()?.display().to_string();
    runner.run(["--rootfs", &rootfs, "true"])?.expect(0).context("before any change")?;
    for name in ["proc", "dev", "sys"] {
        on_the_host(&format!("cd {rootfs} && rmdir {name} && ln -s .. {name}"))?;
        let said = runner.run(["--rootfs", &rootfs, "ls", &format!("/{name}{host}")])?;
        ensure!(said.code != 0, "/{name} led to the host: {}", said.text());
        on_the_host(&format!("cd {rootfs} && rm {name} && mkdir {name}"))?;
    }
    Ok(())
}

fn mounts_stay_inside(runner: &Runner) -> Result<()> {
    let before = State::now()?;
    on_the_host("grep ' / [^ ]* shared:' /proc/self/mountinfo").context("/ is not shared")?;
    let script = "mount -t tmpfs of-the-container /tmp && grep of-the-container /proc/mounts
        echo ready; sleep 777";
    let running = runner.start(&[], script)?;
    before.mounts_unchanged().context("while it runs")?;
    running.kill()?;
    before.mounts_unchanged()
}
