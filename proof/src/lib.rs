//! What keeps the steps and the book honest.
//!
//! * `case`: how the test programs run what they test. `programs`: the programs they use. `strace`:
//!   the system calls of a program. `transcripts`: what is typed and seen, for the book.
//! * `book`: its pages, what is wrong with them, and their commands. `bench` and `vm`: measurements,
//!   and another machine. These three are the tools of `cargo proof`.
#![forbid(unsafe_code)]

pub mod bench;
pub mod book;
pub mod case;
pub mod programs;
pub mod strace;
pub mod transcripts;
pub mod vm;
