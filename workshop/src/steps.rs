//! The steps: a row for each, and their sources as readers see them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::workspace::workspace;

/// A step: what it takes to run it, and what it may cost to read.
pub struct Step {
    /// The name of its folder, its program, and its page.
    pub name: &'static str,
    /// Whether all it does takes root: a user namespace is not enough.
    pub root: bool,
    /// Whether its containers have a root filesystem: `--rootfs`.
    pub rootfs: bool,
    /// The options of `run` that it adds, with an example.
    pub options: &'static [&'static str],
    /// The most lines that it may have, comments included.
    pub lines: usize,
    /// The most lines that it may change, removed and added, in files that the step before has, too.
    /// No limit for the first, and for the one that is split into files.
    pub changes: usize,
}

/// All steps, in order.
pub const STEPS: [Step; 5] = [
    Step {
        name: "step01-exec",
        root: false,
        rootfs: false,
        options: &[],
        lines: 70,
        changes: usize::MAX,
    },
    Step {
        name: "step02-uts",
        root: false,
        rootfs: false,
        options: &["--hostname=box"],
        lines: 95,
        changes: 40,
    },
    Step {
        name: "step03-pid",
        root: false,
        rootfs: false,
        options: &[],
        lines: 340,
        changes: usize::MAX,
    },
    Step {
        name: "step04-mount",
        root: false,
        rootfs: true,
        options: &["--rootfs=rootfs"],
        lines: 490,
        changes: 40,
    },
    Step {
        name: "step05-cgroups",
        root: true,
        rootfs: true,
        options: &["--memory=64m", "--cpus=0.5", "--pids-limit=9"],
        lines: 850,
        changes: 40,
    },
];

/// The last step.
pub const LAST: &Step = &STEPS[STEPS.len() - 1];

/// A step by its number, from 1.
pub fn step(number: usize) -> &'static Step {
    const ALL: &[Step] = &STEPS;
    &ALL[number - 1]
}

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
