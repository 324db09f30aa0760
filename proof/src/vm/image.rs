//! The guest's disk, an initramfs. It holds the tests and the programs that they use, each with its
//! libraries and at the same path as here, and busybox for everything else.

use std::env;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use workshop::checks;
use workshop::steps::{LAST, STEPS};
use workshop::temp::TempDir;
use workshop::workspace::{cargo, workspace};

use super::{Args, Cgroups};
use crate::programs::output;

/// What busybox does not have, or not as the tests need it.
const TOOLS: &[&str] = &[
    "bash", "dd", "env", "hostname", "id", "losetup", "mount", "nft", "ps", "setpriv", "setsid",
    "sh", "strace", "timeout", "umount", "unshare",
];

/// The test programs for the guest and their users. Everything has run outside already, so these
/// are only the tests that depend on the machine. With version 1, which belongs to root, only root
/// runs them.
const RUNS: [(&str, &[u32]); 5] = [
    ("transcripts", &[1000, 0]),
    ("machines", &[0]),
    ("syscalls", &[0]),
    ("blocks", &[0]),
    ("checks", &[0]),
];

/// Which cases of a test program to run, if not all: the pages, the checks that came with cgroups,
/// and the check for leftovers.
fn cases(test: &str) -> String {
    match test {
        "blocks" => "page::".to_owned(),
        "checks" => {
            let mut cases = format!("{}::leaves-nothing", LAST.name);
            for check in checks::all().filter(|check| STEPS[check.from - 1].root) {
                cases += &format!(" {}::{}", LAST.name, check.id);
            }
            cases
        }
        _ => String::new(),
    }
}

/// What the tests read in the workspace.
const FILES: [&str; 5] =
    ["README.md", "book/src", "book/recorded", "book/exercises", "proof/tests/snapshots"];

/// The kernel starts this. pivot_root(2) cannot leave the initramfs itself, so the guest's `/` is a
/// directory in it that is moved on top.
const INIT: &str = "#!/machine/bin/busybox sh
cd /machine
bin/busybox mount --bind . . && cd /machine && bin/busybox mount --move . / &&
exec bin/busybox chroot . /sbin/init
";

/// Stand-ins for programs that the pages call: everything is built, and root types the commands.
const STAND_INS: [(&str, &str); 2] = [
    ("usr/bin/sudo", "#!/bin/sh\n[ \"$1\" = -v ] || exec \"$@\"\n"),
    ("usr/bin/cargo", include_str!("cargo.sh")),
];

const USERS: &str = "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n";

/// Makes the image from a directory, if `--machine` names one, otherwise from our own guest.
pub fn make(cache: &Path, args: &Args) -> Result<File> {
    let place = TempDir::below(cache, "image-")?;
    let image = Image(place.path().join("machine"));
    match &args.machine {
        Some(machine) => drop(output(Command::new("cp").arg("-a").arg(machine).arg(&image.0))?),
        None => guest(&image, cache, args)?,
    }
    fs::write(place.path().join("init"), INIT)?;
    fs::set_permissions(place.path().join("init"), Permissions::from_mode(0o755))?;
    // Removing its directory leaves the open file without a name, so it disappears when we end.
    let file = File::create_new(place.path().join("image"))?;
    let pack = "find init machine | busybox cpio -o -H newc -R 0:0 > image";
    output(Command::new("sh").args(["-c", pack]).current_dir(place.path()))?;
    Ok(file)
}

