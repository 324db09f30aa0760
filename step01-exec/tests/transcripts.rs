//! What is typed and seen in step 1.

proof::transcripts! {
    "step01-exec",
    "help": ["$ step01-exec run --help"],
    "hello": ["$ step01-exec run echo \"Hello, our container\""],
    "shell": [
        "$ hostname",
        "$ step01-exec run /bin/sh",
        "# hostname",
    ],
    "same-namespace": [
        "$ step01-exec run sh -c 'for process in $PPID self; do readlink /proc/$process/ns/uts; done | uniq | wc -l'",
    ],
    "exit-codes": [
        "$ step01-exec run sh -c 'exit 3' || echo $?",
        "$ step01-exec run sh -c 'kill -TERM $$' || echo $?",
    ],
    "standard-error": ["$ step01-exec run echo hello | wc -l"],
    "closed-pipe": ["$ step01-exec run yes | head -n 1"],
    "options-of-the-command": ["$ step01-exec run echo --hostname rust"],
    "errors": [
        "$ step01-exec run no-such-command || echo $?",
        "$ step01-exec run /etc/passwd || echo $?",
        "$ step01-exec run || echo $?",
    ],
}
