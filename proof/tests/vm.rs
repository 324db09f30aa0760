//! `cargo workshop vm`, where QEMU is missing, and with a stand-in for it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

/// Runs it with a script for QEMU, or with none.
fn vm(qemu: Option<&str>) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let mut vm = Command::new(env!("CARGO_BIN_EXE_workshop"));
    vm.args(["vm", "--kernel", "/dev/null"]);
    let path = std::env::var("PATH").unwrap();
    match qemu {
        Some(script) => {
            for name in ["qemu-system-x86_64", "qemu-system-aarch64"] {
                let file = dir.path().join(name);
                fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
                fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
            }
            vm.env("PATH", format!("{}:{path}", dir.path().display()))
        }
        None => vm.env("PATH", dir.path()),
    };
    vm.output().unwrap()
}

fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

#[test]
fn without_qemu_it_says_what_to_install() {
    let said = vm(None);
    assert_eq!(said.status.code(), Some(1));
    let line = text(&said.stderr);
    assert!(line.starts_with("workshop: no QEMU (sudo apt-get install qemu-system-"), "{line}");
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn it_passes_on_what_the_guest_says_and_how_it_ended() {
    let said = vm(Some(r"printf '\033[2Jvm: booted\r\ntest a ... ok\r\nvm: exit 3\r\n'"));
    assert_eq!(said.status.code(), Some(3), "{}", text(&said.stderr));
    let lines = text(&said.stdout);
    assert!(lines.starts_with("vm: booted in ") && !lines.contains('\x1b'), "{lines:?}");
    assert_eq!(lines.lines().nth(1), Some("test a ... ok"));
}

#[test]
fn a_guest_without_a_result_is_a_failure() {
    let said = vm(Some("echo no room for the kernel"));
    assert_eq!(said.status.code(), Some(1));
    assert!(text(&said.stdout).ends_with("no room for the kernel\n"), "{}", text(&said.stdout));
    assert_eq!(text(&said.stderr), "workshop: the VM ended without a result\n");
}
