//! What the book and the README tell readers to type: all of it is typed, page by page, on a
//! throw-away host that has a workspace of its own; and the list of what is not.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use workshop::book::blocks::{Cgroups, Group, groups, is_run};
use workshop::book::lint::pages;
use workshop::book::page::{Fence, Page};
use workshop::book::scratch::{self, target};
use workshop::host::{self, State};
use workshop::snapshot;
use workshop::testing::{self, PRIVILEGE, trial, trial_unless};
use workshop::vm;
use workshop::workspace::workspace;

const PAGE: &str = "WORKSHOP_PAGE";

/// For all that a page has one do; cargo may have to build it first.
const LIMIT: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    if let Ok(file) = env::var(PAGE) {
        return host::exit_code(on_the_host(&file));
    }
    // They wait as much as they compute.
    testing::run(4, trials)
}

fn trials() -> Vec<Trial> {
    let pages = pages(workspace()).expect("the book's pages");
    // In the VM those that depend on its cgroups are typed.
    let in_vm = vm::is_here();
    let mut trials: Vec<_> = pages
        .iter()
        .filter(|page| !groups(page).0.is_empty())
        .filter(|page| !in_vm || page.fences.iter().any(|it| it.has("v1") || it.has("v2")))
        .map(|page| {
            let name = Path::new(&page.file).file_stem().unwrap_or_default().to_string_lossy();
            let (name, file) = (format!("page::{name}"), page.file.clone());
            trial(name, true, move || typed(&file))
        })
        .collect();
    let list = not_run(&pages);
    let shells = if in_vm { &[] } else { SHELLS };
    trials.push(trial_unless(None, "not-run".into(), move || {
        snapshot!("not-run", list);
        Ok(())
    }));
    for (name, page, expected) in shells {
        let test = move || shell(page, *expected);
        trials.push(trial_unless(None, format!("shell::{name}"), test));
    }
    trials
}

