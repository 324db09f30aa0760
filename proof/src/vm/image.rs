//! The guest's disk, an initramfs: the tests, the steps and the tools that they use, each with its
//! libraries and at the same path as here, and busybox for all the rest.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cpio::newc::{self, ModeFileType};
use serde_json::Value;
use workshop::temp::TempDir;
use workshop::workspace::{cargo, workspace};

use super::{Settings, output};

/// What busybox has not, or not as the checks need it.
const TOOLS: &[&str] = &[
    "sh", "bash", "env", "hostname", "id", "mount", "ps", "setpriv", "setsid", "strace", "umount",
    "unshare",
];

/// Where the guest's `/` is in the initramfs, which itself cannot be left by pivot_root(2).
const ROOT: &str = "machine";

/// The tests of what depends on the machine.
const TESTS: [&str; 5] = ["machines", "transcripts", "blocks", "syscalls", "checks"];

/// What the kernel starts: puts `/machine` on top of the initramfs, and goes on there.
const INIT: &str = "#!/machine/bin/busybox sh
cd /machine
bin/busybox mount --bind . . && cd /machine && bin/busybox mount --move . / &&
exec bin/busybox chroot . /usr/bin/sh /etc/guest.sh
";

/// What the pages call, and is not needed there: all is built, and who types is root.
const STAND_INS: [(&str, &str); 2] =
    [("/usr/bin/sudo", "#!/bin/sh\nexec \"$@\"\n"), ("/usr/bin/cargo", include_str!("cargo.sh"))];

const USERS: &str = "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n";

/// Makes the image: a file without a name, so that it goes however we end.
pub fn make(cache: &Path, settings: &Settings) -> Result<File> {
    let workspace = fs::canonicalize(workspace())?;
    let programs = programs()?;
    let place = TempDir::below(cache, "image-")?;
    let file = File::create_new(place.path().join("image"))?;
    let mut image = Image { archive: BufWriter::new(file.try_clone()?), there: BTreeSet::new() };
    image.file(Path::new("init"), 0o755, INIT.as_bytes())?;

    let busybox = found("busybox").context("busybox: sudo apt-get install busybox-static")?;
    image.put("/bin/busybox", 0o755, &fs::read(busybox)?)?;
    for tool in TOOLS {
        let from = found(tool).with_context(|| format!("{tool} is not in $PATH"))?;
        image.program(&from, &Path::new("/usr/bin").join(tool))?;
    }
    image.link("/bin/sh", "/usr/bin/sh")?;
    for (_, program) in &programs {
        image.program(program, program)?;
    }
    for member in fs::read_dir(&workspace)?.flatten() {
        let snapshots = fs::read_dir(member.path().join("tests/snapshots"));
        for snapshot in snapshots.into_iter().flatten().flatten() {
            image.put(snapshot.path(), 0o644, &fs::read(snapshot.path())?)?;
        }
    }
    for file in pages(&workspace)? {
        image.put(&file, 0o644, &fs::read(&file)?)?;
    }
    for (path, script) in STAND_INS {
        image.put(path, 0o755, script.as_bytes())?;
    }
    image.put("/etc/guest.sh", 0o644, include_bytes!("guest.sh"))?;
    image.put("/etc/passwd", 0o644, USERS.as_bytes())?;
    image.put("/etc/settings", 0o644, variables(&workspace, &programs, settings).as_bytes())?;
    image.close()?;
    Ok(file)
}

/// The programs of the workspace, by name, and its tests that are for the guest, all built.
fn programs() -> Result<Vec<(String, PathBuf)>> {
    let mut build = cargo("test");
    let messages = output(build.args(["--workspace", "--no-run", "--message-format=json"]))?;
    let built = String::from_utf8_lossy(&messages);
    let built = built.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let path = PathBuf::from(message["executable"].as_str()?);
        let name = message["target"]["name"].as_str()?;
        let wanted = match message["target"]["kind"][0].as_str()? {
            "test" => TESTS.contains(&name),
            "bin" => message["profile"]["test"] == false,
            _ => false,
        };
        wanted.then(|| (name.to_owned(), path))
    });
    let mut built: Vec<_> = built.collect();
    built.sort_by_key(|(_, path)| path.clone());
    ensure!(!built.is_empty(), "cargo has built nothing");
    Ok(built)
}

