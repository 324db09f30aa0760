//! The machine that it ran on, without its name: what somebody else needs to compare.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use serde_json::{Value, json};

use super::cgroups;

/// The machine, and when.
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
    /// v1 or v2, where the limits are.
    pub cgroups: &'static str,
    pub date: String,
    /// The load average when it began.
    pub load: String,
}

impl Machine {
    /// This one, now; on the throw-away host.
    pub fn this(load: String) -> Machine {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let date = Command::new("date").arg("+%F").output();
        let date = date.map(|date| String::from_utf8_lossy(&date.stdout).trim().to_owned());
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Machine {
            cpu: cpu(&cpus).unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: available_parallelism().map_or(1, usize::from),
            // What follows the number is the distribution's.
            kernel: kernel.trim().split('-').next().unwrap_or_default().to_owned(),
            cgroups: if cgroups::version_2().is_some() { "v2" } else { "v1" },
            date: date.unwrap_or_default(),
            load,
        }
    }

    /// In a line.
    pub fn line(&self) -> String {
        let Machine { cpu, cores, kernel, cgroups, date, .. } = self;
        format!("{cpu}, {cores} cores, Linux {kernel}, cgroup {cgroups}, {date}")
    }

    /// Was there other work to do, when it began?
    pub fn was_busy(&self) -> bool {
        self.load.parse::<f64>().is_ok_and(|load| load > 0.2 * self.cores as f64)
    }

    /// For the file.
    pub fn json(&self) -> Value {
        json!({
            "cpu": self.cpu,
            "cores": self.cores,
            "kernel": self.kernel,
            "cgroups": self.cgroups,
            "date": self.date,
            "load_before": self.load,
        })
    }
}

/// The CPU's name from /proc/cpuinfo, without what is but decoration. ARM's has none there.
fn cpu(cpuinfo: &str) -> Option<String> {
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim())
    };
    let model = field("model name")?.replace("(R)", "").replace("(TM)", "");
    let model = model.split_whitespace().collect::<Vec<_>>().join(" ");
    let guest = field("flags").is_some_and(|flags| flags.split(' ').any(|f| f == "hypervisor"));
    Some(if guest { format!("{model} (a virtual machine)") } else { model })
}

/// The load average of the last minute.
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_has_a_name() {
        let info = "model name\t: Intel(R) Core(TM) i7   CPU\nflags\t\t: fpu vme hypervisor sse\n";
        assert_eq!(cpu(info).as_deref(), Some("Intel Core i7 CPU (a virtual machine)"));
        assert_eq!(cpu("model name : AMD X\nflags : fpu\n").as_deref(), Some("AMD X"));
        assert_eq!(cpu("processor : 0\n"), None);
    }
}
