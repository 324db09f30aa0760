#!/bin/sh
# Is the exercise step01-env solved? Run from the top folder of the repository.
name=step01-env
wrong() { echo "$name: $1"; exit 1; }
run() { cargo run -q -p step01-exec -- run "$@"; }
cargo build -q -p step01-exec || wrong "it does not build"

seen=$(run --env FRUIT=pear sh -c 'echo "$FRUIT"' 2>&1) ||
    wrong "run --env FRUIT=pear ends with $?: $(echo "$seen" | head -n 1)"
[ "$(echo "$seen" | tail -n 1)" = pear ] || wrong "the command does not see FRUIT=pear"
seen=$(run -e ONE=1 -e TWO=2 sh -c 'echo "$ONE $TWO"' 2>/dev/null)
[ "$seen" = "1 2" ] || wrong "-e ONE=1 -e TWO=2 arrives as '$seen'"
seen=$(run -e SUM=1+1=2 sh -c 'echo "$SUM"' 2>/dev/null)
[ "$seen" = 1+1=2 ] || wrong "the value may hold a '=': SUM=1+1=2 arrives as '$seen'"
seen=$(export FRUIT=apple; run -e FRUIT sh -c 'echo "$FRUIT"' 2>/dev/null)
[ "$seen" = apple ] || wrong "-e FRUIT, without a value, leaves what was there, as in Docker"
seen=$(run sh -c 'echo "$1"' sh -e 2>/dev/null)
[ "$seen" = -e ] || wrong "a -e behind the command is the command's"
echo "$name: well done"
