//! The one way in which our test programs try something: case by case.
//!
//! A `case` runs on a throw-away host. To run it, the test program starts itself anew there, with
//! the case's name, and only then is its closure called; what that returns is what the case `said`.
//! `here` is for what needs no host, such as a table of what others said. A case whose needs are not
//! met is *ignored*, with the reason, unless `NO_TEST_IGNORED` is set: then it
//! fails. One that is for another machine (`only_if`) is ignored there always.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use libtest2_mimic::{Harness, RunError, Trial};
use workshop::host;
use workshop::machine::{PATIENCE, Privilege};
use workshop::workspace::workspace;

use crate::programs::{PROGRAMS, programs, rootfs};

/// What a case needs, and how it is run.
#[derive(Clone, Copy)]
pub struct Needs {
    /// Nothing (`None`), at least a user namespace, or root.
    pub privilege: Privilege,
    /// Programs that must be installed here.
    pub programs: &'static [&'static str],
    /// Nobody has to have them: without, it is ignored even if `NO_TEST_IGNORED` is set.
    pub optional: bool,
    /// How long it may take.
    pub limit: Duration,
    /// It is expected to fail: for this many seconds it waits for what will not happen.
    pub patience: Option<&'static str>,
}

impl Needs {
    /// Nothing.
    pub const NOTHING: Needs = Needs {
        privilege: Privilege::None,
        programs: &[],
        optional: false,
        limit: Duration::from_secs(60),
        patience: None,
    };
    /// A user namespace, or root.
    pub const USER: Needs = Needs { privilege: Privilege::UserNamespace, ..Needs::NOTHING };
    /// Root.
    pub const ROOT: Needs = Needs { privilege: Privilege::Root, ..Needs::NOTHING };

    /// Root, or else a user namespace.
    pub const fn root_if(root: bool) -> Needs {
        if root { Needs::ROOT } else { Needs::USER }
    }

    /// And these programs.
    pub const fn with(self, programs: &'static [&'static str]) -> Needs {
        Needs { programs, ..self }
    }

    /// And so many seconds.
    pub const fn within(self, seconds: u64) -> Needs {
        Needs { limit: Duration::from_secs(seconds), ..self }
    }

    /// And little patience: it is expected to fail.
    pub const fn in_vain(self) -> Needs {
        Needs { patience: Some("2"), ..self }
    }

    /// What is missing here, if anything is.
    fn missing(&self) -> Option<String> {
        if self.privilege == Privilege::Root && *PRIVILEGE != Privilege::Root {
            return Some("needs root".to_owned());
        }
        if self.privilege != Privilege::None && *PRIVILEGE == Privilege::None {
            return Some("needs root, or user namespaces".to_owned());
        }
        let missing = self.programs.iter().find(|program| !is_installed(program));
        missing.map(|program| format!("needs the package {}", package(program)))
    }
}

/// The Debian package that a program is in.
fn package(program: &str) -> &str {
    match program {
        "busybox" => "busybox-static",
        "bwrap" => "bubblewrap",
        "dpkg-deb" => "dpkg",
        "go" => "golang-go",
        "ps" => "procps",
        itself => itself,
    }
}

/// What we may do.
pub static PRIVILEGE: LazyLock<Privilege> = LazyLock::new(Privilege::ours);

/// Is a program installed?
fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs = env::split_paths(&path).chain(["/usr/sbin".into()]);
    dirs.any(|dir| dir.join(program).is_file())
}

type Look = Box<dyn Fn() -> Result<String> + Send + Sync>;
type Then = Box<dyn Fn(&str) -> Result<()> + Send + Sync>;

/// Something that is tried.
pub struct Case {
    name: String,
    needs: Needs,
    /// Why it is for another machine than this one, if it is: then it is ignored, always.
    elsewhere: Option<&'static str>,
    look: Look,
    /// What becomes of what it said; `None` if it is to run in this process.
    then: Option<Then>,
}

/// Something that is tried on a throw-away host.
pub fn case(
    name: impl Into<String>,
    needs: Needs,
    look: impl Fn() -> Result<String> + Send + Sync + 'static,
) -> Case {
    let case = Case { name: name.into(), needs, elsewhere: None, look: Box::new(look), then: None };
    case.then(|_| Ok(()))
}

/// Something that is tried where we are.
pub fn here(
    name: impl Into<String>,
    needs: Needs,
    look: impl Fn() -> Result<()> + Send + Sync + 'static,
) -> Case {
    let look = move || look().map(|()| String::new());
    Case { name: name.into(), needs, elsewhere: None, look: Box::new(look), then: None }
}

