//! What `cargo workshop rootfs` makes, seen from inside, and what it must not remove. That takes
//! root: for anybody else these tests are ignored.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Output};

use libtest_mimic::{Arguments, Failed, Trial};

type Test = fn() -> Result<(), Failed>;

fn main() {
    let root = fs::metadata("/proc/self").is_ok_and(|found| found.uid() == 0);
    let tests: [(&str, Test); 2] = [
        ("chroot_shows_a_linux_system", chroot_shows_a_linux_system),
        ("nothing_is_removed_that_is_mounted", nothing_is_removed_that_is_mounted),
    ];
    let trials = tests.map(|(name, test)| {
        let trial = Trial::test(name, test).with_ignored_flag(!root);
        if root { trial } else { trial.with_kind("needs root") }
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit();
}

/// Runs a script in an empty folder, with mounts of its own; `$rootfs` runs what is tested.
fn script(script: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-ec", script]).current_dir(&dir);
    shell.env("rootfs", concat!(env!("CARGO_BIN_EXE_workshop"), " rootfs --output rootfs"));
    shell.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap()
}

fn expect(output: &Output, expected: &str) -> Result<(), Failed> {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    if out == expected { Ok(()) } else { Err(format!("{out}{err}").into()) }
}

fn chroot_shows_a_linux_system() -> Result<(), Failed> {
    let output = script(
        "$rootfs --from busybox >/dev/null
        chroot rootfs /bin/sh -c 'echo hi from $(id -un); /usr/bin/env ls /'",
    );
    let names = "bin dev etc home mnt proc root run sbin sys tmp usr var";
    expect(&output, &format!("hi from root\n{}\n", names.replace(' ', "\n")))
}

fn nothing_is_removed_that_is_mounted() -> Result<(), Failed> {
    let output = script(
        "mkdir host; echo precious >host/file
        $rootfs --from busybox >/dev/null
        mkdir -p rootfs.partial/old/dev
        for place in rootfs.partial/old/dev rootfs/dev; do
            mount --bind host $place
            if $rootfs --force >said 2>&1; then echo it went well; fi
            sed \"s:$PWD/::g\" said
            umount $place
        done
        cat host/file",
    );
    let error = |path| format!("workshop: something is mounted on {path}: sudo umount -R {path}\n");
    let errors = ["rootfs.partial/old/dev", "rootfs/dev"].map(error).concat();
    expect(&output, &format!("{errors}precious\n"))
}
