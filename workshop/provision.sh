#!/bin/sh
# Turns a fresh Debian 13 into the workshop's machine. Vagrant runs this as root (see Vagrantfile).
# By hand: `sudo workshop/provision.sh USER WORKSPACE`, with DOCKER=1 to get Docker, too.
#
# Everything that needs the network happens here, so that the room needs none. You can run it again
# at any time: it does what is missing.
set -eu

user=${1:-vagrant}
workspace=${2:-/vagrant}
port=3000
profile=/etc/profile.d/workshop.sh

# Debian 13's Rust is 1.85, the oldest that the workspace builds with.
packages="ca-certificates cargo rustc gcc libc6-dev git"
# What the tests and the root filesystem need (.ci/run installs these, too). strace is for you, too.
for_tests="bash bubblewrap busybox-static curl gcc hostname libc6-dev mount patch procps strace sudo util-linux wget xz-utils zsh zstd"

# The tools' output goes to a file, and is shown only if something fails.
exec 3>&1 4>&2 </dev/null
log=$(mktemp)
exec >>"$log" 2>&1
trap 'end $?' EXIT

main() {
    step "checking the user $user and the workspace $workspace" \
        "Run it as root: workshop/provision.sh USER WORKSPACE"
    [ "$(id -u)" -eq 0 ] || { echo "not root"; exit 1; }
    home=$(getent passwd "$user" | cut -d: -f6)
    [ -n "$home" ] || { echo "no user $user"; exit 1; }
    [ -f "$workspace/Cargo.toml" ] || { echo "no Cargo.toml in $workspace"; exit 1; }

    step "packages" "Is there a network? Then run it again: vagrant provision"
    # shellcheck disable=SC2086 # words
    need $packages $for_tests python3-venv
    if [ "${DOCKER:-}" = 1 ]; then docker_too; fi

    step "the login shell" "Is the disk full?"
    login_shell

    step "fetching the crates" "Is there a network? Then run it again: vagrant provision"
    as_user cargo fetch --locked
    # Builds everything that the README tells you to run, just as cargo would build it then.
    step "building the steps and the tests (the longest part)" "Fix it, then: vagrant provision"
    as_user cargo build --locked --workspace --bins
    as_user cargo test --locked --no-run

    step "the root filesystem: $home/rootfs" "Make a new one: cargo workshop rootfs --force"
    as_user cargo workshop rootfs

    step "mdBook" "Is there a network? Then run it again: vagrant provision"
    # In the $PATH, for `cargo proof book`.
    ln -sf "$(sh "$workspace/proof/mdbook.sh" /opt/mdbook)" /usr/local/bin/mdbook
    step "the book: $home/book" "Fix it, then: vagrant provision"
    as_user /opt/mdbook/bin/mdbook build --dest-dir "$home/book" "$workspace/book"
    step "the book's server, port $port" "Run it again: vagrant provision"
    serve
    say "done: log in, and you are in $workspace"
}

# Prints a line of progress. If what follows fails, `$2` says what to do about it.
step() {
    doing=$1 advice=$2
    : >"$log"
    say "$doing"
}

say() { printf 'workshop: %s\n' "$*" >&3; }

# Called at the end, however it ends.
end() {
    if [ "$1" -ne 0 ]; then
        cat "$log" >&4
        printf '\nworkshop: failed at: %s\n' "$doing" >&4
        printf 'workshop: the lines above say why. %s\n' "$advice" >&4
    fi
    rm -f "$log"
}

# Runs a command in the workspace, as the user's own shell would.
as_user() {
    # shellcheck disable=SC2016 # the other shell expands it
    runuser -u "$user" -- env -C "$workspace" HOME="$home" USER="$user" LOGNAME="$user" \
        sh -c '. "$0" && exec "$@"' "$profile" "$@"
}

need() {
    if dpkg --status "$@" >/dev/null 2>&1; then return; fi
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "$@"
}

docker_too() {
    step "Docker, for the first demonstration" "Is there a network? If not, leave out DOCKER=1"
    need docker.io
    usermod -aG docker "$user"
    # Fetched now, because the room may have no network.
    if [ -d /run/systemd/system ]; then docker pull -q alpine; fi
}

# The login shell starts in the workspace.
login_shell() {
    cat >"$profile" <<END
# Written by workshop/provision.sh. The workspace may be a shared folder, which has no devices,
# owners, locks or symbolic links. So what is built from it is on the VM's own disk.
export CARGO_TARGET_DIR="\$HOME/target" ROOTFS="$home/rootfs"
# At a terminal, and for \`vagrant ssh -c COMMAND\`, which is \`bash -l -c COMMAND\`. Not for the
# commands of Vagrant itself, which it types into a \`bash -l\`.
if [ -t 0 ] || [ -n "\${BASH_EXECUTION_STRING:-}" ]; then
    if [ "\$PWD" = "\$HOME" ]; then cd "$workspace"; fi
fi
END
}

# Serves the book whenever the machine is running.
serve() {
    cat >/etc/systemd/system/workshop-book.service <<END
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
        say "there is no systemd here, so the book is not served"
        return
    fi
    systemctl daemon-reload
    systemctl enable workshop-book
    systemctl restart workshop-book
}

main
