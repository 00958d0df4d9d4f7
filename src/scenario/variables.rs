//! What a template can refer to: the event, its person, its journey and a made-up person.
//!
//! Values are made when a template asks for them. One person to a journey: a name used twice is the
//! same name.

use std::cell::OnceCell;
use std::fmt;

use fake::Fake;
use fake::faker::address::en::{
    BuildingNumber, CityName, StateAbbr, StateName, StreetName, ZipCode,
};
use fake::faker::company::en::CompanyName;
use fake::faker::lorem::en::{Sentence, Word};
use fake::faker::name::en::{FirstName, LastName};
use liquid_core::model::{DisplayCow, KStringCow, Object, State, Value};
use liquid_core::{ObjectView, ValueView};
use rand::{Rng, RngExt};
use uuid::Uuid;

use super::data::{DataTemplate, DataView};
use super::finding::{did_you_mean, nearest};
use crate::draw::{self, Generator, Purpose};

/// The names that a template can begin with.
pub const ROOTS: [&str; 7] = [
    "event_id",
    "event_type",
    "event_data",
    "debug_data",
    "person",
    "journey",
    "fake",
];
/// What is known of the person whom the event is about.
pub const PERSON_FIELDS: [&str; 3] = ["person_key", "mdn", "external_person_id"];
/// What is known of the journey.
pub const JOURNEY_FIELDS: [&str; 2] = ["number", "name"];

/// Draws one field of the made-up person. The names are handed in, since others are made of them.
type MakeField = fn(&mut Generator, &FakePerson) -> String;

/// The fields of `fake`; a new one is one entry, at the end, so that the others keep their draws.
const FAKE_FIELDS: &[(&str, MakeField)] = &[
    ("first_name", |rng, _| FirstName().fake_with_rng(rng)),
    ("last_name", |rng, _| LastName().fake_with_rng(rng)),
    ("name", |_, person| {
        format!("{} {}", person.text("first_name"), person.text("last_name"))
    }),
    ("email", |_, person| {
        format!("{}@example.com", person.text("username"))
    }),
    ("username", |rng, person| {
        let letters = |name: String| {
            name.chars()
                .filter(char::is_ascii_alphabetic)
                .collect::<String>()
                .to_ascii_lowercase()
        };
        format!(
            "{}.{}{}",
            letters(person.text("first_name")),
            letters(person.text("last_name")),
            rng.random_range(1..100_u32)
        )
    }),
    ("phone", |rng, _| fictional_mdn(rng)),
    ("company", |rng, _| CompanyName().fake_with_rng(rng)),
    ("street_address", |rng, _| {
        let number: String = BuildingNumber().fake_with_rng(rng);
        let street: String = StreetName().fake_with_rng(rng);
        format!("{number} {street}")
    }),
    ("city", |rng, _| CityName().fake_with_rng(rng)),
    ("state", |rng, _| StateName().fake_with_rng(rng)),
    ("state_abbr", |rng, _| StateAbbr().fake_with_rng(rng)),
    ("zip_code", |rng, _| ZipCode().fake_with_rng(rng)),
    ("word", |rng, _| Word().fake_with_rng(rng)),
    ("sentence", |rng, _| Sentence(4..9).fake_with_rng(rng)),
    ("uuid", |rng, _| draw::uuid(rng).to_string()),
];

/// A number of the range that North America keeps for fiction, so that it is nobody's.
pub fn fictional_mdn(rng: &mut Generator) -> String {
    // 200 to 999, leaving out the codes that end in 11.
    let mut area = rng.random_range(200..1000_u32);
    if area % 100 == 11 {
        area += 1;
    }
    format!("+1{area}55501{:02}", rng.random_range(0..100_u32))
}

/// The characters of a customer's own id of a person.
pub fn fictional_person_id(rng: &mut Generator) -> impl Iterator<Item = char> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    std::iter::repeat_with(|| char::from(LETTERS[(rng.next_u64() >> 59) as usize])).take(9)
}

/// The names of `fake`'s fields.
pub fn fake_fields() -> impl Iterator<Item = &'static str> + Clone {
    FAKE_FIELDS.iter().map(|(name, _)| *name)
}

