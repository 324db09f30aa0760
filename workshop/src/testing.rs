//! What the test programs share: their `main`, and trials that are ignored where the privilege is
//! missing.

use std::env;
use std::process::{Command, ExitCode};
use std::sync::LazyLock;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::host;
use crate::privilege::Privilege;
pub use crate::programs::{program, programs, rootfs};
use crate::worker;

/// With this variable set, tests that would be ignored fail.
const NONE_IGNORED: &str = "NO_TEST_IGNORED";

/// What we may do.
pub static PRIVILEGE: LazyLock<Privilege> = LazyLock::new(Privilege::ours);

/// Runs trials in a worker, some at once.
pub fn run(at_once: usize, trials: impl FnOnce() -> Vec<Trial>) -> ExitCode {
    let ended = worker::work(|| {
        let mut arguments = Arguments::from_args();
        arguments.test_threads.get_or_insert(at_once);
        Ok(libtest_mimic::run(&arguments, trials()).exit_code())
    });
    ended.unwrap_or_else(|error| host::exit_code(Err(error)))
}

/// A trial that is ignored, with the reason in its name, where the privilege is missing: root, or
/// (`needs_root` is false) at least a user namespace.
pub fn trial(
    name: String,
    needs_root: bool,
    test: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    trial_unless(missing_privilege(needs_root), name, test)
}

/// The privilege that is missing, if it is: root, or at least a user namespace.
pub fn missing_privilege(needs_root: bool) -> Option<&'static str> {
    match *PRIVILEGE {
        Privilege::Root => None,
        Privilege::UserNamespace if needs_root => Some("needs root"),
        Privilege::UserNamespace => None,
        Privilege::None => Some("needs root, or user namespaces"),
    }
}

/// Holds a text against the snapshot of that name.
#[macro_export]
macro_rules! snapshot {
    ($name:expr, $text:expr) => {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!($name, $text);
        })
    };
}

/// What is missing where there is no strace, or where it may not trace.
pub fn missing_strace() -> Option<&'static str> {
    static STRACE: LazyLock<bool> = LazyLock::new(|| {
        let strace = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
        strace.is_ok_and(|output| output.status.success())
    });
    (!*STRACE).then_some("needs strace, and that it may trace")
}

/// A trial that is ignored, with the reason in its name, where something is missing.
pub fn trial_unless(
    missing: Option<&'static str>,
    name: String,
    test: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    let test = || test().map_err(|error| Failed::from(format!("{error:#}")));
    match missing {
        None => Trial::test(name, test),
        Some(why) if env::var_os(NONE_IGNORED).is_some() => {
            Trial::test(name, move || Err(format!("{why}, and {NONE_IGNORED} is set").into()))
        }
        Some(why) => Trial::test(name, test).with_ignored_flag(true).with_kind(why),
    }
}

/// A trial that is ignored, with the reason in its name, where something is missing that nobody has
/// to have: it is no failure then, with `NO_TEST_IGNORED` neither.
pub fn trial_if(
    there: bool,
    missing: &'static str,
    name: String,
    test: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    match there {
        true => trial(name, true, test),
        false => Trial::test(name, || Ok(())).with_ignored_flag(true).with_kind(missing),
    }
}
