//! `check` and bad input: what a user reads who has made a mistake.
//!
//! Each file under `broken` holds one kind of mistake, and what `check` says of it is a snapshot.
//! What such a file cannot hold (bytes that are no text, a hundred megabytes) is made here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod outside;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use outside::{Ran, finish, run, run_in, run_with_input};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken")
}

fn check_broken(file: &str) -> Ran {
    run_in(&folder(), &["check", file])
}

/// Refused, in words, and without running away.
#[track_caller]
fn refused(ran: Ran) -> Ran {
    assert!(!ran.err.contains("panicked"), "{ran:#?}");
    let errors = ran.out.matches("error: ").count();
    let ran = ran.expect_code(2);
    assert!(errors > 0, "{ran:#?}");
    ran
}

fn findings(ran: &Ran) -> Vec<&str> {
    ran.out.trim().split("\n\n").collect()
}

macro_rules! broken {
    ($($name:ident)*) => {
        /// The files that have a test each.
        const BROKEN: &[&str] = &[$(stringify!($name)),*];

        mod broken {
            $(#[test]
            fn $name() {
                let file = format!("{}.yaml", stringify!($name).replace('_', "-"));
                let ran = super::refused(super::check_broken(&file));
                insta::assert_snapshot!(stringify!($name), ran.shown());
            })*
        }
    };
}

broken! {
    a_list_at_the_top
    a_run_of_centuries
    alias_bomb
    alias_to_itself
    arrivals
    bad_indentation
    colon_in_a_text
    company_key
    company_key_empty
    company_key_too_long
    counts
    cron
    cron_of_centuries
    cron_that_never_comes
    deeply_nested
    delays_that_say_not_by_how_much
    destination_words
    details_on_the_way
    double_keys
    downed_after_nothing
    durations
    durations_too_long
    empty
    error_code_of_a_success
    error_codes
    event_data_not_a_map
    event_data_too_big
    event_data_too_big_once_rendered
    event_data_while_it_is_made
    event_types
    event_types_from_templates
    events_left_empty
    events_of_an_empty_list
    everything_at_once
    expect_counts
    expect_counts_backwards
    expect_outcomes
    expect_statuses
    expect_statuses_of_three_digits
    expect_unknown_keys
    expect_within
    expect_wrong_types
    fault_conditions
    fault_firsts
    fault_firsts_that_are_no_numbers
    fault_journeys
    fault_journeys_without_any
    fault_lengths
    fault_outcomes
    fault_rates
    fault_times
    fault_times_backwards
    faults_unknown
    filters_used_wrongly
    foreign_tag
    full_name_of_an_outcome
    headers
    impossible_after_a_failed_routing
    impossible_final_on_the_way
    impossible_for_this_message
    impossible_misspelt
    impossible_receipt_of_a_refused_part
    impossible_receipts_of_a_refused_message
    impossible_receipts_of_an_mms
    journey_without_any
    keys_of_other_faults
    list_as_a_key
    lists_for_maps
    loop_in_a_loop
    loop_without_end
    missing_keys
    mobile_numbers
    no_events
    not_a_number_in_data
    nothing_but_a_word
    nulls
    numbers_for_texts
    numbers_in_data
    only_comments
    part_beyond_the_message
    part_numbers
    part_zero
    ramp_over_no_time
    ranges_backwards
    rates
    rates_of_zero
    retries
    retries_without_a_wait
    route_conditions_of_the_wrong_type
    routes
    same_part_twice
    seed_negative
    seed_too_large
    settings
    statuses
    statuses_that_there_are_not
    tabs
    tags_nested_too_deep
    template_without_quotes
    text_that_doubles
    text_without_end
    too_many_faults
    too_many_parts
    two_documents
    two_outcomes_in_one
    unclosed_bracket
    unclosed_quote
    unclosed_tags
    unknown_anchor
    unknown_event_data
    unknown_filters
    unknown_journeys
    unknown_keys
    unknown_outcomes
    unknown_tags
    unknown_variables
    unused_journey_and_an_error
    url_ftp
    url_of_a_path
    url_that_is_empty
    url_too_long
    url_with_a_large_port
    url_with_a_password
    url_with_letters_beyond_ascii
    url_with_port_0
    url_with_spaces
    url_without_a_host
    url_without_a_scheme
    weights
    weights_of_nothing
    weights_too_large
    wrong_types
    wrong_types_in_events
}

#[test]
fn every_broken_file_has_a_test() {
    let files: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            path.file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .replace('-', "_")
        })
        .collect();
    let tested: BTreeSet<String> = BROKEN.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(files, tested);
}

