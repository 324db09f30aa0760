//! The learner's tool: `cargo workshop rootfs`, `doctor`, `check`; and what `check` needs.
//!
//! * `rootfs`, `doctor`, `check`: the three tools.
//! * `checks`: what a container owes, a file for each kind. They look at a `container`, at its
//!   `terminal`, at how a `command` ends, and at what becomes of the throw-away `host` they are on.
//! * `steps`, `workspace`: what there is to look at. `machine`: what we may do here, and how long it
//!   may take. `temp`: a directory for a while.
//!
//! It is the first thing that a room builds. So it takes the crates of the steps and no others, and
//! nothing of `proof`, which tests all of this.
#![deny(unsafe_code)] // but for the ways out: checks/tricks.rs

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
