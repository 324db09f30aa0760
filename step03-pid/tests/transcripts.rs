//! What is typed and seen in step 3.

proof::transcripts! {
    "step03-pid",
    "help": ["$ step03-pid run --help"],
    "hello": ["$ step03-pid run echo hello"],
    "pids": [
        "$ step03-pid run /bin/sh",
        "# echo $$",
        "# echo $PPID",
    ],
    "unshare-without-fork": ["$ step02-uts run unshare --pid sh -c '/bin/echo first; /bin/echo second; exit'"],
    "unshare-with-fork": ["$ step02-uts run unshare --pid --fork sh -c 'echo $$'"],
    "proc-is-still-the-hosts": [
        "$ cat /proc/1/comm",
        "$ step03-pid run cat /proc/1/comm",
    ],
    "zombies": [
        "$ step03-pid run sh -c '(sleep 0.1 &); sleep 1; grep -s zombie /proc/[0-9]*/status | wc -l'",
        "$ step02-uts run \\
    sh -c 'unshare --pid --fork sh -c \"(sleep 0.1 &); exec sleep 2\" & sleep 1; grep -s zombie /proc/[0-9]*/status | wc -l; wait'",
    ],
    "signals": ["$ step03-pid run sh -c 'kill -TERM $$'; echo $?", "$ step03-pid run sh -c 'kill -40 $$'; echo $?"],
    "pid-1-and-signals": [
        "$ step02-uts run unshare --pid --fork sh -c 'kill -TERM $$; echo still here'",
        "$ step03-pid run sh -c 'kill -TERM $$; echo still here' || echo $?",
    ],
    "passes-on": [
        "$ sudo -v && timeout --foreground --preserve-status 2 step03-pid run \\
    sh -c 'trap \"echo goodbye; exit 7\" TERM; while :; do sleep 0.1; done' || echo $?",
    ],
    "ends-with-its-command": [
        "$ step02-uts run sh -c 'setsid sleep 4.321 & echo started' &&
sleep 1 && ps -e -o args= | grep -c '^sleep 4.321$'",
        "$ step03-pid run sh -c 'setsid sleep 5.321 & echo started' &&
sleep 1 && ps -e -o args= | grep -c '^sleep 5.321$'",
    ],
    "killed": [
        "$ step03-pid run sleep 9 & sleep 1; ps -e -o args= | grep -c '^sleep 9'; kill -9 $!; sleep 1; ps -e -o args= | grep -c '^sleep 9'",
    ],
    "way-back": ["$ step03-pid run --hostname rust nsenter --uts=/proc/1/ns/uts hostname"],
    "errors": [
        "$ step03-pid run no-such-command; echo $?",
        "$ step03-pid run /etc/passwd; echo $?",
        "$ step03-pid child true; echo $?",
    ],
}
