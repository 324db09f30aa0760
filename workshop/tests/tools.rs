//! The tools are there. For this test cargo builds the program, so that the tests in `proof` find
//! it built.

use std::process::Command;

#[test]
fn says_what_there_is() {
    let help = Command::new(env!("CARGO_BIN_EXE_workshop")).arg("--help").output().expect("run it");
    let help = String::from_utf8(help.stdout).expect("text");
    for tool in ["rootfs", "doctor", "check"] {
        let line = help.lines().find(|line| line.trim_start().starts_with(tool));
        assert!(line.is_some_and(|line| line.contains("  ")), "{tool} is not explained: {help}");
    }
}
