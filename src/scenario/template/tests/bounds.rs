//! That nothing runs away, overflows the stack or panics.

use proptest::prelude::*;

use super::super::filters::names;
use super::super::{MAX_OUTPUT, MAX_SOURCE, Template};
use super::{fails, gives, render};

#[test]
fn nothing_runs_away() {
    let doubling = |step: &str| format!("{{% assign a = 'xxxxxxxxxxxxxxxx' %}}{}", step.repeat(40));
    let inside = |step: &str| format!("{{% for i in (1..10000) %}}{step}{{% endfor %}}");
    let large = doubling("").to_owned() + &"{% assign a = a | append: a %}".repeat(11);
    for (source, bound) in [
        (
            "{% for i in (1..1000000000) %}{% endfor %}".to_owned(),
            "10000 turns",
        ),
        (
            "{% for i in (-9223372036854775808..9223372036854775807) %}{% endfor %}".to_owned(),
            "10000 turns",
        ),
        (
            "{% for a in (1..1000) %}".repeat(4) + &"{% endfor %}".repeat(4),
            "10000 turns",
        ),
        (inside("{{ 'xxxxxxxxxx' }}"), "puts out more"),
        (doubling("{% assign a = a | append: a %}"), "65536 bytes"),
        (doubling("{% assign a = a | prepend: a %}"), "65536 bytes"),
        (
            doubling("{% capture a %}{{ a }}{{ a }}{% endcapture %}"),
            "65536 bytes",
        ),
        (
            doubling("{% assign a = a | replace: 'x', a %}"),
            "65536 bytes",
        ),
        (
            doubling("{% assign a = a | replace: '', a %}"),
            "65536 bytes",
        ),
        (
            doubling("{% assign a = a | split: '' | join: a %}"),
            "65536 bytes",
        ),
        (
            "{% assign a = 'x,y' | split: ',' %}".to_owned()
                + &"{% assign a = a | concat: a %}".repeat(40),
            "65536 bytes",
        ),
        (
            (0..9)
                .map(|n| format!("{{% assign a{n} = '{}' %}}", "x".repeat(7000)))
                .collect::<Vec<_>>()
                .concat()
                + "{% assign b = a1 %}",
            "assigns more",
        ),
        (
            inside(&"{% if 1 == 2 %}{% endif %}".repeat(2000)),
            "1000000 steps",
        ),
        (
            large.clone() + &inside(&"{% assign n = a | size %}".repeat(500)),
            "1000000 steps",
        ),
        (
            large.clone() + &inside(&"{% if a == 'y' %}{% endif %}".repeat(500)),
            "1000000 steps",
        ),
        (
            inside(&format!(
                "{{% capture x %}}{}{{% endcapture %}}",
                "x".repeat(50000)
            )),
            "1000000 steps",
        ),
        (
            inside(&format!(
                "{{% ifchanged %}}{}{{% endifchanged %}}",
                "x".repeat(50000)
            )),
            "1000000 steps",
        ),
        (
            format!("{{{{ 1 }}}}{}", "x".repeat(MAX_SOURCE)),
            "more than 65536 bytes",
        ),
    ] {
        fails(&source, bound, "");
    }
    let longest = "x".repeat(60_000);
    gives(
        &format!("{{% assign a = '{longest}' %}}{{{{ a }}}}"),
        &longest,
    );
}

/// On a small stack, in a build without optimisation: what is allowed fits, what does not fit is an error.
#[test]
fn nesting_cannot_overflow_the_stack() {
    let run = || {
        for (open, close) in [
            ("{% if true %}", "{% endif %}"),
            ("{% unless false %}", "{% endunless %}"),
            ("{% for i in (1..1) %}", "{% endfor %}"),
            ("{% case 1 %}{% when 1 %}", "{% endcase %}"),
            ("{% capture a %}", "{% endcapture %}"),
            ("{% ifchanged %}", "{% endifchanged %}"),
        ] {
            let nested = |depth: usize| open.repeat(depth) + "{{ 1 }}" + &close.repeat(depth);
            assert!(render(&nested(32)).is_ok(), "{open}");
            fails(&nested(33), "nested more than 32 deep", "{%");
            fails(
                &open.repeat(MAX_SOURCE / open.len()),
                "nested more than 32 deep",
                "{%",
            );
        }
        let deep = "a[".repeat(30_000);
        fails(&format!("{{{{ {deep} }}}}"), "nested more than 8 deep", "a");
        gives(
            &format!("{{{{ {}'x'{} }}}}", "a[".repeat(8), "]".repeat(8)),
            "",
        );
        gives(
            &format!("{{% if 1{} %}}x{{% endif %}}", " and 1".repeat(10_000)),
            "x",
        );
        gives(
            &format!(
                "{{% if false %}}{}{{% endif %}}",
                "{% elsif false %}".repeat(3600)
            ),
            "",
        );
        gives(&format!("{{{{ 1{} }}}}", " | abs".repeat(10_000)), "1");
        let _ = render(&"{% comment %}".repeat(5000));
        let spaces = " ".repeat(60_000);
        gives(&format!("{spaces}{{{{ 1 }}}}"), &format!("{spaces}1"));
    };
    let thread = std::thread::Builder::new()
        .stack_size(512 * 1024)
        .spawn(run)
        .unwrap();
    thread.join().unwrap();
}

