//! Whether we are in `cargo workshop vm`, and what that means for the tests.

use std::env;

/// Set to the version of its cgroups, v1 or v2, in `cargo workshop vm`.
pub const VM: &str = "WORKSHOP_VM";

/// Are we in `cargo workshop vm`?
pub fn is_here() -> bool {
    env::var_os(VM).is_some()
}

/// How much slower this machine is: QEMU emulates our VM, instruction by instruction. So in it we
/// are more patient, and repeat less.
pub fn slowness() -> u32 {
    if is_here() { 3 } else { 1 }
}
