//! A download, by curl or wget.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::source::tool;
use super::{partial, shown};

/// Downloads `url` to `file`, if it is not there yet. It counts only if its `sha256` is right.
pub fn fetch(url: &str, sha256: &str, file: &Path) -> Result<()> {
    let is_right = |file: &Path| sum(file).is_ok_and(|sum| sum == sha256);
    if is_right(file) {
        return Ok(());
    }
    let path = partial(file);
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir).with_context(|| format!("create {}", shown(dir)))?;
    eprintln!("rootfs: downloading {url}");
    download(url, &path)?;
    if !is_right(&path) {
        fs::remove_file(&path)?;
        bail!(
            "what came is something else (its sha256 is wrong), and was thrown away; \
             if it was the login page of a Wi-Fi, log in and try again"
        );
    }
    fs::rename(&path, file).with_context(|| format!("rename {}", shown(&path)))
}

/// By the first of these programs that is installed. Both show how far they are.
fn download(url: &str, file: &Path) -> Result<()> {
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--location", "--progress-bar", "--retry", "3"]);
    curl.args(["--connect-timeout", "15", "--speed-limit", "1", "--speed-time", "15"]);
    curl.arg("--output").arg(file).arg(url);
    let mut wget = Command::new("wget");
    wget.args(["--quiet", "--show-progress", "--tries=3", "--timeout=15", "-O"]).arg(file).arg(url);
    for program in [&mut curl, &mut wget] {
        let name = program.get_program().to_string_lossy().to_string();
        if let Ok(status) = program.status() {
            ensure!(status.success(), "{name} failed: {status}");
            return Ok(());
        }
    }
    bail!("neither curl nor wget is installed")
}

/// The sha256 of a file, in hexadecimal.
fn sum(file: &Path) -> Result<String> {
    let said = tool(Command::new("sha256sum").arg("--").arg(file))?;
    Ok(said.split(' ').next().unwrap_or_default().trim_start_matches('\\').to_owned())
}
