//! Pictures of a page, as SVG that stands in it. Shapes stretch with the page, letters do not.

use std::fmt::Write;

use super::html::duration;
use super::story::{Point, Told};

/// The height of the picture of latency over time.
const HEIGHT: f64 = 190.0;

/// A scale of latency on which every power of ten is as far from the next.
struct Scale {
    low: i32,
    high: i32,
}

impl Scale {
    fn of(told: &Told) -> Scale {
        let lowest = told.points.iter().map(|point| point.p50).min();
        let highest = told.points.iter().map(|point| point.max).max();
        let log = |micros: Option<u64>| (micros.unwrap_or(1).max(1) as f64).log10();
        let low = log(lowest).floor() as i32;
        Scale {
            low,
            high: (log(highest).ceil() as i32).max(low + 1),
        }
    }

    /// From the top.
    fn y(&self, micros: u64) -> f64 {
        let log = (micros.max(1) as f64).log10() - f64::from(self.low);
        HEIGHT * (1.0 - log / f64::from(self.high - self.low))
    }
}

/// A share of the whole width, from 0 to 1, as SVG writes it.
fn percent(share: f64) -> String {
    format!("{:.3}%", share.clamp(0.0, 1.0) * 100.0)
}

/// Median, 99th percentile and maximum over the time of the run.
pub fn latency(told: &Told) -> String {
    let scale = Scale::of(told);
    let places = told.points.last().map_or(1, |point| point.at + 1);
    let mut svg = format!(
        "<svg class=\"chart\" height=\"{}\" role=\"img\" aria-labelledby=\"over-time over-time-is\">\
         <title id=\"over-time\">Latency over time</title>\
         <desc id=\"over-time-is\">{}</desc>",
        HEIGHT + 36.0,
        described(told),
    );
    let _ = write!(svg, "<svg y=\"14\" width=\"100%\" height=\"{HEIGHT}\">");
    for power in scale.low..=scale.high {
        let micros = 10_u64.saturating_pow(power.unsigned_abs());
        let y = scale.y(micros);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"-8\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            y + 4.0,
            duration(micros)
        );
    }
    let _ = write!(
        svg,
        "<svg width=\"100%\" height=\"{HEIGHT}\" viewBox=\"0 0 {places} {HEIGHT}\" preserveAspectRatio=\"none\">"
    );
    let line = |class: &str, value: fn(&Point) -> u64| {
        let (line, dots) = paths(&told.points, |point| scale.y(value(point)));
        format!(
            "<path class=\"line {class}\" d=\"{line}\"/><path class=\"line {class} dot\" d=\"{dots}\"/>"
        )
    };
    svg += &line("max", |point| point.max);
    svg += &line("p99", |point| point.p99);
    svg += &line("p50", |point| point.p50);
    svg += "</svg></svg>";
    let whole = told.width.as_micros() as u64 * places as u64;
    for (x, anchor, at) in [
        ("0", "start", 0),
        ("50%", "middle", whole / 2),
        ("100%", "end", whole),
    ] {
        let _ = write!(
            svg,
            "<text x=\"{x}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            HEIGHT + 31.0,
            duration(at)
        );
    }
    svg + "</svg>"
}

fn described(told: &Told) -> String {
    let most = told.points.iter().max_by_key(|point| point.max);
    let most = most.map_or(String::new(), |point| {
        let at = told.width.as_micros() as u64 * point.at as u64;
        format!(
            " The longest took {}, {} into the run.",
            duration(point.max),
            duration(at)
        )
    });
    format!(
        "Median, 99th percentile and maximum against real time, latency on a logarithmic scale.{most}"
    )
}

/// Lines through the middle of each stretch of time, which end where nothing happened, and dots for what
/// stands alone: a line of no length has round ends.
fn paths(points: &[Point], y: impl Fn(&Point) -> f64) -> (String, String) {
    let (mut lines, mut dots) = (String::new(), String::new());
    for run in points.chunk_by(|one, next| one.at + 1 == next.at) {
        let mut command = 'M';
        for point in run {
            let (x, y) = (point.at as f64 + 0.5, y(point));
            let _ = match run.len() {
                1 => write!(dots, "M{x} {y:.1}h0"),
                _ => write!(lines, "{command}{x} {y:.1}"),
            };
            command = 'L';
        }
    }
    (lines, dots)
}

/// A bar that is that share of the width. The number stands beside it, so nobody needs it read out.
pub fn share(part: u64, whole: u64) -> String {
    let width = percent(part as f64 / whole.max(1) as f64);
    let least = if part > 0 { "2" } else { "0" };
    format!(
        "<svg width=\"100%\" height=\"12\" aria-hidden=\"true\"><rect class=\"fill\" width=\"{least}\" height=\"12\"/>\
         <rect class=\"fill\" width=\"{width}\" height=\"12\" rx=\"2\"/></svg>"
    )
}

/// A bar from `from` to `to`, after a fainter one from when it was due, in shares of the whole.
pub fn stretch(class: &str, due: f64, from: f64, to: f64, title: &str) -> String {
    let (x, width) = (percent(from), percent(to - from));
    format!(
        "<svg width=\"100%\" height=\"12\" role=\"img\"><title>{title}</title>\
         <rect class=\"rail\" y=\"5\" width=\"100%\" height=\"2\"/>\
         <rect class=\"late\" x=\"{}\" y=\"3\" width=\"{}\" height=\"6\"/>\
         <rect class=\"{class}\" x=\"{x}\" width=\"{width}\" height=\"12\" rx=\"2\"/>\
         <svg x=\"{x}\" width=\"4\" height=\"12\"><rect class=\"{class}\" x=\"{}\" width=\"4\" height=\"12\" rx=\"1\"/></svg></svg>",
        percent(due),
        percent(from - due),
        // At the right edge the mark stands to the left, not outside.
        if from > 0.98 { "-4" } else { "0" },
    )
}
