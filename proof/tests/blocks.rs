//! What the book and the README tell readers to type: all of it is typed, page by page, on a
//! throw-away host that has a workspace of its own; and the list of what is not.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use proof::book::blocks::{Group, asks, groups, is_run};
use proof::book::lint::pages;
use proof::book::page::Page;
use proof::book::paste;
use proof::book::scratch::{self, target};
use proof::case::{self, Needs, case, here, snapshot};
use proof::programs::output;
use workshop::host::State;
use workshop::machine;
use workshop::workspace::workspace;

/// What it takes to paste: a user whose sudo asks.
const PASTE: Needs = Needs::ROOT.with(&["sudo", "zsh"]).within(600);

fn main() -> ExitCode {
    let mut cases = Vec::new();
    for page in pages(workspace()).expect("the book's pages") {
        // In the VM only those are typed that depend on its cgroups.
        let of_vm = page.fences.iter().any(|it| it.has("v1") || it.has("v2"));
        if !groups(&page).0.is_empty() && (of_vm || !machine::is_vm()) {
            let name = Path::new(&page.file).file_stem().unwrap_or_default().to_string_lossy();
            // Cargo may have to build something first.
            let mut needs = Needs::ROOT.within(600);
            for shell in ["bash", "zsh"] {
                let groups: Vec<_> = groups(&page).0.into_iter().filter(is_pasted).collect();
                // What a page with a Debian pastes needs the Debian.
                if !groups.is_empty() && !types(&page, MMDEBSTRAP[0]) {
                    let page = page.file.clone();
                    let look = move || pasted(Some(&page), &groups, shell);
                    cases.push(case(format!("pasted-{shell}::{name}"), PASTE, look));
                }
            }
            if types(&page, MMDEBSTRAP[0]) {
                needs = needs.with(&MMDEBSTRAP);
            }
            cases.push(case(format!("page::{name}"), needs, move || typed(&page)));
        }
    }
    cases.push(here("not-run", Needs::NOTHING, || {
        snapshot("not-run", &not_run(&pages(workspace())?));
        Ok(())
    }));
    for (name, wrong, blocks) in SHELLS {
        let look = || as_said(wrong, group(blocks)?.run(Path::new("/"))).map(drop);
        cases.push(here(format!("shell::{name}"), Needs::NOTHING, look));
    }
    for (name, wrong, blocks) in PASTES.iter().filter(|_| !machine::is_vm()) {
        for shell in ["bash", "zsh"] {
            let look = || as_said(wrong, pasted(None, &[group(blocks)?], shell));
            cases.push(case(format!("paste::{name}::{shell}"), PASTE, look));
        }
    }
    // They wait as much as they compute.
    case::run(4, cases)
}

/// It makes a Debian, by the network. A page that types it is ignored where it is not installed.
const MMDEBSTRAP: [&str; 1] = ["mmdebstrap"];

/// Do a page's blocks have these words?
fn types(page: &Page, words: &str) -> bool {
    page.fences.iter().any(|fence| fence.language == "sh" && fence.text.contains(words))
}

/// Waits until nobody else types what is on a page: it may name a cgroup, and those are the machine's.
fn alone(page: &str) -> Result<Flock<File>> {
    let held = Flock::lock(File::open(workspace().join(page))?, FlockArg::LockExclusive);
    held.map_err(|(_, why)| why).with_context(|| format!("lock {page}"))
}

