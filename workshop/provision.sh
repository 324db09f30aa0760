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

# Debian 13's Rust is 1.85, the oldest that the workspace builds with.
packages="ca-certificates cargo rustc gcc libc6-dev git"
# What the tests and the root filesystem need (.ci/run installs these, too); strace is for you as well.
for_tests="bash bubblewrap busybox-static curl gcc hostname libc6-dev mount patch procps strace sudo util-linux wget zsh"

# What the tools say is for the day they fail: until then it goes to a file.
exec 3>&1 4>&2 </dev/null
log=$(mktemp)
exec >>"$log" 2>&1
trap 'end $?' EXIT

main() {
    step "looking around: user $user, workspace $workspace" \
        "Usage, as root: workshop/provision.sh USER WORKSPACE"
    [ "$(id -u)" -eq 0 ] || { echo "not root"; exit 1; }
    home=$(getent passwd "$user" | cut -d: -f6)
    [ -n "$home" ] || { echo "no user $user"; exit 1; }
    [ -f "$workspace/Cargo.toml" ] || { echo "no Cargo.toml in $workspace"; exit 1; }

    step "packages" "Is there a network? Then once more: vagrant provision"
    # shellcheck disable=SC2086 # words
    need $packages $for_tests python3-venv
    if [ "${DOCKER:-}" = 1 ]; then docker_too; fi

    step "the login shell" "Is the disk full?"
    login_shell

    step "fetching what the workspace depends on" "Is there a network? Then: vagrant provision"
    as_user cargo fetch --locked
    # Everything that the README has you run, built as cargo would then build it.
    step "building the steps and the tests (the longest part)" "Mend it, then: vagrant provision"
    as_user cargo build --locked --workspace --bins
    as_user cargo test --locked --no-run

    step "the root filesystem: $home/rootfs" "Make it anew: cargo workshop rootfs --force"
    as_user cargo workshop rootfs

    step "mdBook" "Is there a network? Then once more: vagrant provision"
    # In the $PATH, for `cargo proof book`.
    ln -sf "$(sh "$workspace/proof/mdbook.sh" /opt/mdbook)" /usr/local/bin/mdbook
    step "the book: $home/book" "Mend it, then: vagrant provision"
    as_user /opt/mdbook/bin/mdbook build --dest-dir "$home/book" "$workspace/book"
    step "the book's server, port $port" "Once more: vagrant provision"
    serve
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

need() {
    if dpkg --status "$@" >/dev/null 2>&1; then return; fi
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "$@"
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
    cat >"$profile" <<END
# Written by workshop/provision.sh. The workspace may be a shared folder, which holds no devices,
# owners, locks or symbolic links: what is made from it is on the VM's own disk.
export CARGO_TARGET_DIR="\$HOME/target" ROOTFS="$home/rootfs"
# Where somebody types, and for \`vagrant ssh -c COMMAND\`, which is \`bash -l -c COMMAND\`. Vagrant's
# own commands, which it types into a \`bash -l\`, stay where they are.
if [ -t 0 ] || [ -n "\${BASH_EXECUTION_STRING:-}" ]; then
    if [ "\$PWD" = "\$HOME" ]; then cd "$workspace"; fi
fi
END
}

# Serves the book, after every start of the machine.
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
        say "no systemd runs here, so nobody serves the book"
        return
    fi
    systemctl daemon-reload
    systemctl enable workshop-book
    systemctl restart workshop-book
}

main
