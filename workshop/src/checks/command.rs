//! The command and what it gets: arguments, standard streams, hostname, environment.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::Check;
use super::Fails::{Saboteur, Step};
use crate::command::end;
use crate::container::Runner;
use crate::host::{State, hostname};

#[rustfmt::skip] // A check is two lines.
pub(super) const CHECKS: &[Check] = &[
    Check::new("runs-the-command", 1, |it| it.run(["echo", "Hello"])?.says("Hello\n"), Saboteur(r#"echo "Running [$*]"; exec "$REAL" "$@""#),
        "The command runs, and standard output has its output and nothing else."),
    Check::new("announces-it", 1, announces_it, Saboteur(r#""$REAL" "$@" 2>/dev/null"#),
        "`Running [COMMAND ARGS]` is printed on standard error."),
    Check::new("options-stop-at-the-command", 1, options_stop_at_the_command, Saboteur(WITHOUT_H),
        "Options after the command belong to the command."),
    Check::new("arguments-need-not-be-text", 1, arguments_need_not_be_text, Saboteur(ASCII_ALONE),
        "Arguments that are not UTF-8 reach the command unchanged."),
    Check::new("passes-stdin", 1, passes_stdin, Saboteur(r#"exec "$REAL" "$@" </dev/null"#),
        "The command reads the runner's standard input."),
    Check::new("bears-closed-streams", 1, bears_closed_streams, Saboteur(r#"echo hello >&2 || exit 101; exec "$REAL" "$@""#),
        "Closed standard streams, or a full standard error, do not change the exit code."),
    Check::new("own-hostname", 2, own_hostname, Step(1),
        "`--hostname` names the container, and the host keeps its name."),
    Check::new("hostname-is-copied", 2, |it| it.run(["hostname"])?.says(&(hostname()? + "\n")), Saboteur(r#"shift; exec "$REAL" run --hostname container "$@""#),
        "Without `--hostname` the container starts with the host's name.").free(&[1]),
    Check::new("renaming-stays-inside", 2, renaming_stays_inside, Step(1),
        "`hostname NAME` inside renames the container, not the host."),
    Check::new("own-environment", 4, own_environment, Step(3),
        "The environment is PATH, HOME and TERM, and PID 1 has none of the host's either."),
    Check::new("own-umask", 4, own_umask, Step(3),
        "New files are 0644 (umask 0022), whatever the caller's umask is."),
    Check::new("knows-nothing-of-the-host", 4, knows_nothing_of_the_host, Saboteur(TELLS_THE_ROOTFS),
        "PID 1's environment, arguments and open files do not reveal where on the host the root \
         filesystem and the cgroup are."),
];

fn announces_it(runner: &Runner) -> Result<()> {
    let said = runner.run(["echo", "Hello, our container"])?.expect(0)?.stderr;
    let announced = "Running [echo Hello, our container]";
    ensure!(said.lines().any(|line| line.starts_with(announced)), "standard error is {said:?}");
    Ok(())
}

/// It treats `-h` as its own option, wherever it is.
const WITHOUT_H: &str =
    r#"for a; do shift; [ "$a" = -h ] || set -- "$@" "$a"; done; exec "$REAL" "$@""#;

fn options_stop_at_the_command(runner: &Runner) -> Result<()> {
    let command = ["echo", "-h", "--help", "--", "--hostname", "x"];
    runner.run(command)?.says("-h --help -- --hostname x\n")?;
    runner.run(["--", "echo", "-h", "--"])?.says("-h --\n")
}

const ASCII_ALONE: &str = r#"for a; do shift
    set -- "$@" "$(printf %s "$a" | LC_ALL=C tr -d '\200-\377')"; done; exec "$REAL" "$@""#;

fn arguments_need_not_be_text(runner: &Runner) -> Result<()> {
    let bytes = b"\xff caf\xe9 \xc3\xa9";
    let args = ["printf", "%s"].map(OsStr::new).into_iter().chain([OsStr::from_bytes(bytes)]);
    let said = runner.run(args)?.expect(0)?.stdout;
    ensure!(said == bytes, "{} arrived as {}", bytes.escape_ascii(), said.escape_ascii());
    Ok(())
}

fn passes_stdin(runner: &Runner) -> Result<()> {
    let file = runner.put("stdin", b"three\nlines\nhere\n", 0o644)?;
    end(runner.command(["cat"]).stdin(File::open(file)?))?.says("three\nlines\nhere\n")
}

fn bears_closed_streams(runner: &Runner) -> Result<()> {
    for streams in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full"] {
        let front = ["sh", "-c", &format!(r#""$@" {streams}; exit $?"#), "sh"];
        let ended = end(&mut runner.behind(&front, ["sh", "-c", "exit 3"]))?.expect(3);
        ended.with_context(|| format!("with {streams}"))?;
    }
    Ok(())
}

fn own_hostname(runner: &Runner) -> Result<()> {
    let before = State::now()?;
    runner.run(["--hostname", "probe", "hostname"])?.says("probe\n")?;
    before.restored()
}

fn renaming_stays_inside(runner: &Runner) -> Result<()> {
    let before = State::now()?;
    runner.sh("hostname renamed; hostname")?.says("renamed\n")?;
    before.restored()
}

fn own_environment(runner: &Runner) -> Result<()> {
    let front = ["env", "SECRET=of the host", "TERM=vt100"];
    let inside = end(&mut runner.behind(&front, ["env"]))?.expect(0)?.text();
    let mut names: Vec<_> = inside.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    let right = names == ["HOME", "PATH", "TERM"] && inside.contains("TERM=vt100");
    ensure!(right, "the command's environment is {inside:?}");
    let pid1 = end(&mut runner.behind(&front, ["cat", "/proc/1/environ"]))?.expect(0)?.text();
    let right = pid1.contains("PATH=") && !pid1.contains("SECRET");
    ensure!(right, "PID 1's environment is {pid1:?}");
    Ok(())
}

fn own_umask(runner: &Runner) -> Result<()> {
    // It removes the file again: /dev/shm may be the host's, where others would find it.
    let script = "umask; cd /dev/shm && : > new && stat -c %a new /dev /dev/pts . && rm new";
    for umask in ["077", "000"] {
        let front = ["sh", "-c", &format!("umask {umask}; exec \"$@\""), "sh"];
        let said = end(&mut runner.behind(&front, ["sh", "-c", script]))?;
        said.says("0022\n644\n755\n755\n1777\n").with_context(|| format!("umask {umask}"))?;
    }
    Ok(())
}

const TELLS_THE_ROOTFS: &str = r#"shift; [ "$1" = --rootfs ] && ROOTFS=$2 && shift 2
    exec "$REAL" run --rootfs "$ROOTFS" env "ROOTFS=$ROOTFS" "$@""#;

/// What the command can read about PID 1 and itself. The kernel also shows paths of the host in
/// `/proc/1/exe`, and in `mountinfo` for `/`. We cannot help that.
const READ_ALL: &str = "cd /proc; cat 1/environ 1/cmdline self/environ; ls -l 1/cwd 1/root; exit 0";

fn knows_nothing_of_the_host(runner: &Runner) -> Result<()> {
    let rootfs = runner.own_rootfs()?;
    // The name of this throw-away host is in the paths of both, the root filesystem and the cgroup.
    let secret = rootfs.ancestors().nth(2).and_then(Path::file_name).context("a name")?;
    let secret = secret.to_string_lossy();
    let absolute = rootfs.display().to_string();
    let relative = "../".repeat(env::current_dir()?.components().count()) + "." + &absolute;
    for path in [&absolute, &relative] {
        let variable = format!("ROOTFS={path}");
        for (front, options) in
            [(["env", &variable], &[][..]), (["env", "ROOTFS=/"], &["--rootfs", path])]
        {
            let look =
                |command: &[&str]| end(&mut runner.behind(&front, options.iter().chain(command)));
            let mut said = look(&["sh", "-c", READ_ALL])?.expect(0)?.text();
            // Right away and several times. PID 1 may still be at work and close a file that `ls`
            // has just listed: code 1.
            for _ in 0..5 {
                let open = look(&["ls", "-l", "/proc/1/fd"])?;
                ensure!(open.code <= 1, "exit code {}: {}", open.code, open.stderr);
                let open = open.text();
                let file = open.lines().find(|it| it.contains(" -> /") && !it.contains(" 0 -> "));
                ensure!(file.is_none(), "PID 1 has a file of the host open: {file:?}");
                said += &open;
            }
            let told = said.split(['\0', '\n']).find(|line| line.contains(secret.as_ref()));
            ensure!(told.is_none(), "the command can read {told:?}");
        }
    }
    Ok(())
}
