//! The chart for the book: a bar for each row, as long as its median back to back, and a thin one
//! for the median after idling. It takes its colour from the page.

use std::fmt::Write;

use super::report::{Measured, Results};
use super::rows::Kind;
use super::stats::Summary;

/// As our pictures are: as wide as a phone can bear, and no text below 14.
const WIDTH: f64 = 480.0;
const TEXT: f64 = 14.0;
/// Where the bars begin and how long they may be: what each is stands above, what it says behind.
const LEFT: f64 = 8.0;
const LONGEST: f64 = 310.0;
/// For the steps; legible on white and on navy.
const ACCENT: &str = "#d9822b";
/// What takes more than so many times the bare floor gets a broken bar, or it would dwarf the rest.
const MOST: f64 = 8.0;

/// The chart as SVG. Without blank lines, at which Markdown would end it.
pub fn svg(results: &Results) -> String {
    let rows = results.rows.iter().filter(|row| row.kind != Kind::Wall);
    let rows: Vec<_> = rows.filter(|row| !row.busy.is_empty()).collect();
    let longest = longest(results, &rows);
    let idle = rows.iter().any(|row| !row.idle.is_empty());
    let pitch = if idle { 54.0 } else { 42.0 };
    let legend = if idle { 22.0 } else { 0.0 };
    let height = 10.0 + legend + pitch * rows.len() as f64 + 44.0;
    let mut svg = format!(
        r#"<svg class="picture" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="bench-title" font-family="inherit" font-size="{TEXT}" fill="currentColor">
<title id="bench-title">How long it takes to start a container: {}</title>
"#,
        escaped(&in_words(&rows)),
    );
    if idle {
        let text = "thick: back to back; thin: after 100 ms of idling";
        let _ = writeln!(svg, r#"<text x="{LEFT}" y="16">{text}</text>"#);
    }
    for (i, row) in rows.iter().enumerate() {
        let y = 10.0 + legend + pitch * i as f64;
        let (ratio, _) = results.ratios(row);
        let title = escaped(&row.title);
        let _ = writeln!(svg, r#"<text x="{LEFT}" y="{}">{title}</text>"#, y + 14.0);
        let times = ratio.map_or_else(String::new, |ratio| format!(", {ratio:.2} ×"));
        let busy = Summary::of(&row.busy).map(|times| times.median);
        bar(&mut svg, row.kind, y + 20.0, 14.0, busy, longest, &times);
        let idle = Summary::of(&row.idle).map(|times| times.median);
        bar(&mut svg, row.kind, y + 39.0, 5.0, idle, longest, "");
    }
    let machine = &results.machine;
    let lines = [
        format!("{}, {} cores", machine.cpu, machine.cores),
        format!("Linux {}, cgroup {}, {}", machine.kernel, machine.cgroups, machine.date),
    ];
    for (line, y) in lines.iter().zip([height - 26.0, height - 8.0]) {
        let line = escaped(line);
        let _ = writeln!(svg, r#"<text x="8" y="{y}" fill-opacity="0.8">{line}</text>"#);
    }
    svg + "</svg>\n"
}

/// A bar, and behind it what it says.
fn bar(
    svg: &mut String,
    kind: Kind,
    y: f64,
    height: f64,
    time: Option<f64>,
    longest: f64,
    more: &str,
) {
    let Some(time) = time else { return };
    let fill = match kind {
        Kind::Step => format!(r#"fill="{ACCENT}""#),
        Kind::Floor => r#"fill-opacity="0.8""#.to_owned(),
        Kind::Other | Kind::Wall => r#"fill-opacity="0.4""#.to_owned(),
    };
    let length = (time / longest).min(1.0) * LONGEST;
    let piece = |from: f64, to: f64| {
        format!(
            r#"<rect x="{:.1}" y="{y}" width="{:.1}" height="{height}" {fill}/>"#,
            LEFT + from,
            to - from
        )
    };
    if time > longest {
        let (gap, again) = (LONGEST - 24.0, LONGEST - 18.0);
        let _ = writeln!(svg, "{}{}", piece(0.0, gap), piece(again, LONGEST));
    } else {
        let _ = writeln!(svg, "{}", piece(0.0, length));
    }
    let (x, y) = (LEFT + length + 6.0, y + height / 2.0 + 4.5);
    let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y}">{}{more}</text>"#, milliseconds(time));
}

/// The time that the longest whole bar stands for.
fn longest(results: &Results, rows: &[&Measured]) -> f64 {
    let base = results.base().and_then(|base| Summary::of(&base.busy)).map(|base| base.median);
    let most = base.map_or(f64::INFINITY, |base| base * MOST);
    let times = rows.iter().flat_map(|row| [&row.busy, &row.idle]);
    let times = times.filter_map(|rounds| Some(Summary::of(rounds)?.median));
    times.filter(|time| *time <= most).fold(1.0, f64::max)
}

/// For those who do not see it.
fn in_words(rows: &[&Measured]) -> String {
    let words = rows.iter().filter_map(|row| {
        let median = Summary::of(&row.busy)?.median;
        Some(format!("{} {}", row.title, milliseconds(median)))
    });
    words.collect::<Vec<_>>().join("; ")
}

fn milliseconds(microseconds: f64) -> String {
    let digits = if microseconds < 9995.0 { 2 } else { 1 };
    format!("{:.digits$} ms", microseconds / 1e3)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
