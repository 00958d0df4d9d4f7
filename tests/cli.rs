//! The command line from outside: words, exit statuses, what goes to which stream, and what a receiver
//! sees of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod outside;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use outside::{
    Process, Ran, Receiver, finish, free_port, post, program, run, run_with_input, wait,
};
use serde_json::{Value, json};

const GOOD: &str = "200 OK";
const START: &str = "2026-01-01T00:00:00Z";

/// A result's text with everything that differs from run to run made the same.
fn redacted(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let label = line.split_whitespace().next().unwrap_or_default();
        lines.push(match label {
            "took" | "latency" | "lag" => {
                let words: Vec<_> = line.split_whitespace().map(numbers_out).collect();
                format!(
                    "  {}",
                    words
                        .join(" ")
                        .replace("# min # s", "# s")
                        .replace("# ms, #/s", "# s, #/s")
                )
            }
            "seed" => format!(
                "  {}",
                line.split_whitespace()
                    .map(numbers_out)
                    .collect::<Vec<_>>()
                    .join(" ")
            ),
            _ => ports_out(line),
        });
    }
    lines.join("\n")
}

fn numbers_out(word: &str) -> String {
    let mut out = String::new();
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        if !c.is_ascii_digit() {
            out.push(c);
            continue;
        }
        out.push('#');
        let digit_or_point = |next: &char| next.is_ascii_digit() || *next == '.' || *next == ',';
        let mut last = c;
        while let Some(next) = chars.next_if(digit_or_point) {
            last = next;
        }
        if last == ',' {
            out.push(',');
        }
    }
    // The names of the quantiles are no numbers of the run.
    match word {
        "p50" | "p90" | "p99" | "p99.9" => word.to_owned(),
        _ => out,
    }
}

fn ports_out(line: &str) -> String {
    match line.split_once("127.0.0.1:") {
        Some((before, after)) => {
            format!(
                "{before}127.0.0.1:PORT{}",
                after.trim_start_matches(|c: char| c.is_ascii_digit())
            )
        }
        None => line.to_owned(),
    }
}

/// Fires outcomes at a receiver without waiting and gives the report.
fn fire(receiver: &Receiver, args: &[&str]) -> Ran {
    let url = receiver.url();
    let common = ["--to", &url, "--speed", "max", "--format", "json"];
    run(&[&["trigger"][..], args, &common].concat())
}

mod words {
    use super::*;

    mod help_of {
        use super::*;

        macro_rules! help {
            ($($command:ident)*) => {$(
                #[test]
                fn $command() {
                    let ran = outside::run(&[stringify!($command), "--help"]).expect_code(0);
                    assert_eq!(ran.err, "");
                    insta::assert_snapshot!(concat!("help_", stringify!($command)), ran.out);
                }
            )*};
        }
        help! { run trigger plan check catalog segments listen replay merge serve schema completions man }
    }

    #[test]
    fn the_program() {
        let ran = run(&["--help"]).expect_code(0);
        insta::assert_snapshot!("help", ran.out);
        assert_eq!(run(&["-h"]).expect_code(0).out, ran.out);
        let bare = run(&[]).expect_code(2);
        assert_eq!((bare.out.as_str(), &bare.err), ("", &ran.out));
        let version = run(&["--version"]).expect_code(0);
        assert_eq!(
            version.out,
            format!("vibes-mock {}\n", env!("CARGO_PKG_VERSION"))
        );
    }

    /// Every command that the program's help names has help of its own, and none is wider than the terminal.
    #[test]
    fn every_command_has_help_that_fits() {
        let help = run(&["--help"]).out;
        let (_, commands) = help.split_once("Commands:\n").unwrap();
        let commands: Vec<&str> = commands
            .lines()
            .take_while(|line| !line.is_empty())
            .map(|line| line.split_whitespace().next().unwrap())
            .collect();
        assert!(commands.len() >= 10, "{commands:?}");
        for command in commands {
            let help = run(&[command, "--help"]).expect_code(0).out;
            assert!(
                help.contains(&format!("Usage: vibes-mock {command}")),
                "{help}"
            );
            assert!(
                help.lines().all(|line| line.chars().count() <= 100),
                "{help}"
            );
        }
    }

    #[test]
    fn completions() {
        for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
            let ran = run(&["completions", shell]).expect_code(0);
            assert_eq!(ran.err, "");
            for word in ["vibes-mock", "segments", "connections"] {
                assert!(ran.out.contains(word), "{shell} lacks {word}");
            }
        }
        run(&["completions", "cmd"]).expect_code(2);
    }

    #[test]
    fn manual_page() {
        let ran = run(&["man"]).expect_code(0);
        assert_eq!(ran.err, "");
        assert!(ran.out.contains(".TH vibes-mock 1"), "{}", ran.out);
        for section in [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"] {
            assert!(ran.out.contains(section), "{section}");
        }
        assert!(ran.out.contains("segments"), "{}", ran.out);
    }
}

mod usage {
    use super::*;

    #[test]
    fn bad_options() {
        let wrong: &[&[&str]] = &[
            &["--speed", "0x"],
            &["--speed", "fast"],
            &["--speed", "infx"],
            &["--connections", "0"],
            &["--connections", "many"],
            &["--header", "X-Team"],
            &["--header", "Host: example.com"],
            &["--header", "X: a\nb"],
            &["--start", "yesterday"],
            &["--start", "0001-01-01T00:00:00Z"],
            &["--timeout", "5"],
            &["--wait", "-1s"],
            &["--retry", "often"],
            &["--shard", "3/2"],
            &["--shard", "0/0"],
            &["--seed", "-1"],
            &["--format", "xml"],
            &["--to", "ftp://127.0.0.1/"],
            &["--ca", "ca.pem", "--insecure"],
            &["--cert", "client.pem"],
            &["--http", "3"],
            &["--to", "127.0.0.1:8080"],
            &["--to", ""],
            &["--nope"],
        ];
        let mut shown = String::new();
        for args in wrong {
            let ran = run(&[&["run", "happy-path"][..], args].concat()).expect_code(2);
            assert_eq!(ran.out, "", "{args:?}");
            let first = ran.err.lines().take_while(|line| !line.is_empty());
            let first: Vec<_> = first.collect();
            shown += &format!("{args:?}\n{}\n\n", first.join("\n"));
        }
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn unknown_commands_and_scenarios() {
        let ran = [
            &["rum"][..],
            &["run"],
            &["run", "hapy-path"],
            &["schema", "scenaro"],
            &["trigger"],
        ]
        .map(|args| run(args).expect_code(2).shown());
        insta::assert_snapshot!(ran.join("\n"));
    }

    #[test]
    fn what_is_promised_and_not_there_yet() {
        let not_yet: &[&[&str]] = &[
            &["explore", "happy-path", "--to", "http://127.0.0.1:1/"],
            &["schema", "asyncapi"],
        ];
        for args in not_yet {
            let ran = run(args).expect_code(2);
            assert_eq!(ran.out, "", "{args:?}");
            let (not, yet) = (ran.err.find("not"), ran.err.find("yet"));
            assert!(not.is_some() && not < yet, "{args:?}: {}", ran.err);
        }
    }

    #[test]
    fn schemas_are_the_committed_ones() {
        for name in ["scenario", "callback", "report", "openapi"] {
            let printed = run(&["schema", name]).expect_code(0);
            assert_eq!(printed.err, "");
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schema/{name}.json"));
            let committed = std::fs::read_to_string(&file).unwrap();
            assert!(
                printed.out == committed.replace("\r\n", "\n"),
                "mend it by: vibes-mock schema {name} > schema/{name}.json"
            );
        }
    }
}

mod catalog {
    use super::*;

