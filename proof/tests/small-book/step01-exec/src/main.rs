// ANCHOR: run
fn run() {}
// ANCHOR_END: run
