//! A kernel to boot: the distribution's own for clouds, with what we need built in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use workshop::temp::TempDir;

use super::output;

/// The kernel in the cache, downloaded first where it is not there yet.
pub fn fetched(cache: &Path, debian: &str) -> Result<PathBuf> {
    let kernel = cache.join("vmlinuz");
    if kernel.exists() {
        return Ok(kernel);
    }
    let hint = "download a kernel (or give one with --kernel)";
    let package = package(debian).context(hint)?;
    println!("vm: fetching {package}");
    let place = TempDir::below(cache, "kernel-")?;
    let mut download = Command::new("apt-get");
    output(download.args(["download", &package]).current_dir(place.path())).context(hint)?;
    let deb = only(place.path())?;
    let unpacked = place.path().join("unpacked");
    output(Command::new("dpkg").arg("-x").arg(deb).arg(&unpacked))?;
    let boot = fs::read_dir(unpacked.join("boot")).context("no /boot in it")?;
    let image = boot.flatten().find(|f| f.file_name().to_string_lossy().starts_with("vmlinu"));
    // It is complete, or not there.
    fs::rename(image.context("no kernel in it")?.path(), &kernel)?;
    Ok(kernel)
}

/// The package that the newest kernel is in: Debian's for clouds, or Ubuntu's for VMs.
fn package(debian: &str) -> Result<String> {
    let newest = |meta: &str| -> Result<String> {
        let depends = output(Command::new("apt-cache").args(["depends", meta]))?;
        let depends = String::from_utf8_lossy(&depends).into_owned();
        let mut lines = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let package = lines.find(|package| package.starts_with("linux-image-"));
        package.map(str::to_owned).with_context(|| format!("{meta} is empty"))
    };
    newest(&format!("linux-image-cloud-{debian}")).or_else(|_| newest("linux-image-virtual"))
}

/// The one file in a directory.
fn only(dir: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(dir)?;
    Ok(entries.next().context("nothing was downloaded")??.path())
}
