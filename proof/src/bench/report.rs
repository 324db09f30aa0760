//! What was measured, as a table for the terminal and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::growth::{CGROUPS, MOUNTS};
use super::machine::Machine;
use super::rows::{BASE, Kind, NO_WALL, Row};
use super::stats::{Rounds, Summary, median, medians, more, ratio, spread};

/// All that was measured.
pub struct Results {
    pub machine: Machine,
    pub rows: Vec<Measured>,
    /// What is not installed, and what is special about a row.
    pub notes: Vec<String>,
}

/// What was measured of a row.
pub struct Measured {
    pub id: String,
    pub title: String,
    pub kind: Kind,
    /// Times in microseconds, back to back.
    pub busy: Rounds,
    /// The same, after idling before each run.
    pub idle: Rounds,
    /// System calls, of some runs.
    pub calls: Vec<u64>,
    /// Runs per second, by how many at once, of each round.
    pub crowd: BTreeMap<usize, Vec<f64>>,
    pub growth: Growth,
}

/// Microseconds that a run takes longer.
#[derive(Default)]
pub struct Growth {
    /// For each mount on the host.
    pub mount: Option<f64>,
    /// For each 1,000 cgroups beside the container's.
    pub siblings: Option<f64>,
    /// For each 1,000 cgroups elsewhere.
    pub elsewhere: Option<f64>,
}

impl Measured {
    /// Nothing yet.
    pub fn of(row: &Row) -> Measured {
        Measured {
            id: row.id.clone(),
            title: row.title.clone(),
            kind: row.kind,
            busy: Rounds::new(),
            idle: Rounds::new(),
            calls: Vec::new(),
            crowd: BTreeMap::new(),
            growth: Growth::default(),
        }
    }
}

impl Results {
    /// The row that all are compared to.
    pub fn base(&self) -> Option<&Measured> {
        self.rows.iter().find(|row| row.id == BASE)
    }

    /// How many times as long as the bare floor each takes: back to back, and after idling.
    pub fn ratios(&self, row: &Measured) -> (Option<f64>, Option<f64>) {
        let base = self.base();
        let to = |ours, its: Option<_>| its.and_then(|its| ratio(ours, its));
        (to(&row.busy, base.map(|base| &base.busy)), to(&row.idle, base.map(|base| &base.idle)))
    }

    /// Why the numbers may be worth less than they look.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.machine.was_busy() {
            let load = &self.machine.load;
            warnings.push(format!("the machine was not quiet: the load before was {load}"));
        }
        let base = self.base().and_then(|base| spread(&base.busy)).filter(|spread| *spread > 0.1);
        if let Some(spread) = base {
            let percent = spread * 100.0;
            warnings.push(format!("the bare floor's rounds lie {percent:.0} % apart: too noisy"));
        }
        warnings
    }
}

/// The tables.
pub fn table(results: &Results) -> String {
    let mut text = format!("{}\n", results.machine.line());
    let say = |text: &mut String, line: String| {
        let _ = writeln!(text, "{}", line.trim_end());
    };
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    for (title, idle) in [("back to back", false), ("after 100 ms of idling", true)] {
        let times = |row: &Measured| Summary::of(if idle { &row.idle } else { &row.busy });
        let rows = results.rows.iter().filter(|row| row.kind != Kind::Wall);
        let rows: Vec<_> = rows.filter(|row| times(row).is_some()).collect();
        if rows.is_empty() {
            continue;
        }
        let head = ["ratio", "min", "median", "p95"].map(|head| format!("{head:>8}")).concat();
        say(&mut text, format!("\n{:44}{head}", format!("{title}, in µs")));
        for row in rows {
            let (busy, ratio_idle) = results.ratios(row);
            let (ratio, times) = (if idle { ratio_idle } else { busy }, times(row));
            let cells = [
                number(ratio, 2),
                number(times.map(|times| times.min), 0),
                number(times.map(|times| times.median), 0),
                number(times.map(|times| times.p95), 0),
            ];
            let cells = cells.map(|cell| format!("{cell:>8}")).concat();
            say(&mut text, format!("{:44}{cells}", row.title));
        }
    }
    if results.rows.iter().any(|row| !row.calls.is_empty()) {
        say(&mut text, format!("\n{:44}{:>8}", "system calls of a run", "calls"));
        for row in results.rows.iter().filter(|row| !row.calls.is_empty()) {
            say(&mut text, format!("{:44}{:>8}", row.title, calls(&row.calls)));
        }
    }
    let none = results.rows.iter().find(|row| row.id == NO_WALL);
    if let Some(none) = none.filter(|none| !none.busy.is_empty()) {
        say(&mut text, format!("\n{:44}{:>8}", "one namespace more, in µs", "median"));
        for row in results.rows.iter().filter(|row| row.kind == Kind::Wall && row.id != NO_WALL) {
            let more = more(&row.busy, &none.busy);
            say(&mut text, format!("{:44}{:>8}", row.title, number(more, 0)));
        }
        let all = number(Summary::of(&none.busy).map(|times| times.median), 0);
        say(&mut text, format!("(beside {all} µs that `unshare --fork` takes without any)"));
    }
    let crowds: Vec<_> = results.rows.iter().filter(|row| !row.crowd.is_empty()).collect();
    if let Some(first) = crowds.first() {
        let head: String = first.crowd.keys().map(|width| format!("{width:>8}")).collect();
        say(&mut text, format!("\n{:44}{head}", "runs per second, so many at once"));
        for row in crowds {
            let cells = row.crowd.values().map(|rounds| number(median(rounds), 0));
            let cells: String = cells.map(|cell| format!("{cell:>8}")).collect();
            say(&mut text, format!("{:44}{cells}", row.title));
        }
    }
    let grown: Vec<_> = results.rows.iter().filter(|row| row.growth.mount.is_some()).collect();
    if !grown.is_empty() {
        let head = ["a mount", "beside", "elsewhere"].map(|head| format!("{head:>10}")).concat();
        say(&mut text, format!("\n{:44}{head}", "µs more for"));
        for row in grown {
            let Growth { mount, siblings, elsewhere } = row.growth;
            let cells = [number(mount, 2), number(siblings, 1), number(elsewhere, 1)];
            let cells = cells.map(|cell| format!("{cell:>10}")).concat();
            say(&mut text, format!("{:44}{cells}", row.title));
        }
        say(&mut text, format!("(of {MOUNTS} mounts, and for 1,000 of {CGROUPS} cgroups)"));
    }
    if !results.notes.is_empty() {
        text.push('\n');
        results.notes.iter().for_each(|why| say(&mut text, why.clone()));
    }
    let warnings = results.warnings();
    if !warnings.is_empty() {
        text.push('\n');
        warnings.into_iter().for_each(|warning| say(&mut text, format!("warning: {warning}")));
    }
    text
}

