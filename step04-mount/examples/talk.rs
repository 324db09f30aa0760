//! The short version: the last program of the talk, line for line in Rust.
//!
//! It makes a container, and you can show it to a friend. It is also wrong in 60 ways, which is
//! fine on a stage. The first command builds and runs it, the second lists what is wrong:
//!
//! ```sh
//! cargo run -p step04-mount --example talk -- run /bin/sh
//! cargo workshop check 4 -- env PATH=/bin:/usr/bin target/debug/examples/talk
//! ```
#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::process::{self, Command};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot};

// ANCHOR: talk
fn main() {
    match env::args().nth(1).as_deref() {
        Some("run") => run(),
        Some("child") => child(),
        _ => panic!("usage: run COMMAND [ARGS]"),
    }
}

/// Starts this program again, as PID 1 in its own namespaces.
fn run() {
    unshare(CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)
        .expect("unshare");
    // In Go, `Unshareflags` can do this. Without it, the host would keep the mount of /proc.
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("make / private");

    let status = Command::new("/proc/self/exe").arg("child").args(env::args_os().skip(2)).status();
    assert!(status.expect("start child").success());
}

/// As PID 1, changes the root and runs the command.
fn child() {
    let words: Vec<OsString> = env::args_os().skip(2).collect();
    println!("Running [{}] as pid: {}", words.join(" ".as_ref()).to_string_lossy(), process::id());

    chroot(env::var("ROOTFS").unwrap_or("rootfs".into()).as_str()).expect("chroot");
    chdir("/").expect("chdir");
    mount(Some("proc"), "proc", Some("proc"), MsFlags::empty(), None::<&str>).expect("mount proc");

    let status = Command::new(&words[0]).args(&words[1..]).status();
    assert!(status.expect("start the command").success());
}
// ANCHOR_END: talk
