//! What is typed and seen in step 2.

workshop::transcripts! {
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
    "errors": [
        "$ step02-uts run --hostname \"$(printf %065d 0)\" true; echo $?",
        "$ step02-uts run --hostnam rust true; echo $?",
    ],
    "without-privilege": ["$ setpriv --bounding-set=-all --inh-caps=-all --reuid=65534 step02-uts run true; echo $?"],
}
