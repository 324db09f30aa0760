//! Where the workspace is, wherever a tool is started.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in a workspace")
}

/// The folder in which cargo builds, and in which we keep what can be made again.
pub fn target() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| workspace().join("target"))
}

/// `cargo SUBCOMMAND` for the workspace, silent if all is well. Arguments may be added.
pub fn cargo(subcommand: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([subcommand, "--quiet", "--manifest-path"]).arg(workspace().join("Cargo.toml"));
    cargo
}
