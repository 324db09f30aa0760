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

use crate::programs::{programs, rootfs};
use workshop::machine;
use workshop::steps::STEPS;
use workshop::workspace::{cargo, workspace};

/// Where cargo builds.
pub fn target() -> PathBuf {
    programs().parent().expect("it is in a profile's directory").to_owned()
}

/// Builds each program as `cargo run -p` would: built alone, its dependencies may have fewer
/// features. And the root filesystem. To be called before there are hosts, for it stays.
pub fn prepare() -> Result<()> {
    static BUILT: LazyLock<bool> = LazyLock::new(|| {
        STEPS.iter().map(|step| step.name).chain(["workshop"]).all(|package| {
            let built = cargo("build").args(["--package", package]).status();
            built.is_ok_and(|status| status.success())
        })
    });
    ensure!(machine::is_vm() || *BUILT, "cargo build failed");
    ensure!(rootfs().is_dir(), "no root filesystem");
    Ok(())
}

/// In a process on a throw-away host: lays it over the real one, with a new `rootfs/` in it or
/// without, and makes `/tmp` empty.
pub fn move_in(with_rootfs: bool) -> Result<()> {
    let copy = if with_rootfs { r#"cp -a "$1/." rootfs"# } else { "" };
    if machine::is_vm() {
        // It is thrown away itself, has all that is built, and its kernel may have no overlay.
        return rootfs_by("mkdir -p rootfs; mount -t tmpfs tmpfs rootfs", copy, rootfs());
    }
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
    let (_workspace, original) = held(workspace)?;
    let (_target, built) = held(&target)?;
    let (_rootfs, made) = held(rootfs())?;

    new_tmp()?;
    let layers = ["/tmp/workspace", "/tmp/built"].map(|dir| {
        fs::create_dir(dir)?;
        ["upper", "work"].iter().try_for_each(|name| fs::create_dir(format!("{dir}/{name}")))?;
        held(Path::new(dir))
    });
    let [(_upper, upper), (_other, other)] = layers.map(|held| held.expect("a new directory"));

    new_tmp()?;
    for ((_, from), place) in &hidden {
        fs::create_dir_all(place)?;
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(&**from), place, None::<&str>, bind, None::<&str>)
            .with_context(|| format!("bind {}", place.display()))?;
    }
    for (place, lower, upper) in [(workspace, original, upper), (&*target, built, other)] {
        fs::create_dir_all(place)?;
        let layers = format!("lowerdir={lower},upperdir={upper}/upper,workdir={upper}/work");
        mount(Some("overlay"), place, Some("overlay"), MsFlags::empty(), Some(&*layers))
            .with_context(|| format!("mount an overlay on {}", place.display()))?;
    }
    // What is played with there is none of our business.
    rootfs_by("rm -rf rootfs rootfs.partial", copy, Path::new(&made))
}

/// Goes to the workspace, and makes its `rootfs/` there.
fn rootfs_by(place: &str, copy: &str, from: &Path) -> Result<()> {
    env::set_current_dir(workspace()).context("chdir to the workspace")?;
    let mut shell = Command::new("sh");
    shell.args(["-ec", &format!("{place}\n{copy}"), "sh"]).arg(from);
    ensure!(shell.status().context("start sh")?.success(), "no root filesystem");
    Ok(())
}

fn new_tmp() -> Result<()> {
    mount(Some("tmpfs"), "/tmp", Some("tmpfs"), MsFlags::empty(), Some("mode=1777"))
        .context("mount a tmpfs on /tmp")
}
