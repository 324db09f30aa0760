//! `cargo workshop rootfs`, as a learner meets it. What it downloads comes from a server in the
//! test. A static busybox has to be installed (Debian and Ubuntu: busybox-static).

use std::env::consts::ARCH;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// This machine's number in an ELF header, and the other machine with its own.
const MACHINE: u8 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
const OTHER: (&str, u8) =
    if cfg!(target_arch = "x86_64") { ("aarch64", 183) } else { ("x86_64", 62) };

/// What a run said, and whether it went well.
struct Said {
    ok: bool,
    out: String,
    err: String,
}

impl Said {
    fn by(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let [out, err] =
            [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
        Self { ok: output.status.success(), out, err }
    }
}

/// An empty folder to work in, with the downloads below it too.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap().permissions().mode() & 0o7777
    }

    /// Writes an executable file.
    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    /// `cargo workshop rootfs --output OUTPUT` here.
    fn command_to(&self, output: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
        command.args(["rootfs", "--output", output]).args(args).current_dir(&self.0);
        command.env("CARGO_TARGET_DIR", self.path("target")).env("LC_ALL", "C");
        for proxy in ["all_proxy", "http_proxy", "https_proxy"] {
            command.env_remove(proxy).env_remove(proxy.to_uppercase());
        }
        command
    }

    fn command(&self, args: &[&str]) -> Command {
        self.command_to("rootfs", args)
    }

    /// Runs what has to go well, and returns what it said.
    #[track_caller]
    fn run(&self, args: &[&str]) -> Said {
        let said = Said::by(&mut self.command(args));
        assert!(said.ok, "{}", said.err);
        said
    }

    /// Runs what has to fail, and returns its one line.
    #[track_caller]
    fn fail(&self, command: &mut Command) -> String {
        let said = Said::by(command);
        assert!(!said.ok, "it went well: {}", said.out);
        let errors: Vec<_> =
            said.err.lines().filter(|line| !line.starts_with("rootfs: downloading ")).collect();
        assert_eq!(errors.len(), 1, "{}", said.err);
        self.is_clean();
        errors[0].strip_prefix("workshop: ").unwrap().to_owned()
    }

    /// Nothing half-made is here.
    #[track_caller]
    fn is_clean(&self) {
        let names = self.names(".");
        assert!(!names.iter().any(|name| name.ends_with(".partial")), "{names:?}");
    }
}

/// The headers of a program, and nothing after them, elf(5).
fn program(machine: u8, dynamic: bool) -> Vec<u8> {
    let mut elf = [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 113]].concat();
    elf[16] = 2; // e_type: ET_EXEC
    elf[18] = machine; // e_machine
    elf[20] = 1; // e_version
    elf[32] = 64; // e_phoff
    elf[52] = 64; // e_ehsize
    elf[54] = 56; // e_phentsize
    elf[56] = 1; // e_phnum
    elf[64] = if dynamic { 3 } else { 1 }; // p_type: PT_INTERP or PT_LOAD
    elf
}

// From a busybox.

#[test]
fn busybox_becomes_a_linux_system() {
    let dir = Folder::new();
    let said = dir.run(&["--from", "busybox"]);
    assert!(said.out.starts_with("rootfs: made from /"), "{}", said.out);
    assert!(said.out.contains(" (BusyBox v"), "{}", said.out);
    assert!(said.out.contains(" applets), "), "{}", said.out);
    assert!(said.out.ends_with(" MB\n"), "{}", said.out);
    assert_eq!(said.err, "");
    let names = dir.names("rootfs").join(" ");
    assert_eq!(names, "bin dev etc home mnt proc root run sbin sys tmp usr var");
    for name in ["dev", "proc", "sys"] {
        assert!(dir.names(&format!("rootfs/{name}")).is_empty(), "/{name} is not empty");
    }
    let release = dir.read("rootfs/etc/os-release");
    assert!(release.starts_with("NAME=BusyBox\nID=busybox\nPRETTY_NAME=\"BusyBox v"), "{release}");
    assert!(dir.read("rootfs/etc/passwd").starts_with("root:x:0:0:root:/root:/bin/sh\nnobody:x:"));
    assert_eq!(dir.read("rootfs/etc/hostname"), "rootfs\n");
    dir.is_clean();
}

