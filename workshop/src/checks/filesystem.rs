//! The filesystem: a root, a `/proc`, a `/dev` and a `/sys` of its own, and mounts that stay inside.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal::SIGKILL;

use super::{Check, Fails};
use crate::container::{Runner, end};
use crate::host::State;

/// A root by chroot(2), with the host's `/proc` in it.
pub(crate) const BY_CHROOT: &str = r#"shift; exec unshare --mount sh -c '
    mount --rbind /proc "$ROOTFS/proc" && exec chroot "$ROOTFS" "$@"' sh "$@""#;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "own-root",
        proves: "`/` is the root filesystem, and the host's files are out of reach.",
        from: 4,
        free: &[],
        fails: Fails::Step(3),
        look: own_root,
    },
    Check {
        id: "starts-in-the-root",
        proves: "The command starts in `/`.",
        from: 4,
        free: &[],
        fails: Fails::Step(3),
        look: starts_in_the_root,
    },
    Check {
        id: "own-proc",
        proves: "`/proc` shows the container's processes and nobody else's.",
        from: 4,
        free: &[],
        fails: Fails::Step(3),
        look: own_proc,
    },
    Check {
        id: "own-dev",
        proves: "`/dev` has what programs expect, it works, and there is nothing else.",
        from: 4,
        free: &[],
        fails: Fails::Step(3),
        look: own_dev,
    },
    Check {
        id: "read-only-sys",
        proves: "`/sys` can be read and not written.",
        from: 4,
        free: &[],
        fails: Fails::Step(3),
        look: read_only_sys,
    },
    Check {
        id: "lets-go-of-the-host",
        proves: "No mount of the host's is left in the container.",
        from: 4,
        free: &[],
        fails: Fails::Step(3),
        look: lets_go_of_the_host,
    },
    Check {
        id: "root-cannot-leave",
        proves: "Root inside cannot leave its `/`, not by `chroot` and `..` either.",
        from: 4,
        free: &[],
        fails: Fails::Saboteur(BY_CHROOT),
        look: root_cannot_leave,
    },
    Check {
        id: "no-symlink-leads-out",
        proves: "A root filesystem whose `/proc`, `/dev` or `/sys` is a symlink to `..` opens no way out.",
        from: 4,
        free: &[],
        fails: Fails::Step(3),
        look: no_symlink_leads_out,
    },
    Check {
        id: "mounts-stay-inside",
        proves: "No mount of the container's shows up on the host, where `/` is shared.",
        from: 4,
        free: &[],
        fails: Fails::Step(3),
        look: mounts_stay_inside,
    },
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

fn own_dev(runner: &Runner) -> Result<()> {
    let said = runner.run(["ls", "/dev"])?.expect(0)?.text();
    let names = "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero";
    ensure!(said.split_whitespace().eq(names.split(' ')), "/dev holds {said:?}");
    for script in [
        "echo lost > /dev/null && test -z \"$(cat /dev/null)\"",
        "test $(head -c 5 /dev/zero | wc -c) = 5",
        "! echo full > /dev/full",
        "test $(head -c 5 /dev/random | wc -c) = 5",
        "test $(head -c 5 /dev/urandom | wc -c) = 5",
        "test -c /dev/tty",
        "echo kept > /dev/shm/file && test $(cat /dev/shm/file) = kept",
        "test $(echo through | cat /dev/stdin) = through",
        "test $(echo through > /dev/stdout) = through",
        "test $(echo through | cat /dev/fd/0) = through",
        "exec 3<>/dev/ptmx && test -c /dev/pts/0",
    ] {
        runner.sh(script)?.expect(0).with_context(|| script.to_owned())?;
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
    let on = left.and_then(|line| line.split(' ').nth(4));
    on.map_or(Ok(()), |on| bail!("a mount of the host's is inside, on {on}"))
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
