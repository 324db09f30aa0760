//! What is measured, built: the floor, the steps twice, and the talk's Go program where Go is.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use workshop::steps::STEPS;
use workshop::workspace::{cargo, workspace};

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    let us = env::current_exe().unwrap_or_default();
    us.ancestors().nth(2).unwrap_or(Path::new("target")).to_owned()
}

/// The floor.
pub fn floor() -> PathBuf {
    target().join("bench/floor")
}

/// Step 5, linked statically.
pub fn linked_statically() -> PathBuf {
    target().join("bench/static")
}

/// The talk's program.
pub fn talk() -> PathBuf {
    target().join("bench/talk")
}

/// Builds all of it.
pub fn all() -> Result<()> {
    std::fs::create_dir_all(target().join("bench"))?;
    let source = workspace().join("workshop/src/tools/bench/floor.c");
    let mut cc = Command::new("cc");
    let cc = cc.args(["-O2", "-static", "-o"]).arg(floor()).arg(source).status();
    let hint = "the floor is C, linked statically: apt install gcc libc6-dev (or your like of it)";
    ensure!(cc.context(hint)?.success(), "{hint}");

    for profile in ["dev", "release"] {
        let mut build = cargo("build");
        build.args(["--bins", "--profile", profile]);
        build.args(STEPS.iter().flat_map(|step| ["--package", step]));
        ensure!(build.status()?.success(), "cargo build failed");
    }

    // In a folder of its own, or the two would take turns in being built anew.
    let mut build = cargo("rustc");
    build.args(["--release", "--package", STEPS[4], "--target-dir"]).arg(linked_statically());
    build.args(["--", "-C", "target-feature=+crt-static"]);
    ensure!(build.status()?.success(), "cargo rustc failed");

    let source = workspace().join("workshop/tests/go/talk.go");
    if source.exists() && Command::new("go").arg("version").output().is_ok() {
        let go = Command::new("go").args(["build", "-o"]).arg(talk()).arg(source).status();
        ensure!(go?.success(), "go build failed");
    }
    Ok(())
}
