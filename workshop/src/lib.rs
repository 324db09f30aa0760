//! The workshop's house: what keeps the five steps and the book honest.
//!
//! * **What a container owes**: `checks`, a file for each kind, and `ways_out`; they look at a
//!   `container`, at its `terminal`, and at what becomes of the `host`, which is thrown away. The
//!   `storm` kills many at random moments.
//! * **The book**: `book` reads its pages, finds their faults, and types their commands.
//! * **Around them**: `workspace`, `steps` and `programs` are what there is to look at; `privilege`
//!   and `vm`, where we are; `patience`, how long we wait; `temp`, a directory for a while; and the
//!   `worker` clears away.
//! * **Tools**: a file each in `src/tools`, with a folder of its name for its parts. `main.rs` is
//!   their list. `cargo workshop rootfs` is the first thing that a room builds: keep it small.
//! * **Tests**: in `tests`, each asks the steps, the book or a tool for one thing, which its first
//!   line says (`checks.rs` is of the checks, `check_tool.rs` of the tool). `testing` and
//!   `transcripts` are what they share; what they hold steps and book to is in `tests/snapshots`.
#![forbid(unsafe_code)]

pub mod book;
pub mod checks;
pub mod container;
pub mod host;
pub mod patience;
pub mod privilege;
pub mod programs;
pub mod steps;
pub mod storm;
pub mod temp;
pub mod terminal;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "testing")]
pub mod transcripts;
pub mod vm;
pub mod ways_out;
pub mod worker;
pub mod workspace;
