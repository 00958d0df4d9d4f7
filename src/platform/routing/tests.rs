use proptest::prelude::*;

use super::*;
use crate::vibes::magic::recipients;
use crate::vibes::outcome::{OUTCOMES, Status};

fn playbook(text: &str) -> Arc<Scenario> {
    Arc::new(Scenario::parse("playbook", text).unwrap_or_else(|error| panic!("{error}")))
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).expect("an instant")
}

const BOB: &str = r#"{"first_name":"Bob","external_person_id":"abcd12345"}"#;

fn posted(event_data: &str) -> Posted<'_> {
    Posted {
        company_key: "zY5VnE7r",
        event_id: "e-1",
        event_type: "day_of_delivery",
        event_data,
        debug_data: None,
        person: ("external_person_id", "abcd12345"),
        number: journey_number("zY5VnE7r", "e-1", 0),
    }
}

fn sms(template: &str) -> CampaignWay<'_> {
    CampaignWay {
        id: 4711,
        message: CampaignMessageRef::Sms { template },
    }
}

const PUSH: CampaignWay<'_> = CampaignWay {
    id: 4711,
    message: CampaignMessageRef::Push,
};

fn go(playbooks: &[Arc<Scenario>], campaigns: &[CampaignWay<'_>], event_data: &str) -> Way {
    decide(playbooks, campaigns, &posted(event_data), 7, now())
}

fn outcomes(way: &Way) -> Vec<&'static str> {
    way.steps.iter().map(|step| step.outcome.name).collect()
}

const GOOD: [&str; 4] = [
    "routing.accepted",
    "processing.queued",
    "carrier.sent",
    "handset.delivered",
];
const BROKEN: [&str; 2] = ["routing.accepted", "processing.unexpected_error"];

