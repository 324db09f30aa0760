//! A workspace to play in, on a throw-away host: at the path of the real one, so that what cargo has
//! built is good for it, but whatever is changed or built in it is gone with the host.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use workshop::machine;
use workshop::workspace::workspace;

use crate::programs::{programs, rootfs};

/// Where cargo builds.
pub fn target() -> PathBuf {
    programs().parent().expect("it is in a profile's directory").to_owned()
}

/// Lays file systems over the workspace `$1`, over where cargo builds (`$2`), over `/tmp` and over the
/// home directory. Any of them may be in another, and cargo's own directories in the last two: what is
/// covered is reached by its descriptor. What is written goes to a tmpfs that is covered, too.
const LAY_OVER: &str = r#"
home=${HOME:-/root}
cargo=${CARGO_HOME:-$home/.cargo} rustup=${RUSTUP_HOME:-$home/.rustup}
exec 3<"$1" 4<"$2" 5<"$3"
[ ! -d "$cargo" ] || exec 6<"$cargo"
[ ! -d "$rustup" ] || exec 7<"$rustup"
fd=/proc/$$/fd
mount -t tmpfs tmpfs /tmp
mkdir -p /tmp/3/upper /tmp/3/work /tmp/4/upper /tmp/4/work
exec 8</tmp
mount -t tmpfs -o mode=1777 tmpfs /tmp
[ "$home" = / ] || { mkdir -p "$home"; mount -t tmpfs -o mode=755 tmpfs "$home"; }
bind() {
    case $1 in
    /tmp/* | "$home"/*) [ ! -e $fd/$2 ] || { mkdir -p "$1"; mount --no-canonicalize --rbind $fd/$2 "$1"; } ;;
    esac
}
bind "$cargo" 6
bind "$rustup" 7
over() {
    mkdir -p "$1"
    layers=lowerdir=$fd/$2,upperdir=$fd/8/$2/upper,workdir=$fd/8/$2/work
    mount --no-canonicalize -t overlay -o "$layers" overlay "$1"
}
over "$1" 3
over "$2" 4
cd "$1"
rm -rf rootfs rootfs.partial
[ -z "$4" ] || cp -a $fd/5/. rootfs
"#;

/// In a case, on its throw-away host: lays a workspace over the real one, with a new `rootfs/` in it
/// or without, makes `/tmp` and `~` empty, and goes there. What it then starts is as a reader's.
pub fn move_in(with_rootfs: bool) -> Result<()> {
    // A VM is thrown away itself, has all that is built, and its kernel may have no overlay.
    let in_vm = r#"cd "$1"; mkdir -p rootfs; mount -t tmpfs tmpfs rootfs
        [ -z "$4" ] || cp -a "$3/." rootfs"#;
    let script = if machine::is_vm() { in_vm } else { LAY_OVER };
    let mut shell = Command::new("sh");
    shell.args(["-ec", script, "sh"]).args([workspace(), &target(), rootfs()]);
    shell.arg(if with_rootfs { "with" } else { "" });
    ensure!(shell.status().context("start sh")?.success(), "no workspace to play in");
    // The one that lies over it.
    env::set_current_dir(workspace()).context("chdir to the workspace")
}

/// Lets an ordinary user, uid 1000, in: to read what cargo needs, which may be in root's closed home
/// directory, and to write where it builds. `rootfs` becomes that user's.
const LET_USER_IN: &str = r#"
cargo=${CARGO_HOME:-${HOME:-/root}/.cargo} rustup=${RUSTUP_HOME:-${HOME:-/root}/.rustup}
home=${HOME:-/root}
enters() { setpriv --reuid 1000 --regid 1000 --clear-groups test -x "$1"; }
exec 3<"$1" 4<"$2"
[ ! -d "$cargo" ] || exec 5<"$cargo"
[ ! -d "$rustup" ] || exec 6<"$rustup"
fd=/proc/$$/fd
bind() {
    case $1 in
    "$home"/*) [ ! -e $fd/$2 ] || { mkdir -p "$1"; mount --no-canonicalize --rbind $fd/$2 "$1"; } ;;
    esac
}
if ! enters "$home"; then
    mount -t tmpfs -o mode=755 tmpfs "$home"
    bind "$1" 3
    bind "$2" 4
    bind "$cargo" 5
    bind "$rustup" 6
fi
cd "$1"
chown -R 1000:1000 rootfs
find "$2" -type d -exec chmod a+rwx {} +
find "$2" -maxdepth 2 \( -name .cargo-lock -o -name '*.d' \) -type f -exec chmod a+rw {} +
enters "$1" && enters "$2"
"#;

/// After `move_in`: makes all of that an ordinary user's, too.
pub fn let_user_in() -> Result<()> {
    let mut shell = Command::new("sh");
    shell.args(["-ec", LET_USER_IN, "sh"]).args([workspace(), &target()]);
    ensure!(shell.status().context("start sh")?.success(), "no user can get into the workspace");
    env::set_current_dir(workspace()).context("chdir to the workspace")
}

/// What a reader of an ordinary network does not need: mmdebstrap takes the mirror that this machine's
/// apt takes (if it is a Debian; else mmdebstrap knows one), and its settings are the new system's, too.
const OUR_MIRROR: &str = r#"
real=$(command -v mmdebstrap)
mkdir ~/.mirror
cp "$real" ~/.mirror/mmdebstrap
apt-config dump | grep -E '^Acquire::(https?::|Check-)' > ~/.mirror/settings || true
[ -z "${http_proxy:-}" ] || echo "Acquire::http::Proxy \"$http_proxy\";" >> ~/.mirror/settings
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 'Identifier: Packages' | sort -u | head -n 1)
cat > ~/.mirror/instead <<END
#!/bin/sh
exec ~/.mirror/mmdebstrap --aptopt="$HOME/.mirror/settings" "\$@" $mirror
END
chmod 755 ~/.mirror/instead
mount --bind ~/.mirror/instead "$real"
"#;

/// After `move_in`: what is typed may use mmdebstrap.
pub fn with_our_mirror() -> Result<()> {
    let made = Command::new("sh").args(["-ec", OUR_MIRROR]).status().context("start sh")?;
    ensure!(made.success(), "no mirror for mmdebstrap");
    Ok(())
}