fn guest(image: &Image, cache: &Path, args: &Args) -> Result<()> {
    let workspace = fs::canonicalize(workspace())?;
    let built = built()?;
    let busybox = found("busybox").context("busybox: sudo apt-get install busybox-static")?;
    image.put("bin/busybox", 0o755, &fs::read(busybox)?)?;
    for tool in TOOLS {
        let from = found(tool).with_context(|| format!("{tool} is not in $PATH"))?;
        image.program(&from, &Path::new("/usr/bin").join(tool))?;
    }
    symlink("/usr/bin/sh", image.0.join("bin/sh"))?;
    for (_, program) in &built {
        image.program(program, program)?;
    }
    for name in FILES {
        let to = image.at(workspace.join(name));
        fs::create_dir_all(to.parent().context("no parent")?)?;
        output(Command::new("cp").arg("-r").arg(workspace.join(name)).arg(to))?;
    }
    for (path, script) in STAND_INS {
        image.put(path, 0o755, script.as_bytes())?;
    }
    if args.kernel.is_none() {
        output(Command::new("cp").arg("-r").arg(cache.join("modules")).arg(&image.0))?;
    }
    image.put("sbin/init", 0o755, include_bytes!("guest.sh"))?;
    image.put("etc/passwd", 0o644, USERS.as_bytes())?;
    image.put("etc/runs", 0o644, runs(&built, args).as_bytes())?;
    let program = built.iter().find(|(test, _)| test.is_none()).context("no program")?;
    let settings = format!(
        "cgroups={}\nshell={}\nworkspace='{}'\nprograms='{}'\n",
        if args.cgroups == Cgroups::V1 { "v1" } else { "v2" },
        args.shell,
        workspace.display(),
        program.1.parent().context("no directory")?.display(),
    );
    image.put("etc/settings", 0o644, settings.as_bytes())
}

/// Builds the tests for the guest and the workspace's programs. Tests have names here, and programs
/// have none.
fn built() -> Result<Vec<(Option<String>, PathBuf)>> {
    let mut tests = cargo("test");
    tests.args(["--workspace", "--no-run", "--message-format=json"]);
    for (test, _) in RUNS {
        tests.args(["--test", test]);
    }
    let mut programs = cargo("build");
    programs.args(["--workspace", "--bins", "--message-format=json"]);
    let messages = [output(&mut tests)?, output(&mut programs)?].concat();
    let mut built = Vec::new();
    for line in String::from_utf8_lossy(&messages).lines() {
        let message: Value = serde_json::from_str(line)?;
        let Some(path) = message["executable"].as_str() else { continue };
        let target = &message["target"];
        let is_test = target["kind"][0] == "test";
        let test = target["name"].as_str().filter(|_| is_test).map(str::to_owned);
        built.push((test, PathBuf::from(path)));
    }
    built.sort();
    built.dedup();
    Ok(built)
}

/// What the guest runs, a line each: a user, a test program and the cases.
fn runs(built: &[(Option<String>, PathBuf)], args: &Args) -> String {
    let mut lines = String::new();
    let v1 = args.cgroups == Cgroups::V1;
    for user in if v1 { &[0][..] } else { &[1000, 0] } {
        for (test, users) in RUNS {
            for (name, program) in built {
                if users.contains(user) && name.as_deref() == Some(test) {
                    let cases = args.filter.clone().unwrap_or_else(|| cases(test));
                    lines += &format!("{user} {} {cases}\n", program.display());
                }
            }
        }
    }
    lines
}

/// The program of this name, in $PATH or in root's directories.
fn found(name: &str) -> Option<PathBuf> {
    let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// The guest's `/` while it is being made.
struct Image(PathBuf);

impl Image {
    /// Where a path of the guest is on this machine.
    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Adds a program without its debug information, and the libraries that it needs.
    fn program(&self, from: &Path, to: &Path) -> Result<()> {
        self.put(to, 0o755, &fs::read(from).with_context(|| format!("read {}", from.display()))?)?;
        // Both fail for scripts. ldd fails for static programs, too.
        let _ = output(Command::new("strip").arg(self.at(to)));
        let libraries = output(Command::new("ldd").arg(from)).unwrap_or_default();
        for word in String::from_utf8_lossy(&libraries).split_whitespace() {
            if word.starts_with('/') && !self.at(word).exists() {
                self.put(word, 0o755, &fs::read(word).with_context(|| format!("read {word}"))?)?;
            }
        }
        Ok(())
    }

    /// Adds a file.
    fn put(&self, path: impl AsRef<Path>, mode: u32, content: &[u8]) -> Result<()> {
        let path = self.at(path);
        fs::create_dir_all(path.parent().context("no parent")?)?;
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        Ok(())
    }
}
