//! A workspace to play in, on a throw-away host: at the path of the real one, so that what cargo has
//! built is good for it, but whatever is changed or built in it is gone with the host.

use std::env;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use workshop::machine;
use workshop::workspace::workspace;

use crate::programs::{programs, rootfs};

/// Where cargo builds.
pub fn target() -> PathBuf {
    programs().parent().expect("it is in a profile's directory").to_owned()
}

/// A file or directory that is reached by its descriptor, whatever is mounted over it.
struct Held(File);

impl Held {
    fn new(path: &Path) -> Result<Held> {
        Ok(Held(File::open(path).with_context(|| format!("open {}", path.display()))?))
    }

    fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", process::id(), self.0.as_raw_fd()).into()
    }
}

/// In a case, on its throw-away host: lays a workspace over the real one, with a new `rootfs/` in it
/// or without, makes `/tmp` empty, and goes there. What it then starts is as a reader's.
pub fn move_in(with_rootfs: bool) -> Result<()> {
    let copy = if with_rootfs { r#"cp -a "$1/." rootfs"# } else { "" };
    if machine::is_vm() {
        // It is thrown away itself, has all that is built, and its kernel may have no overlay.
        return rootfs_by("mkdir -p rootfs; mount -t tmpfs tmpfs rootfs", copy, rootfs());
    }
    let (target, made) = (target(), Held::new(rootfs())?);
    let layers = [(workspace(), Held::new(workspace())?), (&target, Held::new(&target)?)];
    // Cargo's own directories may be in `/tmp`, too.
    let home = PathBuf::from(env::var_os("HOME").unwrap_or("/root".into()));
    let mut of_cargo = Vec::new();
    for (name, dir) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        let dir = env::var_os(name).map_or(home.join(dir), PathBuf::from);
        if dir.starts_with("/tmp") && dir.exists() {
            of_cargo.push((Held::new(&dir)?, dir));
        }
    }
    // What is written goes to a file system that cannot be seen afterwards.
    new_tmp()?;
    for name in ["0", "1"] {
        fs::create_dir_all(format!("/tmp/{name}/upper"))?;
        fs::create_dir(format!("/tmp/{name}/work"))?;
    }
    let written = Held::new(Path::new("/tmp"))?;
    new_tmp()?;
    for (held, place) in &of_cargo {
        fs::create_dir_all(place)?;
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(&held.path()), place, None::<&str>, bind, None::<&str>)
            .with_context(|| format!("bind {}", place.display()))?;
    }
    for (i, (place, below)) in layers.iter().enumerate() {
        fs::create_dir_all(place)?;
        let (below, above) = (below.path(), written.path().join(i.to_string()));
        let (below, above) = (below.display(), above.display());
        let layers = format!("lowerdir={below},upperdir={above}/upper,workdir={above}/work");
        mount(Some("overlay"), *place, Some("overlay"), MsFlags::empty(), Some(&*layers))
            .with_context(|| format!("mount an overlay on {}", place.display()))?;
    }
    // The root filesystem that is played with stays out of it.
    rootfs_by("rm -rf rootfs rootfs.partial", copy, &made.path())
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
