//! What a server holds comes to an end.

use super::*;
use crate::plan;
use crate::platform::event::DeliveryId;
use crate::serve::time::Until;
use crate::vibes::api::ApiVersion;
use crate::vibes::callback_api::RegistrationRequest;

fn hub() -> Arc<Hub> {
    let options = Options {
        speed: None,
        ..Options::default()
    };
    Hub::new(options, Vec::new(), None).unwrap()
}

fn register(hub: &Hub, place: &Place, url: &str) -> u64 {
    let body = format!(r#"{{"callback_type":"event_processed","destination":{{"url":"{url}"}}}}"#);
    let request = RegistrationRequest::parse(body.as_bytes()).unwrap();
    let id = hub.next_registration();
    place.company().register(id, request, hub.time()).unwrap();
    id
}

fn post(hub: &Hub, place: &Arc<Place>) {
    let body =
        br#"{"event_type":"a","event_data":{"external_person_id":"vm-routing-no-route-rules"}}"#;
    let posted = PostedEvent::parse(body, ApiVersion::One).unwrap();
    hub.accept(place, &posted).unwrap();
}

/// A URL at which nobody listens.
fn dead() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}

#[tokio::test]
async fn what_is_sent_again_and_again_is_kept_once() {
    let hub = hub();
    let place = hub.place("k").unwrap();
    let registration = register(&hub, &place, &dead());
    post(&hub, &place);
    hub.advance(Until::Idle).await;
    let id = DeliveryId {
        seq: 1,
        step: 0,
        registration,
    };
    let size = || place.company().event(1).unwrap().size();
    for _ in 0..5 {
        hub.redeliver(&place, id).unwrap();
        hub.advance(Until::Idle).await;
        let kept = locked(&hub.kept);
        assert_eq!((kept.events.len(), kept.numbers.len()), (1, 1));
        assert_eq!((kept.rows, kept.bytes), size());
    }
    assert_eq!(hub.open.load(Ordering::Relaxed), 0);
    let before = hub.held.load(Ordering::Relaxed);
    assert_eq!(before, size().1);
    hub.forget("k");
    assert_eq!(hub.held.load(Ordering::Relaxed), 0);
    let kept = locked(&hub.kept);
    assert_eq!((kept.rows, kept.bytes), (0, 0));
}

#[tokio::test]
async fn lanes_go_with_what_they_are_for() {
    let hub = hub();
    let place = hub.place("k").unwrap();
    let url = dead();
    let (first, second) = (
        register(&hub, &place, &url),
        register(&hub, &place, &(url + "2")),
    );
    post(&hub, &place);
    hub.advance(Until::By(10_000_000_000)).await;
    assert_eq!(place.lanes().len(), 2);
    place
        .company()
        .cancel_registration(first, hub.time())
        .unwrap();
    // There is still something to be tried.
    hub.tidy();
    assert_eq!(place.lanes().len(), 2);
    hub.advance(Until::Idle).await;
    hub.tidy();
    let left: Vec<u64> = place.lanes().iter().map(|(id, _)| *id).collect();
    assert_eq!(left, [second]);
    // Forgotten, it is gone altogether, but for those who hold it.
    hub.forget("k");
    let place = {
        let weak = Arc::downgrade(&place);
        drop(place);
        weak
    };
    for _ in 0..1000 {
        if place.strong_count() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a forgotten company is held for ever");
}

#[tokio::test]
async fn what_comes_for_a_company_that_is_being_forgotten_goes_with_it() {
    let hub = hub();
    // Somebody has looked it up, and then it is forgotten.
    let place = hub.place("k").unwrap();
    hub.forget("k");
    post(&hub, &place);
    let registration = register(&hub, &place, &dead());
    let outcome = crate::vibes::outcome::OUTCOMES.first().unwrap();
    let sent = plan::Callback::of_event((1, 0), 0, outcome, (0, 0));
    hub.send(&place, registration, sent, 1, 0);
    assert_eq!((hub.waiting(), hub.open.load(Ordering::Relaxed)), (0, 0));
    assert!(place.lanes().is_empty());
    assert_eq!(hub.place("k").unwrap().company().event_count(), 0);
}
