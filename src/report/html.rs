//! A run as a page to look at: one file that loads nothing, readable without scripts, on paper as well.

use std::fmt::{self, Display, Write};

use super::chart;
use super::human::{count, decimals, numbers, seconds};
use super::story::{Journey, Record, Told};
use super::{Quantiles, Report};
use crate::scenario::units::MILLISECOND;
use crate::timeline::{Next, Speed};

/// A text as the page may contain it: nothing in it is markup.
struct Text<T>(T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string().chars() {
            match c {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => f.write_char(c)?,
                // Neither HTML nor XML may contain them.
                c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                    f.write_char('\u{fffd}')?;
                }
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A name of the program's own, which a narrow column may break at its dots and underscores.
fn name(name: impl Display) -> String {
    let name = Text(name).to_string();
    name.replace('.', ".<wbr/>").replace('_', "_<wbr/>")
}

/// Microseconds for people.
pub(super) fn duration(micros: u64) -> String {
    let trim = |number: f64, unit: &str| {
        let text = format!("{number:.3}");
        let digits = text.trim_end_matches('0').trim_end_matches('.');
        format!("{digits} {unit}")
    };
    match micros {
        0 => "0".to_owned(),
        1..1000 => format!("{micros} µs"),
        1000..1_000_000 => trim((micros as f64 / 1000.0 * 10.0).round() / 10.0, "ms"),
        1_000_000..120_000_000 => trim((micros as f64 / 1e6 * 10.0).round() / 10.0, "s"),
        _ => {
            let seconds = micros / 1_000_000;
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            match hours {
                0 => format!("{minutes} min {seconds} s"),
                _ => format!("{} h {minutes} min", count(hours)),
            }
        }
    }
}

/// The page.
pub fn page(report: &Report, told: &Told) -> String {
    let title = Text(&report.scenario);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\
         <title>{title} · vibes-mock</title><style>\n{}</style></head>\n<body>\n<header><h1>{title}</h1>",
        include_str!("page.css")
    );
    let _ = write!(
        page,
        "<p class=\"soft\">to {} · seed {} · start {} · speed {}</p>{}</header>\n<main>",
        Text(&report.destination),
        report.seed,
        Text(&report.start),
        Text(&report.speed),
        verdict(report)
    );
    page += &tiles(report);
    page += &expectations(report);
    page += &outcomes(report);
    page += &over_time(told);
    page += &distribution(report, told);
    page += &answers(report);
    page += &journeys(report, told);
    page += "</main>\n</body></html>\n";
    page
}

fn verdict(report: &Report) -> String {
    let unmet = report
        .expectations
        .iter()
        .filter(|it| it.met == Some(false))
        .count();
    let mut bad = Vec::new();
    if let Some(broken) = &report.broken {
        bad.push(format!("the run broke off: {}", Text(broken)));
    }
    if report.interrupted {
        bad.push("interrupted before everything was done".to_owned());
    }
    if report.failed > report.failed_by_fault {
        bad.push(format!(
            "{} failed",
            many(
                report.failed - report.failed_by_fault,
                "delivery",
                "deliveries"
            )
        ));
    }
    if report.unfinished > 0 {
        let unfinished = many(report.unfinished, "delivery", "deliveries");
        bad.push(format!("{unfinished} unfinished"));
    }
    if unmet > 0 {
        let unmet = many(unmet as u64, "expectation", "expectations");
        bad.push(format!("{unmet} not met"));
    }
    let spoilt = match report.failed_by_fault {
        0 => String::new(),
        n => format!(
            "<p class=\"soft\">{} failed as well, spoilt by a fault: the receiver did well to refuse that.</p>",
            many(n, "delivery", "deliveries")
        ),
    };
    let verdict = match (bad.is_empty(), report.callbacks, report.failed) {
        (true, 0, _) => "<p class=\"verdict soft\">– Nothing was sent</p>".to_owned(),
        (true, _, 0) => "<p class=\"verdict good\">✓ Every callback was accepted</p>".to_owned(),
        (true, ..) => "<p class=\"verdict good\">✓ Every good callback was accepted</p>".to_owned(),
        (false, ..) => format!("<p class=\"verdict bad\">✗ {}</p>", bad.join("; ")),
    };
    verdict + &spoilt
}

fn many(number: u64, one: &str, more: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { more })
}

