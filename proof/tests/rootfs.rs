//! `cargo workshop rootfs`, as a learner meets it. What it downloads comes from a server in here.

use std::env;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use proof::case::{self, Needs, case, here};
use proof::programs::program;
use workshop::temp::TempDir;

const NEEDS: Needs = Needs::NOTHING.with(&["busybox"]);

fn main() -> ExitCode {
    case::run(
        4,
        vec![
            here("busybox-becomes-a-linux-system", NEEDS, busybox_becomes_a_linux_system),
            here("a-busybox-that-does-not-fit", NEEDS, a_busybox_that_does_not_fit),
            here("what-is-there-stays", NEEDS, what_is_there_stays),
            here("what-we-did-not-make-stays", NEEDS, what_we_did_not_make_stays),
            here("runs-at-once", NEEDS, runs_at_once),
            here("a-tarball-or-a-directory", Needs::NOTHING, a_tarball_or_a_directory),
            here("a-debian-package", NEEDS.with(&["busybox", "dpkg-deb"]), a_debian_package),
            here("what-cannot-become-one", Needs::NOTHING, what_cannot_become_one),
            here("by-curl", Needs::NOTHING.with(&["curl"]), || downloads("curl")),
            here("by-wget", Needs::NOTHING.with(&["wget"]), || downloads("wget")),
            here("by-nothing", Needs::NOTHING, without_curl_and_wget),
            case("setuid", Needs::USER, setuid)
                .then(|said| Ok(assert_eq!(said, "755 of a user\n"))),
            case("mounted", Needs::USER.with(&["busybox"]), mounted),
            case("chroot", Needs::USER.with(&["busybox"]), || {
                Place::new()?
                    .sh("$rootfs --from busybox >&2; chroot rootfs /bin/sh -c 'id -un; ls /'")
            })
            .then(|said| {
                assert_eq!(said.replace('\n', " "), format!("root {DIRS} "));
                Ok(())
            }),
        ],
    )
}

const DIRS: &str = "bin dev etc home mnt proc root run sbin sys tmp usr var";

/// An empty directory, in which `rootfs` is made.
struct Place(TempDir);

