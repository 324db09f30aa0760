//! `cargo workshop rootfs`, as a learner meets it: what is typed in an empty directory, and what is
//! then to be seen. What it downloads comes from a server in here.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{Result, ensure};
use proof::case::{self, Needs, case};
use proof::programs::program;
use workshop::temp::TempDir;

/// For all scripts: `rootfs` makes one. In what it says, paths are relative, and the busybox of this
/// machine is BUSYBOX.
const ROOTFS: &str = r#"
    export LC_ALL=C no_proxy='*'
    rootfs() {
        $BEFORE "$WORKSHOP" rootfs --output rootfs "$@" > said 2>&1
        sed "s:$PWD/::g; s:/[^ ]*/busybox (BusyBox v.*, [1-9][0-9]* applets):BUSYBOX:" said
        [ ! -e rootfs.partial ] || echo "rootfs.partial is left"
        rm said
    }
    # A small root filesystem, as a directory.
    tree() {
        mkdir -p tree/bin tree/dev tree/usr/lib/dev; install -d -m 1777 tree/tmp
        echo '#!/bin/true' > tree/bin/sh; chmod 755 tree/bin/sh; ln -s /bin/sh tree/bin/absolute
        touch tree/dev/null tree/usr/lib/dev/kept tree/.hidden
    }
    # $URL/FILE is answered with what is in that file.
    answer() { printf "HTTP/1.1 $2\r\nContent-Length: $3\r\nConnection: close\r\n\r\n" | cat - $4 > $1; }
    # With no other program for it than this.
    downloads() {
        tree; tar -czf all -C tree .; head -c 99 all > some; sum=$(sha256sum < all); size=$(stat -c %s all)
        answer not-found '404 Not Found' 0; answer wrong '200 OK' 99 some
        answer cut '200 OK' $size some; answer right '200 OK' $size all
        mkdir bin; for name in tar gzip sha256sum chmod $1; do ln -s $(command -v $name) bin; done
        BEFORE="env PATH=$PWD/bin"
        for answer in not-found wrong cut right; do
            rootfs --from alpine --download $URL/$answer ${sum%  -}
        done | sed "s#$URL/##; s: (or.*\(404\|sha256 is wrong\).*:, \1:; s: (or.*::"
    }
    look() { ls -A rootfs | xargs; (cd rootfs; find dev usr bin tmp | sort | xargs stat -c '%A %N'); }
"#;

const LOOK: &str = "\
.hidden bin dev etc proc sys tmp usr
drwxr-xr-x 'bin'
lrwxrwxrwx 'bin/absolute' -> '/bin/sh'
-rwxr-xr-x 'bin/sh'
drwxr-xr-x 'dev'
drwxrwxrwt 'tmp'
drwxr-xr-x 'usr'
drwxr-xr-x 'usr/lib'
drwxr-xr-x 'usr/lib/dev'
-rw-r--r-- 'usr/lib/dev/kept'
";

const DOWNLOADS: &str = "\
rootfs: downloading not-found
workshop: download not-found, 404
rootfs: downloading wrong
workshop: download wrong, sha256 is wrong
rootfs: downloading cut
workshop: download cut
rootfs: downloading right
rootfs: made from right
";