fn tiles(report: &Report) -> String {
    let mut html = "<dl class=\"tiles\">".to_owned();
    let mut tile = |label: &str, value: &str, more: &str| {
        let _ = write!(
            html,
            "<div class=\"tile\"><dt>{label}</dt><dd>{value} <small>{more}</small></dd></div>"
        );
    };
    let journeys = many(report.journeys, "journey", "journeys");
    tile(
        "Callbacks",
        &count(report.callbacks),
        &format!("of {journeys}"),
    );
    tile("Accepted", &count(report.accepted), &rate(report));
    let unfinished = match report.unfinished {
        0 => String::new(),
        n => format!("{} unfinished", count(n)),
    };
    tile("Failed", &count(report.failed), &unfinished);
    let retried = format!("{} retried", count(report.retried));
    tile("Attempts", &count(report.attempts), &retried);
    let per_second = format!("{} attempts/s", decimals(report.per_second));
    tile("Took", &seconds(report.elapsed_s), &per_second);
    let latency = &report.latency_ms;
    let more = format!("p99 {}, max {}", ms(latency.p99), ms(latency.max));
    tile("Latency, median", &ms(latency.p50), &more);
    if report.times_down > 0 {
        tile("Destination down", &count(report.times_down), "times");
    }
    html + "</dl>\n"
}

fn rate(report: &Report) -> String {
    match report.callbacks {
        0 => String::new(),
        all => format!("{:.1} %", report.accepted as f64 / all as f64 * 100.0),
    }
}

fn ms(ms: f64) -> String {
    duration((ms * 1000.0) as u64)
}

fn table(caption: &str, heads: &[(&str, &str)], rows: &str) -> String {
    let mut html = "<table>".to_owned();
    if !caption.is_empty() {
        let _ = write!(html, "<caption>{caption}</caption>");
    }
    html += "<thead><tr>";
    for (class, head) in heads {
        let _ = write!(html, "<th scope=\"col\" class=\"{class}\">{head}</th>");
    }
    let _ = write!(html, "</tr></thead><tbody>{rows}</tbody></table>");
    html
}

fn expectations(report: &Report) -> String {
    if report.expectations.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for it in &report.expectations {
        let journeys = numbers(&it.journeys);
        let _ = write!(
            rows,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{journeys}</td></tr>",
            Text(&it.name),
            Text(&it.expected),
            Text(&it.seen),
            match it.met {
                Some(true) => "<span class=\"good\">✓ met</span>",
                Some(false) => "<span class=\"bad\">✗ not met</span>",
                None => "<span class=\"wait\">– open</span>",
            },
        );
    }
    let heads = ["What", "Expected", "Seen", "Met", "Journeys"].map(|head| ("", head));
    let table = table("", &heads, &rows);
    format!("<section><h2>Expectations</h2>{table}</section>\n")
}

fn outcomes(report: &Report) -> String {
    if report.outcomes.is_empty() {
        return String::new();
    }
    let mut all: Vec<_> = report.outcomes.iter().collect();
    all.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.failed));
    let mut rows = String::new();
    for (outcome, counts) in all {
        let failed = match counts.failed {
            0 => "0".to_owned(),
            n => format!("<span class=\"bad\">✗ {}</span>", count(n)),
        };
        let _ = write!(
            rows,
            "<tr><th scope=\"row\" class=\"name\">{}</th><td class=\"n\">{}</td><td class=\"n\">{failed}</td></tr>",
            name(outcome),
            count(counts.accepted),
        );
    }
    let heads = [("", "Outcome"), ("n", "Accepted"), ("n", "Failed")];
    let table = table(
        "Failed: refused with 4xx, or given up after the last retry",
        &heads,
        &rows,
    );
    format!("<section class=\"long\"><h2>Deliveries by outcome</h2>{table}</section>\n")
}

fn over_time(told: &Told) -> String {
    if told.points.is_empty() {
        return String::new();
    }
    let key = |class: &str, label: &str| {
        format!(
            "<li><svg width=\"34\" height=\"8\" aria-hidden=\"true\"><path class=\"line {class}\" d=\"M2 4h30\"/></svg>{label}</li>"
        )
    };
    format!(
        "<section><h2>Latency over time</h2>{}<ul class=\"legend\">{}{}{}</ul>\
         <p class=\"soft\">From when an attempt was due to its answer, against real time since the first \
         attempt; a point stands for {}.</p></section>\n",
        chart::latency(told),
        key("p50", "median"),
        key("p99", "99th percentile"),
        key("max", "longest"),
        duration(told.width.as_micros() as u64)
    )
}

