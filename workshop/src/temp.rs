//! A directory for a while. (The crate `tempfile` brings a system call library of its own, for whose
//! sake cargo would build nix twice: once for the tools and once for the steps.)

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::mkdtemp;

/// A new directory, which is removed with all that is in it when this is dropped.
pub struct TempDir(PathBuf);

impl TempDir {
    /// Below `$TMPDIR`, or `/tmp`, with a name that begins like this (`man 3 mkdtemp`).
    pub fn new(name: &str) -> Result<TempDir> {
        TempDir::below(&env::temp_dir(), name)
    }

    /// The same, in another directory.
    pub fn below(place: &Path, name: &str) -> Result<TempDir> {
        let made = mkdtemp(&place.join(format!("{name}XXXXXX")));
        made.map(TempDir).with_context(|| format!("make a directory in {}", place.display()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
