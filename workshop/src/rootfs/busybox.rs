//! A root filesystem of one static busybox and links to it.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::source::tool;

/// What distributions call it: Debian and most others, Alpine, and Debian's package.
const NAMES: [&str; 3] = ["busybox", "busybox.static", "busybox-static"];

const DIRS: [&str; 12] = [
    "bin", "etc", "home", "mnt", "root", "run", "sbin", "usr/bin", "usr/sbin", "tmp", "var/log",
    "var/tmp",
];

const FILES: [(&str, &str); 3] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n"),
];

/// How long the header of a program's segment is, and how that of the segment begins that names an
/// interpreter, ld.so(8).
const PHDR: usize = 56;
const PT_INTERP: &[u8] = b"\x03\0\0\0";

/// The first static busybox on this machine.
pub fn find() -> Result<PathBuf> {
    let mut path = env::var_os("PATH").unwrap_or_default();
    // An ordinary user's has no sbin.
    path.push(":/usr/sbin:/sbin");
    let mut why = anyhow!("no busybox at hand");
    for dir in env::split_paths(&path) {
        for name in NAMES {
            let Ok(file) = fs::canonicalize(dir.join(name)) else { continue };
            match version(&file) {
                Ok(_) => return Ok(file),
                Err(error) => why = error.context("no static busybox at hand"),
            }
        }
    }
    Err(why)
}

/// Copies `busybox`, which came `from` there, into `root`, makes the rest around it, and says what it
/// is made from.
pub fn fill(from: &Path, busybox: &Path, root: &Path) -> Result<String> {
    let version = version(busybox)?;
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
    let links = link(busybox, root)?;
    Ok(format!("{} ({version}, {links} applets)", from.display()))
}

/// The version of `file`, if it is a busybox that needs nothing else.
fn version(file: &Path) -> Result<String> {
    let name = file.display();
    ensure!(!is_dynamic(file).with_context(|| name.to_string())?, "{name} is dynamically linked");
    match ask(file, &[])?.split_whitespace().collect::<Vec<_>>()[..] {
        ["BusyBox", version, ..] => Ok(format!("BusyBox {version}")),
        _ => bail!("{name} is no BusyBox"),
    }
}

/// Whether a program needs an interpreter, and with it shared libraries (`man 5 elf`).
fn is_dynamic(program: &Path) -> Result<bool> {
    let file = fs::read(program)?;
    // 64 bits, and the lowest byte first.
    ensure!(file.starts_with(b"\x7fELF\x02\x01"), "it is no program for this machine");
    ensure!(file.len() >= 64, "it is cut short");
    let e_phoff = usize::from_le_bytes(file[32..40].try_into()?);
    let e_phnum = u16::from_le_bytes([file[56], file[57]]);
    let headers = file.get(e_phoff..e_phoff.saturating_add(usize::from(e_phnum) * PHDR));
    let mut headers = headers.context("it is cut short")?.chunks(PHDR);
    Ok(headers.any(|header| header.starts_with(PT_INTERP)))
}

/// Links its applets to `bin/busybox` in `root`, each where it belongs; how many.
fn link(busybox: &Path, root: &Path) -> Result<usize> {
    let mut links = 0;
    for path in ask(busybox, &["--list-full"])?.lines() {
        let target = match path.rsplit_once('/') {
            // In no directory: linuxrc, which is of no use in a container.
            None => continue,
            Some(("bin", "busybox")) => continue,
            Some(("bin", _)) => "busybox".to_owned(),
            Some((dir, _)) => "../".repeat(dir.split('/').count()) + "bin/busybox",
        };
        symlink(target, root.join(path)).with_context(|| format!("link {path}"))?;
        links += 1;
    }
    Ok(links)
}

/// What busybox says to `args`; called busybox, since by another name it is another program.
fn ask(busybox: &Path, args: &[&str]) -> Result<String> {
    tool(Command::new(busybox).arg0("busybox").args(args))
}