#[test]
fn applets_are_relative_links_to_busybox() {
    let dir = Folder::new();
    dir.run(&["--from", "busybox"]);
    let busybox = fs::canonicalize(dir.path("rootfs/bin/busybox")).unwrap();
    let mut links = 0;
    for place in ["bin", "sbin", "usr/bin", "usr/sbin"] {
        for name in dir.names(&format!("rootfs/{place}")) {
            let path = dir.path(&format!("rootfs/{place}/{name}"));
            let Ok(target) = fs::read_link(&path) else { continue };
            assert!(target.is_relative(), "{place}/{name} -> {}", target.display());
            assert_eq!(fs::canonicalize(path).unwrap(), busybox, "{place}/{name}");
            links += 1;
        }
    }
    assert!(links > 100, "{links}");
    let said = Said::by(Command::new(dir.path("rootfs/bin/sh")).args(["-c", "echo hi"]));
    assert_eq!(said.out, "hi\n");
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    for umask in ["000", "077"] {
        let dir = Folder::new();
        let workshop = dir.command(&["--from", "busybox"]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]);
        shell.arg(workshop.get_program()).args(workshop.get_args()).current_dir(dir.path("."));
        assert!(Said::by(&mut shell).ok);
        let paths = ["", "usr/bin", "bin/busybox", "etc/passwd", "tmp", "var/tmp"];
        let modes = paths.map(|path| dir.mode(&format!("rootfs/{path}")));
        assert_eq!(modes, [0o755, 0o755, 0o755, 0o644, 0o1777, 0o1777], "with umask {umask}");
    }
}

#[test]
fn a_busybox_that_does_not_fit_is_passed_over_and_named() {
    let dir = Folder::new();
    dir.write("bin/busybox", program(MACHINE, true));
    dir.write("bin/busybox.static", program(OTHER.1, false));
    dir.write("bin/busybox-static", "#!/bin/sh");
    // As /bin is /usr/bin: what is found there again is not said again.
    symlink("bin", dir.path("same")).unwrap();
    let mut path = std::env::join_paths([dir.path("bin"), dir.path("same")]).unwrap();
    let said = Said::by(dir.command(&["--from", "busybox"]).env("PATH", &path));
    assert!(!said.ok, "{}", said.out);
    let expected = format!(
        "rootfs: no static busybox at hand: bin/busybox is dynamically linked, \
         bin/busybox.static is built for {}, not for {ARCH}, \
         read bin/busybox-static: it is no program\n",
        OTHER.0
    );
    assert!(said.err.starts_with(&expected), "{}", said.err);
    // A good one that comes later is taken.
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let said = Said::by(dir.command(&["--from", "busybox"]).env("PATH", path));
    assert!(said.out.contains(" (BusyBox v"), "{}", said.err);
}

#[test]
fn a_busybox_may_have_any_name_and_mode() {
    let dir = Folder::new();
    let said = Said::by(&mut dir.command_to("first", &["--from", "busybox"]));
    let busybox = said.out.split(' ').nth(3).expect(&said.err);
    let copied = Command::new("install").args(["-m700", busybox]).arg(dir.path("bb")).status();
    assert!(copied.unwrap().success());
    let said = dir.run(&["--from", "bb"]);
    assert!(said.out.starts_with("rootfs: made from bb (BusyBox v"), "{}", said.out);
    assert_eq!(dir.mode("rootfs/bin/busybox"), 0o755);
}

#[test]
fn a_busybox_for_another_machine_is_recognised() {
    let dir = Folder::new();
    dir.write("other", program(OTHER.1, false));
    let line = dir.fail(&mut dir.command(&["--from", "other"]));
    assert_eq!(line, format!("other is built for {}, not for {ARCH}", OTHER.0));
    let said = dir.run(&["--from", "other", "--arch", OTHER.0]);
    let expected = format!("rootfs: made from other (BusyBox for {}, ", OTHER.0);
    assert!(said.out.starts_with(&expected), "{}", said.out);
    assert!(!said.out.contains("chroot"), "{}", said.out);
    let link = |path| fs::read_link(dir.path(path)).unwrap();
    assert_eq!(link("rootfs/bin/sh"), Path::new("busybox"));
    assert_eq!(link("rootfs/usr/bin/env"), Path::new("../../bin/busybox"));
    assert_eq!(fs::read(dir.path("rootfs/bin/busybox")).unwrap(), program(OTHER.1, false));
}