/// The findings about all broken files for which something holds, each with its file.
fn findings_that(is: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for name in BROKEN {
        let ran = check_broken(&format!("{}.yaml", name.replace('_', "-")));
        let bad = findings(&ran).into_iter().filter(|finding| is(finding));
        found.extend(bad.map(|finding| format!("{name}: {}", finding.lines().next().unwrap())));
    }
    found
}

#[test]
fn every_finding_says_how_to_mend_it() {
    let without =
        findings_that(|finding| finding.contains(" --> ") && !finding.contains("= help: "));
    assert!(without.is_empty(), "{without:#?}");
}

#[test]
fn findings_are_in_plain_words() {
    const RUST: [&str; 9] = [
        "struct ",
        "invalid length",
        "unknown field",
        "unknown variant",
        "u8",
        "u64",
        "f64",
        "Some(",
        "visitor",
    ];
    let message = |finding: &str| finding.lines().next().unwrap_or_default().to_owned();
    let raw = findings_that(|finding| RUST.iter().any(|word| message(finding).contains(word)));
    assert!(raw.is_empty(), "{raw:#?}");
}

#[test]
fn no_finding_is_shown_twice() {
    let mut twice = Vec::new();
    for name in BROKEN {
        let ran = check_broken(&format!("{}.yaml", name.replace('_', "-")));
        let mut seen = BTreeSet::new();
        let again = findings(&ran)
            .into_iter()
            .filter(|finding| !seen.insert(*finding));
        twice.extend(again.map(|finding| format!("{name}: {}", finding.lines().next().unwrap())));
    }
    assert!(twice.is_empty(), "{twice:#?}");
}

/// An event type is wrong once, not once for each way of noticing.
#[test]
fn one_mistake_is_one_finding() {
    for (file, mistakes) in [
        ("event-types.yaml", 4),
        ("unused-journey-and-an-error.yaml", 1),
        ("unknown-event-data.yaml", 5),
        ("unknown-variables.yaml", 9),
    ] {
        let ran = check_broken(file);
        assert_eq!(ran.out.matches("error: ").count(), mistakes, "{}", ran.out);
    }
}

/// The line that a finding names holds what it complains about.
#[test]
fn findings_point_at_the_line_of_the_mistake() {
    for (file, lines) in [
        ("downed-after-nothing.yaml", &[3][..]),
        ("mobile-numbers.yaml", &[3, 5, 7, 9, 11, 13]),
        ("event-types-from-templates.yaml", &[2, 3]),
        ("event-data-too-big.yaml", &[3]),
        ("unclosed-bracket.yaml", &[2]),
        ("keys-of-other-faults.yaml", &[2, 3, 4, 6, 7]),
        ("too-many-faults.yaml", &[2]),
    ] {
        let ran = run_in(&folder(), &["check", "--format", "json", file]);
        let json = ran.json();
        let found = json.as_array().unwrap().iter();
        let found: Vec<u64> = found
            .map(|finding| finding["line"].as_u64().unwrap())
            .collect();
        // A collection stands where its first key does.
        let fits = found.len() == lines.len()
            && found
                .iter()
                .zip(lines)
                .all(|(at, line)| at == line || *at == line + 1 && file.contains("too-big"));
        assert!(fits, "{file}: {found:?}, not {lines:?}");
    }
}

/// Writes a file into a folder of its own and has it checked.
fn check_bytes(name: &str, bytes: &[u8]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), bytes).unwrap();
    run_in(folder.path(), &["check", name])
}

#[test]
fn bytes_that_are_no_text() {
    let zero = refused(check_bytes("zero.yaml", b"events:\n  - event_type: \0\n"));
    let invalid = refused(check_bytes(
        "latin1.yaml",
        b"events:\n  - event_type: r\xfcckruf\n",
    ));
    let program = refused(check_bytes("program.yaml", b"\x7fELF\x02\x01\x01\0\0\0"));
    insta::assert_snapshot!([zero, invalid, program].map(|ran| ran.shown()).concat());
}

#[test]
fn a_file_of_a_hundred_megabytes() {
    let folder = tempfile::tempdir().unwrap();
    let file = fs::File::create(folder.path().join("large.yaml")).unwrap();
    file.set_len(100 * 1024 * 1024).unwrap();
    let ran = refused(run_in(folder.path(), &["check", "large.yaml"]));
    insta::assert_snapshot!(ran.shown());
}

#[test]
fn a_file_of_very_many_values() {
    let list = "1,".repeat(200_001);
    let text = format!(
        "events:\n  - event_type: a\n    event_data:\n      mdn: \"+15551230100\"\n      list: [{list}]\n"
    );
    let ran = refused(check_bytes("many.yaml", text.as_bytes()));
    assert!(ran.out.contains("more than 200000 values"), "{}", ran.out);
    assert!(
        ran.out.len() < 1000,
        "the line is shortened: {}",
        ran.out.len()
    );
}

