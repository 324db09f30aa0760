//! The bad input that is listed.

/// A line of the shell, in a directory that has nothing but `rootfs`, the root filesystem. `$run` is
/// `PROGRAM run`.
pub struct Input {
    /// The first step that has a word to say on it.
    pub from: usize,
    /// What is done to the host before, and stays.
    pub before: &'static str,
    /// What is typed.
    pub typed: &'static str,
}

/// Something that is typed as it is.
const fn typed(from: usize, typed: &'static str) -> Input {
    Input { from, before: "", typed }
}

/// A root filesystem with something about it.
const fn rootfs_with(before: &'static str, typed: &'static str) -> Input {
    Input { from: 4, before, typed }
}

/// All of them, in the order of the snapshot.
pub const INPUTS: &[Input] = &[
    typed(1, "$run --"),
    typed(1, "$run ' '"),
    typed(1, "$run -- --"),
    typed(1, "$run -x true"),
    typed(1, "$run - true"),
    typed(1, "$run --version"),
    typed(1, "$run ."),
    typed(1, "$run /dev/null"),
    typed(1, "$run /dev/null/x"),
    typed(1, "$run \"$(printf 'no\\nsuch\\ncommand')\""),
    typed(1, "$run \"$(printf '\\377')\""),
    typed(1, "$run $(printf %0256d 0)"),
    typed(1, "$run /$(printf %04096d 0)"),
    typed(1, "${run% run}"),
    typed(1, "${run% run} walk true"),
    typed(1, "${run% run} child true"),
    typed(2, "$run --hostname= hostname"),
    typed(2, "$run --hostname -- hostname"),
    typed(2, "$run --hostname=a --hostname=b hostname"),
    typed(2, "$run --hostname $(printf %064d 0) true"),
    typed(2, "$run --hostname $(printf %065d 0) true"),
    typed(2, "$run --hostname \"$(printf 'a\\nb')\" true"),
    typed(2, "$run --hostname ../a/b true"),
    typed(2, "$run --hostname \"$(printf '\\377')\" true"),
    typed(4, "$run --rootfs= true"),
    typed(4, "ROOTFS= $run true"),
    typed(4, "$run --rootfs / true"),
    typed(4, "$run --rootfs rootfs/../rootfs/. true"),
    typed(4, "$run --rootfs /proc true"),
    typed(4, "$run --rootfs /sys true"),
    typed(4, "$run --rootfs $(printf %05000d 0) true"),
    rootfs_with("mkdir empty", "$run --rootfs empty true"),
    rootfs_with("mkdir -p 1/proc 1/dev 1/sys", "$run --rootfs 1 true"),
    rootfs_with("ln -s rootfs link", "$run --rootfs link true"),
    rootfs_with("ln -s nowhere link", "$run --rootfs link true"),
    rootfs_with("ln -s link link", "$run --rootfs link true"),
    rootfs_with("mkdir gone", "cd gone; rmdir ../gone; $run --rootfs . true"),
    rootfs_with("mkdir gone", "cd gone; rmdir ../gone; $run --rootfs ../rootfs true"),
    typed(4, "cd rootfs; $run --rootfs . true"),
    typed(4, "cd rootfs; ROOTFS=. $run true"),
    typed(4, "cd rootfs/bin; $run --rootfs .. true"),
    rootfs_with("mount --bind rootfs rootfs", "cd rootfs; $run --rootfs . true"),
    rootfs_with("mount -t tmpfs tmpfs rootfs/tmp", "cd rootfs; $run --rootfs . pwd"),
    rootfs_with(
        "mkdir mnt; mount -t tmpfs tmpfs mnt; cp -a rootfs/* mnt",
        "cd mnt; $run --rootfs . true",
    ),
    rootfs_with("mv rootfs 'root fs'", "$run --rootfs 'root fs' pwd"),
    rootfs_with("mv rootfs \"$(printf 'a\\nb')\"", "$run --rootfs \"$(printf 'a\\nb')\" pwd"),
    rootfs_with("mv rootfs \"$(printf '\\377')\"", "$run --rootfs \"$(printf '\\377')\" pwd"),
    typed(4, "$run --rootfs \"$(printf 'no\\nsuch')\" pwd"),
    rootfs_with("mv rootfs ./--", "$run --rootfs=-- pwd"),
    rootfs_with("mount --bind rootfs rootfs", "$run --rootfs rootfs true"),
    rootfs_with(
        "mount --bind rootfs rootfs; mount -o remount,bind,ro rootfs",
        "$run --rootfs rootfs touch /x",
    ),
    rootfs_with(
        "mount --bind rootfs rootfs; mount -o remount,bind,noexec rootfs",
        "$run --rootfs rootfs true",
    ),
    rootfs_with(
        "mkdir mnt; mount -t tmpfs tmpfs mnt; cp -a rootfs mnt",
        "$run --rootfs mnt/rootfs true",
    ),
    rootfs_with(
        "mkdir mnt; mount -t tmpfs tmpfs mnt; cp -a rootfs/* mnt",
        "$run --rootfs mnt true",
    ),
    rootfs_with(
        "mount -t tmpfs tmpfs rootfs/tmp",
        "$run --rootfs rootfs grep -c ' /tmp ' /proc/mounts",
    ),
    rootfs_with("rmdir rootfs/proc", "$run --rootfs rootfs true"),
    rootfs_with("rmdir rootfs/dev", "$run --rootfs rootfs true"),
    rootfs_with("rmdir rootfs/sys", "$run --rootfs rootfs true"),
    rootfs_with("rmdir rootfs/proc; touch rootfs/proc", "$run --rootfs rootfs true"),
    rootfs_with("rmdir rootfs/dev; touch rootfs/dev", "$run --rootfs rootfs true"),
    rootfs_with("rmdir rootfs/sys; touch rootfs/sys", "$run --rootfs rootfs true"),
    rootfs_with("rmdir rootfs/dev; ln -s /tmp rootfs/dev", "$run --rootfs rootfs true"),
    rootfs_with("rmdir rootfs/sys; ln -s nowhere rootfs/sys", "$run --rootfs rootfs true"),
    rootfs_with("touch rootfs/proc/x rootfs/dev/null rootfs/sys/x", "$run --rootfs rootfs true"),
    rootfs_with("mkfifo rootfs/fifo", "$run --rootfs rootfs /fifo"),
    rootfs_with("chmod 0 rootfs", "$run --rootfs rootfs true"),
    typed(5, "$run --memory 1024t true"),
    typed(5, "$run --memory 1025t true"),
    typed(5, "$run --memory 64bm true"),
    typed(5, "$run --memory 64mbb true"),
    typed(5, "$run --memory 64i true"),
    typed(5, "$run --memory '64 mb' true"),
    typed(5, "$run --memory 64µ true"),
    typed(5, "$run --memory -1 true"),
    typed(5, "$run --memory 999999g true"),
    typed(5, "$run --memory 18446744073709551615 true"),
    typed(5, "$run --memory 18446744073709551616g true"),
    typed(5, "$run --memory ' 64m' true"),
    typed(5, "$run --memory 64,5m true"),
    typed(5, "$run --memory 0x4000000 true"),
    typed(5, "$run --memory nan true"),
    typed(5, "$run --memory inf true"),
    typed(5, "$run --memory 1e3 true"),
    typed(5, "$run --memory 0.0001 true"),
    typed(5, "$run --memory \"$(printf '64m\\n64m')\" true"),
    typed(5, "$run --memory \"$(printf '\\377')\" true"),
    typed(5, "$run --cpus .5 true"),
    typed(5, "$run --cpus -0 true"),
    typed(5, "$run --cpus 0.0099999 true"),
    typed(5, "$run --cpus 1e3 true"),
    typed(5, "$run --cpus 8192 true"),
    typed(5, "$run --cpus 1x true"),
    typed(5, "$run --cpus 1,5 true"),
    typed(5, "$run --cpus '' true"),
    typed(5, "$run --pids-limit 2 true"),
    typed(5, "$run --pids-limit 1 true"),
    typed(5, "$run --pids-limit -1 true"),
    typed(5, "$run --pids-limit 4194304 true"),
    typed(5, "$run --pids-limit 4194305 true"),
    typed(5, "$run --pids-limit 4294967296 true"),
    typed(5, "$run --pids-limit 18446744073709551616 true"),
    typed(5, "$run --pids-limit 1x true"),
    typed(5, "$run --pids-limit max true"),
    typed(5, "$run --pids-limit '' true"),
];