#[test]
fn an_unknown_machine_is_refused() {
    let dir = Folder::new();
    let line = dir.fail(&mut dir.command(&["--arch", "vax"]));
    assert_eq!(line, "no root filesystem for vax: x86_64 or aarch64");
}

// When there is one already.

#[test]
fn a_second_run_leaves_it_alone() {
    let dir = Folder::new();
    dir.run(&[]);
    dir.write("rootfs/root/notes", "mine");
    let said = dir.run(&[]);
    assert!(said.out.starts_with("rootfs: is there, made from /"), "{}", said.out);
    assert!(said.out.ends_with("; --force makes it anew\n"), "{}", said.out);
    assert_eq!(dir.read("rootfs/root/notes"), "mine");
}

#[test]
fn force_replaces_it_once_the_new_one_is_complete() {
    let dir = Folder::new();
    dir.run(&[]);
    dir.write("rootfs/root/notes", "mine");
    dir.write("broken.tar", "no tarball");
    dir.fail(&mut dir.command(&["--force", "--from", "broken.tar"]));
    assert_eq!(dir.read("rootfs/root/notes"), "mine");
    let said = dir.run(&["--force"]);
    assert!(said.out.starts_with("rootfs: made from /"), "{}", said.out);
    assert!(dir.names("rootfs/root").is_empty());
    dir.is_clean();
}

#[test]
fn what_we_did_not_make_is_not_touched() {
    let dir = Folder::new();
    dir.write("rootfs/bin/sh", "mine");
    for args in [&[][..], &["--force"]] {
        assert_eq!(
            dir.fail(&mut dir.command(args)),
            "rootfs is there, but was not made by `cargo workshop rootfs`, or not all of it: \
             use it as it is, or move it away and try again"
        );
        assert_eq!(dir.read("rootfs/bin/sh"), "mine");
    }
}

#[test]
fn an_empty_directory_is_no_hindrance() {
    let dir = Folder::new();
    fs::create_dir(dir.path("rootfs")).unwrap();
    dir.run(&[]);
    assert!(dir.path("rootfs/bin/sh").exists());
}

#[test]
fn what_a_killed_run_left_is_removed() {
    let dir = Folder::new();
    dir.write("rootfs.partial/new/bin/junk", "");
    dir.write("rootfs.partial/old/bin/junk", "");
    dir.run(&[]);
    assert!(!dir.path("rootfs/bin/junk").exists());
    dir.is_clean();
}

#[test]
fn runs_at_once_wait_for_each_other() {
    let dir = Folder::new();
    for (args, makers) in [(&[][..], 1), (&["--force"][..], 6)] {
        let start = || dir.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let runs: Vec<Child> = (0..6).map(|_| start().unwrap()).collect();
        let mut made = 0;
        for run in runs {
            let output = run.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            made += usize::from(output.stdout.starts_with(b"rootfs: made from /"));
        }
        assert_eq!(made, makers);
        assert!(dir.path("rootfs/bin/sh").exists());
        dir.is_clean();
    }
}

// From a tarball or a directory.

/// A small root filesystem, with a file that does not get smaller when it is packed.
fn tree(dir: &Folder) {
    dir.write("tree/bin/sh", "#!/bin/true\n");
    dir.write("tree/dev/null", "");
    dir.write("tree/usr/lib/dev/kept", "kept");
    dir.write("tree/.hidden", "hidden");
    symlink("/bin/sh", dir.path("tree/bin/absolute")).unwrap();
    fs::create_dir(dir.path("tree/tmp")).unwrap();
    fs::set_permissions(dir.path("tree/tmp"), Permissions::from_mode(0o1777)).unwrap();
    let noise = |n: u32| (n.wrapping_mul(n).wrapping_mul(2_654_435_761) >> 24) as u8;
    dir.write("tree/noise", (0..200_000).map(noise).collect::<Vec<_>>());
}

