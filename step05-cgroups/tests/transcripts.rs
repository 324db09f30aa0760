//! What is typed and seen in step 5.

proof::transcripts! {
    "step05-cgroups",
    "help": ["$ step05-cgroups run --help"],
    "cgroup": ["$ step05-cgroups run sh -c 'cut -d : -f 3 /proc/self/cgroup | sort -u'"],
    "pids-limit": [
        "$ step05-cgroups run sh -c 'for i in 1 2 3 4; do sleep 1 & echo $i; done'",
        "$ step05-cgroups run --pids-limit 4 sh -c 'for i in 1 2 3 4; do sleep 1 & echo $i; done'",
    ],
    // Each says so when it cannot go on: how many do, is chance.
    "fork-bomb": [
        "$ step05-cgroups run sh -c 'bomb() { bomb | bomb; }; bomb' 2>&1 | grep -o \"can't fork\" | uniq",
    ],
    "out-of-memory": ["$ step05-cgroups run --memory 64m tail /dev/zero || echo $?"],
    "namespaces": [
        "$ for ns in uts pid mnt net ipc user cgroup; do
    inside=$(step05-cgroups run readlink /proc/self/ns/$ns 2> /dev/null)
    [ $inside = $(readlink /proc/self/ns/$ns) ] && echo \"$ns: the host's\" || echo \"$ns: its own\"
done",
    ],
    // A device of the host's that is not in /dev: its kernel's log.
    "device": [
        "$ step05-cgroups run /bin/sh",
        "# mount -t tmpfs tmpfs /mnt",
        "# mknod /mnt/kmsg c 1 11",
        "# test -r /mnt/kmsg && true < /mnt/kmsg && echo it is open",
        "# exit",
    ],
    "stdin": ["$ step05-cgroups run ls -d /proc/self/fd/0/boot < /"],
    "sysfs": [
        "$ step05-cgroups run /bin/sh",
        "# touch /sys/class/net/lo/ifalias",
        "# mount -t sysfs sysfs /mnt",
        "# touch /mnt/class/net/lo/ifalias && echo writable",
        "# exit",
    ],
    "no-way-up": [
        "$ step05-cgroups run /bin/sh",
        "# ls -d /../../../../boot",
        "# mount --rbind / /mnt",
        "# chroot /mnt chroot /proc/self/fd/5/../../../../../../../../../.. ls -d /boot 5< /",
        "# ls -d /proc/1/root/boot",
        "# nsenter -t 1 -m ls -d /boot",
        "# exit",
    ],
    "no-such-process": [
        "$ step05-cgroups run sh -c \"kill -0 $$ || echo no such process\" 2> /dev/null",
    ],
    "closed-directory": ["$ step05-cgroups run ls -d /proc/self/fd/7/boot 7< /"],
    "nothing-leaked": [
        "$ step05-cgroups run mount -t tmpfs leaked /mnt &&
    grep leaked /proc/mounts || echo nothing leaked",
    ],
    "settings": [
        "$ step05-cgroups run /bin/sh",
        "# touch /proc/sys/kernel/core_pattern",
        "# cat /proc/kcore 2> /dev/null | head -c 4 | wc -c",
        "# exit",
    ],
    "one-kernel": [
        "$ [ $(uname -r) = $(step05-cgroups run uname -r 2> /dev/null) ] && echo the same kernel",
    ],
    "owner": [
        "$ step05-cgroups run touch /tmp/from-inside",
        "$ stat -c 'user %u' rootfs/tmp/from-inside",
        "$ sudo rm rootfs/tmp/from-inside",
    ],
    "errors": [
        "$ step05-cgroups run --memory 0 true",
        "$ step05-cgroups run --memory 64x true",
        "$ step05-cgroups run --pids-limit 0 true",
    ],
}
