//! Any text as a template: it is refused, or it renders within its bounds.
#![no_main]

use chrono::{DateTime, Utc};
use libfuzzer_sys::fuzz_target;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use vibes_mock::scenario::template::{MAX_OUTPUT, Renderer, Template};
use vibes_mock::scenario::variables::{Person, Variables};

fuzz_target!(|text: &str| {
    let Ok(template) = Template::parse(text) else { return };
    let person = Person {
        person_key: Default::default(),
        mdn: "+12005550100",
        external_person_id: "abc",
    };
    let variables = Variables::new(1, 1, "fuzz", person);
    let generator = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut out = String::new();
    let mut renderer = Renderer::new(&variables, DateTime::<Utc>::UNIX_EPOCH, generator);
    let _ = renderer.render(&template, &mut out);
    assert!(out.len() <= MAX_OUTPUT.max(text.len()));
});
