#!/bin/sh
# Does --cpuset-cpus LIST say on which processors the container may run?

name=step05-cpuset
fail() {
    echo "$name: $1" | head -n 1
    exit 1
}
run() { cargo run -q -p step05-cgroups -- run "$@" 2>&1 | grep -v "^Running"; }
allowed() { sed -n 's/^Cpus_allowed_list:[^0-9]*//p' "$@"; }

cargo build -q -p step05-cgroups || fail "it does not compile"
all=$(allowed /proc/self/status)
first=${all%%[-,]*}
said=$(run --cpuset-cpus "$first" grep Cpus_allowed_list: /proc/self/status)
[ "$(echo "$said" | allowed)" = "$first" ] || fail "--cpuset-cpus $first gives: $said"
said=$(run grep Cpus_allowed_list: /proc/self/status)
[ "$(echo "$said" | allowed)" = "$all" ] || fail "without the option it is to be $all, not: $said"
said=$(run --cpuset-cpus 99999 echo it runs)
case $said in *"it runs"*) fail "a processor that does not exist is to be an error" ;; esac
echo "$name: well done"
