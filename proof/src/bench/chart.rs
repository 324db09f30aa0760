//! The chart for the book. Each row has a thick bar for its median back to back and a thin bar for
//! its median after idling. The chart takes its color from the page.

use std::fmt::Write;

use super::report::{Measured, Results};

/// As in all our pictures: the width fits a phone, and no text is smaller than 14.
const WIDTH: f64 = 480.0;
/// Where the bars begin and how long they may be. The title is above each bar, the number behind
/// it.
const LEFT: f64 = 8.0;
const LONGEST: f64 = 310.0;
const PITCH: f64 = 54.0;
/// A bar longer than this many times the longest step is drawn broken, so that it does not dwarf
/// the others.
const MOST: f64 = 1.3;

/// The chart as SVG. It has no blank lines, because Markdown would end it there.
pub fn svg(results: &Results, machine: &str) -> String {
    let rows: Vec<&Measured> =
        results.0.iter().filter(|row| !row.rounds("busy").is_empty()).collect();
    let mut longest = 1.0;
    let mut in_words = Vec::new();
    for row in &rows {
        let times = [row.median("busy"), row.median("idle")].map(Option::unwrap_or_default);
        in_words.push(format!("{} {}", row.title, milliseconds(times[0])));
        if row.kind == "step" {
            longest = times.into_iter().fold(longest, f64::max);
        }
    }
    let height = 76.0 + PITCH * rows.len() as f64;
    let mut svg = format!(
        r#"<svg class="picture" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="bench-title" font-family="inherit" font-size="14" fill="currentColor">
<title id="bench-title">How long it takes to start a container: {}</title>
<text x="{LEFT}" y="16">thick: back to back; thin: after 100 ms of idling</text>
"#,
        escaped(&in_words.join("; ")),
    );
    for (i, row) in rows.iter().enumerate() {
        let y = 32.0 + PITCH * i as f64;
        let title = escaped(&row.title);
        let _ = writeln!(svg, r#"<text x="{LEFT}" y="{}">{title}</text>"#, y + 14.0);
        let ratio = results.ratio(row, "busy");
        let times = ratio.map_or_else(String::new, |ratio| format!(", {ratio:.2} ×"));
        bar(&mut svg, row, "busy", [y + 20.0, 14.0, longest * MOST], &times);
        bar(&mut svg, row, "idle", [y + 39.0, 5.0, longest * MOST], "");
    }
    let (cpu, rest) = machine.split_once(", Linux").unwrap_or((machine, ""));
    for (line, y) in [(cpu, height - 26.0), (&format!("Linux{rest}"), height - 8.0)] {
        let line = escaped(line);
        let _ = writeln!(svg, r#"<text x="{LEFT}" y="{y}" fill-opacity="0.8">{line}</text>"#);
    }
    svg + "</svg>\n"
}

fn bar(svg: &mut String, row: &Measured, what: &str, [y, height, most]: [f64; 3], more: &str) {
    let Some(time) = row.median(what) else { return };
    let fill = match row.kind.as_str() {
        "step" => r##"fill="#d9822b""##, // legible on white and on navy
        "floor" => r#"fill-opacity="0.8""#,
        _ => r#"fill-opacity="0.4""#,
    };
    let length = (time / most).min(1.0) * LONGEST;
    let pieces = match time > most {
        true => vec![(0.0, LONGEST - 24.0), (LONGEST - 18.0, 18.0)],
        false => vec![(0.0, length)],
    };
    for (from, width) in pieces {
        let x = LEFT + from;
        let _ = writeln!(
            svg,
            r#"<rect x="{x:.1}" y="{y}" width="{width:.1}" height="{height}" {fill}/>"#
        );
    }
    let (x, y) = (LEFT + length + 6.0, y + height / 2.0 + 4.5);
    let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y}">{}{more}</text>"#, milliseconds(time));
}

fn milliseconds(microseconds: f64) -> String {
    let digits = if microseconds < 9995.0 { 2 } else { 1 };
    format!("{:.digits$} ms", microseconds / 1e3)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
