//! `cargo workshop check` against our steps, against programs that must fail, and against programs
//! that people write: the talk's, in Rust and in Go, Julian Friedman's, and a line of shell.

use std::fs;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Result, ensure};
use proof::case::{self, Needs, here, recorded};
use proof::programs::{programs, rootfs};
use workshop::command::{Ended, end};
use workshop::machine::PATIENCE;
use workshop::temp::TempDir;
use workshop::workspace::{cargo, workspace};

/// The talk's program looks commands up outside, so it needs a `PATH` that is right on both sides.
const TALK: &str = "4 -- env PATH=/bin:/usr/bin ./talk";

fn main() -> ExitCode {
    let go = Needs { optional: true, ..Needs::ROOT.with(&["go"]) };
    let mut cases = vec![
        here("talk", Needs::ROOT.with(&["busybox"]), talk),
        here("talk-go", go, || record("check-talk-go", "go build $GO/talk.go", TALK).map(drop)),
        here("pivot-go", go, || {
            record("check-pivot-go", "go build $GO/pivot.go", "4 --bin ./pivot").map(drop)
        }),
        here("unshare", Needs::ROOT.with(&["busybox"]), || {
            record("check-unshare", "", "3 --no-run -- unshare -fp --mount-proc").map(drop)
        }),
    ];
    for (name, script, code, words) in SCRIPTS {
        cases.push(here(*name, Needs::ROOT.with(&["ps"]), move || {
            let ended = sh(script)?.expect(*code)?;
            ensure!(ended.text().contains(words), "{}", ended.text());
            Ok(())
        }));
    }
    case::run(4, cases)
}

/// Goes before every script. `$STEPS` is the directory of our steps.
const SHELL: &str = r#"
    chmod 755 .
    check() { "$STEPS"/workshop check "$@" 2>&1; }
    mine() { printf '#!/bin/sh\n%s\n' "$1" > mine; chmod +x mine; }
    user() {
        cp "$STEPS"/workshop "$STEPS"/step03-pid .
        setpriv --reuid 4711 --regid 4711 --clear-groups ./workshop check 3 --bin step03-pid "$@"
    }
"#;

