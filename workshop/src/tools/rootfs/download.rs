//! Downloads that survive a hotel's Wi-Fi.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use ureq::Agent;

use super::{lock, partial, shown};

/// How long to wait for a name, for a connection and for each next byte.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(15));

/// How many bytes are taken at most. Alpine's are 3.7 MB.
const LIMIT: u64 = 64 << 20;

/// How often a download is taken up again in one run.
const ATTEMPTS: usize = 10;

/// Downloads `url` to `file`, if it is not there yet. What was cut goes on where it stopped, in
/// this run or the next, and counts only if its `sha256` is right.
pub fn fetch(url: &str, sha256: &str, file: &Path) -> Result<()> {
    let complete = || sum(file).is_ok_and(|sum| sum == sha256);
    if complete() {
        return Ok(());
    }
    let path = partial(file);
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir).with_context(|| format!("create {}", shown(dir)))?;
    let mut begun = lock(File::options().create(true).append(true).open(&path), &path)?;
    // Another run may just have completed it.
    if complete() {
        return Ok(());
    }
    eprintln!("rootfs: downloading {url}");
    download(url, &mut begun)?;
    if sum(&path)? != sha256 {
        begun.set_len(0)?;
        bail!(
            "what came is something else (its sha256 is wrong), and was thrown away; \
             if it was the login page of a Wi-Fi, log in and try again"
        );
    }
    fs::rename(&path, file).with_context(|| format!("rename {}", shown(&path)))
}

/// Appends what is missing to `partial`, again and again while that gets it further.
fn download(url: &str, partial: &mut File) -> Result<()> {
    let mut length = partial.metadata()?.len();
    for _ in 0..ATTEMPTS {
        let result = attempt(url, partial);
        let now = partial.metadata()?.len();
        if result.is_ok() || now <= length {
            return result;
        }
        eprintln!("rootfs: cut after {:.1} MB, going on", now as f64 / 1e6);
        length = now;
    }
    bail!("cut {ATTEMPTS} times; try again, and it goes on from there")
}

/// Asks for what is missing in `partial` and appends what comes.
fn attempt(url: &str, partial: &mut File) -> Result<()> {
    let have = partial.metadata()?.len();
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_resolve(PATIENCE)
        .timeout_connect(PATIENCE)
        .timeout_recv_response(PATIENCE)
        .timeout_per_read(PATIENCE)
        .build()
        .into();
    let mut response = agent.get(url).header("Range", format!("bytes={have}-")).call()?;
    let start = match response.status().as_u16() {
        206 => have,
        // A server that knows no ranges sends everything.
        200 => 0,
        // There is nothing after what we have, so we have something else.
        416 if have > 0 => {
            partial.set_len(0)?;
            return attempt(url, partial);
        }
        _ => bail!("the server says {}", response.status()),
    };
    partial.set_len(start)?;
    let body = response.body_mut();
    let bar = progress(start, body.content_length());
    let reader = bar.wrap_read(body.as_reader());
    io::copy(&mut reader.take(LIMIT.saturating_sub(start)), partial)?;
    Ok(())
}

/// A bar on the terminal, if there is one.
fn progress(start: u64, rest: Option<u64>) -> ProgressBar {
    let style = "{wide_bar} {decimal_bytes}/{decimal_total_bytes} {eta}";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = rest.map_or_else(ProgressBar::no_length, |rest| ProgressBar::new(start + rest));
    bar.with_style(style).with_position(start)
}

/// The sha256 of a file, in hexadecimal.
fn sum(file: &Path) -> io::Result<String> {
    let sum = Sha256::digest(fs::read(file)?);
    Ok(sum.iter().map(|byte| format!("{byte:02x}")).collect())
}