/// Events for a magic recipient, by id and by each spelling of the number.
fn events_for(recipient: &MagicRecipient) -> Vec<String> {
    let mdn = recipient.mdn();
    vec![
        format!(
            r#"{{"external_person_id":"{}"}}"#,
            recipient.external_person_id()
        ),
        format!(r#"{{"mdn":"{mdn}","external_person_id":"abc"}}"#),
        format!(r#"{{"mdn":"{}"}}"#, &mdn[1..]),
        format!(r#"{{"mdn":{}}}"#, &mdn[2..]),
    ]
}

#[test]
fn a_magic_recipient_fares_well_up_to_its_outcome_and_no_further() {
    let strict = [playbook("routing: strict\n")];
    for recipient in recipients() {
        for event_data in events_for(&recipient) {
            for playbooks in [&[][..], &strict] {
                let way = go(playbooks, &[], &event_data);
                let mut wanted = GOOD[..recipient.outcome.stage as usize].to_vec();
                wanted.push(recipient.outcome.name);
                assert_eq!(outcomes(&way), wanted, "{event_data}");
                assert_eq!(way.message_type, recipient.message_type);
                assert!(matches!(way.rule, Rule::Magic { campaign: None, .. }));
                assert!(way.notes.is_empty(), "{:?}", way.notes);
                assert!(way.steps.is_sorted_by_key(|step| step.after));
            }
        }
    }
}

#[test]
fn a_campaign_gives_a_magic_recipient_its_message() {
    let text = "word ".repeat(80);
    let media = ["https://example.com/a.pdf".to_owned()];
    for recipient in recipients() {
        let event_data = &events_for(&recipient)[0];
        let way = go(&[], &[sms(&text)], event_data);
        assert_eq!(way.campaign, 4711);
        assert_eq!(
            way.steps.last().map(|step| step.outcome),
            Some(recipient.outcome)
        );
        let receipts: Vec<_> = way.steps.iter().filter(|step| step.part > 0).collect();
        assert!(receipts.iter().all(|step| step.parts == 3));
        if recipient.outcome.status == Status::Failed && recipient.outcome.stage.is_receipt() {
            let own = receipts
                .iter()
                .filter(|step| step.outcome == recipient.outcome);
            assert!(own.map(|step| step.part).eq(1..=3));
        }

        let mms = CampaignWay {
            id: 4712,
            message: CampaignMessageRef::Mms {
                texts: &[],
                media: &media,
            },
        };
        let way = go(&[], &[mms], event_data);
        assert_eq!(
            way.steps.last().map(|step| step.outcome),
            Some(recipient.outcome)
        );
        let fits = recipient.outcome.messages.contains(&MessageType::Mms);
        assert_eq!(way.message_type == MessageType::Mms, fits);
        assert_eq!(way.notes.is_empty(), fits);

        let way = go(&[], &[PUSH], event_data);
        match recipient.outcome.stage {
            Stage::Routing => assert_eq!(outcomes(&way), [recipient.outcome.name]),
            _ => assert_eq!(outcomes(&way), ["routing.accepted"]),
        }
    }
    // There is no receipt of a message that cannot be made.
    let way = go(
        &[],
        &[sms("{{ 1 | divided_by: 0 }}")],
        r#"{"external_person_id":"vm-handset-deleted"}"#,
    );
    assert_eq!(outcomes(&way), BROKEN);
}

#[test]
fn a_misspelt_magic_recipient_is_told_of() {
    let way = go(&[], &[], r#"{"external_person_id":"vm-carrier-rejectd"}"#);
    assert_eq!(outcomes(&way), GOOD);
    assert_eq!(
        way.notes,
        ["`vm-carrier-rejectd` is no magic recipient; `vibes-mock catalog --magic` lists them"]
    );
}

#[test]
fn routes_come_first_then_magic_then_campaigns_then_routing() {
    let rejecting = playbook(
        "journeys: {no: {carrier: rejected}}\n\
         routes: [{when: {event_data.vip: \"yes\"}, journey: no}]\n\
         routing: strict\n",
    );
    let deleting = playbook(
        "journeys: {a: {handset: deleted}, b: {handset: unknown}}\n\
         routes:\n- {when: {event_data.vip: \"y*\"}, journey: a}\n\
         - {when: {event_data.vip: \"*\"}, journey: b}\n\
         routing: lenient\nenforce_limits: true\n",
    );
    let vip = r#"{"vip":"yes","external_person_id":"vm-routing-not-subscribed"}"#;
    let both = [rejecting, deleting];
    let last = |playbooks: &[Arc<Scenario>], campaigns: &[CampaignWay<'_>], data| {
        let way = go(playbooks, campaigns, data);
        let settings = playbooks.iter().any(|one| Arc::ptr_eq(one, &way.scenario));
        assert_eq!(settings, !playbooks.is_empty());
        (
            way.steps.last().map(|step| step.outcome.name),
            way.rule.words(&way.scenario),
        )
    };
    for (event_data, outcome, words) in [
        (
            vip,
            "carrier.rejected",
            "route 1 of `playbook`, journey `no`",
        ),
        (
            r#"{"vip":"yo"}"#,
            "handset.deleted",
            "route 1 of `playbook`, journey `a`",
        ),
        (
            r#"{"vip":"no"}"#,
            "handset.unknown",
            "route 2 of `playbook`, journey `b`",
        ),
        (BOB, "handset.delivered", "campaign 4711"),
        (
            r#"{"external_person_id":"vm-routing-not-subscribed"}"#,
            "routing.not_subscribed",
            "magic recipient `vm-routing-not-subscribed`, with the message of campaign 4711",
        ),
    ] {
        let found = last(&both, &[sms("Hi")], event_data);
        assert_eq!(found, (Some(outcome), words.to_owned()), "{event_data}");
    }
    assert_eq!(last(&both, &[], BOB).0, Some("routing.no_route_rules"));
    assert_eq!(
        last(&[Arc::clone(&both[1])], &[], BOB).0,
        Some("handset.delivered")
    );
    assert_eq!(last(&[], &[], BOB).0, Some("handset.delivered"));
    // Each setting is that of the first playbook that says it.
    let said = serving(&both);
    assert_eq!(
        (said.routing, said.enforce_limits, said.duplicate_event_id),
        (Some(RoutingMode::Strict), Some(true), None)
    );
    assert!(Arc::ptr_eq(
        &go(&both, &[], r#"{"vip":"no"}"#).scenario,
        &both[1]
    ));
}

#[test]
fn conditions_look_at_type_and_data() {
    let numbers = r#"{"mdn":"5555550177","order":{"items":[{"kind":"Bike"}]},"n":12,"gone":null}"#;
    for (when, takes) in [
        ("", true),
        ("event_type: DAY_of_*", true),
        ("event_type: order_*", false),
        ("event_type: day_of", false),
        (r#"event_data.mdn: "+1555*""#, true),
        (r#"event_data.mdn: "1555*""#, true),
        (r#"event_data.mdn: "555555*""#, true),
        (r#"event_data.mdn: "+15555550177""#, true),
        (r#"event_data.mdn: "+1556*""#, false),
        ("event_data.order.items.0.kind: B*", true),
        ("event_data.order.items.0.kind: b*", false),
        ("event_data.order.items.1.kind: \"*\"", false),
        (r#"event_data.n: "12""#, true),
        (r#"event_data.gone: "*""#, false),
        (r#"event_data.absent: "*""#, false),
        ("debug_data.field: CUST*", true),
        ("debug_data.other: CUST*", false),
        ("event_type: day*, debug_data.field: NO", false),
        ("event_type: day*, debug_data.field: \"*SYS*\"", true),
    ] {
        let route = playbook(&format!(
            "journeys: {{a: {{handset: deleted}}}}\nroutes: [{{when: {{{when}}}, journey: a}}]\n"
        ));
        let event = Posted {
            debug_data: Some(r#"{"field":"CUST_SYSTEM"}"#),
            ..posted(numbers)
        };
        let way = decide(&[route], &[], &event, 7, now());
        assert_eq!(matches!(way.rule, Rule::Route { .. }), takes, "{when}");
    }
    let debug =
        playbook("journeys: {a: {}}\nroutes: [{when: {debug_data.a: \"*\"}, journey: a}]\n");
    assert_eq!(go(&[debug], &[], BOB).rule, Rule::Lenient);
}

#[test]
fn texts_are_rendered_with_the_event() {
    let route = |text: &str| {
        playbook(&format!(
            "journeys: {{a: {{message: {{text: '{text}'}}}}}}\nroutes: [{{journey: a}}]\n"
        ))
    };
    let parts = |way: &Way| way.steps.last().map(|step| step.parts);
    // The text has one part if the value is as expected, else more.
    let expecting = |variable: &str, value: &str| {
        let long = "x".repeat(200);
        format!("{{% if {variable} == \"{value}\" %}}ok{{% else %}}{long}{{% endif %}}")
    };
    for (variable, value) in [
        ("event_data.first_name", "Bob"),
        ("event_id", "e-1"),
        ("event_type", "day_of_delivery"),
        ("person.external_person_id", "abcd12345"),
        ("debug_data.a.b.0", "deep"),
    ] {
        let event = Posted {
            debug_data: Some(r#"{"a":{"b":["deep"]}}"#),
            ..posted(BOB)
        };
        let text = expecting(variable, value);
        for (playbooks, campaigns) in [(&[route(&text)][..], &[][..]), (&[], &[sms(&text)])] {
            let way = decide(playbooks, campaigns, &event, 7, now());
            assert_eq!(parts(&way), Some(1), "{variable}");
            let other = Posted {
                event_id: "e-2",
                event_type: "other",
                event_data: r#"{"mdn":"5555551234"}"#,
                debug_data: None,
                ..event
            };
            let way = decide(playbooks, campaigns, &other, 7, now());
            assert_eq!(parts(&way), Some(2), "{variable}");
            assert!(way.notes.is_empty());
        }
    }
    let a = expecting("journey.name", "a");
    assert_eq!(parts(&go(&[route(&a)], &[], BOB)), Some(1));
    let year = "{% assign y = \"now\" | date: \"%Y\" %}".to_owned() + &expecting("y", "2026");
    assert_eq!(parts(&go(&[route(&year)], &[], BOB)), Some(1));
    // What is missing is blank.
    let way = go(
        &[route("Hi {{ event_data.no.where }}{{ debug_data.x }}!")],
        &[],
        BOB,
    );
    assert_eq!((outcomes(&way), way.notes.len()), (GOOD.to_vec(), 0));
}

#[test]
fn a_message_that_cannot_be_made_is_an_unexpected_error() {
    let endless = "{% for i in (1..9999) %}many words and more of them, again{% endfor %}";
    let long = "{% for i in (1..1500) %}many words and more of them, again{% endfor %}";
    for (bad, why) in [
        ("{{ event_data.first_name | divided_by: 0 }}", "divided"),
        (endless, "bytes"),
        (long, "parts"),
    ] {
        let route = playbook(&format!(
            "journeys: {{a: {{message: {{text: '{bad}'}}}}}}\nroutes: [{{journey: a}}]\n"
        ));
        let texts = [bad.to_owned()];
        let mms = CampaignWay {
            id: 1,
            message: CampaignMessageRef::Mms {
                texts: &texts,
                media: &[],
            },
        };
        for (playbooks, campaigns) in [(&[route][..], &[][..]), (&[], &[sms(bad)]), (&[], &[mms])] {
            let way = go(playbooks, campaigns, BOB);
            let is_mms = way.message_type == MessageType::Mms;
            if is_mms && why == "parts" {
                // An MMS has no parts.
                assert_eq!(outcomes(&way), GOOD[..2]);
                continue;
            }
            assert_eq!(outcomes(&way), BROKEN, "{bad}");
            assert!(
                way.notes.iter().any(|note| note.contains(why)),
                "{:?}",
                way.notes
            );
        }
    }
    let way = go(&[], &[sms("{{ event_data.first_name ")], BOB);
    assert_eq!(outcomes(&way), BROKEN);
    assert_eq!(way.notes.len(), 1);
}

#[test]
fn an_mms_depends_on_its_media() {
    let texts = ["Hi {{ event_data.first_name }}".to_owned()];
    for (media, last) in [
        ("https://example.com/a.png", "processing.queued"),
        (
            "https://example.com/{{ event_data.first_name }}",
            "processing.queued",
        ),
        ("{{ event_data.media_url }}", "processing.media_missing"),
        (
            "https://example.com/{{ event_id }}.pdf",
            "processing.media_type_not_allowed",
        ),
        (
            "https://example.com/a.png?size=2MB",
            "processing.media_too_large",
        ),
    ] {
        let media = ["https://example.com/b.gif".to_owned(), media.to_owned()];
        let campaign = CampaignWay {
            id: 12,
            message: CampaignMessageRef::Mms {
                texts: &texts,
                media: &media,
            },
        };
        let way = go(&[], &[campaign], BOB);
        assert_eq!(outcomes(&way), ["routing.accepted", last], "{media:?}");
        assert_eq!((way.message_type, way.campaign), (MessageType::Mms, 12));
    }
}

#[test]
fn a_push_campaign_ends_at_routing_and_says_why() {
    let way = go(&[], &[PUSH, sms("Hi")], BOB);
    assert_eq!(outcomes(&way), ["routing.accepted"]);
    assert_eq!(way.notes.len(), 2);
}

#[test]
fn links_name_the_journeys_campaign_or_the_one_in_progress_or_the_usual_one() {
    let routes = "journeys:\n  a: {message: {event_triggered_message_id: 42}}\n  b: {}\n\
        routes:\n- {when: {event_data.way: a}, journey: a}\n- {when: {event_data.way: b}, journey: b}\n";
    let routes = [playbook(routes)];
    let usual = usual_campaign("day_of_delivery");
    for (way, campaigns, wanted) in [
        ("a", &[][..], 42),
        ("a", &[sms("Hi")], 42),
        ("b", &[sms("Hi")], 4711),
        ("b", &[], usual),
        ("c", &[], usual),
        ("c", &[sms("Hi")], 4711),
    ] {
        let data = format!(r#"{{"way":"{way}"}}"#);
        assert_eq!(go(&routes, campaigns, &data).campaign, wanted, "{way}");
    }
}

#[test]
fn people_stay_who_they_are() {
    let person = |company_key, key, value, data| {
        let event = Posted {
            company_key,
            person: (key, value),
            ..posted(data)
        };
        let way = decide(&[], &[], &event, 7, now());
        (way.person_key, way.mdn)
    };
    let bob = person(
        "A",
        "external_person_id",
        "bob",
        r#"{"external_person_id":"bob"}"#,
    );
    assert_eq!(
        bob,
        person(
            "A",
            "external_person_id",
            "bob",
            r#"{"external_person_id":"bob","n":1}"#
        )
    );
    assert_ne!(bob, person("B", "external_person_id", "bob", "{}"));
    assert_ne!(bob, person("A", "vibes_device_id", "bob", "{}"));
    assert!(
        bob.1.starts_with("+1") && bob.1[5..].starts_with("55501"),
        "{}",
        bob.1
    );
    let short = person("A", "mdn", "5555551234", r#"{"mdn":"5555551234"}"#);
    assert_eq!(
        short,
        person("A", "mdn", "+15555551234", r#"{"mdn":"+15555551234"}"#)
    );
    assert_eq!(short.1, "+15555551234");
    let own = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";
    for key in ["person_key", "person_id"] {
        assert_eq!(person("A", key, own, "{}").0.to_string(), own);
    }
    assert_ne!(
        person("A", "external_person_id", own, "{}").0.to_string(),
        own
    );
    assert_eq!(person("A", "person_id", "12", "{}").0.get_version_num(), 4);
    // Clients may know them, so these stay as they are.
    assert_eq!(bob.0.to_string(), "8f4b8a63-2e7f-4a3d-83b1-f48444028f68");
    assert_eq!(
        journey_number("zY5VnE7r", "e-1", 0),
        2_721_962_998_202_769_365
    );
}

#[test]
fn a_file_is_for_the_company_that_it_names_or_for_all() {
    let named = Scenario::parse("a", "company_key: Mine\nrouting: strict\n").expect("a scenario");
    let open = Scenario::parse("a", "duplicate_event_id: reject\n").expect("a scenario");
    assert!(named.applies_to("Mine") && !named.applies_to("mine"));
    assert!(open.applies_to("Mine") && open.applies_to(&open.company_key));
    assert!(Scenario::empty("a").applies_to("any"));
}

#[test]
fn settings_of_the_playbook_hold_for_the_steps() {
    let refusing = playbook(
        "routing: lenient
statuses: {carrier.sent: failed}
",
    );
    let way = go(&[refusing], &[sms(&"word ".repeat(80))], BOB);
    // Failures call back for each part, and there is nothing for a handset.
    let [routing, processing, carrier] = [GOOD[0], GOOD[1], GOOD[2]];
    assert_eq!(
        outcomes(&way),
        [routing, processing, carrier, carrier, carrier]
    );
}

proptest! {
    #[test]
    fn a_text_splits_as_it_is_long(words in prop::collection::vec("[a-zé€😀 ]{0,40}", 0..40)) {
        let text = words.join(" ");
        let data = serde_json::json!({"external_person_id": "a", "text": text}).to_string();
        let way = go(&[], &[sms("{{ event_data.text }}")], &data);
        let parts = crate::sms::part_count(&text).expect("not that long");
        prop_assert_eq!(way.steps.last().map(|step| (step.part, step.parts)), Some((parts, parts)));
    }

    #[test]
    fn anything_goes_somewhere_and_the_same_way_each_time(
        event_type in "[a-z_]{1,12}", data in ".{0,60}", debug in prop::option::of(".{0,20}"),
        person in ".{0,12}", template in ".{0,40}", media in ".{0,40}", seed: u64, number: u64,
    ) {
        let media = [media];
        let way = |number| {
            let event = Posted {
                event_type: &event_type,
                event_data: &data,
                debug_data: debug.as_deref(),
                person: ("mdn", &person),
                number,
                ..posted("")
            };
            let mms = CampaignMessageRef::Mms { texts: &[], media: &media };
            let message = if seed % 2 == 0 { sms(&template).message } else { mms };
            decide(&[], &[CampaignWay { id: 1, message }], &event, seed, now())
        };
        let shown = |way: Way| format!("{:?} {} {} {:?}", way.steps, way.person_key, way.mdn, way.notes);
        let first = way(number);
        prop_assert!(!first.steps.is_empty());
        let between = way(number.wrapping_add(1));
        prop_assert_eq!(between.person_key, first.person_key);
        prop_assert_eq!(shown(first), shown(way(number)));
    }

    #[test]
    fn weights_are_kept(seed: u64) {
        let routes = playbook(
            "journeys: {a: {routing: not_subscribed}, b: {routing: person_not_found}}\n\
             routes: [{journey: {a: 3, b: 1}}]\n",
        );
        let count = (0..400)
            .filter(|nth| {
                let event = Posted { number: journey_number("c", "e", *nth), ..posted(BOB) };
                let way = decide(std::slice::from_ref(&routes), &[], &event, seed, now());
                outcomes(&way) == ["routing.not_subscribed"]
            })
            .count();
        prop_assert!((240..360).contains(&count), "{}", count);
    }
}

#[test]
fn every_outcome_is_somebodys() {
    let reached: Vec<_> = recipients()
        .filter_map(|recipient| {
            let way = go(&[], &[], &events_for(&recipient)[0]);
            way.steps.last().map(|step| step.outcome)
        })
        .collect();
    assert!(OUTCOMES.iter().all(|outcome| reached.contains(&outcome)));
    // An MMS has a good day too.
    let mms = go(
        &[],
        &[],
        r#"{"external_person_id":"vm-processing-queued-mms"}"#,
    );
    assert_eq!(
        (outcomes(&mms), mms.message_type),
        (GOOD[..2].to_vec(), MessageType::Mms)
    );
}
