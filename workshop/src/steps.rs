//! The steps: their names, and their sources as readers see them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::workspace::workspace;

/// The five steps, by name.
pub const STEPS: [&str; 5] =
    ["step01-exec", "step02-uts", "step03-pid", "step04-mount", "step05-cgroups"];

/// A file of a step's `src`, or that itself.
pub fn path(step: &str, file: &str) -> PathBuf {
    workspace().join(step).join("src").join(file)
}

/// The text of a file, without the marks by which the book finds its parts.
pub fn read(step: &str, file: &str) -> Result<String> {
    let path = path(step, file);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.split_inclusive('\n').filter(|line| !line.contains("ANCHOR")).collect())
}
