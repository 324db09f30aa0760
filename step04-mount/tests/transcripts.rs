//! What is typed and seen in step 4.

workshop::transcripts! {
    "step04-mount",
    "help": ["$ step04-mount run --help"],
    "ps": ["$ step04-mount run /bin/sh", "# ps", "# exit"],
    "ls": ["$ step04-mount run /bin/sh", "# ls /", "# ls /dev", "# ls -d /proc/[0-9]*", "# exit"],
    // What lies in /proc depends on the kernel.
    "mounts": [
        "$ step04-mount run /bin/sh",
        "# cut -d ' ' -f 2 /proc/mounts | grep -v /proc/",
        "# grep '/proc/sys ' /proc/mounts",
        "# exit",
    ],
    "environment": ["$ SECRET=42 step04-mount run env"],
    "errors": [
        "$ step04-mount run --rootfs /nowhere true; echo $?",
        "$ step04-mount run --rootfs /etc/passwd true; echo $?",
        "$ step04-mount run bash; echo $?",
    ],
}