/// Packs `names` of it into tree.tar.gz, and leaves only that.
fn pack(dir: &Folder, names: &[&str]) -> Vec<u8> {
    let (tar, tree) = (dir.path("tree.tar.gz"), dir.path("tree"));
    let packed =
        Command::new("tar").arg("-czf").arg(&tar).arg("-C").arg(&tree).args(names).status();
    assert!(packed.unwrap().success());
    fs::remove_dir_all(tree).unwrap();
    fs::read(tar).unwrap()
}

/// A tarball like Alpine's.
fn tarball(dir: &Folder) -> Vec<u8> {
    tree(dir);
    pack(dir, &["."])
}

#[track_caller]
fn is_the_tree(dir: &Folder) {
    let names = dir.names("rootfs").join(" ");
    assert_eq!(names, ".hidden bin dev etc noise proc sys tmp usr");
    assert_eq!(dir.read("rootfs/bin/sh"), "#!/bin/true\n");
    assert_eq!(dir.read("rootfs/usr/lib/dev/kept"), "kept");
    assert_eq!(dir.mode("rootfs/bin/sh"), 0o755);
    assert_eq!(dir.mode("rootfs/tmp"), 0o1777);
    assert_eq!(fs::read_link(dir.path("rootfs/bin/absolute")).unwrap(), Path::new("/bin/sh"));
    assert_eq!(fs::metadata(dir.path("rootfs/noise")).unwrap().len(), 200_000);
    dir.is_clean();
}

#[test]
fn a_tarball_is_unpacked_but_for_its_devices() {
    // As `tar -c .` and as `docker export` name what is in it.
    for names in [&["."][..], &[".hidden", "bin", "dev", "noise", "tmp", "usr"]] {
        let dir = Folder::new();
        tree(&dir);
        pack(&dir, names);
        let said = dir.run(&["--from", "tree.tar.gz"]);
        assert!(said.out.starts_with("rootfs: made from tree.tar.gz, 0.2 MB\n"), "{}", said.out);
        is_the_tree(&dir);
        assert!(dir.names("rootfs/dev").is_empty());
        assert!(dir.run(&[]).out.starts_with("rootfs: is there, made from tree.tar.gz; "));
    }
}

#[test]
fn a_directory_is_copied() {
    let dir = Folder::new();
    tree(&dir);
    let said = dir.run(&["--from", "tree"]);
    assert!(said.out.starts_with("rootfs: made from tree, 0.2 MB\n"), "{}", said.out);
    is_the_tree(&dir);
}

#[test]
fn a_missing_shell_is_said() {
    let dir = Folder::new();
    dir.write("tree/hello", "hello");
    let said = dir.run(&["--from", "tree"]);
    assert_eq!(said.err, "rootfs: there is no /bin/sh in tree\n");
}

#[test]
fn a_shell_for_another_machine_is_recognised() {
    let dir = Folder::new();
    dir.write("tree/bin/busybox", program(OTHER.1, false));
    // As Alpine has it: the link leads to the tree's busybox, not to this machine's.
    symlink("/bin/busybox", dir.path("tree/bin/sh")).unwrap();
    let line = dir.fail(&mut dir.command(&["--from", "tree"]));
    assert_eq!(line, format!("/bin/sh in tree is built for {}, not for {ARCH}", OTHER.0));
    dir.run(&["--from", "tree", "--arch", OTHER.0]);
}

