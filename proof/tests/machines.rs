//! The machines that people have, as `cargo proof vm` arranges them: with systemd's cgroups
//! (`vm/guest.sh`), and with what can be wrong with these. Ignored on all other machines.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use proof::case::{self, Needs, here};
use proof::programs::{program, rootfs};
use workshop::command::{Ended, end};
use workshop::machine::{VM, eventually};
use workshop::steps::STEPS;

const CGROUPS: &str = "/sys/fs/cgroup";
const SLICE: &str = "user.slice/user-1000.slice";
/// After a login.
const SESSION: &str = "user.slice/user-1000.slice/session-1.scope";
/// What the user's own systemd started for `systemd-run --user --scope -p Delegate=yes`.
const DELEGATED: &str = "user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope";
/// All cgroups above that, the innermost last.
const SLICES: [&str; 4] = [
    "user.slice",
    SLICE,
    "user.slice/user-1000.slice/user@1000.service",
    "user.slice/user-1000.slice/user@1000.service/app.slice",
];

/// The versions of cgroups, a name, and a test for the step of this name.
type Machine = (&'static str, &'static str, fn(&str) -> Result<()>);

#[rustfmt::skip] // A machine is two lines.
const MACHINES: &[Machine] = &[
    // The session itself holds processes, so in version 2 its children cannot have limits.
    ("v1", "root-in-a-session-v1",
        |it| limits(it, SESSION, "$step run --pids-limit 7", "pids/user.slice/user-1000.slice/session-1.scope/ID/pids.max:7")),
    ("v2", "root-in-a-session-v2",
        |it| limits(it, SESSION, "$step run --pids-limit 7", "user.slice/user-1000.slice/ID/pids.max:7")),
    ("v1 v2", "root-in-a-session-out-of-memory",
        |it| in_cgroup(it, SESSION, "$step run --memory 64m tail /dev/zero")?.expect(137).map(drop)),
    ("v1 v2", "user-in-a-session",
        |it| refuses(it, SESSION, "$user unshare -Ur $step run echo started", HOW)),
    ("v1 v2", "user-in-a-session-without-a-namespace",
        |it| refuses(it, SESSION, "$user $step run echo started", HOW)),
    ("v1 v2", "thousand-cgroups", thousand_cgroups),
    // The slice has no cpu controller, because systemd enables only what is requested. The root has
    // it.
    ("v2", "controller-not-enabled-here",
        |it| limits(it, SESSION, "$step run --cpus 0.5", "ID/cpu.max:50000 100000")),
    ("v2", "user-with-delegation",
        |it| limits(it, DELEGATED, "$user unshare -Ur $step run --pids-limit 7", "user.slice/user-1000.slice/user@1000.service/app.slice/ID/pids.max:7")),
    ("v2", "user-with-delegation-out-of-memory",
        |it| in_cgroup(it, DELEGATED, "$user unshare -Ur $step run --memory 64m tail /dev/zero")?.expect(137).map(drop)),
    ("v2", "controller-not-delegated",
        |it| refuses(it, DELEGATED, "$user unshare -Ur $step run --cpus 1 echo started", ": EACCES")),
    // As in Docker: the root that the process sees holds processes.
    ("v2", "in-a-container",
        |it| refuses(it, "system.slice", IN_A_CONTAINER, "gives its children")),
    ("v2", "no-systemd", no_systemd),
    ("v2", "controller-toggled-meanwhile", controller_toggled_meanwhile),
    ("v2", "leaves-the-limits-of-its-caller", leaves_the_limits_of_its_caller),
];

const HOW: &str = "systemd-run --user --scope -p Delegate=yes unshare -Ur";

const IN_A_CONTAINER: &str = "unshare --cgroup --mount sh -c '
    umount /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; $step run echo started'";

