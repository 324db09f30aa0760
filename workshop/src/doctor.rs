//! `cargo workshop doctor`: whether the steps would run here, and for what is in the way, one line
//! that mends it.

mod cgroups;
mod look;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

/// Whether the steps would run here; for what is in the way, a line that mends it
#[derive(clap::Args)]
pub struct Args {}

/// What was found on this machine, not yet judged.
#[derive(Clone)]
struct Findings {
    /// Its release, as `uname -r` has it.
    kernel: String,
    /// The machine we are built for.
    arch: &'static str,
    /// The version of cargo.
    cargo: Option<String>,
    /// Who we are.
    user: User,
    /// The version of the Windows Subsystem for Linux.
    wsl: Option<u8>,
    /// What container we are in.
    container: Option<String>,
    /// Whether `/` is shared, if that is known.
    shared: Option<bool>,
    namespaces: UserNamespaces,
    cgroups: Cgroups,
    /// A static busybox, or why there is none.
    busybox: Result<PathBuf, String>,
    /// The command that installs one.
    install: &'static str,
    rootfs: (PathBuf, Rootfs),
}

/// Whether we may make namespaces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    Root,
    /// User 0 without CAP_SYS_ADMIN, as in a container.
    RootInName,
    Sudo {
        password: bool,
    },
    /// There is no sudo, or not for this user.
    Plain,
}

/// Whether an ordinary user may make user namespaces, and what could forbid it.
#[derive(Clone)]
struct UserNamespaces {
    /// Tried: the complaint, if it did not work.
    tried: Result<(), String>,
    /// /proc/sys/user/max_user_namespaces is 0.
    none_allowed: bool,
    /// Debian's kernel.unprivileged_userns_clone is 0.
    clone_forbidden: bool,
    /// Ubuntu's kernel.apparmor_restrict_unprivileged_userns is 1.
    apparmor: bool,
}

/// Where the limits of step 5 are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum World {
    None,
    V1,
    Hybrid,
    V2,
}

#[derive(Clone)]
struct Cgroups {
    world: World,
    /// Which of pids, memory and cpu are not there.
    missing: Vec<&'static str>,
    /// Tried, as whoever we are: the complaint, if no cgroup could be made.
    tried: Result<(), String>,
    /// There is a systemd that may delegate one.
    systemd: bool,
}

#[derive(Clone)]
enum Rootfs {
    Missing,
    /// With what it was made from.
    Sane(String),
    /// With what is wrong.
    Broken(String),
    /// Something is mounted in it, there.
    Mounted(String),
}

/// One finding, judged.
struct Line {
    mark: char,
    what: &'static str,
    found: String,
    /// What to type.
    fix: Option<String>,
    /// The first step that does not run for it.
    stops: Option<usize>,
}

/// Looks at this machine and says what was found.
pub fn run(_: &Args) -> Result<ExitCode> {
    let lines = judge(&look::findings());
    write!(io::stdout(), "{}", Report(&lines))?;
    let stopped = lines.iter().any(|line| line.stops.is_some());
    Ok(ExitCode::from(u8::from(stopped)))
}

fn good(what: &'static str, found: impl Into<String>) -> Line {
    Line { mark: '✔', what, found: found.into(), fix: None, stops: None }
}

fn note(what: &'static str, found: impl Into<String>) -> Line {
    Line { mark: '·', ..good(what, found) }
}

fn bad(what: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Line {
    Line { mark: '✘', fix: Some(fix.into()), ..good(what, found) }
}

impl Line {
    /// It stops this step and all after it.
    fn stops(self, step: usize) -> Line {
        Line { stops: Some(step), ..self }
    }
}

/// What the findings mean for the steps.
fn judge(found: &Findings) -> Vec<Line> {
    vec![
        kernel(found),
        architecture(found),
        cargo(found),
        inside(found),
        privilege(found),
        namespaces(found),
        propagation(found),
        limits(found),
        delegation(found),
        busybox(found),
        rootfs(found),
    ]
}

/// The two numbers that a version starts with.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn kernel(found: &Findings) -> Line {
    let line = format!("Linux {}", found.kernel);
    if found.kernel.is_empty() {
        return bad("kernel", "there is no /proc", "sudo mount -t proc proc /proc").stops(2);
    }
    match version(&found.kernel) {
        // Cgroup namespaces came with 4.6. WSL 1 only says that it is 4.4.
        old if old < (4, 6) && found.wsl != Some(1) => {
            bad("kernel", format!("{line}, older than 4.6"), "vagrant up").stops(2)
        }
        _ => good("kernel", line),
    }
}

