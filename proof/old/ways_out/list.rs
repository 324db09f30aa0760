//! The ways, in the order of the table.

use std::fs;
use std::path::Path;

use super::Open::{If, No, Yes};
use super::Outcome::{Closed, KnownLimit};
use super::attempts::{
    abstract_socket, chroot, device_mode, dot_dot, group_signal, inherited, ipc, keyring, nsenter,
    own_binary, proc_mode, propagation, ptrace, sees_the_host, signal, stdin, typed,
};
use super::{Open, Way};
use crate::checks::Fails::{Saboteur, Step};
use crate::checks::filesystem::{BY_CHROOT, WITH_DEVICES_TO_CHANGE};

/// A root by pivot_root(2), with the host's still below it.
const WITHOUT_UMOUNT: &str = r#"shift; exec unshare --mount sh -c '
    mount --bind "$ROOTFS" "$ROOTFS" && cd "$ROOTFS" && pivot_root . . && exec "$@"' sh "$@""#;

const IN_V1: Open = If("with cgroups v1, or v2 without nsdelegate", || {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let cgroups = mounts.lines().filter(|line| line.starts_with("cgroup"));
    let v1 = cgroups.clone().any(|line| line.split([' ', ',']).any(|word| word == "pids"));
    v1 || cgroups.clone().any(|line| !line.contains("nsdelegate"))
});

const WITH_MODULES: Open =
    If("where the kernel has modules", || Path::new("/proc/modules").exists());

const LEGACY_TIOCSTI: Open = If("where `dev.tty.legacy_tiocsti` is 1, or missing", || {
    let setting = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti");
    setting.map_or(true, |value| value.trim() == "1")
});

const DMESG: Open = If("where `kernel.dmesg_restrict` is 0", || {
    let setting = fs::read_to_string("/proc/sys/kernel/dmesg_restrict");
    setting.is_ok_and(|value| value.trim() == "0")
});

