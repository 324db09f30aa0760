//! What is measured, built: the floor, the steps twice, and the talk's Go program where Go is.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use workshop::steps::STEPS;

/// The package, wherever the command is run.
const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

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
    let source = Path::new(PACKAGE).join("src/tools/bench/floor.c");
    let mut cc = Command::new("cc");
    let cc = cc.args(["-O2", "-static", "-o"]).arg(floor()).arg(source).status();
    let hint = "the floor is C, linked statically: apt install gcc libc6-dev (or your like of it)";
    ensure!(cc.context(hint)?.success(), "{hint}");

    for profile in ["dev", "release"] {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--bins", "--profile", profile]);
        cargo.arg("--manifest-path").arg(Path::new(PACKAGE).join("../Cargo.toml"));
        cargo.args(STEPS.iter().flat_map(|step| ["--package", step]));
        ensure!(cargo.status()?.success(), "cargo build failed");
    }

    // In a folder of its own, or the two would take turns in being built anew.
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["rustc", "--quiet", "--release", "--package", STEPS[4], "--target-dir"]);
    cargo.arg(linked_statically());
    cargo.arg("--manifest-path").arg(Path::new(PACKAGE).join("../Cargo.toml"));
    cargo.args(["--", "-C", "target-feature=+crt-static"]);
    ensure!(cargo.status()?.success(), "cargo rustc failed");

    let source = Path::new(PACKAGE).join("tests/go/talk.go");
    if source.exists() && Command::new("go").arg("version").output().is_ok() {
        let go = Command::new("go").args(["build", "-o"]).arg(talk()).arg(source).status();
        ensure!(go?.success(), "go build failed");
    }
    Ok(())
}
