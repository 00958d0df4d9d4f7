//! Which way a posted event goes, and what then happens when.
//!
//! The first of these that takes the event says it:
//!
//! 1. a route of a playbook: a scenario file that a server was given, or what a test has set;
//! 2. a [magic recipient](crate::vibes::magic), be routing strict or not. A campaign that is in progress
//!    still says what the message is, so how many parts it has and which id the links carry;
//! 3. a campaign in progress: its message is rendered with the event and really split, and has a good day;
//! 4. nothing: a good day if routing is lenient, `routing.no_route_rules` if it is strict.
//!
//! Pure, and the same for the same event whatever else is posted: draws depend on the seed and on
//! [`journey_number`], a person's key and number on the company and on what the event calls them.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use chrono::{DateTime, Utc};
use liquid_core::model::Value;
use uuid::Uuid;

use super::media;
use crate::draw::{self, Purpose};
use crate::fault::matches;
use crate::journey::{Journey, Step, Text};
use crate::scenario::data::DataTemplate;
use crate::scenario::event::usual_campaign;
use crate::scenario::model::RoutingMode;
use crate::scenario::template::{Renderer, Template};
use crate::scenario::variables::{Person, Variables, fictional_mdn, fictional_person_id};
use crate::scenario::{RouteSpec, Scenario, Serving};
use crate::sms;
use crate::vibes::event::e164;
use crate::vibes::magic::{self, MagicRecipient};
use crate::vibes::outcome::{MessageType, Outcome, Stage};

/// An event as it was posted and found to be in order.
#[derive(Clone, Copy, Debug)]
pub struct Posted<'a> {
    /// Whose it is.
    pub company_key: &'a str,
    /// Its own id.
    pub event_id: &'a str,
    /// Its type.
    pub event_type: &'a str,
    /// JSON text of an object.
    pub event_data: &'a str,
    /// JSON text of an object, if there was any.
    pub debug_data: Option<&'a str>,
    /// The key and the value that say whom it is about.
    pub person: (&'a str, &'a str),
    /// What draws depend on; see [`journey_number`].
    pub number: u64,
}

/// A campaign in progress that listens to an event's type.
#[derive(Clone, Copy, Debug)]
pub struct CampaignWay<'a> {
    /// Its `event_triggered_message_id`.
    pub id: u32,
    /// What it sends.
    pub message: CampaignMessageRef<'a>,
}

/// What a campaign sends.
#[derive(Clone, Copy, Debug)]
pub enum CampaignMessageRef<'a> {
    /// A text.
    Sms {
        /// Liquid.
        template: &'a str,
    },
    /// Texts and media.
    Mms {
        /// Liquid, each.
        texts: &'a [String],
        /// URLs, Liquid, each.
        media: &'a [String],
    },
    /// A push message, of which no callback after routing is documented.
    Push,
}

/// The way an event goes.
#[derive(Clone, Debug)]
pub struct Way {
    /// What calls back, in the order of stages and parts.
    pub steps: Vec<Step>,
    /// What the event becomes.
    pub message_type: MessageType,
    /// The campaign in the links.
    pub campaign: u32,
    /// Whose settings hold: the playbook's whose route took the event, else the first one's.
    pub scenario: Arc<Scenario>,
    /// The person's key.
    pub person_key: Uuid,
    /// The person's number, in the E.164 form.
    pub mdn: String,
    /// Why it goes this way.
    pub rule: Rule,
    /// What people may want to know of it, a sentence each; mostly nothing.
    pub notes: Vec<String>,
}

/// Why an event goes the way it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A route takes it.
    Route {
        /// Its place in the playbook, from 0.
        route: usize,
        /// The journey's place in the playbook.
        journey: usize,
    },
    /// It is about a magic recipient.
    Magic {
        /// Whom.
        recipient: MagicRecipient,
        /// The campaign whose message it is.
        campaign: Option<u32>,
    },
    /// A campaign takes it.
    Campaign(u32),
    /// Nothing takes it, and it has a good day.
    Lenient,
    /// Nothing takes it, as it says.
    Strict,
}

impl Rule {
    /// The rule in words. `scenario` is the way's.
    pub fn words(&self, scenario: &Scenario) -> String {
        match *self {
            Rule::Route { route, journey } => {
                let name = scenario.journeys.get(journey).map(|journey| &journey.name);
                format!(
                    "route {} of `{}`, journey `{}`",
                    route + 1,
                    scenario.name,
                    name.map_or("", String::as_str)
                )
            }
            Rule::Magic {
                recipient,
                campaign: None,
            } => format!("magic recipient `{}`", recipient.external_person_id()),
            Rule::Magic {
                recipient,
                campaign: Some(id),
            } => format!(
                "magic recipient `{}`, with the message of campaign {id}",
                recipient.external_person_id()
            ),
            Rule::Campaign(id) => format!("campaign {id}"),
            Rule::Lenient => {
                "a good day, since no route and no campaign takes it and routing is lenient"
                    .to_owned()
            }
            Rule::Strict => "no route and no campaign takes it, and routing is strict".to_owned(),
        }
    }
}

