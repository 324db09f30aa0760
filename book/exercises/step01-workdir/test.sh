#!/bin/sh
# Is the exercise step01-workdir solved? Run from the top folder of the repository.
name=step01-workdir
wrong() { echo "$name: $1"; exit 1; }
run() { cargo run -q -p step01-exec -- run "$@"; }
cargo build -q -p step01-exec || wrong "it does not build"

seen=$(run --workdir / pwd 2>&1) ||
    wrong "run --workdir / ends with $?: $(echo "$seen" | head -n 1)"
[ "$(echo "$seen" | tail -n 1)" = / ] || wrong "the command does not start in /"
seen=$(run -w /usr/bin pwd 2>/dev/null)
[ "$seen" = /usr/bin ] || wrong "-w /usr/bin: the command starts in '$seen'"
[ "$(run pwd 2>/dev/null)" = "$(pwd -P)" ] || wrong "without --workdir it is not where it was"
seen=$(run --workdir /no/such/dir true 2>&1 >/dev/null)
code=$?
[ $code -ne 127 ] || wrong "of a missing directory it says that the command is missing (127)"
[ $code -eq 125 ] || wrong "with a missing directory it ends with $code, not with 125"
echo "$seen" | grep -q /no/such/dir || wrong "it does not say which directory is missing"
run --workdir / no-such-command 2>/dev/null
[ $? -eq 127 ] || wrong "a missing command no longer ends with 127"
echo "$name: well done"
