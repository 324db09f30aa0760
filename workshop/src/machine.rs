//! This machine: what we may do on it, and how long things may take.

use std::env;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// May we make namespaces?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Yes: CAP_SYS_ADMIN (`man 7 capabilities`).
    Root,
    /// Only inside a user namespace, where we are mapped to root.
    UserNamespace,
    /// No.
    None,
}

impl Privilege {
    /// Ours. Looks at the capability, not the user id: root in a container may lack it.
    pub fn ours() -> Privilege {
        const CAP_SYS_ADMIN: u64 = 1 << 21;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
        if effective.is_some_and(|mask| mask & CAP_SYS_ADMIN != 0) {
            return Privilege::Root;
        }
        let mut unshare = Command::new("unshare");
        match unshare.args(["--user", "--map-root-user", "--mount", "true"]).output() {
            Ok(output) if output.status.success() => Privilege::UserNamespace,
            _ => Privilege::None,
        }
    }
}

/// Set in `cargo proof vm`, to the version of its cgroups: `v1` or `v2`.
pub const VM: &str = "WORKSHOP_VM";

/// Are we in `cargo proof vm`?
pub fn is_vm() -> bool {
    env::var_os(VM).is_some()
}

/// How much slower this machine is than others: QEMU emulates the VM instruction by instruction. So
/// we wait longer in it, and repeat less.
pub fn slowness() -> u32 {
    if is_vm() { 3 } else { 1 }
}

/// Set where something is expected not to happen: how many seconds to wait for it.
pub const PATIENCE: &str = "WORKSHOP_PATIENCE";

/// How long something may take.
pub fn patience() -> Duration {
    let seconds = env::var(PATIENCE).ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(30)) * slowness()
}

/// Tries until it succeeds. When our patience ends, returns the last error.
pub fn eventually<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + patience();
    loop {
        match attempt() {
            Err(_) if Instant::now() < end => thread::sleep(Duration::from_millis(5)),
            Err(error) => bail!(error),
            Ok(value) => return Ok(value),
        }
    }
}
