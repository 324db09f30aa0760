//! Where the trees of cgroups are mounted, and where in them we are.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// The directory of our own cgroup in each tree: `cgroup2` for version 2, else a controller's name.
pub type OwnCgroups = BTreeMap<&'static str, PathBuf>;

// ANCHOR: own_cgroups
/// Finds our own cgroup in each tree that is mounted.
pub fn own_cgroups() -> Result<OwnCgroups> {
    let mountinfo = fs::read("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let cgroups = fs::read("/proc/self/cgroup").context("read /proc/self/cgroup")?;
    let mut own = OwnCgroups::new();
    for tree in ["pids", "memory", "cpu", "cgroup2"] {
        let Some((root, mount_point)) = find_mount(&mountinfo, tree) else { continue };
        let Some(path) = own_path(&cgroups, tree) else { continue };
        // The mount may begin at `root`, below the top of the tree, and not show our cgroup.
        let Ok(below) = path.strip_prefix(&root) else { continue };
        own.insert(tree, mount_point.join(below));
    }
    Ok(own)
}
// ANCHOR_END: own_cgroups

// ANCHOR: mount
/// Which part of a tree is mounted, and where (`man 5 proc_pid_mountinfo`).
fn find_mount(mountinfo: &[u8], tree: &str) -> Option<(PathBuf, PathBuf)> {
    for line in mountinfo.split(|byte| *byte == b'\n') {
        let fields: Vec<_> = line.split(|byte| *byte == b' ').collect();
        let [_, _, _, root, mount_point, .., fstype, _, options] = fields[..] else { continue };
        let of_controller = fstype == b"cgroup" && has_word(options, tree);
        if of_controller || fstype == tree.as_bytes() {
            return Some((unescape(root), unescape(mount_point)));
        }
    }
    None
}

/// The path of our own cgroup from the top of a tree: `4:pids:/path`, or `0::/path` in version 2.
fn own_path(cgroups: &[u8], tree: &str) -> Option<PathBuf> {
    for line in cgroups.split(|byte| *byte == b'\n') {
        let fields: Vec<_> = line.splitn(3, |byte| *byte == b':').collect();
        let [_, controllers, path] = fields[..] else { continue };
        if has_word(controllers, tree) || (tree == "cgroup2" && controllers.is_empty()) {
            return Some(OsString::from_vec(path.to_vec()).into());
        }
    }
    None
}
// ANCHOR_END: mount

/// Is the word in a comma-separated list?
fn has_word(list: &[u8], word: &str) -> bool {
    list.split(|byte| *byte == b',').any(|other| other == word.as_bytes())
}

/// Decodes a path of mountinfo, which writes a space as an octal number: `\040`.
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
