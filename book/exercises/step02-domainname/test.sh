#!/bin/sh
# Is the exercise step02-domainname solved? Run from the top folder of the repository.
name=step02-domainname
wrong() { echo "$name: $1"; exit 1; }
run() { cargo run -q -p step02-uts -- run "$@"; }
cargo build -q -p step02-uts || wrong "it does not build"

file=/proc/sys/kernel/domainname
before=$(cat $file)
inside=$(run --domainname example.org cat $file 2>&1) ||
    wrong "run --domainname example.org ends with $?: $(echo "$inside" | head -n 1)"
echo "$inside" | grep -qx example.org || wrong "inside, $file does not say example.org"
[ "$(cat $file)" = "$before" ] || wrong "the host's domain name has changed (it was '$before')"
inside=$(run --hostname rust --domainname example.org sh -c "hostname; cat $file" 2>/dev/null)
[ "$inside" = "rust
example.org" ] || wrong "--hostname and --domainname do not get along"
[ "$(run cat $file 2>/dev/null)" = "$before" ] ||
    wrong "without --domainname it is not the host's"
run --domainname "$(printf %065d 0)" true 2>/dev/null
[ $? -eq 125 ] || wrong "65 bytes are one too many, and the kernel cuts them off: end with 125"
echo "$name: well done"
