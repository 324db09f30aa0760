//! The results and their tables.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Result, bail};

use super::rows::{BASE, NO_WALL};
use crate::programs::output;

#[derive(Default)]
pub struct Results(pub Vec<Measured>);

pub struct Measured {
    pub kind: String,
    pub title: String,
    /// By what was measured (`round::ALL`): a list of numbers for each round, such as microseconds.
    numbers: BTreeMap<&'static str, Vec<Vec<f64>>>,
}

impl Measured {
    pub fn rounds(&self, what: &str) -> &[Vec<f64>] {
        self.numbers.get(what).map_or(&[], Vec::as_slice)
    }

    pub fn median(&self, what: &str) -> Option<f64> {
        quantile(&self.rounds(what).concat(), 50)
    }

    /// Compares this row with another within each round, and returns the median of the rounds.
    fn beside(&self, other: &Measured, what: &str, compare: fn(f64, f64) -> f64) -> Option<f64> {
        let mut compared = Vec::new();
        for (ours, its) in self.rounds(what).iter().zip(other.rounds(what)) {
            compared.push(compare(quantile(ours, 50)?, quantile(its, 50)?));
        }
        quantile(&compared, 50)
    }
}

impl Results {
    pub fn add(&mut self, what: &'static str, said: &str) -> Result<()> {
        for line in said.lines() {
            let fields: Vec<_> = line.split('\t').collect();
            let [kind, title, numbers] = fields[..] else { bail!("{line:?} is cut off") };
            let numbers = numbers.split(' ').map(str::parse).collect::<Result<_, _>>()?;
            let known = self.0.iter().position(|row| row.title == title);
            let i = known.unwrap_or_else(|| {
                let (kind, title) = (kind.to_owned(), title.to_owned());
                self.0.push(Measured { kind, title, numbers: BTreeMap::new() });
                self.0.len() - 1
            });
            self.0[i].numbers.entry(what).or_default().push(numbers);
        }
        Ok(())
    }

    fn row(&self, title: &str) -> Option<&Measured> {
        self.0.iter().find(|row| row.title == title)
    }

    /// How many times as long as the bare floor a row takes.
    pub fn ratio(&self, row: &Measured, what: &str) -> Option<f64> {
        row.beside(self.row(BASE)?, what, |ours, floor| ours / floor)
    }

    fn table(
        &self,
        what: &str,
        head: &str,
        columns: &[&str],
        cells: impl Fn(&Measured) -> Vec<String>,
    ) -> String {
        let line = |title: &str, cells: &[String]| {
            let cells: String = cells.iter().map(|cell| format!("{cell:>8}")).collect();
            format!("{title:44}{cells}\n")
        };
        let columns: Vec<_> = columns.iter().map(|column| (*column).to_owned()).collect();
        let mut text = format!("\n{}", line(head, &columns));
        for row in self.0.iter().filter(|row| !row.rounds(what).is_empty()) {
            text += &line(&row.title, &cells(row));
        }
        text
    }
}

/// The smallest number that is at least as large as this percentage of the numbers. 50 is the
/// median.
fn quantile(numbers: &[f64], percent: usize) -> Option<f64> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable_by(f64::total_cmp);
    let rank = (numbers.len() * percent).div_ceil(100);
    numbers.get(rank.saturating_sub(1)).copied()
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// All tables except the one of the walls.
pub fn table(results: &Results) -> String {
    let mut text = String::new();
    for (what, head) in [("busy", "back to back, in µs"), ("idle", "after 100 ms of idling, in µs")]
    {
        text += &results.table(what, head, &["ratio", "min", "median", "p95"], |row| {
            let times = row.rounds(what).concat();
            let time = |percent| number(quantile(&times, percent), 0);
            vec![number(results.ratio(row, what), 2), time(0), time(50), time(95)]
        });
    }
    text += &results.table("calls", "system calls of a run", &["calls"], |row| {
        let calls = row.rounds("calls").concat();
        let (least, most) = (number(quantile(&calls, 0), 0), number(quantile(&calls, 100), 0));
        vec![if least == most { least } else { format!("{least}-{most}") }]
    });
    text
}

pub fn walls(results: &Results) -> String {
    let Some(none) = results.row(NO_WALL) else { return String::new() };
    let walls = results.table("walls", "one namespace more, in µs", &["median"], |row| {
        vec![number(row.beside(none, "walls", |with, without| with - without), 0)]
    });
    let all = number(none.median("walls"), 0);
    let walls = walls.replace(&format!("{NO_WALL:44}{:>8}\n", 0), "");
    walls + &format!("(beside {all} µs that `unshare --fork` takes without any)\n")
}

/// Describes the machine without its name, so that others can compare.
pub fn machine() -> Result<String> {
    // ARM's CPUs have no model name. What follows the kernel's version comes from the distribution.
    let script = r#"
        cpu=$(sed -n '/^model name/ { s/.*: //; s/(R)\|(TM)//g; p; q }' /proc/cpuinfo)
        guest= v=v1
        ! grep -q '^flags.* hypervisor' /proc/cpuinfo || guest=' (a virtual machine)'
        [ ! -e /sys/fs/cgroup/cgroup.controllers ] || v=v2
        kernel=$(uname -r)
        echo "${cpu:-$(uname -m)}$guest, $(nproc) cores, Linux ${kernel%%-*}, cgroup $v, $(date +%F)"
    "#;
    let said = output(Command::new("sh").args(["-ec", script]))?;
    Ok(String::from_utf8(said)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::chart;
    use crate::case::snapshot;

    #[test]
    fn the_tables_and_the_chart_as_in_the_snapshots() {
        let mut results = Results::default();
        // In the second round the machine was busy, for every row.
        for [floor, step, runc] in [[500, 750, 9_990], [5_000, 7_500, 99_900], [500, 700, 10_000]] {
            let said = format!(
                "floor\t{BASE}\t{floor}\nstep\tstep <5>\t{step} {step}\nother\trunc\t{runc}\n"
            );
            results.add("busy", &said).unwrap();
            results.add("idle", &said).unwrap();
            results.add("calls", &format!("step\tstep <5>\t{step}\n")).unwrap();
            results
                .add("walls", &format!("wall\t{NO_WALL}\t{floor}\nwall\tPID\t{step}\n"))
                .unwrap();
        }
        snapshot("bench-table", &(table(&results) + &walls(&results)));
        let chart = chart::svg(&results, "A <CPU>, 2 cores, Linux 6.1, cgroup v2, 2024-02-29");
        snapshot("bench-chart", &chart);
    }
}
