//! `cargo proof book`: looks at the book's sources, has mdBook build it, and follows every link in
//! what was built.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{array, env};

use anyhow::{Context, Result, bail, ensure};
use workshop::workspace::{target, workspace};

use super::page::Page;
use super::{links, lint, reader};

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
    /// Only print how many words each page has, and how many minutes it takes
    #[arg(long)]
    minutes: bool,
}

/// Checks it, builds it, and says what is wrong with it.
pub fn run(args: &Args) -> Result<ExitCode> {
    let root = workspace();
    if args.minutes {
        print!("{}", table(&lint::pages(root)?));
        return Ok(ExitCode::SUCCESS);
    }
    let out = env::current_dir()?.join(target()).join("book");
    let mut findings = lint::lint(root)?;
    let mdbook = mdbook()?;
    build(&mdbook, root, &out)?;
    findings.extend(links::check(&out)?);
    for finding in &findings {
        eprintln!("{finding}");
    }
    println!("book: built in {}", out.display());
    if args.serve {
        let mut mdbook = Command::new(mdbook);
        mdbook.args(["serve", "--open", "--dest-dir"]).arg(&out).arg(root.join("book"));
        return Err(mdbook.exec()).context("start mdbook");
    }
    ensure!(findings.is_empty(), "the book has faults: listed above");
    Ok(ExitCode::SUCCESS)
}

/// What each page takes: words, folded ones, blocks to type, minutes; and all of them together.
fn table(pages: &[Page]) -> String {
    let mut sum = [0; 4];
    let mut table = "| page | words | folded | blocks | minutes |\n".to_owned();
    table += "| --- | --: | --: | --: | --: |\n";
    for page in pages {
        let row = [page.words[0], page.words[1], reader::blocks(page), reader::minutes(page)];
        sum = array::from_fn(|i| sum[i] + row[i]);
        table += &format!("| {} | {} |\n", page.file, row.map(|it| it.to_string()).join(" | "));
    }
    table + &format!("| all | {} |\n", sum.map(|it| it.to_string()).join(" | "))
}

/// mdBook of the version that we know: in `PATH`, or where `mdbook.sh` brings it.
fn mdbook() -> Result<PathBuf> {
    let home = env::var_os("HOME").unwrap_or_default();
    for program in ["mdbook".into(), Path::new(&home).join(".local/mdbook/bin/mdbook")] {
        let version = Command::new(&program).arg("--version").output();
        if version.is_ok_and(|said| said.stdout.trim_ascii() == VERSION.as_bytes()) {
            return Ok(program);
        }
    }
    bail!("the book takes {VERSION}, which is not installed: {HOW}");
}

/// Builds it. Where mdBook complains, it ends with 0 all the same.
fn build(mdbook: &Path, root: &Path, out: &Path) -> Result<()> {
    let mut mdbook = Command::new(mdbook);
    mdbook.args(["build", "--dest-dir"]).arg(out).arg(root.join("book")).env("MDBOOK_LOG", "warn");
    let output = mdbook.output().context("start mdbook")?;
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(output.status.success() && said.trim().is_empty(), "mdBook complains:\n{said}");
    Ok(())
}