    #[test]
    fn for_people() {
        let ran = run(&["catalog"]).expect_code(0);
        assert_eq!(ran.err, "");
        insta::assert_snapshot!(ran.out);
    }

    #[test]
    fn one_outcome() {
        let one = run(&["catalog", "carrier.rejected"]).expect_code(0);
        let two = run(&["catalog", "processing.queued"]).expect_code(0);
        insta::assert_snapshot!(format!("{}\n{}", one.out, two.out));
    }

    #[test]
    fn unknown_outcomes() {
        let ran = ["carrier.rejectd", "rejected", ""]
            .map(|name| run(&["catalog", name]).expect_code(2).shown());
        insta::assert_snapshot!(ran.join("\n"));
    }

    #[test]
    fn scenarios() {
        let ran = run(&["catalog", "--scenarios"]).expect_code(0);
        assert_eq!(ran.err, "");
        insta::assert_snapshot!(ran.out);
        let json = run(&["catalog", "--scenarios", "--format", "json"])
            .expect_code(0)
            .json();
        let list = json.as_array().unwrap();
        assert_eq!(list.len(), ran.out.lines().count());
        for ready in list {
            let keys: Vec<_> = ready.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["name", "scenario"]);
        }
        run(&["catalog", "carrier.sent", "--scenarios"]).expect_code(2);
    }

    #[test]
    fn magic_recipients() {
        let ran = run(&["catalog", "--magic"]).expect_code(0);
        assert_eq!(ran.err, "");
        insta::assert_snapshot!(ran.out);
        let list = run(&["catalog", "--magic", "--format", "json"])
            .expect_code(0)
            .json();
        let catalog = run(&["catalog", "--format", "json"]).expect_code(0).json();
        // One for each body of the catalog.
        let outcomes = |list: &Value| {
            let list = list.as_array().unwrap().iter();
            let mut names: Vec<_> = list.map(|one| one["outcome"].to_string()).collect();
            names.sort();
            names
        };
        assert_eq!(outcomes(&list), outcomes(&catalog));
        let mut numbers = BTreeSet::new();
        for one in list.as_array().unwrap() {
            let keys: Vec<_> = one.as_object().unwrap().keys().collect();
            assert_eq!(
                keys,
                ["outcome", "external_person_id", "mdn", "message_type"]
            );
            let mdn = one["mdn"].as_str().unwrap();
            assert!(mdn.starts_with("+155555501") && mdn.len() == 12, "{mdn}");
            assert!(numbers.insert(mdn.to_owned()), "{mdn} twice");
            for key in ["outcome", "external_person_id", "mdn"] {
                assert!(ran.out.contains(one[key].as_str().unwrap()));
            }
        }
        let one = run(&["catalog", "carrier.rejected", "--magic", "--format", "json"]);
        assert_eq!(
            one.expect_code(0).json(),
            json!([{
                "outcome": "carrier.rejected",
                "external_person_id": "vm-carrier-rejected",
                "mdn": "+15555550121",
                "message_type": "sms",
            }])
        );
        run(&["catalog", "--magic", "--scenarios"]).expect_code(2);
        run(&["catalog", "--magic", "--format", "jsonl"]).expect_code(2);
        run(&["catalog", "carrier.rejectd", "--magic"]).expect_code(2);
    }

    #[test]
    fn for_programs() {
        let json = run(&["catalog", "--format", "json"]).expect_code(0).json();
        let mut outcomes = BTreeSet::new();
        for entry in json.as_array().unwrap() {
            let keys: Vec<_> = entry.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["outcome", "stage", "summary", "body"]);
            let (outcome, stage) = (
                entry["outcome"].as_str().unwrap(),
                entry["stage"].as_str().unwrap(),
            );
            assert!(
                outcome.starts_with(&format!("{stage}.")),
                "{outcome} at {stage}"
            );
            assert!(entry["body"]["event_processed"].is_object(), "{outcome}");
            outcomes.insert(outcome.to_owned());
        }
        // Both forms list the same, and each can be triggered by that name.
        let text = run(&["catalog"]).out;
        let shown = text.lines().filter(|line| line.starts_with("  "));
        let shown: BTreeSet<_> = shown
            .map(|line| line.split_whitespace().next().unwrap().to_owned())
            .collect();
        assert_eq!(shown, outcomes);
        let receiver = Receiver::answering(GOOD);
        let names: Vec<&str> = outcomes.iter().map(String::as_str).collect();
        let report = fire(&receiver, &names).expect_code(0).json();
        assert_eq!(report["accepted"], outcomes.len());
        assert_eq!(
            report["outcomes"].as_object().unwrap().len(),
            outcomes.len()
        );
    }
}

mod segments {
    use super::*;

    const LONG: &str = "Hi Bob, your Pine & Petal order is out for delivery and should reach you by 5 PM. Somebody has to \
                        sign for it; if nobody is at home, we'll take it to a neighbour. Reply STOP to end.";

