use super::*;
use crate::vibes::request::point_in_time;

const SMS: &str = r#""sms":{"sourcecode":12345,"country_code":1,"sourcecode_type":"SC"}"#;

fn at(time: &str) -> DateTime<Utc> {
    point_in_time(time).unwrap()
}

fn now() -> DateTime<Utc> {
    at("2017-01-01T12:00:30Z")
}

/// A campaign's request with these dates and this inside of `targeting`.
fn request(dates: &str, targeting: &str) -> Result<CampaignRequest, Problem> {
    let body = format!(
        r#"{{"name":"Shipped","event_type":"order_shipped",{dates},"targeting":{{{targeting}}}}}"#
    );
    CampaignRequest::parse(body.as_bytes())
}

fn sms(dates: &str) -> CampaignRequest {
    request(dates, &format!(r#""message_template":"Hi",{SMS}"#)).unwrap()
}

fn refused(targeting: &str) -> (u16, Vec<String>) {
    let problem = request(r#""start_date":"2017-01-01""#, targeting).unwrap_err();
    let messages = problem.errors.into_iter().map(|error| error.message);
    (problem.status, messages.collect())
}

#[test]
fn a_campaign_is_answered_as_documented() {
    let targeting = format!(
        r#""message_template":"Hi {{{{ event_data.first_name }}}}!","message_format":"mine","created_at":5,
           "shorten_urls":true,"other":[1.0],{SMS},"filters":[{{"name":"subscription","selector":"any","value":[5]}}]"#
    );
    let dates = r#""start_date":"2017-01-01","end_date":"2017-01-02""#;
    let made = Campaign::create(276, request(dates, &targeting).unwrap(), now()).unwrap();
    assert_eq!(
        made.message,
        CampaignMessage::Sms {
            template: "Hi {{ event_data.first_name }}!".to_owned()
        }
    );
    assert_eq!(
        made.to_json("zY5VnE7r", now()).to_string(),
        concat!(
            r#"{"event_triggered_message_id":276,"name":"Shipped","status":"in_progress","#,
            r#""event_type":"order_shipped","start_date":"2017-01-01","end_date":"2017-01-02","#,
            r#""created_by":"vibes-mock","created_by_application":"vibes-mock","#,
            r#""targeting":{"message_template":"Hi {{ event_data.first_name }}!","shorten_urls":true,"other":[1.0],"#,
            r#""sms":{"sourcecode":"12345","country_code":"1","sourcecode_type":"SC"},"#,
            r#""filters":[{"name":"subscription","selector":"any","value":[5]}],"#,
            r#""channel":"sms","message_format":"sms"},"#,
            r#""url":"/companies/zY5VnE7r/mobiledb/event_triggered_messages/276","#,
            r#""created_at":"2017-01-01T12:00:30Z","updated_at":"2017-01-01T12:00:30Z"}"#
        )
    );
    let stored = serde_json::to_string(&made).unwrap();
    assert_eq!(serde_json::from_str::<Campaign>(&stored).unwrap(), made);
}

#[test]
fn an_mms_has_texts_and_media() {
    let mms = |content: &str| {
        format!(
            r#""channel":"sms","mms":{{"sourcecode":"1","country_code":"1","sourcecode_type":"ANC","content":{content}}}"#
        )
    };
    let dates = r#""start_date":"2017-01-01""#;
    let content = r#"[{"media_url":"{{ event_data.media_url }}","description":"A cat"},
        {"body":"Hi","mime_type":"text/plain"},{"asset_id":"7","mime_type":"image/png"}]"#;
    assert_eq!(
        request(dates, &mms(content)).unwrap().message,
        CampaignMessage::Mms {
            texts: vec!["Hi".to_owned()],
            media: vec!["{{ event_data.media_url }}".to_owned()],
        }
    );
    for (content, status, message) in [
        ("null", 400, "The targeting.mms.content field is required"),
        ("[]", 400, "The targeting.mms.content field is required"),
        ("7", 400, "The targeting.mms.content field must be a list"),
        (
            "[7]",
            400,
            "The targeting.mms.content[0] field must be an object",
        ),
        (
            r#"[{"body":"a"},{"description":"b"}]"#,
            400,
            "The targeting.mms.content[1].body or media_url field is required",
        ),
        (
            r#"[{"body":"a","mime_type":"text/html"}]"#,
            422,
            "The targeting.mms.content[0].mime_type field must be `text/plain` for a text",
        ),
        (
            r#"[{"media_url":"{{ a | nope }}"}]"#,
            422,
            "The targeting.mms.content[0].media_url field is not a Liquid template: ",
        ),
    ] {
        let (refused_with, messages) = refused(&mms(content));
        assert_eq!((refused_with, messages.len()), (status, 1), "{messages:?}");
        assert!(messages[0].starts_with(message), "{messages:?}");
    }
}

#[test]
fn a_push_needs_an_app_and_a_text() {
    let push = r#""channel":"push","push":{"app_id":"a","badge":"1"}"#;
    let dates = r#""start_date":"2017-01-01""#;
    let made = request(dates, &format!(r#"{push},"message_template":"Hi""#)).unwrap();
    assert_eq!(made.message, CampaignMessage::Push);
    assert_eq!(
        refused(push),
        (
            400,
            vec!["The targeting.message_template field is required".to_owned()]
        )
    );
    assert_eq!(
        refused(r#""message_template":"Hi","push":{}"#).1,
        [
            "The targeting.channel field is required",
            "The targeting.push.app_id field is required"
        ]
    );
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let problem = CampaignRequest::parse(b"{}").unwrap_err();
    assert_eq!(problem.status, 400);
    assert_eq!(
        problem.to_string(),
        "The name field is required; The event_type field is required; The start_date field is required; The targeting field is required"
    );
    let body = r#"{"name":"a","event_type":"a b","start_date":"2017-1-1","end_date":"soon","targeting":{}}"#;
    let problem = CampaignRequest::parse(body.as_bytes()).unwrap_err();
    assert_eq!(
        problem.to_string(),
        "The event_type field may have letters, digits, `-` and `_` only; \
         The start_date field must be a date like 2017-01-31; \
         The end_date field must be a date like 2017-01-31; \
         The targeting.sms or targeting.mms or targeting.push field is required"
    );
    for (targeting, status, message) in [
        (
            format!(r#""message_template":"Hi","push":{{"app_id":"1"}},{SMS}"#),
            422,
            "The targeting field may have one of `sms`, `mms` and `push` only",
        ),
        (
            format!(r#""message_template":"Hi","channel":"push",{SMS}"#),
            422,
            "The targeting.channel field must be `sms` beside `sms`",
        ),
        (
            format!(r#""message_template":" ",{SMS}"#),
            400,
            "The targeting.message_template field is required",
        ),
        (
            format!(r#""message_template":"Hi","shorten_urls":"yes",{SMS}"#),
            400,
            "The targeting.shorten_urls field must be true or false",
        ),
        (
            format!(r#""message_template":"Hi","filters":[5],{SMS}"#),
            400,
            "The targeting.filters[0] field must be an object",
        ),
        (
            r#""message_template":"Hi","sms":{"sourcecode":"1","sourcecode_type":"SC"}"#.to_owned(),
            400,
            "The targeting.sms.country_code field is required",
        ),
        (
            format!(r#""message_template":"Hi",{}"#, SMS.replace("SC", "XX")),
            422,
            "The targeting.sms.sourcecode_type field must be `SC` or `ANC`",
        ),
        (
            format!(r#""message_template":"Hi {{% if %}}",{SMS}"#),
            422,
            "The targeting.message_template field is not a Liquid template: ",
        ),
    ] {
        let (refused_with, messages) = refused(&targeting);
        assert_eq!((refused_with, messages.len()), (status, 1), "{messages:?}");
        assert!(messages[0].starts_with(message), "{messages:?}");
    }
}

#[test]
fn the_clock_says_where_a_campaign_stands() {
    let dates = r#""start_date":"2017-02-01","end_date":"2017-02-02""#;
    let made = Campaign::create(1, sms(dates), now()).unwrap();
    for (time, status) in [
        ("2017-01-31T23:59:59.999Z", "scheduled"),
        ("2017-02-01T00:00Z", "in_progress"),
        ("2017-02-02T23:59:59.999Z", "in_progress"),
        ("2017-02-03T00:00Z", "ended"),
    ] {
        assert_eq!(made.status_at(at(time)).name(), status, "{time}");
        let takes = made.takes("ORDER_shipped", at(time));
        assert_eq!(takes, status == "in_progress", "{time}");
        assert!(!made.takes("order", at(time)));
    }
    let status = |dates: &str| {
        let made = Campaign::create(1, sms(dates), now());
        made.map_or_else(|problem| problem.status, |_| 202)
    };
    assert_eq!(
        status(r#""start_date":"2017-01-01","end_date":"2017-01-01""#),
        202
    );
    assert_eq!(
        status(r#""start_date":"2017-02-01","end_date":"2017-01-31""#),
        422
    );
    assert_eq!(
        status(r#""start_date":"2016-01-01","end_date":"2016-12-31""#),
        422
    );
}

#[test]
fn a_canceled_one_stays_so() {
    let mut made = Campaign::create(1, sms(r#""start_date":"2017-01-01""#), now()).unwrap();
    let later = at("2017-01-05");
    made.cancel(later);
    assert_eq!(made.status_at(later), CampaignStatus::Canceled);
    assert_eq!(made.updated_at, later);
    assert!(!made.takes("order_shipped", later));
    let before = made.clone();
    made.cancel(at("2017-01-06"));
    let problem = made
        .update(sms(r#""start_date":"2017-01-01""#), later)
        .unwrap_err();
    assert_eq!((problem.status, problem.errors[0].code), (422, code::STATE));
    assert_eq!(made, before);

    let dates = r#""start_date":"2017-01-01","end_date":"2017-01-02""#;
    let mut over = Campaign::create(2, sms(dates), now()).unwrap();
    over.cancel(later);
    assert_eq!(over.status_at(later), CampaignStatus::Ended);
    assert_eq!(over.update(sms(dates), later).unwrap_err().status, 422);
}

#[test]
fn the_first_day_may_move_until_it_has_come() {
    let mut made = Campaign::create(
        1,
        sms(r#""start_date":"2017-02-01","end_date":"2017-03-01""#),
        now(),
    )
    .unwrap();
    made.update(sms(r#""start_date":"2017-02-05""#), now())
        .unwrap();
    assert_eq!(made.start_date, day("2017-02-05").unwrap());
    assert_eq!(made.end_date, day("2017-03-01"));

    let later = at("2017-02-05T08:00Z");
    let before = made.clone();
    let moved = made.update(sms(r#""start_date":"2017-02-06""#), later);
    assert_eq!(moved.unwrap_err().status, 422);
    let over = made.update(
        sms(r#""start_date":"2017-02-05","end_date":"2017-02-04""#),
        later,
    );
    assert_eq!(over.unwrap_err().status, 422);
    assert_eq!(made, before);
    made.update(sms(r#""start_date":"2017-02-05","end_date":null"#), later)
        .unwrap();
    assert_eq!((made.end_date, made.updated_at), (None, later));
    assert_eq!(made.created_at, now());
    assert_eq!(made.to_json("k", later).get("end_date"), None);
}
