//! The platform's side of the server: the Callback, Event and Event-Triggered Campaign APIs, path for path.
//!
//! What a request means is said in [`vibes`](crate::vibes), what it does in
//! [`platform`](crate::platform); here they meet the hub.

use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use hyper::Method;
use hyper::header::LOCATION;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::changes::What;
use super::data;
use super::endpoint::{Answering, Call, Endpoint, Side};
use super::hub::{Hub, Place, check_key};
use super::reply::Reply;
use crate::platform::company::Company;
use crate::platform::event::Event;
use crate::vibes::api::{ApiVersion, Problem, code};
use crate::vibes::callback_api::{self, CallbackKind, RegistrationRequest, TestCallback};
use crate::vibes::campaign::{self, CampaignRequest};
use crate::vibes::event::PostedEvent;
use crate::vibes::registration::MAX_URL;

/// What an event's type looks like.
const EVENT_TYPE: &str = "^[A-Za-z0-9_-]+$";

/// What a registration is made of; `event_processed` and its like hold what the type asks for.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only described")]
struct Registration {
    /// The type of callback.
    callback_type: CallbackKind,
    /// Where it goes.
    destination: Destination,
    /// Which events and callbacks, for the type `event_processed`.
    event_processed: Option<EventProcessed>,
    /// From when on; at once if absent. `2017-01-01T00:00Z`, with seconds, or a date.
    start_date: Option<String>,
    /// Until when; for ever if absent.
    end_date: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename = "RegistrationDestination")]
#[allow(dead_code, reason = "only described")]
struct Destination {
    /// At most 1,024 characters.
    #[schemars(length(max = MAX_URL), example = &"http://127.0.0.1:8080/vibes/callbacks")]
    url: String,
    /// `POST` (the default) or `PUT`.
    method: Option<crate::vibes::registration::Method>,
    /// `application/json` (the default) or `text/json`.
    content_type: Option<crate::vibes::registration::ContentType>,
}

#[derive(JsonSchema)]
#[allow(dead_code, reason = "only described")]
struct EventProcessed {
    /// One event's type, upper and lower case alike; all if absent.
    #[schemars(regex(pattern = EVENT_TYPE))]
    event_type: Option<String>,
    /// Which callbacks; all if absent.
    callbacks_to_send: Option<crate::vibes::registration::CallbacksToSend>,
}

/// A registration as it is answered.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only described")]
struct RegistrationAnswer {
    callback_id: String,
    callback_type: CallbackKind,
    destination: Destination,
    event_processed: Option<EventProcessed>,
    start_date: String,
    end_date: Option<String>,
    created_at: String,
    updated_at: String,
    /// The registration's own path.
    url: String,
}

/// An event as it is posted.
#[derive(JsonSchema)]
#[schemars(rename = "Event")]
#[allow(dead_code, reason = "only described")]
struct EventBody {
    /// Letters, digits, `-` and `_`.
    #[schemars(regex(pattern = EVENT_TYPE), example = &"day_of_delivery")]
    event_type: String,
    /// Any JSON; names the person by one of `external_person_id`, `mdn`, `person_key`, `person_id`,
    /// `vibes_device_id`.
    #[schemars(example = json!({"first_name": "Bob", "external_person_id": "abcd12345"}))]
    event_data: Map<String, Value>,
    /// Handed through to the callbacks.
    debug_data: Option<Map<String, Value>>,
    /// Made up if absent.
    event_id: Option<String>,
}

/// What an event is known by.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only described")]
struct EventAnswer {
    event_id: String,
}

/// What a test callback is about.
#[derive(JsonSchema)]
#[schemars(rename = "TestCallback")]
#[allow(dead_code, reason = "only described")]
struct TestBody {
    /// The type of callback.
    callback_type: CallbackKind,
    /// For the type `event_processed`.
    event_processed: Option<TestEvent>,
}