/// The number of calls, or from where to where if the runs differ.
fn calls(runs: &[u64]) -> String {
    match (runs.iter().min(), runs.iter().max()) {
        (Some(least), Some(most)) if least == most => least.to_string(),
        (Some(least), Some(most)) => format!("{least}-{most}"),
        _ => "-".into(),
    }
}

/// All of it, for a file.
pub fn json(results: &Results) -> Value {
    let times = |rounds: &Rounds, ratio: Option<f64>| {
        let Some(Summary { min, median, p95 }) = Summary::of(rounds) else { return Value::Null };
        json!({
            "ratio": ratio, "min_us": min, "median_us": median, "p95_us": p95,
            "spread": spread(rounds), "rounds_median_us": medians(rounds), "runs_us": rounds,
        })
    };
    let row = |row: &Measured| {
        let (busy, idle) = results.ratios(row);
        let crowd = row.crowd.iter().map(|(width, rounds)| {
            (width.to_string(), json!({ "median": median(rounds), "rounds": rounds }))
        });
        json!({
            "id": row.id, "title": row.title,
            "back_to_back": times(&row.busy, busy),
            "after_idling_100_ms": times(&row.idle, idle),
            "system_calls": row.calls,
            "runs_per_second_at_once": serde_json::Map::from_iter(crowd),
            "growth_us": {
                "per_mount": row.growth.mount,
                "per_1000_cgroups_beside": row.growth.siblings,
                "per_1000_cgroups_elsewhere": row.growth.elsewhere,
            },
        })
    };
    json!({
        "machine": results.machine.json(),
        "warnings": results.warnings(),
        "notes": results.notes,
        "compared_to": BASE,
        "rows": results.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
pub mod tests {
    use super::chart;
    use super::*;

    /// As if it had been measured.
    pub fn some() -> Results {
        let row = |id: &str, title: &str, kind, times: [f64; 3]| Measured {
            id: id.into(),
            title: title.into(),
            kind,
            busy: times.iter().map(|time| vec![time - 20.0, *time, time + 50.0]).collect(),
            idle: vec![vec![times[0] * 3.0, times[0] * 4.0]],
            calls: vec![42, 42, 42],
            crowd: BTreeMap::from([(1, vec![1e6 / times[0]]), (16, vec![2e6 / times[0]])]),
            growth: Growth::default(),
        };
        let mut step = row("step05-cgroups", "step 5", Kind::Step, [750.0, 700.0, 2800.0]);
        step.growth = Growth { mount: Some(1.7), siblings: Some(12.0), elsewhere: Some(-0.04) };
        step.calls = vec![640, 641, 640];
        Results {
            machine: Machine {
                cpu: "Some <CPU>".into(),
                cores: 2,
                kernel: "6.1".into(),
                cgroups: "v2",
                date: "2024-02-29".into(),
                load: "0.50".into(),
            },
            rows: vec![
                row(BASE, "C: bare", Kind::Floor, [500.0, 500.0, 2000.0]),
                step,
                row("runc", "runc 1.1", Kind::Other, [9990.0, 10_000.0, 40_000.0]),
            ],
            notes: vec!["go: not here".into()],
        }
    }

    fn assert(name: &str, text: &str) {
        insta::with_settings!({
            omit_expression => true,
            prepend_module_to_snapshot => false,
            snapshot_path => "../../../tests/snapshots",
        }, {
            insta::assert_snapshot!(name, text);
        });
    }

    #[test]
    fn the_table_as_in_the_snapshot() {
        assert("bench-table", &table(&some()));
    }

    #[test]
    fn the_chart_as_in_the_snapshot() {
        let chart = chart::svg(&some());
        assert!(chart.lines().all(|line| !line.trim().is_empty()), "a blank line ends it");
        assert("bench-chart", &chart);
    }

    #[test]
    fn the_file_has_the_ratios() {
        let json = json(&some());
        assert_eq!(json["rows"][1]["back_to_back"]["ratio"], 1.4);
        assert_eq!(json["rows"][1]["system_calls"], json!([640, 641, 640]));
        assert_eq!(json["rows"][0]["runs_per_second_at_once"]["16"]["median"], 4000.0);
        assert_eq!(json["machine"]["cgroups"], "v2");
    }

    #[test]
    fn a_quiet_machine_gets_no_warning() {
        let mut results = some();
        assert_eq!(results.warnings().len(), 2);
        results.machine.load = "0.1".into();
        results.rows[0].busy = vec![vec![500.0], vec![510.0], vec![490.0]];
        assert_eq!(results.warnings(), Vec::<String>::new());
    }
}
