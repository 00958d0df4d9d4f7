//! The Event-Triggered Campaign API: what makes a message of an event, and when.
//!
//! Documented on Vibes' "Event-Triggered Campaign API" page, unless a rule says "chosen".

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::api::{Problem, code};
use super::event;
use super::request::{self, Change, Faults, Fields, Object, TextField, day};
use crate::scenario::template::Template;

/// Who made a campaign, and with what: always this program.
const CREATED_BY: &str = "vibes-mock";

/// What a campaign can send: the object of `targeting` that says how.
struct Format {
    /// The object's key; also the `message_format` of the answer, whose values are not published.
    key: &'static str,
    channel: &'static str,
    /// The texts in the object.
    texts: &'static [TextField],
    /// The texts of `targeting` itself.
    around: &'static [TextField],
}

const FORMATS: [Format; 3] = [
    Format {
        key: "sms",
        channel: "sms",
        texts: &[
            ("sourcecode", true),
            ("country_code", true),
            ("sourcecode_type", true),
            ("mdn_territory", false),
        ],
        around: &[
            ("message_template", true),
            ("channel", false),
            ("short_url_base", false),
        ],
    },
    Format {
        key: "mms",
        channel: "sms",
        texts: &[
            ("sourcecode", true),
            ("country_code", true),
            ("sourcecode_type", true),
            ("subject", false),
        ],
        around: &[
            ("message_template", false),
            ("channel", true),
            ("short_url_base", false),
        ],
    },
    Format {
        key: "push",
        channel: "push",
        texts: &[("app_id", true)],
        around: &[
            ("message_template", true),
            ("channel", true),
            ("short_url_base", false),
        ],
    },
];

/// The texts of one piece of an MMS.
const CONTENT: [TextField; 5] = [
    ("body", false),
    ("media_url", false),
    ("asset_id", false),
    ("mime_type", false),
    ("description", false),
];

/// What a client may read in `targeting` and not write. The schema puts the last three there too, which
/// is taken for a slip: they stand beside `targeting` in our answers.
const READ_ONLY: [&str; 4] = ["message_format", "url", "created_at", "updated_at"];

/// What a campaign sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CampaignMessage {
    /// A text message.
    Sms {
        /// Its Liquid template.
        template: String,
    },
    /// A multimedia message.
    Mms {
        /// Its texts: Liquid templates.
        texts: Vec<String>,
        /// The URLs of its media: Liquid templates. Uploaded assets are not among them.
        media: Vec<String>,
    },
    /// A push notification, of which no message is made here.
    Push,
}

/// Where a campaign stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CampaignStatus {
    /// Its first day is ahead.
    Scheduled,
    /// It takes events.
    InProgress,
    /// Its last day is over.
    Ended,
    /// It was called off.
    Canceled,
}

impl CampaignStatus {
    /// All of them.
    pub const ALL: [CampaignStatus; 4] = [
        CampaignStatus::Scheduled,
        CampaignStatus::InProgress,
        CampaignStatus::Ended,
        CampaignStatus::Canceled,
    ];

    /// The value as Vibes writes it.
    pub const fn name(self) -> &'static str {
        match self {
            CampaignStatus::Scheduled => "scheduled",
            CampaignStatus::InProgress => "in_progress",
            CampaignStatus::Ended => "ended",
            CampaignStatus::Canceled => "canceled",
        }
    }
}

/// A request to make or to change a campaign.
#[derive(Clone, Debug, PartialEq)]
pub struct CampaignRequest {
    name: String,
    event_type: String,
    start_date: NaiveDate,
    end_date: Change<NaiveDate>,
    targeting: Object,
    message: CampaignMessage,
}

impl CampaignRequest {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// 400 and 422, with all that is wrong; a template that is not Liquid is 422.
    pub fn parse(body: &[u8]) -> Result<CampaignRequest, Problem> {
        const FORM: &str = "2017-01-31";
        let mut object = request::object(body)?;
        let mut fields = Fields::of(&mut object);
        let mut faults = Faults::default();
        let name = fields.text(("name", true), &mut faults);
        let event_type = event::event_type(("event_type", true), &mut fields, &mut faults);
        let start_date = fields.date("start_date", day, FORM, &mut faults);
        if fields.is_blank("start_date") {
            faults.required("start_date");
        }
        let end_date = fields.date("end_date", day, FORM, &mut faults);
        let message = fields
            .required_inner("targeting", &mut faults)
            .and_then(|targeting| read_targeting(targeting, &mut faults));
        let targeting = match fields.take("targeting") {
            Some(Value::Object(targeting)) => request::without_nulls(targeting),
            _ => Map::new(),
        };
        match (name, event_type, start_date.flatten(), message) {
            (Some(name), Some(event_type), Some(start_date), Some(message))
                if faults.is_empty() =>
            {
                Ok(CampaignRequest {
                    name,
                    event_type,
                    start_date,
                    end_date,
                    targeting,
                    message,
                })
            }
            _ => Err(faults.into_problem()),
        }
    }
}

