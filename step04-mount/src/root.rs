//! The fourth wall: `rootfs` becomes `/`, with the `/proc`, `/dev` and `/sys` that programs expect,
//! and the host's files are let go (`man 7 mount_namespaces`).

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, pivot_root};

/// What is mounted here may hold no setuid program, no device, and nothing to execute.
const INERT: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

// ANCHOR: change_root
/// Makes the directory in which we are `/`, for us and all that we start, and lets the host's go.
pub fn change_root() -> Result<()> {
    let rootfs = env::current_dir().context("rootfs: getcwd")?;
    unshare(CloneFlags::CLONE_NEWNS).context("unshare CLONE_NEWNS")?;
    make_private()?;
    enter(&rootfs).with_context(|| format!("rootfs {rootfs:?}"))?;
    // `/` is ours now. Until the unmount `..` leads to the host's, which lies on it.
    mount_proc()?;
    mount_dev()?;
    mount_sys()?;
    umount2(".", MntFlags::MNT_DETACH).context("umount2 the host's /")
}

/// Where mounts are shared, as systemd has them, ours would show up on the host.
fn make_private() -> Result<()> {
    let flags = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .context("mount / as private (in a chroot it is no mount point)")
}

/// Makes `rootfs` our `/`, by pivot_root: from a chroot there is a way back (`man 2 pivot_root`).
fn enter(rootfs: &Path) -> Result<()> {
    // It wants a mount point, and us on it: our directory is still the one below.
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(rootfs), rootfs, None::<&str>, flags, None::<&str>).context("mount it on itself")?;
    chdir(rootfs).context("chdir")?;
    pivot_root(".", ".").context("pivot_root")
}
// ANCHOR_END: change_root

// ANCHOR: mount_proc
/// Mounts `/proc`. Parts of it are the host's: directories become read-only, and files are closed.
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
        // Read-only are its name, mode and owner, which are the host's. To use it is allowed.
        bind_read_only(&format!("../dev/{device}"), &place, with_devices)?;
    }
    let links = ["/proc/self/fd", "fd/0", "fd/1", "fd/2", "pts/ptmx"];
    for (link, target) in ["fd", "stdin", "stdout", "stderr", "ptmx"].iter().zip(links) {
        symlink(target, format!("/dev/{link}")).context("symlink in /dev")?;
    }
    fs::create_dir("/dev/pts").context("mkdir /dev/pts")?;
    mount_new("devpts", "/dev/pts", with_devices, Some("ptmxmode=666,mode=620"))?;
    fs::create_dir("/dev/shm").context("mkdir /dev/shm")?;
    mount_new("tmpfs", "/dev/shm", INERT, Some("mode=1777,size=64m"))
}
// ANCHOR_END: mount_dev

// ANCHOR: mount_sys
/// Mounts `/sys`, read-only: its files set the host's devices.
fn mount_sys() -> Result<()> {
    let read_only = INERT.union(MsFlags::MS_RDONLY);
    if mount_new("sysfs", "/sys", read_only, None).is_ok() {
        return Ok(());
    }
    // A user namespace may have no sysfs of its own: the host's has to do, less its cgroups.
    bind_read_only("../sys", "/sys", INERT)?;
    if Path::new("/sys/fs").exists() {
        mount_new("tmpfs", "/sys/fs", read_only, None)?;
    }
    Ok(())
}
// ANCHOR_END: mount_sys

// ANCHOR: mounts
/// Mounts a new filesystem of a type.
fn mount_new(fstype: &str, target: &str, flags: MsFlags, options: Option<&str>) -> Result<()> {
    refuse_symlink(target)?;
    mount(Some(fstype), target, Some(fstype), flags, options)
        .with_context(|| format!("mount {fstype} on {target}"))
}

/// Shows a file or directory at a second place, where it can only be read. The flags of a bind mount
/// are those of its source until it is mounted once more (`man 8 mount`).
fn bind_read_only(source: &str, target: &str, flags: MsFlags) -> Result<()> {
    refuse_symlink(target)?;
    let none = None::<&str>;
    mount(Some(source), target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .with_context(|| format!("mount {source} on {target}"))?;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, target, none, read_only | flags, none)
        .with_context(|| format!("mount {target} read-only"))
}

/// In the rootfs may be a symlink, which leads out by `..` as long as the host's `/` is there.
fn refuse_symlink(target: &str) -> Result<()> {
    let place = fs::symlink_metadata(target).with_context(|| {
        format!("mount on {target}: a rootfs must have it (`cargo workshop rootfs` makes one)")
    })?;
    ensure!(!place.is_symlink(), "mount on {target}: a symlink may lead out");
    Ok(())
}
// ANCHOR_END: mounts