fn main() -> ExitCode {
    let mut cases = Vec::new();
    let version = env::var(VM).unwrap_or_default();
    // The steps that limit their containers.
    for step in STEPS.iter().filter(|step| step.root) {
        for (versions, name, look) in MACHINES {
            let name = format!("{}::machine::{name}", step.name);
            let ours = !version.is_empty() && versions.contains(&version);
            let case = here(name, Needs::ROOT, || look(step.name));
            cases.push(case.only_if(ours, "is for `cargo proof vm`"));
        }
    }
    // They change the machine, so they run one by one.
    case::run(1, cases)
}

/// Runs a shell script as root in a cgroup. In the script, `$step` is the step, and `$user` before
/// a command runs it as uid 1000. Fails if the cgroups are not the same afterwards.
fn in_cgroup(step: &str, cgroup: &str, script: &str) -> Result<Ended> {
    let before = cgroups()?;
    let join = format!("for file in $(find {CGROUPS} -path '*/{cgroup}/cgroup.procs')");
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{join}; do echo 0 > $file; done\n{script}")]);
    shell.env("step", program(step)).env("ROOTFS", rootfs()).stdin(Stdio::null());
    let ended = end(shell.env("user", "setpriv --reuid 1000 --regid 1000 --clear-groups"))?;
    eventually(|| {
        let now = cgroups()?;
        let new: Vec<_> = now.symmetric_difference(&before).collect();
        ensure!(new.is_empty(), "the host's cgroups have changed: {new:?}");
        Ok(ended.code)
    })?;
    Ok(ended)
}

/// All cgroups, and the controllers that each gives its children.
fn cgroups() -> Result<BTreeSet<String>> {
    let script = format!(
        "find {CGROUPS} -type d -print -o -name cgroup.subtree_control -exec grep -H . {{}} +"
    );
    let found = end(Command::new("sh").args(["-c", &script]))?.text();
    Ok(found.lines().map(str::to_owned).collect())
}

/// Enables or disables controllers for the children of a cgroup.
fn control(dir: &str, what: &str) -> Result<()> {
    let file = Path::new(CGROUPS).join(dir).join("cgroup.subtree_control");
    fs::write(&file, what).with_context(|| format!("write {what} to {}", file.display()))
}

/// `run` is a shell command that starts a container in `cgroup`. Fails unless a file in the
/// container's cgroup has the expected text. `expected` is `PATH/ID/FILE:TEXT`. The script waits
/// for PID 1 and the command, because an earlier signal would end the start.
fn limits(step: &str, cgroup: &str, run: &str, expected: &str) -> Result<()> {
    let (path, _) = expected.split_once(':').context("no text")?;
    let file = path.rsplit('/').next().context("no file")?;
    let script = format!(
        r#"{run} sleep 777 & until [ $(cat /dev/null $(find {CGROUPS} -path '*/step*-*/cgroup.procs' |
               head -n 1) 2>&1 | wc -l) -ge 2 ] || ! kill -0 $!; do sleep 0.1; done
           grep -H . $(find {CGROUPS} -path '*/step*-*/{file}') | sed 's/step..-....../ID/'
           kill $!; wait $!; echo $?"#
    );
    let said = in_cgroup(step, cgroup, &script)?;
    ensure!(said.stderr.lines().count() == 1, "it says {:?}", said.stderr);
    let (text, expected) = (said.text(), format!("{CGROUPS}/{expected}\n143\n"));
    ensure!(text == expected, "{text:?} instead of {expected:?}");
    Ok(())
}

/// Fails unless the script ends with 125, starts nothing and prints `why`.
fn refuses(step: &str, cgroup: &str, script: &str, why: &str) -> Result<()> {
    let said = in_cgroup(step, cgroup, script)?.expect(125)?;
    ensure!(said.stderr.contains(why) && said.text().is_empty(), "it says {:?}", said.stderr);
    Ok(())
}

/// If nobody has enabled a controller, the step does it at the root, where it may stay enabled.
fn no_systemd(step: &str) -> Result<()> {
    SLICES.iter().rev().try_for_each(|slice| control(slice, "-memory -pids"))?;
    control("", "-cpu -memory -pids")?;
    let first = in_cgroup(step, SESSION, "$step run --memory 64m true");
    let limited = limits(step, SESSION, "$step run --memory 64m", "ID/memory.max:67108864");
    control("", "+cpu +memory +pids")?;
    SLICES.iter().try_for_each(|slice| control(slice, "+memory +pids"))?;
    let changed = first.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(changed.contains(":memory pids\""), "the step did not enable them: {changed}");
    limited
}

