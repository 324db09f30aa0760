#!/bin/sh
# Makes a fresh Debian 13 the machine of the workshop. Vagrant runs it as root (see Vagrantfile);
# by hand: `sudo workshop/provision.sh USER WORKSPACE`, with DOCKER=1 to have Docker, too.
#
# Whatever needs the network happens here, so that the room needs none. Run it again at any time:
# it does what is missing.
set -eu

user=${1:-vagrant}
workspace=${2:-/vagrant}
port=3000

profile=/etc/profile.d/workshop.sh
unit=/etc/systemd/system/workshop-book.service

# What the tools say is for the day they fail: until then it goes to a file.
exec 3>&1 4>&2 </dev/null
log=$(mktemp)
exec >>"$log" 2>&1
trap 'end $?' EXIT

main() {
    check
    packages
    if [ "${DOCKER:-}" = 1 ]; then docker_too; fi
    login_shell
    build
    rootfs
    book
    say "done: log in, and you are in $workspace"
}

# A line of progress. If what follows fails, `$2` says what to do about it.
step() {
    doing=$1 advice=$2
    : >"$log"
    say "$doing"
}

say() { printf 'workshop: %s\n' "$*" >&3; }

# Called on the way out, whatever the way.
end() {
    if [ "$1" -ne 0 ]; then
        cat "$log" >&4
        printf '\nworkshop: failed, and stopped, at: %s\n' "$doing" >&4
        printf 'workshop: the lines above say why. %s\n' "$advice" >&4
    fi
    rm -f "$log"
}

# Runs a command in the workspace as the user's own shell would.
as_user() {
    # shellcheck disable=SC2016 # the other shell expands it
    runuser -u "$user" -- env -C "$workspace" HOME="$home" USER="$user" LOGNAME="$user" \
        sh -c '. "$0" && exec "$@"' "$profile" "$@"
}

# Writes what comes in to a file; `fresh` is empty if that is what the file holds already.
put() {
    new=$(cat) fresh=
    if [ "$new" = "$(cat "$1" 2>/dev/null)" ]; then return; fi
    printf '%s\n' "$new" >"$1"
    fresh=1
}

check() {
    step "looking around: user $user, workspace $workspace" \
        "Usage, as root: workshop/provision.sh USER WORKSPACE"
    [ "$(id -u)" -eq 0 ] || { echo "not root"; exit 1; }
    home=$(getent passwd "$user" | cut -d: -f6)
    [ -n "$home" ] || { echo "no user $user"; exit 1; }
    [ -f "$workspace/Cargo.toml" ] || { echo "no Cargo.toml in $workspace"; exit 1; }
}

need() {
    if dpkg --status "$@" >/dev/null 2>&1; then return; fi
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "$@"
}

packages() {
    step "packages" "Is there a network? Then once more: vagrant provision"
    # Debian 13's Rust is 1.85, the oldest that the workspace builds with.
    need ca-certificates cargo rustc gcc libc6-dev git
    # What the tests and the root filesystem need; sudo and strace are for you.
    need busybox-static util-linux procps mount hostname sudo strace
}

docker_too() {
    step "Docker, for the first demonstration" "Is there a network? Else go without DOCKER=1"
    need docker.io
    usermod -aG docker "$user"
    # Fetched now, because the room may have no network.
    if [ -d /run/systemd/system ]; then docker pull -q alpine; fi
}

# The login shell starts in the workspace.
login_shell() {
    step "the login shell" "Is the disk full?"
    put "$profile" <<END
# Written by workshop/provision.sh. The workspace may be a shared folder, which holds no devices,
# owners, locks or symbolic links: what is made from it is on the VM's own disk.
export CARGO_TARGET_DIR="\$HOME/target" ROOTFS="$home/rootfs"
# Only where somebody types: Vagrant's own commands stay where they are.
if [ -t 0 ] && [ "\$PWD" = "\$HOME" ]; then cd "$workspace"; fi
END
}

# Everything that the README has you run, built as cargo would then build it.
build() {
    step "fetching what the workspace depends on" "Is there a network? Then: vagrant provision"
    as_user cargo fetch --locked
    step "building the steps and the tests (the longest part)" "Mend it, then: vagrant provision"
    for package in workshop $(cd "$workspace" && echo step0*); do
        as_user cargo build --locked --package "$package"
    done
    as_user cargo build --locked --workspace --bins
    as_user cargo test --locked --no-run
}

rootfs() {
    step "the root filesystem: $home/rootfs" "Make it anew: cargo workshop rootfs --force"
    as_user cargo workshop rootfs
}

book() {
    step "mdBook" "Is there a network? Then once more: vagrant provision"
    need python3-venv
    sh "$workspace/workshop/mdbook.sh" /opt/mdbook
    # For `cargo workshop book`.
    ln -sf /opt/mdbook/bin/mdbook /usr/local/bin/mdbook
    step "the book: $home/book" "Mend it, then: vagrant provision"
    as_user /opt/mdbook/bin/mdbook build --dest-dir "$home/book" "$workspace/book"
    serve
}

# Serves the book, after every start of the machine.
serve() {
    step "the book's server, port $port" "Once more: vagrant provision"
    put "$unit" <<END
[Unit]
Description=The workshop's book, on port $port

[Service]
User=$user
ExecStart=/usr/bin/python3 -m http.server --directory $home/book $port
Restart=on-failure

[Install]
WantedBy=multi-user.target
END
    if [ ! -d /run/systemd/system ]; then
        say "no systemd runs here, so nobody serves the book"
        return
    fi
    systemctl enable workshop-book
    if [ -n "$fresh" ]; then
        systemctl daemon-reload
        systemctl restart workshop-book
    fi
}

main
