//! What is typed and seen in step 2.

proof::transcripts! {
    "step02-uts",
    "help": ["$ step02-uts run --help"],
    "hostname": [
        "$ hostname",
        "$ step02-uts run /bin/sh",
        "# hostname",
        "# hostname rust",
        "# hostname",
        "# exit",
        "$ hostname",
    ],
    "hostname-by-option": ["$ step02-uts run --hostname rust hostname", "$ hostname"],
    "another-namespace": [
        "$ step02-uts run sh -c 'for process in $PPID self; do readlink /proc/$process/ns/uts; done | uniq | wc -l'",
    ],
    "every-run-is-new": [
        "$ step02-uts run hostname rust",
        "$ step02-uts run hostname",
    ],
    "way-back": ["$ step02-uts run --hostname rust nsenter --target 1 --uts hostname"],
    "errors": [
        "$ step02-uts run --hostname \"$(printf %065d 0)\" true || echo $?",
        "$ step02-uts run --hostnam rust true || echo $?",
    ],
    "without-privilege": ["$ setpriv --bounding-set=-all --inh-caps=-all --reuid=65534 step02-uts run true; echo $?"],
}
