//! What templates do, and that they cannot run away.

use chrono::{TimeZone, Utc};
use liquid_core::model::{Object, Value};
use proptest::prelude::*;
use rand::rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{MAX_OUTPUT, Renderer, Template, TemplateError};

fn render(source: &str) -> Result<String, TemplateError> {
    let data: Object = [
        ("first_name".into(), Value::scalar("Bob")),
        (
            "items".into(),
            Value::array([
                Value::scalar("b"),
                Value::scalar("a"),
                Value::scalar(10_i64),
            ]),
        ),
        ("big".into(), Value::scalar(i64::MIN)),
    ]
    .into_iter()
    .collect();
    let variables: Object = [("event_data".into(), Value::Object(data))]
        .into_iter()
        .collect();
    let now = Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).unwrap();
    let template = Template::parse(source)?;
    let mut out = String::new();
    Renderer::new(&variables, now, Xoshiro256PlusPlus::seed_from_u64(1))
        .render(&template, &mut out)?;
    Ok(out)
}

fn ok(source: &str) -> String {
    render(source).unwrap_or_else(|error| panic!("{source}: {error:?}"))
}

fn fails(source: &str, with: &str) {
    let error = render(source).expect_err(source);
    let all = format!("{} {}", error.message, error.help.unwrap_or_default());
    assert!(
        all.contains(with),
        "{}: {all}",
        &source[..source.len().min(200)]
    );
}

#[test]
fn plain_texts_are_themselves() {
    assert_eq!(ok("Hi { you } %}"), "Hi { you } %}");
    assert_eq!(Template::parse("Hi").unwrap().literal(), Some("Hi"));
}

#[test]
fn variables_filters_and_blocks_work() {
    assert_eq!(ok("Hi {{ event_data.first_name | upcase }}!"), "Hi BOB!");
    assert_eq!(
        ok("{% for i in (1..3) %}{{ i }}{% unless forloop.last %},{% endunless %}{% endfor %}"),
        "1,2,3"
    );
    assert_eq!(
        ok("{% for i in event_data.items reversed limit:2 %}{{ i }}{% endfor %}"),
        "ab"
    );
    assert_eq!(
        ok("{% for i in nothing %}x{% else %}none{% endfor %}"),
        "none"
    );
    assert_eq!(ok("{% assign a = 2 | times: 3 %}{{ a }}"), "6");
    assert_eq!(
        ok("{% for i in (1..9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}"),
        "12"
    );
    assert_eq!(ok("{{ event_data.items | sort | join: '-' }}"), "10-a-b");
    assert_eq!(ok("{% if event_data.nick == nil %}none{% endif %}"), "none");
}

#[test]
fn default_guards_what_is_absent() {
    assert_eq!(ok("Hi {{ event_data.nick | default: 'you' }}"), "Hi you");
    assert_eq!(
        ok("{% for i in event_data.items %}{{ i.nope | default: '?' }}{% endfor %}"),
        "???"
    );
}

#[test]
fn now_is_the_clock_of_the_run() {
    for now in ["now", " Now ", "today", "TODAY"] {
        assert_eq!(
            ok(&format!("{{{{ '{now}' | date: '%Y-%m-%d %H:%M' }}}}")),
            "2026-01-02 03:04"
        );
    }
    assert_eq!(ok("{{ '2026-05-06T07:08:09Z' | date: '%b %-d' }}"), "May 6");
    assert_eq!(ok("{{ 'soon' | date: '%Y' }}"), "soon");
}

#[test]
fn draws_are_new_each_time_and_the_same_for_the_same_generator() {
    let source = "{{ 9 | fake_alphanumeric }} {{ 9 | fake_digits }} {{ 9 | fake_digits }} {{ 'a,b' | split: ',' | fake_choice }}";
    let text = ok(source);
    assert_eq!(text, ok(source));
    let parts: Vec<_> = text.split(' ').collect();
    assert_eq!(
        parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
        [9, 9, 9, 1]
    );
    assert_ne!(parts[1], parts[2]);
    fails("{{ 1001 | fake_digits }}", "from 0 to 1000");
    fails("{{ 'x' | fake_choice }}", "array");
}

