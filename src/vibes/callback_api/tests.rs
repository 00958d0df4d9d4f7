use super::*;

fn at(time: &str) -> DateTime<Utc> {
    point_in_time(time).unwrap()
}

fn now() -> DateTime<Utc> {
    at("2017-01-01T12:00:30Z")
}

/// A request for an event's callbacks with more fields.
fn request(more: &str) -> Result<RegistrationRequest, Problem> {
    let destination = r#""destination":{"url":"http://127.0.0.1/a"}"#;
    let body = format!(r#"{{"callback_type":"event_processed",{destination}{more}}}"#);
    RegistrationRequest::parse(body.as_bytes())
}

fn registration(id: u64, more: &str) -> Registration {
    Registration::create(id, request(more).unwrap(), now()).unwrap()
}

fn refused(body: &str) -> (u16, Vec<String>) {
    let problem = RegistrationRequest::parse(body.as_bytes()).unwrap_err();
    let messages = problem.errors.into_iter().map(|error| error.message);
    (problem.status, messages.collect())
}

#[test]
fn a_registration_is_answered_as_documented() {
    let body = r#"{
      "callback_id": "9", "created_at": 1, "updated_at": [], "url": {},
      "callback_type":"event_processed",
      "event_processed": { "callbacks_to_send": "only_failures", "event_type": "order_shipped", "x": 1.0 },
      "destination":{ "url":"https://example.com/in", "method":"PUT", "content_type":"text/json" },
      "start_date":"2017-01-02T00:00Z",
      "end_date":"2017-02-01T00:00:59+01:00"
    }"#;
    let request = RegistrationRequest::parse(body.as_bytes()).unwrap();
    assert_eq!(request.url(), "https://example.com/in");
    let made = Registration::create(123, request, now()).unwrap();
    assert_eq!(
        made.to_json("zY5VnE7r").to_string(),
        concat!(
            r#"{"callback_id":"123","callback_type":"event_processed","#,
            r#""event_processed":{"callbacks_to_send":"only_failures","event_type":"order_shipped","x":1.0},"#,
            r#""destination":{"url":"https://example.com/in","method":"PUT","content_type":"text/json"},"#,
            r#""start_date":"2017-01-02T00:00Z","end_date":"2017-01-31T23:00Z","#,
            r#""url":"/companies/zY5VnE7r/config/callbacks/123","#,
            r#""created_at":"2017-01-01T12:00Z","updated_at":"2017-01-01T12:00Z"}"#
        )
    );
    let stored = serde_json::to_string(&made).unwrap();
    assert_eq!(serde_json::from_str::<Registration>(&stored).unwrap(), made);
}

#[test]
fn what_is_left_out_is_the_default() {
    let made = registration(1, "");
    assert_eq!(made.start, now());
    assert_eq!(
        made.to_json("k").to_string(),
        concat!(
            r#"{"callback_id":"1","callback_type":"event_processed","#,
            r#""destination":{"url":"http://127.0.0.1/a","method":"POST","content_type":"application/json"},"#,
            r#""start_date":"2017-01-01T12:00Z","url":"/companies/k/config/callbacks/1","#,
            r#""created_at":"2017-01-01T12:00Z","updated_at":"2017-01-01T12:00Z"}"#
        )
    );
}

