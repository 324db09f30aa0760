//! `cargo proof vm` with a stand-in for QEMU.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use workshop::temp::TempDir;

/// Runs it with a script as QEMU. Returns its exit code and its output on both streams.
fn vm(qemu: &str) -> (Option<i32>, String, String) {
    let dir = TempDir::new("vm-").unwrap();
    let program = dir.path().join(format!("qemu-system-{}", std::env::consts::ARCH));
    fs::write(&program, format!("#!/bin/sh\n{qemu}\n")).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let mut vm = Command::new(env!("CARGO_BIN_EXE_proof"));
    vm.args(["vm", "--kernel", "/dev/null", "--machine"]).arg(dir.path()).env("PATH", path);
    let said = vm.output().unwrap();
    let text = |output: Vec<u8>| String::from_utf8(output).unwrap();
    (said.status.code(), text(said.stdout), text(said.stderr))
}

#[test]
fn it_passes_on_what_the_guest_says_and_how_it_ended() {
    let (code, said, complaint) =
        vm(r"printf '\033[2Jvm: booted\r\ntest a ... ok\r\nvm: exit 3\r\n'");
    assert_eq!(code, Some(3), "{complaint}");
    assert!(said.starts_with("vm: booted in ") && !said.contains('\x1b'), "{said:?}");
    assert_eq!(said.lines().nth(1), Some("test a ... ok"));
}

#[test]
fn a_guest_without_a_result_is_a_failure() {
    let (code, said, complaint) = vm("echo no room for the kernel");
    assert_eq!((code, &*complaint), (Some(1), "proof: the VM ended without a result\n"));
    assert!(said.ends_with("no room for the kernel\n"), "{said}");
}