#[test]
fn mistakes_are_named() {
    fails(
        "{{ event_data.first_name | upcas }}",
        "did you mean `upcase`",
    );
    fails("{% incldue 'x' %}", "no tag `incldue`");
    fails("{% include 'x' %}", "no tag `include`");
    fails("{{ event_data.first_name", "not closed");
    fails("{% if a %}", "{% endif %}");
    fails("{% endif %}", "closes nothing");
    fails("{% if a %}{% endfor %}", "endif");
    fails("{{ 'x }}", "not closed");
    fails("{{ 1 | plus }}", "takes 1 argument");
    fails("{{ 1 | divided_by: 0 }}", "divided by zero");
}

#[test]
fn arithmetic_has_no_edges() {
    for filter in [
        "plus",
        "minus",
        "times",
        "divided_by",
        "modulo",
        "at_least",
        "slice",
        "truncate",
        "truncatewords",
        "round",
    ] {
        for argument in [
            "-1",
            "0",
            "1",
            "9223372036854775807",
            "event_data.big",
            "'x'",
            "1e400",
            "-9223372036854775808",
        ] {
            for input in [
                "event_data.big",
                "9223372036854775807",
                "'text'",
                "event_data.items",
                "nil",
                "1.5",
            ] {
                let _ = render(&format!("{{{{ {input} | {filter}: {argument} }}}}"));
                let _ = render(&format!(
                    "{{{{ {input} | {filter}: {argument}, {argument} }}}}"
                ));
            }
        }
    }
    assert_eq!(ok("{{ event_data.big | abs }}"), "9223372036854776000");
}

#[test]
fn nothing_runs_away() {
    let nested = "{% for a in (1..1000) %}{% for b in (1..1000) %}{% for c in (1..1000) %}{% endfor %}{% endfor %}{% endfor %}";
    let doubling = |step: &str| format!("{{% assign a = 'xxxxxxxxxxxxxxxx' %}}{}", step.repeat(40));
    let doubling_array = format!(
        "{{% assign a = 'x,y' | split: ',' %}}{}",
        "{% assign a = a | concat: a %}".repeat(40)
    );
    for source in [
        "{% for i in (1..1000000000) %}{% endfor %}",
        "{% for i in (1..1000000000) %}{{ i }}{% endfor %}",
        "{% for i in (-9223372036854775808..9223372036854775807) %}{% endfor %}",
        nested,
        &doubling("{% assign a = a | append: a %}"),
        &doubling("{% capture a %}{{ a }}{{ a }}{% endcapture %}"),
        &doubling("{% assign a = a | replace: 'x', a %}"),
        &doubling("{% assign a = a | split: '' | join: a %}"),
        &doubling_array,
        &"{{ event_data.items | join }}"
            .repeat(2)
            .replace("join", &format!("join: {}", "'y'"))
            .repeat(2000),
    ] {
        let result = render(source);
        if let Ok(text) = &result {
            assert!(text.len() <= MAX_OUTPUT);
        } else {
            let error = result.expect_err("an error");
            assert!(
                error.message.contains("more than") || error.message.contains("turns"),
                "{error:?}"
            );
        }
    }
    fails("{% for i in (1..1000000000) %}{% endfor %}", "10000 turns");
    fails(&doubling("{% assign a = a | append: a %}"), "65536");
    fails("{{ 'now' | date: '%999999999d' }}", "too wide");
}

