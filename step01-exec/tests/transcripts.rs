//! What is typed and seen in step 1.

workshop::transcripts! {
    "step01-exec",
    "help": ["$ step01-exec run --help"],
    "hello": ["$ step01-exec run echo \"Hello, our container\""],
    "shell": [
        "$ hostname",
        "$ step01-exec run /bin/sh",
        "# hostname",
        "# exit 3",
        "$ step01-exec run sh -c 'exit 3'; echo $?",
    ],
    "errors": [
        "$ step01-exec run no-such-command; echo $?",
        "$ step01-exec run /etc/passwd; echo $?",
        "$ step01-exec run; echo $?",
    ],
}
