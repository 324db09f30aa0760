//! What the tests and the tools run: the workspace's programs as cargo builds them, and a root
//! filesystem for them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context, Result, bail, ensure};

use crate::vm;
use crate::workspace::{cargo, workspace};

/// Where the workspace's programs are. The first to ask has them built; in the VM they are.
static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
    let us = env::current_exe().expect("we have a path");
    if !vm::is_here() {
        let mut build = cargo("build");
        build.args(["--workspace", "--bins"]);
        if us.ends_with("workshop") {
            // It would be replaced while it runs.
            build.args(["--exclude", "workshop"]);
        }
        assert!(build.status().is_ok_and(|status| status.success()), "cargo build failed");
    }
    // Programs are in target/PROFILE, tests in target/PROFILE/deps.
    let dir = us.ancestors().skip(1).find(|dir| !dir.ends_with("deps"));
    dir.expect("we are in a directory").to_owned()
});

static ROOTFS: LazyLock<PathBuf> = LazyLock::new(|| {
    let made = make_rootfs(&program("workshop"), &programs().join("../test-rootfs"));
    made.expect("a root filesystem")
});

/// Makes a root filesystem for tests or checks, with our own program `workshop`: of the busybox at
/// hand, or else of the one in the root filesystem that is played with, and never that itself.
pub fn make_rootfs(workshop: &Path, rootfs: &Path) -> Result<PathBuf> {
    let played_with = env::var_os("ROOTFS").map(PathBuf::from);
    let played_with = played_with.unwrap_or_else(|| workspace().join("rootfs"));
    let mut why = String::new();
    for busybox in [PathBuf::from("busybox"), played_with.join("bin/busybox")] {
        let mut workshop = Command::new(workshop);
        workshop.args(["rootfs", "--from"]).arg(busybox).arg("--output").arg(rootfs);
        let made = workshop.output().context("start the program that makes it")?;
        if made.status.success() {
            return fs::canonicalize(rootfs).context("the root filesystem");
        }
        why += &String::from_utf8_lossy(&made.stderr);
    }
    bail!("no root filesystem (install busybox-static):\n{}", why.trim_end())
}

/// Has a step built, by name, and returns its program, which is beside ours.
pub fn build(step: &str) -> Result<PathBuf> {
    if !vm::is_here() {
        let built = cargo("build").args(["--package", step]).status().context("start cargo")?;
        ensure!(built.success(), "{step} does not compile");
    }
    Ok(env::current_exe().context("our own path")?.with_file_name(step))
}

/// The directory of the programs.
pub fn programs() -> &'static Path {
    &PROGRAMS
}

/// The program of that name, as cargo built it.
pub fn program(name: &str) -> PathBuf {
    programs().join(name)
}

/// The tests' root filesystem.
pub fn rootfs() -> &'static Path {
    &ROOTFS
}
