//! What is measured: each row is a command that runs `true` from the root filesystem.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use workshop::programs::rootfs;
use workshop::steps::STEPS;

use super::{Part, build, cgroups};

/// Whose row it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Floor,
    Step,
    Other,
    /// Not a container, but one wall of it.
    Wall,
}

/// A row of the table.
pub struct Row {
    /// Its name.
    pub id: String,
    /// What it is, in a few words.
    pub title: String,
    pub kind: Kind,
    argv: Vec<String>,
    pub envs: Vec<(&'static str, String)>,
    /// Where the limits are in version 1, a tree of version 2 beside them is too much for it.
    pub one_version: bool,
}

/// Stands for the number of a run's place where some run at once: a container needs a name there.
const SLOT: &str = "{slot}";

/// The most that run at once.
pub const SLOTS: usize = 16;

/// The row that all others are compared to.
pub const BASE: &str = "floor-bare";

/// The row that the walls are compared to.
pub const NO_WALL: &str = "wall-none";

/// The rows of which the longer measurements are made.
const LONG: [&str; 6] = ["floor-full", "step05-cgroups", "bwrap", "crun", "runc", "go"];

/// The limits of step 5, all of them: 20 processes is the default.
const LIMITS: [&str; 4] = ["--memory", "64m", "--cpus", "0.5"];

impl Row {
    fn new<S: Into<String>>(
        id: &str,
        title: &str,
        kind: Kind,
        argv: impl IntoIterator<Item = S>,
    ) -> Row {
        let argv = argv.into_iter().map(Into::into).collect();
        let (id, title) = (id.to_owned(), title.to_owned());
        Row { id, title, kind, argv, envs: Vec::new(), one_version: false }
    }

    /// The command line, for one of those that run at once.
    pub fn argv(&self, slot: usize) -> impl Iterator<Item = String> + '_ {
        self.argv.iter().map(move |word| word.replace(SLOT, &slot.to_string()))
    }

