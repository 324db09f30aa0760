#!/bin/sh
# Does --cpu-shares N set the weight of the container when processors are scarce?

name=step05-cpu-shares
fail() {
    echo "$name: $1" | head -n 1
    exit 1
}
# The container mounts its own cgroup, of version 1 or else of version 2, and looks into it.
look='{ mount -t cgroup -o cpu cgroup /mnt || mount -t cgroup -o cpu,cpuacct cgroup /mnt'
look="$look || mount -t cgroup2 cgroup2 /mnt; } 2> /dev/null"
look="$look; cd /mnt; grep . cpu.shares cpu.weight 2> /dev/null"
run() { cargo run -q -p step05-cgroups -- run "$@" sh -c "$look" 2>&1 | grep -v "^Running"; }

cargo build -q -p step05-cgroups || fail "it does not compile"
said=$(run --cpu-shares 512)
case $said in
"cpu.shares:512" | "cpu.weight:50") ;;
*) fail "--cpu-shares 512 is to set cpu.shares to 512, or cpu.weight to 50. It gives: $said" ;;
esac
said=$(run --cpu-shares 2)
case $said in
"cpu.shares:2" | "cpu.weight:1") ;;
*) fail "--cpu-shares 2 is to set cpu.shares to 2, or cpu.weight to 1. It gives: $said" ;;
esac
said=$(run --cpus 1)
case $said in
"cpu.shares:1024" | "cpu.weight:100") echo "$name: well done" ;;
*) fail "without --cpu-shares the weight is to be as ever. It gives: $said" ;;
esac
