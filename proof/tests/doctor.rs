//! `cargo workshop doctor` on machines with a problem.
//!
//! Each machine is a directory that holds the directories of this machine and our programs. A
//! script breaks something in it and starts the doctor there.

use std::process::{Command, ExitCode};
use std::slice;

use anyhow::{Result, ensure};
use proof::case::{self, Needs, case, recorded};
use proof::programs::{programs, rootfs};

const MACHINE: &str = r#"
    unset TMPDIR; umask 022; hostname box
    mount --make-rprivate /; mount -t tmpfs tmpfs /mnt; cd /mnt
    mkdir -p m/run m/fake m/steps; mkdir -m 1777 m/tmp
    for dir in bin dev etc lib lib64 proc sbin sys usr; do
        if [ -d /$dir ]; then mkdir m/$dir; mount --rbind /$dir m/$dir; fi
    done
    mount --bind $PROGRAMS m/steps; cp -r $ROOTFS m/rootfs
    export ROOTFS=/rootfs PATH=/fake:$PATH
    user="setpriv --reuid 65534 --regid 65534 --clear-groups"
    # Sets the rules of sudo.
    sudo_for() { echo "$1" > s; chmod 440 s; mount --bind s m/etc/sudoers; }
    all="ALL ALL=(ALL) NOPASSWD: ALL"
    # Makes a program that fails, with this message.
    fails() { printf '#!/bin/sh\necho "%s" >&2; exit 1\n' "$2" > m/fake/$1; chmod +x m/fake/$1; }
    doctor() {
        mount --rbind m m; cd m; pivot_root . .; umount -l .; cd /
        "$@" /steps/workshop doctor || [ $? = 1 ]
    }
"#;

