//! The steps: a row for each, and their sources as readers see them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::workspace::workspace;

/// A step: what it needs to run, and how long it may be.
pub struct Step {
    /// The name of its folder, its program, and its page.
    pub name: &'static str,
    /// Whether it needs root for everything it does: a user namespace is not enough.
    pub root: bool,
    /// Whether its containers have a root filesystem: `--rootfs`.
    pub rootfs: bool,
    /// The options of `run` that it adds, each with an example.
    pub options: &'static [&'static str],
    /// The most lines that it may have, comments included.
    pub lines: usize,
    /// The most lines that it may add and remove in files that the step before has, too. No limit
    /// for the first step, and for the one that is split into files.
    pub changes: usize,
}

/// The values that most rows share.
const STEP: Step =
    Step { name: "", root: false, rootfs: false, options: &[], lines: 0, changes: 40 };

/// All steps, in order.
pub static STEPS: [Step; 5] = [
    Step { name: "step01-exec", lines: 70, changes: usize::MAX, ..STEP },
    Step { name: "step02-uts", lines: 95, options: &["--hostname=box"], ..STEP },
    Step { name: "step03-pid", lines: 340, changes: usize::MAX, ..STEP },
    Step { name: "step04-mount", lines: 490, rootfs: true, options: &["--rootfs=rootfs"], ..STEP },
    Step {
        name: "step05-cgroups",
        lines: 850,
        root: true,
        rootfs: true,
        options: &["--memory=64m", "--cpus=0.5", "--pids-limit=9"],
        ..STEP
    },
];

/// The last step.
pub static LAST: &Step = &STEPS[STEPS.len() - 1];

/// A step by its number, from 1.
pub fn step(number: usize) -> &'static Step {
    &STEPS[number - 1]
}

/// The path of a file in a step's `src`; with an empty name, that of `src`.
pub fn path(step: &str, file: &str) -> PathBuf {
    workspace().join(step).join("src").join(file)
}

/// The text of a file in `src`, without the marks by which the book finds its parts.
pub fn read(step: &str, file: &str) -> Result<String> {
    let text = fs::read_to_string(path(step, file)).with_context(|| format!("{step}: {file}"))?;
    Ok(text.split_inclusive('\n').filter(|line| !line.contains("ANCHOR")).collect())
}

/// The files in a step's `src`, including those in folders, such as `cgroup/v1.rs`.
pub fn files(step: &str) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(path(step, &folder)).with_context(|| format!("read {step}"))? {
            let entry = entry?;
            let name = format!("{folder}{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() { folders.push(name + "/") } else { files.push(name) }
        }
    }
    files.sort();
    Ok(files)
}