/// Whether a template's variable can have a value, and if not, what was probably meant.
///
/// # Errors
///
/// What is wrong with the path and, after a line break, how to mend it.
pub fn check_path(
    path: &[String],
    event_data: Option<&DataTemplate>,
    debug_data: Option<&DataTemplate>,
) -> Result<(), String> {
    let full = path.join(".");
    let [root, rest @ ..] = path else {
        return Ok(());
    };
    let fixed = |fields: &mut dyn Iterator<Item = &'static str>| {
        let fields: Vec<_> = fields.collect();
        match rest {
            [] => Ok(()),
            [field, ..] if fields.contains(&field.as_str()) => Ok(()),
            [field, ..] => Err(format!(
                "unknown variable `{full}`\n{}",
                qualified(root, &did_you_mean(field, fields))
            )),
        }
    };
    let data = |data: Option<&DataTemplate>| {
        let Some(data) = data else { return Ok(()) };
        match data.lookup(rest) {
            Ok(()) => Ok(()),
            Err((at, there)) => {
                let parent = path[..=at].join(".");
                let wanted = rest.get(at).map_or("", String::as_str);
                let hint = qualified(
                    &parent,
                    &did_you_mean(wanted, there.iter().map(String::as_str)),
                );
                let stop = if hint.ends_with('?') { "" } else { "." };
                Err(format!(
                    "unknown variable `{full}`: this event has none
{hint}{stop} Guard one that may be absent: `{{{{ {full} | default: \"…\" }}}}`"
                ))
            }
        }
    };
    match root.as_str() {
        "event_id" | "event_type" => Ok(()),
        "event_data" => data(event_data),
        "debug_data" => data(debug_data),
        "person" => fixed(&mut PERSON_FIELDS.into_iter()),
        "journey" => fixed(&mut JOURNEY_FIELDS.into_iter()),
        "fake" => fixed(&mut fake_fields()),
        _ if !nearest(root, ROOTS).is_empty() => Err(format!(
            "unknown variable `{full}`\n{}",
            did_you_mean(root, ROOTS)
        )),
        _ => Err(format!(
            "unknown variable `{full}`\nwhat an event carries is under `event_data`: `event_data.{full}`; the others are `{}`",
            ROOTS.join("`, `")
        )),
    }
}

/// Puts the parent before the names that a hint gives.
fn qualified(parent: &str, hint: &str) -> String {
    hint.replace(" `", &format!(" `{parent}."))
}

/// A made-up person whose fields are drawn when they are asked for.
#[derive(Debug)]
pub struct FakePerson {
    seed: u64,
    journey: u64,
    values: [OnceCell<Value>; FAKE_FIELDS.len()],
}

impl FakePerson {
    fn new(seed: u64, journey: u64) -> Self {
        FakePerson {
            seed,
            journey,
            values: [const { OnceCell::new() }; FAKE_FIELDS.len()],
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        FAKE_FIELDS.iter().map(|(name, _)| *name)
    }

    fn at(&self, index: usize) -> &Value {
        self.values[index].get_or_init(|| {
            let purpose = Purpose::Fake(index as u16);
            let mut rng = draw::generator(self.seed, self.journey, purpose);
            Value::scalar(FAKE_FIELDS[index].1(&mut rng, self))
        })
    }

    fn text(&self, name: &str) -> String {
        self.field(name)
            .map(|value| value.to_kstr().into_owned().into_string())
            .unwrap_or_default()
    }

    fn field(&self, name: &str) -> Option<&dyn ValueView> {
        let index = FAKE_FIELDS.iter().position(|(field, _)| *field == name)?;
        Some(self.at(index))
    }
}

/// Everything that one event's templates can refer to.
#[derive(Debug)]
pub struct Variables<'a> {
    /// The event's id.
    pub event_id: Value,
    /// The event's type.
    pub event_type: Value,
    /// The event's data; absent while it is being made.
    pub event_data: Option<DataView<'a>>,
    /// The event's debug data; absent while it is being made.
    pub debug_data: Option<DataView<'a>>,
    journey: u64,
    journey_name: &'a str,
    person_key: Uuid,
    mdn: &'a str,
    external_person_id: &'a str,
    person_object: OnceCell<Value>,
    journey_object: OnceCell<Value>,
    fake: FakePerson,
}

