#!/bin/sh
# Does the container have shared memory, semaphores and message queues of its own?

name=step04-ipc
fail() {
    echo "$name: $1"
    exit 1
}
run() { cargo run -q -p step04-mount -- run "$@" 2> /dev/null; }

cargo build -q -p step04-mount || fail "it does not compile"
[ "$(run sh -c 'echo $PPID')" = 1 ] || fail "the command is no longer a child of PID 1"
inside=$(run readlink /proc/self/ns/ipc)
[ -n "$inside" ] || fail "the container does not run"
[ "$inside" != "$(readlink /proc/self/ns/ipc)" ] || fail "its IPC namespace is the host's: $inside"
# The first line is the headings.
[ "$(run cat /proc/sysvipc/shm | wc -l)" = 1 ] || fail "there is shared memory in a new container"
echo "$name: well done"