    /// The command, not yet started; what it says goes nowhere.
    pub fn command(&self, slot: usize) -> Command {
        let mut argv = self.argv(slot);
        let mut command = Command::new(argv.next().unwrap_or_default());
        command.args(argv).envs(self.envs.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Is it measured in this part?
    pub fn is_in(&self, part: Part) -> bool {
        match part {
            Part::Busy | Part::Idle | Part::Calls => self.kind != Kind::Wall,
            Part::Walls => self.kind == Kind::Wall,
            Part::Crowd => LONG.contains(&self.id.as_str()),
            // The Go program has no cgroup, and runc's time drowns the difference.
            Part::Growth => LONG[..4].contains(&self.id.as_str()),
        }
    }
}

/// All rows that can be measured here, and notes: why others cannot, and what is special.
pub fn all(place: &Path) -> Result<(Vec<Row>, Vec<String>)> {
    let rootfs = rootfs().to_str().context("the path of the rootfs")?.to_owned();
    let host_true = format!("{rootfs}/bin/true");
    let floor = build::floor().display().to_string();
    let mut rows = vec![
        Row::new(
            "fork-exec",
            "fork and exec, no container",
            Kind::Floor,
            [&floor, "plain", &rootfs, &host_true],
        ),
        Row::new(
            BASE,
            "C: namespaces, root, /proc",
            Kind::Floor,
            [&floor, "bare", &rootfs, "/bin/true"],
        ),
        Row {
            envs: cgroups_of_the_floor()?,
            ..Row::new(
                "floor-full",
                "C: and /dev, /sys, cgroups",
                Kind::Floor,
                [&floor, "full", &rootfs, "/bin/true"],
            )
        },
    ];
    for (step, name) in STEPS.into_iter().enumerate() {
        let program = if step < 3 { host_true.as_str() } else { "/bin/true" };
        let row = |id: &str, title: &str, profile: &str, options: &[&str]| {
            let target =
                if id == "step05-static" { build::linked_statically() } else { build::target() };
            let path = target.join(profile).join(name).display().to_string();
            let argv = [&path, "run"].into_iter().chain(options.iter().copied()).chain([program]);
            Row { envs: vec![("ROOTFS", rootfs.clone())], ..Row::new(id, title, Kind::Step, argv) }
        };
        if step < 4 {
            rows.push(row(name, &format!("step {}", step + 1), "release", &[]));
        } else {
            rows.push(row("step05-default", "step 5, as it is without options", "release", &[]));
            rows.push(row(name, "step 5 with all its limits", "release", &LIMITS));
            rows.push(row("step05-dev", "the same, as `cargo run` builds it", "debug", &LIMITS));
            rows.push(row("step05-static", "the same, linked statically", "release", &LIMITS));
        }
    }
    let mut notes = Vec::new();
    others(&rootfs, place, &mut rows, &mut notes)?;
    walls(&host_true, &mut rows);
    Ok((rows, notes))
}

/// Where the floor may make its cgroups: where step 5 makes its.
fn cgroups_of_the_floor() -> Result<Vec<(&'static str, String)>> {
    if let Some(dir) = cgroups::version_2() {
        return Ok(vec![("CGROUP2", dir.display().to_string())]);
    }
    let files =
        [("PIDS", "pids.max"), ("MEMORY", "memory.limit_in_bytes"), ("CPU", "cpu.cfs_quota_us")];
    let dir = |(name, file)| {
        let dir = cgroups::version_1(file).with_context(|| format!("no cgroup has a {file}"))?;
        Ok((name, dir.display().to_string()))
    };
    files.into_iter().map(dir).collect()
}

/// One namespace of each kind, by unshare(1), which starts a child in each.
fn walls(host_true: &str, rows: &mut Vec<Row>) {
    let walls = [
        (NO_WALL, "none", None),
        ("wall-uts", "UTS (hostname)", Some("--uts")),
        ("wall-pid", "PID", Some("--pid")),
        ("wall-cgroup", "cgroup", Some("--cgroup")),
        ("wall-user", "user", Some("--user")),
        ("wall-ipc", "IPC", Some("--ipc")),
        ("wall-mount", "mount", Some("--mount")),
        ("wall-net", "network", Some("--net")),
    ];
    for (id, title, flag) in walls {
        let words = ["unshare", "--fork"].into_iter().chain(flag).chain([host_true]);
        rows.push(Row::new(id, title, Kind::Wall, words));
    }
}

/// What else is installed.
fn others(rootfs: &str, place: &Path, rows: &mut Vec<Row>, notes: &mut Vec<String>) -> Result<()> {
    let unshare = ["unshare", "-u", "-p", "-f", "-m", "--root", rootfs, "--mount-proc"];
    let bwrap = ["bwrap", "--bind", rootfs, "/", "--proc", "/proc", "--dev", "/dev"];
    let sys = ["--ro-bind", "/sys", "/sys"];
    let walls = ["--unshare-uts", "--unshare-pid", "--unshare-cgroup"];
    let words = |parts: &[&[&str]]| parts.concat().into_iter().map(str::to_owned).collect();
    let found: [(_, _, _, Vec<String>); 5] = [
        ("unshare", "unshare", "", words(&[&unshare])),
        ("bwrap", "bwrap", ", the same walls", words(&[&bwrap, &sys, &walls])),
        ("bwrap-all", "bwrap", ", --unshare-all", words(&[&bwrap, &sys, &["--unshare-all"]])),
        ("crun", "crun", ", no network namespace", vec![]),
        ("runc", "runc", ", no network namespace", vec![]),
    ];
    for (id, program, what, mut argv) in found {
        let Some(version) = version(program) else {
            notes.push(format!("{id}: {program} is not installed"));
            continue;
        };
        if argv.is_empty() {
            argv = runtime(program, place, rootfs)?;
        } else {
            argv.push("/bin/true".into());
        }
        let one_version = id == "crun";
        if one_version && cgroups::version_2_beside_1().is_some() {
            notes.push("crun: knows no version 2 beside 1, which is hidden from it".into());
        }
        let row = Row::new(id, &format!("{version}{what}"), Kind::Other, argv);
        rows.push(Row { one_version, ..row });
    }
    let talk = build::talk();
    if talk.exists() && version("go").is_some() {
        let argv = [&talk.display().to_string(), "run", "/bin/true"];
        rows.push(Row {
            envs: vec![("ROOTFS", rootfs.to_owned())],
            ..Row::new("go", "the talk's Go program, no cgroup", Kind::Other, argv)
        });
    } else {
        notes.push("go: the talk's program takes Go to build".into());
    }
    Ok(())
}

/// The name and version of a program, if it is installed.
fn version(program: &str) -> Option<String> {
    let argument = if program == "go" { "version" } else { "--version" };
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text.split(|c: char| c.is_whitespace() || c == '+');
    let number = number
        .map(|word| word.trim_end_matches(','))
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
    Some(format!("{program} {}", number.unwrap_or_default()).trim_end().to_owned())
}

/// The command line of an OCI runtime. Writes the bundles that it wants: what its own `spec`
/// proposes, with our command, root and limits, and without a network namespace, which alone costs
/// as much as all that we do.
fn runtime(program: &str, place: &Path, rootfs: &str) -> Result<Vec<String>> {
    for slot in 0..SLOTS {
        let bundle = place.join(format!("{program}-{slot}"));
        fs::create_dir(&bundle)?;
        let spec = Command::new(program).arg("spec").current_dir(&bundle).status();
        spec.with_context(|| format!("{program} spec"))?;
        let file = bundle.join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = json!(["/bin/true"]);
        config["root"]["path"] = rootfs.into();
        let linux = config["linux"].as_object_mut().context("no linux in the spec")?;
        if let Some(namespaces) = linux.get_mut("namespaces").and_then(Value::as_array_mut) {
            namespaces.retain(|namespace| namespace["type"] != "network");
        }
        let resources = linux.entry("resources").or_insert_with(|| json!({}));
        resources["pids"] = json!({ "limit": 20 });
        resources["memory"] = json!({ "limit": 64 << 20, "swap": 64 << 20 });
        resources["cpu"] = json!({ "quota": 50_000, "period": 100_000 });
        linux.insert("cgroupsPath".into(), cgroup(program, slot)?.into());
        fs::write(file, serde_json::to_vec(&config)?)?;
    }
    let state = place.join(program).display().to_string();
    let bundle = place.join(format!("{program}-{SLOT}")).display().to_string();
    let words = [program, "--root", &state, "run", "--bundle", &bundle];
    Ok(words.map(str::to_owned).into_iter().chain([format!("bench-{SLOT}")]).collect())
}

/// The cgroup of a runtime's container, where step 5 would make it. A relative path is for crun from
/// the top of each tree, and for runc from where we are.
fn cgroup(program: &str, slot: usize) -> Result<String> {
    let dirs = workshop::host::trees();
    let name = dirs.first().and_then(|dir| dir.file_name()).context("no cgroup")?.to_string_lossy();
    if program == "runc" {
        return Ok(format!("{name}-{slot}"));
    }
    let cgroups = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
    let mut paths = cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let own = paths.find_map(|path| Some(path.split_at(path.find(&*name)? + name.len()).0));
    Ok(format!("{}/{program}-{slot}", own.context("no cgroup of ours")?))
}
