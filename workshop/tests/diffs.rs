//! What changes in `main.rs` from one step to the next, for the book.

use similar::TextDiff;
use workshop::snapshot;
use workshop::steps::{self, STEPS};

#[test]
fn each_step_and_the_one_before() {
    for pair in STEPS.windows(2) {
        let [old, new] = [0, 1].map(|n| steps::read(pair[n], "main.rs").expect("a source file"));
        let [from, to] = [0, 1].map(|n| format!("{}/src/main.rs", pair[n]));
        let diff = TextDiff::from_lines(&old, &new);
        let diff = diff.unified_diff().context_radius(3).header(&from, &to).to_string();
        snapshot!(format!("diff-{}", pair[1]), diff);
    }
}
