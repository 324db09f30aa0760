//! The wall of step 4: `rootfs` becomes `/`, with the `/proc`, `/dev` and `/sys` that programs
//! expect, and the host's `/` is unmounted (`man 7 mount_namespaces`).

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, pivot_root};

/// For mounts that need no setuid programs, no devices and no executables.
const INERT: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

// ANCHOR: change_root
/// Makes our working directory `/`, for us and all that we start, and unmounts the host's `/`.
pub fn change_root() -> Result<()> {
    let rootfs = env::current_dir().context("rootfs: getcwd")?;
    unshare(CloneFlags::CLONE_NEWNS).context("unshare CLONE_NEWNS")?;
    make_private()?;
    pivot_into(&rootfs).with_context(|| format!("rootfs {rootfs:?}"))?;
    // `/` is ours now. The host's is stacked on top of it: until the unmount, `..` leads there.
    mount_proc()?;
    mount_dev()?;
    mount_sys()?;
    umount2(".", MntFlags::MNT_DETACH).context("umount2 the host's /")
}
// ANCHOR_END: change_root

// ANCHOR: make_private
/// Where systemd runs, mounts are shared: without this, ours would appear on the host.
fn make_private() -> Result<()> {
    let flags = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .context("mount / as private (in a chroot it is not a mount point)")
}
// ANCHOR_END: make_private

// ANCHOR: pivot_into
/// Makes `rootfs` our `/` with pivot_root, because root can leave a chroot (`man 2 pivot_root`).
fn pivot_into(rootfs: &Path) -> Result<()> {
    // pivot_root needs a mount point. The chdir moves us from the directory onto the new mount.
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(rootfs), rootfs, None::<&str>, flags, None::<&str>).context("mount it on itself")?;
    chdir(rootfs).context("chdir")?;
    pivot_root(".", ".").context("pivot_root")
}
// ANCHOR_END: pivot_into

// ANCHOR: mount_proc
/// Mounts `/proc`. Parts of it control the host: of these, directories become read-only, and files
/// are covered with `/dev/null`.
fn mount_proc() -> Result<()> {
    mount_new("proc", "/proc", INERT, None)?;
    for part in ["sys", "bus", "fs", "irq", "acpi", "scsi", "kcore", "keys", "sysrq-trigger"] {
        let part = format!("/proc/{part}");
        let Ok(metadata) = fs::metadata(&part) else { continue }; // not in this kernel
        let source = if metadata.is_dir() { &part } else { "../dev/null" };
        bind_read_only(source, &part, INERT)?;
    }
    Ok(())
}
// ANCHOR_END: mount_proc

// ANCHOR: mount_dev
/// Mounts a small `/dev`: the host's harmless devices, terminals, and shared memory.
fn mount_dev() -> Result<()> {
    let with_devices = INERT.difference(MsFlags::MS_NODEV);
    mount_new("tmpfs", "/dev", INERT, Some("mode=755,size=64m"))?;
    for device in ["null", "zero", "full", "random", "urandom", "tty"] {
        let place = format!("/dev/{device}");
        File::create(&place).with_context(|| format!("create {place}"))?;
        // Read-only protects the device's mode and owner on the host; the device still works.
        bind_read_only(&format!("../dev/{device}"), &place, with_devices)?;
    }
    symlink("/proc/self/fd", "/dev/fd").context("symlink /dev/fd")?;
    symlink("fd/0", "/dev/stdin").context("symlink /dev/stdin")?;
    symlink("fd/1", "/dev/stdout").context("symlink /dev/stdout")?;
    symlink("fd/2", "/dev/stderr").context("symlink /dev/stderr")?;
    symlink("pts/ptmx", "/dev/ptmx").context("symlink /dev/ptmx")?;
    fs::create_dir("/dev/pts").context("mkdir /dev/pts")?;
    mount_new("devpts", "/dev/pts", with_devices, Some("ptmxmode=666,mode=620"))?;
    fs::create_dir("/dev/shm").context("mkdir /dev/shm")?;
    mount_new("tmpfs", "/dev/shm", INERT, Some("mode=1777,size=64m"))
}
// ANCHOR_END: mount_dev

// ANCHOR: mount_sys
/// Mounts `/sys`, read-only: its files control the host's devices.
fn mount_sys() -> Result<()> {
    let read_only = INERT.union(MsFlags::MS_RDONLY);
    if mount_new("sysfs", "/sys", read_only, None).is_ok() {
        return Ok(());
    }
    // A user namespace may not mount a new one. Show the host's instead, and cover its cgroups.
    bind_read_only("../sys", "/sys", INERT)?;
    if Path::new("/sys/fs").exists() {
        mount_new("tmpfs", "/sys/fs", read_only, None)?;
    }
    Ok(())
}
// ANCHOR_END: mount_sys

// ANCHOR: mounts
/// Mounts a new filesystem of the given type.
fn mount_new(fstype: &str, target: &str, flags: MsFlags, options: Option<&str>) -> Result<()> {
    refuse_symlink(target)?;
    mount(Some(fstype), target, Some(fstype), flags, options)
        .with_context(|| format!("mount {fstype} on {target}"))
}

/// Shows a file or directory in a second place, read-only. A bind mount takes its source's flags;
/// only a remount changes them (`man 8 mount`). Mounts below it keep theirs.
fn bind_read_only(source: &str, target: &str, flags: MsFlags) -> Result<()> {
    refuse_symlink(target)?;
    let none = None::<&str>;
    mount(Some(source), target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .with_context(|| format!("mount {source} on {target}"))?;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, target, none, read_only | flags, none)
        .with_context(|| format!("mount {target} read-only"))
}

/// While the host's `/` is still mounted, a symlink in the rootfs could lead out to it.
fn refuse_symlink(target: &str) -> Result<()> {
    let place = fs::symlink_metadata(target);
    let place = place.with_context(|| format!("mount on {target}, which a rootfs must have"))?;
    ensure!(!place.is_symlink(), "mount on {target}: it is a symlink, and may lead out");
    Ok(())
}
// ANCHOR_END: mounts