/// Types what is on a page, on a throw-away host.
fn typed(file: &str) -> Result<()> {
    scratch::prepare()?;
    let envs = [(PAGE, OsStr::new(file))];
    let output = host::run_for(LIMIT, *PRIVILEGE, &env::current_exe()?, &envs)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// In the process on the host: types it all, and looks whether anything is left.
fn on_the_host(file: &str) -> Result<()> {
    let workspace = workspace();
    let page = Page::read(workspace, file)?;
    let makes_it = page.fences.iter().any(|fence| fence.text.contains("workshop rootfs"));
    scratch::move_in(!makes_it)?;
    let cgroups = Cgroups::ours();
    let before = left(&page)?;
    let state = State::now()?;
    let mut wrong = Vec::new();
    for group in groups(&page).0.iter().filter(|group| is_run(&group.outer, cgroups)) {
        let place = format!("{file}:{}", group.outer.line);
        eprintln!("{place}: {}", group.outer.text.lines().next().unwrap_or_default());
        if let Err(error) = group.run(workspace, cgroups) {
            wrong.push(format!("{place}: {error:#}"));
        }
        if let Err(error) = state.restored() {
            wrong.push(format!("{place}: it leaves {error:#}"));
            break;
        }
    }
    let after = left(&page)?;
    let new: Vec<_> = after.difference(&before).collect();
    if !new.is_empty() {
        wrong.push(format!("{file}:1: it leaves the files {new:?}"));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What a page may leave behind: files in the workspace and in `/tmp`, and cgroups made by hand.
fn left(page: &Page) -> Result<BTreeSet<PathBuf>> {
    let (workspace, mut found) = (workspace(), BTreeSet::new());
    let mut dirs = vec![workspace.to_owned(), "/tmp".into()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))? {
            let entry = entry?;
            let path = entry.path();
            let own = ["rootfs", ".git"].map(|name| workspace.join(name));
            let made_on_purpose = own.contains(&path) || path == target();
            if !made_on_purpose && entry.file_type()?.is_dir() && found.insert(path.clone()) {
                dirs.push(path);
            } else if !made_on_purpose {
                found.insert(path);
            }
        }
    }
    let ends = |c: char| c.is_whitespace() || "\"';&|<>()$`*".contains(c);
    let words = page.fences.iter().flat_map(|fence| fence.text.split(ends));
    let cgroups = words.filter(|word| word.starts_with("/sys/fs/cgroup/")).map(PathBuf::from);
    found.extend(cgroups.filter(|path| path.is_dir()));
    Ok(found)
}

/// The list of all that is not run. It is the same on every machine.
fn not_run(pages: &[Page]) -> String {
    let mut list = String::from("| page | block | is not run |\n| --- | --- | --- |\n");
    for page in pages {
        let mut row = |fence: &Fence, why: &str| {
            let first = fence.text.lines().next().unwrap_or_default().replace('|', "\\|");
            list += &format!("| {} | `{first}` | {why} |\n", page.file);
        };
        for Group { outer, inside } in groups(page).0 {
            let why = |fence: &Fence| match &fence.not_run {
                Some(why) => Some(why.clone()),
                None if fence.has("v1") => Some("on cgroup v2".into()),
                None if fence.has("v2") => Some("on cgroup v1".into()),
                None => None,
            };
            let outer_why = why(&outer);
            for fence in [&outer].into_iter().chain(&inside) {
                if let Some(why) = why(fence).or(outer_why.clone()) {
                    row(fence, &why);
                }
            }
        }
    }
    list
}

/// Pages, and what must be in the error; none where it must go well.
const SHELLS: &[(&str, &str, Option<&str>)] = &[
    ("well", "```sh\ntrue\necho x | grep -q x\n```\n", None),
    ("first-command-fails", "```sh\nfalse\ntrue\n```\n", Some("exit status: 1")),
    ("last-command-fails", "```sh\ntrue\nfalse\n```\n", Some("exit status: 1")),
    ("is-to-fail", "```sh,fails\ntrue\nfalse\n```\n", None),
    ("is-to-fail-and-is-long", "```sh,fails\ntrue\nexpr 1 \\\n    - 1\n```\n", None),
    (
        "is-to-fail-in-a-loop",
        "```sh,fails\nx=1\nfor i in 1; do\n    expr $i - $x\ndone\n```\n",
        None,
    ),
    (
        "is-to-fail-in-quotes",
        "```sh,fails\nx=1\nsh -c '\n    true\n    expr 1 - $1\n' sh $x\n```\n",
        None,
    ),
    ("does-not-fail", "```sh,fails\nfalse || true\n```\n", Some("the last command did not fail")),
    ("fails-too-early", "```sh,fails\nfalse\ntrue\nfalse\n```\n", Some("exit status: 1")),
    ("is-misspelt", "```sh,fails\nno-such-command\n```\n", Some("no-such-command")),
    ("output-is-shown", "```sh\necho one\necho two >&2\nfalse\n```\n", Some("one\ntwo\n")),
    ("inside", "```sh\nenv x=1 sh\n```\n\n```sh,inside\ntest $x\nexit\n```\n", None),
    (
        "inside-twice",
        "```sh\nsh\n```\n```sh,inside\nx=1\n```\n```sh,inside\ntest $x\nexit\n```\n",
        None,
    ),
    ("inside-of-the-last", "```sh\ncat\nsh\n```\n\n```sh,inside\ntrue\n```\n", None),
    ("inside-fails", "```sh\nsh\n```\n\n```sh,inside\nfalse\nexit\n```\n", Some("exit status: 1")),
    (
        "inside-is-to-fail",
        "```sh\nsh\n```\n\n```sh,inside,fails\nls /none\ntest $? = 2\nexit\n```\n",
        None,
    ),
    (
        "inside-is-to-fail-last",
        "```sh,fails\nsh\n```\n\n```sh,inside,fails\nfalse\nexit\n```\n",
        None,
    ),
    (
        "inside-is-to-fail-and-then-not",
        "```sh\nsh\n```\n\n```sh,inside,fails\nfalse\n```\n\n```sh,inside\nfalse\ntrue\nexit\n```\n",
        Some("exit status: 1"),
    ),
    (
        "inside-does-not-fail",
        "```sh\nsh\n```\n\n```sh,inside,fails\ntrue\nexit\n```\n",
        Some("not seen"),
    ),
    ("no-shell-inside", "```sh\ntrue\n```\n\n```sh,inside\ntrue\n```\n", Some("not seen")),
    ("leaves-too-early", "```sh\nsh\n```\n\n```sh,inside\nexit 0\ntrue\n```\n", Some("not seen")),
    (
        "shell-fails-and-is-to",
        "```sh,fails\nsh\n```\n\n```sh,inside\necho\n```\n\n```sh,inside\nexit 3\n```\n",
        None,
    ),
];

/// Types a small page, in any directory.
fn shell(page: &str, expected: Option<&str>) -> Result<()> {
    let page = Page::parse("page.md", format!("# Page\n\n{page}"));
    ensure!(page.findings.is_empty(), "{:?}", page.findings);
    let (groups, findings) = groups(&page);
    ensure!(findings.is_empty() && groups.len() == 1, "{findings:?}");
    match (groups[0].run(Path::new("/"), Cgroups::V1), expected) {
        (Ok(_), None) => Ok(()),
        (Err(error), Some(expected)) if format!("{error:#}").contains(expected) => Ok(()),
        (Ok(said), _) => bail!("it goes well:\n{said}"),
        (Err(error), _) => bail!("{error:#}"),
    }
}