#[test]
fn every_type_can_be_registered_under_both_names() {
    assert_eq!(CallbackKind::ALL.len(), 17);
    for kind in CallbackKind::ALL {
        let name = kind.name();
        for key in ["callback_type", "event_type"] {
            let body = format!(
                r#"{{"{key}":"{name}","destination":{{"url":"http://a/"}},"{name}":{{"source_code":12345,"list_id":"7","o":[]}}}}"#
            );
            let request = RegistrationRequest::parse(body.as_bytes()).unwrap();
            let made = Registration::create(1, request, now()).unwrap();
            assert_eq!(made.callback_type, *kind);
            let wanted = made.wants("any", Stage::Routing, Status::Failed, now());
            assert_eq!(wanted, name == "event_processed");
            let code = match name {
                "unmatched_message_received" => r#""12345""#,
                _ => "12345",
            };
            assert_eq!(
                made.to_json("k")[name].to_string(),
                format!(r#"{{"source_code":{code},"list_id":"7","o":[]}}"#)
            );
        }
    }
}

#[test]
fn the_slips_of_the_documentation_are_refused_with_their_place() {
    let comment = "{\n  \"callback_type\":\"event_processed\",\n  \"destination\":{\n    \"url\":\"https://a.b\", /*Do not use a fake*/\n    \"method\":\"POST\"\n  }\n}";
    let (status, messages) = refused(comment);
    assert_eq!(status, 400);
    assert_eq!(
        messages,
        [
            "The body is not JSON: key must be a string at line 4 column 26; JSON has no comments, leave them out"
        ]
    );
    let (status, messages) = refused("{\n  \"end_date\":\"2017-02-01T00:00Z\",\n}");
    assert_eq!(status, 400);
    assert_eq!(
        messages,
        [
            "The body is not JSON: trailing comma at line 3 column 1; leave out the comma behind the last value"
        ]
    );
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let (status, messages) = refused("{}");
    assert_eq!(status, 400);
    assert_eq!(
        messages,
        [
            "The callback_type field is required",
            "The destination field is required"
        ]
    );
    let (status, messages) = refused(
        r#"{"callback_type":"event_processed","destination":{"url":"ftp://a/","method":"GET","content_type":"text/xml"},
            "event_processed":{"event_type":"a b","callbacks_to_send":"some"},"start_date":"1 May"}"#,
    );
    assert_eq!(status, 422);
    assert_eq!(
        messages,
        [
            "The destination.url field is not acceptable: `ftp://a/` is not an http URL but ftp; write it like `http://127.0.0.1:8080/vibes/callbacks`",
            "The destination.method field must be `POST` or `PUT`",
            "The destination.content_type field must be `application/json` or `text/json`",
            "The event_processed.event_type field may have letters, digits, `-` and `_` only",
            "The event_processed.callbacks_to_send field must be one of `all`, `only_failures`, `routing`, `carrier_dlr`, `handset_dlr`",
            "The start_date field must be a date like 2017-01-01T00:00Z",
        ]
    );
    let (status, messages) =
        refused(r#"{"callback_type":"event_procesed","destination":{"url":"http://a/"}}"#);
    assert_eq!(status, 422);
    assert!(messages[0].starts_with("The callback_type field must be one of `event_processed`, "));
    assert!(messages[0].ends_with("`wallet_item_remove`"));
    for (body, message) in [
        (
            r#"{"callback_type":"unmatched_message_received","destination":{"url":"http://a/"}}"#,
            "The unmatched_message_received field is required",
        ),
        (
            r#"{"callback_type":"unmatched_message_received","unmatched_message_received":{"source_code":" "},"destination":{"url":"http://a/"}}"#,
            "The unmatched_message_received.source_code field is required",
        ),
        (
            r#"{"callback_type":"event_processed","destination":{"url":""}}"#,
            "The destination.url field is required",
        ),
        (
            r#"{"callback_type":"event_processed","destination":"http://a/"}"#,
            "The destination field must be an object",
        ),
        (
            r#"{"callback_type":{"event_processed":null},"destination":{"url":"http://a/"}}"#,
            "The callback_type field must be text",
        ),
        (
            r#"{"callback_type":"event_processed","destination":{"url":"http://a/"},"start_date":20170101}"#,
            "The start_date field must be text",
        ),
        ("[1]", "The body must be a JSON object"),
    ] {
        assert_eq!(refused(body), (400, vec![message.to_owned()]), "{body}");
    }
}

#[test]
fn dates_are_read_in_every_form_that_is_seen() {
    for (text, read) in [
        ("2017-01-01T00:00Z", "2017-01-01T00:00:00Z"),
        ("2017-01-01", "2017-01-01T00:00:00Z"),
        ("2017-01-01T01:02:03Z", "2017-01-01T01:02:03Z"),
        ("2017-01-01T01:02:03.25Z", "2017-01-01T01:02:03.250Z"),
        ("2017-01-01T00:00+02:00", "2016-12-31T22:00:00Z"),
        ("2017-01-01T00:00:07-05:30", "2017-01-01T05:30:07Z"),
    ] {
        let time = at(text).to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
        assert_eq!(time, read, "{text}");
    }
    for text in [
        "2017-02-30",
        "2017-1-1",
        "2017-01-01T00:00",
        "2017-01-01T24:00Z",
        "9999-12-31T23:59-01:00",
        "0000-01-01T00:00+01:00",
        "ünpünktliche",
        "2017-01-01T00:0é",
    ] {
        assert_eq!(point_in_time(text), None, "{text}");
    }
}

#[test]
fn a_window_begins_with_its_first_moment_and_ends_before_its_last() {
    let made = registration(
        1,
        r#","start_date":"2017-02-01T00:00:10Z","end_date":"2017-02-01T00:00:20.5Z""#,
    );
    for (time, active, listed) in [
        ("2017-02-01T00:00:09.999999999Z", false, true),
        ("2017-02-01T00:00:10Z", true, true),
        ("2017-02-01T00:00:20.499999999Z", true, true),
        ("2017-02-01T00:00:20.5Z", false, false),
    ] {
        assert_eq!(made.active_at(at(time)), active, "{time}");
        assert_eq!(made.listed_at(at(time)), listed, "{time}");
        assert_eq!(
            made.wants("Any", Stage::Handset, Status::Success, at(time)),
            active
        );
    }
    let status = |more: &str| {
        let made = Registration::create(1, request(more).unwrap(), now());
        made.map_or_else(|problem| problem.status, |_| 201)
    };
    assert_eq!(status(r#","end_date":"2017-01-01T12:00:29Z""#), 422);
    assert_eq!(status(r#","end_date":"2017-01-01T12:00:30Z""#), 201);
    assert_eq!(
        status(r#","start_date":"2017-03-01","end_date":"2017-02-28""#),
        422
    );
}

#[test]
fn cancelling_ends_it_now_and_starts_it_if_that_was_ahead() {
    let later = at("2017-01-03T00:00Z");
    let mut running = registration(1, r#","end_date":"2018-01-01""#);
    running.cancel(later);
    assert_eq!((running.start, running.end), (now(), Some(later)));
    assert_eq!(running.updated_at, later);
    assert!(!running.listed_at(later));
    let mut ahead = registration(2, r#","start_date":"2018-01-01""#);
    ahead.cancel(later);
    assert_eq!((ahead.start, ahead.end), (later, Some(later)));
    assert!(!ahead.active_at(at("2018-01-01")));
    let before = running.clone();
    running.cancel(at("2017-06-01"));
    assert_eq!(running, before);
}

#[test]
fn an_update_replaces_what_it_sends() {
    let later = at("2017-01-02T00:00Z");
    let event = r#","event_processed":{"event_type":"a"}"#;
    let mut made = registration(1, &format!(r#"{event},"end_date":"2017-02-01""#));
    made.update(request("").unwrap(), later).unwrap();
    assert_eq!(made.filter.event_type.as_deref(), Some("a"));
    assert_eq!((made.start, made.end), (now(), Some(at("2017-02-01"))));
    assert_eq!((made.created_at, made.updated_at), (now(), later));

    let before = made.clone();
    let refused = made.update(request(r#","start_date":"2017-02-02""#).unwrap(), later);
    assert_eq!(refused.unwrap_err().status, 422);
    assert_eq!(made, before);

    let body = r#"{"callback_type":"event_processed","destination":{"url":"http://b/"},"event_processed":null,"start_date":"","end_date":null}"#;
    made.update(RegistrationRequest::parse(body.as_bytes()).unwrap(), later)
        .unwrap();
    assert_eq!(made.url, "http://b/");
    assert_eq!(made.filter, Filter::default());
    assert_eq!((made.start, made.end), (later, None));
    assert_eq!(made.to_json("k").get("event_processed"), None);

    let body = r#"{"callback_type":"person_added","destination":{"url":"http://b/"}}"#;
    let mut other = registration(2, event);
    other
        .update(RegistrationRequest::parse(body.as_bytes()).unwrap(), later)
        .unwrap();
    assert_eq!(other.callback_type, CallbackKind::PersonAdded);
    assert_eq!((other.detail, other.filter), (None, Filter::default()));
}

#[test]
fn registrations_conflict_if_type_event_url_and_time_meet() {
    let of = |event: &str, more: &str| {
        let event = format!(r#","event_processed":{{"event_type":"{event}"}}{more}"#);
        registration(2, &event)
    };
    let january = r#","start_date":"2017-01-01","end_date":"2017-02-01""#;
    let mine = Registration {
        callback_id: 1,
        ..of("Order_Shipped", january)
    };
    for (other, conflict) in [
        (of("order_shipped", january), true),
        (
            of("order_shipped", r#","start_date":"2017-01-31T23:59Z""#),
            true,
        ),
        (of("order_shipped", r#","start_date":"2017-02-01""#), false),
        (
            of(
                "order_shipped",
                r#","start_date":"2016-01-01","end_date":"2017-01-01""#,
            ),
            false,
        ),
        (
            of(
                "order_shipped",
                r#","start_date":"2017-01-05","end_date":"2017-01-05""#,
            ),
            false,
        ),
        (of("order_placed", january), false),
        (registration(2, january), false),
        (
            Registration {
                url: "http://127.0.0.1/b".to_owned(),
                ..mine.clone()
            },
            false,
        ),
        (mine.clone(), false),
    ] {
        let other_way = other.conflicts_with(&mine);
        assert_eq!(mine.conflicts_with(&other), conflict, "{other:?}");
        assert_eq!(other_way, conflict, "{other:?}");
    }
    let all = registration(2, r#","event_processed":{"callbacks_to_send":"routing"}"#);
    assert!(registration(1, "").conflicts_with(&all));

    let list = |id: u64, list: &str| {
        let body = format!(
            r#"{{"callback_type":"subscription_added","destination":{{"url":"http://a/"}},"subscription_added":{{"list_id":"{list}"}}}}"#
        );
        let request = RegistrationRequest::parse(body.as_bytes()).unwrap();
        Registration::create(id, request, now()).unwrap()
    };
    assert!(list(1, "7").conflicts_with(&list(2, "7")));
    assert!(!list(1, "7").conflicts_with(&list(2, "8")));
}

#[test]
fn a_test_callback_may_bring_an_event() {
    let read = |body: &str| TestCallback::parse(body.as_bytes());
    assert_eq!(
        read(
            r#"{"callback_type":"event_processed","event_processed":{"event_id":5,"event_data":{"b": 1.0, "a":[ ]}}}"#
        ),
        Ok(TestCallback {
            kind: CallbackKind::EventProcessed,
            event_id: Some("5".to_owned()),
            event_data: Some(r#"{"b":1.0,"a":[]}"#.to_owned()),
        })
    );
    assert_eq!(
        read(r#"{"event_type":"person_added","event_processed":7}"#),
        Ok(TestCallback {
            kind: CallbackKind::PersonAdded,
            event_id: None,
            event_data: None,
        })
    );
    let status = |body: &str| read(body).map_or_else(|problem| problem.status, |_| 201);
    assert_eq!(status("{}"), 400);
    assert_eq!(status(r#"{"callback_type":"event"}"#), 422);
    assert_eq!(
        status(r#"{"callback_type":"event_processed","event_processed":{"event_data":"x"}}"#),
        400
    );
}