    #[test]
    fn for_people() {
        let quoted = LONG.replace('\'', "’");
        let texts = [
            "Hi Bob!",
            LONG,
            &quoted,
            "Sale 🎉 today",
            "Grüße {€}",
            "",
            "a\nb",
            "--help is no option here",
            "wait…\u{a0}—\u{200b}“so”",
        ];
        let shown = texts.map(|text| {
            let args: &[&str] = if text.starts_with("--") {
                &["segments", "--", text]
            } else {
                &["segments", text]
            };
            let ran = run(args).expect_code(0);
            assert_eq!(ran.err, "");
            format!("> {text:?}\n{}", ran.out)
        });
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn standard_input() {
        let argument = run(&["segments", "Hi Bob\nand Ann"]).expect_code(0);
        for ending in ["", "\n", "\r\n"] {
            let piped = run_with_input(&["segments", "-"], &format!("Hi Bob\nand Ann{ending}"))
                .expect_code(0);
            assert_eq!(piped.out, argument.out, "{ending:?}");
        }
    }

    #[test]
    fn too_long() {
        let most = "x".repeat(255 * 153);
        let json = run_with_input(&["segments", "-", "--format", "json"], &most)
            .expect_code(0)
            .json();
        assert_eq!(json["parts"].as_array().unwrap().len(), 255);
        let ran = run_with_input(&["segments", "-"], &(most + "x")).expect_code(2);
        assert_eq!(ran.out, "");
        insta::assert_snapshot!(ran.shown());
        let ran = run_with_input(&["segments", "-"], &"x".repeat(2 * 1024 * 1024)).expect_code(2);
        assert!(ran.err.contains("1 MiB"), "{}", ran.err);
    }

    #[test]
    fn for_programs() {
        let text = LONG.replace('\'', "’");
        let json = run(&["segments", &text, "--format", "json"])
            .expect_code(0)
            .json();
        let keys: Vec<_> = json.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["encoding", "parts", "units", "characters"]);
        assert_eq!(json["encoding"], "UCS-2");
        assert_eq!(json["characters"], text.chars().count());
        let parts = json["parts"].as_array().unwrap();
        assert!(
            parts
                .iter()
                .all(|part| part.as_object().unwrap().len() == 2)
        );
        let joined: String = parts
            .iter()
            .map(|part| part["text"].as_str().unwrap())
            .collect();
        assert_eq!(joined, text);
        let units: u64 = parts
            .iter()
            .map(|part| part["units"].as_u64().unwrap())
            .sum();
        assert_eq!(json["units"], units);
        let plain = run(&["segments", LONG, "--format", "json"])
            .expect_code(0)
            .json();
        assert_eq!(plain["encoding"], "GSM-7");
        assert!(plain["parts"].as_array().unwrap().len() < parts.len());
        run(&["segments", "Hi", "--format", "jsonl"]).expect_code(2);
    }
}

mod plan {
    use super::*;

    const SEEDED: [&str; 4] = ["--seed", "7", "--start", START];

    #[test]
    fn for_people() {
        let ran = run(&[&["plan", "happy-path", "--format", "human"][..], &SEEDED].concat())
            .expect_code(0);
        assert_eq!(ran.err, "");
        insta::assert_snapshot!(ran.out);
    }

    #[test]
    fn for_programs() {
        let ran = run(&[&["plan", "happy-path", "--format", "json"][..], &SEEDED].concat())
            .expect_code(0);
        insta::assert_snapshot!(ran.out);
        // Lines are the default where nobody looks on.
        let lines = run(&[&["plan", "happy-path"][..], &SEEDED].concat()).expect_code(0);
        assert_eq!(ran.json()["callbacks"], lines.json_lines().len());
        for line in lines.json_lines() {
            let keys: Vec<_> = line.as_object().unwrap().keys().collect();
            let wanted = [
                "at",
                "after_ms",
                "journey",
                "event_type",
                "outcome",
                "stage",
                "part",
                "parts",
                "body",
            ];
            let about_part = line["stage"] == "carrier" || line["stage"] == "handset";
            if about_part {
                assert_eq!(keys, wanted);
            } else {
                assert!(
                    keys.iter().all(|key| wanted.contains(&key.as_str())),
                    "{keys:?}"
                );
            }
        }
        insta::assert_snapshot!("plan_first_line", lines.out.lines().next().unwrap());
    }

    #[test]
    fn a_fresh_seed_is_said_and_can_be_given_again() {
        let text = "events: [{event_type: a, count: 3}]";
        let fresh = run_with_input(&["plan", "-", "--start", START], text).expect_code(0);
        let seed = fresh.err.trim().strip_prefix("seed ").unwrap().to_owned();
        let again =
            run_with_input(&["plan", "-", "--start", START, "--seed", &seed], text).expect_code(0);
        assert_eq!(again.out, fresh.out);
        assert_eq!(again.err, "");
        let other = run_with_input(&["plan", "-", "--start", START], text).expect_code(0);
        assert_ne!(other.out, fresh.out);
    }

    #[test]
    fn shards_are_the_whole() {
        let args = [&["plan", "stormy-day"][..], &SEEDED].concat();
        let whole = run(&args).expect_code(0).out;
        let mut shards = Vec::new();
        for shard in ["0/3", "1/3", "2/3"] {
            let ran = run(&[&args[..], &["--shard", shard]].concat()).expect_code(0);
            shards.extend(ran.out.lines().map(str::to_owned).collect::<Vec<_>>());
        }
        let mut lines: Vec<_> = whole.lines().map(str::to_owned).collect();
        lines.sort();
        shards.sort();
        assert!(lines.len() > 1000);
        assert!(lines == shards);
    }

    /// Whom a fault strikes, and how many of each kind, as a run then says too.
    #[test]
    fn faults() {
        let args = [&["plan", "faulty-network"][..], &SEEDED].concat();
        let plan = |format| run(&[&args[..], &["--format", format]].concat()).expect_code(0);
        let shown = plan("human");
        insta::assert_snapshot!("plan_faults", shown.out);
        let faults = plan("json").json()["faults"].clone();
        assert_eq!(faults.as_object().unwrap().len(), 11, "{faults}");
        let mut counted = BTreeMap::new();
        for line in plan("jsonl").json_lines() {
            if let Some(fault) = line["fault"].as_str() {
                *counted.entry(fault.to_owned()).or_insert(0_u64) += 1;
            }
        }
        assert_eq!(faults, serde_json::to_value(&counted).unwrap());
        for (fault, times) in counted {
            let word = format!(" {fault} ");
            assert_eq!(shown.out.matches(&word).count() as u64, times, "{fault}");
        }
    }