impl Place {
    fn new() -> Result<Place> {
        Ok(Place(TempDir::new("check-")?))
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.path(path)).with_context(|| format!("read {path}"))
    }

    fn mode(&self, path: &str) -> Result<u32> {
        Ok(fs::metadata(self.path(path))?.permissions().mode() & 0o7777)
    }

    fn names(&self, path: &str) -> Result<String> {
        let entries = fs::read_dir(self.path(path))?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names.join(" "))
    }

    /// Writes an executable file.
    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path(path);
        fs::create_dir_all(path.parent().context("no parent")?)?;
        fs::write(&path, bytes)?;
        Ok(fs::set_permissions(&path, Permissions::from_mode(0o755))?)
    }

    /// What a shell says here, if it ends well. `$rootfs` makes one.
    fn sh(&self, script: &str) -> Result<String> {
        let rootfs = format!("{} rootfs --output rootfs", program("workshop").display());
        let mut shell = Command::new("sh");
        shell.args(["-ec", script]).env("rootfs", rootfs).current_dir(self.0.path());
        let output = shell.output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.status.success(), "{script}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("workshop"));
        command.args(["rootfs", "--output", "rootfs"]).args(args).current_dir(self.0.path());
        command.env("no_proxy", "*").env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// Makes one, and returns what it said.
    fn make(&self, args: &[&str]) -> Result<String> {
        let output = self.command(args).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.nothing_is_half_made()?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Fails to make one, and returns the one line that it says of that.
    fn fail(&self, command: &mut Command) -> Result<String> {
        let output = command.output()?;
        ensure!(!output.status.success(), "it made one");
        let said = String::from_utf8(output.stderr)?;
        let mut lines = said.lines().filter(|line| !line.starts_with("rootfs: "));
        let line = lines.next().context("it said nothing")?;
        ensure!(lines.next().is_none(), "it said more than a line: {said}");
        self.nothing_is_half_made()?;
        Ok(line.strip_prefix("workshop: ").context("who is that?")?.to_owned())
    }

    fn nothing_is_half_made(&self) -> Result<()> {
        ensure!(!self.path("rootfs.partial").exists(), "rootfs.partial is left");
        Ok(())
    }
}

fn busybox_becomes_a_linux_system() -> Result<()> {
    let place = Place::new()?;
    let said = place.sh("umask 077; $rootfs --from busybox")?;
    assert!(said.starts_with("rootfs: made from /"), "{said}");
    assert!(said.contains(" (BusyBox v") && said.ends_with(" applets)\n"), "{said}");
    assert_eq!(place.names("rootfs")?, DIRS);
    assert!(place.read("rootfs/etc/os-release")?.contains("\nPRETTY_NAME=\"BusyBox v"));
    assert!(place.read("rootfs/etc/passwd")?.starts_with("root:x:0:0:root:/root:/bin/sh\n"));
    let paths = ["", "usr/bin", "bin/busybox", "etc/passwd", "tmp", "var/tmp"];
    for (path, mode) in paths.iter().zip([0o755, 0o755, 0o755, 0o644, 0o1777, 0o1777]) {
        assert_eq!(place.mode(&format!("rootfs/{path}"))?, mode, "{path}, with umask 077");
    }
    let busybox = fs::canonicalize(place.path("rootfs/bin/busybox"))?;
    let mut links = 0;
    for dir in ["bin", "sbin", "usr/bin", "usr/sbin"] {
        for name in place.names(&format!("rootfs/{dir}"))?.split(' ') {
            let path = place.path(&format!("rootfs/{dir}/{name}"));
            let Ok(target) = fs::read_link(&path) else { continue };
            assert!(target.is_relative(), "{dir}/{name} leads to {}", target.display());
            assert_eq!(fs::canonicalize(path)?, busybox, "{dir}/{name}");
            links += 1;
        }
    }
    assert!(links > 100, "{links}");
    // Whatever its name, it is a busybox.
    place.sh("install -m 700 rootfs/bin/busybox bb")?;
    assert!(
        place.make(&["--force", "--from", "bb"])?.starts_with("rootfs: made from bb (BusyBox v")
    );
    assert_eq!(place.mode("rootfs/bin/busybox")?, 0o755);
    Ok(())
}

/// The headers of a program, and nothing after them (`man 5 elf`).
fn elf(e_machine: u8, p_type: u8) -> Vec<u8> {
    let mut elf = [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 113]].concat();
    // Among them: ET_EXEC, and one segment of 56 bytes, which stands at 64.
    let fields =
        [(16, 2), (18, e_machine), (20, 1), (32, 64), (52, 64), (54, 56), (56, 1), (64, p_type)];
    for (at, byte) in fields {
        elf[at] = byte;
    }
    elf
}

fn a_busybox_that_does_not_fit() -> Result<()> {
    const PT_LOAD: u8 = 1;
    const PT_INTERP: u8 = 3;
    let ours = fs::read("/proc/self/exe")?[18];
    for (why, bytes) in [
        ("bin/busybox is dynamically linked", elf(ours, PT_INTERP)),
        ("Exec format error (os error 8)", elf(0, PT_LOAD)),
        ("bin/busybox: it is cut short", elf(ours, PT_LOAD)[..40].to_vec()),
        ("bin/busybox: it is no program for this machine", b"#!/bin/sh\n".to_vec()),
    ] {
        let place = Place::new()?;
        place.write("bin/busybox", bytes)?;
        let line = place.fail(&mut place.command(&["--from", "bin/busybox"]))?;
        if why.starts_with("bin/busybox: it is no program") {
            assert!(line.starts_with("unpack "), "{line}");
        } else {
            assert!(line.ends_with(why), "{line}");
        }
        // A good one that comes later is taken.
        let path = format!("{}:{}", place.path("bin").display(), env::var("PATH")?);
        let output = place.command(&["--from", "busybox"]).env("PATH", path).output()?;
        let said = String::from_utf8(output.stdout)?;
        assert!(said.contains(" (BusyBox v") && !said.contains("check-"), "{said}");
    }
    Ok(())
}

fn what_is_there_stays() -> Result<()> {
    let place = Place::new()?;
    // What a killed run has left.
    place.write("rootfs.partial/new/bin/junk", "")?;
    fs::create_dir(place.path("rootfs"))?;
    place.make(&["--from", "busybox"])?;
    assert_eq!(place.names("rootfs")?, DIRS);
    place.write("rootfs/root/notes", "mine")?;
    let said = place.make(&[])?;
    assert!(said.starts_with("rootfs: is there, made from /"), "{said}");
    assert!(said.ends_with("; --force makes it anew\n"), "{said}");
    // Not before the new one is complete does it go.
    place.write("broken.tar", "no tarball")?;
    place.fail(&mut place.command(&["--force", "--from", "broken.tar"]))?;
    assert_eq!(place.read("rootfs/root/notes")?, "mine");
    place.make(&["--force"])?;
    assert_eq!(place.names("rootfs/root")?, "");
    Ok(())
}