/// Pieces that make templates of all kinds, sound and unsound.
fn piece() -> impl Strategy<Value = String> {
    let fixed =
        |pieces: &'static [&'static str]| prop::sample::select(pieces).prop_map(str::to_owned);
    let value = || {
        prop::sample::select(
            &[
                "i",
                "event_data",
                "event_data.items",
                "event_data.big",
                "'x y'",
                "-1",
                "9223372036854775807",
                "1.5",
                "nil",
                "i[i]",
                "'now'",
                "'%Y%'",
                "forloop",
                "''",
                "empty",
            ][..],
        )
    };
    let filter = prop::sample::select(names().collect::<Vec<_>>());
    let call =
        (filter, prop::collection::vec(value(), 0..3)).prop_map(
            |(name, arguments)| match arguments.as_slice() {
                [] => format!("| {name} "),
                arguments => format!("| {name}: {} ", arguments.join(", ")),
            },
        );
    let chain = (value(), prop::collection::vec(call, 0..4))
        .prop_map(|(head, calls)| format!("{head} {}", calls.concat()));
    prop_oneof![
        chain.clone().prop_map(|chain| format!("{{{{ {chain} }}}}")),
        chain.prop_map(|chain| format!("{{% assign i = {chain} -%}}")),
        fixed(&[
            "{% for i in (1..1000) %}",
            "{% for i in i reversed %}",
            "{% for i in event_data limit:2 %}",
            "{% endfor %}",
            "{% break %}",
            "{% continue %}"
        ]),
        fixed(&[
            "{% if i %}",
            "{% if i contains i or i < 2 %}",
            "{%- else -%}",
            "{% elsif i == event_data %}",
            "{% endif %}",
            "{% unless i %}",
            "{% endunless %}"
        ]),
        fixed(&[
            "{% case i %}{% when 1, i %}",
            "{% when i %}",
            "{% endcase %}",
            "{% capture i %}",
            "{% endcapture %}",
            "{% ifchanged %}",
            "{% endifchanged %}"
        ]),
        fixed(&[
            "{% increment i %}",
            "{% decrement i %}",
            "{% cycle 'a', i %}",
            "{% cycle i: i %}",
            "{% raw %}",
            "{% endraw %}",
            "{% comment %}",
            "{% endcomment %}"
        ]),
        "[{}%|\"'a-z .:,0-9\\[\\]()é-]{0,12}",
        "\\PC{0,8}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_pieces_end_within_the_bounds(pieces in prop::collection::vec(piece(), 0..12)) {
        let source = pieces.concat();
        if let Ok(template) = Template::parse(&source) {
            for variable in template.variables() {
                prop_assert!(source[variable.span.clone()].starts_with(&variable.path[0]));
            }
        }
        match render(&source) {
            Ok(text) => prop_assert!(text.len() <= MAX_OUTPUT && render(&source) == Ok(text)),
            Err(error) => {
                if let Some(span) = error.span {
                    prop_assert!(source.get(span).is_some());
                }
            }
        }
    }

    #[test]
    fn any_text_is_read(bytes in prop::collection::vec(any::<u8>(), 0..60), inside in any::<bool>()) {
        let text = String::from_utf8_lossy(&bytes);
        let source = if inside { format!("{{{{{text}}}}}{{%{text}%}}") } else { text.into_owned() };
        let _ = render(&source);
    }
}
