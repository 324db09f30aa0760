//! The limits, as they are typed: in Docker's words and units.

/// What the container may use.
#[derive(clap::Args)]
pub struct Limits {
    /// Processes and threads, PID 1 included
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(2..=4194304))]
    pub pids_limit: u32,
    /// Memory in bytes, or with a unit: b, k, m, g [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = bytes, allow_negative_numbers = true)]
    pub memory: Option<u64>,
    /// CPUs, such as 0.5 for half of one [default: no limit]
    #[arg(long, value_name = "FLOAT", value_parser = quota, allow_negative_numbers = true)]
    pub cpus: Option<u64>,
}

// ANCHOR: bytes
/// Reads a size: a number of bytes, or with a unit, which Docker takes as `m`, `mb` or `MiB`.
fn bytes(size: &str) -> Result<u64, String> {
    let size = size.to_lowercase();
    let number = size.trim_end_matches(char::is_alphabetic);
    let power = match &size[number.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err("must be a number, or one with b, k, m, g or t".into()),
    };
    match number.parse::<f64>().map(|number| number * 2f64.powi(power)) {
        Ok(bytes) if (6291456.0..=2f64.powi(50)).contains(&bytes) => Ok(bytes as u64),
        _ => Err("must be 6m to 1024t, such as 64m or 1.5g".into()),
    }
}

/// Reads a number of CPUs: the time they have in a period of the kernel's, 100,000 microseconds.
fn quota(cpus: &str) -> Result<u64, String> {
    match cpus.parse::<f64>() {
        Ok(cpus) if (0.01..=8192.0).contains(&cpus) => Ok((cpus * 100_000.0).round() as u64),
        _ => Err("must be 0.01 to 8192, such as 0.5 or 2".into()),
    }
}
// ANCHOR_END: bytes
