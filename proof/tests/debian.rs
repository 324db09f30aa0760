//! What the page on a real distribution says of a Debian, in one that is made on the spot.

use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use proof::book::scratch;
use proof::case::{self, Needs, case, recorded};
use proof::programs::{output, program, programs};
use proof::transcripts::{Transcript, play};
use workshop::workspace::workspace;

const PAGE: &str = "book/src/a-real-distribution.md";

/// The transcripts of the page.
const TRANSCRIPTS: &[Transcript] = &[
    (
        "inside",
        &[
            "$ step04-mount run --hostname box --rootfs ~/debian bash",
            "# head -n 1 /etc/os-release",
            "# hostname",
            "# ls -d /proc/[0-9]*",
            "# exit",
        ],
    ),
    (
        "terminal",
        &[
            "$ step04-mount run --rootfs ~/debian tty",
            "$ step04-mount run --rootfs ~/debian script -qc tty /dev/null",
        ],
    ),
    ("setuid", &[r#"$ (cd ~ && stat -c "%A %n" debian/usr/bin/su debian-root/usr/bin/su)"#]),
    (
        "without-root",
        &[
            "$ unshare -Ur step04-mount run --rootfs ~/debian-mine bash",
            "# su nobody -s /bin/sh",
            "# chown games /tmp",
            "# exit 0",
        ],
    ),
];

/// What is typed, and how the complaint begins or ends that the page explains. `debian` is bash in it,
/// with options; `mine` is bash in one without root.
const COMPLAINTS: &[(&str, &str)] = &[
    (
        ": > ~/debian/etc/resolv.conf; debian '' 'apt-get -o Acquire::Retries=0 update'",
        "Temporary failure resolving",
    ),
    ("debian '' 'echo > /dev/tcp/example.org/80'", "Temporary failure in name resolution"),
    ("debian '--hostname box' 'sudo true'", "unable to resolve host box"),
    ("debian '' 'TERM=xterm-kitty nano'", "Error opening terminal: xterm-kitty"),
    ("debian '' 'TERM=xterm-ghostty clear'", "unknown terminal type"),
    ("debian '' 'TERM=alacritty clear'", "unknown terminal type"),
    ("debian '' 'TERM=foot clear'", "unknown terminal type"),
    ("debian '' 'setpriv --reuid 65534 --clear-groups su -c true'", "Authentication failure"),
    (r#"limited 2 'exec perl -e "defined fork or die \$!"'"#, "Resource temporarily unavailable"),
    ("mine 'apt-get -o Acquire::Retries=0 update'", "setgroups 65534 failed"),
    ("mine 'apt-get -o Acquire::Retries=0 update'", "seteuid 42 failed"),
];

/// What helps, as the page has it, and what is then to be seen.
const CURES: &[(&str, &str)] = &[
    (
        "echo 127.0.0.1 localhost box > ~/debian/etc/hosts; debian '--hostname box' 'sudo id -u'",
        "0\n",
    ),
    ("debian '' 'TERM=xterm-256color tput colors'", "256\n"),
    ("debian '' 'useradd ann; su ann -c id'", "(ann)"),
];

fn main() -> ExitCode {
    // As long as its packages take to come.
    let needs = Needs::ROOT.with(&["mmdebstrap"]).within(300);
    case::run(1, vec![case("a-debian", needs, in_a_debian).then(recorded_all)])
}

/// Between two transcripts, and after the name of each.
const NEXT: &str = "\x1e";
const NAME: &str = "\x1f";

fn recorded_all(said: &str) -> Result<()> {
    for transcript in said.split(NEXT).skip(1) {
        let (name, seen) = transcript.split_once(NAME).context("a name")?;
        recorded(&format!("a-real-distribution/{name}"), seen);
    }
    Ok(())
}

/// As the page has it, but for packages that are there from the start: so no test depends on more of
/// the network.
const MAKE: &str = r#"
mmdebstrap --quiet --variant=minbase --include=sudo,nano trixie ~/debian.tar
"$WORKSHOP" rootfs --from ~/debian.tar --output ~/debian-root
# What a user unpacks: here root is nobody else.
for name in debian debian-mine; do
    unshare -Ur "$WORKSHOP" rootfs --from ~/debian.tar --output ~/$name
done
rm ~/debian.tar
"#;

const SHELL: &str = r#"
exec 2>&1
debian() { step04-mount run $1 --rootfs ~/debian bash -c "$2" 2>&1 | grep -v Running; }
limited() { step05-cgroups run --pids-limit $1 --rootfs ~/debian bash -c "$2"; }
mine() { unshare -Ur step04-mount run --rootfs ~/debian-mine bash -c "$1"; }
"#;

/// Makes one, and says what is to be seen in it.
fn in_a_debian() -> Result<String> {
    scratch::move_in(false)?;
    scratch::with_our_mirror()?;
    let mut make = Command::new("sh");
    output(make.args(["-ec", MAKE]).env("WORKSHOP", program("workshop")))?;
    let mut all = String::new();
    for (name, typed) in TRANSCRIPTS {
        all += &format!("{NEXT}{name}{NAME}{}", play(typed, || Command::new("sh"))?);
    }
    let page = fs::read_to_string(workspace().join(PAGE))?;
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for (script, words) in COMPLAINTS {
        seen(script, words)?;
        ensure!(page.contains(words), "{PAGE} does not say {words:?}");
    }
    for (script, words) in CURES {
        let said = seen(script, words)?;
        ensure!(!said.contains("resolve"), "{script}: {said}");
    }
    Ok(all)
}

/// What a script says, with these words in it.
fn seen(script: &str, words: &str) -> Result<String> {
    let path = format!("{}:{}", programs().display(), env::var("PATH")?);
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", &format!("{SHELL}{script}")]).env("PATH", path).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(said.contains(words), "{script}: not seen: {words}\n{said}");
    Ok(said)
}