/// Types what is on a page, on a throw-away host, and looks whether anything is left.
fn typed(page: &Page) -> Result<String> {
    let _held = alone(&page.file)?;
    scratch::move_in(!types(page, "workshop rootfs"))?;
    if types(page, MMDEBSTRAP[0]) {
        scratch::with_our_mirror()?;
    }
    if page.fences.iter().any(|fence| fence.has("user")) {
        scratch::let_user_in()?;
    }
    let before = left(page)?;
    let state = State::now()?;
    let mut wrong = Vec::new();
    for group in groups(page).0.iter().filter(|group| is_run(&group.outer)) {
        let place = format!("{}:{}", page.file, group.outer.line);
        eprintln!("{place}: {}", group.outer.text.lines().next().unwrap_or_default());
        if let Err(error) = group.run(workspace()) {
            wrong.push(format!("{place}: {error:#}"));
        }
        if let Err(error) = state.restored() {
            wrong.push(format!("{place}: it leaves {error:#}"));
            break;
        }
    }
    for file in left(page)?.difference(&before) {
        wrong.push(format!("{}:1: it leaves {file}", page.file));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(String::new())
}

/// Does sudo ask for a password in these blocks? (A VM has no user whom it could ask.)
fn is_pasted(group: &Group) -> bool {
    is_run(&group.outer) && asks(&group.outer.text) && !machine::is_vm()
}

/// Pastes blocks, and says which of them the shell does not read whole.
fn pasted(page: Option<&str>, groups: &[Group], shell: &str) -> Result<String> {
    let _held = page.map(alone).transpose()?;
    scratch::move_in(true)?;
    paste::make_user()?;
    let mut wrong = String::new();
    for group in groups {
        if let Err(error) = paste::paste(shell, group) {
            wrong += &format!("the block in line {}: {error:#}\n", group.outer.line);
        }
    }
    ensure!(wrong.is_empty(), "{wrong}");
    Ok(String::new())
}

/// What a page may leave behind: files in the workspace, in `/tmp` and in `~`, and cgroups made by hand.
fn left(page: &Page) -> Result<BTreeSet<String>> {
    let ends = |c: char| c.is_whitespace() || "\"';&|<>()$`*".contains(c);
    let words = page.fences.iter().flat_map(|fence| fence.text.split(ends));
    // Some is made on purpose.
    let script = r#"
        find "$1" /tmp \( -path "$1/rootfs" -o -path "$1/.git" -o -path "$2" \) -prune -o -print
        # Ours, and without what shells and others keep there for themselves.
        if mountpoint -q ~; then (cd; find . -xdev -path './.?*' -prune -o -print); fi
        shift 2
        for cgroup; do [ ! -d "$cgroup" ] || echo "$cgroup"; done"#;
    let mut shell = Command::new("sh");
    shell.args(["-ec", script, "sh"]).args([workspace(), &target()]);
    let said = output(shell.args(words.filter(|word| word.starts_with("/sys/fs/cgroup/"))))?;
    Ok(String::from_utf8_lossy(&said).lines().map(str::to_owned).collect())
}

/// The list of all that is not run. It is the same on every machine.
fn not_run(pages: &[Page]) -> String {
    let mut list = String::from("| page | block | is not run |\n| --- | --- | --- |\n");
    for page in pages {
        for Group { outer, inside } in groups(page).0 {
            for fence in [&outer].into_iter().chain(&inside) {
                // What is typed inside is not, either, if its shell is not.
                let why = match [fence.why("not run"), outer.why("not run")] {
                    [Some(why), _] | [_, Some(why)] => why,
                    _ if fence.has("vm") => "outside of the VM",
                    _ if fence.has("v1") || outer.has("v1") => "on cgroup v2",
                    _ if fence.has("v2") || outer.has("v2") => "on cgroup v1",
                    _ => continue,
                };
                let first = fence.text.lines().next().unwrap_or_default().replace('|', "\\|");
                list += &format!("| {} | `{first}` | {why} |\n", page.file);
            }
        }
    }
    list
}

/// A page: its blocks, each with its words.
type Blocks = [(&'static str, &'static str)];

/// Pages, and what is wrong with them, if anything is.
#[rustfmt::skip] // A page is a line.
const SHELLS: &[(&str, &str, &Blocks)] = &[
    ("well", "", &[("sh", "true\necho x | grep -q x")]),
    ("first-command-fails", "exit status: 1", &[("sh", "false\ntrue")]),
    ("is-to-fail-and-is-long", "", &[("sh,fails", "true\nexpr 1 \\\n    - 1")]),
    ("is-to-fail-in-quotes", "", &[("sh,fails", "x=1\nsh -c '\n    true\n    expr 1 - $1\n' sh $x")]),
    ("does-not-fail", "the last command did not fail", &[("sh,fails", "false || true")]),
    ("is-misspelt", "no-such-command", &[("sh,fails", "no-such-command")]),
    ("output-is-shown", "one\ntwo\n", &[("sh", "echo one\necho two >&2\nfalse")]),
    ("inside", "", &[("sh", "env x=1 sh"), ("sh,inside", "test $x\nexit")]),
    ("inside-twice", "", &[("sh", "sh"), ("sh,inside", "x=1"), ("sh,inside", "test $x\nexit")]),
    ("inside-of-the-last", "", &[("sh", "cat\nsh"), ("sh,inside", "true")]),
    ("inside-fails", "exit status: 1", &[("sh", "sh"), ("sh,inside", "false\nexit")]),
    ("inside-is-to-fail", "", &[("sh", "sh"), ("sh,inside,fails", "ls /none\ntest $? = 2\nexit")]),
    ("no-shell-inside", "not seen", &[("sh", "true"), ("sh,inside", "true")]),
    ("leaves-too-early", "not seen", &[("sh", "sh"), ("sh,inside", "exit 0\ntrue")]),
    ("shell-fails-and-is-to", "", &[("sh,fails", "sh"), ("sh,inside", "echo"), ("sh,inside", "exit 3")]),
];

/// The same when they are pasted, where sudo asks for a password.
#[rustfmt::skip] // A page is a line.
const PASTES: &[(&str, &str, &Blocks)] = &[
    ("last", "", &[("sh", "true\nsudo true")]),
    ("not-last", "not read all", &[("sh", "sudo true\ntrue")]),
    ("joined", "", &[("sh", "sudo true &&\ntrue")]),
    ("several-lines", "", &[("sh", "true\nsudo sh -c '\n    true' \\\n    x")]),
    ("background", "", &[("sh", "sudo -v && {\n    sudo sleep 1 &\n    wait\n}")]),
    ("background-asks", "it leaves", &[("sh", "sudo sleep 1 &\nwait")]),
    ("inside", "", &[("sh", "sudo sh"), ("sh,inside", "true\nexit")]),
    ("inside-stays", "", &[("sh", "sudo sh"), ("sh,inside", "true")]),
    ("fails", "its last command fails", &[("sh", "sudo false")]),
];

/// The blocks of a small page.
fn group(blocks: &Blocks) -> Result<Group> {
    let mut text = String::from("# Page\n");
    for (words, block) in blocks {
        text += &format!("\n```{words}\n{block}\n```\n");
    }
    let page = Page::parse("page.md", text);
    ensure!(page.findings.is_empty(), "{:?}", page.findings);
    let mut groups = groups(&page).0;
    ensure!(groups.len() == 1, "{} groups", groups.len());
    Ok(groups.remove(0))
}

/// Does it fail with these words, or not at all without any?
fn as_said(wrong: &str, result: Result<String>) -> Result<String> {
    match result {
        Ok(said) => ensure!(wrong.is_empty(), "it goes well:\n{said}"),
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(!wrong.is_empty() && said.contains(wrong), "{said}");
        }
    }
    Ok(String::new())
}
