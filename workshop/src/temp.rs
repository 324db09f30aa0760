//! A temporary directory. The crate `tempfile` would bring its own library for system calls, and
//! because of it cargo would build nix twice: once for the tools and once for the steps.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::mkdtemp;

/// A new directory. It is removed, with everything in it, when this is dropped.
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes one in `$TMPDIR`, or `/tmp`, with a name that begins like this (`man 3 mkdtemp`).
    pub fn new(name: &str) -> Result<TempDir> {
        TempDir::below(&env::temp_dir(), name)
    }

    /// Makes one in another directory.
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
