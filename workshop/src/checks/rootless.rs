//! Without root: in a user namespace, and in a cgroup that is delegated to a user.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Check;
use super::Fails::{Saboteur, Step};
use super::limits::{START_30, could_start};
use crate::command::{Ended, end, on_the_host};
use crate::container::Runner;
use crate::host::trees;

#[rustfmt::skip] // A check is two lines.
pub(super) const CHECKS: &[Check] = &[
    Check::new("in-a-user-namespace", 1, in_a_user_namespace, Saboteur(r#"grep -q '4294967295$' /proc/self/uid_map && exec "$REAL" "$@"; exit 1"#,),
        "It works in a user namespace (`unshare -Ur`), too."),
    Check::new("no-cgroups-inside", 4, no_cgroups_inside, Step(3),
        "The cgroups are out of reach inside, even in a user namespace."),
    Check::new("delegated-cgroup", 5, delegated_cgroup, Step(4),
        "A user with a delegated cgroup has the limits without root."),
    Check::new("no-delegated-cgroup", 5, no_delegated_cgroup, Step(4),
        "A user without a delegated cgroup is told how to get one (125)."),
];

fn in_a_user_namespace(runner: &Runner) -> Result<()> {
    let script = "id -u; ls /sys/kernel /proc/self /dev/null /dev/pts/ptmx >&2; echo $?";
    end(&mut runner.behind(&["unshare", "-Ur"], ["sh", "-c", script]))?.says("0\n0\n")
}

fn no_cgroups_inside(runner: &Runner) -> Result<()> {
    let trees = trees();
    ensure!(trees.iter().any(|tree| tree.is_dir()), "there are no cgroups on the host");
    let script = r#"for tree; do test ! -e "$tree" || exit 1; done"#;
    let mut command = ["sh", "-c", script, "sh"].map(OsString::from).to_vec();
    command.extend(trees.into_iter().map(OsString::from));
    for front in [&["env"][..], &["unshare", "-Ur"]] {
        let ended = end(&mut runner.behind(front, &command))?.expect(0);
        ended.with_context(|| format!("cgroups inside, by {front:?}"))?;
    }
    Ok(())
}

/// Runs a container as an unused user id, from files that this user can reach.
fn as_a_user(runner: &Runner, script: &str) -> Result<Ended> {
    let command = runner.command(["--pids-limit", "5", "sh", "-c", script]);
    let mut user = Command::new("setpriv");
    user.args(["--reuid", "4711", "--regid", "4711", "--clear-groups", "unshare", "-Ur"]);
    user.env("ROOTFS", runner.own_rootfs()?);
    end(user.arg(runner.copy()?).args(command.get_args()))
}

fn delegated_cgroup(runner: &Runner) -> Result<()> {
    let delegate = r#"IFS=:; for tree in $WORKSHOP_CGROUPS; do for dir in "$tree" "$tree/host"; do
        for file in . cgroup.procs cgroup.threads cgroup.subtree_control tasks; do
            [ ! -e "$dir/$file" ] || chown 4711:4711 "$dir/$file" || exit; done; done; done"#;
    on_the_host(delegate)?;
    could_start(&as_a_user(runner, START_30)?, 3)
}

fn no_delegated_cgroup(runner: &Runner) -> Result<()> {
    let how = "systemd-run --user --scope -p delegate=yes unshare -ur";
    as_a_user(runner, "echo started")?.refuses(&[how])
}
