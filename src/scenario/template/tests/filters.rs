//! What each filter does, and that none of them panics.

use super::super::filters::names;
use super::{fails, gives, render};

#[test]
fn default_guards_what_is_absent() {
    gives("Hi {{ event_data.nick | default: 'you' }}", "Hi you");
    gives(
        "{{ event_data.no | default: 1 }}{{ event_data.no | default: 1, allow_false: true }}{{ '' | default: 2 }}{{ 0 | default: 3 }}",
        "1false20",
    );
    fails(
        "{{ 1 | default: 1, allow: true }}",
        "no argument named `allow`",
        "allow",
    );
}

#[test]
fn now_is_the_clock_of_the_run() {
    for now in ["now", " Now ", "today", "TODAY"] {
        gives(
            &format!("{{{{ '{now}' | date: '%Y-%m-%d %H:%M' }}}}"),
            "2026-01-02 03:04",
        );
    }
}

#[test]
fn dates_are_read_and_written() {
    gives(
        "{{ '2026-05-06T07:08:09.5Z' | date: '%b %-d, %y %l:%M %p %L %^a %3N|%e|%j|%s' }}",
        "May 6, 26  7:08 AM 500 WED 500| 6|126|1778051289",
    );
    gives(
        "{{ '2026-05-06 07:08:09 +0200' | date: '%FT%T%:z %z %Z' }}",
        "2026-05-06T07:08:09+02:00 +0200 +02:00",
    );
    gives(
        "{{ 0 | date: '%c' }}|{{ '86400' | date: '%D %R' }}",
        "Thu Jan  1 00:00:00 1970|01/02/70 00:00",
    );
    gives(
        "{{ 'soon' | date: '%Y' }}{{ nil | date: '%Y' }}{{ 'now' | date: '' }}",
        "soonnow",
    );
    gives(
        "{{ '2026-01-04' | date: '%U %W %V %u %w %05d %_3m%%' }}",
        "01 00 01 7 0 00004   1%",
    );
    gives("{{ 99999999999999 | date: '%Y' }}", "99999999999999");
    fails(
        "{{ 'now' | date: '%999999999999d' }}",
        "at most 100 wide",
        "date",
    );
    fails("{{ 'now' | date: '%Q' }}", "`%Q` is no part", "date");
    fails("{{ 'now' | date: '%' }}", "ends behind", "date");
}

