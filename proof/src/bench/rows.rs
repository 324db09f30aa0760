//! What is measured: each row is a command that runs `true` from the root filesystem.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use workshop::host;
use workshop::steps::{LAST, STEPS};
use workshop::workspace::target;

use super::built;
use crate::programs::rootfs;

pub struct Row {
    pub title: String,
    /// `floor`, `step` or `other`.
    pub kind: &'static str,
    argv: Vec<String>,
    envs: Vec<(&'static str, String)>,
}

/// All other rows are compared to this one.
pub const BASE: &str = "C: namespaces, root, /proc";

pub const NO_WALL: &str = "none";

/// The limits of step 5. The third, 20 processes, is its default.
const LIMITS: [&str; 4] = ["--memory", "64m", "--cpus", "0.5"];

impl Row {
    fn new(title: impl Into<String>, kind: &'static str, argv: &[&str]) -> Row {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        Row { title: title.into(), kind, argv, envs: Vec::new() }
    }

    /// The command, not started yet. Its output is discarded.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).envs(self.envs.iter().cloned());
        // cargo sets this, and a dynamically linked program would look there first for its
        // libraries.
        command.env_remove("LD_LIBRARY_PATH");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// All rows except the single namespaces. Their files are put into `place`.
pub fn all(place: &Path) -> Result<Vec<Row>> {
    let rootfs = rootfs().to_str().context("the path of the rootfs")?;
    let host_true = format!("{rootfs}/bin/true");
    let floor = built().join("floor").display().to_string();
    let mut rows = vec![
        Row::new("fork and exec, no container", "floor", &[&floor, "plain", rootfs, &host_true]),
        Row::new(BASE, "floor", &[&floor, "bare", rootfs, "/bin/true"]),
    ];
    let full =
        Row::new("C: and /dev, /sys, cgroups", "floor", &[&floor, "full", rootfs, "/bin/true"]);
    rows.push(Row { envs: cgroups_of_the_floor(), ..full });
    for (i, step) in STEPS.iter().enumerate() {
        let command = if step.rootfs { "/bin/true" } else { &host_true };
        let mut add = |title: &str, dir: &str, options: &[&str]| {
            let program = target().join(dir).join(step.name).display().to_string();
            let argv = [&[&program, "run"], options, &[command]].concat();
            rows.push(Row::new(title, "step", &argv));
        };
        let title = format!("step {}", i + 1);
        if step.name != LAST.name {
            add(&title, "release", &[]);
        } else {
            add(&format!("{title}, as it is without options"), "release", &[]);
            add(&format!("{title} with all its limits"), "release", &LIMITS);
            add("the same, as `cargo run` builds it", "debug", &LIMITS);
            add("the same, linked statically", "bench/static/release", &LIMITS);
        }
    }
    others(rootfs, place, &mut rows)?;
    Ok(rows)
}

/// Where the floor may make its cgroups: the same place as step 5.
fn cgroups_of_the_floor() -> Vec<(&'static str, String)> {
    let mut envs = Vec::new();
    for (name, file) in [
        ("CGROUP2", "cgroup.subtree_control"),
        ("PIDS", "pids.max"),
        ("MEMORY", "memory.limit_in_bytes"),
        ("CPU", "cpu.cfs_quota_us"),
    ] {
        let dir = host::trees().into_iter().find(|dir| dir.join(file).exists());
        envs.extend(dir.map(|dir| (name, dir.display().to_string())));
    }
    envs
}

/// One namespace of each kind, made by unshare(1), which starts a child in it.
pub fn walls() -> Vec<Row> {
    let host_true = rootfs().join("bin/true").display().to_string();
    let mut rows = vec![Row::new(NO_WALL, "wall", &["unshare", "--fork", &host_true])];
    for (title, flag) in [
        ("UTS (hostname)", "--uts"),
        ("PID", "--pid"),
        ("cgroup", "--cgroup"),
        ("user", "--user"),
        ("IPC", "--ipc"),
        ("mount", "--mount"),
        ("network", "--net"),
    ] {
        rows.push(Row::new(title, "wall", &["unshare", "--fork", flag, &host_true]));
    }
    rows
}

fn others(rootfs: &str, place: &Path, rows: &mut Vec<Row>) -> Result<()> {
    let bwrap = format!("--bind {rootfs} / --proc /proc --dev /dev --ro-bind /sys /sys");
    for (program, what, options) in [
        ("unshare", "", format!("-u -p -f -m --root {rootfs} --mount-proc")),
        (
            "bwrap",
            ", the same walls",
            format!("{bwrap} --unshare-uts --unshare-pid --unshare-cgroup"),
        ),
        ("bwrap", ", --unshare-all", format!("{bwrap} --unshare-all")),
    ] {
        if let Some(version) = version(program) {
            let options: Vec<_> = options.split(' ').collect();
            let argv = [&[program], &options[..], &["/bin/true"]].concat();
            rows.push(Row::new(version + what, "other", &argv));
        }
    }
    for program in ["crun", "runc"] {
        let Some(version) = version(program) else { continue };
        let bundle = bundle(program, place, rootfs)?;
        let state = place.join("state").display().to_string();
        let argv = [program, "--root", &state, "run", "--bundle", &bundle, "bench"];
        rows.push(Row::new(version + ", no network namespace", "other", &argv));
    }
    if version("go").is_some() {
        let talk = built().join("talk").display().to_string();
        let argv = [&talk, "run", "/bin/true"];
        rows.push(Row::new("the talk's Go program, no cgroup", "other", &argv));
    }
    Ok(())
}

/// The name and version of a program, if it is installed.
pub fn version(program: &str) -> Option<String> {
    let argument = if program == "go" { "version" } else { "--version" };
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_number =
        |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    let number = text.split([' ', '\n', '+', ',']).find(is_number).unwrap_or_default();
    Some(format!("{program} {number}"))
}

/// The bundle that an OCI runtime reads: its own `spec` with our command, root and limits. Without
/// a network namespace, which alone costs as much as everything that we do.
fn bundle(program: &str, place: &Path, rootfs: &str) -> Result<String> {
    let bundle = place.join(program);
    fs::create_dir(&bundle)?;
    let spec = Command::new(program).arg("spec").current_dir(&bundle).status();
    spec.with_context(|| format!("{program} spec"))?;
    let file = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = json!(["/bin/true"]);
    config["root"]["path"] = rootfs.into();
    let linux = &mut config["linux"];
    let namespaces = linux["namespaces"].as_array_mut().context("no namespaces in the spec")?;
    namespaces.retain(|namespace| namespace["type"] != "network");
    linux["resources"]["pids"] = json!({ "limit": 20 });
    linux["resources"]["memory"] = json!({ "limit": 64 << 20, "swap": 64 << 20 });
    linux["resources"]["cpu"] = json!({ "quota": 50_000, "period": 100_000 });
    // crun reads this path from the top of each tree, and runc from our own cgroup. Both remove it.
    let dirs = host::trees();
    let name = dirs.first().and_then(|dir| dir.file_name()).context("no cgroup")?;
    linux["cgroupsPath"] = format!("{}-{program}", name.to_string_lossy()).into();
    fs::write(file, serde_json::to_vec(&config)?)?;
    Ok(bundle.display().to_string())
}