/// Reads `targeting` and leaves it as it is to be answered.
fn read_targeting(mut fields: Fields<'_>, faults: &mut Faults) -> Option<CampaignMessage> {
    for key in READ_ONLY {
        fields.take(key);
    }
    let mut formats = FORMATS
        .iter()
        .filter(|format| fields.get(format.key).is_some());
    let (Some(format), None) = (formats.next(), formats.next()) else {
        match FORMATS
            .iter()
            .any(|format| fields.get(format.key).is_some())
        {
            true => faults.refuse("targeting", "may have one of `sms`, `mms` and `push` only"),
            false => faults.required("targeting.sms or targeting.mms or targeting.push"),
        }
        return None;
    };
    for field in format.around {
        fields.text(*field, faults);
    }
    let text =
        |fields: &Fields<'_>, key| fields.get(key).and_then(Value::as_str).map(str::to_owned);
    let template = text(&fields, "message_template").unwrap_or_default();
    check_template(&fields.name("message_template"), &template, faults);
    match text(&fields, "channel") {
        Some(channel) if channel != format.channel => {
            let why = format!("must be `{}` beside `{}`", format.channel, format.key);
            faults.refuse(&fields.name("channel"), &why);
        }
        Some(_) => {}
        None => fields.put("channel", format.channel),
    }
    match fields.get("shorten_urls") {
        Some(Value::Bool(_)) => {}
        Some(_) => faults.wrong_type(&fields.name("shorten_urls"), "true or false"),
        None => drop(fields.take("shorten_urls")),
    }
    fields.each("filters", faults, |_, _| ());
    fields.put("message_format", format.key);
    let mut inner = fields.inner(format.key, faults)?;
    for field in format.texts {
        inner.text(*field, faults);
    }
    let takes_type = format.texts.contains(&("sourcecode_type", true));
    if let Some(kind) = text(&inner, "sourcecode_type")
        && takes_type
        && !["SC", "ANC"].contains(&kind.as_str())
    {
        faults.refuse(&inner.name("sourcecode_type"), "must be `SC` or `ANC`");
    }
    Some(match format.key {
        "sms" => CampaignMessage::Sms { template },
        "mms" => read_content(&mut inner, faults),
        _ => CampaignMessage::Push,
    })
}

fn read_content(mms: &mut Fields<'_>, faults: &mut Faults) -> CampaignMessage {
    let (mut texts, mut media) = (Vec::new(), Vec::new());
    let pieces = mms.each("content", faults, |mut piece, faults| {
        let [body, media_url, asset_id, mime_type, _] =
            CONTENT.map(|field| piece.text(field, faults));
        if body.is_none() && media_url.is_none() && asset_id.is_none() {
            faults.required(&piece.name("body or media_url"));
        }
        // An asset has a type of its own.
        if body.is_some() && mime_type.is_some_and(|mime_type| mime_type != "text/plain") {
            faults.refuse(&piece.name("mime_type"), "must be `text/plain` for a text");
        }
        for (key, template, kept) in [
            ("body", body, &mut texts),
            ("media_url", media_url, &mut media),
        ] {
            if let Some(template) = template {
                check_template(&piece.name(key), &template, faults);
                kept.push(template);
            }
        }
    });
    if pieces == Some(0) || mms.is_blank("content") {
        faults.required(&mms.name("content"));
    }
    CampaignMessage::Mms { texts, media }
}

fn check_template(field: &str, template: &str, faults: &mut Faults) {
    if let Err(error) = Template::parse(template) {
        let help = error
            .help
            .map_or_else(String::new, |help| format!("; {help}"));
        let why = format!("is not a Liquid template: {}{help}", error.message);
        faults.refuse(field, &why);
    }
}

