//! What the tests and the tools of the workshop share: what a container owes, as checks, and a
//! throw-away host to look at one in.
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
pub mod terminal;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "testing")]
pub mod transcripts;
pub mod vm;
pub mod ways_out;
pub mod worker;
pub mod workspace;