/// The person whom an event is about.
#[derive(Clone, Copy, Debug)]
pub struct Person<'a> {
    /// The platform's key.
    pub person_key: Uuid,
    /// The mobile number.
    pub mdn: &'a str,
    /// The customer's own id.
    pub external_person_id: &'a str,
}

impl<'a> Variables<'a> {
    /// Variables of an event whose own texts are not rendered yet.
    pub fn new(seed: u64, journey: u64, journey_name: &'a str, person: Person<'a>) -> Self {
        Variables {
            event_id: Value::Nil,
            event_type: Value::Nil,
            event_data: None,
            debug_data: None,
            journey,
            journey_name,
            person_key: person.person_key,
            mdn: person.mdn,
            external_person_id: person.external_person_id,
            person_object: OnceCell::new(),
            journey_object: OnceCell::new(),
            fake: FakePerson::new(seed, journey),
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        ROOTS.into_iter()
    }

    fn field(&self, name: &str) -> Option<&dyn ValueView> {
        match name {
            "event_id" => Some(&self.event_id),
            "event_type" => Some(&self.event_type),
            "event_data" => self.event_data.as_ref().map(|data| data as &dyn ValueView),
            "debug_data" => self.debug_data.as_ref().map(|data| data as &dyn ValueView),
            "person" => Some(self.person_object.get_or_init(|| {
                object([
                    ("person_key", Value::scalar(self.person_key.to_string())),
                    ("mdn", Value::scalar(self.mdn.to_owned())),
                    (
                        "external_person_id",
                        Value::scalar(self.external_person_id.to_owned()),
                    ),
                ])
            })),
            "journey" => Some(self.journey_object.get_or_init(|| {
                let number = i64::try_from(self.journey).unwrap_or(i64::MAX);
                object([
                    ("number", Value::scalar(number)),
                    ("name", Value::scalar(self.journey_name.to_owned())),
                ])
            })),
            "fake" => Some(&self.fake),
            _ => None,
        }
    }
}

fn object<const N: usize>(fields: [(&'static str, Value); N]) -> Value {
    Value::Object(Object::from_iter(
        fields.map(|(name, value)| (name.into(), value)),
    ))
}

macro_rules! object_view {
    ($type:ty) => {
        impl ValueView for $type {
            fn as_debug(&self) -> &dyn fmt::Debug {
                self
            }
            fn render(&self) -> DisplayCow<'_> {
                DisplayCow::Owned(Box::new(""))
            }
            fn source(&self) -> DisplayCow<'_> {
                DisplayCow::Owned(Box::new(""))
            }
            fn type_name(&self) -> &'static str {
                "object"
            }
            fn query_state(&self, state: State) -> bool {
                matches!(state, State::Truthy)
            }
            fn to_kstr(&self) -> KStringCow<'_> {
                KStringCow::from_static("")
            }
            fn to_value(&self) -> Value {
                Value::Object(
                    self.iter()
                        .map(|(key, value)| (key.into_owned(), value.to_value()))
                        .collect(),
                )
            }
            fn as_object(&self) -> Option<&dyn ObjectView> {
                Some(self)
            }
        }

        impl ObjectView for $type {
            fn as_value(&self) -> &dyn ValueView {
                self
            }
            fn size(&self) -> i64 {
                self.names().count() as i64
            }
            fn keys<'k>(&'k self) -> Box<dyn Iterator<Item = KStringCow<'k>> + 'k> {
                Box::new(self.names().map(KStringCow::from_ref))
            }
            fn values<'k>(&'k self) -> Box<dyn Iterator<Item = &'k dyn ValueView> + 'k> {
                Box::new(self.names().filter_map(|name| self.field(name)))
            }
            fn iter<'k>(
                &'k self,
            ) -> Box<dyn Iterator<Item = (KStringCow<'k>, &'k dyn ValueView)> + 'k> {
                Box::new(self.names().filter_map(|name| {
                    let value = self.field(name)?;
                    Some((KStringCow::from_ref(name), value))
                }))
            }
            fn contains_key(&self, name: &str) -> bool {
                self.field(name).is_some()
            }
            fn get<'s>(&'s self, name: &str) -> Option<&'s dyn ValueView> {
                self.field(name)
            }
        }
    };
}

object_view!(FakePerson);
object_view!(DataView<'_>);
object_view!(Variables<'_>);