fn what_we_did_not_make_stays() -> Result<()> {
    let place = Place::new()?;
    place.write("rootfs/bin/sh", "mine")?;
    for args in [&[][..], &["--force"]] {
        let line = place.fail(&mut place.command(args))?;
        assert!(line.contains("/rootfs is there, but was not made by `cargo workshop"), "{line}");
        assert_eq!(place.read("rootfs/bin/sh")?, "mine");
    }
    Ok(())
}

fn runs_at_once() -> Result<()> {
    let place = Place::new()?;
    for (args, makers) in [(&[][..], 1), (&["--force"][..], 6)] {
        let start = || place.command(args).stdout(Stdio::piped()).spawn();
        let runs = (0..6).map(|_| start()).collect::<Result<Vec<_>, _>>()?;
        let mut made = 0;
        for run in runs {
            let output = run.wait_with_output()?;
            assert!(output.status.success());
            made += usize::from(output.stdout.starts_with(b"rootfs: made from /"));
        }
        assert_eq!(made, makers);
        assert_eq!(place.names(".")?, "rootfs");
    }
    Ok(())
}

/// A small root filesystem.
const TREE: &str = "mkdir -p tree/bin tree/dev tree/usr/lib/dev
    install -d -m 1777 tree/tmp
    echo '#!/bin/true' > tree/bin/sh; chmod 755 tree/bin/sh
    ln -s /bin/sh tree/bin/absolute
    touch tree/dev/null tree/usr/lib/dev/kept tree/.hidden";

fn is_the_tree(place: &Place) -> Result<()> {
    assert_eq!(place.names("rootfs")?, ".hidden bin dev etc proc sys tmp usr");
    assert_eq!(place.read("rootfs/bin/sh")?, "#!/bin/true\n");
    assert_eq!(place.names("rootfs/usr/lib/dev")?, "kept");
    assert_eq!((place.mode("rootfs/bin/sh")?, place.mode("rootfs/tmp")?), (0o755, 0o1777));
    assert_eq!(fs::read_link(place.path("rootfs/bin/absolute"))?, Path::new("/bin/sh"));
    Ok(())
}

fn a_tarball_or_a_directory() -> Result<()> {
    // As `tar -c .` and as `docker export` name what is in it; and unpacked.
    let packed = ["tar -czf from -C tree .", "cd tree; tar -cf ../from .hidden *", "mv tree from"];
    for (pack, devices) in packed.iter().zip(["", "", "null"]) {
        let place = Place::new()?;
        place.sh(&format!("{TREE}\n{pack}"))?;
        assert_eq!(place.make(&["--from", "from"])?, "rootfs: made from from\n");
        is_the_tree(&place)?;
        assert_eq!(place.names("rootfs/dev")?, devices, "{pack}");
    }
    Ok(())
}

