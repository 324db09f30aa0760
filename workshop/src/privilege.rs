//! What this user may do, which decides how much of the tests can run.

use std::fs;
use std::process::Command;

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
    /// Ours. Looks at the capability, not at the user id: root in a locked-up container has none.
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
