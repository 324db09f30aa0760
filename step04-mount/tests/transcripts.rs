//! What is typed and seen in step 4.

proof::transcripts! {
    "step04-mount",
    "help": ["$ step04-mount run --help"],
    "ps": ["$ step04-mount run /bin/sh", "# ps", "# ls /", "# exit"],
    // What lies in /proc depends on the kernel.
    "mounts": [
        "$ step04-mount run /bin/sh",
        "# cut -d ' ' -f 2 /proc/mounts | grep -v /proc/",
        "# grep '/proc/sys ' /proc/mounts",
        "# exit",
    ],
    "environment": ["$ step04-mount run env"],
    // By hand, as in the talk: a root by chroot(2).
    "chroot": [
        "$ sudo unshare --mount --pid --fork chroot rootfs /bin/sh",
        "# ps",
        "# mount -t proc proc /proc",
        "# ps",
        "# exit",
    ],
    "chroot-escape": [
        "$ sudo unshare --mount --pid --fork chroot rootfs /bin/sh",
        "# mount -t proc proc /proc",
        "# ls -d /boot",
        "# mount --rbind / /mnt",
        "# chroot /mnt chroot /proc/self/fd/5/../../../../../../../../../.. ls -d /boot 5< /",
        "# exit",
    ],
    "no-escape": [
        "$ step04-mount run /bin/sh",
        "# mount --rbind / /mnt",
        "# chroot /mnt chroot /proc/self/fd/5/../../../../../../../../../.. ls -d /boot 5< /",
        "# exit",
    ],
    // As in Julian Friedman's article, the old root stays.
    "old-root": [
        "$ sudo unshare --mount --pid --fork sh -c '
    mount --bind rootfs rootfs && cd rootfs && pivot_root . mnt && cd / && exec /bin/sh'",
        "# ls -d /boot",
        "# ls -d /mnt/boot",
        "# exit",
    ],
    "leak": [
        "$ sudo unshare --mount sh -c '
    mount --make-rshared /
    unshare --mount --propagation unchanged mount -t tmpfs leaked /mnt
    grep -o \"leaked /mnt\" /proc/mounts || echo nothing leaked'",
    ],
    "no-leak": [
        "$ sudo unshare --mount sh -c '
    mount --make-rshared /
    unshare --mount --propagation private mount -t tmpfs leaked /mnt
    grep -o \"leaked /mnt\" /proc/mounts || echo nothing leaked'",
    ],
    "inherited": [
        "$ sudo sh -c '
    unshare --mount sh -c \"
        mount --bind rootfs rootfs && cd rootfs && pivot_root . . && mount -t proc proc /proc &&
        umount -l . && cd / && ls -d /boot /proc/self/fd/7/boot\" 7< /'",
        "$ step04-mount run ls -d /proc/self/fd/7/boot 7< /",
    ],
    "read-only": [
        "$ step04-mount run /bin/sh",
        "# ls /dev",
        "# touch /sys/something",
        "# touch /proc/sys/kernel/core_pattern",
        "# exit",
    ],
    "namespaces": [
        "$ for ns in uts pid mnt net ipc user cgroup; do
    inside=$(step04-mount run readlink /proc/self/ns/$ns 2> /dev/null)
    [ $inside = $(readlink /proc/self/ns/$ns) ] && echo \"$ns: the host's\" || echo \"$ns: its own\"
done",
    ],
    "still-root": [
        "$ step04-mount run /bin/sh",
        "# id -u",
        "# mount -t proc proc /mnt && ls -d /mnt/self",
        "# exit",
    ],
    "errors": [
        "$ step04-mount run --rootfs /nowhere true; echo $?",
        "$ step04-mount run --rootfs /etc/passwd true; echo $?",
        "$ step04-mount run bash; echo $?",
    ],
}