/// The pages that have one type something, and the tests of their exercises.
fn pages(workspace: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![workspace.join("README.md")];
    for page in fs::read_dir(workspace.join("book/src")).context("read book/src")?.flatten() {
        files.push(page.path());
    }
    for exercise in fs::read_dir(workspace.join("book/exercises"))?.flatten() {
        files.push(exercise.path().join("test.sh"));
    }
    files.retain(|file| file.is_file());
    Ok(files)
}

/// What `guest.sh` reads first.
fn variables(workspace: &Path, programs: &[(String, PathBuf)], settings: &Settings) -> String {
    let tests = |wanted: &str| -> String {
        let tests = programs.iter().filter(|(name, _)| name == wanted);
        tests.map(|(_, path)| format!("{} ", path.display())).collect()
    };
    let steps = programs.iter().find(|(name, _)| name == "workshop");
    let steps = steps.and_then(|(_, path)| path.parent()).unwrap_or(Path::new("/"));
    format!(
        "cgroups={}\nshell={}\nfilter='{}'\nworkspace='{}'\nsteps='{}'\ntests='{}'\n",
        settings.cgroups,
        settings.shell,
        settings.filter.replace('\'', r"'\''"),
        workspace.display(),
        steps.display(),
        TESTS.map(tests).concat(),
    )
}

/// The program of that name in $PATH, or where root has more of them.
fn found(name: &str) -> Option<PathBuf> {
    let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// An initramfs in the making.
struct Image {
    archive: BufWriter<File>,
    /// The paths in it.
    there: BTreeSet<PathBuf>,
}

impl Image {
    /// Puts a program in, without what is in it for debuggers, and the libraries that it needs.
    fn program(&mut self, from: &Path, to: &Path) -> Result<()> {
        let place = TempDir::new("strip-")?;
        let stripped = place.path().join("stripped");
        let strip = output(Command::new("strip").arg("-o").arg(&stripped).arg(from));
        let from = if strip.is_ok() { &stripped } else { from };
        self.put(to, 0o755, &fs::read(from).with_context(|| format!("read {}", from.display()))?)?;
        // It fails for what is linked statically.
        let libraries = output(Command::new("ldd").arg(from)).unwrap_or_default();
        for word in String::from_utf8_lossy(&libraries).split_whitespace() {
            if word.starts_with('/') {
                self.put(word, 0o755, &fs::read(word).with_context(|| format!("read {word}"))?)?;
            }
        }
        Ok(())
    }

    /// Puts a file in the guest's `/`, if it is not there yet.
    fn put(&mut self, path: impl AsRef<Path>, mode: u32, content: &[u8]) -> Result<()> {
        let path = Path::new(ROOT).join(path.as_ref().strip_prefix("/")?);
        if self.there.contains(&path) {
            return Ok(());
        }
        self.file(&path, mode, content)
    }

    /// Puts a symlink there.
    fn link(&mut self, path: &str, target: &str) -> Result<()> {
        let path = Path::new(ROOT).join(path.trim_start_matches('/'));
        self.entry(&path, ModeFileType::Symlink, 0o777, target.as_bytes())
    }

    fn file(&mut self, path: &Path, mode: u32, content: &[u8]) -> Result<()> {
        self.entry(path, ModeFileType::Regular, mode, content)
    }

    /// Writes one entry, after the directories that it is in.
    fn entry(&mut self, path: &Path, kind: ModeFileType, mode: u32, data: &[u8]) -> Result<()> {
        let parent = path.parent().filter(|parent| *parent != Path::new(""));
        if let Some(parent) = parent.filter(|parent| !self.there.contains(*parent)) {
            self.entry(parent, ModeFileType::Directory, 0o755, b"")?;
        }
        let name = path.to_str().with_context(|| format!("{path:?} is not UTF-8"))?;
        let entry = newc::Builder::new(name).mode(mode).set_mode_file_type(kind);
        let mut entry =
            entry.ino(self.there.len() as u32 + 1).write(&mut self.archive, data.len() as u32);
        entry.write_all(data)?;
        entry.finish()?;
        self.there.insert(path.to_owned());
        Ok(())
    }

    fn close(self) -> Result<()> {
        newc::trailer(self.archive)?.flush().context("write the image")
    }
}
