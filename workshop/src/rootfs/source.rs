//! Where the files of a root filesystem can come from.

use std::env::consts::ARCH;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Job, busybox};

/// Plain http on purpose: the sha256 is the proof.
const MIRROR: &str = "http://dl-cdn.alpinelinux.org/alpine/v3.23/releases";
const ALPINE: &str = "alpine-minirootfs-3.23.2";

/// The sha256 of Alpine's minirootfs for a machine, from the `.sha256` beside it.
const SHA256: [(&str, &str); 2] = [
    ("x86_64", "b50bf42e519420ca2be48dd0efa22aa087c708d0602b67d413406533bef9dab5"),
    ("aarch64", "0a6c278a906bb7dc1c14f3dae426b4494280cdc421697977459bd37f91287d09"),
];

/// The words of these programs, before the file and the URL. The first that is installed is taken.
const DOWNLOADERS: [&[&str]; 2] = [
    &["curl", "-fsSL", "--connect-timeout", "15", "--speed-limit", "1", "--speed-time", "15", "-o"],
    &["wget", "--no-verbose", "--tries=2", "--timeout=15", "-O"],
];

/// Fills `job.new` from what was asked for, and says what it came from.
pub fn fill(job: &Job) -> Result<String> {
    fs::create_dir(&job.new).with_context(|| format!("create {}", job.new.display()))?;
    match &job.args.from {
        None => match busybox::find() {
            Ok(file) => busybox::fill(&file, &file, &job.new),
            Err(why) => {
                eprintln!("rootfs: {why:#}");
                alpine(job).context(
                    "nothing to make a root filesystem from (install the package busybox-static; \
                     Fedora, Arch: busybox)",
                )
            }
        },
        Some(from) if from == Path::new("busybox") => {
            let file = busybox::find()?;
            busybox::fill(&file, &file, &job.new)
        }
        Some(from) if from == Path::new("alpine") => alpine(job),
        Some(from) => given(from, job),
    }
}

/// Alpine's minirootfs.
fn alpine(job: &Job) -> Result<String> {
    let (url, sha256) = if let [url, sha256] = &job.args.download[..] {
        (url.clone(), sha256.as_str())
    } else {
        let known = SHA256.iter().find(|(machine, _)| *machine == ARCH);
        let (_, sha256) = known.with_context(|| format!("no Alpine is known for {ARCH}"))?;
        (format!("{MIRROR}/{ARCH}/{ALPINE}-{ARCH}.tar.gz"), *sha256)
    };
    let name = url.rsplit('/').next().unwrap_or(ALPINE);
    // With all that is in there, it is gone in the end.
    let file = job.partial.join("download");
    eprintln!("rootfs: downloading {url}");
    download(&url, sha256, &file)
        .with_context(|| format!("download {url} (or bring it along: --from FILE)"))?;
    unpack(&file, &job.new)?;
    Ok(name.to_owned())
}

/// Downloads a file, and fails if it is not the right one.
fn download(url: &str, sha256: &str, file: &Path) -> Result<()> {
    let is_there = |words: &&[&str]| Command::new(words[0]).arg("--help").output().is_ok();
    let words = DOWNLOADERS.into_iter().find(is_there);
    let words = words.context("neither curl nor wget is installed")?;
    tool(Command::new(words[0]).args(&words[1..]).arg(file).arg(url))?;
    let sum = tool(Command::new("sha256sum").arg(file))?;
    // A backslash stands before it if the file's name has odd characters.
    ensure!(
        sum.trim_start_matches('\\').starts_with(sha256),
        "what came is something else (its sha256 is wrong), and was thrown away; \
         if it was the login page of a Wi-Fi, log in and try again"
    );
    Ok(())
}

/// What `--from` names: a directory or a file, whose first bytes tell which it is.
fn given(from: &Path, job: &Job) -> Result<String> {
    let shown = from.display();
    let path = fs::canonicalize(from)
        .with_context(|| format!("--from {shown}, neither alpine nor busybox"))?;
    if path.is_dir() {
        ensure!(!job.new.starts_with(&path), "--from {shown}: the copy would be in it");
        // cp(1): -a keeps modes, links and, for root, owners; -x leaves out what is mounted there.
        let mut cp = Command::new("cp");
        cp.arg("-ax").arg(path.join(".")).arg(&job.new);
        if !is_roots(&job.new)? {
            cp.arg("--no-preserve=ownership");
        }
        tool(&mut cp)?;
        take_setuid_away(&job.new)?;
        return Ok(shown.to_string());
    }
    let mut magic = [0; 4];
    let read = File::open(&path).and_then(|mut file| file.read(&mut magic));
    read.with_context(|| format!("read {shown}"))?;
    match &magic {
        b"\x7fELF" => busybox::fill(from, &path, &job.new),
        // A Debian package.
        b"!<ar" => {
            let dir = job.partial.join("package");
            tool(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&dir))?;
            let mut places =
                ["bin/busybox", "usr/bin/busybox"].map(|place| dir.join(place)).into_iter();
            let busybox = places.find(|place| place.is_file()).context("no busybox in it")?;
            busybox::fill(from, &busybox, &job.new)
        }
        _ => unpack(&path, &job.new).map(|()| shown.to_string()),
    }
}

/// Unpacks a tarball, packed in any way that tar(1) knows.
fn unpack(file: &Path, new: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.arg("-xpf").arg(file).arg("-C").arg(new);
    // Only root may make devices, and a container has its own /dev.
    tar.args(["--anchored", "--exclude=dev/*", "--exclude=./dev/*"]);
    if !is_roots(new)? {
        // In a user namespace tar takes itself for root, and fails where there is no such user.
        tar.arg("--no-same-owner");
    }
    tool(&mut tar).with_context(|| format!("unpack {}", file.display()))?;
    ensure!(
        !new.join("manifest.json").is_file(),
        "{} is an image in layers, as `docker save` writes it; \
         `docker export` writes what a container sees",
        file.display()
    );
    take_setuid_away(new)
}

/// Does it belong to root, and may root give its files to any other user? In a user namespace root is
/// somebody else outside, and there are not all users.
fn is_roots(new: &Path) -> Result<bool> {
    let users = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    Ok(fs::metadata(new)?.uid() == 0 && users.trim_end().ends_with(" 4294967295"))
}

/// What belonged to root in a tarball now belongs to the user who unpacked it. A setuid program among
/// it would run as that user, whoever on this machine starts it.
fn take_setuid_away(new: &Path) -> Result<()> {
    if !is_roots(new)? {
        tool(Command::new("chmod").args(["-R", "ug-s"]).arg(new))?;
    }
    Ok(())
}

/// Runs a tool and returns its output; if it fails, the error is the first line it said about it.
pub fn tool(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {name}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    // wget says the URL first, and then what was wrong.
    let said = stderr.lines().find(|line| !line.ends_with(':'));
    let said = said.unwrap_or("it failed, and said nothing");
    // tar starts the program that unpacks as a child of its own.
    let said = said.trim_start_matches(&format!("{name} (child): "));
    ensure!(output.status.success(), "{name}: {}", said.trim_start_matches(&format!("{name}: ")));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
