#!/bin/sh
# Is the exercise step01-how-it-ended solved? Run from the top folder of the repository.
name=step01-how-it-ended
wrong() { echo "$name: $1"; exit 1; }
run() { cargo run -q -p step01-exec -- run "$@"; }
cargo build -q -p step01-exec || wrong "it does not build"

# try CODE WORDS COMMAND...: ends with the code, and standard error has the words.
try() {
    code=$1 words=$2
    shift 2
    said=$(run "$@" 2>&1 >/dev/null)
    ended=$?
    [ $ended -eq "$code" ] || wrong "run $*: ends with $ended, not with $code"
    echo "$said" | grep -q "$words" || wrong "run $*: standard error does not say '$words'"
}

try 0 "exit code 0" true
try 3 "exit code 3" sh -c 'exit 3'
try 143 "signal 15" sh -c 'kill -TERM $$'
try 137 "signal 9" sh -c 'kill -KILL $$'
try 127 "no-such-command" no-such-command
try 126 "/etc/passwd" /etc/passwd
[ "$(run echo hello 2>/dev/null)" = hello ] || wrong "standard output is the command's alone"
echo "$name: well done"