fn a_debian_package() -> Result<()> {
    let place = Place::new()?;
    let control = "Package: busybox\nVersion: 1\nArchitecture: all\nMaintainer: us <us@localhost>\n\
        Description: a busybox\n";
    place.write("package/DEBIAN/control", control)?;
    place.sh("$rootfs --from busybox
        mkdir -p package/usr/bin; mv rootfs/bin/busybox package/usr/bin/; rm -r rootfs
        dpkg-deb --build package busybox.deb")?;
    let said = place.make(&["--from", "busybox.deb"])?;
    assert!(said.starts_with("rootfs: made from busybox.deb (BusyBox v"), "{said}");
    assert_eq!(place.names("rootfs")?, DIRS);
    Ok(())
}

fn what_cannot_become_one() -> Result<()> {
    let place = Place::new()?;
    place.write("broken.tar", "no tarball")?;
    place.write("outside/file", "mine")?;
    place.write("tree/hello", "")?;
    symlink(place.path("outside"), place.path("tree/etc"))?;
    for (from, why) in [
        ("broken.tar", "/broken.tar: tar: This does not look like a tar archive"),
        ("missing.tar", "--from missing.tar, neither alpine nor busybox: No such file"),
        (".", "--from .: the copy would be in it"),
        // It would lead out, into this machine's own.
        ("tree", "create /etc in tree: File exists"),
    ] {
        let line = place.fail(&mut place.command(&["--from", from]))?;
        assert!(line.contains(why), "{line}");
    }
    let line = place.fail(Command::new(program("workshop")).args(["rootfs", "--output", "/"]))?;
    assert_eq!(line, "--output /: no place for a root filesystem");
    assert_eq!(place.names("outside")?, "file");
    place.sh("rm tree/etc; mkdir tree/etc; ln -s $PWD/outside/file tree/etc/rootfs-origin")?;
    place.make(&["--from", "tree"])?;
    assert_eq!(place.read("outside/file")?, "mine");
    Ok(())
}

/// Makes a root filesystem of what a server on this machine answers: its first line, the length that
/// it promises, and the bytes that it sends. By programs in `bin` alone.
fn downloaded(place: &Place, answer: (&str, usize, &[u8])) -> Result<Command> {
    let (status, length, bytes) = answer;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/tree.tar.gz", listener.local_addr()?);
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let answer = [head.as_bytes(), bytes].concat();
    thread::spawn(move || {
        // wget asks a second time if the answer was cut.
        for stream in listener.incoming().flatten() {
            let request = BufReader::new(&stream).lines().map_while(Result::ok);
            request.take_while(|line| !line.is_empty()).for_each(drop);
            let _ = (&stream).write_all(&answer);
        }
    });
    let sum = place.sh("sha256sum < tree.tar.gz")?;
    let sum = sum.split(' ').next().unwrap_or_default();
    let mut command = place.command(&["--from", "alpine", "--download", &url, sum]);
    command.env("PATH", place.path("bin"));
    Ok(command)
}

fn downloads(by: &str) -> Result<()> {
    let place = Place::new()?;
    place.sh(&format!(
        "{TREE}; tar -czf tree.tar.gz -C tree .; rm -r tree; mkdir bin
        for name in sha256sum tar gzip chmod {by}; do ln -s $(command -v $name) bin; done"
    ))?;
    let file = fs::read(place.path("tree.tar.gz"))?;
    let page = b"<html>Your room number, please";
    for (answer, why) in [
        (("404 Not Found", 0, &[][..]), "404"),
        (("200 OK", page.len(), page), "its sha256 is wrong"),
        (("200 OK", file.len(), &file[..100]), ""),
    ] {
        let line = place.fail(&mut downloaded(&place, answer)?)?;
        assert!(line.starts_with("download http://127.0.0.1:") && line.contains(why), "{line}");
        assert_eq!(place.names(".")?, "bin tree.tar.gz", "{line}");
    }
    let output = downloaded(&place, ("200 OK", file.len(), &file))?.output()?;
    let said = String::from_utf8(output.stdout)?;
    assert_eq!(
        said,
        "rootfs: made from tree.tar.gz\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    is_the_tree(&place)
}

fn without_curl_and_wget() -> Result<()> {
    let place = Place::new()?;
    let mut command = place.command(&["--from", "alpine"]);
    let line = place.fail(command.env("PATH", place.path("empty")))?;
    assert!(line.ends_with("neither curl nor wget is installed"), "{line}");
    Ok(())
}

/// In a user namespace the files of a tarball are not root's, whatever it looks like there.
fn setuid() -> Result<String> {
    Place::new()?.sh("mkdir -p tree/bin; touch tree/bin/su; chmod 4755 tree/bin/su
        tar -cf tree.tar -C tree .
        unshare -Ur $rootfs --from tree.tar >&2
        stat -c '%a of a user' rootfs/bin/su")
}

fn mounted() -> Result<String> {
    let said = Place::new()?.sh("mkdir host; echo precious > host/file
        $rootfs --from busybox >&2
        mkdir -p rootfs.partial/old/dev
        for place in rootfs.partial/old/dev rootfs/dev; do
            mount --bind host $place
            if $rootfs --force > said 2>&1; then echo it went well; fi
            sed \"s:$PWD/::g\" said
            umount $place
        done
        cat host/file")?;
    let error = |path| format!("workshop: something is mounted on {path}: sudo umount -R {path}\n");
    let expected = ["rootfs.partial/old/dev", "rootfs/dev"].map(error).concat() + "precious\n";
    assert_eq!(said, expected);
    Ok(said)
}
