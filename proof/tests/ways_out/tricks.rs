//! What a shell has no command for. It runs inside, and succeeds if it gets out. These are plain
//! system calls without safe wrappers of nix's: all the unsafe code there is.

use std::env;
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::chroot;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::libc;
use workshop::host;

/// From `linux/keyctl.h`.
const SESSION_KEYRING: libc::c_long = -3;
const JOIN_SESSION_KEYRING: libc::c_long = 1;
const SEARCH: libc::c_long = 10;
const READ: libc::c_long = 11;

/// Does the trick that we were started for, if we were.
pub fn inside() -> Option<ExitCode> {
    let words: Vec<String> = env::args().skip(1).collect();
    let (first, words) = words.split_first()?;
    if first != "trick" {
        return None;
    }
    Some(host::exit_code(trick(words)))
}

fn trick(words: &[String]) -> Result<()> {
    let (name, words) = words.split_first().context("which trick?")?;
    let first = words.first().map(String::as_str).unwrap_or_default();
    match name.as_str() {
        "chroot" => break_out(first),
        "connect" => connect(first),
        "ptrace" => ptrace(first.parse()?),
        "type" => first.bytes().chain([b'\n']).try_for_each(type_byte),
        "keep-a-key" => keep_a_key(words),
        "read-the-key" => read_the_key(),
        _ => anyhow::bail!("no trick {name:?}"),
    }
}

/// Puts the root below the working directory: then nothing holds `..` at it.
fn break_out(host: &str) -> Result<()> {
    chroot("/tmp").context("chroot")?;
    (0..64).try_for_each(|_| env::set_current_dir("..")).context("chdir")?;
    chroot(".").context("chroot")?;
    ensure!(Path::new(host).exists(), "there is no {host} there");
    Ok(())
}

fn connect(name: &str) -> Result<()> {
    let mut said = String::new();
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?.read_to_string(&mut said)?;
    ensure!(said == "hello", "the host says {said:?}");
    Ok(())
}

fn ptrace(pid: libc::pid_t) -> Result<()> {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_SEIZE reads and writes no memory of ours.
    Errno::result(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) })?;
    Ok(())
}

fn type_byte(byte: u8) -> Result<()> {
    // SAFETY: TIOCSTI reads one byte.
    Errno::result(unsafe { libc::ioctl(0, libc::TIOCSTI, &byte) }).context("ioctl TIOCSTI")?;
    Ok(())
}

/// On the host: starts a command with a key in the keyring of its session.
fn keep_a_key(command: &[String]) -> Result<()> {
    let (kind, name, secret) = (c"user".as_ptr(), c"workshop".as_ptr(), c"secret".as_ptr());
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: all are strings, and as long as is said.
    Errno::result(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, none) })?;
    let added =
        unsafe { libc::syscall(libc::SYS_add_key, kind, name, secret, 6usize, SESSION_KEYRING) };
    Errno::result(added).context("add_key")?;
    let (program, args) = command.split_first().context("no command")?;
    Err(Command::new(program).args(args).exec().into())
}

fn read_the_key() -> Result<()> {
    let (kind, name, mut secret) = (c"user".as_ptr(), c"workshop".as_ptr(), [0u8; 6]);
    // SAFETY: the strings are strings, and the buffer is as long as is said.
    let key = unsafe { libc::syscall(libc::SYS_keyctl, SEARCH, SESSION_KEYRING, kind, name, 0) };
    let key = Errno::result(key).context("keyctl search")?;
    let read = unsafe { libc::syscall(libc::SYS_keyctl, READ, key, secret.as_mut_ptr(), 6usize) };
    Errno::result(read).context("keyctl read")?;
    ensure!(&secret == b"secret", "it is another key");
    Ok(())
}
