//! What is typed and seen in step 5.

workshop::transcripts! {
    "step05-cgroups",
    "help": ["$ step05-cgroups run --help"],
    "cgroup": ["$ step05-cgroups run /bin/sh", "# cut -d : -f 3 /proc/self/cgroup | sort -u", "# exit"],
    "pids-limit": [
        "$ step05-cgroups run sh -c 'for i in 1 2 3 4; do sleep 1 & echo $i; done'",
        "$ step05-cgroups run --pids-limit 4 sh -c 'for i in 1 2 3 4; do sleep 1 & echo $i; done'",
    ],
    "out-of-memory": ["$ step05-cgroups run --memory 64m tail /dev/zero; echo $?"],
    "errors": [
        "$ step05-cgroups run --memory 0 true; echo $?",
        "$ step05-cgroups run --memory 64x true; echo $?",
        "$ step05-cgroups run --pids-limit 0 true; echo $?",
    ],
}
