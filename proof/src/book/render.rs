//! `cargo proof book`: looks at the book's sources, has mdBook build it, and follows every link in
//! what was built.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::book::{Finding, links, lint};
use anyhow::{Context, Result, bail, ensure};
use workshop::workspace::{target, workspace};

/// The version that we know.
const VERSION: &str = "mdbook v0.5.4";
const HOW: &str = "`proof/mdbook.sh ~/.local/mdbook` brings it (with Debian's python3-venv); or \
                   `cargo install mdbook --version 0.5.4 --locked` builds it (with a new Rust)";

/// Check the book and build it, in target/book
#[derive(clap::Args)]
pub struct Args {
    /// Then show it in the browser, and build it anew when a page changes
    #[arg(long)]
    serve: bool,
}

/// Checks it, builds it, and says what is wrong with it.
pub fn run(args: &Args) -> Result<ExitCode> {
    let root = workspace();
    let out = env::current_dir()?.join(target()).join("book");
    let lint = lint::lint(root)?;
    show(&lint.findings);
    let mdbook = mdbook()?;
    let mut findings = built(&mdbook, root, &out)?;
    let (dead, [inside, elsewhere]) = links::check(root, &out)?;
    findings.extend(dead);
    show(&findings);
    let counts = lint.counts.iter().map(|(what, count)| format!("{count} {what}"));
    let counts: Vec<_> = counts.collect();
    println!("book: {}, {inside} links inside, {elsewhere} to elsewhere", counts.join(", "));
    println!("book: built in {}", out.display());
    if args.serve {
        let mut mdbook = Command::new(mdbook);
        mdbook.args(["serve", "--open", "--dest-dir"]).arg(&out).arg(root.join("book"));
        return Err(mdbook.exec()).context("start mdbook");
    }
    let faults = lint.findings.len() + findings.len();
    ensure!(faults == 0, "the book has faults, {faults} of them: listed above");
    Ok(ExitCode::SUCCESS)
}

fn show(findings: &[Finding]) {
    findings.iter().for_each(|finding| eprintln!("{finding}"));
}

/// mdBook of the version that we know: in `PATH`, or where `mdbook.sh` brings it.
fn mdbook() -> Result<PathBuf> {
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".local/mdbook/bin/mdbook"));
    let mut found = None;
    for program in [Some("mdbook".into()), home].into_iter().flatten() {
        let Ok(version) = Command::new(&program).arg("--version").output() else { continue };
        let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        if version == VERSION {
            return Ok(program);
        }
        found = found.or(Some(version));
    }
    match found {
        Some(version) => bail!("this is {version:?}, and the book takes {VERSION}: {HOW}"),
        None => bail!("no mdBook is installed: {HOW}"),
    }
}

/// Builds it. What mdBook complains of is a finding, for it ends with 0 all the same.
fn built(mdbook: &Path, root: &Path, out: &Path) -> Result<Vec<Finding>> {
    let mut mdbook = Command::new(mdbook);
    mdbook.args(["build", "--dest-dir"]).arg(out).arg(root.join("book"));
    let output = mdbook.env("MDBOOK_LOG", "warn").env("NO_COLOR", "1").output();
    let output = output.context("start mdbook")?;
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(output.status.success(), "mdbook build failed:\n{said}");
    let line = |line: &str| Finding {
        file: "book/book.toml".into(),
        line: 1,
        what: format!("mdBook says: {}", line.trim()),
    };
    Ok(said.lines().filter(|line| !line.trim().is_empty()).map(line).collect())
}