/// What a company sends for events of one type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Campaign {
    /// Its number: `event_triggered_message_id`.
    pub id: u32,
    /// What the company calls it.
    pub name: String,
    /// The type of the events that it takes, upper and lower case alike.
    pub event_type: String,
    /// What it sends.
    pub message: CampaignMessage,
    /// Its first day, from midnight UTC on; that days are UTC is chosen.
    pub start_date: NaiveDate,
    /// Its last day, which is in it to the end.
    pub end_date: Option<NaiveDate>,
    /// Whether it was called off.
    pub canceled: bool,
    /// `targeting` as it is answered.
    pub targeting: Map<String, Value>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl Campaign {
    /// Makes a campaign.
    ///
    /// # Errors
    ///
    /// 422 if it ends before it starts or, chosen, is over already.
    pub fn create(
        id: u32,
        request: CampaignRequest,
        now: DateTime<Utc>,
    ) -> Result<Campaign, Problem> {
        let end_date = request.end_date.flatten();
        check_days(request.start_date, end_date, now)?;
        Ok(Campaign {
            id,
            name: request.name,
            event_type: request.event_type,
            message: request.message,
            start_date: request.start_date,
            end_date,
            canceled: false,
            targeting: request.targeting,
            created_at: now,
            updated_at: now,
        })
    }

    /// Replaces what the request sends. Chosen: the end stays if it is left out; `null` takes it back.
    ///
    /// # Errors
    ///
    /// 422 if the campaign is canceled or has ended, if it is in progress and `start_date` differs, or for
    /// what [`Campaign::create`] refuses. Nothing is changed then.
    pub fn update(&mut self, request: CampaignRequest, now: DateTime<Utc>) -> Result<(), Problem> {
        let status = self.status_at(now);
        let may_not = |what: &str| {
            let message = format!("The campaign is {}; {what}", status.name());
            Err(Problem::one(422, code::STATE, message))
        };
        match status {
            CampaignStatus::Scheduled => {}
            CampaignStatus::InProgress if request.start_date == self.start_date => {}
            CampaignStatus::InProgress => {
                return may_not("the start_date field may not change any more");
            }
            CampaignStatus::Ended | CampaignStatus::Canceled => {
                return may_not("it may not be updated any more");
            }
        }
        let end_date = Some(request.end_date.unwrap_or(self.end_date));
        let request = CampaignRequest {
            end_date,
            ..request
        };
        *self = Campaign {
            created_at: self.created_at,
            ..Campaign::create(self.id, request, now)?
        };
        Ok(())
    }

    /// Calls it off. One that is over stays as it is.
    pub fn cancel(&mut self, now: DateTime<Utc>) {
        match self.status_at(now) {
            CampaignStatus::Scheduled | CampaignStatus::InProgress => {
                self.canceled = true;
                self.updated_at = now;
            }
            CampaignStatus::Ended | CampaignStatus::Canceled => {}
        }
    }

    /// Where it stands at that moment.
    pub fn status_at(&self, now: DateTime<Utc>) -> CampaignStatus {
        let today = now.date_naive();
        if self.canceled {
            CampaignStatus::Canceled
        } else if today < self.start_date {
            CampaignStatus::Scheduled
        } else if self.end_date.is_some_and(|end| end < today) {
            CampaignStatus::Ended
        } else {
            CampaignStatus::InProgress
        }
    }

    /// Whether it makes a message of an event of that type at that moment.
    pub fn takes(&self, event_type: &str, now: DateTime<Utc>) -> bool {
        self.event_type.eq_ignore_ascii_case(event_type)
            && self.status_at(now) == CampaignStatus::InProgress
    }

    /// The campaign as the API answers it.
    pub fn to_json(&self, company_key: &str, now: DateTime<Utc>) -> Value {
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        let id = self.id;
        let mut answer = json!({
            "event_triggered_message_id": id,
            "name": self.name,
            "status": self.status_at(now).name(),
            "event_type": self.event_type,
            "start_date": self.start_date,
            "end_date": self.end_date,
            "created_by": CREATED_BY,
            "created_by_application": CREATED_BY,
            "targeting": self.targeting,
            "url": format!("/companies/{company_key}/mobiledb/event_triggered_messages/{id}"),
            "created_at": time(self.created_at),
            "updated_at": time(self.updated_at),
        });
        if self.end_date.is_none()
            && let Some(answer) = answer.as_object_mut()
        {
            answer.shift_remove("end_date");
        }
        answer
    }
}

fn check_days(start: NaiveDate, end: Option<NaiveDate>, now: DateTime<Utc>) -> Result<(), Problem> {
    let why = match end {
        Some(end) if end < start => "may not lie before the start_date",
        Some(end) if end < now.date_naive() => "may not lie in the past",
        _ => return Ok(()),
    };
    let message = format!("The end_date field {why}");
    Err(Problem::one(422, code::NOT_ACCEPTABLE, message))
}

#[cfg(test)]
mod tests;