/// All ways out that we know.
pub const WAYS: &[Way] = &[
    Way {
        id: "chroot-break-out",
        does: "`chroot` to a directory below, then many `..`: nothing holds them any more.",
        outcome: Closed {
            from: 4,
            by: "`pivot_root` and the unmount: above our root there is nothing to get to.",
            witness: Saboteur(BY_CHROOT),
        },
        attempt: chroot,
    },
    Way {
        id: "dot-dot",
        does: "Many `..` from `/`, and from a bind of `/` below it.",
        outcome: Closed {
            from: 4,
            by: "The unmount after `pivot_root`; until then `..` leads to the host's `/`.",
            witness: Saboteur(WITHOUT_UMOUNT),
        },
        attempt: dot_dot,
    },
    Way {
        id: "proc-1-root",
        does: "`/proc/1/root` is the root of PID 1.",
        outcome: Closed {
            from: 4,
            by: "A `/proc` of its own, in which PID 1 is the container's.",
            witness: Saboteur(BY_CHROOT),
        },
        attempt: |container| sees_the_host(container, "/proc/1/root"),
    },
    Way {
        id: "nsenter",
        does: "`nsenter -t 1 -m` goes to the mount namespace of PID 1.",
        outcome: Closed {
            from: 4,
            by: "The PID namespace and its `/proc`: no process of the host's can be named.",
            witness: Saboteur(BY_CHROOT),
        },
        attempt: nsenter,
    },
    Way {
        id: "inherited-descriptors",
        does: "`/proc/self/fd/7`, a directory that the caller left open (CVE-2024-21626).",
        outcome: Closed {
            from: 3,
            by: "All above standard error is closed before anything starts.",
            witness: Step(2),
        },
        attempt: inherited,
    },
    Way {
        id: "stdin",
        does: "`/proc/self/fd/0`, where the caller's standard input is a directory (`run … < /`).",
        outcome: KnownLimit {
            step: 4,
            why: "Standard streams are what the caller hands in on purpose. Docker has pipes or a \
                  terminal of its own there.",
            root: Yes,
            user: Yes,
        },
        attempt: stdin,
    },
    Way {
        id: "proc-1-exe",
        does: "`chmod 4755 /proc/1/exe` makes the host's own binary setuid (after CVE-2019-5736).",
        outcome: KnownLimit {
            step: 4,
            why: "PID 1 runs the host's binary. It cannot be written to while it runs (ETXTBSY), \
                  but its mode and owner can. runc runs a sealed copy of itself, or itself through \
                  a read-only overlay.",
            root: Yes,
            user: If("if it is the user's own", || true),
        },
        attempt: own_binary,
    },
    Way {
        id: "mounts-propagate",
        does: "A mount made inside shows up on the host.",
        outcome: Closed {
            from: 4,
            by: "All mounts are made private (`MS_PRIVATE`) before the first of ours.",
            witness: Step(3),
        },
        attempt: propagation,
    },
    Way {
        id: "proc-settings",
        does: "Write to `/proc/sys/kernel/core_pattern` (a program that the host's kernel starts \
               as root) or to `/proc/sysrq-trigger`.",
        outcome: Closed {
            from: 4,
            by: "These parts of `/proc` are read-only or covered, as in Docker. \
                 (`kernel.hostname` is the container's, but is in there, too.)",
            witness: Step(3),
        },
        // Opened, not written to.
        attempt: |container| {
            container.sh("(true >> /proc/sys/kernel/core_pattern) ||
                 { test -e /proc/sysrq-trigger && (true >> /proc/sysrq-trigger); }")
        },
    },
    Way {
        id: "proc-anew",
        does: "Mount `/proc` once more, where nothing is read-only.",
        outcome: KnownLimit {
            step: 4,
            why: "Root inside may mount (CAP_SYS_ADMIN), and may unmount what we have mounted. \
                  Docker takes the capability away. A user's root is no root to these files.",
            root: Yes,
            user: No,
        },
        attempt: |container| {
            container.sh("mkdir /dev/shm/proc && mount -t proc proc /dev/shm/proc &&
                 (true >> /dev/shm/proc/sys/kernel/core_pattern)")
        },
    },
    Way {
        id: "proc-secrets",
        does: "Read the host's memory in `/proc/kcore`, its keys in `/proc/keys`.",
        outcome: Closed {
            from: 4,
            by: "`/dev/null` lies over them, where it cannot be opened.",
            witness: Step(3),
        },
        attempt: |container| {
            container.sh("test -n \"$(head -c 1 /proc/kcore; head -c 1 /proc/keys)\"")
        },
    },
    Way {
        id: "sysfs-anew",
        does: "Mount `/sys` once more, writable: the host's devices can be set.",
        outcome: KnownLimit {
            step: 4,
            why: "CAP_SYS_ADMIN, which Docker takes away. In a user namespace sysfs can only be \
                  mounted by who owns the network, too.",
            root: Yes,
            user: No,
        },
        // Opened, not written to.
        attempt: |container| {
            container.sh("mkdir /dev/shm/sys && mount -t sysfs sysfs /dev/shm/sys &&
                 (true >> /dev/shm/sys/class/net/lo/ifalias)")
        },
    },
    Way {
        id: "device-mode",
        does: "`chmod 640 /dev/null`: the device is the host's, and only root could use it there.",
        outcome: Closed {
            from: 4,
            by: "Each device is mounted, and the mount is read-only: so are mode, owner and times. \
                 (runc makes devices of its own.)",
            witness: Saboteur(WITH_DEVICES_TO_CHANGE),
        },
        attempt: |container| device_mode(container, "chmod 640 /dev/null"),
    },
    Way {
        id: "device-mode-anew",
        does: "Mount `/dev/null` writable again, then `chmod` it.",
        outcome: KnownLimit {
            step: 4,
            why: "CAP_SYS_ADMIN, as with `/proc`. A user's root does not own the devices.",
            root: Yes,
            user: No,
        },
        attempt: |container| {
            device_mode(container, "mount -o remount,bind,rw /dev/null && chmod 640 /dev/null")
        },
    },
    Way {
        id: "proc-mode",
        does: "`chmod` of a file in `/proc`: every `/proc` that is mounted later has it, too.",
        outcome: KnownLimit {
            step: 4,
            why: "Files that are not about a process are there once, whatever shows them, and root \
                  owns them. Docker's profile for AppArmor forbids it.",
            root: Yes,
            user: No,
        },
        attempt: proc_mode,
    },
    Way {
        id: "sys-uncovered",
        does: "`umount /sys/fs`, which covers the host's cgroups in a user namespace.",
        outcome: KnownLimit {
            step: 4,
            why: "There `/sys` is the host's, with all that is mounted in it, and root inside may \
                  unmount what we have mounted. What lies below can be changed by who could do so \
                  outside. Docker takes CAP_SYS_ADMIN away.",
            root: No,
            user: Yes,
        },
        attempt: |container| {
            container.sh("umount /sys/fs; cat /sys/fs/cgroup/cgroup.procs ||
                 cat /sys/fs/cgroup/pids/cgroup.procs")
        },
    },
    Way {
        id: "device-node",
        does: "`mknod` of a device that is not in `/dev`: the host's disk, or its kernel's log, as \
               is tried.",
        outcome: KnownLimit {
            step: 4,
            why: "CAP_MKNOD, and no list in the cgroup of what may be opened. Docker leaves the \
                  capability, and has the list. In a user namespace the kernel refuses.",
            root: Yes,
            user: No,
        },
        // On a mount of its own: that of /dev/shm knows no devices.
        attempt: |container| {
            container.sh("mkdir /dev/shm/dev && mount -t tmpfs tmpfs /dev/shm/dev &&
                 mknod /dev/shm/dev/kmsg c 1 11 && (true < /dev/shm/dev/kmsg)")
        },
    },
    Way {
        id: "kernel-log",
        does: "`dmesg` shows what the host's kernel says.",
        outcome: KnownLimit {
            step: 4,
            why: "There is one kernel and one log. Docker takes CAP_SYSLOG away, and its seccomp \
                  filter refuses the call.",
            root: Yes,
            user: DMESG,
        },
        attempt: |container| container.sh("test -n \"$(dmesg)\""),
    },
    Way {
        id: "clock",
        does: "Set the host's clock. (Tried with the length of a tick, to what it is.)",
        outcome: KnownLimit {
            step: 4,
            why: "CAP_SYS_TIME: root inside is root. Docker takes it away.",
            root: Yes,
            user: No,
        },
        attempt: |container| {
            container.sh("tick=$(adjtimex | grep tick: | tr -dc 0-9) && adjtimex -t $tick")
        },
    },
    Way {
        id: "modules",
        does: "`insmod`: load code into the host's kernel. (Tried with a file that is no module.)",
        outcome: KnownLimit {
            step: 4,
            why: "CAP_SYS_MODULE; with CAP_BPF, CAP_PERFMON and CAP_SYS_RAWIO it is the same. \
                  Docker takes them away.",
            root: WITH_MODULES,
            user: No,
        },
        attempt: |container| {
            let refused = "not permitted|not support|not implemented|denied";
            container.sh(&format!(
                "echo nothing > /dev/shm/nothing.ko;
                 said=$(insmod /dev/shm/nothing.ko 2>&1); echo \"$said\" >&2;
                 test -n \"$said\" && ! echo \"$said\" | grep -qE '{refused}'"
            ))
        },
    },
    Way {
        id: "keyring",
        does: "Read a key in the keyring of the caller's session.",
        outcome: KnownLimit {
            step: 4,
            why: "No namespace is about keyrings. runc joins a new session keyring, and Docker's \
                  seccomp filter refuses the calls.",
            root: Yes,
            user: Yes,
        },
        attempt: keyring,
    },
    Way {
        id: "abstract-socket",
        does: "Connect to a Unix socket of the host's that is in no directory (CVE-2020-15257).",
        outcome: KnownLimit {
            step: 5,
            why: "It is in the network namespace, and the network is the host's. Docker makes a \
                  network namespace.",
            root: Yes,
            user: Yes,
        },
        attempt: abstract_socket,
    },
    Way {
        id: "ipc",
        does: "Reach the host's System V shared memory, semaphores and message queues.",
        outcome: KnownLimit {
            step: 5,
            why: "There is no IPC namespace (`CLONE_NEWIPC`). Docker makes one.",
            root: Yes,
            user: Yes,
        },
        attempt: ipc,
    },
    Way {
        id: "signal",
        does: "Send a signal to a process of the host's, the runner for one.",
        outcome: Closed {
            from: 3,
            by: "The PID namespace: what has no number cannot be signalled.",
            witness: Step(2),
        },
        attempt: signal,
    },
    Way {
        id: "ptrace",
        does: "Take over a process of the host's with `ptrace`.",
        outcome: Closed { from: 3, by: "The PID namespace, again.", witness: Step(2) },
        attempt: ptrace,
    },
    Way {
        id: "group-signal",
        does: "`kill 0` signals the process group: the runner, and who was started with it.",
        outcome: KnownLimit {
            step: 3,
            why: "The process group began on the host. A session of its own would cost ^C and ^Z; \
                  Docker has one, and with `-t` a terminal of its own.",
            root: Yes,
            user: Yes,
        },
        attempt: group_signal,
    },
    Way {
        id: "terminal",
        does: "Type a command for the shell outside with the ioctl TIOCSTI.",
        outcome: KnownLimit {
            step: 3,
            why: "It is the caller's terminal. Since Linux 6.2 the kernel refuses where \
                  `dev.tty.legacy_tiocsti` is 0, except to CAP_SYS_ADMIN. With \
                  `-t` Docker makes a terminal.",
            root: Yes,
            user: LEGACY_TIOCSTI,
        },
        attempt: typed,
    },
    Way {
        id: "leave-the-cgroup",
        does: "Mount the cgroups anew and go up, to a cgroup without limits, or to v1's \
               `release_agent` (a program that the host's kernel starts as root).",
        outcome: Closed {
            from: 5,
            by: "The cgroup namespace: what is mounted begins at our own cgroup.",
            witness: Step(4),
        },
        // The top has no limits.
        attempt: |container| {
            container.sh("mkdir /dev/shm/top && { mount -t cgroup -o pids cgroup /dev/shm/top ||
                 mount -t cgroup2 cgroup2 /dev/shm/top; } &&
                 test -e /dev/shm/top/cgroup.procs && test ! -e /dev/shm/top/pids.max")
        },
    },
    Way {
        id: "raise-the-limits",
        does: "Mount the cgroups anew and write a higher limit into our own.",
        outcome: KnownLimit {
            step: 5,
            why: "CAP_SYS_ADMIN, which Docker takes away; its `/sys/fs/cgroup` is read-only.",
            root: IN_V1,
            user: No,
        },
        attempt: |container| {
            container.sh("mkdir /dev/shm/own && { mount -t cgroup -o pids cgroup /dev/shm/own ||
                 mount -t cgroup2 cgroup2 /dev/shm/own; } && test -e /dev/shm/own/pids.max &&
                 echo 4711 > /dev/shm/own/pids.max && grep -qx 4711 /dev/shm/own/pids.max")
        },
    },
];
