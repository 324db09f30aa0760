//! `cargo workshop`: the tools of the workshop.

fn main() {}
