//! Without root: in a user namespace, and in a cgroup that is delegated to a user.

use std::ffi::OsString;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Check;
use super::Fails::{Saboteur, Step};
use super::limits::{START_30, started};
use crate::container::{Ended, Runner, behind, end};
use crate::host::trees;

#[rustfmt::skip] // A check is two lines.
pub(super) const CHECKS: &[Check] = &[
    Check::new("in-a-user-namespace", 1, in_a_user_namespace, Saboteur(r#"grep -q '4294967295$' /proc/self/uid_map && exec "$REAL" "$@"; exit 1"#,),
        "In a user namespace (`unshare -Ur`) it works as well."),
    Check::new("no-cgroups-inside", 4, no_cgroups_inside, Step(3),
        "The cgroups are out of its reach, in a user namespace too."),
    Check::new("delegated-cgroup", 5, delegated_cgroup, Step(4),
        "A user to whom a cgroup is delegated has the limits without root."),
    Check::new("no-delegated-cgroup", 5, no_delegated_cgroup, Step(4),
        "A user to whom none is delegated learns how to get one (125)."),
];

fn in_a_user_namespace(runner: &Runner) -> Result<()> {
    let script = "id -u; ls /sys/kernel /proc/self /dev/null /dev/pts/ptmx >&2; echo $?";
    let said = end(&mut behind(&["unshare", "-Ur"], &runner.command(["sh", "-c", script])))?;
    ensure!(said.text() == "0\n0\n", "it says {:?}, and {:?}", said.text(), said.stderr);
    said.expect(0).map(drop)
}

fn no_cgroups_inside(runner: &Runner) -> Result<()> {
    ensure!(!trees().is_empty(), "there are no cgroups on the host");
    for front in [&["env"][..], &["unshare", "-Ur"]] {
        for tree in trees() {
            ensure!(tree.is_dir(), "{} is not even on the host", tree.display());
            let look = format!("test ! -e {}", tree.display());
            end(&mut behind(front, &runner.command(["sh", "-c", &look])))?
                .expect(0)
                .with_context(|| format!("by {front:?}: {}", tree.display()))?;
        }
    }
    Ok(())
}

/// Runs a container as a user who is nobody else's, from files which that user can reach.
fn as_a_user(runner: &Runner, script: &str) -> Result<Ended> {
    let command = runner.command(["--pids-limit", "5", "sh", "-c", script]);
    let mut user = Command::new("setpriv");
    user.args(["--reuid", "4711", "--regid", "4711", "--clear-groups", "unshare", "-Ur"]);
    user.env("ROOTFS", runner.own_rootfs()?);
    let args: Vec<OsString> = command.get_args().map(OsString::from).collect();
    end(user.arg(runner.copy()?).args(args))
}

fn delegated_cgroup(runner: &Runner) -> Result<()> {
    let delegate = |path: &Path| chown(path, Some(4711), Some(4711));
    for tree in trees() {
        for dir in [tree.clone(), tree.join("host")] {
            for file in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks"] {
                let path = dir.join(file);
                if path.exists() {
                    delegate(&path).with_context(|| format!("chown {}", path.display()))?;
                }
            }
        }
    }
    let started = started(&as_a_user(runner, START_30)?)?;
    ensure!(started == 3, "with --pids-limit 5 a shell started {started}");
    Ok(())
}

fn no_delegated_cgroup(runner: &Runner) -> Result<()> {
    let said = as_a_user(runner, "echo started")?.expect(125)?;
    let how = "systemd-run --user --scope -p Delegate=yes unshare -Ur";
    ensure!(said.stderr.contains(how) && said.text().is_empty(), "it says {:?}", said.stderr);
    Ok(())
}
