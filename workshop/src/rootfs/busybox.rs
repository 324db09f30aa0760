//! A root filesystem of one static busybox and links to it.

use std::collections::HashSet;
use std::env;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::arch::{Arch, Program};
use super::source::tool;
use super::{Job, shown};

/// What distributions call it: Debian and most others, Alpine, and Debian's package.
const NAMES: [&str; 3] = ["busybox", "busybox.static", "busybox-static"];

/// Where it may be beside `$PATH`, which has no sbin for an ordinary user.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

const DIRS: [&str; 12] = [
    "bin", "etc", "home", "mnt", "root", "run", "sbin", "usr/bin", "usr/sbin", "tmp", "var/log",
    "var/tmp",
];

const FILES: [(&str, &str); 4] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("etc/hostname", "rootfs\n"),
    ("etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n"),
];

/// The links for a busybox that cannot be asked for them: this machine does not run it.
const APPLETS: &str = "\
    bin/ash bin/cat bin/chgrp bin/chmod bin/chown bin/cp bin/date bin/dd bin/df bin/dmesg \
    bin/echo bin/false bin/grep bin/gunzip bin/gzip bin/hostname bin/kill bin/ln bin/ls \
    bin/mkdir bin/mknod bin/mktemp bin/more bin/mount bin/mv bin/netstat bin/ping bin/ps bin/pwd \
    bin/rm bin/rmdir bin/sed bin/sh bin/sleep bin/stat bin/stty bin/su bin/sync bin/tar \
    bin/touch bin/true bin/umount bin/uname bin/vi sbin/ifconfig sbin/ip sbin/pivot_root \
    sbin/route usr/bin/[ usr/bin/awk usr/bin/basename usr/bin/clear usr/bin/cut usr/bin/dirname \
    usr/bin/du usr/bin/env usr/bin/expr usr/bin/find usr/bin/free usr/bin/head usr/bin/id \
    usr/bin/killall usr/bin/less usr/bin/nc usr/bin/nproc usr/bin/printf usr/bin/readlink \
    usr/bin/seq usr/bin/sort usr/bin/tail usr/bin/tee usr/bin/test usr/bin/top usr/bin/tr \
    usr/bin/tty usr/bin/uniq usr/bin/unshare usr/bin/wc usr/bin/wget usr/bin/which \
    usr/bin/whoami usr/bin/xargs usr/bin/yes usr/sbin/chroot";

/// The first static busybox for `arch` on this machine.
pub fn find(arch: &Arch) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<_> = env::split_paths(&path).chain(SBIN.map(PathBuf::from)).collect();
    let files = dirs.iter().flat_map(|dir| NAMES.map(|name| dir.join(name)));
    // Often /bin is /usr/bin: what is found by two names is looked at once.
    let mut seen = HashSet::new();
    let files = files.filter_map(|file| fs::canonicalize(file).ok());
    let mut skipped = Vec::new();
    for file in files.filter(|file| seen.insert(file.clone())) {
        match version(&file, arch) {
            Ok(_) => return Ok(file),
            Err(error) => skipped.push(format!("{error:#}")),
        }
    }
    ensure!(skipped.is_empty(), "no static busybox at hand: {}", skipped.join(", "));
    bail!("no busybox at hand");
}

/// Copies `busybox` into `job.new`, makes the rest around it, and says which one it is.
pub fn fill(busybox: &Path, job: &Job) -> Result<String> {
    let root = &job.new;
    let version = version(busybox, job.arch)?;
    furnish(busybox, &version, root).with_context(|| format!("write to {}", shown(root)))?;
    let links = link(busybox, root)?;
    Ok(format!("({version}, {links} applets)"))
}

/// The version of `file`, if it is a busybox that `arch` can run without anything else.
fn version(file: &Path, arch: &Arch) -> Result<String> {
    let name = shown(file);
    let program = Program::read(file).with_context(|| format!("read {name}"))?;
    program.built_for(arch).map_err(|error| anyhow!("{name} {error}"))?;
    ensure!(!program.dynamic, "{name} is dynamically linked");
    if arch.name != env::consts::ARCH {
        return Ok(format!("BusyBox for {}", arch.name));
    }
    match ask(file, &[])?.split_whitespace().collect::<Vec<_>>()[..] {
        ["BusyBox", version, ..] => Ok(format!("BusyBox {version}")),
        _ => bail!("{name} is no BusyBox"),
    }
}

/// Makes the directories and files of a small Linux system.
fn furnish(busybox: &Path, version: &str, root: &Path) -> io::Result<()> {
    for dir in DIRS {
        fs::create_dir_all(root.join(dir))?;
    }
    for (file, text) in FILES {
        fs::write(root.join(file), text)?;
    }
    // os-release(5): what `cat /etc/os-release` says in the container.
    let name = format!("{version}, a root filesystem of one program and links to it");
    let release = format!("NAME=BusyBox\nID=busybox\nPRETTY_NAME=\"{name}\"\n");
    fs::write(root.join("etc/os-release"), release)?;
    fs::copy(busybox, root.join("bin/busybox"))?;
    for (path, mode) in [("bin/busybox", 0o755), ("tmp", 0o1777), ("var/tmp", 0o1777)] {
        fs::set_permissions(root.join(path), Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Links its applets to `bin/busybox` in `root`, each where it belongs; how many.
fn link(busybox: &Path, root: &Path) -> Result<usize> {
    let list = ask(busybox, &["--list-full"]).unwrap_or_else(|_| APPLETS.replace(' ', "\n"));
    // Those outside a directory, linuxrc, are of no use; and bin/busybox is there.
    let links = list.lines().filter(|path| path.contains('/') && *path != "bin/busybox");
    for path in links.clone() {
        let up = "../".repeat(path.matches('/').count());
        let target = if path.starts_with("bin/") { "busybox" } else { &format!("{up}bin/busybox") };
        symlink(target, root.join(path)).with_context(|| format!("link {path}"))?;
    }
    Ok(links.count())
}

/// What busybox says to `args`; called busybox, since by another name it is another program.
fn ask(busybox: &Path, args: &[&str]) -> Result<String> {
    tool(Command::new(busybox).arg0("busybox").args(args))
}
