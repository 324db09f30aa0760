//! The listed bad input.

/// The first step that handles it, what is done to the host before, and shell lines. They run in a
/// directory that holds only `rootfs`, the root filesystem. `$run` is `PROGRAM run`.
type Lines = (usize, &'static str, &'static [&'static str]);

#[rustfmt::skip]
const LINES: &[Lines] = &[
    (1, "", &[
        "$run --", "$run ' '", "$run -- --", "$run -x true", "$run - true", "$run --version", "$run .",
        "$run /dev/null", "$run /dev/null/x",
        r#"$run "$(printf 'no\nsuch\ncommand')""#, r#"$run "$(printf '\377')""#,
        "$run $(printf %0256d 0)", "$run /$(printf %04096d 0)",
        "${run% run}", "${run% run} walk true", "${run% run} child true",
    ]),
    (2, "", &[
        "$run --hostname= hostname", "$run --hostname -- hostname",
        "$run --hostname=a --hostname=b hostname",
        "$run --hostname $(printf %064d 0) true", "$run --hostname $(printf %065d 0) true",
        r#"$run --hostname "$(printf 'a\nb')" true"#, "$run --hostname ../a/b true",
        r#"$run --hostname "$(printf '\377')" true"#,
    ]),
    (4, "", &[
        "$run --rootfs= true", "ROOTFS= $run true", "$run --rootfs / true",
        "$run --rootfs rootfs/../rootfs/. true", "$run --rootfs /proc true", "$run --rootfs /sys true",
        "$run --rootfs $(printf %05000d 0) true",
    ]),
    (4, "mkdir empty", &["$run --rootfs empty true"]),
    (4, "mkdir -p 1/proc 1/dev 1/sys", &["$run --rootfs 1 true"]),
    (4, "ln -s rootfs link", &["$run --rootfs link true"]),
    (4, "ln -s nowhere link", &["$run --rootfs link true"]),
    (4, "ln -s link link", &["$run --rootfs link true"]),
    (4, "mkdir gone", &["cd gone; rmdir ../gone; $run --rootfs . true"]),
    (4, "mkdir gone", &["cd gone; rmdir ../gone; $run --rootfs ../rootfs true"]),
    (4, "", &[
        "cd rootfs; $run --rootfs . true", "cd rootfs; ROOTFS=. $run true",
        "cd rootfs/bin; $run --rootfs .. true",
    ]),
    (4, "mount --bind rootfs rootfs", &["cd rootfs; $run --rootfs . true"]),
    (4, "mount -t tmpfs tmpfs rootfs/tmp", &["cd rootfs; $run --rootfs . pwd"]),
    (4, "mkdir mnt; mount -t tmpfs tmpfs mnt; cp -a rootfs/* mnt", &["cd mnt; $run --rootfs . true"]),
    (4, "mv rootfs 'root fs'", &["$run --rootfs 'root fs' pwd"]),
    (4, r#"mv rootfs "$(printf 'a\nb')""#, &[r#"$run --rootfs "$(printf 'a\nb')" pwd"#]),
    (4, r#"mv rootfs "$(printf '\377')""#, &[r#"$run --rootfs "$(printf '\377')" pwd"#]),
    (4, "", &[r#"$run --rootfs "$(printf 'no\nsuch')" pwd"#]),
    (4, "mv rootfs ./--", &["$run --rootfs=-- pwd"]),
    (4, "mount --bind rootfs rootfs", &["$run --rootfs rootfs true"]),
    (4, "mount --bind rootfs rootfs; mount -o remount,bind,ro rootfs", &["$run --rootfs rootfs touch /x"]),
    (4, "mount --bind rootfs rootfs; mount -o remount,bind,noexec rootfs", &["$run --rootfs rootfs true"]),
    (4, "mkdir mnt; mount -t tmpfs tmpfs mnt; cp -a rootfs mnt", &["$run --rootfs mnt/rootfs true"]),
    (4, "mkdir mnt; mount -t tmpfs tmpfs mnt; cp -a rootfs/* mnt", &["$run --rootfs mnt true"]),
    (4, "mount -t tmpfs tmpfs rootfs/tmp", &["$run --rootfs rootfs grep -c ' /tmp ' /proc/mounts"]),
    (4, "rmdir rootfs/proc", &["$run --rootfs rootfs true"]),
    (4, "rmdir rootfs/dev", &["$run --rootfs rootfs true"]),
    (4, "rmdir rootfs/sys", &["$run --rootfs rootfs true"]),
    (4, "rmdir rootfs/proc; touch rootfs/proc", &["$run --rootfs rootfs true"]),
    (4, "rmdir rootfs/dev; touch rootfs/dev", &["$run --rootfs rootfs true"]),
    (4, "rmdir rootfs/sys; touch rootfs/sys", &["$run --rootfs rootfs true"]),
    (4, "rmdir rootfs/dev; ln -s /tmp rootfs/dev", &["$run --rootfs rootfs true"]),
    (4, "rmdir rootfs/sys; ln -s nowhere rootfs/sys", &["$run --rootfs rootfs true"]),
    (4, "touch rootfs/proc/x rootfs/dev/null rootfs/sys/x", &["$run --rootfs rootfs true"]),
    (4, "mkfifo rootfs/fifo", &["$run --rootfs rootfs /fifo"]),
    (4, "chmod 0 rootfs", &["$run --rootfs rootfs true"]),
];

/// Values for the limits of step 5, as the shell reads them.
#[rustfmt::skip]
const LIMITS: &[(&str, &[&str])] = &[
    ("--memory", &[
        "1024t", "1025t", "64bm", "64mbb", "64i", "'64 mb'", "64µ", "-1", "999999g",
        "18446744073709551615", "18446744073709551616g", "' 64m'", "64,5m", "0x4000000", "nan", "inf",
        "1e3", "0.0001", r#""$(printf '64m\n64m')""#, r#""$(printf '\377')""#,
    ]),
    ("--cpus", &[".5", "-0", "0.0099999", "1e3", "8192", "1x", "1,5", "''"]),
    ("--pids-limit", &[
        "2", "1", "-1", "4194304", "4194305", "4294967296", "18446744073709551616", "1x", "max", "''",
    ]),
];

/// All of it, in the order of the snapshot: the first step, what is done before, and what is typed.
pub fn inputs() -> Vec<(usize, &'static str, String)> {
    let mut inputs = Vec::new();
    for (from, before, lines) in LINES {
        inputs.extend(lines.iter().map(|line| (*from, *before, line.to_string())));
    }
    for (option, values) in LIMITS {
        let typed = |value| (5, "", format!("$run {option} {value} true"));
        inputs.extend(values.iter().map(typed));
    }
    inputs
}
