//! The machines that people have, as `cargo workshop vm` lays them out: with cgroups as systemd has
//! them (`vm/guest.sh`), and with what may be wrong with them. Anywhere else they are ignored.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use workshop::container::{Ended, end};
use workshop::patience::eventually;
use workshop::privilege::Privilege;
use workshop::testing::{PRIVILEGE, program, rootfs};
use workshop::vm::VM;

const CGROUPS: &str = "/sys/fs/cgroup";
const SLICE: &str = "user.slice/user-1000.slice";
/// After a login.
const SESSION: &str = "user.slice/user-1000.slice/session-1.scope";
/// The user's own systemd, and what it started by `systemd-run --user`.
const SERVICE: &str = "user.slice/user-1000.slice/user@1000.service";
const DELEGATED: &str = "user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope";

fn main() -> ExitCode {
    let vm = env::var(VM).unwrap_or_default();
    let trial = |versions: &str, name: &str, test: fn() -> Result<()>| {
        let fails = |error| Failed::from(format!("{error:#}"));
        let trial =
            Trial::test(format!("step05-cgroups::machine::{name}"), move || test().map_err(fails));
        let here = !vm.is_empty() && versions.contains(&vm) && *PRIVILEGE == Privilege::Root;
        let kind = format!("root in `cargo workshop vm`, {versions}");
        if here { trial } else { trial.with_ignored_flag(true).with_kind(kind) }
    };
    let trials = vec![
        trial("v1 v2", "root-in-a-session", root_in_a_session),
        trial("v1 v2", "user-in-a-session", user_in_a_session),
        trial("v1 v2", "user-step04", user_step04),
        trial("v1 v2", "five-thousand-cgroups", five_thousand_cgroups),
        trial("v2", "controller-not-enabled-here", controller_not_enabled_here),
        trial("v2", "user-with-delegation", user_with_delegation),
        trial("v2", "controller-not-delegated", controller_not_delegated),
        trial("v2", "no-systemd", no_systemd),
        trial("v2", "in-a-container", in_a_container),
        trial("v2", "controller-toggled-meanwhile", controller_toggled_meanwhile),
        trial("v2", "leaves-the-limits-of-its-caller", leaves_the_limits_of_its_caller),
    ];
    let mut arguments = Arguments::from_args();
    // They rearrange the machine.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs a script of the shell as root in a cgroup. In it `$step` is step 5, and `$user` in front of
/// a command runs it as uid 1000. That the cgroups are as they were afterwards is part of it.
fn in_cgroup(cgroup: &str, script: &str) -> Result<Ended> {
    let before = cgroups()?;
    let join = format!("for file in $(find {CGROUPS} -path '*/{cgroup}/cgroup.procs')");
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{join}; do echo 0 > $file; done\n{script}")]);
    shell.env("step", program("step05-cgroups")).env("ROOTFS", rootfs()).stdin(Stdio::null());
    let ended = end(shell.env("user", "setpriv --reuid 1000 --regid 1000 --clear-groups"))?;
    eventually(|| {
        let now = cgroups()?;
        let new: Vec<_> = now.symmetric_difference(&before).collect();
        ensure!(new.is_empty(), "the host's cgroups are others now: {new:?}");
        Ok(ended.code)
    })?;
    Ok(ended)
}

/// All cgroups, with the controllers that those below them get.
fn cgroups() -> Result<BTreeSet<(PathBuf, String)>> {
    let mut found = BTreeSet::new();
    let mut left = vec![PathBuf::from(CGROUPS)];
    while let Some(dir) = left.pop() {
        let offers = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
        let entries = fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))?;
        left.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
        found.insert((dir, offers));
    }
    Ok(found)
}

/// What a file says in the cgroup of a container, which `run` (in shell) starts in a cgroup; and
/// where that is. PID 1 and the command are there then: a signal before would end the start.
fn limit(cgroup: &str, run: &str, file: &str) -> Result<String> {
    let script = format!(
        r#"{run} sleep 777 & until [ $(cat /dev/null $(find {CGROUPS} -path '*/step05-*/cgroup.procs' |
               head -n 1) 2>&1 | wc -l) -ge 2 ] || ! kill -0 $!; do sleep 0.1; done
           grep -H . $(find {CGROUPS} -path '*/step05-*/{file}') | sed 's/step05-....../ID/'
           kill $!; wait $!; echo $?"#
    );
    let said = in_cgroup(cgroup, &script)?;
    ensure!(said.stderr.lines().count() == 1, "it says {:?}", said.stderr);
    Ok(said.text().replace(&format!("{CGROUPS}/"), ""))
}