fn architecture(found: &Findings) -> Line {
    match found.arch {
        known @ ("x86_64" | "aarch64") => good("architecture", known),
        other => bad(
            "architecture",
            format!("{other}, for which we know no root filesystem"),
            "cargo run -p step04-mount -- run --rootfs DIRECTORY /bin/sh",
        )
        .stops(4),
    }
}

fn cargo(found: &Findings) -> Line {
    match &found.cargo {
        Some(cargo) if version(cargo) >= (1, 85) => good("cargo", cargo),
        Some(old) => {
            bad("cargo", format!("{old}, older than 1.85"), "rustup update stable").stops(1)
        }
        None => bad("cargo", "none is found", "export PATH=\"$HOME/.cargo/bin:$PATH\"").stops(1),
    }
}

fn inside(found: &Findings) -> Line {
    match (found.wsl, &found.container) {
        (Some(1), _) => bad(
            "inside",
            "WSL 1, which has no namespaces",
            "in PowerShell: wsl --set-version NAME 2 (wsl -l -v shows the names)",
        )
        .stops(2),
        (_, Some(container)) => note("inside", container),
        (Some(2), None) => note("inside", "WSL 2"),
        _ => note("inside", "neither WSL nor a container"),
    }
}

fn privilege(found: &Findings) -> Line {
    match found.user {
        User::Root => good("privilege", "root"),
        User::RootInName => {
            let fix = match found.container.as_deref() {
                Some("Docker") => "docker run --privileged …",
                Some("Podman") => "sudo podman run --privileged …",
                _ => "vagrant up",
            };
            bad("privilege", "root, but without CAP_SYS_ADMIN", fix).stops(2)
        }
        User::Sudo { password: true } => {
            good("privilege", "a user, and a sudo that will ask for the password")
        }
        User::Sudo { password: false } => {
            good("privilege", "a user, and a sudo that asks for no password")
        }
        User::Plain if found.namespaces.tried.is_ok() => bad(
            "privilege",
            "a user without sudo, who has to take a user namespace",
            "unshare -Ur target/debug/step04-mount run /bin/sh",
        ),
        User::Plain => bad("privilege", "a user without sudo", "su -").stops(2),
    }
}

fn namespaces(found: &Findings) -> Line {
    let what = "user namespaces";
    let UserNamespaces { tried, none_allowed, clone_forbidden, apparmor } = &found.namespaces;
    let Err(complaint) = tried else {
        return good(what, "an ordinary user may make them");
    };
    if *none_allowed {
        let fix = "sudo sysctl -w user.max_user_namespaces=15000";
        return bad(what, "none are allowed here", fix);
    }
    if *clone_forbidden {
        let fix = "sudo sysctl -w kernel.unprivileged_userns_clone=1";
        return bad(what, "only root may make them", fix);
    }
    if *apparmor {
        let fix = "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
        return bad(what, "AppArmor restricts them", fix);
    }
    let fix = match found.container.as_deref() {
        Some("Docker") => {
            "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined …"
        }
        Some("Podman") => "podman run --security-opt seccomp=unconfined …",
        _ => "vagrant up",
    };
    bad(what, format!("an ordinary user gets none ({complaint})"), fix)
}

fn propagation(found: &Findings) -> Line {
    let what = "propagation";
    match found.shared {
        Some(true) => note(what, "/ is shared, as systemd has it: a careless mount leaks"),
        Some(false) => note(what, "/ is private: a careless mount does not leak here"),
        None => note(what, "of / is not to be learned"),
    }
}

