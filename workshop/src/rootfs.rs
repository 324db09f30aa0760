//! `cargo workshop rootfs`: makes the directory that a container sees as its `/`.
//!
//! It is built in `rootfs.partial`, beside the place where it belongs, and renamed when it is
//! complete: whatever kills a run, `rootfs` is whole or not there.

mod busybox;
mod source;

use std::env;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{self, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, umask};

use crate::workspace::workspace;

/// The file in which a root filesystem says what it was made from. It is written last: a
/// directory without it is not ours, or not complete.
const ORIGIN: &str = "etc/rootfs-origin";

/// Make rootfs/, the directory that a container sees as its /
#[derive(clap::Args, Default)]
pub struct Args {
    /// alpine, busybox, or the path of a tarball (plain, gzip, xz, zstd), a directory, a static busybox
    /// or its Debian package [default: the busybox of this machine, else alpine]
    #[arg(long, value_name = "SOURCE")]
    from: Option<PathBuf>,
    /// Make it anew where it is there already
    #[arg(long)]
    force: bool,
    /// Where to make it [default: where the steps look for it: $ROOTFS, else rootfs in the workspace]
    #[arg(long, value_name = "DIR", env = "ROOTFS", hide_env = true)]
    output: Option<PathBuf>,
    /// For the tests: the URL to download instead of Alpine's, and the sha256 of what is there
    #[arg(long, hide = true, num_args = 2)]
    download: Vec<String>,
}

/// A root filesystem in the making.
struct Job<'a> {
    args: &'a Args,
    /// A directory for everything that is not to be left behind.
    partial: &'a Path,
    /// Where it grows, in `partial`.
    new: PathBuf,
}

/// Makes the root filesystem, or says that it is there.
pub fn run(args: &Args) -> Result<()> {
    writeln!(io::stdout(), "rootfs: {}", made(args)?)?;
    Ok(())
}

/// Makes one for checks and tests: of the busybox at hand, or else of that in the root filesystem
/// that is played with, and never that itself.
pub fn for_checks(place: &Path) -> Result<PathBuf> {
    let mut why = String::new();
    for busybox in [PathBuf::from("busybox"), default_place().join("bin/busybox")] {
        let output = Some(place.to_owned());
        let args = Args { from: Some(busybox), output, ..Args::default() };
        match made(&args) {
            Ok(_) => return fs::canonicalize(place).context("the root filesystem"),
            Err(error) => why += &format!("{error:#}\n"),
        }
    }
    bail!("no root filesystem (install busybox-static):\n{}", why.trim_end())
}

/// Where the steps look for it.
pub fn default_place() -> PathBuf {
    env::var_os("ROOTFS").map_or_else(|| workspace().join("rootfs"), PathBuf::from)
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
            output.display()
        ),
    }
}

/// Makes it where none is, and says what came of it.
fn made(args: &Args) -> Result<String> {
    // The modes in it are the same for everybody.
    umask(Mode::from_bits_truncate(0o022));
    let output = args.output.clone().unwrap_or_else(default_place);
    // The shell leaves it as it is in `--output=~/debian`, and here would be a directory called ~.
    ensure!(!output.starts_with("~"), "--output={}: no = before a ~", output.display());
    let output = path::absolute(output)?;
    let (Some(parent), Some(name)) = (output.parent(), output.file_name()) else {
        bail!("--output {}: no place for a root filesystem", output.display());
    };
    fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    let parent = fs::canonicalize(parent)?;
    let output = parent.join(name);
    let _lock = lock(&parent)?;
    if let (Some(origin), false) = (origin(&output)?, args.force) {
        return Ok(format!("is there, made from {origin}; --force makes it anew"));
    }
    let partial = parent.join(format!("{}.partial", name.to_string_lossy()));
    clear(&partial)?;
    let made = make(&Job { args, partial: &partial, new: partial.join("new") }, &output);
    if let Err(error) = clear(&partial) {
        eprintln!("rootfs: {error:#}");
    }
    Ok(format!("made from {}", made?))
}

/// Waits until no other run makes one in `dir`. The kernel lets go of it when a run ends, however.
fn lock(dir: &Path) -> Result<Flock<File>> {
    let file = File::open(dir).with_context(|| format!("open {}", dir.display()))?;
    let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno);
    lock.with_context(|| format!("lock {}", dir.display()))
}

/// Makes it in `job.partial`, renames it to `output`, and says what it is made from.
fn make(job: &Job, output: &Path) -> Result<String> {
    // Nobody else may look in: what is unpacked there may have setuid programs until we take them away.
    let made = DirBuilder::new().mode(0o700).create(job.partial);
    made.with_context(|| format!("create {}", job.partial.display()))?;
    let origin = source::fill(job)?;
    complete(&job.new, &origin)?;
    if output.join(ORIGIN).exists() {
        nothing_mounted(output)?;
        // Both are complete now: not for a moment is there half of one.
        let replaced = fs::rename(output, job.partial.join("old"));
        replaced.with_context(|| format!("replace {0} (or sudo rm -rf {0})", output.display()))?;
    }
    fs::rename(&job.new, output).with_context(|| format!("rename it to {}", output.display()))?;
    Ok(origin)
}

/// Adds what every root filesystem needs, whatever it came from.
fn complete(root: &Path, origin: &str) -> Result<()> {
    fs::set_permissions(root, Permissions::from_mode(0o755))?;
    for name in ["dev", "etc", "proc", "sys"] {
        let dir = root.join(name);
        // A symbolic link would lead out of it, into this machine's own directories.
        if !fs::symlink_metadata(&dir).is_ok_and(|found| found.is_dir()) {
            fs::create_dir(&dir).with_context(|| format!("create /{name} in {origin}"))?;
        }
    }
    if fs::symlink_metadata(root.join("bin/sh")).is_err() {
        eprintln!("rootfs: there is no /bin/sh in {origin}");
    }
    let _ = fs::remove_file(root.join(ORIGIN));
    fs::write(root.join(ORIGIN), format!("{origin}\n")).context("write its origin")
}

/// Removes a directory of ours and all that is in it.
fn clear(dir: &Path) -> Result<()> {
    nothing_mounted(dir)?;
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("remove it (sudo rm -rf {0})", dir.display())),
    }
}

/// Fails if something is mounted in `dir`: a container may have left the machine's own `/dev`
/// there, and who removes the directory removes that.
fn nothing_mounted(dir: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
    // proc_pid_mountinfo(5): the fifth field is the mount point, a space in it written \040.
    let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    match points.find(|point| Path::new(&point.replace("\\040", " ")).starts_with(dir)) {
        Some(point) => bail!("something is mounted on {point}: sudo umount -R {point}"),
        None => Ok(()),
    }
}