#[test]
fn a_link_does_not_lead_out_of_it() {
    let dir = Folder::new();
    dir.write("tree/bin/sh", "#!/bin/true\n");
    dir.write("outside/file", "mine");
    symlink(dir.path("outside"), dir.path("tree/etc")).unwrap();
    let line = dir.fail(&mut dir.command(&["--from", "tree"]));
    assert_eq!(line, "create rootfs.partial/new/etc: File exists (os error 17)");
    assert_eq!(dir.names("outside"), ["file"]);
    fs::remove_file(dir.path("tree/etc")).unwrap();
    fs::create_dir(dir.path("tree/etc")).unwrap();
    symlink(dir.path("outside/file"), dir.path("tree/etc/rootfs-origin")).unwrap();
    dir.run(&["--from", "tree"]);
    assert_eq!(dir.read("outside/file"), "mine");
    assert_eq!(dir.read("rootfs/etc/rootfs-origin"), "tree\n");
}

#[test]
fn what_cannot_become_one_is_refused() {
    let dir = Folder::new();
    dir.write("broken.tar", "no tarball");
    let line = dir.fail(&mut dir.command(&["--from", "broken.tar"]));
    assert!(line.starts_with("unpack broken.tar: tar: This does not look like"), "{line}");
    assert_eq!(
        dir.fail(&mut dir.command(&["--from", "missing.tar"])),
        "--from missing.tar, neither alpine nor busybox: No such file or directory (os error 2)"
    );
    let line = dir.fail(&mut dir.command(&["--from", "."]));
    assert_eq!(line, "--from .: the copy would be in it");
    let line = dir.fail(&mut dir.command_to("/", &[]));
    assert_eq!(line, "--output /: no place for a root filesystem");
}

// From Alpine.

/// How the server answers a request.
#[derive(Clone, Copy)]
enum Answer {
    /// With what was asked for.
    Rest,
    /// With that many bytes of it; then it hangs up.
    Cut(usize),
    /// With that many bytes of it; then it says nothing more.
    Stall(usize),
    /// With everything, whatever was asked for.
    Whole,
    /// With a page that asks for the room number.
    Login,
    /// With a status, and nothing else.
    Status(&'static str),
}

/// A server on this machine that answers each request in turn.
struct Server {
    url: String,
    sha256: String,
    /// From which byte on each request wanted the file.
    asked: Arc<Mutex<Vec<usize>>>,
}

impl Server {
    fn start(file: Vec<u8>, answers: &'static [Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/tree.tar.gz", listener.local_addr().unwrap());
        let sha256 = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            let mut stalled = Vec::new();
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                let from = first_byte(&stream);
                log.lock().unwrap().push(from);
                stalled.extend(reply(stream, &file, from, *answer));
            }
        });
        Self { url, sha256, asked }
    }

    fn args(&self) -> [&str; 6] {
        ["--from", "alpine", "--url", &self.url, "--sha256", &self.sha256]
    }

    fn asked(&self) -> Vec<usize> {
        self.asked.lock().unwrap().clone()
    }
}

/// Reads a request: from which byte on it wants the file.
fn first_byte(stream: &TcpStream) -> usize {
    let lines = BufReader::new(stream).lines().map(|line| line.unwrap().to_lowercase());
    let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let range = lines.iter().find_map(|line| line.strip_prefix("range: bytes="));
    range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap())
}

/// Answers, and gives the connection back if it is to stay open.
fn reply(mut stream: TcpStream, file: &[u8], from: usize, answer: Answer) -> Option<TcpStream> {
    let partial = "206 Partial Content";
    let (status, body, sent) = match answer {
        Answer::Rest => (partial, &file[from..], usize::MAX),
        Answer::Cut(sent) | Answer::Stall(sent) => (partial, &file[from..], sent),
        Answer::Whole => ("200 OK", file, usize::MAX),
        Answer::Login => ("200 OK", b"<html>Your room number, please".as_slice(), usize::MAX),
        Answer::Status(status) => (status, [].as_slice(), 0),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body[..sent.min(length)]).unwrap();
    matches!(answer, Answer::Stall(_)).then_some(stream)
}

#[test]
fn a_download_is_unpacked_and_kept() {
    let dir = Folder::new();
    let server = Server::start(tarball(&dir), &[Answer::Rest]);
    let said = dir.run(&server.args());
    assert!(said.out.starts_with("rootfs: made from tree.tar.gz, 0.2 MB\n"), "{}", said.out);
    assert_eq!(said.err, format!("rootfs: downloading {}\n", server.url));
    is_the_tree(&dir);
    // Another one needs no network: this server answers once.
    let said = dir.run(&[&server.args()[..], &["--force"]].concat());
    assert_eq!(said.err, "");
    assert_eq!(dir.names("target/workshop"), ["tree.tar.gz"]);
}