fn limits(found: &Findings) -> Line {
    let cgroups = &found.cgroups;
    let world = match cgroups.world {
        World::None => {
            let fix = match (found.container.as_deref(), found.wsl) {
                (Some("Docker"), _) => "docker run --privileged …",
                (Some("Podman"), _) => "sudo podman run --privileged …",
                (None, Some(_)) => "in PowerShell: wsl --update",
                _ => "sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup",
            };
            return bad("cgroups", "none are mounted", fix).stops(5);
        }
        World::V1 => "version 1",
        World::Hybrid => "version 1 for the limits, beside a version 2 (hybrid)",
        World::V2 => "version 2",
    };
    if !cgroups.missing.is_empty() {
        let missing = cgroups.missing.join(", ");
        let fix = match (&found.container, cgroups.missing.contains(&"memory")) {
            (None, true) => "add cgroup_enable=memory to the kernel's command line, and boot",
            _ => "vagrant up",
        };
        return bad("cgroups", format!("{world}, without {missing}"), fix).stops(5);
    }
    match (&cgroups.tried, found.user) {
        (Err(why), User::Root) => {
            let fix = match found.container.as_deref() {
                Some("Docker") => "docker run --privileged …",
                Some("Podman") => "sudo podman run --privileged …",
                None if why.contains("Read-only") && cgroups.world == World::V2 => {
                    "mount -o remount,rw /sys/fs/cgroup"
                }
                _ => "vagrant up",
            };
            bad("cgroups", format!("{world}, and not to be used: {why}"), fix).stops(5)
        }
        (Ok(()), _) => good("cgroups", format!("{world}: pids, memory and cpu can be limited")),
        _ => good("cgroups", format!("{world}: root can limit pids, memory and cpu")),
    }
}

/// Whether a user may limit anything without root.
fn delegation(found: &Findings) -> Line {
    let what = "delegation";
    let Cgroups { world, missing, tried, systemd } = &found.cgroups;
    match (found.user, tried) {
        (User::Root | User::RootInName, _) => note(what, "root needs none"),
        (_, Ok(())) => good(what, "this user may make cgroups here"),
        (User::Sudo { .. }, _) => note(what, "no cgroup is this user's: step 5 takes sudo"),
        (User::Plain, Err(_)) if *world == World::V2 && missing.is_empty() && *systemd => bad(
            what,
            "no cgroup is this user's",
            "systemd-run --user --scope -p Delegate=yes unshare -Ur target/debug/step05-cgroups run /bin/sh",
        )
        .stops(5),
        (User::Plain, Err(why)) => bad(what, format!("no cgroup is this user's ({why})"), "su -").stops(5),
    }
}

fn busybox(found: &Findings) -> Line {
    match &found.busybox {
        Ok(file) => good("busybox", format!("{}, static", file.display())),
        // It is for making a root filesystem.
        Err(why) if matches!(found.rootfs.1, Rootfs::Sane(_)) => note("busybox", why),
        Err(why) => bad("busybox", why, found.install),
    }
}

fn rootfs(found: &Findings) -> Line {
    let (path, rootfs) = &found.rootfs;
    let path = path.display();
    match rootfs {
        Rootfs::Sane(origin) => good("rootfs", format!("{path}, made from {origin}")),
        Rootfs::Missing => {
            bad("rootfs", format!("there is no {path}"), "cargo workshop rootfs").stops(4)
        }
        Rootfs::Broken(why) => {
            let fix = format!("mv {path} {path}.old && cargo workshop rootfs");
            bad("rootfs", format!("{path}: {why}"), fix).stops(4)
        }
        Rootfs::Mounted(point) => {
            let fix = format!("sudo umount -R {point}");
            bad("rootfs", format!("a container left a mount on {point}"), fix)
        }
    }
}

/// The lines, and what they come to.
struct Report<'a>(&'a [Line]);

impl fmt::Display for Report<'_> {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        for Line { mark, what, found, fix, .. } in self.0 {
            writeln!(out, "{mark} {what}: {found}")?;
            if let Some(fix) = fix {
                writeln!(out, "    {fix}")?;
            }
        }
        let trouble = self.0.iter().any(|line| line.fix.is_some());
        match self.0.iter().filter_map(|line| line.stops).min() {
            None if trouble => writeln!(out, "All five steps run here; no ✘ is in their way."),
            None => writeln!(out, "All five steps run here."),
            Some(1) => writeln!(out, "No step runs here, until what has a ✘ is mended."),
            Some(2) => writeln!(out, "Only step 1 runs here, until what has a ✘ is mended."),
            Some(stopped) => writeln!(
                out,
                "Steps 1 to {} run here; for the rest, what has a ✘ is to be mended.",
                stopped - 1
            ),
        }
    }
}
