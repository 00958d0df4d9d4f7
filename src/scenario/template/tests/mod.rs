//! What templates do.

mod bounds;
mod filters;

use chrono::{TimeZone, Utc};
use liquid_core::model::{Object, Value};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{MAX_SOURCE, Renderer, Template, TemplateError};

fn object(entries: &[(&'static str, Value)]) -> Object {
    let entries = entries.iter().cloned();
    entries.map(|(key, item)| (key.into(), item)).collect()
}

fn variables() -> Object {
    let item = |name: &str, points: i64| {
        let name = Value::scalar(name.to_owned());
        Value::Object(object(&[("name", name), ("points", Value::scalar(points))]))
    };
    let data = object(&[
        ("first_name", Value::scalar("Bob")),
        ("items", Value::array(["b", "a", "c"].map(Value::scalar))),
        (
            "mixed",
            Value::array([
                Value::scalar("10"),
                Value::scalar(9_i64),
                Value::Nil,
                Value::scalar(9.5),
                Value::scalar(true),
            ]),
        ),
        ("people", Value::array([item("Zoe", 3), item("ann", 12)])),
        ("big", Value::scalar(i64::MIN)),
        ("no", Value::scalar(false)),
        ("price", Value::scalar(12.5)),
    ]);
    object(&[
        ("event_data", Value::Object(data)),
        ("event_id", Value::scalar("first_name")),
    ])
}

fn render(source: &str) -> Result<String, TemplateError> {
    let variables = variables();
    let now = Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).unwrap();
    let template = Template::parse(source)?;
    let mut out = String::from("before ");
    let mut renderer = Renderer::new(&variables, now, Xoshiro256PlusPlus::seed_from_u64(1));
    let rendered = renderer.render(&template, &mut out);
    assert!(rendered.is_ok() || out == "before ", "{out}");
    rendered.map(|()| out.split_off("before ".len()))
}

#[track_caller]
fn gives(source: &str, expected: &str) {
    match render(source) {
        Ok(text) => assert_eq!(text, expected, "{source}"),
        Err(error) => panic!("{source}: {error:?}"),
    }
}

/// The message and the help have this in them; the span marks that.
#[track_caller]
fn fails(source: &str, with: &str, at: &str) {
    let shown: String = source.chars().take(100).collect();
    let error = match render(source) {
        Ok(text) => panic!("{shown}: {text}"),
        Err(error) => error,
    };
    let all = format!("{error}; {}", error.help.as_deref().unwrap_or_default());
    assert!(all.contains(with), "{shown}: {all}");
    assert!(!all.contains('\n'), "{all}");
    let span = error.span.unwrap_or_default();
    assert!(source[span.clone()].starts_with(at), "{shown}: {span:?}");
}

#[test]
fn plain_texts_are_themselves() {
    gives("Hi { you } }} %} don't", "Hi { you } }} %} don't");
    assert_eq!(Template::parse("Hi").unwrap().literal(), Some("Hi"));
    assert_eq!(Template::parse("{{ 1 }}").unwrap().literal(), None);
    gives(&"x".repeat(MAX_SOURCE + 1), &"x".repeat(MAX_SOURCE + 1));
}

#[test]
fn values_are_put_out() {
    gives("Hi {{ event_data.first_name | upcase }}!", "Hi BOB!");
    gives(
        "{{event_data[event_id]}}{{ event_data['first_name'] }}",
        "BobBob",
    );
    gives(
        "{{ event_data.items[0] }}{{ event_data.items[-1] }}{{ event_data.items.last }}{{ event_data.items.size }}",
        "bcc3",
    );
    gives(
        "{{ event_data.items }}{{ nil }}{{ empty }}{{ true }}{{ event_data.price }}{{ 4.0 }}",
        "bactrue12.54.0",
    );
    gives(
        "{{ event_data.people | last }}",
        "{\"name\":\"ann\",\"points\":12}",
    );
    gives(
        "{{ absent }}{{ event_data.absent.more[3] }}{{ event_data.items[9] }}{{ event_data.items[-9223372036854775808] }}",
        "",
    );
    gives(
        "a  {{- 1 -}}  b\t\n{%- if true -%} c {%- endif %} d",
        "a1bc d",
    );
    gives(
        "{{ '}}' }}{% raw %}{{ x }}{% if{% endraw %}{% comment %} {{ don't {% comment %}{% endcomment %} {% endcomment %}{% # note %}.",
        "}}{{ x }}{% if.",
    );
    gives(
        "{{ nilly | default: 'd' }}{% assign truest = 1 %}{{ truest }}",
        "d1",
    );
}

#[test]
fn blocks_choose() {
    gives(
        "{% if event_data.no %}a{% elsif event_data.items contains 'b' %}b{% else %}c{% endif %}",
        "b",
    );
    gives("{% unless event_data.no %}a{% else %}b{% endunless %}", "a");
    gives(
        "{% if event_data.nick == nil and event_data.first_name != blank %}none{% endif %}",
        "none",
    );
    // Read from the right, like Shopify's.
    gives(
        "{% if true or false and false %}t{% else %}f{% endif %}",
        "t",
    );
    gives(
        "{% if false and false or true %}t{% else %}f{% endif %}",
        "f",
    );
    gives(
        "{% if '10' > 9 and 1 < 1.5 and 'b' >= 'a' and 1 == 1.0 %}t{% endif %}{% if '1' == 1 %}f{% endif %}",
        "t",
    );
    gives(
        "{% case event_data.first_name %} {% when 'Al' %}1{% when 'Bo', 'Bob' %}2{% else %}3{% endcase %}",
        "2",
    );
    gives(
        "{% case 5 %}{% when 1 or 2 %}1{% else %}3{% endcase %}",
        "3",
    );
    gives(
        "{% if 'now' == 'today' %}f{% endif %}{% if 'now' < '2020' %}f{% else %}t{% endif %}",
        "t",
    );
}

#[test]
fn loops_go_over_arrays_ranges_and_objects() {
    gives(
        "{% for i in (1..3) %}{{ i }}{% unless forloop.last %},{% endunless %}{% endfor %}",
        "1,2,3",
    );
    gives(
        "{% for i in event_data.items reversed limit:2 offset:1 %}{{ i }}{{ forloop.rindex0 }}{% endfor %}",
        "c1a0",
    );
    gives(
        "{% for i in nothing %}x{% else %}none{% endfor %}{% for i in (3..1) %}x{% endfor %}",
        "none",
    );
    gives(
        "{% for i in (1..9) %}{% if i == 3 %}{% continue %}{% elsif i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}.",
        "124.",
    );
    gives(
        "{% for a in (1..2) %}{% for b in (1..2) %}{{ forloop.parentloop.index }}{{ forloop.index }} {% endfor %}{% endfor %}",
        "11 12 21 22 ",
    );
    gives(
        "{% for p in event_data.people %}{{ p.name }}{{ p.absent.more }}{{ p.absent | default: '?' }}{% endfor %}",
        "Zoe?ann?",
    );
    gives(
        "{% assign p = event_data.people | last %}{% for e in p %}{{ e[0] }}={{ e[1] }};{% endfor %}",
        "name=ann;points=12;",
    );
    gives(
        "{% for a in (1..3) %}{% cycle 'x', 'y' %}{% cycle n: 1, 2 %}{% endfor %}",
        "x1y2x1",
    );
    gives(
        "{% for a in (1..4) %}{% ifchanged %}{{ a | divided_by: 3 }}{% endifchanged %}{% endfor %}",
        "01",
    );
    gives(
        "{% increment n %}{% increment n %}{% decrement n %}{{ n }}",
        "0111",
    );
    gives("a{% break %}b", "a");
    fails("{% for i in 5 %}{% endfor %}", "array or a range", "{% for");
    fails(
        "{% for i in (1..'x') %}{% endfor %}",
        "whole number",
        "{% for",
    );
    fails(
        "{% for i in (1..2) limit: -1 %}{% endfor %}",
        "negative",
        "{% for",
    );
}

#[test]
fn assigned_values_last_for_one_rendering() {
    gives(
        "{% assign a = 2 | times: 3 %}{% capture b %}{{ a }}!{% endcapture %}{{ b }}",
        "6!",
    );
    let variables = variables();
    let mut renderer = Renderer::new(
        &variables,
        chrono::DateTime::UNIX_EPOCH,
        Xoshiro256PlusPlus::seed_from_u64(1),
    );
    let mut out = String::new();
    let template =
        Template::parse("{{ a }}{% increment n %}{% cycle 1, 2 %}{% assign a = 1 %}{{ a }}")
            .unwrap();
    for _ in 0..2 {
        renderer.render(&template, &mut out).unwrap();
    }
    assert_eq!(out, "011011");
}

#[test]
fn mistakes_are_named() {
    fails(
        "{{ event_data.first_name | upcas }}",
        "unknown filter `upcas`; did you mean `upcase`?",
        "upcas",
    );
    fails(
        "{% incremnt x %}",
        "unknown tag `incremnt`; did you mean `increment`?",
        "{% incremnt",
    );
    fails(
        "{% include 'x' %}",
        "the tag `include` is not supported in scenario texts",
        "{% include",
    );
    fails("a {{ event_data.first_name", "`{{` is not closed", "{{");
    fails("{{ don't }}", "quote is not closed", "'");
    fails(
        "{% if a %}{% if b %}{% endif %}",
        "`if` is not closed; write `{% endif %}`",
        "{% if a",
    );
    fails("{% raw %}", "`raw` is not closed", "{% raw");
    fails("{% endif %}", "closes nothing", "{% endif");
    fails(
        "{% if a %}{% endfor %}",
        "`endfor` stands where `if` is still open",
        "{% endfor",
    );
    fails("{% else %}", "does not belong here", "{% else");
    fails(
        "{% if a %}{% else %}{% elsif b %}{% endif %}",
        "before `else`",
        "{% elsif",
    );
    fails("{{ }}", "a value is missing", "");
    fails(
        "{{ 1 | plus }}",
        "takes 1 argument; for example `| plus: 1`",
        "plus",
    );
    fails("{{ 1 | abs: 2 }}", "takes no arguments", "abs");
    fails(
        "{{ 1 2 }}",
        "`|` or the end should stand here, not `2`",
        "2",
    );
    fails(
        "{% for x of y %}{% endfor %}",
        "`in` should stand here, not `of`",
        "of",
    );
    fails("{% assign 5 = x %}", "the name of a variable", "5");
    fails("{% cycle 'a': %}", "a value is missing", "");
    fails("{{ a.é }}", "`é` has no meaning", "é");
    fails("{{ a & b }}", "`&` has no meaning", "&");
    fails("{{ a[1 }}", "`]` is missing", "");
    fails("{{ a. }}", "name is missing", "a.");
}

#[test]
fn variables_are_found_with_their_guards() {
    let source = "{% assign x = event_data.a | append: event_data['b c'] %}{{ x }}\
                  {% for i in event_data.list limit:journey.number %}{{ i.name }}{{ forloop.index }}{% endfor %}\
                  {% if fake.first_name and person.mdn contains '1' %}{% endif %}\
                  {{ event_data.c[0].d | default: event_data.e }}{{ 'event_data.no' }}{% raw %}{{ not }}{% endraw %}\
                  {{ event_data.f[event_id].g | default: 1 }}{% for n in (1..m) %}{% endfor %}\
                  {% comment %}{{ no }}{% endcomment %}{%- case person %}{% when event_type %}{% endcase -%}\
                  {{ 1 | default: z, allow_false: y }}{% cycle g: v, w %}{{ empty }}{{ nil }}{% increment c %}{{ c }}{{ items.0 }}";
    let template = Template::parse(source).unwrap();
    let found: Vec<_> = template
        .variables()
        .iter()
        .map(|variable| {
            (
                variable.path.join("."),
                variable.guarded,
                &source[variable.span.clone()],
            )
        })
        .collect();
    let expected = [
        ("event_data.a", false, "event_data.a"),
        ("event_data.b c", false, "event_data['b c']"),
        ("event_data.list", false, "event_data.list"),
        ("journey.number", false, "journey.number"),
        ("fake.first_name", true, "fake.first_name"),
        ("person.mdn", true, "person.mdn"),
        ("event_data.c.0.d", true, "event_data.c[0].d"),
        ("event_data.e", false, "event_data.e"),
        ("event_data.f", true, "event_data.f"),
        ("event_id", false, "event_id"),
        ("m", false, "m"),
        ("person", true, "person"),
        ("event_type", true, "event_type"),
        ("z", false, "z"),
        ("y", false, "y"),
        ("v", false, "v"),
        ("w", false, "w"),
        ("items.0", false, "items.0"),
    ];
    assert_eq!(
        found,
        expected.map(|(path, guarded, at)| (path.to_owned(), guarded, at))
    );
}
