//! `cargo workshop rootfs`: makes the directory that a container sees as its `/`.
//!
//! It is built in `rootfs.partial`, beside the place where it belongs, and renamed when it is
//! complete: whatever kills a run, `rootfs` is whole or not there.

pub mod arch;
mod busybox;
mod download;
mod source;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{self, Path, PathBuf};

use crate::workspace::workspace;
use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, umask};

use arch::{Arch, Program};

/// The file in which a root filesystem says what it was made from. It is written last: a
/// directory without it is not ours, or not complete.
const ORIGIN: &str = "etc/rootfs-origin";

/// Make rootfs/, the directory that a container sees as its /
#[derive(clap::Args)]
pub struct Args {
    /// alpine, busybox, or a path: of a tarball, a directory, a static busybox, its Debian package
    /// [default: the busybox of this machine, else alpine, else the busybox of the distribution]
    #[arg(long, value_name = "SOURCE")]
    from: Option<PathBuf>,
    /// Make it anew where it is there already
    #[arg(long)]
    force: bool,
    /// Where to make it [default: where the steps look for it: $ROOTFS, else rootfs in the workspace]
    #[arg(long, value_name = "DIR", env = "ROOTFS", hide_env = true)]
    output: Option<PathBuf>,
    /// The machine to make it for, x86_64 or aarch64 [default: this one]
    #[arg(long)]
    arch: Option<String>,
    /// Download this instead of Alpine's (for the tests)
    #[arg(long, hide = true, requires = "sha256")]
    url: Option<String>,
    /// The sha256 of what is there
    #[arg(long, hide = true)]
    sha256: Option<String>,
}

/// A root filesystem in the making.
struct Job<'a> {
    args: &'a Args,
    arch: &'a Arch,
    /// Where it grows, in `partial`.
    new: PathBuf,
    /// A directory for everything that is not to be left behind.
    partial: &'a Path,
}

/// Makes the root filesystem, or says that it is there.
pub fn run(args: &Args) -> Result<()> {
    writeln!(io::stdout(), "rootfs: {}", made(args)?)?;
    Ok(())
}

/// Makes it, and says what came of it.
fn made(args: &Args) -> Result<String> {
    // The modes in it are the same for everybody.
    umask(Mode::from_bits_truncate(0o022));
    let arch = Arch::named(args.arch.as_deref().unwrap_or(std::env::consts::ARCH))?;
    let (parent, output) = locate(args.output.as_deref())?;
    let _lock = lock(File::open(&parent), &parent)?;
    if let (Some(origin), false) = (origin(&output)?, args.force) {
        return Ok(format!("is there, made from {origin}; --force makes it anew"));
    }
    let partial = partial(&output);
    clear(&partial)?;
    let made = make(&Job { args, arch, new: partial.join("new"), partial: &partial }, &output);
    if let Err(error) = clear(&partial) {
        eprintln!("rootfs: {error:#}");
    }
    Ok(format!("made from {}", made?))
}

/// Makes one for checks and tests: of the busybox at hand, or else of that in the root filesystem
/// that is played with, and never that itself.
pub fn for_checks(output: &Path) -> Result<PathBuf> {
    let played_with = std::env::var_os("ROOTFS").map(PathBuf::from);
    let played_with = played_with.unwrap_or_else(|| workspace().join("rootfs"));
    let mut why = String::new();
    for busybox in [PathBuf::from("busybox"), played_with.join("bin/busybox")] {
        let args = Args {
            from: Some(busybox),
            force: false,
            output: Some(output.to_owned()),
            arch: None,
            url: None,
            sha256: None,
        };
        match made(&args) {
            Ok(_) => return fs::canonicalize(output).context("the root filesystem"),
            Err(error) => why += &format!("{error:#}\n"),
        }
    }
    bail!("no root filesystem (install busybox-static):\n{}", why.trim_end())
}

/// A static busybox of this machine, from which one can be made.
pub fn busybox_at_hand() -> Result<PathBuf> {
    busybox::find(Arch::named(std::env::consts::ARCH)?)
}

/// Makes it, renames it to `output`, and says what it is.
fn make(job: &Job, output: &Path) -> Result<String> {
    fs::create_dir(job.partial).with_context(|| format!("create {}", shown(job.partial)))?;
    let origin = source::fill(job)?;
    complete(&job.new, &origin, job.arch)?;
    let size = size(&job.new) as f64 / 1e6;
    if output.join(ORIGIN).exists() {
        nothing_mounted(output)?;
        // Both are complete now: not for a moment is there half of one.
        fs::rename(output, job.partial.join("old"))
            .map_err(|error| anyhow!("replace {0}: {error}; sudo rm -rf {0}", shown(output)))?;
    }
    fs::rename(&job.new, output).with_context(|| format!("rename it to {}", shown(output)))?;
    Ok(format!("{origin}, {size:.1} MB"))
}

