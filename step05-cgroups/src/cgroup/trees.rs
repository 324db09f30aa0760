//! Where the trees of cgroups are mounted, and where in them we are.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

// ANCHOR: own_cgroup
/// The directory of our own cgroup in a tree (`pids`, say, or `cgroup2`), if that is mounted.
pub fn own_cgroup(tree: &str) -> Result<Option<PathBuf>> {
    let Some((root, mount_point)) = find_mount(tree)? else { return Ok(None) };
    let Some(path) = own_path(tree)? else { return Ok(None) };
    // The tree may be mounted from `root` on, a cgroup below its top.
    let below = path.strip_prefix(&root);
    let below =
        below.with_context(|| format!("{path:?}, our cgroup, is not in {mount_point:?}"))?;
    Ok(Some(mount_point.join(below)))
}
// ANCHOR_END: own_cgroup

// ANCHOR: mount
/// What is mounted of a tree, and where (`man 5 proc_pid_mountinfo`).
fn find_mount(tree: &str) -> Result<Option<(PathBuf, PathBuf)>> {
    let mountinfo = fs::read("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    for line in mountinfo.split(|byte| *byte == b'\n') {
        let fields: Vec<_> = line.split(|byte| *byte == b' ').collect();
        let [_, _, _, root, mount_point, .., fstype, _, options] = fields[..] else { continue };
        let of_controller = fstype == b"cgroup" && has_word(options, tree);
        if of_controller || fstype == tree.as_bytes() {
            return Ok(Some((unescape(root), unescape(mount_point))));
        }
    }
    Ok(None)
}

/// The path of our own cgroup from the top of a tree: `4:pids:/path`, or `0::/path` in version 2.
fn own_path(tree: &str) -> Result<Option<PathBuf>> {
    let cgroups = fs::read("/proc/self/cgroup").context("read /proc/self/cgroup")?;
    for line in cgroups.split(|byte| *byte == b'\n') {
        let fields: Vec<_> = line.splitn(3, |byte| *byte == b':').collect();
        let [_, controllers, path] = fields[..] else { continue };
        if has_word(controllers, tree) || (tree == "cgroup2" && controllers.is_empty()) {
            return Ok(Some(OsString::from_vec(path.to_vec()).into()));
        }
    }
    Ok(None)
}
// ANCHOR_END: mount

/// Is the word in a list with commas?
fn has_word(list: &[u8], word: &str) -> bool {
    list.split(|byte| *byte == b',').any(|other| other == word.as_bytes())
}

/// A path of mountinfo, in which blanks and such are octal numbers: `\040`.
fn unescape(path: &[u8]) -> PathBuf {
    let mut parts = path.split(|byte| *byte == b'\\');
    let mut bytes = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(part.len().min(3));
        bytes.push(u8::from_str_radix(&String::from_utf8_lossy(digits), 8).unwrap_or(b'?'));
        bytes.extend(rest);
    }
    OsString::from_vec(bytes).into()
}