/// The name of a script, what it needs, the script, and what is then to be seen.
type Script = (&'static str, Needs, &'static str, &'static str);

/// On a throw-away host, for the sake of those that mount.
const NOTHING: Needs = Needs::USER;
const BUSYBOX: Needs = Needs::USER.with(&["busybox"]);
// Nobody has to have these.
const XZ: Needs = Needs { optional: true, ..Needs::USER.with(&["xz"]) };
const ZSTD: Needs = Needs { optional: true, ..Needs::USER.with(&["zstd"]) };

#[rustfmt::skip] // a table
const SCRIPTS: &[Script] = &[
    ("a-linux-system", BUSYBOX,
        "umask 077; rootfs --from busybox; ls rootfs | xargs
        cd rootfs; stat -c '%a %n' . usr/bin bin/busybox etc/passwd tmp var/tmp
        cat etc/rootfs-origin | sed 's: .*::; s:.*/::'; head -n 2 etc/os-release; head -n 1 etc/passwd
        find -type l ! -lname busybox ! -lname ../bin/busybox ! -lname ../../bin/busybox -o -xtype l
        [ $(find -type l | wc -l) -gt 100 ] && bin/sh -c 'echo hi'",
        "rootfs: made from BUSYBOX\nbin dev etc home mnt proc root run sbin sys tmp usr var\n\
        755 .\n755 usr/bin\n755 bin/busybox\n644 etc/passwd\n1777 tmp\n1777 var/tmp\n\
        busybox\nNAME=BusyBox\nID=busybox\nroot:x:0:0:root:/root:/bin/sh\nhi\n"),
    ("a-busybox-that-does-not-fit", BUSYBOX,
        "rootfs > /dev/null; cp rootfs/bin/busybox bb; rm -r rootfs
        install -D /bin/ls bin/busybox; rootfs --from bin/busybox
        BEFORE=\"env PATH=$PWD/bin:$PATH\"; rootfs --from busybox; BEFORE=; rm -r rootfs
        head -c 99 bb > cut; rootfs --from cut
        # Its e_machine.
        printf '\\377' | dd of=bb bs=1 seek=18 conv=notrunc 2> dd; rootfs --from bb",
        "workshop: bin/busybox is dynamically linked\nrootfs: made from BUSYBOX\n\
        workshop: cut: it is cut short\nworkshop: run bb: Exec format error (os error 8)\n"),
    ("what-is-there-stays", BUSYBOX,
        "mkdir -p rootfs rootfs.partial/new; echo > rootfs.partial/new/junk # of a killed run
        rootfs; echo mine > rootfs/root/notes; rootfs; echo > broken.tar; rootfs --force --from broken.tar
        cat rootfs/root/notes; rootfs --force; ls rootfs/root; rm broken.tar; ls",
        "rootfs: made from BUSYBOX\nrootfs: is there, made from BUSYBOX; --force makes it anew\n\
        workshop: unpack broken.tar: tar: This does not look like a tar archive\nmine\n\
        rootfs: made from BUSYBOX\nrootfs\n"),
    ("what-we-did-not-make-stays", NOTHING,
        "mkdir rootfs tree; echo mine > rootfs/notes; rootfs --force; cat rootfs/notes
        rm -r rootfs; rootfs --from tree",
        "workshop: rootfs is there, but was not made by `cargo workshop rootfs`, or not all of it: use \
        it as it is, or move it away and try again\nmine\n\
        rootfs: there is no /bin/sh in tree\nrootfs: made from tree\n"),
    ("runs-at-once", BUSYBOX,
        "for force in '' --force; do
            for i in 1 2 3 4 5 6; do \"$WORKSHOP\" rootfs --output rootfs $force & done > said; wait
            grep -c made.from said; grep -c is.there said; ls
        done",
        "6\n5\nrootfs\nsaid\n6\n0\nrootfs\nsaid\n"),
    // As `tar -c .` and as `docker export` name what is in it.
    ("a-tarball", NOTHING, "tree; tar -czf t.gz -C tree .; rootfs --from t.gz; look", "rootfs: made from t.gz\n"),
    ("an-export", NOTHING, "tree; cd tree; tar -cf ../t .h* *; cd ..; rootfs --from t; look", "rootfs: made from t\n"),
    ("a-tarball-by-xz", XZ, "tree; tar -cJf t.xz -C tree .; rootfs --from t.xz; look", "rootfs: made from t.xz\n"),
    ("a-tarball-by-zstd", ZSTD, "tree; tar --zstd -cf t -C tree .; rootfs --from t; look", "rootfs: made from t\n"),
    ("nobody-unpacks-it", ZSTD,
        "tree; tar --zstd -cf t.zst -C tree .; mkdir bin; ln -s $(command -v tar) bin
        BEFORE=\"env PATH=$PWD/bin\"; rootfs --from t.zst; ls",
        "workshop: unpack t.zst: tar: zstd: Cannot exec: No such file or directory\nbin\nt.zst\ntree\n"),
    ("a-saved-image", NOTHING,
        "mkdir -p image/blobs; touch image/manifest.json image/oci-layout; tar -cf saved.tar -C image .
        rootfs --from saved.tar; ls",
        "workshop: saved.tar is an image in layers, as `docker save` writes it; `docker export` writes \
        what a container sees\nimage\nsaved.tar\n"),
    ("a-directory", NOTHING, "tree; rm tree/dev/null; rootfs --from tree; look", "rootfs: made from tree\n"),
    ("download-by-curl", Needs::USER.with(&["curl"]), "downloads curl; look", DOWNLOADS),
    ("download-by-wget", Needs::USER.with(&["wget"]), "downloads wget; look", DOWNLOADS),
    ("a-debian-package", Needs::USER.with(&["busybox", "dpkg-deb"]),
        "rootfs > /dev/null; mkdir -p deb/usr/bin deb/DEBIAN; mv rootfs/bin/busybox deb/usr/bin
        printf '%s\\n' 'Package: b' 'Version: 1' 'Architecture: all' 'Maintainer: us <us@localhost>' \
            'Description: a busybox' > deb/DEBIAN/control
        dpkg-deb --build deb b.deb > dpkg; rootfs --force --from b.deb | sed 's: (.*::'; ls rootfs | xargs",
        "rootfs: made from b.deb\nbin dev etc home mnt proc root run sbin sys tmp usr var\n"),
    ("what-leads-out", NOTHING,
        "mkdir -p outside tree/bin; touch tree/bin/sh; ln -s ../outside tree/etc; rootfs --from tree
        rm tree/etc; mkdir tree/etc; ln -s ../../outside/file tree/etc/rootfs-origin
        rootfs --from tree; ls outside; cat rootfs/etc/rootfs-origin",
        "workshop: create /etc in tree: File exists (os error 17)\nrootfs: made from tree\ntree\n"),
    ("what-cannot-become-one", NOTHING,
        "rootfs --from missing.tar; rootfs --from .; \"$WORKSHOP\" rootfs --output / 2>&1
        \"$WORKSHOP\" rootfs --output='~/debian' 2>&1
        BEFORE='env PATH=/nowhere'; rootfs --from alpine | sed 's: http.*: URL:'",
        "workshop: --from missing.tar, neither alpine nor busybox: No such file or directory (os error 2)\n\
        workshop: --from .: the copy would be in it\n\
        workshop: --output /: no place for a root filesystem\n\
        workshop: --output=~/debian: no = before a ~\n\
        rootfs: downloading URL\nworkshop: download URL\n"),
    ("setuid", NOTHING,
        // In a user namespace, what was root's in a tarball becomes a user's.
        "tree; chmod 4755 tree/bin/sh; tar -cf t -C tree .; BEFORE='unshare -Ur'
        rootfs --from t; stat -c %a rootfs/bin/sh rootfs/tmp
        rootfs --force --from tree; stat -c %a rootfs/bin/sh rootfs/tmp",
        "rootfs: made from t\n755\n1777\nrootfs: made from tree\n755\n1777\n"),
    ("setuid-while-unpacked", NOTHING,
        // Nobody else gets at it before they are taken away.
        "tree; tar -cf t -C tree .; mkdir bin; echo 'stat -c %a rootfs.partial >> seen; exec tar \"$@\"' > unpack
        printf '#!/bin/sh\\nPATH=%s; . %s/unpack\\n' \"$PATH\" $PWD > bin/tar; chmod 755 bin/tar
        BEFORE=\"unshare -Ur env PATH=$PWD/bin:$PATH\"; rootfs --from t; cat seen; stat -c %a rootfs",
        "rootfs: made from t\n700\n755\n"),
    ("setuid-of-root", Needs::ROOT,
        "tree; chmod 4755 tree/bin/sh; rootfs --from tree; stat -c %a rootfs/bin/sh
        tar -cf t -C tree .; rootfs --force --from t; stat -c %a rootfs/bin/sh",
        "rootfs: made from tree\n4755\nrootfs: made from t\n4755\n"),
    ("owners", Needs::ROOT,
        // A distribution's files have owners that a user namespace, or a user, cannot give them.
        "tree; chown 100:42 tree/bin/sh; tar -cf t -C tree .
        for from in t tree; do rootfs --force --from $from; stat -c %u:%g rootfs/bin/sh; done
        BEFORE='unshare -Ur'
        for from in t tree; do rootfs --force --from $from; stat -c %u:%g rootfs/bin/sh; done
        rm -r rootfs; chmod 777 .; cp \"$WORKSHOP\" program; WORKSHOP=$PWD/program
        BEFORE='setpriv --reuid 1000 --regid 1000 --clear-groups'
        for from in t tree; do rootfs --force --from $from; stat -c %u:%g rootfs/bin/sh; done",
        "rootfs: made from t\n100:42\nrootfs: made from tree\n100:42\n\
        rootfs: made from t\n0:0\nrootfs: made from tree\n0:0\n\
        rootfs: made from t\n1000:1000\nrootfs: made from tree\n1000:1000\n"),
    ("mounted", BUSYBOX,
        "rootfs; mkdir -p host rootfs.partial/old; echo precious > host/file
        for place in rootfs.partial/old rootfs/dev; do
            mount --bind host $place; rootfs --force; umount $place; rm -rf rootfs.partial
        done; cat host/file",
        "rootfs: made from BUSYBOX\n\
        workshop: something is mounted on rootfs.partial/old: sudo umount -R rootfs.partial/old\n\
        rootfs.partial is left\n\
        workshop: something is mounted on rootfs/dev: sudo umount -R rootfs/dev\nprecious\n"),
    ("chroot", BUSYBOX,
        "rootfs; chroot rootfs /bin/sh -c 'id -un; env ls / | xargs'",
        "rootfs: made from BUSYBOX\nroot\nbin dev etc home mnt proc root run sbin sys tmp usr var\n"),
];

fn main() -> ExitCode {
    let mut cases = vec![];
    for &(name, needs, script, expected) in SCRIPTS {
        cases.push(case(name, needs, move || sh(script)).then(move |said| {
            let expected = format!("{expected}{}", if script.contains("look") { LOOK } else { "" });
            ensure!(said == expected, "expected:\n{expected}\nseen:\n{said}");
            Ok(())
        }));
    }
    case::run(4, cases)
}

/// What a script says, in an empty directory.
fn sh(script: &str) -> Result<String> {
    let place = TempDir::new("check-")?;
    let mut sh = Command::new("sh");
    sh.args(["-c", &format!("{ROOTFS}{script}")]).current_dir(place.path());
    sh.env("WORKSHOP", program("workshop")).env("URL", serve(place.path().to_owned())?);
    let output = sh.output()?;
    ensure!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Answers everybody with what is in the file of a directory that they ask for. Returns the URL.
fn serve(dir: PathBuf) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let request = BufReader::new(&stream).lines().map_while(Result::ok);
            let request: Vec<_> = request.take_while(|line| !line.is_empty()).collect();
            let file = request[0].split(['/', ' ']).nth(2).unwrap_or_default();
            let _ = stream.write_all(&fs::read(dir.join(file)).unwrap_or_default());
        }
    });
    Ok(url)
}
