#!/bin/sh
# Is the exercise step03-no-init solved? Run from the top folder of the repository.
name=step03-no-init
wrong() { echo "$name: $1"; exit 1; }
run() { cargo run -q -p step03-pid -- run "$@"; }
cargo build -q -p step03-pid || wrong "it does not build"

said=$(run --no-init sh -c 'echo "$$"' 2>&1) ||
    wrong "run --no-init ends with $?: $(echo "$said" | head -n 1)"
[ "$(echo "$said" | tail -n 1)" = 1 ] || wrong "with --no-init the command is not PID 1"
[ "$(run sh -c 'echo "$$"' 2>/dev/null)" = 2 ] || wrong "without --no-init the command is not 2"
said=$(run --no-init sh -c 'kill -TERM $$; echo still here' 2>/dev/null)
[ "$said" = "still here" ] || wrong "as PID 1 it should not die of TERM"
blocked=$(run --no-init sed -n 's/^SigBlk:[^0-9a-f]*//p' /proc/self/status 2>/dev/null)
[ "$blocked" = 0000000000000000 ] || wrong "the command starts with signals blocked: $blocked"
run --no-init sh -c 'exit 7' 2>/dev/null
[ $? -eq 7 ] || wrong "with --no-init the exit code is lost"
run --no-init no-such-command 2>/dev/null
[ $? -eq 127 ] || wrong "with --no-init a missing command does not end with 127"
run --no-init /etc/passwd 2>/dev/null
[ $? -eq 126 ] || wrong "with --no-init a command that cannot be executed does not end with 126"
echo "$name: well done"
