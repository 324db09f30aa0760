//! What keeps the steps and the book honest.
//!
//! * `case`: the one way in which the test programs of `tests` try something. `programs`: what they
//!   try it with. `strace`: what programs call. `transcripts`: what is typed and seen, for the book.
//! * `book`: its pages as readers see them, what is wrong with them, and their commands.
//! * `bench`, `vm`: measurements, and another machine. With `book`, the tools of `cargo proof`.
#![forbid(unsafe_code)]

pub mod bench;
pub mod book;
pub mod case;
pub mod programs;
pub mod strace;
pub mod transcripts;
pub mod vm;