/// The number of the `nth` event, from 0, that a company posts under an id: what its draws depend on, so
/// that nothing posted beside it changes them. Stable; of 63 bits, so that it fits in what holds integers.
pub fn journey_number(company_key: &str, event_id: &str, nth: u64) -> u64 {
    draw::hash(&[company_key, event_id, &nth.to_string()]) >> 1
}

/// What holds for a company: each setting as the first playbook has it that says it.
pub fn serving(playbooks: &[Arc<Scenario>]) -> Serving {
    playbooks.iter().fold(Serving::default(), |said, playbook| {
        said.or(playbook.serving)
    })
}

/// Which way an event goes. The playbooks are the company's, in their order of precedence, and the
/// campaigns those in progress that listen to the event's type; the first one takes it.
pub fn decide(
    playbooks: &[Arc<Scenario>],
    campaigns: &[CampaignWay<'_>],
    posted: &Posted<'_>,
    seed: u64,
    now: DateTime<Utc>,
) -> Way {
    let subject = Subject::of(posted, seed, now);
    let campaign = campaigns.first();
    let mut notes = Vec::new();
    let mut scenario = None;
    let mut own_campaign = None;
    let (rule, course) = if let Some((playbook, route, spec)) = subject.route(playbooks) {
        scenario = Some(Arc::clone(playbook));
        let journey = spec.journeys.choose(seed, posted.number);
        let rule = Rule::Route { route, journey };
        let course = match playbook.journeys.get(journey) {
            Some(journey) => {
                own_campaign = journey.campaign;
                subject.follow(journey, &mut notes)
            }
            None => Course::good_day(),
        };
        (rule, course)
    } else if let Some(recipient) = subject.recipient(&mut notes) {
        let course = match campaign {
            None => Course::ending_with(recipient.outcome, recipient.message_type, 1),
            Some(campaign) => subject.meet(&recipient, campaign, &mut notes),
        };
        let campaign = campaign.map(|campaign| campaign.id);
        let rule = Rule::Magic {
            recipient,
            campaign,
        };
        (rule, course)
    } else if let Some(campaign) = campaign {
        let course = subject.send(campaign, &mut notes);
        (Rule::Campaign(campaign.id), course)
    } else if serving(playbooks).routing == Some(RoutingMode::Strict) {
        let course = Course::ending_with(Outcome::no_route_rules(), MessageType::Sms, 1);
        (Rule::Strict, course)
    } else {
        (Rule::Lenient, Course::good_day())
    };
    if campaigns.len() > 1 && !matches!(rule, Rule::Route { .. }) {
        notes.push(format!(
            "{} campaigns listen to `{}`; only the first one's message is sent",
            campaigns.len(),
            posted.event_type
        ));
    }
    let scenario = scenario
        .or_else(|| {
            let says = |playbook: &&Arc<Scenario>| playbook.serving.wording.is_some();
            let telling = playbooks.iter().find(says).or(playbooks.first());
            telling.map(Arc::clone)
        })
        .unwrap_or_else(|| Arc::clone(&NOTHING_SAID));
    let mut steps = Vec::new();
    let mut rng = draw::generator(seed, posted.number, Purpose::Delays);
    course
        .journey
        .unfold(course.parts, &scenario.settings, &mut rng, &mut steps);
    Way {
        steps,
        message_type: course.journey.message_type,
        campaign: own_campaign
            .or(campaign.map(|campaign| campaign.id))
            .unwrap_or_else(|| usual_campaign(posted.event_type)),
        scenario,
        person_key: subject.person_key,
        mdn: subject.mdn,
        rule,
        notes,
    }
}

/// Whose settings hold where there is no playbook.
static NOTHING_SAID: LazyLock<Arc<Scenario>> =
    LazyLock::new(|| Arc::new(Scenario::empty("no scenario")));

/// A journey, and how many parts its message has.
struct Course<'p> {
    journey: Cow<'p, Journey>,
    parts: u8,
}

impl Course<'_> {
    fn good_day() -> Self {
        Course {
            journey: Cow::Owned(Journey::good_day()),
            parts: 1,
        }
    }

    fn ending_with(outcome: &'static Outcome, message_type: MessageType, parts: u8) -> Self {
        Course {
            journey: Cow::Owned(Journey::ending_with(outcome, message_type)),
            parts,
        }
    }

    /// The message could not be made.
    fn failing(message_type: MessageType) -> Self {
        Course::ending_with(Outcome::unexpected_error(), message_type, 1)
    }
}

