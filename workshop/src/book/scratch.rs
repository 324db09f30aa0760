//! A workspace to play in, on a throw-away host: at the path of the real one, so that what cargo has
//! built is good for it, but whatever is changed or built in it is gone with the host.

use std::env;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};

use crate::built::{programs, rootfs};
use crate::checks::STEPS;

/// The workspace, as cargo calls it.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it is in a workspace").to_owned()
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    programs().parent().expect("it is in a profile's directory").to_owned()
}

/// Builds each program as `cargo run -p` would: built alone, its dependencies may have fewer
/// features. And the root filesystem. To be called before there are hosts, for it stays.
pub fn prepare() -> Result<()> {
    static BUILT: LazyLock<bool> = LazyLock::new(|| {
        STEPS.into_iter().chain(["workshop"]).all(|package| {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "--package", package]).current_dir(workspace());
            cargo.status().is_ok_and(|status| status.success())
        })
    });
    ensure!(*BUILT, "cargo build failed");
    ensure!(rootfs().is_dir(), "no root filesystem");
    Ok(())
}

/// What is not copied: what is built, and what is nobody's to play with.
const LEFT_OUT: &str = ".git .vagrant target rootfs rootfs.partial";

/// In a process on a throw-away host: puts the copy in the workspace's place, with `rootfs/` in it or
/// without, and makes `/tmp` empty.
pub fn move_in(with_rootfs: bool) -> Result<()> {
    let (workspace, target) = (workspace(), target());
    let home = PathBuf::from(env::var_os("HOME").unwrap_or("/root".into()));
    let of_cargo = [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")];
    let of_cargo =
        of_cargo.map(|(name, dir)| env::var_os(name).map_or(home.join(dir), PathBuf::from));
    // All of them may be in `/tmp`, so they are held by descriptors.
    let held = |path: &Path| {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        anyhow::Ok((file, path))
    };
    let hidden = of_cargo.into_iter().filter(|dir| dir.exists() && dir.starts_with("/tmp"));
    let hidden: Vec<_> =
        hidden.map(|dir| held(&dir).map(|held| (held, dir))).collect::<Result<_>>()?;
    let (_workspace, from) = held(&workspace)?;
    let (_target, built) = held(&target)?;
    let (_rootfs, made) = held(rootfs())?;

    new_tmp()?;
    // With its times, or cargo would build everything anew.
    let script = r#"mkdir /tmp/copy /tmp/built /tmp/work; cd "$1"; for name in * .[!.]*; do
        case " $4 " in *" $name "*) continue ;; esac
        [ "$name" -ef "$2" ] || cp -a "$name" /tmp/copy; done
        [ -z "$3" ] || cp -a "$3/." /tmp/copy/rootfs"#;
    let mut shell = Command::new("sh");
    shell.args(["-ec", script, "sh", &from, &built]);
    shell.arg(if with_rootfs { &made } else { "" }).arg(LEFT_OUT);
    ensure!(shell.status().context("start sh")?.success(), "the workspace could not be copied");
    let (_copy, copy) = held(Path::new("/tmp/copy"))?;
    let (_upper, upper) = held(Path::new("/tmp/built"))?;
    let (_work, work) = held(Path::new("/tmp/work"))?;

    new_tmp()?;
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    let places = hidden.iter().map(|((_, from), place)| (from.as_str(), place));
    for (from, place) in places.chain([(&*copy, &workspace)]) {
        fs::create_dir_all(place)?;
        mount(Some(from), place, None::<&str>, bind, None::<&str>)
            .with_context(|| format!("bind {}", place.display()))?;
    }
    fs::create_dir_all(&target)?;
    let layers = format!("lowerdir={built},upperdir={upper},workdir={work}");
    mount(Some("overlay"), &target, Some("overlay"), MsFlags::empty(), Some(&*layers))
        .context("mount an overlay on what is built")?;
    env::set_current_dir(&workspace).context("chdir to the workspace")
}

fn new_tmp() -> Result<()> {
    mount(Some("tmpfs"), "/tmp", Some("tmpfs"), MsFlags::empty(), Some("mode=1777"))
        .context("mount a tmpfs on /tmp")
}