/// Aliases nest deeper than the file itself does.
#[test]
fn data_nested_by_aliases() {
    let mut text = "events:\n".to_owned();
    for number in 0..400 {
        let inner = match number {
            0 => String::new(),
            _ => format!("*a{}", number - 1),
        };
        let (open, close) = ("[".repeat(56), "]".repeat(56));
        text += &format!(
            "  - {{event_type: a, event_data: {{external_person_id: p1, x: &a{number} {open}{inner}{close}}}}}\n"
        );
    }
    let ran = refused(check_bytes("deep.yaml", text.as_bytes()));
    assert!(ran.out.contains("deep"), "{}", ran.out);
}

#[test]
fn very_many_mistakes() {
    let text = format!(
        "events:\n{}",
        "  - event_type: a\n    count: x\n".repeat(1000)
    );
    let ran = refused(check_bytes("many.yaml", text.as_bytes()));
    assert!(
        ran.out.matches("error: ").count() <= 101,
        "{}",
        ran.out.len()
    );
}

#[test]
fn very_long_lines() {
    let text = format!(
        "scenario: \"{}\"\nseed: x\nevents:\n  - event_type: a\n",
        "x".repeat(1_000_000)
    );
    let ran = refused(check_bytes("long.yaml", text.as_bytes()));
    assert!(ran.out.contains("long.yaml:2:7"), "{}", ran.out);
    let text = format!("events:\n  - event_type: a\n    {}: 1\n", "y".repeat(1000));
    let ran = refused(check_bytes("long.yaml", text.as_bytes()));
    assert!(ran.out.len() < 2000, "{}", ran.out);
}

#[test]
fn marks_line_ends_and_wide_characters() {
    let marked = refused(check_bytes(
        "bom.yaml",
        "\u{feff}seed: x\nevents:\n  - event_type: a\n".as_bytes(),
    ));
    let windows = refused(check_bytes(
        "crlf.yaml",
        b"events:\r\n  - event_type: a\r\n    count: 0\r\n",
    ));
    let wide = refused(check_bytes(
        "wide.yaml",
        "scenario: Überraschung\nevents: [{event_id: 😀é, event_type: a, count: 0}]\n".as_bytes(),
    ));
    insta::assert_snapshot!([marked, windows, wide].map(|ran| ran.shown()).concat());
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("mine")).unwrap();
    let args = [
        "check",
        "mine",
        "my.yaml",
        "hapy-path",
        "scenarios/happy-path.yml",
        "",
    ];
    let ran = refused(run_in(folder.path(), &args));
    insta::assert_snapshot!(ran.shown());
}

#[test]
fn standard_input() {
    let ran = refused(run_with_input(
        &["check", "-"],
        "events:\n  - event_type: a\n    count: 0\n",
    ));
    assert!(ran.out.contains(" --> -:3:12"), "{}", ran.out);
    run_with_input(&["check", "-"], "events:\n  - event_type: a\n").expect_code(0);
}

#[test]
fn several_files_are_all_checked() {
    let files = ["seed-negative.yaml", "happy-path", "fault-outcomes.yaml"];
    let ran = refused(run_in(&folder(), &[&["check"][..], &files].concat()));
    insta::assert_snapshot!(ran.shown());
}

#[test]
fn nothing_is_sent_of_an_invalid_scenario() {
    for command in ["run", "plan"] {
        let ran = run_in(&folder(), &[command, "happy-path", "counts.yaml"]).expect_code(2);
        assert_eq!(ran.out, "");
        assert!(ran.err.contains("counts.yaml:2:40"), "{}", ran.err);
        assert!(ran.err.contains("6 errors"), "{}", ran.err);
    }
}

#[test]
fn findings_for_programs() {
    let ran = run_in(
        &folder(),
        &[
            "check",
            "--format",
            "json",
            "unused-journey-and-an-error.yaml",
            "none.yaml",
        ],
    );
    let ran = ran.expect_code(2);
    let json = ran.json();
    let list = json.as_array().unwrap();
    for finding in list {
        let keys: Vec<&String> = finding.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            ["file", "line", "column", "severity", "message", "help"]
        );
        assert!(
            finding["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty())
        );
    }
    let place = |finding: &serde_json::Value| {
        let text = |key: &str| finding[key].as_str().unwrap().to_owned();
        (
            text("file"),
            finding["line"].as_u64(),
            finding["column"].as_u64(),
            text("severity"),
        )
    };
    let places: Vec<_> = list.iter().map(place).collect();
    let file = "unused-journey-and-an-error.yaml".to_owned();
    assert!(
        places.contains(&(file.clone(), Some(3), Some(3), "warning".to_owned())),
        "{places:?}"
    );
    assert!(
        places.contains(&(file, Some(5), Some(17), "error".to_owned())),
        "{places:?}"
    );
    assert!(
        places.contains(&("none.yaml".to_owned(), None, None, "error".to_owned())),
        "{places:?}"
    );

    let ran = run(&["check", "--format", "json", "happy-path"]).expect_code(0);
    assert_eq!(ran.out, "[]\n");
    run(&["check", "--format", "jsonl", "happy-path"]).expect_code(2);
}

