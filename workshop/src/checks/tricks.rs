//! Tricks that a shell has no command for. This program does them in a container: a check puts it
//! there, and it succeeds if it gets out. They are plain system calls for which nix has no safe
//! wrappers, and they are all the unsafe code there is.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::ptr;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc;

use crate::container::Runner;

/// The name of the case in which we do a trick.
pub(super) const TRICK: &str = "trick";

/// Puts this program where the container sees it, with the libraries that it has loaded, because it
/// may be linked dynamically. Returns the words that start it for a trick.
pub(super) fn put(runner: &Runner) -> Result<String> {
    let maps = fs::read_to_string("/proc/self/maps").context("read /proc/self/maps")?;
    let mut files: Vec<_> =
        maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..])).collect();
    files.sort_unstable();
    files.dedup();
    let mut loader = String::new();
    for file in files {
        let name = Path::new(file).file_name().and_then(OsStr::to_str).context("a name")?;
        let there = runner.put(name, &fs::read(file)?, 0o755)?;
        if name.starts_with("ld-") {
            let dir = Path::new(&there).parent().context("a directory")?.display();
            loader = format!("{there} --library-path {dir} ");
        }
    }
    let us = env::current_exe().context("our own path")?;
    let us = runner.put("tricks", &fs::read(us)?, 0o755)?;
    Ok(format!("{loader}{us} --case {TRICK}"))
}

/// Does a trick, inside.
pub(super) fn inside(words: &[OsString]) -> Result<()> {
    let words: Vec<_> = words.iter().filter_map(|word| word.to_str()).collect();
    match words[..] {
        ["connect", name] => connect(name),
        ["ptrace", pid] => ptrace(pid.parse()?),
        ["type", line] => format!("{line}\n").bytes().try_for_each(type_byte),
        ["read-the-key"] => read_the_key(),
        _ => bail!("no such trick: {words:?}"),
    }
}

fn connect(name: &str) -> Result<()> {
    let mut said = String::new();
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?.read_to_string(&mut said)?;
    ensure!(said == "hello", "the host answers {said:?}");
    Ok(())
}

fn ptrace(pid: libc::pid_t) -> Result<()> {
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_SEIZE reads and writes no memory of ours.
    Errno::result(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) })?;
    Ok(())
}

fn type_byte(byte: u8) -> Result<()> {
    // SAFETY: TIOCSTI reads one byte, at an address that holds one.
    Errno::result(unsafe { libc::ioctl(0, libc::TIOCSTI, &byte) }).context("ioctl TIOCSTI")?;
    Ok(())
}

/// From `linux/keyctl.h`.
const SESSION_KEYRING: libc::c_long = -3;
const JOIN_SESSION_KEYRING: libc::c_long = 1;
const SEARCH: libc::c_long = 10;
const READ: libc::c_long = 11;

/// On the host: gives this thread, and what it starts, a session keyring with a key in it.
pub(super) fn keep_a_key() -> Result<()> {
    let none = ptr::null::<libc::c_char>();
    // SAFETY: without a name, nothing is read.
    Errno::result(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, none) })
        .context("keyctl join")?;
    let (kind, name, secret) = (c"user".as_ptr(), c"workshop".as_ptr(), c"secret".as_ptr());
    // SAFETY: the strings end with a zero, and 6 is the length of the secret.
    let added =
        unsafe { libc::syscall(libc::SYS_add_key, kind, name, secret, 6usize, SESSION_KEYRING) };
    Errno::result(added).context("add_key")?;
    Ok(())
}

fn read_the_key() -> Result<()> {
    let (kind, name, mut secret) = (c"user".as_ptr(), c"workshop".as_ptr(), [0u8; 6]);
    // SAFETY: the strings end with a zero.
    let key = unsafe { libc::syscall(libc::SYS_keyctl, SEARCH, SESSION_KEYRING, kind, name, 0) };
    let key = Errno::result(key).context("keyctl search")?;
    // SAFETY: the length of the buffer is passed along.
    let read = unsafe { libc::syscall(libc::SYS_keyctl, READ, key, secret.as_mut_ptr(), 6usize) };
    Errno::result(read).context("keyctl read")?;
    ensure!(&secret == b"secret", "it is another key");
    Ok(())
}