/// The slice does not limit memory until `run` has a cgroup for its first limit. Still, both limits
/// must hold in the one cgroup, or the container must not start.
fn controller_toggled_meanwhile(step: &str) -> Result<()> {
    SLICES.iter().rev().try_for_each(|slice| control(slice, "-memory"))?;
    let script = format!(
        r#"set_memory() {{ echo $1 > {CGROUPS}/$2/cgroup.subtree_control; }}
           fifo=$(mktemp -u); mkfifo $fifo; exec 3<>$fifo
           strace -f -o /dev/null --trace=flock --inject=flock:delay_exit=9000000:when=1 \
               $step run --memory 64m sh -c 'echo started; read end; exit 0' <$fifo &
           until find {CGROUPS} -name 'step*-*' | grep -q . || ! kill -0 $!; do sleep 0.1; done
           set_memory +memory user.slice; set_memory +memory {SLICE}
           until [ $(cat $(find {CGROUPS} -path '*/step*-*/cgroup.procs') | wc -l) -ge 2 ] ||
               ! kill -0 $!; do sleep 0.1; done
           for dir in $(find {CGROUPS} -name 'step*-*'); do
               echo $(cat $dir/pids.max) $(cat $dir/memory.max) $(wc -l < $dir/cgroup.procs); done
           echo >&3; rm $fifo
           wait $!; code=$?; set_memory -memory {SLICE}; set_memory -memory user.slice; exit $code"#
    );
    let said = in_cgroup(step, SESSION, &script);
    SLICES.iter().try_for_each(|slice| control(slice, "+memory"))?;
    let said = said?;
    // The cgroup holds PID 1 and sh. sh may not have printed anything yet.
    let mut lines: Vec<_> = said.stdout.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    let limited = said.code == 0 && lines == [&b""[..], b"20 67108864 2", b"started"];
    let refused = said.code == 125 && !said.text().contains("started");
    ensure!(limited || refused, "exit code {}: {:?}, {:?}", said.code, said.text(), said.stderr);
    Ok(())
}

/// A known limit: we make our cgroup where all its controllers are enabled, which may be above the
/// limits of our caller. So asking for one limit can remove another.
fn leaves_the_limits_of_its_caller(step: &str) -> Result<()> {
    let limit = |what: &str| fs::write(Path::new(CGROUPS).join(SLICE).join("memory.max"), what);
    limit("30M").context("limit the slice")?;
    let take = "head -c 60m /dev/zero | tail -c 60m | wc -c";
    let below = in_cgroup(step, SESSION, &format!("$step run sh -c '{take}'"));
    let above = in_cgroup(step, SESSION, &format!("$step run --cpus 1 sh -c '{take}'"));
    limit("max").context("no limit of the slice")?;
    let (below, above) = (below?.text(), above?.expect(0)?.text());
    ensure!(below.trim() != "62914560", "the limit of the slice does not hold");
    ensure!(
        above.trim() == "62914560",
        "it holds with --cpus, too, so this is no longer a known limit"
    );
    Ok(())
}

/// More cgroups than a single read of a directory returns. (Five thousand took minutes in the VM.)
fn thousand_cgroups(step: &str) -> Result<()> {
    let v2 = Path::new(CGROUPS).join("cgroup.controllers").exists();
    let (slice, cgroup) =
        if v2 { (SLICE, SLICE.into()) } else { ("pids", format!("pids/{SESSION}")) };
    let many = || (0..1000).map(|i| Path::new(CGROUPS).join(format!("{slice}/other-{i}.scope")));
    many().try_for_each(fs::create_dir).context("mkdir")?;
    let expected = format!("{cgroup}/ID/pids.max:7");
    let limited = limits(step, SESSION, "$step run --pids-limit 7", &expected);
    many().try_for_each(fs::remove_dir).context("rmdir")?;
    limited
}
