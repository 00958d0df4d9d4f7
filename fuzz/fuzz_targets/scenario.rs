//! Any text as a scenario file: it is refused with findings that can be shown, or it can be planned.
#![no_main]

use std::sync::Arc;

use chrono::{DateTime, Utc};
use libfuzzer_sys::fuzz_target;
use vibes_mock::Scenario;
use vibes_mock::plan::{Parameters, Plan, Shard};
use vibes_mock::scenario::Error;

fuzz_target!(|text: &str| {
    match Scenario::parse("fuzz.yaml", text) {
        Err(Error::Invalid(findings)) => assert!(!findings.render(false).is_empty()),
        Err(Error::Unreadable(message)) => assert!(!message.is_empty()),
        // More journeys than that take longer than one input should.
        Ok(scenario) if scenario.journey_count() > 1000 => {}
        Ok(scenario) => {
            let parameters =
                Parameters { seed: 1, start: DateTime::<Utc>::UNIX_EPOCH, shard: Shard::WHOLE };
            let mut plan = Plan::new(Arc::new(scenario), parameters);
            let mut line = Vec::new();
            let mut last = 0;
            while let Some(Ok(callback)) = plan.next() {
                assert!(callback.due >= last);
                last = callback.due;
                line.clear();
                if plan.line(&callback, &mut line).is_ok() {
                    assert!(std::str::from_utf8(&line).is_ok());
                }
            }
        }
    }
});