#[derive(JsonSchema)]
#[allow(dead_code, reason = "only described")]
struct TestEvent {
    event_id: Option<String>,
    event_data: Option<Map<String, Value>>,
}

/// What was queued.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only described")]
struct TestAnswer {
    message: String,
    event_id: String,
}

/// An event-triggered campaign, as it is sent and answered.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only described")]
struct Campaign {
    #[schemars(length(min = 1), example = &"Day of delivery")]
    name: String,
    /// Letters, digits, `-` and `_`.
    #[schemars(regex(pattern = EVENT_TYPE), example = &"day_of_delivery")]
    event_type: String,
    /// `yyyy-mm-dd`
    #[schemars(extend("format" = "date"), example = &"2026-01-01")]
    start_date: String,
    /// `yyyy-mm-dd`
    #[schemars(extend("format" = "date"), example = &"2099-12-31")]
    end_date: Option<String>,
    /// `message_template` with `sms`, or `mms`, or `push`.
    #[schemars(example = json!({
        "message_template": "Hi {{ event_data.first_name }}",
        "sms": {"sourcecode": "12345", "country_code": "1", "sourcecode_type": "SC"},
    }))]
    targeting: Map<String, Value>,
}

/// A campaign with what the platform adds.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "only described")]
struct CampaignAnswer {
    event_triggered_message_id: u32,
    /// `scheduled`, `in_progress`, `ended`, `canceled`
    status: String,
    #[serde(flatten)]
    campaign: Campaign,
    created_by: String,
    created_by_application: String,
    created_at: String,
    updated_at: String,
    url: String,
}

/// The largest registration or campaign, in bytes: they are kept as they were sent.
const MAX_ENTITY: usize = 64 * 1024;

