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

/// The text of a file of `src`, without the marks by which the book finds its parts.
pub fn read(step: &str, file: &str) -> Result<String> {
    let path = path(step, file);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.split_inclusive('\n').filter(|line| !line.contains("ANCHOR")).collect())
}

/// The files of a step's `src`, those in folders included: `cgroup/v1.rs`.
pub fn files(step: &str) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let path = path(step, &folder);
        for entry in fs::read_dir(&path).with_context(|| format!("read {}", path.display()))? {
            let entry = entry?;
            let name = format!("{folder}{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                folders.push(name + "/");
            } else {
                files.push(name);
            }
        }
    }
    files.sort();
    Ok(files)
}
