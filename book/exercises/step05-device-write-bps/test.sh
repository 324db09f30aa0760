#!/bin/sh
# Does --device-write-bps PATH:RATE limit how fast the container writes to a disk?

name=step05-device-write-bps
fail() {
    echo "$name: $1" | head -n 1
    exit 1
}
# The container mounts its own cgroup, of version 1 or else of version 2, and looks into it.
look='{ mount -t cgroup -o blkio cgroup /mnt || mount -t cgroup2 cgroup2 /mnt; } 2> /dev/null'
look="$look; cd /mnt; grep -h . blkio.throttle.write_bps_device io.max 2> /dev/null"
run() { cargo run -q -p step05-cgroups -- run "$@" 2>&1 | grep -v "^Running"; }

cargo build -q -p step05-cgroups || fail "it does not compile"
# Any disk will do: nothing is written to it.
for file in /sys/block/*/dev; do
    disk=/dev/$(basename "${file%/dev}")
    [ -b "$disk" ] && break
done
[ -b "$disk" ] || fail "this machine has no disk"
number=$(cat "$file")
said=$(run --device-write-bps "$disk:1mb" sh -c "$look")
case $said in
"$number 1048576" | "$number rbps=max wbps=1048576 riops=max wiops=max") ;;
*) fail "--device-write-bps $disk:1mb is to limit $number to 1048576. It gives: $said" ;;
esac
said=$(run sh -c "$look")
[ -z "$said" ] || fail "without the option there is to be no limit. It gives: $said"
# /dev/vcs is no disk, but has the number of one: /dev/loop0.
for wrong in /dev/null:1mb /dev/vcs:1mb "$disk:0" "$disk" /dev/none-such:1mb; do
    said=$(run --device-write-bps "$wrong" echo it runs)
    case $said in *"it runs"*) fail "--device-write-bps $wrong is to be an error" ;; esac
done
left=$(find /sys/fs/cgroup -path "*blkio*" -name "step05-*" 2> /dev/null | head -n 1)
[ -z "$left" ] || fail "$left is left"
echo "$name: well done"