    /// `vibes-mock plan big | head -1`
    #[test]
    fn a_reader_that_has_seen_enough() {
        let mut child = program()
            .args(["plan", "-", "--seed", "1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let text = b"events: [{event_type: a, count: 1000000}]";
        child.stdin.take().unwrap().write_all(text).unwrap();
        let mut first = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut first).unwrap();
        drop(out);
        let status = wait(&mut child);
        let mut err = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut err)
            .unwrap();
        assert!(first.contains("routing.accepted"), "{first}");
        assert_eq!((err.as_str(), status.code()), ("", Some(0)));
    }

    #[test]
    fn several_scenarios() {
        let ran = run(&[&["plan", "happy-path", "carrier-rejected"][..], &SEEDED].concat())
            .expect_code(0);
        let one = run(&[&["plan", "happy-path"][..], &SEEDED].concat()).expect_code(0);
        let other = run(&[&["plan", "carrier-rejected"][..], &SEEDED].concat()).expect_code(0);
        assert_eq!(ran.out, one.out + &other.out);
    }
}

mod running {
    use super::*;

    fn happy(receiver: &Receiver, more: &[&str]) -> Ran {
        let url = receiver.url();
        run(&[
            &["run", "happy-path", "--to", &url, "--speed", "max"][..],
            more,
        ]
        .concat())
    }

    #[test]
    fn summary_for_people() {
        let receiver = Receiver::answering(GOOD);
        let ran = happy(&receiver, &["--format", "human"]).expect_code(0);
        assert_eq!(ran.err, "");
        assert_eq!(receiver.requests().len(), 12);
        let failing = Receiver::with(|number, _| {
            if number % 3 == 0 {
                "404 Not Found"
            } else {
                "204 No Content"
            }
            .to_owned()
        });
        let failed = happy(&failing, &["--format", "human", "--connections", "1"]).expect_code(1);
        let real = Receiver::answering(GOOD);
        let timed = run(&[
            "run",
            "happy-path",
            "--to",
            &real.url(),
            "--speed",
            "1000x",
            "--format",
            "human",
        ]);
        let timed = timed.expect_code(0);
        insta::assert_snapshot!(
            [ran, failed, timed]
                .map(|ran| redacted(&ran.out))
                .join("\n\n")
        );
    }

    #[test]
    fn summary_for_programs() {
        let receiver = Receiver::answering(GOOD);
        let ran = happy(
            &receiver,
            &["--format", "json", "--seed", "5", "--start", START],
        )
        .expect_code(0);
        assert_eq!(ran.err, "");
        let report = ran.json();
        let wanted = [
            "scenario",
            "seed",
            "journeys",
            "callbacks",
            "accepted",
            "failed",
            "retried",
            "attempts",
            "elapsed_s",
            "per_second",
            "latency_ms",
            "lag_ms",
            "responses",
            "errors",
            "expectations",
        ];
        for key in wanted {
            assert!(report.get(key).is_some(), "{key} is missing: {report}");
        }
        for quantiles in ["latency_ms", "lag_ms"] {
            let keys: Vec<_> = report[quantiles].as_object().unwrap().keys().collect();
            assert_eq!(keys, ["p50", "p90", "p99", "p999", "max"]);
            assert!(report[quantiles]["max"].is_number());
        }
        let counts = [
            "seed",
            "journeys",
            "callbacks",
            "accepted",
            "failed",
            "retried",
            "attempts",
        ]
        .map(|key| report[key].as_u64().unwrap());
        assert_eq!(counts, [5, 3, 12, 12, 0, 0, 12]);
        assert_eq!(report["responses"], json!({"200": 12}));
        assert_eq!(report["errors"], json!({}));
        // One value where nobody looks on is the default.
        assert_eq!(happy(&receiver, &[]).expect_code(0).json()["accepted"], 12);
    }

    #[test]
    fn a_line_for_each_delivery() {
        let receiver =
            Receiver::with(|number, _| if number == 0 { "503 Busy" } else { GOOD }.to_owned());
        let ran = happy(&receiver, &["--format", "jsonl", "--connections", "1"]).expect_code(0);
        let lines = ran.json_lines();
        assert_eq!(lines.len(), 12);
        for line in &lines {
            let keys: Vec<_> = line.as_object().unwrap().keys().collect();
            let wanted = [
                "at",
                "after_ms",
                "journey",
                "event_type",
                "event_id",
                "outcome",
                "stage",
                "part",
                "parts",
                "state",
                "attempts",
                "status",
                "error",
                "latency_ms",
            ];
            assert_eq!(keys, wanted);
            assert_eq!(
                (&line["state"], &line["status"]),
                (&json!("accepted"), &json!(200))
            );
        }
        let attempts: Vec<u64> = lines
            .iter()
            .map(|line| line["attempts"].as_u64().unwrap())
            .collect();
        assert_eq!(
            (attempts.iter().sum::<u64>(), attempts.iter().max()),
            (13, Some(&2))
        );
        assert!(
            ran.err.contains("callbacks"),
            "the summary goes elsewhere: {}",
            ran.err
        );
        let quiet = happy(&receiver, &["--format", "jsonl", "--quiet"]).expect_code(0);
        assert_eq!((quiet.err.as_str(), quiet.out.lines().count()), ("", 12));
    }

    #[test]
    fn bodies_are_those_of_the_plan() {
        let receiver = Receiver::answering(GOOD);
        happy(
            &receiver,
            &["--seed", "7", "--start", START, "--connections", "1"],
        )
        .expect_code(0);
        let plan = run(&["plan", "happy-path", "--seed", "7", "--start", START]).expect_code(0);
        let planned: Vec<Value> = plan
            .json_lines()
            .iter()
            .map(|line| line["body"].clone())
            .collect();
        let requests = receiver.requests();
        let sent: Vec<Value> = requests.iter().map(outside::Request::json).collect();
        assert_eq!(sent, planned);
        for (line, request) in plan.out.lines().zip(&requests) {
            assert!(
                line.ends_with(&format!("\"body\":{}}}", request.body)),
                "byte for byte: {line}"
            );
            assert_eq!(
                (request.method.as_str(), request.path.as_str()),
                ("POST", "/callbacks")
            );
            assert_eq!(request.header("content-type"), Some("application/json"));
        }
    }