/// The directory that holds the root filesystem, and its path.
fn locate(output: Option<&Path>) -> Result<(PathBuf, PathBuf)> {
    let default = workspace().join("rootfs");
    let output = path::absolute(output.unwrap_or(&default))?;
    let (Some(parent), Some(name)) = (output.parent(), output.file_name()) else {
        bail!("--output {}: no place for a root filesystem", output.display());
    };
    fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    let parent = fs::canonicalize(parent)?;
    Ok((parent.clone(), parent.join(name)))
}

/// What the root filesystem that is there was made from, if one is there.
pub fn origin(output: &Path) -> Result<Option<String>> {
    if let Ok(origin) = fs::read_to_string(output.join(ORIGIN)) {
        return Ok(Some(origin.trim_end().to_owned()));
    }
    match fs::read_dir(output).map(Iterator::count) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Ok(0) => Ok(None),
        _ => bail!(
            "{} is there, but was not made by `cargo workshop rootfs`, or not all of it: \
             use it as it is, or move it away and try again",
            shown(output)
        ),
    }
}

/// Adds what every root filesystem needs, whatever it came from, and looks at its shell.
fn complete(root: &Path, origin: &str, arch: &Arch) -> Result<()> {
    fs::set_permissions(root, Permissions::from_mode(0o755))?;
    for dir in ["dev", "etc", "proc", "sys"] {
        let dir = root.join(dir);
        // A symbolic link would lead out of it, into this machine's own directories.
        if !fs::symlink_metadata(&dir).is_ok_and(|found| found.is_dir()) {
            fs::create_dir(&dir).with_context(|| format!("create {}", shown(&dir)))?;
        }
    }
    let shell = inside(root, "bin/sh");
    if !shell.is_file() {
        eprintln!("rootfs: there is no /bin/sh in {origin}");
    } else if let Ok(program) = Program::read(&shell) {
        program.built_for(arch).map_err(|error| anyhow!("/bin/sh in {origin} {error}"))?;
    }
    let _ = fs::remove_file(root.join(ORIGIN));
    fs::write(root.join(ORIGIN), format!("{origin}\n")).context("write its origin")
}

/// Where `path` leads to for a process whose root directory is `root`.
pub fn inside(root: &Path, path: &str) -> PathBuf {
    let mut path = root.join(path);
    for _ in 0..8 {
        let Ok(target) = fs::read_link(&path) else {
            break;
        };
        path = match target.strip_prefix("/") {
            Ok(target) => root.join(target),
            Err(_) => path.with_file_name(target),
        };
    }
    path
}

/// The bytes in the files of `dir`, as far as they can be read.
fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) if found.is_file() => found.len(),
        _ => 0,
    });
    sizes.sum()
}

/// Removes a directory of ours and all that is in it.
fn clear(dir: &Path) -> Result<()> {
    nothing_mounted(dir)?;
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            bail!("remove {0}: {error}; sudo rm -rf {0}", shown(dir))
        }
        _ => Ok(()),
    }
}

/// Fails if something is mounted in `dir`: a container may have left the machine's own `/dev`
/// there, and who removes the directory removes that.
pub fn nothing_mounted(dir: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
    // proc_pid_mountinfo(5): the fifth field is the mount point, a space in it written \040.
    let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    match points.find(|point| Path::new(&point.replace("\\040", " ")).starts_with(dir)) {
        Some(point) => bail!("something is mounted on {point}: sudo umount -R {point}"),
        None => Ok(()),
    }
}

/// Where `path` is built before it is complete.
fn partial(path: &Path) -> PathBuf {
    [path.as_os_str(), OsStr::new(".partial")].into_iter().collect::<OsString>().into()
}

/// `path` as one would type it here.
fn shown(path: &Path) -> path::Display<'_> {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display()
}

/// Waits until no other run uses `file`. The kernel lets go of it when a run ends, however.
fn lock(file: io::Result<File>, path: &Path) -> Result<Flock<File>> {
    let file = file.with_context(|| format!("open {}", shown(path)))?;
    let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Err((file, Errno::EWOULDBLOCK)) => {
            eprintln!("rootfs: waiting for another run that uses {}", shown(path));
            Flock::lock(file, FlockArg::LockExclusive)
        }
        lock => lock,
    };
    lock.map_err(|(_, errno)| errno).with_context(|| format!("lock {}", shown(path)))
}
