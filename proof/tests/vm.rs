//! `cargo proof vm`, where QEMU is missing, and with a stand-in for it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use workshop::temp::TempDir;

/// Runs it with a script for QEMU, or with none: how it ends, and what it says on both streams.
fn vm(qemu: Option<&str>) -> (Option<i32>, String, String) {
    let dir = TempDir::new("vm-").unwrap();
    let mut path = dir.path().display().to_string();
    if let Some(script) = qemu {
        for name in ["qemu-system-x86_64", "qemu-system-aarch64"] {
            fs::write(dir.path().join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(dir.path().join(name), Permissions::from_mode(0o755)).unwrap();
        }
        path = format!("{path}:{}", std::env::var("PATH").unwrap());
    }
    let mut vm = Command::new(env!("CARGO_BIN_EXE_proof"));
    vm.args(["vm", "--kernel", "/dev/null", "--machine"]).arg(dir.path()).env("PATH", path);
    let said = vm.output().unwrap();
    let text = |output: Vec<u8>| String::from_utf8(output).unwrap();
    (said.status.code(), text(said.stdout), text(said.stderr))
}

#[test]
fn without_qemu_it_says_what_to_install() {
    let (code, _, complaint) = vm(None);
    let expected = "proof: no QEMU (sudo apt-get install qemu-system-";
    assert!(complaint.starts_with(expected) && complaint.lines().count() == 1, "{complaint}");
    assert_eq!(code, Some(1));
}

#[test]
fn it_passes_on_what_the_guest_says_and_how_it_ended() {
    let (code, said, complaint) =
        vm(Some(r"printf '\033[2Jvm: booted\r\ntest a ... ok\r\nvm: exit 3\r\n'"));
    assert_eq!(code, Some(3), "{complaint}");
    assert!(said.starts_with("vm: booted in ") && !said.contains('\x1b'), "{said:?}");
    assert_eq!(said.lines().nth(1), Some("test a ... ok"));
}

#[test]
fn a_guest_without_a_result_is_a_failure() {
    let (code, said, complaint) = vm(Some("echo no room for the kernel"));
    assert_eq!((code, &*complaint), (Some(1), "proof: the VM ended without a result\n"));
    assert!(said.ends_with("no room for the kernel\n"), "{said}");
}
