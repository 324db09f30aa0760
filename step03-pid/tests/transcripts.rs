//! What is typed and seen in step 3.

workshop::transcripts! {
    "step03-pid",
    "help": ["$ step03-pid run --help"],
    "hello": ["$ step03-pid run echo hello"],
    "pids": [
        "$ step03-pid run /bin/sh",
        "# echo $$",
        "# echo $PPID",
        "# exit",
    ],
    "proc-is-still-the-hosts": [
        "$ cat /proc/1/comm",
        "$ step03-pid run cat /proc/1/comm",
    ],
    "zombies": [
        "$ step03-pid run sh -c '(sleep 0.1 &); sleep 1; ps -e -o stat= | grep -c Z'",
        "$ unshare --pid --fork sh -c '(sleep 0.1 &); exec sleep 2' & sleep 1; ps -e -o stat= | grep -c Z; wait",
    ],
    "signals": ["$ step03-pid run sh -c 'kill -TERM $$'; echo $?", "$ step03-pid run sh -c 'kill -40 $$'; echo $?"],
    "errors": [
        "$ step03-pid run no-such-command; echo $?",
        "$ step03-pid run /etc/passwd; echo $?",
        "$ step03-pid child true; echo $?",
    ],
}
