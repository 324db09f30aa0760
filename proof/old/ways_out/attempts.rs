//! The attempts that need something on the host as well, or a trick.

use std::fs;
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{AS_USER, Container};
use crate::checks::filesystem::{hold_the_machine, own_devices};
use crate::container::{behind, end};

/// Looks for a file of the host's under a directory.
pub(super) fn sees_the_host(container: &Container, under: &str) -> Result<bool> {
    let marker = container.marker()?;
    container.sh(&format!("test -e {under}{marker}"))
}

pub(super) fn chroot(container: &Container) -> Result<bool> {
    let marker = container.marker()?;
    container.sh(&format!("cd / && {} chroot {marker}", container.trick()?))
}

pub(super) fn dot_dot(container: &Container) -> Result<bool> {
    let (marker, up) = (container.marker()?, "../".repeat(32));
    container.sh(&format!(
        "cd / && test -e {up}{marker} || {{ mkdir /dev/shm/bind && mount --rbind / /dev/shm/bind &&
         cd /dev/shm/bind && test -e {up}{marker}; }}"
    ))
}

pub(super) fn nsenter(container: &Container) -> Result<bool> {
    let marker = container.marker()?;
    container.sh(&format!("nsenter -t 1 -m sh -c 'test -e {marker}'"))
}

pub(super) fn inherited(container: &Container) -> Result<bool> {
    let marker = container.marker()?;
    let condition = format!("test -e /proc/self/fd/7{marker} || test -e /proc/1/fd/7{marker}");
    container.behind(&["sh", "-c", r#"exec "$@" 7</"#, "sh"], &condition)
}

pub(super) fn stdin(container: &Container) -> Result<bool> {
    let marker = container.marker()?;
    let front = ["sh", "-c", r#"exec "$@" </"#, "sh"];
    container.behind(&front, &format!("test -e /proc/self/fd/0{marker}"))
}

/// It is a copy of the program that is changed, and of that the mode only.
pub(super) fn own_binary(container: &Container) -> Result<bool> {
    let mode = || Ok::<_, anyhow::Error>(fs::metadata(&container.program)?.permissions().mode());
    ensure!(mode()? & 0o7777 == 0o755, "it was changed before");
    container.sh("chmod 4755 /proc/1/exe")?;
    Ok(mode()? & 0o7777 == 0o4755)
}

/// It is a device of the throw-away host alone.
pub(super) fn device_mode(container: &Container, how: &str) -> Result<bool> {
    own_devices()?;
    container.sh(how)?;
    Ok(fs::metadata("/dev/null")?.permissions().mode() & 0o777 == 0o640)
}

/// It is a bit that does no harm, and it is taken back.
pub(super) fn proc_mode(container: &Container) -> Result<bool> {
    let _held = hold_the_machine()?;
    container.sh("chmod +t /proc/version")?;
    let look = "mount -t proc proc /mnt && stat -c %a /mnt/version && chmod 444 /mnt/version";
    let mode = end(Command::new("sh").args(["-c", look]))?.expect(0)?.text();
    Ok(mode == "1444\n")
}

pub(super) fn ipc(container: &Container) -> Result<bool> {
    let ours = fs::read_link("/proc/self/ns/ipc").context("readlink")?;
    container.sh(&format!("test $(readlink /proc/self/ns/ipc) = '{}'", ours.display()))
}

/// Listens at a name that is in no filesystem, but in the network namespace.
pub(super) fn abstract_socket(container: &Container) -> Result<bool> {
    // The host that is thrown away shares its network with others: the name is ours alone.
    let name = container.marker()?;
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    thread::spawn(move || listener.accept().map(|(mut client, _)| client.write_all(b"hello")));
    container.sh(&format!("{} connect {name}", container.trick()?))
}

pub(super) fn keyring(container: &Container) -> Result<bool> {
    let trick = container.trick()?;
    let front: Vec<_> = trick.split(' ').chain(["keep-a-key"]).collect();
    container.behind(&front, &format!("{trick} read-the-key"))
}

/// A process of the host's, with a number that no process of the container has.
fn victim(container: &Container) -> Result<Child> {
    loop {
        let front: &[&str] = if container.user { &AS_USER } else { &[] };
        let mut sleep = Command::new("sleep");
        let mut child = behind(front, sleep.arg("778")).stdout(Stdio::null()).spawn()?;
        if child.id() > 64 {
            return Ok(child);
        }
        child.kill()?;
        child.wait()?;
    }
}

/// Does something to a process of the host's, if it is seen or can be hit.
fn to_a_victim(container: &Container, what: &str) -> Result<bool> {
    let mut victim = victim(container)?;
    let out = container.sh(&format!("{what} {}", victim.id()));
    victim.kill()?;
    victim.wait()?;
    out
}

pub(super) fn signal(container: &Container) -> Result<bool> {
    to_a_victim(container, "kill -0")
}

pub(super) fn ptrace(container: &Container) -> Result<bool> {
    to_a_victim(container, &format!("{} ptrace", container.trick()?))
}

/// `kill 0` goes to the process group, which began on the host. Others in it are bystanders.
pub(super) fn group_signal(container: &Container) -> Result<bool> {
    let script = r#"trap : USR1; $front sleep 3 & bystander=$!; "$@" > /dev/null
        wait $bystander; echo $?"#;
    let runner = container.runner.command(["sh", "-c", "trap : USR1; kill -USR1 0; sleep 0.3"]);
    let mut group = behind(&["setsid", "--wait", "sh", "-c", script, "sh"], &runner);
    group.env("front", if container.user { AS_USER.join(" ") } else { String::new() });
    let said = end(&mut group)?;
    ensure!(["0\n", "138\n"].contains(&said.text().as_str()), "it says {said:?}");
    Ok(said.text() == "138\n")
}

/// Types a line for the shell that started the container.
pub(super) fn typed(container: &Container) -> Result<bool> {
    let trick = container.trick()?;
    let mut terminal = container.runner.terminal()?;
    let line = format!("{} {trick} type 'echo typed $where'", terminal.run);
    terminal.keys(&format!("where=outside; {line}; echo over $((1 + 1))\n"))?;
    terminal.wait_for("over 2")?;
    Ok(terminal.watch(Duration::from_secs(1))?.contains("typed outside"))
}

pub(super) fn propagation(container: &Container) -> Result<bool> {
    let script = "mount -t tmpfs from-inside /sys && echo ready && sleep 777";
    let running = container.runner.start(&[], script)?;
    let out = fs::read_to_string("/proc/self/mountinfo")?.contains("from-inside");
    running.signal(nix::sys::signal::Signal::SIGKILL)?;
    running.wait()?;
    Ok(out)
}
