#!/bin/sh
# Does --read-only keep the container from writing to its root filesystem, and to nothing else?

name=step04-read-only
rootfs=${ROOTFS:-rootfs}
fail() {
    echo "$name: $1"
    exit 1
}
# The first line that a run said, less our own.
line() { echo "$said" | grep -v "^Running" | head -n 1; }
run() { cargo run -q -p step04-mount -- run "$@" 2>&1; }

cargo build -q -p step04-mount || fail "it does not compile"
said=$(run --read-only echo it runs)
case $said in *"it runs") ;; *) fail "with --read-only it says: $(line)" ;; esac

said=$(run --read-only touch "/tmp/$name")
if [ -e "$rootfs/tmp/$name" ]; then
    rm "$rootfs/tmp/$name"
    fail "with --read-only a file can still be made"
fi
case $said in *"Read-only file system") ;; *) fail "to touch a file says: $(line)" ;; esac
run --read-only sh -c 'touch /dev/shm/file && echo > /dev/null' > /dev/null ||
    fail "with --read-only /dev/shm and /dev/null are to be writable"

touch "$rootfs/tmp/$name" || fail "the host cannot write to $rootfs any more"
run rm "/tmp/$name" > /dev/null || fail "without --read-only it is to be writable"
echo "$name: well done"