#[test]
fn draws_are_new_each_time_and_the_same_for_the_same_generator() {
    let source = "{{ 9 | fake_alphanumeric }} {{ 9 | fake_digits }} {{ 9 | fake_digits }} {{ 'a,b' | split: ',' | fake_choice }}";
    let text = render(source).unwrap();
    assert_eq!(text, render(source).unwrap());
    let parts: Vec<_> = text.split(' ').collect();
    let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
    assert_eq!(lengths, [9, 9, 9, 1]);
    assert_ne!(parts[1], parts[2]);
    // The same on every machine, and in every version.
    assert_eq!(text, "bK8Av9H0F 803692314 025757573 a");
    gives("{{ 0 | fake_digits }}", "");
    let long = render("{{ 1000 | fake_alphanumeric }}").unwrap();
    assert!(long.len() == 1000 && long.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    fails("{{ 1001 | fake_digits }}", "from 0 to 1000", "fake_digits");
    fails(
        "{{ -1 | fake_alphanumeric }}",
        "from 0 to 1000",
        "fake_alphanumeric",
    );
    fails(
        "{{ 'x' | fake_choice }}",
        "an array has to stand before it, not `x`",
        "fake_choice",
    );
    fails(
        "{{ '' | split: ',' | fake_choice }}",
        "empty",
        "fake_choice",
    );
}

#[test]
fn filters_for_texts() {
    for (chain, expected) in [
        ("'ab' | append: 'c' | prepend: '#'", "#abc"),
        ("'aXb' | downcase | capitalize", "Axb"),
        ("' a ' | strip | append: '|'", "a|"),
        ("' a ' | lstrip | append: '|'", "a |"),
        ("' a ' | rstrip | append: '|'", " a|"),
        ("'a-b-c' | replace: '-', '+'", "a+b+c"),
        ("'a-b-c' | replace_first: '-', '+'", "a+b-c"),
        ("'a-b-c' | remove: '-'", "abc"),
        ("'a-b-c' | remove_first: '-'", "ab-c"),
        ("'a b  c' | split: ' ' | join: '-'", "a-b-c"),
        ("'a,b,,' | split: ',' | size", "2"),
        ("'abc' | split: '' | join", "a b c"),
        ("'éèàü' | size", "4"),
        ("'éèàü' | slice: -2, 9", "àü"),
        ("'éèàü' | slice: 9", ""),
        ("'éèàü and' | truncate: 5", "éè..."),
        ("'éèàü' | truncate: 4", "éèàü"),
        ("'a b c' | truncatewords: 2, '…'", "a b…"),
        ("'<a>&amp;' | escape", "&lt;a&gt;&amp;amp;"),
        ("'<a>&amp;&' | escape_once", "&lt;a&gt;&amp;&amp;"),
        (
            "'x<b>y</b><script>z</script><!-- > -->.<' | strip_html",
            "xy.<",
        ),
        ("'a b&é' | url_encode", "a+b%26%C3%A9"),
        ("'a+b%26%C3%A9%' | url_decode", "a b&é%"),
        ("'ab' | first", "a"),
        ("'ab' | last", "b"),
    ] {
        gives(&format!("{{{{ {chain} }}}}"), expected);
    }
    gives(
        "{{ 'a\nb' | newline_to_br }}{{ 'a\n\rb' | strip_newlines }}",
        "a<br />\nbab",
    );
    fails("{{ '%ff' | url_decode }}", "not UTF-8", "url_decode");
}

#[test]
fn filters_for_arrays() {
    for (chain, expected) in [
        ("event_data.items | sort | join: '-'", "a-b-c"),
        ("event_data.items | reverse | first", "c"),
        (
            "event_data.items | concat: event_data.items | uniq | join",
            "b a c",
        ),
        ("event_data.mixed | sort | join: ','", "9,9.5,10,true,"),
        ("event_data.mixed | compact | size", "4"),
        ("event_data.people | map: 'name' | join: ','", "Zoe,ann"),
        (
            "event_data.people | sort: 'name' | map: 'name' | join: ','",
            "Zoe,ann",
        ),
        (
            "event_data.people | sort_natural: 'name' | map: 'name' | join: ','",
            "ann,Zoe",
        ),
        (
            "event_data.people | sort: 'points' | map: 'points' | join: ','",
            "3,12",
        ),
        (
            "event_data.people | where: 'points', 12 | map: 'name'",
            "ann",
        ),
        ("event_data.people | where: 'absent' | size", "0"),
        ("event_data.items | slice: 1, 5 | join: ','", "a,c"),
        ("event_data | size", "7"),
    ] {
        gives(&format!("{{{{ {chain} }}}}"), expected);
    }
    fails(
        "{{ 1 | concat: event_data.items }}",
        "an array has to stand",
        "concat",
    );
}

#[test]
fn arithmetic_has_no_edges() {
    for (chain, expected) in [
        ("event_data.big | abs", "9.223372036854776e18"),
        ("event_data.big | divided_by: -1", "9.223372036854776e18"),
        ("event_data.big | modulo: -1", "0"),
        ("event_data.big | minus: 1", "-9.223372036854776e18"),
        ("9223372036854775807 | plus: 1", "9.223372036854776e18"),
        ("9223372036854775807 | times: 2", "1.8446744073709552e19"),
        ("-7 | divided_by: 2", "-4"),
        ("-7 | modulo: 3", "2"),
        ("7 | divided_by: 2.0", "3.5"),
        ("'3' | plus: '4.5'", "7.5"),
        ("1.25 | round: 1", "1.3"),
        ("2.5 | round", "3"),
        ("1.2 | ceil", "2"),
        ("-1.2 | floor", "-2"),
        ("3 | at_least: 5", "5"),
        ("3 | at_most: 2.5", "2.5"),
    ] {
        gives(&format!("{{{{ {chain} }}}}"), expected);
    }
    fails("{{ 1 | divided_by: 0 }}", "divided by zero", "divided_by");
    fails("{{ 1 | modulo: 0.0 }}", "divided by zero", "modulo");
    fails("{{ 'x' | plus: 1 }}", "not `x`", "plus");
    fails("{{ 1 | plus: absent }}", "not nothing", "plus");
    fails(
        "{{ 99999999999999999999 }}",
        "too large",
        "99999999999999999999",
    );
    let filters: Vec<_> = names().collect();
    let values = [
        "-1",
        "0",
        "1",
        "9223372036854775807",
        "event_data.big",
        "'x'",
        "'1e400'",
        "'nan'",
        "-9223372036854775808",
        "event_data.items",
        "event_data",
        "nil",
        "1.5",
        "blank",
    ];
    for filter in filters {
        for input in values {
            let _ = render(&format!("{{{{ {input} | {filter} }}}}"));
            for argument in values {
                let _ = render(&format!("{{{{ {input} | {filter}: {argument} }}}}"));
                let _ = render(&format!(
                    "{{{{ {input} | {filter}: {argument}, {argument} }}}}"
                ));
            }
        }
    }
}
