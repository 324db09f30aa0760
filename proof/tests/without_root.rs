//! What an ordinary user types, and sees: transcripts for the book's page "Without root".

use std::process::ExitCode;

use anyhow::Result;
use proof::book::blocks::as_user;
use proof::book::scratch;
use proof::case::{self, Needs, case, recorded};
use proof::transcripts::{Transcript, play};

const TRANSCRIPTS: &[Transcript] = &[
    ("who", &["$ id -u", "$ unshare -Ur id -u"]),
    (
        "container",
        &[
            "$ unshare -Ur step04-mount run /bin/sh",
            "# hostname inside",
            "# hostname",
            "# ps",
            "# exit",
        ],
    ),
    ("by-hand", &["$ PATH=$PATH:/usr/sbin unshare -Ur --mount chroot rootfs /bin/ls /"]),
    ("map", &["$ unshare -Ur cat /proc/self/uid_map"]),
    (
        "owner",
        &[
            "$ unshare -Ur step04-mount run sh -c 'echo hello > /tmp/mine; stat -c %u /tmp/mine'",
            "$ stat -c %u rootfs/tmp/mine",
            "$ rm rootfs/tmp/mine",
        ],
    ),
    ("chown", &["$ unshare -Ur step04-mount run chown 33:33 /tmp || echo $?"]),
    ("device", &["$ unshare -Ur step04-mount run mknod /tmp/device c 1 3 || echo $?"]),
    ("limits", &["$ unshare -Ur step05-cgroups run /bin/sh || echo $?"]),
];

fn main() -> ExitCode {
    let case_of = |(name, typed): &'static Transcript| {
        case(*name, Needs::ROOT, || by_user(typed)).then(move |seen| {
            // Debian's busybox runs `ps` inside its shell; and where the cgroup is, differs.
            let filters =
                vec![(r"\{(\w+)\} /bin/sh", "$1"), (r#"mkdir in "[^"]*""#, r#"mkdir in "…""#)];
            insta::with_settings!({ filters => filters }, {
                recorded(&format!("without-root/{name}"), seen);
            });
            Ok(())
        })
    };
    case::run(2, TRANSCRIPTS.iter().map(case_of).collect())
}

/// Types the lines as an ordinary user, in a workspace to play in.
fn by_user(typed: &[&str]) -> Result<String> {
    scratch::move_in(true)?;
    scratch::let_user_in()?;
    play(typed, || {
        let mut shell = as_user("sh");
        shell.env("ROOTFS", "rootfs");
        shell
    })
}
