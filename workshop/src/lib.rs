//! The learner's tool: `cargo workshop rootfs`, `doctor` and `check`, and what `check` needs.
//!
//! * `rootfs`, `doctor`, `check`: the three tools.
//! * `checks`: what a container must do, a file for each kind. They look at a `container`, at its
//!   `terminal`, at how a `command` ends, and at what happens to the throw-away `host` they run on.
//! * `steps`, `workspace`: what there is to check. `machine`: what we may do here, and how long it
//!   may take. `temp`: temporary directories.
//!
//! It is the first thing that a room builds. So it uses the crates of the steps and no others, and
//! nothing from `proof`, which tests all of this.
#![deny(unsafe_code)] // allowed only in checks/tricks.rs

pub mod check;
pub mod checks;
pub mod command;
pub mod container;
pub mod doctor;
pub mod host;
pub mod machine;
pub mod rootfs;
pub mod steps;
pub mod temp;
pub mod terminal;
pub mod workspace;
