//! How all our test programs run what they test: as cases.
//!
//! A `case` runs on a throw-away host. The test program starts itself again there with the case's
//! name, and that process calls the closure. What the closure returns is what the case `said`. `here`
//! is for what needs no host, such as a table of what other cases said. If a machine does not have
//! what a case needs, the case is *ignored* with the reason, or fails if `NO_TEST_IGNORED` is set. A
//! case for another machine (`only_if`) is always ignored.

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
    /// The privilege it needs.
    pub privilege: Privilege,
    /// Programs that must be installed.
    pub programs: &'static [&'static str],
    /// Optional: without its programs it is ignored even if `NO_TEST_IGNORED` is set.
    pub optional: bool,
    /// How long it may take.
    pub limit: Duration,
    /// The case should fail, so it waits only this many seconds for what will not happen.
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

    /// Root if `root` is set, otherwise a user namespace.
    pub const fn root_if(root: bool) -> Needs {
        if root { Needs::ROOT } else { Needs::USER }
    }

    /// Also needs these programs.
    pub const fn with(self, programs: &'static [&'static str]) -> Needs {
        Needs { programs, ..self }
    }

    /// May take this many seconds.
    pub const fn within(self, seconds: u64) -> Needs {
        Needs { limit: Duration::from_secs(seconds), ..self }
    }

    /// Should fail, so it is run with little patience.
    pub const fn in_vain(self) -> Needs {
        Needs { patience: Some("2"), ..self }
    }

    /// What is missing here, if anything.
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

/// The privilege that we have.
pub static PRIVILEGE: LazyLock<Privilege> = LazyLock::new(Privilege::ours);

/// Is a program installed?
fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs = env::split_paths(&path).chain(["/usr/sbin".into()]);
    dirs.any(|dir| dir.join(program).is_file())
}

type Look = Box<dyn Fn() -> Result<String> + Send + Sync>;
type Then = Box<dyn Fn(&str) -> Result<()> + Send + Sync>;

/// Something to test.
pub struct Case {
    name: String,
    needs: Needs,
    /// Why it is only for other machines, if it is. Then it is always ignored.
    elsewhere: Option<&'static str>,
    look: Look,
    /// What to do with what it said. `None` if it runs in this process.
    then: Option<Then>,
}

/// A case that runs on a throw-away host.
pub fn case(
    name: impl Into<String>,
    needs: Needs,
    look: impl Fn() -> Result<String> + Send + Sync + 'static,
) -> Case {
    let case = Case { name: name.into(), needs, elsewhere: None, look: Box::new(look), then: None };
    case.then(|_| Ok(()))
}

/// A case that runs in this process.
pub fn here(
    name: impl Into<String>,
    needs: Needs,
    look: impl Fn() -> Result<()> + Send + Sync + 'static,
) -> Case {
    let look = move || look().map(|()| String::new());
    Case { name: name.into(), needs, elsewhere: None, look: Box::new(look), then: None }
}

impl Case {
    /// Also checks what the case said, in this process, for example against a snapshot.
    pub fn then(self, then: impl Fn(&str) -> Result<()> + Send + Sync + 'static) -> Case {
        Case { then: Some(Box::new(then)), ..self }
    }

    /// Only for machines for which `holds` is true. Elsewhere it is ignored for this reason, even
    /// if `NO_TEST_IGNORED` is set.
    pub fn only_if(self, holds: bool, why: &'static str) -> Case {
        Case { elsewhere: (!holds).then_some(why), ..self }
    }

    /// Also compares what the case said with the snapshot of this name in `book/recorded`.
    pub fn recorded(self, name: impl Into<String>) -> Case {
        let name = name.into();
        self.then(move |said| {
            recorded(&name, said);
            Ok(())
        })
    }
}

/// The needs of each case, by its name.
static HOW: OnceLock<BTreeMap<String, Needs>> = OnceLock::new();

/// What a case said. It runs only once, when the first caller asks.
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

/// The `main` of a test program: runs the cases, some of them in parallel. `TEST -- NAME` runs
/// those whose names contain NAME.
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

/// Prints why a case is ignored, because the harness does not.
fn say_once(why: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if SAID.lock().expect("no panic").insert(why.to_owned()) {
        eprintln!("ignored here: what {why}");
    }
}

/// A number from the environment, for tests that can do more or less.
pub fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

/// Compares a text with the snapshot of this name in `book/recorded`, which the book shows.
pub fn recorded(name: &str, text: &str) {
    held_against(&workspace().join("book/recorded"), name, text);
}

/// Compares a text with the snapshot of this name in `proof/tests/snapshots`, which only we read.
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