/// A machine: its name, the program it needs, the script that makes it, and what the doctor must
/// say.
type Machine = (&'static str, &'static str, &'static str, &'static [&'static str]);

#[rustfmt::skip] // a table
const MACHINES: [Machine; 16] = [
    ("password", "sudo", "sudo_for 'ALL ALL=(ALL) ALL'; doctor $user", &[
        "✔ root: with sudo, which will ask for your password\n",
        "· step 5: not tried, because sudo would ask for your password\n    sudo -v && cargo workshop doctor\n",
        "Everything that could be tried runs here.\n",
    ]),
    ("no-sudo", "sudo", "sudo_for ''; doctor $user", &["✘ root: Sorry, user", "    su -\n", "✘ step 5: "]),
    ("no-new-privileges", "sudo", "sudo_for \"$all\"; doctor $user --no-new-privs", &[
        "✘ root: sudo: The \"no new privileges\" flag is set", "    in a terminal outside your", "✘ step 5: ",
    ]),
    ("docker", "sudo", "sudo_for \"$all\"; touch m/.dockerenv; fails unshare 'unshare failed'
        doctor $user --bounding-set -sys_admin", &[
        ", in Docker\n", "✔ root: with sudo, which does not need a password right now\n", "✔ step 1: runs\n",
        "✘ step 2: step02-uts: unshare CLONE_NEWUTS: EPERM: Operation not permitted\n    docker run --privileged",
        "✘ step 5: ",
    ]),
    ("capabilities", "setpriv", "doctor setpriv --bounding-set -sys_admin", &[
        "✔ root: you are root\n", "✘ step 4: `cargo run` alone fails: step04-mount: unshare UTS, PID: EPERM: ",
        "\n    unshare -Ur cargo run -p step04-mount -- run /bin/sh\n",
    ]),
    ("chroot", "chroot", "chroot m /steps/workshop doctor || true", &[
        "✔ step 3: runs\n", "✘ step 4: step04-mount: mount / as private (in a chroot it is not a mount point): ",
        "\n    leave the chroot", "✘ step 5: ",
    ]),
    ("bwrap", "bwrap", "doctor bwrap --ro-bind / / --dev /dev --proc /proc", &[
        "✘ step 5: step05-cgroups: mkdir in ", "EROFS: Read-only file system\n    sudo mount -o remount",
    ]),
    ("user-namespace", "unshare", "doctor $user unshare -Ur", &[
        "✔ root: you are root, in a user namespace\n", "✔ step 4: runs\n",
        "✘ step 5: step05-cgroups: mkdir in ", "    exit, and outside `unshare -Ur`: cargo workshop doctor\n",
        "If that does not help, read book/src/troubleshooting.md\n",
    ]),
    ("sudo-rs", "sudo", "fails sudo 'sudo: interactive authentication is required'; doctor $user", &[
        "✔ root: with sudo, which will ask for your password\n", "Everything that could be tried runs here.\n",
    ]),
    ("ubuntu", "sudo", "sudo_for ''; fails unshare 'write failed /proc/self/uid_map: Operation not permitted'
        doctor $user", &["    sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0\n"]),
    ("no-user-namespaces", "sudo", "sudo_for ''; fails unshare 'unshare failed: No space left on device'
        doctor $user", &["    sudo sysctl -w user.max_user_namespaces=15000\n"]),
    ("wsl-1", "unshare", "echo 4.4.0-19041-Microsoft > k; mount --bind k m/proc/sys/kernel/osrelease
        fails unshare ''; doctor setpriv --bounding-set -sys_admin", &["    in PowerShell: wsl --set-version"]),
    ("no-cgroups", "umount", "umount -R m/sys/fs/cgroup; doctor", &[
        "✔ step 4: runs\n", "✘ step 5: step05-cgroups: no cgroups are mounted, or ours is out of sight\n    sudo mount -t cgroup2",
    ]),
    ("covered-sys", "mount", "mount -t tmpfs tmpfs m/sys; doctor", &[
        "✘ step 5: step05-cgroups: mkdir in \"/sys/fs/cgroup", "ENOENT: No such file or directory\n    sudo umount /sys\n",
    ]),
    ("broken-rootfs", "busybox", "rm m/rootfs/bin/sh; doctor", &[
        "✔ step 3: runs\n", "✘ step 4: step04-mount: exec: \"/bin/sh\": No such file", "\n    mv rootfs",
    ]),
    ("no-rootfs", "busybox", "ROOTFS=/nowhere; doctor", &[
        "✘ rootfs: there is no /nowhere\n    cargo workshop rootfs\n✔ step 1", "✔ step 5: runs\n",
    ]),
];

fn main() -> ExitCode {
    let mut cases = vec![];
    for (name, program, script, expected) in &MACHINES {
        let needs = Needs::ROOT.with(slice::from_ref(program));
        cases.push(case(*name, needs, || on_machine(script)).then(|said| {
            for words in *expected {
                ensure!(said.contains(words), "it does not say {words}:\n{said}");
            }
            Ok(())
        }));
    }
    let well = || on_machine("sudo_for \"$all\"; doctor $user");
    cases.push(case("well", Needs::ROOT.with(&["sudo"]), well).then(|said| {
        let machine = ("Linux [^,]+, [^\n,]+", "Linux 6.12.48+deb13-amd64, x86_64");
        let rootfs = ("rootfs, .*", "home/you/containers/rootfs, made from /usr/bin/busybox");
        insta::with_settings!({ filters => vec![machine, rootfs] }, {
            recorded("doctor", &format!("$ cargo workshop doctor\n{said}"));
        });
        Ok(())
    }));
    case::run(4, cases)
}

/// What the doctor says on a machine.
fn on_machine(script: &str) -> Result<String> {
    let mut shell = Command::new("sh");
    shell.args(["-ec", &format!("{MACHINE}\n{script}")]);
    let output = shell.env("PROGRAMS", programs()).env("ROOTFS", rootfs()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.is_empty(), "{said}");
    Ok(String::from_utf8(output.stdout)?)
}
