//! Faked findings, judged.

use super::*;

/// A machine on which nothing is in the way: a fresh Debian, a user with sudo.
fn healthy() -> Findings {
    Findings {
        kernel: "6.12.48+deb13-amd64".into(),
        arch: "x86_64",
        cargo: Some("1.85.0".into()),
        user: User::Sudo { password: true },
        wsl: None,
        container: None,
        shared: Some(true),
        namespaces: UserNamespaces {
            tried: Ok(()),
            none_allowed: false,
            clone_forbidden: false,
            apparmor: false,
        },
        cgroups: Cgroups {
            world: World::V2,
            missing: vec![],
            tried: Err("/sys/fs/cgroup/workshop-doctor-1: Permission denied (os error 13)".into()),
            systemd: true,
        },
        busybox: Ok("/usr/bin/busybox".into()),
        install: "sudo apt-get install busybox-static",
        rootfs: ("rootfs".into(), Rootfs::Sane("alpine-minirootfs-3.23.2-x86_64.tar.gz".into())),
    }
}

/// A machine with one trouble, by name.
type Case = (&'static str, fn(&mut Findings));

const CASES: &[Case] = &[
    ("an old kernel", |m| m.kernel = "4.4.0-210-generic".into()),
    ("no /proc", |m| m.kernel.clear()),
    ("another architecture", |m| m.arch = "riscv64"),
    ("an old cargo", |m| m.cargo = Some("1.63.0".into())),
    ("no cargo", |m| m.cargo = None),
    ("WSL 1", |m| {
        m.wsl = Some(1);
        m.kernel = "4.4.0-19041-Microsoft".into();
    }),
    ("root in a Docker container", |m| {
        m.user = User::RootInName;
        m.container = Some("Docker".into());
        refuse(m);
    }),
    ("root in a Podman container", |m| {
        m.user = User::RootInName;
        m.container = Some("Podman".into());
        refuse(m);
    }),
    ("root without power elsewhere", |m| {
        m.user = User::RootInName;
        m.container = Some("a container (lxc)".into());
        refuse(m);
    }),
    ("a user without sudo", |m| m.user = User::Plain),
    ("a user without sudo, and no systemd", |m| {
        m.user = User::Plain;
        m.cgroups.systemd = false;
    }),
    ("a user without sudo or namespaces", |m| {
        m.user = User::Plain;
        m.cgroups.tried = Ok(());
        refuse(m);
        m.namespaces.apparmor = true;
    }),
    ("no user namespaces", |m| {
        refuse(m);
        m.namespaces.none_allowed = true;
    }),
    ("no user namespaces but for root", |m| {
        refuse(m);
        m.namespaces.clone_forbidden = true;
    }),
    ("no user namespaces, and no reason", refuse),
    ("no cgroups", |m| m.cgroups.world = World::None),
    ("no cgroups in Docker", |m| {
        m.cgroups.world = World::None;
        m.container = Some("Docker".into());
    }),
    ("no cgroups in Podman", |m| {
        m.cgroups.world = World::None;
        m.container = Some("Podman".into());
    }),
    ("no cgroups in WSL 2", |m| {
        m.cgroups.world = World::None;
        m.wsl = Some(2);
    }),
    ("no memory controller, as on a Raspberry Pi", |m| {
        m.arch = "aarch64";
        m.cgroups.missing = vec!["memory"];
    }),
    ("not all controllers, in version 1", |m| {
        m.cgroups.world = World::V1;
        m.cgroups.missing = vec!["pids", "cpu"];
    }),
    ("read-only cgroups", |m| read_only(m, None)),
    ("read-only cgroups in Docker", |m| read_only(m, Some("Docker"))),
    ("read-only cgroups in Podman", |m| read_only(m, Some("Podman"))),
    ("read-only cgroups, hybrid", |m| {
        read_only(m, None);
        m.cgroups.world = World::Hybrid;
    }),
    ("no busybox", |m| {
        m.busybox = Err("no busybox at hand".into());
        m.rootfs.1 = Rootfs::Missing;
    }),
    ("no rootfs", |m| m.rootfs.1 = Rootfs::Missing),
    ("a broken rootfs", |m| m.rootfs.1 = Rootfs::Broken("it has no /bin/sh".into())),
    ("a mount left in the rootfs", |m| m.rootfs.1 = Rootfs::Mounted("rootfs/proc".into())),
];

fn refuse(machine: &mut Findings) {
    machine.namespaces.tried = Err("unshare: unshare failed: Operation not permitted".into());
}

fn read_only(machine: &mut Findings, container: Option<&str>) {
    machine.user = User::Root;
    machine.container = container.map(str::to_owned);
    machine.cgroups.tried = Err("/sys/fs/cgroup/workshop-doctor-1: Read-only file system".into());
}

fn with(change: fn(&mut Findings)) -> Vec<Line> {
    let mut machine = healthy();
    change(&mut machine);
    judge(&machine)
}

#[test]
fn healthy_machines_have_no_trouble() {
    let users: [fn(&mut Findings); 3] = [
        |_| {},
        |m| m.user = User::Sudo { password: false },
        |m| {
            m.user = User::Root;
            m.cgroups.tried = Ok(());
            m.cgroups.world = World::Hybrid;
            m.shared = Some(false);
            m.wsl = Some(2);
        },
    ];
    for user in users {
        let said = Report(&with(user)).to_string();
        assert!(!said.contains('✘'), "{said}");
        assert!(said.ends_with("\nAll five steps run here.\n"), "{said}");
    }
}

#[test]
fn every_trouble_has_a_line_that_mends_it() {
    let mut all = Report(&judge(&healthy())).to_string();
    for (name, change) in CASES {
        let lines = with(*change);
        let marked = |line: &Line| (line.mark == '✘') == line.fix.is_some();
        assert!(lines.iter().all(marked), "{name}: a ✘ without a fix, or a fix without a ✘");
        let fixes = lines.iter().filter_map(|line| line.fix.as_deref());
        assert!(fixes.clone().count() > 0, "{name}: no ✘");
        assert!(fixes.clone().all(|fix| !fix.contains('\n')), "{name}: more than one line");
        let said = Report(&lines).to_string();
        // What is as on the healthy machine would be in the way of reading.
        let mut told: Vec<_> = said.lines().filter(|l| !l.starts_with(['✔', '·'])).collect();
        told.insert(0, name);
        all += &format!("\n{}\n", told.join("\n"));
    }
    insta::with_settings!({
        omit_expression => true,
        prepend_module_to_snapshot => false,
        snapshot_path => "../../../tests/snapshots",
    }, {
        insta::assert_snapshot!("doctor", all);
    });
}

#[test]
fn this_machine_is_looked_at_without_a_fault() {
    let lines = judge(&look::findings());
    assert!(lines.iter().all(|line| !line.found.is_empty()));
}
