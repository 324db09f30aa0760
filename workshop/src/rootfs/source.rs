//! Where the files of a root filesystem can come from.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::workspace::target;
use anyhow::{Context, Result, bail, ensure};

use super::{Job, busybox, download, shown};

/// Plain http on purpose: the sha256 in `ARCHES` is the proof, and TLS would be the longest part
/// of the build, which a room full of people waits for.
const MIRROR: &str = "http://dl-cdn.alpinelinux.org/alpine/v3.23/releases";
const ALPINE: &str = "alpine-minirootfs-3.23.2";

/// Fills `job.new` and says what it came from.
type Source = fn(job: &Job) -> Result<String>;

/// Fills `job.new` from the first source that has something, of those that were asked for.
pub fn fill(job: &Job) -> Result<String> {
    let sources: &[Source] = match &job.args.from {
        None => &[busybox_at_hand, alpine, package],
        Some(name) if name == Path::new("busybox") => &[busybox_at_hand, package],
        Some(name) if name == Path::new("alpine") => &[alpine],
        Some(_) => &[given],
    };
    for source in sources {
        super::clear(&job.new)?;
        fs::create_dir(&job.new).with_context(|| format!("create {}", shown(&job.new)))?;
        match source(job) {
            Err(error) if sources.len() > 1 => eprintln!("rootfs: {error:#}"),
            result => return result,
        }
    }
    bail!(
        "nothing to make a root filesystem from: install the package busybox-static \
         (Fedora, Arch: busybox), or give a tarball, such as `docker export` writes, with --from"
    )
}

/// The busybox of this machine.
fn busybox_at_hand(job: &Job) -> Result<String> {
    let file = busybox::find(job.arch)?;
    Ok(format!("{} {}", file.display(), busybox::fill(&file, job)?))
}

/// Alpine's minirootfs. The download is kept, so that another one needs no network.
fn alpine(job: &Job) -> Result<String> {
    let pinned = format!("{MIRROR}/{0}/{ALPINE}-{0}.tar.gz", job.arch.name);
    let url = job.args.url.as_ref().unwrap_or(&pinned);
    let sha256 = job.args.sha256.as_deref().unwrap_or(job.arch.alpine_sha256);
    let name = url.rsplit('/').next().unwrap_or(ALPINE);
    let file = target().join("workshop").join(name);
    download::fetch(url, sha256, &file)
        .with_context(|| format!("download {url} (or bring it along: --from FILE)"))?;
    unpack(&file, &job.new)?;
    Ok(name.to_owned())
}

/// The busybox of the distribution, without installing it: that needs no root.
fn package(job: &Job) -> Result<String> {
    let package = format!("busybox-static:{}", job.arch.debian);
    let dir = job.partial.join("download");
    fs::create_dir(&dir)?;
    tool(Command::new("apt-get").args(["download", &package]).current_dir(&dir))
        .with_context(|| format!("download the package {package} (is `apt-get update` due?)"))?;
    let file = fs::read_dir(&dir)?.next().context("apt-get left no package")??;
    unpack_package(&file.path(), job)
}

/// What `--from` names: a directory or a file, whose first bytes tell which it is.
fn given(job: &Job) -> Result<String> {
    let from = job.args.from.as_deref().unwrap_or(Path::new(""));
    let path = fs::canonicalize(from);
    let from = from.display();
    let path = path.with_context(|| format!("--from {from}, neither alpine nor busybox"))?;
    if path.is_dir() {
        ensure!(!job.new.starts_with(&path), "--from {from}: the copy would be in it");
        // cp(1): -a keeps modes, links and, for root, owners; -x leaves out what is mounted there.
        tool(Command::new("cp").arg("-ax").arg(path.join(".")).arg(&job.new))?;
        return Ok(from.to_string());
    }
    let mut magic = [0; 4];
    let read = File::open(&path).and_then(|mut file| file.read(&mut magic));
    read.with_context(|| format!("read {from}"))?;
    match &magic {
        b"\x7fELF" => Ok(format!("{from} {}", busybox::fill(&path, job)?)),
        b"!<ar" => unpack_package(&path, job),
        _ => unpack(&path, &job.new).map(|()| from.to_string()),
    }
}

/// Unpacks a Debian package and takes its busybox.
fn unpack_package(file: &Path, job: &Job) -> Result<String> {
    let dir = job.partial.join("package");
    tool(Command::new("dpkg-deb").arg("-x").arg(file).arg(&dir))?;
    let mut places = ["bin/busybox", "usr/bin/busybox"].iter().map(|place| dir.join(place));
    let busybox = places.find(|place| place.is_file()).context("no busybox in the package")?;
    // apt-get writes the colon of a version so.
    let name = file.file_name().unwrap_or_default().to_string_lossy().replace("%3a", ":");
    let busybox = busybox::fill(&busybox, job).with_context(|| name.clone())?;
    Ok(format!("{name} {busybox}"))
}

/// Unpacks a tarball, packed in any way that tar(1) knows.
fn unpack(file: &Path, new: &Path) -> Result<()> {
    // Only root may make devices, and a container has its own /dev.
    let but_devices = ["--anchored", "--exclude=dev/*", "--exclude=./dev/*"];
    tool(Command::new("tar").arg("-xpf").arg(file).arg("-C").arg(new).args(but_devices))
        .with_context(|| format!("unpack {}", shown(file)))?;
    Ok(())
}

/// Runs a tool and returns its output; if it fails, the error is the first line it said about it.
pub fn tool(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {name}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    // apt-get's warnings (W:) come before its errors.
    let said = stderr
        .lines()
        .find(|line| !line.starts_with("W:"))
        .unwrap_or("it failed, and said nothing");
    ensure!(output.status.success(), "{name}: {}", said.trim_start_matches(&format!("{name}: ")));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
