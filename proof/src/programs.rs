//! What the tests run: the workspace's programs as cargo builds them, and a root filesystem.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context, Result, bail};
use workshop::container::Runner;
use workshop::machine;
use workshop::rootfs;
use workshop::steps::Step;
use workshop::workspace::cargo;

/// Set on a throw-away host: where the programs are.
pub const PROGRAMS: &str = "WORKSHOP_PROGRAMS";

/// The directory of the workspace's programs. The first call builds them, except in the VM and on a
/// throw-away host, where they are already built.
pub fn programs() -> &'static Path {
    static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
        if let Some(dir) = env::var_os(PROGRAMS) {
            return dir.into();
        }
        if !machine::is_vm() {
            let mut build = cargo("build");
            build.args(["--workspace", "--bins", "--examples", "--exclude", "proof"]);
            let build = build.status();
            assert!(build.is_ok_and(|status| status.success()), "cargo build failed");
        }
        // Programs are in target/PROFILE, tests in target/PROFILE/deps.
        let us = env::current_exe().expect("we have a path");
        let dir = us.ancestors().skip(1).find(|dir| !dir.ends_with("deps"));
        dir.expect("we are in a directory").to_owned()
    });
    &DIR
}

/// The program of that name, as cargo built it.
pub fn program(name: &str) -> PathBuf {
    programs().join(name)
}

/// The tests' root filesystem, made from busybox.
pub fn rootfs() -> &'static Path {
    static ROOTFS: LazyLock<PathBuf> = LazyLock::new(|| match env::var_os("ROOTFS") {
        Some(rootfs) if env::var_os(PROGRAMS).is_some() => rootfs.into(),
        _ => rootfs::for_checks(&programs().join("../test-rootfs")).expect("a root filesystem"),
    });
    &ROOTFS
}

/// Runs containers of a step, on a throw-away host.
pub fn runner(step: &Step) -> Result<Runner> {
    let rootfs = step.rootfs.then(|| rootfs().to_owned());
    Runner::new(vec![program(step.name).into()], rootfs)
}

/// Runs a command to its end, without showing its output. Returns the output, or an error with the
/// last line of the command's complaint.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command.output().with_context(|| format!("start {name}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{name}: {}", complaint.trim().lines().last().unwrap_or("failed"));
    }
    Ok(output.stdout)
}