/// The endpoints of the platform's side.
pub fn endpoints() -> Vec<Endpoint<Hub>> {
    const CALLBACKS: &str = "/companies/{company_key}/config/callbacks";
    const CALLBACK: &str = "/companies/{company_key}/config/callbacks/{callback_id}";
    const TEST: &str = "/companies/{company_key}/config/callback_events/test";
    const EVENTS: &str = "/companies/{company_key}/events";
    const CAMPAIGNS: &str = "/companies/{company_key}/mobiledb/event_triggered_messages";
    const CAMPAIGN: &str =
        "/companies/{company_key}/mobiledb/event_triggered_messages/{event_triggered_message_id}";
    let of_callback =
        |method, path, id, summary, handler| of_company(method, path, id, summary, handler);
    let one = |endpoint: Endpoint<Hub>| {
        endpoint
            .path::<String>("callback_id", "The registration's id")
            .fails(404, "There is no such registration")
    };
    let one_campaign = |endpoint: Endpoint<Hub>| {
        endpoint
            .path::<String>("event_triggered_message_id", "The campaign's id")
            .fails(404, "There is no such campaign")
    };
    vec![
        of_callback(
            Method::POST,
            CALLBACKS,
            "registerCallback",
            "Register for callbacks",
            |call| Box::pin(register(call)),
        )
        .takes::<Registration>()
        .max_body(MAX_ENTITY)
        .answers::<RegistrationAnswer>(201, "It is registered")
        .fails(400, "The request is not well formed")
        .fails(409, "Another registration is in its way")
        .fails(422, "Something in it is not acceptable"),
        of_callback(
            Method::GET,
            CALLBACKS,
            "listCallbacks",
            "List active and future registrations",
            |call| Box::pin(list_registrations(call)),
        )
        .answers::<Vec<RegistrationAnswer>>(200, "The registrations"),
        one(of_callback(
            Method::GET,
            CALLBACK,
            "getCallback",
            "Get a registration",
            |call| Box::pin(get_registration(call)),
        )
        .answers::<RegistrationAnswer>(200, "The registration")),
        one(of_callback(
            Method::PUT,
            CALLBACK,
            "updateCallback",
            "Change a registration",
            |call| Box::pin(update_registration(call)),
        )
        .takes::<Registration>()
        .max_body(MAX_ENTITY)
        .answers::<RegistrationAnswer>(200, "The registration as it is now")
        .fails(400, "The request is not well formed")
        .fails(409, "Another registration is in its way")
        .fails(422, "Something in it is not acceptable")),
        one(of_callback(
            Method::DELETE,
            CALLBACK,
            "cancelCallback",
            "End a registration now",
            |call| Box::pin(cancel_registration(call)),
        )
        .answers::<RegistrationAnswer>(200, "The registration as it ended")),
        of_company(
            Method::POST,
            TEST,
            "testCallback",
            "Send a test callback",
            |call| Box::pin(test(call)),
        )
        .takes::<TestBody>()
        .answers::<TestAnswer>(201, "It is queued")
        .fails(400, "The request is not well formed")
        .fails(404, "There is no active registration of that type")
        .fails(422, "Something in it is not acceptable"),
        of_company(Method::POST, EVENTS, "postEvent", "Post an event", |call| {
            Box::pin(post_event(call))
        })
        .takes::<EventBody>()
        .answers::<EventAnswer>(202, "It is accepted")
        .fails(400, "The request is not well formed")
        .fails(
            409,
            "Its id has been used before (only with `duplicate_event_id: reject`)",
        )
        .fails(413, "It has more than 16 KB")
        .fails(422, "Something in it is not acceptable")
        .fails(503, "So much waits that there is no room for more"),
        of_company(
            Method::POST,
            CAMPAIGNS,
            "createCampaign",
            "Create an event-triggered campaign",
            |call| Box::pin(create_campaign(call)),
        )
        .takes::<Campaign>()
        .max_body(MAX_ENTITY)
        .answers::<CampaignAnswer>(202, "It is created")
        .fails(400, "The request is not well formed")
        .fails(422, "Something in it is not acceptable"),
        of_company(
            Method::GET,
            CAMPAIGNS,
            "listCampaigns",
            "List event-triggered campaigns",
            |call| Box::pin(list_campaigns(call)),
        )
        .query::<String>("status", "Only those that stand so")
        .query::<String>("event_type", "Only those for that type of event")
        .answers::<Vec<CampaignAnswer>>(200, "The campaigns"),
        one_campaign(
            of_company(
                Method::GET,
                CAMPAIGN,
                "getCampaign",
                "Get a campaign",
                |call| Box::pin(get_campaign(call)),
            )
            .answers::<CampaignAnswer>(200, "The campaign"),
        ),
        one_campaign(
            of_company(
                Method::PUT,
                CAMPAIGN,
                "updateCampaign",
                "Change a campaign",
                |call| Box::pin(update_campaign(call)),
            )
            .takes::<Campaign>()
            .max_body(MAX_ENTITY)
            .answers::<CampaignAnswer>(200, "The campaign as it is now")
            .fails(400, "The request is not well formed")
            .fails(
                422,
                "It is over, or something in the request is not acceptable",
            ),
        ),
        one_campaign(
            of_company(
                Method::DELETE,
                CAMPAIGN,
                "cancelCampaign",
                "Cancel a campaign",
                |call| Box::pin(cancel_campaign(call)),
            )
            .answers::<CampaignAnswer>(200, "The campaign as it ended"),
        ),
    ]
}

fn of_company(
    method: Method,
    path: &'static str,
    operation_id: &'static str,
    summary: &'static str,
    handler: fn(Call<Hub>) -> Answering,
) -> Endpoint<Hub> {
    Endpoint::new(Side::Vibes, method, path, operation_id, summary, handler)
        .path::<String>("company_key", "The company's key: 1 to 64 letters, digits, `-` and `_`")
        .header::<ApiVersion>(ApiVersion::HEADER, "The version of the API, 1 (the default) or 2")
        .fails(429, "There were more calls in a second than the platform takes (only with `enforce_limits`)")
}