#[test]
fn a_kept_download_that_was_damaged_is_fetched_again() {
    let dir = Folder::new();
    let server = Server::start(tarball(&dir), &[Answer::Rest]);
    dir.write("target/workshop/tree.tar.gz", "damaged");
    dir.run(&server.args());
    is_the_tree(&dir);
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let dir = Folder::new();
    let answers = &[Answer::Cut(50_000), Answer::Cut(100_000), Answer::Rest];
    let server = Server::start(tarball(&dir), answers);
    let said = dir.run(&server.args());
    assert_eq!(server.asked(), [0, 50_000, 150_000]);
    assert!(said.err.contains("rootfs: cut after 0.1 MB, going on\n"), "{}", said.err);
    is_the_tree(&dir);
}

#[test]
fn a_server_without_ranges_sends_everything_again() {
    let dir = Folder::new();
    let server = Server::start(tarball(&dir), &[Answer::Cut(50_000), Answer::Whole]);
    dir.run(&server.args());
    assert_eq!(server.asked(), [0, 50_000]);
    is_the_tree(&dir);
}

#[test]
fn a_download_that_does_not_get_on_ends_and_the_next_run_goes_on() {
    let dir = Folder::new();
    let answers = &[Answer::Cut(50_000), Answer::Cut(0), Answer::Rest];
    let server = Server::start(tarball(&dir), answers);
    let said = Said::by(&mut dir.command(&server.args()));
    assert!(!said.ok, "{}", said.out);
    let error = format!("workshop: download {} (or bring it along: --from FILE): ", server.url);
    assert!(said.err.lines().last().unwrap().starts_with(&error), "{}", said.err);
    assert_eq!(server.asked(), [0, 50_000]);
    dir.run(&server.args());
    assert_eq!(server.asked(), [0, 50_000, 50_000]);
    is_the_tree(&dir);
}

