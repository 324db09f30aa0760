#!/bin/sh
# Is the exercise step03-pid-host solved? Run from the top folder of the repository.
name=step03-pid-host
wrong() { echo "$name: $1"; exit 1; }
run() { cargo run -q -p step03-pid -- run "$@"; }
cargo build -q -p step03-pid || wrong "it does not build"

said=$(run --pid host sh -c 'echo "$PPID"' 2>&1) ||
    wrong "run --pid host ends with $?: $(echo "$said" | head -n 1)"
parent=$(echo "$said" | tail -n 1)
[ "$parent" != 1 ] || wrong "with --pid host the command's parent is still PID 1"
echo "$said" | grep -q "as pid: $parent\$" || wrong "it announces another pid than $parent"
run --pid host sh -c "kill -0 $$" 2>/dev/null ||
    wrong "with --pid host the command does not find the process $$, which is on the host"
[ "$(run sh -c 'echo "$PPID"' 2>/dev/null)" = 1 ] || wrong "without --pid the parent is not PID 1"
run --pid host sh -c 'exit 7' 2>/dev/null
[ $? -eq 7 ] || wrong "with --pid host the exit code is lost"
[ "$(run --pid host --hostname rust hostname 2>/dev/null)" = rust ] || wrong "--hostname is lost"
run --pid guest true 2>/dev/null
[ $? -eq 125 ] || wrong "--pid guest is wrong usage: end with 125"
echo "$name: well done"