/// Waits until something is on disk, if it is to be, and answers.
pub(super) async fn once(written: Option<data::Written>, reply: Reply) -> Reply {
    match written {
        Some(written) => match written.await {
            Ok(()) => reply,
            Err(why) => Reply::error(503, code::LIMIT, why),
        },
        None => reply,
    }
}

fn version(call: &Call<Hub>) -> Result<ApiVersion, Problem> {
    ApiVersion::from_header(call.header(ApiVersion::HEADER))
}

/// A company that is asked about; one that nobody has heard of has nothing.
fn known(call: &Call<Hub>) -> Result<Option<Arc<Place>>, Problem> {
    let key = call.path("company_key");
    version(call)?;
    check_key(key)?;
    let place = call.hub.find(key);
    if let Some(place) = &place {
        call.hub.limit(place, false)?;
    }
    Ok(place)
}

/// A company that must be there for what is asked.
fn existing(call: &Call<Hub>) -> Result<Arc<Place>, Problem> {
    known(call)?.ok_or_else(|| {
        let key = call.path("company_key");
        let message = format!("Nothing is known of the company {key}");
        Problem::one(404, code::NOT_FOUND, message)
    })
}

/// A company that something is made for.
fn made(call: &Call<Hub>) -> Result<Arc<Place>, Problem> {
    version(call)?;
    let place = call.hub.place(call.path("company_key"))?;
    call.hub.limit(&place, false)?;
    Ok(place)
}

/// What a path names; nothing has the id 0.
fn id<N: FromStr + Default>(call: &Call<Hub>, name: &str) -> N {
    call.path(name).parse().unwrap_or_default()
}

fn callback_id(call: &Call<Hub>) -> u64 {
    id(call, "callback_id")
}

fn campaign_id(call: &Call<Hub>) -> u32 {
    id(call, "event_triggered_message_id")
}

/// What a company has under ids: registrations and campaigns.
trait Entity: Serialize {
    fn what(&self) -> What;
    fn change(&self, company: Arc<str>, json: String) -> data::Change;
    fn shown(&self, company_key: &str, now: DateTime<Utc>) -> Value;
}

impl Entity for callback_api::Registration {
    fn what(&self) -> What {
        What::Registration(self.callback_id)
    }

    fn change(&self, company: Arc<str>, json: String) -> data::Change {
        let id = self.callback_id;
        data::Change::Registration { company, id, json }
    }

    fn shown(&self, company_key: &str, _: DateTime<Utc>) -> Value {
        self.to_json(company_key)
    }
}

impl Entity for campaign::Campaign {
    fn what(&self) -> What {
        What::Campaign(self.id)
    }

    fn change(&self, company: Arc<str>, json: String) -> data::Change {
        let id = self.id;
        data::Change::Campaign { company, id, json }
    }

    fn shown(&self, company_key: &str, now: DateTime<Utc>) -> Value {
        self.to_json(company_key, now)
    }
}

/// What was done: the answer, and what to wait for before it is given.
type Done = (Option<data::Written>, Value);

/// Makes or changes something of a company's: all under its lock, so that it is written in the same order.
fn change<T: Entity>(
    hub: &Hub,
    place: &Place,
    make: impl FnOnce(&mut Company, DateTime<Utc>) -> Result<&T, Problem>,
) -> Result<Done, Problem> {
    let now = hub.time();
    let mut company = place.company();
    let made = make(&mut company, now)?;
    let written = hub.save_for(place, || {
        let json = serde_json::to_string(made).unwrap_or_default();
        made.change(Arc::clone(&place.key), json)
    });
    let (what, shown) = (made.what(), made.shown(&place.key, now));
    drop(company);
    hub.tell(place, what);
    Ok((written, shown))
}

