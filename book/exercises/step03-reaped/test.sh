#!/bin/sh
# Is the exercise step03-reaped solved? Run from the top folder of the repository.
name=step03-reaped
wrong() { echo "$name: $1"; exit 1; }
run() { cargo run -q -p step03-pid -- run "$@"; }
cargo build -q -p step03-pid || wrong "it does not build"

# reaped COUNT SCRIPT: so many lines say that somebody was reaped.
reaped() {
    said=$(run sh -c "$2" 2>&1 >/dev/null) || wrong "run sh -c '$2' ends with $?"
    lines=$(echo "$said" | grep -c '^step03-pid: reaped [0-9][0-9]*$')
    [ "$lines" -eq "$1" ] || wrong "run sh -c '$2': 'step03-pid: reaped N' $lines times, not $1"
}

reaped 0 true
reaped 1 '(sleep 0.2 &); sleep 1'
reaped 2 '(sleep 0.2 &); (sleep 0.4 &); sleep 1'
# Whoever has a parent that waits is no orphan.
reaped 0 'sleep 0.2 & wait'
[ "$(run sh -c '(sleep 0.2 &); sleep 1; echo hello' 2>/dev/null)" = hello ] ||
    wrong "standard output is the command's alone"
run sh -c '(sleep 0.2 &); sleep 1; exit 7' 2>/dev/null
[ $? -eq 7 ] || wrong "the exit code is not the command's any more"
echo "$name: well done"