    #[test]
    fn a_built_in_receiver_takes_what_has_no_destination() {
        let ran = run(&["run", "happy-path", "--speed", "max", "--format", "json"]).expect_code(0);
        assert_eq!(ran.json()["accepted"], 12);
        assert!(
            ran.err.contains("built-in receiver at http://127.0.0.1:"),
            "{}",
            ran.err
        );
        assert_eq!(ran.err.lines().count(), 13, "{}", ran.err);
        let quiet = run(&[
            "run",
            "happy-path",
            "--speed",
            "max",
            "--format",
            "json",
            "-q",
        ])
        .expect_code(0);
        assert_eq!(quiet.err, "");
    }

    #[test]
    fn nobody_listens() {
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}/callbacks");
        for command in [&["run", "happy-path"][..], &["trigger", "carrier.sent"]] {
            // The policy would be five retries, five minutes apart; that it ends at all says "at once".
            let ran = run(&[command, &["--to", &url]].concat()).expect_code(1);
            assert_eq!(ran.out, "");
            assert!(
                ran.err.contains(&format!("127.0.0.1:{port}")),
                "{}",
                ran.err
            );
            let (first, help) = ran.err.split_once('\n').unwrap();
            // Systems number their errors differently.
            let first = first.split(" (os error").next().unwrap();
            insta::assert_snapshot!("nobody_listens", format!("{}\n{help}", ports_out(first)));
        }
    }

    #[test]
    fn a_host_that_is_not_there() {
        let ran =
            run(&["run", "happy-path", "--to", "http://receiver.invalid:8080/"]).expect_code(1);
        assert_eq!(ran.out, "");
        assert!(ran.err.contains("receiver.invalid:8080"), "{}", ran.err);
        assert!(ran.err.contains("help: "), "{}", ran.err);
    }

    #[test]
    fn a_delivery_fails() {
        let receiver = Receiver::with(|_, request| {
            let rejected = request.json()["event_processed"]["action"]["status"] == "failed";
            if rejected { "400 Bad Request" } else { GOOD }.to_owned()
        });
        let ran = fire(
            &receiver,
            &["carrier.sent", "carrier.rejected", "handset.delivered"],
        )
        .expect_code(1);
        let report = ran.json();
        assert_eq!(
            (&report["accepted"], &report["failed"], &report["attempts"]),
            (&json!(2), &json!(1), &json!(3))
        );
        assert_eq!(report["responses"], json!({"200": 2, "400": 1}));
        assert_eq!(
            report["outcomes"]["carrier.rejected"],
            json!({"accepted": 0, "failed": 1})
        );
    }

    #[test]
    fn several_scenarios_one_after_the_other() {
        let receiver = Receiver::answering(GOOD);
        let url = receiver.url();
        let args = [
            "run",
            "happy-path",
            "carrier-rejected",
            "--to",
            &url,
            "--speed",
            "max",
        ];
        let ran = run(&args).expect_code(0);
        let names: Vec<_> = ran
            .json_lines()
            .iter()
            .map(|report| report["scenario"].clone())
            .collect();
        assert_eq!(names.len(), 2);
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn warnings_are_said_and_do_not_stop_it() {
        let receiver = Receiver::answering(GOOD);
        let text = "events: [{event_type: a, event_data: {x: 1}}]";
        let args = ["run", "-", "--to", &receiver.url(), "--speed", "max"];
        let ran = run_with_input(&args, text).expect_code(0);
        assert!(ran.err.contains("warning: "), "{}", ran.err);
        assert_eq!(ran.json()["accepted"], 4);
        let quiet = run_with_input(&[&args[..], &["-q"]].concat(), text).expect_code(0);
        assert_eq!(quiet.err, "");
    }

    #[cfg(unix)]
    #[test]
    fn ctrl_c() {
        let receiver = Receiver::answering(GOOD);
        let text = "events: [{event_type: a, count: 3, arrivals: {rate: 1/h}}]";
        let mut command = program();
        command
            .args(["run", "-", "--to", &receiver.url(), "--format", "json"])
            .stdin(Stdio::piped());
        let mut process = Process::start(&mut command);
        process.write(text);
        process.close_input();
        receiver.wait_for(1);
        process.interrupt();
        let ran = process.end().expect_code(130);
        let report = ran.json();
        assert_eq!(report["interrupted"], true);
        assert!(report["callbacks"].as_u64() >= Some(1) && report["callbacks"].as_u64() < Some(12));
        assert_eq!(report["failed"], 0);
        assert!(ran.err.contains("Stopping"), "{}", ran.err);
    }

    #[cfg(unix)]
    #[test]
    fn ctrl_c_between_retries() {
        let receiver = Receiver::answering("503 Busy");
        let mut command = program();
        command.args([
            "trigger",
            "carrier.sent",
            "--to",
            &receiver.url(),
            "--format",
            "human",
        ]);
        let process = Process::start(&mut command);
        receiver.wait_for(1);
        process.interrupt();
        let ran = process.end().expect_code(130);
        assert!(ran.out.contains("interrupted"), "{}", ran.out);
        assert_eq!(receiver.requests().len(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn ctrl_c_while_it_waits_for_the_destination() {
        let port = free_port();
        let mut command = program();
        let url = format!("http://127.0.0.1:{port}/");
        command.args(["run", "happy-path", "--to", &url, "--wait", "1h", "-v"]);
        let process = Process::start(&mut command);
        process.interrupt();
        process.end().expect_code(130);
    }

    #[test]
    fn colour_only_where_it_is_wanted() {
        let receiver = Receiver::answering(GOOD);
        let mut command = program();
        command.args([
            "trigger",
            "carrier.rejected",
            "--to",
            &receiver.url(),
            "--format",
            "human",
        ]);
        let plain = finish(&mut command, "");
        assert!(!plain.shown().contains('\u{1b}'), "{}", plain.shown());
        let mut command = program();
        command.args(["catalog", "carrier.rejectd"]);
        assert!(!finish(&mut command, "").err.contains('\u{1b}'));
        assert!(
            finish(command.env("CLICOLOR_FORCE", "1"), "")
                .err
                .contains('\u{1b}')
        );
        assert!(
            !finish(command.env("NO_COLOR", "1"), "")
                .err
                .contains('\u{1b}')
        );
    }
}

mod options {
    use super::*;

    #[test]
    fn step_by_step() {
        let receiver = Receiver::answering(GOOD);
        let url = receiver.url();
        let args = [
            "trigger",
            "carrier.sent",
            "handset.delivered",
            "routing.accepted",
            "--step",
            "--to",
            &url,
        ];
        let ran = run_with_input(&args, "\n\nq\n").expect_code(130);
        let report = ran.json();
        assert_eq!(
            (&report["callbacks"], &report["interrupted"]),
            (&json!(2), &json!(true))
        );
        assert_eq!(receiver.requests().len(), 2);
        let asked: Vec<&str> = ran
            .err
            .lines()
            .filter(|line| line.starts_with("next: "))
            .collect();
        assert_eq!(asked.len(), 3, "{}", ran.err);
        assert!(asked[1].contains("handset.delivered"), "{asked:?}");

        let whole = run_with_input(&args, "\n\n\n").expect_code(0);
        assert_eq!(whole.json()["accepted"], 3);
        // The end of the input ends it as `q` does.
        let short = run_with_input(&args, "\n").expect_code(130);
        assert_eq!(short.json()["callbacks"], 1);
    }

    #[test]
    fn one_callback_for_each_line() {
        let receiver = Receiver::answering(GOOD);
        let mut command = program();
        command.args([
            "trigger",
            "carrier.sent",
            "handset.delivered",
            "--step",
            "--to",
            &receiver.url(),
        ]);
        let mut process = Process::start(command.stdin(Stdio::piped()));
        process.wait_for_note("next: carrier.sent");
        assert_eq!(receiver.requests().len(), 0);
        process.write("\n");
        process.wait_for_note("next: handset.delivered");
        assert_eq!(receiver.requests().len(), 1);
        process.write("\n");
        process.close_input();
        process.end().expect_code(0);
        assert_eq!(receiver.requests().len(), 2);
    }

    #[test]
    fn waiting_for_a_receiver_that_starts_later() {
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}/callbacks");
        let mut command = program();
        command.args([
            "trigger",
            "carrier.sent",
            "--to",
            &url,
            "--wait",
            "50s",
            "--format",
            "json",
        ]);
        let process = Process::start(&mut command);
        process.wait_until_interruptible();
        let receiver = Receiver::at(TcpListener::bind(("127.0.0.1", port)).unwrap(), |_, _| {
            GOOD.to_owned()
        });
        let report = process.end().expect_code(0).json();
        assert_eq!(
            (&report["accepted"], &report["attempts"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(receiver.requests().len(), 1);

        let port = free_port();
        let url = format!("http://127.0.0.1:{port}/callbacks");
        let ran = run(&["trigger", "carrier.sent", "--to", &url, "--wait", "100ms"]).expect_code(1);
        assert!(ran.err.contains(&port.to_string()), "{}", ran.err);
    }

    #[test]
    fn headers() {
        let receiver = Receiver::answering(GOOD);
        fire(
            &receiver,
            &[
                "carrier.sent",
                "--header",
                "X-Team: a: b",
                "--header",
                "Authorization:Basic eA==",
            ],
        )
        .expect_code(0);
        let requests = receiver.requests();
        assert_eq!(requests[0].header("X-Team"), Some("a: b"));
        assert_eq!(requests[0].header("Authorization"), Some("Basic eA=="));
        let user_agent = requests[0].header("User-Agent").unwrap();
        assert!(user_agent.starts_with("vibes-mock"), "{user_agent}");
        assert!(requests[0].header("X-Vibes-Mock-Journey").is_none());
    }

    #[test]
    fn headers_and_method_of_the_file() {
        let receiver = Receiver::answering(GOOD);
        let text = format!(
            "destination: {{url: \"{}\", method: PUT, content_type: text/json, headers: {{X-Team: a}}, callbacks_to_send: handset_dlr}}\n\
             events: [{{event_type: a}}]",
            receiver.url()
        );
        let ran = run_with_input(
            &["run", "-", "--speed", "max", "--header", "X-Team: b"],
            &text,
        )
        .expect_code(0);
        assert_eq!(ran.json()["callbacks"], 1);
        let requests = receiver.requests();
        assert_eq!(requests[0].method, "PUT");
        assert_eq!(requests[0].header("content-type"), Some("text/json"));
        assert_eq!(requests[0].header("x-team"), Some("b"));
        assert_eq!(
            requests[0].json()["event_processed"]["action"]["status_reason"],
            "delivered"
        );
    }

    #[test]
    fn marks() {
        let receiver =
            Receiver::with(|number, _| if number == 0 { "503 Busy" } else { GOOD }.to_owned());
        let url = receiver.url();
        let args = [
            "run",
            "multipart-carrier-middle-part-fails",
            "--to",
            &url,
            "--speed",
            "max",
            "--mark",
            "--connections",
            "1",
        ];
        run(&args).expect_code(0);
        let requests = receiver.requests();
        let mark = |request: &outside::Request, name: &str| {
            request
                .header(&format!("X-Vibes-Mock-{name}"))
                .map(str::to_owned)
        };
        for request in &requests {
            let outcome = mark(request, "Outcome").unwrap();
            let status = request.json()["event_processed"]["action"]["status"].clone();
            assert_eq!(
                outcome == "carrier.rejected",
                status == "failed",
                "{outcome} {status}"
            );
            assert!(mark(request, "Journey").unwrap().parse::<u64>().is_ok());
            let about_part = outcome.starts_with("carrier.") || outcome.starts_with("handset.");
            assert_eq!(mark(request, "Part").is_some(), about_part, "{outcome}");
        }
        let rejected = requests
            .iter()
            .find(|request| mark(request, "Outcome").as_deref() == Some("carrier.rejected"));
        assert!(mark(rejected.unwrap(), "Part").unwrap().starts_with('2'));
        let attempts: Vec<_> = requests
            .iter()
            .map(|request| mark(request, "Attempt").unwrap())
            .collect();
        assert_eq!(
            attempts.iter().filter(|attempt| *attempt == "2").count(),
            1,
            "{attempts:?}"
        );
        assert!(
            attempts
                .iter()
                .all(|attempt| attempt == "1" || attempt == "2"),
            "{attempts:?}"
        );
    }

    /// With three connections, three callbacks are under way at once and never four.
    #[test]
    fn connections() {
        let together = Arc::new(Barrier::new(3));
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&most);
        let receiver = Receiver::with(move |_, _| {
            counted.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            together.wait();
            now.fetch_sub(1, Ordering::SeqCst);
            GOOD.to_owned()
        });
        let nine = ["carrier.sent"; 9];
        let options = ["--connections", "3", "--retry", "none", "--timeout", "30s"];
        let report = fire(&receiver, &[&nine[..], &options].concat())
            .expect_code(0)
            .json();
        assert_eq!(report["accepted"], 9);
        assert_eq!(most.load(Ordering::SeqCst), 3);

        let one = Receiver::answering(GOOD);
        fire(&one, &[&nine[..], &["--connections", "1"]].concat()).expect_code(0);
        let used: BTreeSet<usize> = one
            .requests()
            .iter()
            .map(|request| request.connection)
            .collect();
        assert!(
            used.len() <= 2,
            "one for the look whether somebody is there, one for all callbacks: {used:?}"
        );
    }

    #[test]
    fn timeout() {
        let receiver = Receiver::with(|number, _| {
            if number == 0 {
                std::thread::park_timeout(std::time::Duration::from_secs(2));
            }
            GOOD.to_owned()
        });
        let report = fire(&receiver, &["carrier.sent", "--timeout", "500ms"])
            .expect_code(0)
            .json();
        assert_eq!(report["errors"], json!({"timeout": 1}));
        assert_eq!(
            (&report["attempts"], &report["retried"]),
            (&json!(2), &json!(1))
        );
    }
}

mod retries {
    use super::*;

    #[track_caller]
    fn attempts(answer: &'static str, more: &[&str], wanted: usize) -> Vec<outside::Request> {
        let receiver = Receiver::answering(answer);
        let ran = fire(&receiver, &[&["carrier.sent", "--mark"][..], more].concat()).expect_code(1);
        let report = ran.json();
        let requests = receiver.requests();
        let marked: Vec<_> = requests
            .iter()
            .map(|request| request.header("X-Vibes-Mock-Attempt").unwrap().to_owned())
            .collect();
        let counted: Vec<_> = (1..=wanted).map(|attempt| attempt.to_string()).collect();
        assert_eq!(marked, counted);
        assert_eq!(
            (&report["attempts"], &report["failed"]),
            (&json!(wanted), &json!(1))
        );
        assert_eq!(report["retried"], usize::from(wanted > 1));
        requests
    }

    #[test]
    fn as_vibes_does() {
        let requests = attempts("503 Busy", &[], 6);
        assert!(
            requests
                .iter()
                .all(|request| request.body == requests[0].body),
            "each attempt is the same callback"
        );
        attempts("500 Oh", &["--retry", "vibes"], 6);
    }

    #[test]
    fn none() {
        attempts("503 Busy", &["--retry", "none"], 1);
    }

    #[test]
    fn a_policy() {
        attempts("503 Busy", &["--retry", "2x10s"], 3);
    }

    #[test]
    fn refusals_are_final() {
        attempts("404 Not Found", &[], 1);
        attempts("429 Slow Down", &[], 1);
    }

    #[test]
    fn redirects_are_not_followed() {
        let requests = attempts("302 Found\r\nLocation: /elsewhere", &[], 6);
        assert!(requests.iter().all(|request| request.path == "/callbacks"));
    }

    #[test]
    fn nonsense_for_an_answer() {
        let receiver = Receiver::answering("not a status");
        let report = fire(&receiver, &["carrier.sent", "--retry", "1x1s"])
            .expect_code(1)
            .json();
        assert_eq!(report["errors"], json!({"not_http": 2}));
    }

    #[test]
    fn a_policy_of_the_file_and_an_option_over_it() {
        let text = "retry: 1x1s\nevents: [{event_type: a}]";
        let receiver = Receiver::answering("503 Busy");
        let args = ["run", "-", "--to", &receiver.url(), "--speed", "max"];
        assert_eq!(
            run_with_input(&args, text).expect_code(1).json()["attempts"],
            8
        );
        let over = run_with_input(&[&args[..], &["--retry", "none"]].concat(), text).expect_code(1);
        assert_eq!(over.json()["attempts"], 4);
    }

    #[test]
    fn a_destination_that_fails_long_enough_is_left_alone() {
        let receiver = Receiver::answering("503 Busy");
        let report = fire(&receiver, &["carrier.sent"; 20]).expect_code(1).json();
        assert_eq!(
            (&report["failed"], &report["attempts"]),
            (&json!(20), &json!(120))
        );
        assert!(report["times_down"].as_u64() > Some(0), "{report}");
        let few = fire(
            &receiver,
            &[&["carrier.sent"; 5][..], &["--retry", "none"]].concat(),
        )
        .expect_code(1)
        .json();
        assert_eq!(few["times_down"], 0);
        let refused = Receiver::answering("404 Not Found");
        let report = fire(&refused, &["carrier.sent"; 20]).expect_code(1).json();
        assert_eq!(report["times_down"], 0, "a refusal is not an outage");
    }
}

mod trigger {
    use super::*;

    #[test]
    fn outcomes_in_their_order() {
        let receiver = Receiver::answering(GOOD);
        let outcomes = [
            "handset.delivered",
            "routing.accepted",
            "carrier.rejected",
            "processing.queued",
        ];
        let report = fire(
            &receiver,
            &[&outcomes[..], &["--connections", "1", "--mark"]].concat(),
        )
        .expect_code(0)
        .json();
        assert_eq!(report["callbacks"], 4);
        let requests = receiver.requests();
        let came: Vec<_> = requests
            .iter()
            .map(|request| request.header("X-Vibes-Mock-Outcome").unwrap())
            .collect();
        assert_eq!(came, outcomes);
    }

    #[test]
    fn the_same_for_the_same_seed() {
        let receiver = Receiver::answering(GOOD);
        let args = ["carrier.sent", "--seed", "7", "--start", START];
        fire(&receiver, &args).expect_code(0);
        fire(&receiver, &args).expect_code(0);
        fire(
            &receiver,
            &["carrier.sent", "--seed", "8", "--start", START],
        )
        .expect_code(0);
        let requests = receiver.requests();
        assert_eq!(requests[0].body, requests[1].body);
        assert_ne!(requests[0].body, requests[2].body);
        insta::assert_snapshot!(serde_json::to_string_pretty(&requests[0].json()).unwrap());
    }

    #[test]
    fn what_is_said_of_the_event() {
        let receiver = Receiver::answering(GOOD);
        let args = [
            "carrier.rejected",
            "--event-type",
            "order_shipped",
            "--data",
            "first_name=Ann=a",
            "--data",
            "items=[1, 2]",
            "--data",
            "zip=\"02134\"",
            "--set",
            "event_processed.action.failure.errors.0.error_code=9",
            "--set",
            "event_date=soon",
            "--set",
            "event_processed.event_data.zip=null",
        ];
        fire(&receiver, &args).expect_code(0);
        let body = receiver.requests()[0].json();
        let event = &body["event_processed"];
        assert_eq!(event["event_type"], "order_shipped");
        assert_eq!(event["event_data"]["first_name"], "Ann=a");
        assert_eq!(event["event_data"]["items"], json!([1, 2]));
        assert_eq!(event["event_data"]["zip"], Value::Null);
        assert_eq!(event["action"]["failure"]["errors"][0]["error_code"], 9);
        assert_eq!(body["event_date"], "soon");
    }

    #[test]
    fn messages() {
        let receiver = Receiver::answering(GOOD);
        for message in ["sms", "mms"] {
            fire(&receiver, &["processing.queued", "--message", message]).expect_code(0);
        }
        let requests = receiver.requests();
        let actions: Vec<Value> = requests
            .iter()
            .map(|request| request.json()["event_processed"]["action"].clone())
            .collect();
        for (action, has, has_not) in [(&actions[0], "sms", "mms"), (&actions[1], "mms", "sms")] {
            let kind = action["message_type"].as_str().unwrap();
            assert_eq!(kind.to_lowercase(), has);
            assert!(
                action.get(has).is_some() && action.get(has_not).is_none(),
                "{action}"
            );
        }
    }

    #[test]
    fn refused() {
        let wrong: &[&[&str]] = &[
            &["carrier.rejected", "--message", "mms"],
            &["carrier.rejectd"],
            &["rejected"],
            &["carrier.sent", "--event-type", "order shipped"],
            &["carrier.sent", "--data", "first_name"],
            &["carrier.sent", "--data", "=Ann"],
            &["carrier.sent", "--set", "event_processed.action.stats=1"],
            &["carrier.sent", "--set", "event_procesed.event_id=1"],
            &[
                "carrier.rejected",
                "--set",
                "event_processed.action.failure.errors.1.error_code=9",
            ],
            &["carrier.sent", "--set", "zebra=1"],
        ];
        let receiver = Receiver::answering(GOOD);
        let mut shown = String::new();
        for args in wrong {
            let ran = fire(&receiver, args).expect_code(2);
            assert_eq!(ran.out, "");
            let first: Vec<_> = ran
                .err
                .lines()
                .take_while(|line| !line.is_empty())
                .collect();
            shown += &format!("{args:?}\n{}\n\n", first.join("\n"));
        }
        assert_eq!(receiver.requests().len(), 0, "nothing was sent");
        insta::assert_snapshot!(shown);
    }
}

mod listen {
    use super::*;

    fn start(args: &[&str]) -> (Process, u16) {
        let mut command = program();
        let process = Process::start(command.args(["listen", "--port", "0"]).args(args));
        let note = process.wait_for_note("(Ctrl-C ends)");
        let (_, rest) = note.split_once("http://127.0.0.1:").unwrap();
        let port = rest.split('/').next().unwrap().parse().unwrap();
        (process, port)
    }

    fn sample(outcome: &str) -> String {
        let json = run(&["catalog", outcome, "--format", "json"])
            .expect_code(0)
            .json();
        json[0]["body"].to_string()
    }

    #[test]
    fn statuses() {
        let (process, port) = start(&["--status", "503", "--first", "2"]);
        let body = sample("carrier.rejected");
        let statuses = [0; 4].map(|_| post(port, &body));
        assert_eq!(statuses, [503, 503, 200, 200]);
        let shown = process.wait_for_lines(4);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(
            lines[0].contains("carrier") && lines[0].contains("rejected"),
            "{shown}"
        );
        assert!(
            lines[0].ends_with("answered 503") && lines[1].ends_with("answered 503"),
            "{shown}"
        );
        assert!(!lines[2].contains("answered"), "{shown}");
        assert!(!shown.contains('\u{1b}'));
        let (_other, port) = start(&["--status", "404"]);
        assert_eq!([post(port, &body), post(port, &body)], [404, 404]);
    }

    #[test]
    fn whole_bodies() {
        let (process, port) = start(&["-v"]);
        post(port, &sample("handset.delivered"));
        let shown = process.wait_for_output("\n}\n");
        let (line, body) = shown.split_once('\n').unwrap();
        assert!(line.contains("delivered"), "{line}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body.to_string(), sample("handset.delivered"));
    }

    #[test]
    fn bodies_that_are_no_callbacks() {
        let (process, port) = start(&[]);
        for body in ["{\"event_id\": ", "", "{}", "[1]", "\u{1b}[31mred"] {
            assert_eq!(post(port, body), 200, "{body:?}");
        }
        // One that is a callback comes after them, so the others have been shown.
        post(port, &sample("carrier.sent"));
        let shown = process.wait_for_output("sent  ");
        assert_eq!(shown.matches("not a callback").count(), 5, "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }

    #[test]
    fn takes_a_run() {
        let (process, port) = start(&[]);
        let url = format!("http://127.0.0.1:{port}/callbacks");
        run(&["run", "happy-path", "--to", &url, "--speed", "max"]).expect_code(0);
        let shown = process.wait_for_output("delivered");
        assert!(
            shown.contains("accepted_by_event_triggered_message"),
            "{shown}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn ctrl_c() {
        let (process, _) = start(&[]);
        process.interrupt();
        let ran = process.end().expect_code(130);
        assert_eq!(ran.out, "");
    }

    #[test]
    fn a_port_that_is_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let ran = run(&["listen", "--port", &port]).expect_code(2);
        assert_eq!(ran.out, "");
        assert!(
            ran.err.contains(&port) && ran.err.contains("--port 0"),
            "{}",
            ran.err
        );
    }

    #[test]
    fn bad_options() {
        for args in [
            ["--status", "99"],
            ["--status", "100"],
            ["--port", "65536"],
            ["--bind", "localhosst"],
            ["--delay", "3"],
            ["--first", "many"],
        ] {
            let ran = run(&[&["listen"][..], &args].concat()).expect_code(2);
            assert!(ran.err.contains(args[0]), "{}", ran.err);
        }
    }
}