impl Case {
    /// And what it said is looked at where we are: held against a snapshot, for one.
    pub fn then(self, then: impl Fn(&str) -> Result<()> + Send + Sync + 'static) -> Case {
        Case { then: Some(Box::new(then)), ..self }
    }

    /// But only on a machine for which this holds. On all others it is ignored, for that reason, and
    /// `NO_TEST_IGNORED` asks no more of them.
    pub fn only_if(self, holds: bool, why: &'static str) -> Case {
        Case { elsewhere: (!holds).then_some(why), ..self }
    }

    /// And what it said is held against the snapshot of this name, in `book/recorded`.
    pub fn recorded(self, name: impl Into<String>) -> Case {
        let name = name.into();
        self.then(move |said| {
            recorded(&name, said);
            Ok(())
        })
    }
}

/// How each case is run, by its name.
static HOW: OnceLock<BTreeMap<String, Needs>> = OnceLock::new();

/// What a case said. It runs once, whoever asks first.
pub fn said(name: &str) -> Result<String> {
    type Said = Arc<OnceLock<Result<String, String>>>;
    static SAID: Mutex<BTreeMap<String, Said>> = Mutex::new(BTreeMap::new());
    let needs = HOW.get().and_then(|how| how.get(name)).with_context(|| format!("no {name}"))?;
    let said = SAID.lock().expect("no panic").entry(name.to_owned()).or_default().clone();
    let said = said.get_or_init(|| measure(name, needs).map_err(|error| format!("{error:#}")));
    said.clone().map_err(|error| anyhow!("{error}"))
}

fn measure(name: &str, needs: &Needs) -> Result<String> {
    let mut options = host::Options::new(*PRIVILEGE);
    options.limit = needs.limit;
    options.envs.push(("ROOTFS", rootfs().as_os_str()));
    options.envs.push((PROGRAMS, programs().as_os_str()));
    options.envs.extend(needs.patience.map(|seconds| (PATIENCE, OsStr::new(seconds))));
    host::again(name, &options)
}

/// The `main` of a test program: runs cases, some at once. `TEST -- NAME` runs those whose names
/// have this in them.
pub fn run(at_once: usize, cases: Vec<Case>) -> ExitCode {
    if let Some((name, args)) = host::case() {
        let Some(case) = cases.iter().find(|case| case.name == name) else {
            return workshop::checks::inside(&name, &args);
        };
        return host::end_case((case.look)());
    }
    let how: BTreeMap<_, _> = cases.iter().map(|case| (case.name.clone(), case.needs)).collect();
    assert_eq!(how.len(), cases.len(), "two cases have one name");
    HOW.get_or_init(|| how);
    let mut args: Vec<_> = env::args_os().collect();
    if !args.iter().any(|arg| arg.to_string_lossy().starts_with("--test-threads")) {
        args.push(format!("--test-threads={at_once}").into());
    }
    Harness::with_args(args).discover(cases.into_iter().map(trial)).main()
}

fn trial(case: Case) -> Trial {
    let Case { name, needs, elsewhere, look, then } = case;
    Trial::test(name.clone(), move |context| {
        if let Some(why) = elsewhere {
            say_once(why);
            return context.ignore_for(why);
        }
        if let Some(why) = needs.missing() {
            if needs.optional || env::var_os("NO_TEST_IGNORED").is_none() {
                say_once(&why);
                return context.ignore_for(why);
            }
            return Err(RunError::fail(format!("{why}, and NO_TEST_IGNORED is set")));
        }
        let tried = match &then {
            Some(then) => said(&name).and_then(|said| then(&said)),
            None => look().map(drop),
        };
        tried.map_err(|error| RunError::fail(format!("{error:#}")))
    })
}

/// Says why something is ignored: the harness keeps that to itself.
fn say_once(why: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if SAID.lock().expect("no panic").insert(why.to_owned()) {
        eprintln!("ignored here: what {why}");
    }
}

/// A number that may be set in the environment, for a test that can do more or less.
pub fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

/// Holds a text against the snapshot of that name in `book/recorded`: the book shows it.
pub fn recorded(name: &str, text: &str) {
    held_against(&workspace().join("book/recorded"), name, text);
}

/// Holds a text against the snapshot of that name in `proof/tests/snapshots`: only we read it.
pub fn snapshot(name: &str, text: &str) {
    held_against(&workspace().join("proof/tests/snapshots"), name, text);
}

fn held_against(dir: &Path, name: &str, text: &str) {
    let (folder, name) = name.rsplit_once('/').unwrap_or(("", name));
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path(dir.join(folder));
    settings.bind(|| insta::assert_snapshot!(name, text));
}