#[test]
fn warnings_do_not_refuse() {
    let text = "\
journeys:
  delivered:
    message:
      text: 'Hi {{ first_name | default: \"there\" }}'
  forgotten: {carrier: rejected}
events:
  - event_type: order_shipped
    event_data: {first_name: Ann}
    journey: delivered
";
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("warned.yaml"), text).unwrap();
    let ran = run_in(folder.path(), &["check", "warned.yaml"]).expect_code(0);
    insta::assert_snapshot!(ran.shown());
    let json = run_in(folder.path(), &["check", "--format", "json", "warned.yaml"]).expect_code(0);
    let json = json.json();
    let severities: Vec<_> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| &finding["severity"])
        .collect();
    assert_eq!(severities, ["warning", "warning", "warning"]);
    // A run says them as well, and goes on.
    let planned = run_in(folder.path(), &["plan", "warned.yaml", "--seed", "1"]).expect_code(0);
    assert_eq!(planned.json_lines().len(), 4);
}

/// What looks suspicious and is not.
#[test]
fn these_are_accepted() {
    let mut refused = Vec::new();
    for (what, text) in [
        ("9 KB of data", format!("events: [{{event_type: a, event_data: {{external_person_id: p, note: {}}}}}]", "x".repeat(9_000))),
        ("16,000 bytes of data", format!("events: [{{event_type: a, event_data: {{external_person_id: p, note: {}}}}}]", "x".repeat(15_950))),
        ("JSON", r#"{"journeys": {"a": {"message": {"text": "Hi"}, "carrier": {"parts": {"1": "rejected"}}}}, "events": [{"event_type": "a", "journey": "a"}]}"#.to_owned()),
        ("a URL of 1,024 characters", format!("destination: {{url: http://127.0.0.1:8080/{}}}\nevents: [{{event_type: a}}]", "x".repeat(1002))),
        ("IPv6", "destination: {url: \"http://[::1]:8080/\"}\nevents: [{event_type: a}]".to_owned()),
        ("no retries", "retry: 0x10s\nevents: [{event_type: a}]".to_owned()),
        ("an unquoted number", "events: [{event_type: a, event_data: {mdn: 15551230100}}]".to_owned()),
        ("impossible, on purpose", "journeys: {a: {routing: not_subscribed, handset: delivered, impossible: allowed}}\nevents: [{event_type: a, journey: a}]".to_owned()),
        ("the largest count", "events: [{event_type: a, count: 10000000, arrivals: {rate: 50/s}}]".to_owned()),
        ("a merge of anchors", "journeys: {a: &a {carrier: rejected}, b: *a}\nevents: [{event_type: a, journey: {a: 1, b: 0.5}}]".to_owned()),
        ("routes without events", "journeys: {a: {}}\nroutes: [{when: {event_data.mdn: \"+1*\"}, journey: a}]".to_owned()),
    ] {
        let ran = run_with_input(&["check", "--format", "json", "-"], &text);
        if ran.out != "[]\n" || ran.code != Some(0) {
            refused.push(format!("{what}: {ran:?}"));
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn the_ready_made_scenarios_have_no_findings() {
    let list = run(&["catalog", "--scenarios", "--format", "json"]).json();
    let names: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|ready| ready["name"].as_str().unwrap())
        .collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let in_binary: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(in_binary, files);
    let ran = run_in(
        &folder,
        &[&["check", "--format", "json"][..], &names].concat(),
    )
    .expect_code(0);
    assert_eq!(ran.out, "[]\n");
    let ran = run(&[&["check"][..], &names].concat()).expect_code(0);
    assert_eq!(ran.err, "");
    assert!(
        ran.out.lines().all(|line| line.contains(": ok (")),
        "{}",
        ran.out
    );
    assert_eq!(ran.out.lines().count(), names.len());
}

#[test]
fn colour_only_where_it_is_wanted() {
    let mut command = outside::program();
    command.current_dir(folder()).args(["check", "counts.yaml"]);
    let plain = finish(&mut command, "");
    assert!(!plain.out.contains('\u{1b}'));
    let forced = finish(command.env("CLICOLOR_FORCE", "1"), "");
    assert!(forced.out.contains('\u{1b}'), "{}", forced.out);
    let refused = finish(command.env("NO_COLOR", "1"), "");
    assert!(!refused.out.contains('\u{1b}'), "{}", refused.out);
}
