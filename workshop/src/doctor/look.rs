//! Looking at this machine. Whatever is not there is not there: nothing in here fails.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::machine::Privilege;
use crate::workspace::workspace;

use super::{Findings, Rootfs, User, UserNamespaces, cgroups};
use crate::rootfs::{self, arch};

pub fn findings() -> Findings {
    let kernel = read("/proc/sys/kernel/osrelease");
    let path = env::var_os("ROOTFS").map(PathBuf::from);
    let path = path.unwrap_or_else(|| {
        let workspace = workspace();
        workspace.canonicalize().unwrap_or(workspace.into()).join("rootfs")
    });
    Findings {
        wsl: wsl(&kernel),
        kernel,
        arch: env::consts::ARCH,
        cargo: cargo(),
        user: user(),
        container: container(),
        shared: shared(&read("/proc/self/mountinfo")),
        namespaces: namespaces(),
        cgroups: cgroups::look(),
        busybox: rootfs::busybox_at_hand().map_err(|error| format!("{error:#}")),
        install: install(&read("/etc/os-release")),
        rootfs: (path.clone(), rootfs_at(&path)),
    }
}

/// What a file says, or nothing.
pub fn read(path: impl AsRef<Path>) -> String {
    let said = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&said).trim_end().to_owned()
}

/// Runs a command: its output, or its first complaint.
fn ask(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{name}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr).lines().next().unwrap_or(&name).to_owned()),
    }
}

fn cargo() -> Option<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let said = ask(Command::new(cargo).arg("--version")).ok()?;
    said.split(' ').nth(1).map(str::to_owned)
}

fn user() -> User {
    if Privilege::ours() == Privilege::Root {
        return User::Root;
    } else if is_root() {
        return User::RootInName;
    }
    match ask(Command::new("sudo").args(["-n", "true"])) {
        Ok(_) => User::Sudo { password: false },
        Err(_) if in_path("sudo") && may_sudo() => User::Sudo { password: true },
        Err(_) => User::Plain,
    }
}

/// Whether sudo would let this user in: whom it would not it tells so before it asks for a password.
fn may_sudo() -> bool {
    let said = Command::new("sudo").args(["-n", "-v"]).env("LC_ALL", "C").output();
    !said.is_ok_and(|said| String::from_utf8_lossy(&said.stderr).contains("may not run sudo"))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|us| us.uid() == 0)
}

fn in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// WSL 2 has a kernel of Microsoft's own, or of the user's; WSL 1 has none, and says 4.4.
fn wsl(kernel: &str) -> Option<u8> {
    let kernel = kernel.to_lowercase();
    let interop = Path::new("/proc/sys/fs/binfmt_misc/WSLInterop").exists();
    match (kernel.contains("microsoft"), kernel.starts_with("4.4.")) {
        (true, true) => Some(1),
        (true, false) => Some(2),
        (false, _) => interop.then_some(2),
    }
}

/// The container that we are in, by what Docker, Podman and systemd leave as a sign.
fn container() -> Option<String> {
    if Path::new("/.dockerenv").exists() {
        return Some("Docker".to_owned());
    } else if Path::new("/run/.containerenv").exists() {
        return Some("Podman".to_owned());
    }
    let environ = read("/proc/1/environ");
    let named = environ.split('\0').find_map(|line| line.strip_prefix("container="));
    let named = named.map(str::to_owned).or(Some(read("/run/systemd/container")));
    named.filter(|name| !name.is_empty() && name != "wsl").map(|name| match name.as_str() {
        "docker" => "Docker".to_owned(),
        "podman" => "Podman".to_owned(),
        _ => format!("a container ({name})"),
    })
}

/// Whether `/` is shared: an optional field of its line says so (`man 5 proc_pid_mountinfo`).
fn shared(mounts: &str) -> Option<bool> {
    let mut lines = mounts.lines().filter(|line| line.split(' ').nth(4) == Some("/"));
    lines.next_back().map(|line| line.contains(" shared:"))
}

fn namespaces() -> UserNamespaces {
    let mut unshare = Command::new("unshare");
    if read("/proc/self/uid_map").ends_with(" 4294967295") && is_root() {
        // What root may is of no interest, only what an ordinary user may.
        unshare = Command::new("setpriv");
        unshare.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        unshare.args(["--inh-caps=-all", "unshare"]);
    }
    let tried = ask(unshare.args(["--user", "--map-root-user", "--mount", "true"]));
    UserNamespaces {
        tried: tried.map(drop),
        none_allowed: read("/proc/sys/user/max_user_namespaces") == "0",
        clone_forbidden: read("/proc/sys/kernel/unprivileged_userns_clone") == "0",
        apparmor: read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1",
    }
}

/// How this distribution installs a static busybox.
fn install(release: &str) -> &'static str {
    let mut words = release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")));
    let known = words.find_map(|ids| {
        ids.trim_matches('"').split(' ').find_map(|id| match id {
            "debian" | "ubuntu" => Some("sudo apt-get install busybox-static"),
            "fedora" | "rhel" => Some("sudo dnf install busybox"),
            "arch" => Some("sudo pacman -S busybox"),
            "alpine" => Some("sudo apk add busybox-static"),
            "suse" | "opensuse" => Some("sudo zypper install busybox-static"),
            _ => None,
        })
    });
    known.unwrap_or("cargo workshop rootfs --from alpine")
}

fn rootfs_at(path: &Path) -> Rootfs {
    if fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none()) {
        return Rootfs::Missing;
    }
    if let Err(mounted) = rootfs::nothing_mounted(path) {
        let said = mounted.to_string();
        let point = said.split(' ').next_back().unwrap_or_default();
        return Rootfs::Mounted(point.to_owned());
    }
    let shell = rootfs::inside(path, "bin/sh");
    if !shell.is_file() {
        return Rootfs::Broken("it has no /bin/sh".to_owned());
    }
    let built = arch::Arch::named(env::consts::ARCH)
        .and_then(|arch| arch::Program::read(&shell)?.built_for(arch));
    match (built, rootfs::origin(path)) {
        (Err(why), _) => Rootfs::Broken(format!("its /bin/sh {why:#}")),
        (_, Ok(Some(origin))) => Rootfs::Sane(origin),
        _ => Rootfs::Sane("what we do not know, by hand".to_owned()),
    }
}
