#!/bin/sh
# Is the exercise step02-which-namespace solved? Run from the top folder of the repository.
name=step02-which-namespace
wrong() { echo "$name: $1"; exit 1; }
cargo build -q -p step02-uts || wrong "it does not build"

outside=$(readlink /proc/self/ns/uts)
both=$(cargo run -q -p step02-uts -- run readlink /proc/self/ns/uts 2>&1) ||
    wrong "run ends with $?: $(echo "$both" | head -n 1)"
inside=$(echo "$both" | tail -n 1)
[ "$inside" != "$outside" ] || wrong "the command is in the host's namespace"
line=$(echo "$both" | grep -F " -> ") || wrong "there is no line with ' -> ' in it"
[ "$line" = "$outside -> $inside" ] || wrong "the line is '$line', not '$outside -> $inside'"
stdout=$(cargo run -q -p step02-uts -- run true 2>/dev/null)
[ -z "$stdout" ] || wrong "the line belongs on standard error, not on standard output"
echo "$name: well done"