fn distribution(report: &Report, told: &Told) -> String {
    let most = told.distribution.iter().map(|bin| bin.attempts).max();
    let Some(most) = most else {
        return String::new();
    };
    let mut rows = String::new();
    for bin in &told.distribution {
        let _ = write!(
            rows,
            "<tr><th scope=\"row\" class=\"n\">{} – {}</th><td class=\"n\">{}</td><td class=\"bar\">{}</td></tr>",
            duration(bin.from),
            duration(bin.to),
            count(bin.attempts),
            chart::share(bin.attempts, most)
        );
    }
    let heads = [("n", "Latency"), ("n", "Attempts"), ("bar", "Compared")];
    let table = table(
        "The bounds grow as 1, 2, 5, 10: the scale is logarithmic",
        &heads,
        &rows,
    );
    let quantiles = quantiles(report);
    format!(
        "<section class=\"long\"><h2>How latency is distributed</h2><div>{table}</div>{quantiles}</section>\n"
    )
}

fn quantiles(report: &Report) -> String {
    type Value = fn(&Quantiles) -> f64;
    // Where nothing is due at a real time, nothing is late.
    let lag = (report.speed != "max").then_some(&report.lag_ms);
    let columns: Vec<&Quantiles> = std::iter::once(&report.latency_ms).chain(lag).collect();
    let lines: [(&str, Value); 5] = [
        ("p50", |it| it.p50),
        ("p90", |it| it.p90),
        ("p99", |it| it.p99),
        ("p99.9", |it| it.p999),
        ("max", |it| it.max),
    ];
    let mut rows = String::new();
    for (label, value) in lines {
        let cells = columns.iter().map(|it| ms(value(it)));
        let cells: String = cells
            .map(|it| format!("<td class=\"n\">{it}</td>"))
            .collect();
        let _ = write!(rows, "<tr><th scope=\"row\">{label}</th>{cells}</tr>");
    }
    let heads = [("", "Share"), ("n", "Latency"), ("n", "Lag")];
    let heads = &heads[..=columns.len()];
    format!("<h3>Quantiles</h3>{}", table("", heads, &rows))
}

fn answers(report: &Report) -> String {
    let most = report
        .responses
        .values()
        .chain(report.errors.values())
        .max();
    if most.is_none() && report.faults.is_empty() {
        return String::new();
    }
    let most = most.copied().unwrap_or_default();
    let mut responses = String::new();
    for (status, n) in &report.responses {
        let _ = write!(
            responses,
            "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"bar\">{}</td></tr>",
            Text(status),
            count(*n),
            chart::share(*n, most)
        );
    }
    let mut errors = String::new();
    for (kind, n) in &report.errors {
        let example = report.error_examples.get(kind).map_or("", String::as_str);
        let _ = write!(
            errors,
            "<tr><th scope=\"row\" class=\"name\">{}</th><td class=\"n\">{}</td><td>{}</td></tr>",
            name(kind),
            count(*n),
            Text(example)
        );
    }
    let mut parts = part("Responses", ("bar", "Compared"), &responses)
        + &part("Errors", ("", "An example"), &errors);
    if !report.faults.is_empty() {
        parts += &part("Faults", ("", ""), &faults(report));
    }
    format!("<section><div class=\"pair\">{parts}</div></section>\n")
}

/// One of the tables that stand side by side.
fn part(title: &str, last: (&str, &str), rows: &str) -> String {
    if rows.is_empty() {
        return format!("<div><h2>{title}</h2><p class=\"soft\">none</p></div>");
    }
    let heads = [("", "What"), ("n", "How many"), last];
    let heads = match last.1 {
        "" => &heads[..2],
        _ => &heads,
    };
    format!("<div><h2>{title}</h2>{}</div>", table("", heads, rows))
}

fn faults(report: &Report) -> String {
    let mut rows = String::new();
    for (kind, n) in &report.faults {
        let _ = write!(
            rows,
            "<tr><th scope=\"row\" class=\"name\">{}</th><td class=\"n\">{}</td></tr>",
            name(kind),
            count(*n)
        );
    }
    rows
}

fn journeys(report: &Report, told: &Told) -> String {
    if told.worst.is_empty() {
        return String::new();
    }
    // Without a clock, sending takes no time of the run; real time then shows at least what took longer.
    let speed = match report.speed.parse() {
        Ok(Speed::Times(times)) => times,
        _ => 1.0,
    };
    let each: String = told.worst.iter().map(|it| journey(it, speed)).collect();
    let clock = match report.speed.as_str() {
        "max" => {
            " With speed max the clock jumps from one to the next, and the length is real time."
        }
        _ => "",
    };
    format!(
        "<section class=\"long\"><h2>The journeys that went worst</h2>\
         <p class=\"soft\">Failed deliveries first, then the longest latency. A bar shows when in the \
         journey an attempt was made, by the run’s clock; the faint part before it is how late it \
         was.{clock}</p>{each}</section>\n"
    )
}