fn equal(said: &str, expected: &str) -> Result<()> {
    ensure!(said == expected, "{said:?} instead of {expected:?}");
    Ok(())
}

fn v2() -> bool {
    env::var(VM).is_ok_and(|version| version == "v2")
}

/// The session itself has processes, so in version 2 it may have no limited children.
fn root_in_a_session() -> Result<()> {
    let said = limit(SESSION, "$step run --pids-limit 7", "pids.max")?;
    let place = if v2() { SLICE.to_owned() } else { format!("pids/{SESSION}") };
    equal(&said, &format!("{place}/ID/pids.max:7\n143\n"))?;
    in_cgroup(SESSION, "$step run --memory 64m tail /dev/zero")?.expect(137).map(drop)
}

/// The slice offers no cpu (systemd enables what is asked for); the root does.
fn controller_not_enabled_here() -> Result<()> {
    let said = limit(SESSION, "$step run --cpus 0.5", "cpu.max")?;
    equal(&said, "ID/cpu.max:50000 100000\n143\n")
}

const HOW: &str = "systemd-run --user --scope -p Delegate=yes unshare -Ur";

fn user_in_a_session() -> Result<()> {
    for user in ["$user unshare -Ur", "$user"] {
        let said = in_cgroup(SESSION, &format!("{user} $step run echo started"))?.expect(125)?;
        ensure!(said.stderr.contains(HOW) && said.text().is_empty(), "it says {:?}", said.stderr);
    }
    Ok(())
}

fn user_step04() -> Result<()> {
    let shell = "$user unshare -Ur ${step%/*}/step04-mount run /bin/sh";
    let script = format!("echo 'ps; ls /; id -u; touch /sys/x' | {shell}");
    let said = in_cgroup(SESSION, &script)?;
    let text = said.text();
    let seen = ["/proc/self/exe child /bin/sh", "\nvar\n", "\n0\n"].map(|what| text.contains(what));
    ensure!(seen == [true; 3], "it shows {text:?}, and says {:?}", said.stderr);
    ensure!(said.stderr.contains("/sys/x: Read-only file system"), "{:?}", said.stderr);
    Ok(())
}

/// What `systemd-run --user --scope -p Delegate=yes` makes.
fn user_with_delegation() -> Result<()> {
    let said = limit(DELEGATED, "$user unshare -Ur $step run --pids-limit 7", "pids.max")?;
    let slice = DELEGATED.rsplit_once('/').context("no slice")?.0;
    equal(&said, &format!("{slice}/ID/pids.max:7\n143\n"))?;
    let killed = "$user unshare -Ur $step run --memory 64m tail /dev/zero";
    in_cgroup(DELEGATED, killed)?.expect(137).map(drop)
}

fn controller_not_delegated() -> Result<()> {
    let said = in_cgroup(DELEGATED, "$user unshare -Ur $step run --cpus 1 echo started")?;
    ensure!(said.stderr.contains(": EACCES") && said.text().is_empty(), "{:?}", said.stderr);
    said.expect(125).map(drop)
}