/// An event as routes and templates see it.
struct Subject<'a> {
    posted: &'a Posted<'a>,
    seed: u64,
    now: DateTime<Utc>,
    event_data: DataTemplate,
    debug_data: Option<DataTemplate>,
    person_key: Uuid,
    mdn: String,
    external_person_id: String,
}

impl<'a> Subject<'a> {
    fn of(posted: &'a Posted<'a>, seed: u64, now: DateTime<Utc>) -> Self {
        let event_data = DataTemplate::literal(posted.event_data);
        let said = |key| event_data.text(key, &[]).map(|text| text.to_string());
        let (key, value) = posted.person;
        // One number is one person, however it is spelt.
        let number = (key == "mdn").then(|| e164(value)).flatten();
        let name = number.as_deref().unwrap_or(value);
        let person = draw::hash(&[posted.company_key, key, name]);
        let mut rng = draw::generator(0, person, Purpose::Event);
        let drawn_key = draw::uuid(&mut rng);
        let drawn_mdn = fictional_mdn(&mut rng);
        let is_key = matches!(key, "person_key" | "person_id");
        let own_key = is_key.then(|| Uuid::parse_str(value).ok()).flatten();
        Subject {
            person_key: own_key.unwrap_or(drawn_key),
            mdn: said("mdn").map_or(drawn_mdn, |mdn| e164(&mdn).unwrap_or(mdn)),
            external_person_id: said("external_person_id")
                .unwrap_or_else(|| fictional_person_id(&mut rng).collect()),
            debug_data: posted.debug_data.map(DataTemplate::literal),
            event_data,
            posted,
            seed,
            now,
        }
    }