/// From when to when a journey's bars go, in nanoseconds of the run's clock.
struct Span {
    from: u64,
    to: u64,
    speed: f64,
}

impl Span {
    fn of(journey: &Journey, speed: f64) -> Span {
        let mut span = Span {
            from: u64::MAX,
            to: 0,
            speed,
        };
        for record in &journey.attempts {
            span.from = span.from.min(record.due);
            span.to = span.to.max(span.end(record));
        }
        span
    }

    fn end(&self, record: &Record) -> u64 {
        let took = (record.took as f64 * 1000.0 * self.speed) as u64;
        record.started.saturating_add(took)
    }

    fn share(&self, at: u64) -> f64 {
        let whole = self.to.saturating_sub(self.from).max(1);
        at.saturating_sub(self.from) as f64 / whole as f64
    }
}

fn journey(journey: &Journey, speed: f64) -> String {
    let span = Span::of(journey, speed);
    let rows: String = journey
        .attempts
        .iter()
        .map(|it| attempt(it, &span))
        .collect();
    let heads = [
        ("what", "Callback"),
        ("answer", "Answer"),
        ("n wide", "At"),
        ("n", "Latency"),
        ("bar", "When"),
    ];
    let clock = |nanos: u64| duration(nanos / 1000);
    let caption = format!("from {} to {} of the run", clock(span.from), clock(span.to));
    let left_out = match journey.left_out {
        0 => String::new(),
        n => format!(
            "<p class=\"soft\">and {} more</p>",
            many(n, "attempt", "attempts")
        ),
    };
    format!(
        "<div class=\"journey\"><h3>Journey {}: {} <span class=\"soft\">{}</span></h3>{}{left_out}</div>",
        journey.number,
        Text(&journey.event_type),
        Text(&journey.event_id),
        table(&caption, &heads, &rows)
    )
}

fn attempt(record: &Record, span: &Span) -> String {
    let (class, colour, became) = match record.next {
        Next::Done => ("done", "good", "✓ accepted"),
        Next::Retry(_) => ("retry", "wait", "↻ to retry"),
        Next::GaveUp => ("gave-up", "bad", "✗ failed"),
    };
    let answer = match record.answer {
        Ok(status) => status.to_string(),
        Err(kind) => kind.name().to_owned(),
    };
    let mut what = record.outcome.to_string();
    if record.parts > 1 {
        let _ = write!(what, ", part {} of {}", record.part, record.parts);
    }
    if record.attempt > 1 {
        let _ = write!(what, ", attempt {}", record.attempt);
    }
    let at = duration(record.started / MILLISECOND * 1000);
    if let Some(fault) = record.fault {
        let _ = write!(what, ", fault {fault}");
    }
    let title = format!("{what}: {answer}, {became}, at {at}");
    let bar = chart::stretch(
        class,
        span.share(record.due),
        span.share(record.started),
        span.share(span.end(record)),
        &title,
    );
    format!(
        "<tr><th scope=\"row\" class=\"name\">{}</th><td class=\"name\">{} <span class=\"{colour}\">{became}</span></td>\
         <td class=\"n wide\">{at}</td><td class=\"n\">{}</td><td class=\"bar\">{bar}</td></tr>",
        name(&what),
        name(&answer),
        duration(record.latency)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expect::Expectation;

    #[test]
    fn durations_are_short() {
        let micros = [0, 999, 1000, 1234, 59_960_000, 150_000_000, 7_260_000_000];
        let shown = micros.map(duration);
        let wanted = [
            "0",
            "999 µs",
            "1 ms",
            "1.2 ms",
            "60 s",
            "2 min 30 s",
            "2 h 1 min",
        ];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn texts_are_no_markup() {
        let text = Text("<a href='x'>&\"\u{0}\u{7}").to_string();
        let wanted = "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\u{fffd}\u{fffd}";
        assert_eq!(text, wanted);
    }

    #[test]
    fn expectations_are_told() {
        let mut report = Report::empty("it");
        let empty = page(&report, &Told::default());
        assert!(empty.contains("Nothing was sent") && !empty.contains("Expectations"));
        report.expectations.push(Expectation {
            name: "no <failure>".to_owned(),
            expected: "0".to_owned(),
            seen: "3".to_owned(),
            met: Some(false),
            count: 3,
            journeys: vec![4, 7],
        });
        let page = page(&report, &Told::default());
        for told in [
            "1 expectation not met",
            "no &lt;failure&gt;",
            "✗ not met",
            "4, 7",
        ] {
            assert!(page.contains(told), "no {told} in {page}");
        }
    }
}
