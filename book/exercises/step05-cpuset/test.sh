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
target=${CARGO_TARGET_DIR:-target}/debug/step05-cgroups
sudo=$(command -v sudo) || sudo=
[ "$(id -u)" = 0 ] && sudo=
$sudo env ROOTFS="${ROOTFS:-rootfs}" sh -c '"$0" run --cpuset-cpus "$1" sleep 99 & sleep 1; kill -9 $!' "$target" "$first" 2>/dev/null
# The killed may take a moment to end.
for _ in 1 2 3 4 5 6 7 8 9 10; do
    run true
    left=$(find /sys/fs/cgroup -path "*cpuset*" -name "step05-*" 2>/dev/null | head -n 1)
    [ -z "$left" ] && break
    sleep 1
done
[ -z "$left" ] || fail "what kill -9 has left is to go with the next run, and $left is there"
echo "$name: well done"
