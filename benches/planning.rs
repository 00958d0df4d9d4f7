//! How many callbacks a second one core plans, bodies included. Run it with `cargo bench`.
//!
//! Two scenarios: one whose events are the same but for their ids, and one with templates in the events
//! and in the message, which is split into parts for each event.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use divan::Bencher;
use divan::counter::ItemsCount;
use vibes_mock::Scenario;
use vibes_mock::plan::{Parameters, Plan, Shard};

/// Journeys in one pass; four callbacks each.
const JOURNEYS: u64 = 20_000;

const FIXED: &str = r#"
journeys:
  delivered:
    message: {type: sms, text: "Hi Bob, your order is out for delivery."}
events:
  - event_type: day_of_delivery
    count: 20000
    arrivals: {rate: 1000/s}
    event_data:
      first_name: Bob
      external_person_id: abcd12345
      delivery_time: 5:00 PM
      order_url: https://example.com/orders/12345
    debug_data: {field: CUST_SYSTEM}
    journey: delivered
"#;

const TEMPLATES: &str = r#"
journeys:
  delivered:
    message:
      type: sms
      text: "Hi {{ event_data.first_name }}, order {{ event_data.order }} comes by {{ event_data.delivery_time }}."
events:
  - event_type: day_of_delivery
    count: 20000
    arrivals: {poisson: 1000/s}
    event_data:
      first_name: "{{ fake.first_name }}"
      external_person_id: "{{ 9 | fake_alphanumeric }}"
      delivery_time: 5:00 PM
      order: "{{ 6 | fake_digits }}"
    debug_data: {field: CUST_SYSTEM}
    journey: delivered
"#;

fn main() {
    divan::main();
}

fn plan_with_bodies(bencher: Bencher<'_, '_>, text: &str) {
    let scenario = match Scenario::parse("bench", text) {
        Ok(scenario) => Arc::new(scenario),
        Err(error) => panic!("{error}"),
    };
    let parameters = Parameters {
        seed: 1,
        start: DateTime::<Utc>::UNIX_EPOCH,
        shard: Shard::WHOLE,
    };
    bencher
        .counter(ItemsCount::new(JOURNEYS * 4))
        .bench_local(|| {
            let mut plan = Plan::new(Arc::clone(&scenario), parameters);
            let mut body = Vec::new();
            let mut bytes = 0;
            while let Some(callback) = plan.next() {
                body.clear();
                let made = callback.and_then(|callback| plan.body(&callback, &mut body));
                if made.is_ok() {
                    bytes += body.len();
                }
            }
            bytes
        });
}

#[divan::bench(sample_count = 20)]
fn events_alike(bencher: Bencher<'_, '_>) {
    plan_with_bodies(bencher, FIXED);
}

#[divan::bench(sample_count = 20)]
fn events_from_templates(bencher: Bencher<'_, '_>) {
    plan_with_bodies(bencher, TEMPLATES);
}
