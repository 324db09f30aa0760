//! How long we wait for what is to happen.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::vm::slowness;

/// How long what is to happen may take: ten seconds, or `$WORKSHOP_PATIENCE`.
pub fn patience() -> Duration {
    let seconds = env::var("WORKSHOP_PATIENCE").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10)) * slowness()
}

/// Tries until it succeeds, for ten seconds at most; then the last failure stands.
pub fn eventually<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + patience();
    loop {
        match attempt() {
            Err(_) if Instant::now() < end => thread::sleep(Duration::from_millis(5)),
            Err(error) => bail!(error),
            Ok(value) => return Ok(value),
        }
    }
}