async fn answer(status: u16, done: Result<Done, Problem>) -> Reply {
    match done {
        Ok((written, shown)) => once(written, Reply::json(status, &shown)).await,
        Err(problem) => problem.into(),
    }
}

/// Answers with something of a company's.
fn show<T: Entity>(call: &Call<Hub>, find: impl FnOnce(&Company) -> Result<&T, Problem>) -> Reply {
    let shown = existing(call).and_then(|place| {
        let company = place.company();
        Ok(find(&company)?.shown(&place.key, call.hub.time()))
    });
    shown.map_or_else(Reply::from, |shown| Reply::json(200, &shown))
}

/// Answers with all of a company's that are wanted.
fn list<T: Entity>(
    call: &Call<Hub>,
    find: impl FnOnce(&Company, DateTime<Utc>) -> Vec<&T>,
) -> Reply {
    let (place, now) = match known(call) {
        Ok(place) => (place, call.hub.time()),
        Err(problem) => return problem.into(),
    };
    let all: Vec<Value> = place.map_or_else(Vec::new, |place| {
        let company = place.company();
        let found = find(&company, now).into_iter();
        found.map(|one| one.shown(&place.key, now)).collect()
    });
    Reply::json(200, &all)
}

async fn register(call: Call<Hub>) -> Reply {
    let (place, id, done) = match try_register(&call).await {
        Ok(registered) => registered,
        Err(problem) => return problem.into(),
    };
    let path = format!("/companies/{}/config/callbacks/{id}", place.key);
    let reply = answer(201, Ok(done)).await.header(LOCATION, path);
    if reply.status() == 503 {
        // Else it would be in its own way when it is tried again.
        place.company().registrations.remove(&id);
    }
    reply
}

async fn try_register(call: &Call<Hub>) -> Result<(Arc<Place>, u64, Done), Problem> {
    version(call)?;
    check_key(call.path("company_key"))?;
    let request = RegistrationRequest::parse(&call.body)?;
    check_destination(&call.hub, &request).await?;
    let place = made(call)?;
    let id = call.hub.next_registration();
    let done = change(&call.hub, &place, |company, now| {
        company.register(id, request, now)
    })?;
    Ok((place, id, done))
}

async fn check_destination(hub: &Hub, request: &RegistrationRequest) -> Result<(), Problem> {
    let checked = hub.check_destination(request.url()).await;
    checked.map_err(|why| {
        let message = format!("destination.url: {}", why.replace('\n', "; "));
        Problem::one(422, code::NOT_ACCEPTABLE, message)
    })
}

async fn list_registrations(call: Call<Hub>) -> Reply {
    list(&call, |company, now| {
        let all = company.registrations.values();
        all.filter(|one| one.listed_at(now)).collect()
    })
}

async fn get_registration(call: Call<Hub>) -> Reply {
    show(&call, |company| company.registration(callback_id(&call)))
}

async fn update_registration(call: Call<Hub>) -> Reply {
    answer(200, try_update_registration(&call).await).await
}

async fn try_update_registration(call: &Call<Hub>) -> Result<Done, Problem> {
    let (hub, id) = (&call.hub, callback_id(call));
    let place = existing(call)?;
    place.company().registration(id)?;
    let request = RegistrationRequest::parse(&call.body)?;
    check_destination(hub, &request).await?;
    let done = change(hub, &place, |company, now| {
        company.update_registration(id, request, now)
    })?;
    hub.retarget(&place, id);
    Ok(done)
}

async fn cancel_registration(call: Call<Hub>) -> Reply {
    let cancelled = existing(&call).and_then(|place| {
        change(&call.hub, &place, |company, now| {
            company.cancel_registration(callback_id(&call), now)
        })
    });
    answer(200, cancelled).await
}

async fn test(call: Call<Hub>) -> Reply {
    answer(201, try_test(&call)).await
}