#[test]
fn a_killed_run_leaves_nothing_half_made_and_the_next_goes_on() {
    let dir = Folder::new();
    let server = Server::start(tarball(&dir), &[Answer::Stall(50_000), Answer::Rest]);
    let mut run = dir.command(&server.args()).stderr(Stdio::null()).spawn().unwrap();
    let (partial, start) = (dir.path("target/workshop/tree.tar.gz.partial"), Instant::now());
    while !fs::metadata(&partial).is_ok_and(|found| found.len() == 50_000) {
        assert!(start.elapsed() < Duration::from_secs(10), "the download did not start");
        sleep(Duration::from_millis(5));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(!dir.path("rootfs").exists());
    dir.run(&server.args());
    assert_eq!(server.asked(), [0, 50_000]);
    is_the_tree(&dir);
}

#[test]
fn runs_at_once_download_once() {
    let dir = Folder::new();
    let server = Server::start(tarball(&dir), &[Answer::Rest]);
    let outputs = ["one/rootfs", "two/rootfs", "three/rootfs"];
    let start = |output| dir.command_to(output, &server.args()).stdout(Stdio::piped()).spawn();
    for run in outputs.map(|output| start(output).unwrap()) {
        assert!(run.wait_with_output().unwrap().status.success());
    }
    assert_eq!(server.asked(), [0]);
}

#[test]
fn the_wrong_file_is_thrown_away() {
    let dir = Folder::new();
    let server = Server::start(tarball(&dir), &[Answer::Login, Answer::Rest]);
    assert_eq!(
        dir.fail(&mut dir.command(&server.args())),
        format!(
            "download {} (or bring it along: --from FILE): what came is something else (its sha256 is wrong), and was thrown away; \
             if it was the login page of a Wi-Fi, log in and try again",
            server.url
        )
    );
    assert!(!dir.path("rootfs").exists());
    dir.run(&server.args());
    assert_eq!(server.asked(), [0, 0]);
    is_the_tree(&dir);
}

#[test]
fn a_longer_file_than_the_server_has_is_thrown_away() {
    let dir = Folder::new();
    let answers = &[Answer::Status("416 Range Not Satisfiable"), Answer::Rest];
    let server = Server::start(tarball(&dir), answers);
    dir.write("target/workshop/tree.tar.gz.partial", vec![0; 400_000]);
    dir.run(&server.args());
    assert_eq!(server.asked(), [400_000, 0]);
    is_the_tree(&dir);
}

#[test]
fn a_server_without_the_file_says_so() {
    let dir = Folder::new();
    let server = Server::start(Vec::new(), &[Answer::Status("404 Not Found")]);
    let line = dir.fail(&mut dir.command(&server.args()));
    let expected = "(or bring it along: --from FILE): the server says 404 Not Found";
    assert_eq!(line, format!("download {} {expected}", server.url));
}

// From the distribution's package, and from nothing.

/// A run with nothing in its `$PATH` but these scripts, and nobody to download from.
fn stranded(dir: &Folder, scripts: &[(&str, &str)]) -> Said {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fs::create_dir(dir.path("path")).unwrap();
    for (name, script) in scripts {
        dir.write(&format!("path/{name}"), format!("#!/bin/sh\n{script}\n"));
    }
    let url = format!("http://{nobody}/tree.tar.gz");
    let mut command = dir.command(&["--url", &url, "--sha256", "0"]);
    Said::by(command.env("PATH", dir.path("path")))
}

#[test]
fn the_package_of_the_distribution_comes_last() {
    let dir = Folder::new();
    let said = Said::by(&mut dir.command_to("other", &["--from", "busybox"])).out;
    let busybox = said.split(' ').nth(3).unwrap();
    let unpack = format!("PATH=/bin; mkdir -p $3/usr/bin; cp {busybox} $3/usr/bin/busybox");
    let download = "[ \"$1\" = download ] && echo > \"${2%:*}_1.0.deb\"";
    let said = stranded(&dir, &[("apt-get", download), ("dpkg-deb", &unpack)]);
    let expected = "rootfs: made from busybox-static_1.0.deb (BusyBox v";
    assert!(said.out.starts_with(expected), "{}{}", said.out, said.err);
    let [at_hand, downloading, alpine] = said.err.lines().collect::<Vec<_>>()[..] else {
        panic!("{}", said.err);
    };
    assert_eq!(at_hand, "rootfs: no busybox at hand");
    assert!(downloading.starts_with("rootfs: downloading http://"), "{downloading}");
    assert!(alpine.starts_with("rootfs: download http://"), "{alpine}");
    assert!(alpine.ends_with("Connection refused (os error 111)"), "{alpine}");
    dir.is_clean();
    // A package that is at hand, named as apt-get names those with a colon in their version.
    dir.write("busybox_1%3a2.deb", "!<arch>\n");
    let mut given = dir.command(&["--force", "--from", "busybox_1%3a2.deb"]);
    let said = Said::by(given.env("PATH", dir.path("path")));
    let expected = "rootfs: made from busybox_1:2.deb (BusyBox v";
    assert!(said.out.starts_with(expected), "{}{}", said.out, said.err);
}

#[test]
fn when_everything_failed_the_ways_out_are_named() {
    let dir = Folder::new();
    let apt = "echo 'W: careful' >&2; echo 'E: Unable to locate package' >&2; exit 100";
    let said = stranded(&dir, &[("apt-get", apt)]);
    assert!(!said.ok);
    let [_, _, _, package, error] = said.err.lines().collect::<Vec<_>>()[..] else {
        panic!("{}", said.err);
    };
    assert!(package.starts_with("rootfs: download the package busybox-static:"), "{package}");
    assert!(package.ends_with(": apt-get: E: Unable to locate package"), "{package}");
    assert_eq!(
        error,
        "workshop: nothing to make a root filesystem from: install the package busybox-static \
         (Fedora, Arch: busybox), or give a tarball, such as `docker export` writes, with --from"
    );
    assert!(!dir.path("rootfs").exists());
    dir.is_clean();
}
