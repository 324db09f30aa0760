//! What to type when an error has certain words.

use std::fs;
use std::path::Path;

const NEW_ROOTFS: &str = "mv rootfs rootfs.old && cargo workshop rootfs";

/// Words of an error, and what to type. The first match counts.
const ADVICE: [(&str, &str); 12] = [
    ("no new privileges", "in a terminal outside your editor or sandbox: cargo workshop doctor"),
    ("there is no sudo", "su -"),
    ("may not run sudo", "su -"),
    // Ubuntu has restricted user namespaces since 23.10.
    ("/proc/self/uid_map", "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
    ("unshare failed: No space left", "sudo sysctl -w user.max_user_namespaces=15000"),
    ("ENOSPC", "sudo sysctl -w user.max_uts_namespaces=15000 user.max_pid_namespaces=15000"),
    ("mount / as private", "leave the chroot, or enter it by: mount --bind DIR DIR && chroot DIR"),
    ("mount ../sys on /sys", "sudo mount -t sysfs sysfs /sys"),
    ("mount ../dev/", "sudo mount -t devtmpfs devtmpfs /dev"),
    ("mount on /", NEW_ROOTFS),
    ("exec: ", NEW_ROOTFS),
    ("boot with cgroup_enable=", "add that to the kernel's command line, and reboot"),
];

/// What to type when there is this error.
pub fn advice(error: &str) -> String {
    let place = surroundings();
    if place == "WSL 1" {
        return "in PowerShell: wsl --set-version NAME 2 (wsl -l -v shows the names)".to_owned();
    }
    if let Some((_, fix)) = ADVICE.iter().find(|(words, _)| error.contains(words)) {
        return (*fix).to_owned();
    }
    if error.contains("EACCES") {
        let outside = "exit, and outside `unshare -Ur`: cargo workshop doctor";
        return if in_user_namespace() { outside } else { "su -" }.to_owned();
    }
    let no_user_namespaces = error.contains("unshare failed: Operation not permitted");
    let no_cgroups = error.contains("no cgroups are mounted");
    let fix = match place {
        "Docker" => "docker run --privileged …",
        "Podman" => "sudo podman run --privileged …",
        // Something is mounted on /sys, and hides the cgroups that are mounted below it.
        _ if error.contains("mkdir in \"/sys") && error.contains("ENOENT") => "sudo umount /sys",
        "WSL 2" if no_cgroups => "in PowerShell: wsl --update",
        _ if no_cgroups => "sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        _ if no_user_namespaces => "sudo sysctl -w kernel.unprivileged_userns_clone=1",
        _ if error.contains("Read-only file system") => "sudo mount -o remount,rw /sys/fs/cgroup",
        _ => "vagrant up",
    };
    fix.to_owned()
}

/// Are we in a user namespace other than the first? The first one has all users.
pub fn in_user_namespace() -> bool {
    let users = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !users.trim_end().ends_with(" 4294967295")
}

/// What we run in, by the signs that Docker, Podman, systemd and WSL leave.
pub fn surroundings() -> &'static str {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if Path::new("/.dockerenv").exists() {
        "Docker"
    } else if Path::new("/run/.containerenv").exists() {
        "Podman"
    } else if kernel.to_lowercase().contains("microsoft") {
        // WSL 1 has no Linux kernel, and claims to be 4.4.
        if kernel.starts_with("4.4.") { "WSL 1" } else { "WSL 2" }
    } else if Path::new("/run/systemd/container").exists() {
        "a container"
    } else {
        ""
    }
}
