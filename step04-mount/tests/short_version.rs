//! What is typed and seen with the short version, `examples/talk.rs`.

proof::transcripts! {
    "step04-mount",
    "talk": [
        "$ talk run /bin/sh",
        "# hostname rust",
        "# hostname",
        "# ps",
        "# ls /",
        "# exit",
        "$ hostname",
    ],
    "talk-leaves": [
        "$ talk run true &&
    grep rootfs/proc /proc/mounts || echo nothing left",
    ],
    "talk-proc": ["$ talk run sh -c 'umount /proc; ps'"],
    "talk-exit-code": ["$ talk run sh -c 'exit 3' 2> /dev/null || echo $?"],
    "talk-output": ["$ talk run echo hello | wc -l"],
    "talk-escape": [
        "$ talk run /bin/sh",
        "# ls -d /boot",
        "# mount --rbind / /mnt",
        "# chroot /mnt chroot /proc/self/fd/5/../../../../../../../../../.. ls -d /boot 5< /",
        "# exit",
    ],
}
