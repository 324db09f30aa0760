//! Where the trees of cgroups are mounted, and where in them we are.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

// ANCHOR: own_cgroup
/// The directory of our own cgroup, if its tree is mounted: the tree of a controller, such as `pids`,
/// or `cgroup2`, that of version 2.
pub fn own_cgroup(tree: &str) -> Result<Option<PathBuf>> {
    let Some((root, mount_point)) = mount(tree)? else { return Ok(None) };
    let Some(path) = path(tree)? else { return Ok(None) };
    let elsewhere = root.starts_with("/..");
    ensure!(!elsewhere, "{mount_point:?} is of another cgroup namespace: mount cgroups anew");
    // The tree may be mounted from `root` on, a cgroup below its top.
    match path.strip_prefix(&root) {
        Ok(below) => Ok(Some(mount_point.join(below))),
        Err(_) => Ok(Some(mount_point)),
    }
}
// ANCHOR_END: own_cgroup

// ANCHOR: mount
/// What is mounted of a tree, and where (`man 5 proc_pid_mountinfo`).
fn mount(tree: &str) -> Result<Option<(PathBuf, PathBuf)>> {
    let mountinfo = fs::read("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    for line in mountinfo.split(|byte| *byte == b'\n') {
        let fields: Vec<_> = line.split(|byte| *byte == b' ').collect();
        let [_, _, _, root, mount_point, .., fstype, _, options] = fields[..] else { continue };
        let of_controller = fstype == b"cgroup" && contains(options, tree);
        if of_controller || fstype == tree.as_bytes() {
            return Ok(Some((unescape(root), unescape(mount_point))));
        }
    }
    Ok(None)
}

/// The path of our own cgroup from the top of a tree: `4:pids:/path`, or `0::/path` in version 2.
fn path(tree: &str) -> Result<Option<PathBuf>> {
    let cgroups = fs::read("/proc/self/cgroup").context("read /proc/self/cgroup")?;
    for line in cgroups.split(|byte| *byte == b'\n') {
        let fields: Vec<_> = line.splitn(3, |byte| *byte == b':').collect();
        let [_, controllers, path] = fields[..] else { continue };
        if contains(controllers, tree.trim_start_matches("cgroup2")) {
            return Ok(Some(OsString::from_vec(path.to_vec()).into()));
        }
    }
    Ok(None)
}
// ANCHOR_END: mount

/// Is the word in a list with commas?
fn contains(list: &[u8], word: &str) -> bool {
    list.split(|byte| *byte == b',').any(|other| other == word.as_bytes())
}

/// A path of mountinfo, in which blanks and such are octal numbers: `\040`.
fn unescape(path: &[u8]) -> PathBuf {
    let mut parts = path.split(|byte| *byte == b'\\');
    let mut bytes = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(part.len().min(3));
        let number = digits.iter().fold(0u8, |number, digit| number * 8 + (digit - b'0'));
        bytes.push(number);
        bytes.extend(rest);
    }
    OsString::from_vec(bytes).into()
}
