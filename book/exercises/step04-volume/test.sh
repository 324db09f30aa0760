#!/bin/sh
# Does --volume HOST:INSIDE show a directory of the host's in the container, and only there?

name=step04-volume
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
fail() {
    echo "$name: $1"
    exit 1
}
# The first line that a run said, less our own.
line() { echo "$said" | grep -v "^Running" | head -n 1; }
run() { cargo run -q -p step04-mount -- run "$@" 2>&1; }

cargo build -q -p step04-mount || fail "it does not compile"
mkdir "$dir/one" "$dir/two"
echo from the host > "$dir/one/file"
said=$(run --volume "$dir/one:/mnt" cat /mnt/file)
case $said in *"from the host") ;; *) fail "to read a file of the host's says: $(line)" ;; esac

run --volume "$dir/one:/mnt" --volume "$dir/two:/home" sh -c 'cp /mnt/file /home' > /dev/null
[ -e "$dir/two/file" ] || fail "two volumes at once: what is written inside does not arrive"
[ "$(run ls /mnt/file)" != /mnt/file ] || fail "without --volume the file is still there"
! grep -q "$dir" /proc/mounts || fail "a mount is left on the host"
case $(run --volume nonsense true; echo $?) in
*125) echo "$name: well done" ;;
*) fail "a volume without a colon is to end with 125" ;;
esac