    /// The first route that takes the event: its playbook, its place there.
    fn route<'p>(
        &self,
        playbooks: &'p [Arc<Scenario>],
    ) -> Option<(&'p Arc<Scenario>, usize, &'p RouteSpec)> {
        playbooks.iter().find_map(|playbook| {
            let mut routes = playbook.routes.iter().enumerate();
            let (at, route) = routes.find(|(_, route)| {
                let mut conditions = route.when.iter();
                conditions.all(|(path, pattern)| self.holds(path, pattern))
            })?;
            Some((playbook, at, route))
        })
    }

    /// Whether what is at a path is as a pattern says. What is not there is as no pattern says.
    fn holds(&self, path: &str, pattern: &str) -> bool {
        if path == "event_type" {
            let event_type = self.posted.event_type.to_ascii_lowercase();
            return matches(&pattern.to_ascii_lowercase(), &event_type);
        }
        let data = match path.split_once('.') {
            Some(("event_data", path)) => self.event_data.text(path, &[]),
            Some(("debug_data", path)) => {
                let data = self.debug_data.as_ref();
                data.and_then(|data| data.text(path, &[]))
            }
            _ => None,
        };
        let fits = |text: &str| matches(pattern, text);
        data.is_some_and(|text| {
            fits(&text)
                || path == "event_data.mdn"
                    && e164(&text).is_some_and(|mdn| {
                        let spellings = ["", "+", "+1"].map(|prefix| mdn.strip_prefix(prefix));
                        spellings.into_iter().flatten().any(fits)
                    })
        })
    }

    /// The magic recipient whom the event is about.
    fn recipient(&self, notes: &mut Vec<String>) -> Option<MagicRecipient> {
        let id = self.event_data.text("external_person_id", &[]);
        let mdn = self.event_data.text("mdn", &[]);
        let found = magic::recipient(id.as_deref(), mdn.as_deref());
        if let (None, Some(id)) = (found, id)
            && id.starts_with(magic::PREFIX)
        {
            notes.push(format!(
                "`{id}` is no magic recipient; `vibes-mock catalog --magic` lists them"
            ));
        }
        found
    }

    /// Takes a playbook's journey, as far as its text can be rendered.
    fn follow<'p>(&self, journey: &'p Journey, notes: &mut Vec<String>) -> Course<'p> {
        let parts = match &journey.text {
            Text::Fixed { parts } => Ok(*parts),
            Text::Template(text) if journey.needs_parts() => self.parts(&journey.name, text),
            Text::Template(_) => Ok(1),
        };
        match parts {
            Ok(parts) => Course {
                journey: Cow::Borrowed(journey),
                parts,
            },
            Err(why) => {
                notes.push(format!("the text of journey `{}`: {why}", journey.name));
                Course::failing(journey.message_type)
            }
        }
    }

    /// Sends a campaign's message on a good day.
    fn send(&self, campaign: &CampaignWay<'_>, notes: &mut Vec<String>) -> Course<'static> {
        let message_type = campaign.message.message_type();
        let made = match campaign.message {
            CampaignMessageRef::Push => {
                notes.push(format!(
                    "campaign {} sends a push message; nothing after routing is documented for those",
                    campaign.id
                ));
                let accepted = Outcome::good_day(Stage::Routing);
                return Course::ending_with(accepted, message_type, 1);
            }
            CampaignMessageRef::Sms { template } => Template::parse(template)
                .map_err(|error| error.message)
                .and_then(|text| self.parts("campaign", &text))
                .map(|parts| (Outcome::good_day(Stage::Handset), parts)),
            CampaignMessageRef::Mms { texts, media } => self.mms(texts, media),
        };
        match made {
            Ok((outcome, parts)) => Course::ending_with(outcome, message_type, parts),
            Err(why) => {
                notes.push(format!("the message of campaign {}: {why}", campaign.id));
                Course::failing(message_type)
            }
        }
    }

    /// Sends a campaign's message to a magic recipient.
    fn meet(
        &self,
        recipient: &MagicRecipient,
        campaign: &CampaignWay<'_>,
        notes: &mut Vec<String>,
    ) -> Course<'static> {
        let outcome = recipient.outcome;
        let wished = campaign.message.message_type();
        let fits = outcome.messages.contains(&wished);
        let is_push = matches!(campaign.message, CampaignMessageRef::Push);
        if outcome.stage.is_receipt() && fits || is_push && outcome.stage > Stage::Routing {
            // A receipt is of a message, so there must be one.
            let sent = self.send(campaign, notes);
            return match sent.journey.needs_parts() {
                true => Course::ending_with(outcome, wished, sent.parts),
                false => sent,
            };
        }
        let message_type = if fits { wished } else { recipient.message_type };
        if !fits && !is_push {
            notes.push(format!(
                "campaign {} sends {}, to which {outcome} cannot happen; the event became {}",
                campaign.id,
                wished.name(),
                message_type.name()
            ));
        }
        Course::ending_with(outcome, message_type, 1)
    }

    /// What comes of an MMS.
    fn mms(&self, texts: &[String], media: &[String]) -> Result<(&'static Outcome, u8), String> {
        let parse = |text: &String| Template::parse(text).map_err(|error| error.message);
        let templates: Vec<Template> = texts
            .iter()
            .chain(media)
            .map(parse)
            .collect::<Result<_, _>>()?;
        let rendered = self.render("campaign", &templates)?;
        let mut urls = rendered.iter().skip(texts.len());
        let problem = urls.find_map(|url| media::problem(url));
        Ok((problem.unwrap_or(Outcome::good_day(Stage::Processing)), 1))
    }

    /// How many parts a text has for this event.
    fn parts(&self, journey: &str, text: &Template) -> Result<u8, String> {
        let rendered = self.render(journey, std::slice::from_ref(text))?;
        let text = rendered.first().map_or("", String::as_str);
        sms::part_count(text).map_err(|error| error.to_string())
    }

    /// Texts for this event. What a text refers to and the event has not is blank, as in Liquid.
    fn render(&self, journey: &str, texts: &[Template]) -> Result<Vec<String>, String> {
        let person = Person {
            person_key: self.person_key,
            mdn: &self.mdn,
            external_person_id: &self.external_person_id,
        };
        let number = self.posted.number;
        let mut variables = Variables::new(self.seed, number, journey, person);
        variables.event_id = Value::scalar(self.posted.event_id.to_owned());
        variables.event_type = Value::scalar(self.posted.event_type.to_owned());
        variables.event_data = Some(self.event_data.view(&[]));
        variables.debug_data = self.debug_data.as_ref().map(|data| data.view(&[]));
        let rng = draw::generator(self.seed, number, Purpose::Text);
        let mut renderer = Renderer::new(&variables, self.now, rng);
        let render = |text| {
            let mut out = String::new();
            let rendered = renderer.render(text, &mut out);
            rendered.map(|()| out).map_err(|error| error.message)
        };
        texts.iter().map(render).collect()
    }
}

impl CampaignMessageRef<'_> {
    /// What an event becomes by it. A push message is neither, and no body says so.
    fn message_type(&self) -> MessageType {
        match self {
            CampaignMessageRef::Mms { .. } => MessageType::Mms,
            CampaignMessageRef::Sms { .. } | CampaignMessageRef::Push => MessageType::Sms,
        }
    }
}

#[cfg(test)]
mod tests;