#[test]
fn nesting_cannot_overflow_the_stack() {
    let deep = "{% if a %}".repeat(2000) + &"{% endif %}".repeat(2000);
    let within = "{% if a %}".repeat(30) + &"{% endif %}".repeat(30);
    let run = move || {
        fails(&deep, "nested");
        ok(&within);
    };
    std::thread::Builder::new()
        .stack_size(1024 * 1024)
        .spawn(run)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn variables_are_found_with_their_guards() {
    let source = "{% assign x = event_data.a | append: event_data['b c'] %}{{ x }}\
                  {% for i in event_data.list limit:journey.number %}{{ i.name }}{{ forloop.index }}{% endfor %}\
                  {% if fake.first_name and person.mdn contains '1' %}{% endif %}\
                  {{ event_data.c[0].d | default: event_data.e }}{{ 'event_data.no' }}{% raw %}{{ not }}{% endraw %}\
                  {{ event_data[event_id] }}";
    let template = Template::parse(source).unwrap();
    let found: Vec<_> = template
        .variables()
        .iter()
        .map(|variable| (variable.path.join("."), variable.guarded))
        .collect();
    let expected = [
        ("event_data.a", false),
        ("event_data.b c", false),
        ("event_data.list", false),
        ("journey.number", false),
        ("fake.first_name", true),
        ("person.mdn", true),
        ("event_data.c.0.d", true),
        ("event_data.e", false),
        ("event_data", false),
        ("event_id", false),
    ];
    assert_eq!(
        found,
        expected.map(|(path, guarded)| (path.to_owned(), guarded))
    );
    for variable in template.variables() {
        assert!(source[variable.span.clone()].starts_with(&variable.path[0]));
    }
}

/// Pieces that make templates of all kinds, sound and unsound.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("{% for i in (1..1000) %}".to_owned()),
        Just("{% for i in event_data.items %}".to_owned()),
        Just("{% endfor %}".to_owned()),
        Just("{% if i %}".to_owned()),
        Just("{% else %}".to_owned()),
        Just("{% endif %}".to_owned()),
        Just("{% case i %}{% when 1 %}".to_owned()),
        Just("{% endcase %}".to_owned()),
        Just("{% assign i = i | append: i %}".to_owned()),
        Just("{% capture i %}".to_owned()),
        Just("{% endcapture %}".to_owned()),
        Just("{% increment i %}".to_owned()),
        Just("{% cycle 'a', i %}".to_owned()),
        Just("{% raw %}".to_owned()),
        Just("{% endraw %}".to_owned()),
        Just("{% break %}".to_owned()),
        Just("{{ i | split: '' | sort | uniq | reverse | join: i }}".to_owned()),
        Just("{{ i | replace: '', i | escape | url_encode | date: i }}".to_owned()),
        Just("{{ i | slice: -3, 9 | truncate: 2 | times: i | fake_digits }}".to_owned()),
        Just(
            "{{ event_data.big | minus: 1 | divided_by: -1 | modulo: -1 | abs | round: 3 }}"
                .to_owned()
        ),
        Just("{{ event_data | map: 'x' | first | size | where: 'a', 'b' }}".to_owned()),
        "[{}%|\"'a-z .:,0-9\\[\\]()é]{0,12}",
        "\\PC{0,8}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A tag that does nothing takes the way through the language.
    #[test]
    fn both_ways_of_rendering_give_the_same_bytes(
        outputs in prop::collection::vec((".{0,5}", prop::sample::select(vec![
            "{{event_data.first_name}}", "{{ event_data.big }}", "{{ event_data.nope }}", "{{ nil }}", "{{ nope }}",
            "{{ 5 | fake_digits }}", "{{7|fake_alphanumeric}}", "{{ 0 | fake_digits }}", "{{ event_data.items }}",
            "{{ event_data.items.first }}", "{{ event_data.first_name.size }}",
        ])), 0..6)
    ) {
        let source: String = outputs
            .iter()
            .map(|(text, output)| text.replace(['{', '}', '%'], "") + output)
            .collect();
        prop_assert_eq!(render(&source), render(&format!("{source}{{% break %}}")));
    }

    #[test]
    fn any_text_ends_within_the_bounds(pieces in prop::collection::vec(piece(), 0..12)) {
        if let Ok(text) = render(&pieces.concat()) {
            prop_assert!(text.len() <= MAX_OUTPUT);
        }
    }
}