fn try_test(call: &Call<Hub>) -> Result<Done, Problem> {
    let hub = &call.hub;
    let wanted = TestCallback::parse(&call.body)?;
    let place = existing(call)?;
    let now = hub.time();
    let company = place.company();
    let mut active = company.registrations.values();
    let kind = wanted.kind;
    if !active.any(|one| one.callback_type == kind && one.active_at(now)) {
        let message = format!(
            "An active callback of the type {} does not exist",
            kind.name()
        );
        return Err(Problem::one(404, code::NOT_FOUND, message));
    }
    let seq = hub.next_seq();
    let event_id = wanted.event_id.unwrap_or_else(|| hub.made_up_id(seq));
    let answer = json!({
        "message": format!("A test callback of the type {} was queued", kind.name()),
        "event_id": event_id,
    });
    if kind != CallbackKind::EventProcessed {
        // Such ones are registered and listed; none is emitted.
        return Ok((None, answer));
    }
    let event_data = wanted.event_data.as_deref();
    let event = Event::test(
        event_id.into(),
        event_data,
        hub.now(),
        hub.options.seed,
        seq,
    );
    let written = hub.begin(&place, company, seq, event);
    Ok((written, answer))
}

async fn post_event(call: Call<Hub>) -> Reply {
    let hub = &call.hub;
    hub.room().await;
    let accepted = version(&call).and_then(|version| {
        check_key(call.path("company_key"))?;
        // A body that is none makes no company known.
        let posted = PostedEvent::parse(&call.body, version)?;
        let place = hub.place(call.path("company_key"))?;
        hub.limit(&place, true)?;
        let accepted = hub.accept(&place, &posted)?;
        Ok((place, accepted))
    });
    let (place, (event_id, seq, written)) = match accepted {
        Ok(accepted) => accepted,
        Err(problem) => return problem.into(),
    };
    let reply = answer(202, Ok((written, json!({"event_id": &*event_id})))).await;
    if reply.status() == 503 {
        hub.withdraw(&place, seq);
    }
    reply
}

async fn create_campaign(call: Call<Hub>) -> Reply {
    let hub = &call.hub;
    let created = CampaignRequest::parse(&call.body).and_then(|request| {
        let place = made(&call)?;
        let id = hub.next_campaign();
        let done = change(hub, &place, |company, now| {
            company.create_campaign(id, request, now)
        })?;
        Ok((place, id, done))
    });
    let (place, id, done) = match created {
        Ok(created) => created,
        Err(problem) => return problem.into(),
    };
    let reply = answer(202, Ok(done)).await;
    if reply.status() == 503 {
        place.company().campaigns.remove(&id);
    }
    reply
}

async fn list_campaigns(call: Call<Hub>) -> Reply {
    list(&call, |company, now| {
        let wanted = |campaign: &&campaign::Campaign| {
            let status = campaign.status_at(now).name();
            let event_type = call.query("event_type");
            call.query("status").is_none_or(|wanted| wanted == status)
                && event_type.is_none_or(|wanted| wanted.eq_ignore_ascii_case(&campaign.event_type))
        };
        company.campaigns.values().filter(wanted).collect()
    })
}

async fn get_campaign(call: Call<Hub>) -> Reply {
    show(&call, |company| company.campaign(campaign_id(&call)))
}

async fn update_campaign(call: Call<Hub>) -> Reply {
    let id = campaign_id(&call);
    let updated = existing(&call).and_then(|place| {
        place.company().campaign(id)?;
        let request = CampaignRequest::parse(&call.body)?;
        change(&call.hub, &place, |company, now| {
            company.update_campaign(id, request, now)
        })
    });
    answer(200, updated).await
}

async fn cancel_campaign(call: Call<Hub>) -> Reply {
    let cancelled = existing(&call).and_then(|place| {
        change(&call.hub, &place, |company, now| {
            company.cancel_campaign(campaign_id(&call), now)
        })
    });
    answer(200, cancelled).await
}