/// A script, its exit code, and what it must say.
#[rustfmt::skip] // What is said is as it is seen.
const SCRIPTS: &[(&str, &str, i32, &str)] = &[
    ("our-own-step", "unset WORKSHOP_PATIENCE; own=$STEPS/step02-uts; check 2 --bin $own > said || exit
        sed 's/:.*/:/' said; check 2 --bin $own -v --only own-hostname", 0, "\
✔ step01-exec:
✔ step02-uts:
✔ total:
✔ `--hostname` names the container"),
    // None of its processes lives on, and the next run removes its directories and cgroups.
    ("killed", r#"mine 'while :; do sleep 1; done'
        "$STEPS"/workshop check 4 --bin $PWD/mine --only runs-the-command > said &
        until pgrep -f "^/bin/sh $PWD/mine" > hangs; do sleep 0.1; done
        left=$(tr '\0' '\n' < /proc/$(head -n 1 hangs)/environ |
            sed -n 's/^\(WORKSHOP_CGROUPS\|TMPDIR\|ROOTFS\)=//p' | tr : '\n')
        [ $(ls -d $left | wc -l) -gt 2 ] || exit 9
        kill -KILL $!; for i in $(seq 99); do pgrep -f $PWD/mine > lives || break; sleep 0.1; done
        check 1 --only runs-the-command -- env > said; echo left: $(cat lives; ls -d $left 2> said)."#,
        0, "left: ."),
    // It must report a check that needs root as not done.
    ("without-root", "user --only pid-1", 0, "✔ step03-pid: all 1 hold"),
    ("without-root-not-run", "user --only without-privilege", 1,
        "    not run: it needs root\n· step02-uts: 0 of 1 hold, 1 not run\nWith root: sudo "),
    ("fails-a-check", r#"mine '$STEPS/step01-exec "$@"; exit 0'; check 1 --bin=mine --only=exit-code"#, 1, "\
✘ The runner ends with the exit code of the command, from 0 to 255. (exit-code)
    exit code 0 instead of 167
    seen with: ./mine run sh -c 'exit 167'
✘ step01-exec: 0 of 1 hold; read book/src/step01-exec.md
"),
    ("has-an-interpreter-and-no-run", r#"mine '$STEPS/step01-exec "$@"; exit 0'
        check 1 --only=exit-code --no-run -- sh ./mine run"#, 1, "seen with: sh ./mine run sh -c 'exit 167'"),
    ("fails-in-the-third-run",
        r#"mine 'echo >>"$0.runs"; [ $(wc -l <"$0.runs") -lt 3 ] && exec $STEPS/step01-exec "$@"'
        check 1 --bin=mine --only=runs-the-command --times=9"#, 1, "time 3: "),
    ("looks-for-the-command-outside",
        r#"mine 'shift; c=/usr/bin/$1; shift; exec $STEPS/step04-mount run $c "$@"'
        check 4 --bin=mine --only=runs-the-command"#, 1, "\
Does it start a command at all? Try it: ./mine run echo hello
If it looks up commands outside, as Go does: cargo workshop check 4 -- env PATH=/bin:/usr/bin ./mine
"),
    ("starts-nothing", "mine 'exit 1'; check 1 --only=runs-the-command --bin=mine", 1,
        "Does it start a command at all? Try it: ./mine run echo hello\n"),
    ("hangs", "mine 'exec sleep 4711'; check 1 --limit=2 --bin=mine --only=runs-the-command", 1,
        "it hung, and was killed after 2 s"),
    ("is-not-there", "check 1 --only runs-the-command -- /no/such", 1, "No such file or directory"),
    ("no-such-file", "check 1 --bin no-such", 1, "workshop: --bin no-such: there is no such file"),
    ("no-such-step", "check 99", 2, "99 is not in 1..="),
    ("no-such-check", "mine ''; check 1 --bin=mine --only pid-1", 1, "step 1 has no check named pid-1"),
];

/// Runs a script in its own directory.
fn sh(script: &str) -> Result<Ended> {
    let dir = TempDir::new("check-tool-")?;
    let mut sh = Command::new("sh");
    sh.args(["-c", &format!("{SHELL}{script}")]).current_dir(dir.path()).stdin(Stdio::null());
    // Most checks fail here, so do not wait long for them.
    sh.env_remove("ROOTFS").env(PATIENCE, "2").env("STEPS", programs());
    end(sh.env("GO", workspace().join("proof/go")))
}

/// The short version, in `step04-mount/examples`. It says itself how many faults it has.
fn talk() -> Result<()> {
    // The page has the reader type this.
    let mut typed = cargo("run");
    typed.args(["-p", "step04-mount", "--example", "talk", "--"]);
    typed.args(["run", "/bin/sh", "-c", "echo $$"]).env("ROOTFS", rootfs()).stdin(Stdio::null());
    let said = end(&mut typed)?.expect(0)?.text();
    ensure!(said == "Running [/bin/sh -c echo $$] as pid: 1\n2\n", "{said}");
    let copy = "install -D $STEPS/examples/talk target/debug/examples/talk";
    let args = "4 -- env PATH=/bin:/usr/bin target/debug/examples/talk";
    let said = record("check-talk", copy, args)?;
    let wrong = said.lines().filter(|line| line.starts_with("✘ ") && line.ends_with(')')).count();
    let source = fs::read_to_string(workspace().join("step04-mount/examples/talk.rs"))?;
    ensure!(source.contains(&format!("wrong in {wrong} ways")), "it is wrong in {wrong} ways");
    let lines = source.lines().filter(|line| !line.contains("// ANCHOR")).count();
    ensure!(lines <= 75, "talk.rs has {lines} lines");
    Ok(())
}

/// Records which checks fail. The reasons may differ between runs.
fn record(name: &str, prepare: &str, args: &str) -> Result<String> {
    // A slow check must not count as a failure.
    let script = format!("{prepare}\nexport {PATIENCE}=5; check {args}");
    let said = sh(&script)?.expect(1)?.text();
    let mut text = format!("$ cargo workshop check {args} | grep -v '^    '\n");
    for line in said.lines().filter(|line| !line.starts_with("    ")) {
        text += &format!("{line}\n");
    }
    // These depend on the machine.
    insta::with_settings!({ filters => vec![(r"(ways out .*:) .*", "$1 …")] }, {
        recorded(name, &text);
    });
    Ok(said)
}