/// Nobody has enabled anything: then we do, at the root, where it may stay.
fn no_systemd() -> Result<()> {
    let slices = ["user.slice", SLICE, SERVICE, &format!("{SERVICE}/app.slice")];
    let write = |dir: &str, what: &str| {
        let file = Path::new(CGROUPS).join(dir).join("cgroup.subtree_control");
        fs::write(&file, what).with_context(|| format!("write {what} to {}", file.display()))
    };
    slices.iter().rev().try_for_each(|slice| write(slice, "-memory -pids"))?;
    write("", "-cpu -memory -pids")?;
    let first = in_cgroup(SESSION, "$step run --memory 64m true");
    let said = limit(SESSION, "$step run --memory 64m", "memory.max");
    write("", "+cpu +memory +pids")?;
    slices.iter().try_for_each(|slice| write(slice, "+memory +pids"))?;
    let changed = first.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(changed.contains(r#""memory pids\n"#), "it was not it that enabled them: {changed}");
    equal(&said?, "ID/memory.max:67108864\n143\n")
}

/// Nobody limits memory in the slice, until our `run` has its cgroup for the first limit: both limits
/// are to hold in the one cgroup all the same, or it must not start.
fn controller_toggled_meanwhile() -> Result<()> {
    let slices = ["user.slice", SLICE, SERVICE, &format!("{SERVICE}/app.slice")];
    let write = |dir: &str, what: &str| {
        let file = Path::new(CGROUPS).join(dir).join("cgroup.subtree_control");
        fs::write(&file, what).with_context(|| format!("write {what} to {}", file.display()))
    };
    slices.iter().rev().try_for_each(|slice| write(slice, "-memory"))?;
    let script = format!(
        r#"set_memory() {{ echo $1 > {CGROUPS}/$2/cgroup.subtree_control; }}
           strace -f -o /dev/null --trace=flock --inject=flock:delay_exit=9000000:when=1 \
               $step run --memory 64m sh -c 'echo started; sleep 9; exit 0' &
           until find {CGROUPS} -name 'step05-*' | grep -q . || ! kill -0 $!; do sleep 0.1; done
           set_memory +memory user.slice; set_memory +memory {SLICE}
           until [ $(cat $(find {CGROUPS} -path '*/step05-*/cgroup.procs') | wc -l) -ge 3 ] ||
               ! kill -0 $!; do sleep 0.1; done
           for dir in $(find {CGROUPS} -name 'step05-*'); do
               echo $(cat $dir/pids.max) $(cat $dir/memory.max) $(wc -l < $dir/cgroup.procs); done
           wait $!; code=$?; set_memory -memory {SLICE}; set_memory -memory user.slice; exit $code"#
    );
    let said = in_cgroup(SESSION, &script);
    slices.iter().try_for_each(|slice| write(slice, "+memory"))?;
    let said = said?;
    // PID 1, sh and sleep.
    let limited = said.code == 0 && said.text() == "started\n20 67108864 3\n";
    let refused = said.code == 125 && !said.text().contains("started");
    ensure!(limited || refused, "exit code {}: {:?}, {:?}", said.code, said.text(), said.stderr);
    Ok(())
}

/// A known limit: our cgroup is where all controllers are that it takes, and that may be above the
/// limits of our caller. So to ask for one limit may remove another.
fn leaves_the_limits_of_its_caller() -> Result<()> {
    let limit = |what: &str| fs::write(Path::new(CGROUPS).join(SLICE).join("memory.max"), what);
    limit("30M").context("limit the slice")?;
    let take = "head -c 60m /dev/zero | tail -c 60m | wc -c";
    let below = in_cgroup(SESSION, &format!("$step run sh -c '{take}'"));
    let above = in_cgroup(SESSION, &format!("$step run --cpus 1 sh -c '{take}'"));
    limit("max").context("no limit of the slice")?;
    let (below, above) = (below?.text(), above?.text());
    ensure!(below.trim() != "62914560", "the limit of the slice does not hold");
    ensure!(above.trim() == "62914560", "it holds with --cpus, too: no known limit any more");
    Ok(())
}

/// In a container as Docker's, the root of what one sees has processes.
fn in_a_container() -> Result<()> {
    let inside = format!("umount {CGROUPS}; mount -t cgroup2 cgroup2 {CGROUPS}");
    let script = format!("unshare --cgroup --mount sh -c '{inside}; $step run echo started'");
    let said = in_cgroup("system.slice", &script)?.expect(125)?;
    ensure!(said.stderr.contains("gives its children"), "it says {:?}", said.stderr);
    ensure!(said.text().is_empty(), "it started the command");
    Ok(())
}

fn five_thousand_cgroups() -> Result<()> {
    let slice = Path::new(CGROUPS).join(if v2() { SLICE } else { "pids" });
    let many = || (0..5000).map(|i| slice.join(format!("other-{i}.scope")));
    many().try_for_each(fs::create_dir).context("mkdir")?;
    let said = limit(SESSION, "$step run --pids-limit 7", "pids.max");
    many().try_for_each(fs::remove_dir).context("rmdir")?;
    ensure!(said?.ends_with("/ID/pids.max:7\n143\n"));
    Ok(())
}
