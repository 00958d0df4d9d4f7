//! The mock's own side of the server: what a test harness asks for and sets.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::endpoint::{Answering, Call, Endpoint, Side};
use super::hub::Hub;
use super::reply::Reply;
use super::runs::{RunState, Wish};
use super::time::Until;
use super::view::{Deliveries, DeliveryView, Wanted, view};
use super::{metrics, openapi, sse, vibes_api};
use crate::plan;
use crate::platform::event::{DeliveryId, State, instant, nanos};
use crate::report::Report;
use crate::scenario::Scenario;
use crate::scenario::source::READY_MADE;
use crate::scenario::units;
use crate::timeline::Speed;

/// So many deliveries are shown unless it is said otherwise.
const USUAL_PAGE: usize = 100;
/// So many are shown at the most.
const LARGEST_PAGE: usize = 1000;
/// The longest that an answer is held.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// So many changes are looked at before others have their turn.
const BATCH: usize = 64;

/// What to fire.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RunRequest {
    /// The name of a scenario of the folder or of a ready-made one; or a scenario itself, as an object or as
    /// YAML in a text.
    scenario: Value,
    /// Where to; the scenario's own destination if absent.
    to: Option<String>,
    /// Every random choice comes from it; the scenario's, or fresh, if absent.
    seed: Option<u64>,
    /// `1x`, `60x`, `max`; by the server's clock if absent.
    speed: Option<String>,
}

/// A run.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Run")]
struct RunView {
    run_id: String,
    /// `running`, `finished` or `stopped`.
    state: &'static str,
    /// What has come of it so far, as `run --format json` prints it.
    summary: Report,
}

/// How the clock is to be moved: by a time, or until an instant or until nothing waits.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AdvanceRequest {
    /// `250ms`, `5m`, `48h`
    by: Option<String>,
    /// `idle`, or a time (RFC 3339).
    until: Option<String>,
}

/// The server's clock.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Clock")]
struct ClockView {
    /// `real` or `virtual`
    mode: &'static str,
    /// What it shows.
    now: String,
    /// How fast it goes; null if it is moved by hand.
    speed: Option<String>,
    /// Callbacks whose time has not come.
    pending: usize,
    /// When the next callback or retry is due.
    next_due: Option<String>,
}

/// What came of moving the clock.
#[derive(Serialize, JsonSchema)]
struct Advanced {
    #[serde(flatten)]
    clock: ClockView,
    /// Nothing waits any more.
    idle: bool,
    /// Requests that were made meanwhile.
    attempts: u64,
    /// Deliveries that were accepted meanwhile.
    accepted: u64,
    /// Deliveries that failed meanwhile.
    failed: u64,
}

/// A company.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Company")]
struct CompanyView {
    company_key: String,
    /// Active and future ones.
    registrations: usize,
    campaigns: usize,
    /// Events that are kept.
    events: usize,
    /// Whether it has routes of its own.
    routes: bool,
}

/// How many deliveries were begun anew.
#[derive(Serialize, JsonSchema)]
struct Redelivered {
    redelivered: usize,
}

/// How the server is.
#[derive(Serialize, JsonSchema)]
struct Health {
    /// `ok`, or `trouble`
    status: &'static str,
    version: &'static str,
    /// Why the data file could not be written the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// The endpoints of the mock's own side.
pub fn endpoints() -> Vec<Endpoint<Hub>> {
    const DELIVERY: &str = "A delivery's id";
    const RUN: &str = "The run's id";
    let filtered = |endpoint: Endpoint<Hub>| {
        endpoint
            .query::<String>("company_key", "Only of that company")
            .query::<String>("event_id", "Only of the events of that id")
            .query::<String>(
                "event_type",
                "Only of events of that type; `*` stands for any text",
            )
            .query::<String>(
                "outcome",
                "Only of that outcome, such as `handset.delivered` or `carrier.*`",
            )
            .fails(400, "The query is not understood")
    };
    vec![
        mock(Method::POST, "/_mock/runs", "startRun", "Fire a scenario", |call| Box::pin(start_run(call)))
            .takes::<RunRequest>()
            .answers::<RunView>(201, "It has begun")
            .fails(400, "The request is not well formed")
            .fails(422, "The scenario has findings, or its destination may not be sent to"),
        mock(Method::GET, "/_mock/runs", "listRuns", "List runs", |call| Box::pin(list_runs(call)))
            .answers::<Vec<RunView>>(200, "The runs, the oldest first"),
        mock(Method::GET, "/_mock/runs/{run_id}", "getRun", "Get a run", |call| Box::pin(get_run(call)))
            .path::<String>("run_id", RUN)
            .query::<String>("wait", WAIT)
            .answers::<RunView>(200, "The run")
            .fails(400, "The query is not understood")
            .fails(404, "There is no such run")
            .fails(503, "Too many wait already"),
        mock(Method::DELETE, "/_mock/runs/{run_id}", "stopRun", "Stop a run", |call| Box::pin(stop_run(call)))
            .path::<String>("run_id", RUN)
            .answers::<RunView>(200, "The run as it stands")
            .fails(404, "There is no such run"),
        filtered(
            mock(Method::GET, "/_mock/deliveries", "listDeliveries", "List deliveries", |call| {
                Box::pin(list_deliveries(call))
            })
            .query::<Vec<State>>("state", "Only those that stand so; may be given several times")
            .query::<u32>("limit", "How many to show: 1 to 1000, else 100")
            .query::<String>("after", "Those behind that one: `next` of the answer before")
            .query::<String>("wait", WAIT)
            .query::<u32>("at_least", "How many to wait for, else 1; up to `limit`")
            .answers::<Deliveries>(200, "The deliveries")
            .fails(503, "Too many wait already"),
        ),
        mock(Method::GET, "/_mock/deliveries/{id}", "getDelivery", "Get a delivery", |call| {
            Box::pin(get_delivery(call))
        })
        .path::<String>("id", DELIVERY)
        .answers::<DeliveryView>(200, "The delivery")
        .fails(404, "There is no such delivery, or it is not kept any more"),
        mock(
            Method::POST,
            "/_mock/deliveries/{id}/redeliver",
            "redeliver",
            "Send a delivery that is over once more",
            |call| Box::pin(redeliver(call)),
        )
        .path::<String>("id", DELIVERY)
        .answers::<Redelivered>(202, "It is on its way")
        .fails(404, "There is no such delivery, or it is not kept any more")
        .fails(409, "It is not over yet"),
        filtered(
            mock(Method::GET, "/_mock/failures", "listFailures", "List what was given up on", |call| {
                Box::pin(list_failures(call))
            })
            .query::<u32>("limit", "How many to show: 1 to 1000, else 100")
            .query::<String>("after", "Those behind that one: `next` of the answer before")
            .answers::<Deliveries>(200, "The deliveries that failed"),
        ),
        filtered(
            mock(
                Method::POST,
                "/_mock/failures/redeliver",
                "redeliverFailures",
                "Send what was given up on once more",
                |call| Box::pin(redeliver_failures(call)),
            )
            .answers::<Redelivered>(202, "They are on their way"),
        ),
        mock(Method::GET, "/_mock/clock", "getClock", "Look at the clock", |call| Box::pin(get_clock(call)))
            .answers::<ClockView>(200, "The clock"),
        mock(
            Method::POST,
            "/_mock/clock/advance",
            "advanceClock",
            "Move the clock, and wait until everything due has been delivered or has failed",
            |call| Box::pin(advance(call)),
        )
        .takes::<AdvanceRequest>()
        .answers::<Advanced>(200, "The clock has been moved")
        .fails(400, "The request is not well formed")
        .fails(409, "The clock is not moved by hand (start with `--clock virtual`), or shows a later time already")
        .fails(503, "Too many wait already, or the server ends"),
        mock(Method::GET, "/_mock/companies", "listCompanies", "List companies", |call| {
            Box::pin(list_companies(call))
        })
        .answers::<Vec<CompanyView>>(200, "The companies, by their keys"),
        mock(
            Method::DELETE,
            "/_mock/companies/{company_key}",
            "forgetCompany",
            "Forget a company: its registrations, campaigns, routes, events and what waits",
            |call| Box::pin(forget(call)),
        )
        .path::<String>("company_key", "The company's key")
        .answers_nothing(204, "Nothing is known of it any more"),
        mock(Method::PUT, "/_mock/routes", "setRoutes", "Set which way a company's events go", |call| {
            Box::pin(set_routes(call))
        })
        .description(
            "The body is a scenario with `routes`, `journeys` and settings, as JSON or YAML. These come before those \
             of the server's folder. The company is the scenario's `company_key`, or that of the query.",
        )
        .query::<String>("company_key", "The company's key")
        .takes::<crate::scenario::model::File>()
        .max_body(4 * 1024 * 1024)
        .answers_nothing(204, "They are set")
        .fails(400, "No company is named")
        .fails(422, "The scenario has findings"),
        mock(Method::DELETE, "/_mock/routes", "dropRoutes", "Drop the routes that were set", |call| {
            Box::pin(drop_routes(call))
        })
        .query::<String>("company_key", "The company's key")
        .answers_nothing(204, "There are none any more")
        .fails(400, "No company is named"),
        mock(Method::GET, "/_mock/stream", "watch", "Watch changes as server-sent events", |call| {
            Box::pin(stream(call))
        })
        .query::<String>("company_key", "Only of that company")
        .query::<u64>("since", "From after that change on, as `Last-Event-ID`; 0 for all that is kept")
        .header::<Option<String>>("Last-Event-ID", "The last change that was seen; what came since is sent first")
        .answers_as::<String>(200, "text/event-stream", "Changes as they come, each with an id")
        .fails(400, "The query is not understood")
        .fails(503, "Too many watch already"),
        mock(Method::GET, "/_mock/openapi.json", "getOpenApi", "This description", |call| {
            Box::pin(describe(call))
        })
        .answers::<Value>(200, "An OpenAPI 3.1 document"),
        Endpoint::new(Side::Open, Method::GET, "/healthz", "getHealth", "Whether the server is there", |call| {
            Box::pin(health(call))
        })
        .answers::<Health>(200, "It is")
        .answers::<Health>(503, "It is, but cannot write its data file"),
        mock(Method::GET, "/metrics", "getMetrics", "Numbers for Prometheus", |call| {
            Box::pin(numbers(call))
        })
        .answers_as::<String>(
            200,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "The numbers",
        ),
    ]
}

const WAIT: &str =
    "How long to hold the answer until there is something to tell, such as `10s`; up to a minute";

fn mock(
    method: Method,
    path: &'static str,
    operation_id: &'static str,
    summary: &'static str,
    handler: fn(Call<Hub>) -> Answering,
) -> Endpoint<Hub> {
    Endpoint::new(Side::Mock, method, path, operation_id, summary, handler)
}

/// All endpoints of the server.
pub fn all() -> Vec<Endpoint<Hub>> {
    let mut all = vibes_api::endpoints();
    all.extend(endpoints());
    all
}

fn bad(message: impl Into<String>) -> Reply {
    Reply::error(400, 400, message)
}

fn not_found(what: &str) -> Reply {
    Reply::error(404, 404, format!("there is no {what}"))
}

/// How long to hold an answer.
fn wait(call: &Call<Hub>) -> Result<Option<Duration>, Reply> {
    let Some(text) = call.query("wait") else {
        return Ok(None);
    };
    let wait: units::Duration = text.parse().map_err(|why| bad(format!("wait: {why}")))?;
    Ok(Some(wait.to_std().min(LONGEST_WAIT)))
}

fn number<T: std::str::FromStr>(call: &Call<Hub>, name: &str, usual: T) -> Result<T, Reply> {
    call.query(name).map_or(Ok(usual), |text| {
        let number = text.parse();
        number.map_err(|_| bad(format!("{name}: `{text}` is not a number that fits")))
    })
}

fn wanted(call: &Call<Hub>) -> Result<Wanted, Reply> {
    let text = |name| call.query(name).map(str::to_owned);
    let mut states = Vec::new();
    for name in call.queries("state") {
        let known = State::ALL.into_iter().find(|state| state.name() == name);
        states.push(known.ok_or_else(|| {
            let names = State::ALL.map(State::name).join(", ");
            bad(format!("state: `{name}` is none; there are {names}"))
        })?);
    }
    let after = call.query("after").map(|text| {
        let id = text.parse::<DeliveryId>();
        id.map_err(|()| bad(format!("after: `{text}` is not a delivery's id")))
    });
    let limit = number(call, "limit", USUAL_PAGE)?;
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(bad(format!(
            "limit: write a number from 1 to {LARGEST_PAGE}"
        )));
    }
    Ok(Wanted {
        company_key: text("company_key"),
        event_id: text("event_id"),
        event_type: text("event_type"),
        outcome: text("outcome"),
        states,
        after: after.transpose()?,
        limit,
    })
}

async fn list_deliveries(call: Call<Hub>) -> Reply {
    answer(try_list_deliveries(&call).await)
}

fn answer(result: Result<Reply, Reply>) -> Reply {
    result.unwrap_or_else(|refused| refused)
}

async fn try_list_deliveries(call: &Call<Hub>) -> Result<Reply, Reply> {
    let hub = &call.hub;
    let wanted = wanted(call)?;
    let at_least = number(call, "at_least", 1_usize)?.clamp(1, wanted.limit);
    let Some(patience) = wait(call)? else {
        return Ok(Reply::json(200, &wanted.find(hub)));
    };
    let _place = call.permits.wait()?;
    let deadline = Instant::now() + patience;
    loop {
        // Watched before it is looked, so that nothing comes in between.
        let mut changes = match wanted.company_key.as_deref().and_then(|key| hub.find(key)) {
            Some(place) => place.watch(),
            None => hub.changes.watch(),
        };
        let found = wanted.find(hub);
        // A page that is full of large answers has fewer than were asked for.
        if found.deliveries.len() >= at_least || found.next.is_some() {
            return Ok(Reply::json(200, &found));
        }
        let over = tokio::select! {
            _ = changes.changed() => false,
            () = tokio::time::sleep_until(deadline) => true,
            () = call.permits.stopping() => true,
        };
        if over {
            return Ok(Reply::json(200, &found));
        }
    }
}

async fn get_delivery(call: Call<Hub>) -> Reply {
    let Some(id) = delivery_id(&call) else {
        return not_found("such delivery");
    };
    for place in call.hub.places() {
        let company = place.company();
        if let Some(shown) = company.deliveries(id).next().filter(|shown| shown.id == id) {
            return Reply::json(200, &view(&company, &shown));
        }
    }
    not_found("such delivery")
}

fn delivery_id(call: &Call<Hub>) -> Option<DeliveryId> {
    call.path("id").parse().ok()
}

async fn redeliver(call: Call<Hub>) -> Reply {
    let Some(id) = delivery_id(&call) else {
        return not_found("such delivery");
    };
    for place in call.hub.places() {
        match call.hub.redeliver(&place, id) {
            Ok(written) => {
                return vibes_api::once(written, Reply::json(202, &Redelivered { redelivered: 1 }))
                    .await;
            }
            Err(None) => {}
            Err(Some(state)) => {
                let message = match state {
                    State::Unmatched => "nobody wanted it, so there is nowhere to send it",
                    _ => "it is not over yet",
                };
                return Reply::error(409, 409, message);
            }
        }
    }
    not_found("such delivery")
}

async fn list_failures(call: Call<Hub>) -> Reply {
    answer(wanted(&call).map(|mut wanted| {
        wanted.states = vec![State::Failed];
        Reply::json(200, &wanted.find(&call.hub))
    }))
}

async fn redeliver_failures(call: Call<Hub>) -> Reply {
    let mut wanted = match wanted(&call) {
        Ok(wanted) => wanted,
        Err(refused) => return refused,
    };
    wanted.states = vec![State::Failed];
    let mut redelivered = 0;
    let mut last = None;
    for (place, id) in wanted.ids(&call.hub) {
        if let Ok(written) = call.hub.redeliver(&place, id) {
            redelivered += 1;
            last = written.or(last);
        }
    }
    // They are written in their order, so the last one is enough.
    vibes_api::once(last, Reply::json(202, &Redelivered { redelivered })).await
}

fn clock(hub: &Hub) -> ClockView {
    let time = |nanos| plan::instant(instant(nanos));
    ClockView {
        mode: match hub.clock.is_moved() {
            true => "virtual",
            false => "real",
        },
        now: time(hub.now()),
        speed: hub.options.speed.map(|speed| speed.to_string()),
        pending: hub.waiting(),
        next_due: hub.next_waiting().map(time),
    }
}

async fn get_clock(call: Call<Hub>) -> Reply {
    Reply::json(200, &clock(&call.hub))
}

async fn advance(call: Call<Hub>) -> Reply {
    answer(try_advance(&call).await)
}

async fn try_advance(call: &Call<Hub>) -> Result<Reply, Reply> {
    use std::sync::atomic::Ordering::Relaxed;
    let hub = &call.hub;
    let wish: AdvanceRequest = call.json()?;
    let until = match (wish.by, wish.until.as_deref()) {
        (Some(by), None) => {
            let by: units::Duration = by.parse().map_err(|why| bad(format!("by: {why}")))?;
            Until::By(by.0)
        }
        (None, Some("idle")) => Until::Idle,
        (None, Some(until)) => {
            let time: DateTime<Utc> = until.parse().map_err(|_| {
                bad(format!(
                    "until: `{until}` is neither `idle` nor a time like 2026-01-01T00:00:00Z"
                ))
            })?;
            Until::Time(nanos(time))
        }
        _ => {
            return Err(bad(
                "say either `by`, such as \"5m\", or `until`: \"idle\" or a time",
            ));
        }
    };
    if !hub.clock.is_moved() {
        return Err(Reply::error(
            409,
            409,
            "this clock goes by itself\nstart the server with `--clock virtual` to move it",
        ));
    }
    if let Until::Time(time) = until
        && time < hub.now()
    {
        let now = plan::instant(hub.time());
        return Err(Reply::error(
            409,
            409,
            format!("until: the clock shows {now} already, and only goes forward"),
        ));
    }
    let counts = || {
        let counts = &hub.counts;
        [&counts.attempts, &counts.accepted, &counts.failed].map(|count| count.load(Relaxed))
    };
    let _place = call.permits.wait()?;
    let before = counts();
    let idle = tokio::select! {
        idle = hub.advance(until) => idle,
        () = call.permits.stopping() => {
            return Err(Reply::error(503, 503, "the server ends; the clock has not gone all the way"));
        }
    };
    let after = counts();
    let [attempts, accepted, failed] = [0, 1, 2].map(|at| after[at] - before[at]);
    Ok(Reply::json(
        200,
        &Advanced {
            clock: clock(hub),
            idle,
            attempts,
            accepted,
            failed,
        },
    ))
}

async fn list_companies(call: Call<Hub>) -> Reply {
    let now = call.hub.time();
    let mut all: Vec<CompanyView> = call
        .hub
        .places()
        .iter()
        .map(|place| {
            let company = place.company();
            let registrations = company.registrations.values();
            CompanyView {
                company_key: place.key.to_string(),
                registrations: registrations.filter(|one| one.listed_at(now)).count(),
                campaigns: company.campaigns.len(),
                events: company.event_count(),
                routes: company.routes.is_some(),
            }
        })
        .collect();
    all.sort_by(|a, b| a.company_key.cmp(&b.company_key));
    Reply::json(200, &all)
}

async fn forget(call: Call<Hub>) -> Reply {
    // Forgetting what is not known is done already.
    let written = call.hub.forget(call.path("company_key"));
    vibes_api::once(written, Reply::empty(204)).await
}

async fn set_routes(call: Call<Hub>) -> Reply {
    answer(try_set_routes(&call).await)
}

async fn try_set_routes(call: &Call<Hub>) -> Result<Reply, Reply> {
    let text = std::str::from_utf8(&call.body).map_err(|_| bad("the body is not UTF-8 text"))?;
    let scenario = Scenario::parse("routes", text).map_err(findings)?;
    let key = match (call.query("company_key"), scenario.names_company) {
        (Some(key), false) => key,
        (Some(key), true) if key == scenario.company_key => key,
        (Some(_), true) => return Err(bad("the query and the scenario name different companies")),
        (None, true) => scenario.company_key.as_str(),
        (None, false) => {
            return Err(bad(
                "no company is named: add `?company_key=KEY`, or `company_key:` to the scenario",
            ));
        }
    };
    let place = call.hub.place(key).map_err(Reply::from)?;
    let text = text.to_owned();
    let written = call.hub.set_routes(&place, Some((scenario, text)));
    Ok(vibes_api::once(written, Reply::empty(204)).await)
}

fn findings(error: crate::scenario::Error) -> Reply {
    Reply::error(422, 422, error.to_string())
}

async fn drop_routes(call: Call<Hub>) -> Reply {
    let Some(key) = call.query("company_key") else {
        return bad("no company is named: add `?company_key=KEY`");
    };
    let Some(place) = call.hub.find(key) else {
        return Reply::empty(204);
    };
    let written = call.hub.set_routes(&place, None);
    vibes_api::once(written, Reply::empty(204)).await
}

fn run_view(run: &RunState) -> RunView {
    RunView {
        run_id: run.run_id.to_string(),
        state: run.state(),
        summary: run.summary(),
    }
}

async fn start_run(call: Call<Hub>) -> Reply {
    answer(try_start_run(&call).await)
}

async fn try_start_run(call: &Call<Hub>) -> Result<Reply, Reply> {
    let wish: RunRequest = call.json()?;
    let unacceptable = |why: String| Reply::error(422, 422, why);
    let scenario = match &wish.scenario {
        Value::String(name) if !name.contains('\n') => named(&call.hub, name)?,
        Value::String(yaml) => Arc::new(Scenario::parse("scenario", yaml).map_err(findings)?),
        Value::Object(_) => {
            let text = wish.scenario.to_string();
            Arc::new(Scenario::parse("scenario", &text).map_err(findings)?)
        }
        _ => return Err(bad("scenario: give a name, an object or YAML in a text")),
    };
    if scenario.events.is_empty() {
        return Err(unacceptable(format!(
            "the scenario `{}` has no events, so there is nothing to fire",
            scenario.name
        )));
    }
    let speed = wish.speed.map(|text| text.parse::<Speed>()).transpose();
    let speed = speed.map_err(|why| bad(format!("speed: {why}")))?;
    let url = wish.to.or_else(|| scenario.destination.url.clone());
    let url = url.ok_or_else(|| {
        unacceptable("the scenario has no destination\nname one with `to`".to_owned())
    })?;
    call.hub
        .check_destination(&url)
        .await
        .map_err(unacceptable)?;
    let run = call.hub.start_run(Wish {
        url,
        seed: wish
            .seed
            .or(scenario.seed)
            .unwrap_or_else(crate::run::fresh_seed),
        scenario,
        speed,
    });
    let run = run.map_err(unacceptable)?;
    let path = format!("/_mock/runs/{}", run.run_id);
    Ok(Reply::json(201, &run_view(&run)).header(hyper::header::LOCATION, path))
}

/// A scenario of the folder, or a ready-made one. Files elsewhere are nobody's business here.
fn named(hub: &Hub, name: &str) -> Result<Arc<Scenario>, Reply> {
    if let Some(scenario) = hub.scenario(name) {
        return Ok(scenario);
    }
    if let Some((_, text)) = READY_MADE.iter().find(|(ready, _)| *ready == name) {
        return Ok(Arc::new(Scenario::parse(name, text).map_err(findings)?));
    }
    let folder = hub.folder();
    let names = folder
        .iter()
        .map(|loaded| loaded.stem.as_str())
        .chain(READY_MADE.iter().map(|(name, _)| *name));
    let near = crate::scenario::finding::did_you_mean(name, names);
    Err(Reply::error(
        422,
        422,
        format!("there is no scenario `{name}`\n{near}"),
    ))
}

async fn list_runs(call: Call<Hub>) -> Reply {
    let all: Vec<RunView> = call
        .hub
        .runs
        .all()
        .iter()
        .map(|run| run_view(run))
        .collect();
    Reply::json(200, &all)
}

fn run_of(call: &Call<Hub>) -> Result<Arc<RunState>, Reply> {
    let id = call.path("run_id").parse().ok();
    let run = id.and_then(|id| call.hub.runs.find(id));
    run.ok_or_else(|| not_found("such run"))
}

async fn get_run(call: Call<Hub>) -> Reply {
    answer(try_get_run(&call).await)
}

async fn try_get_run(call: &Call<Hub>) -> Result<Reply, Reply> {
    let run = run_of(call)?;
    if let Some(patience) = wait(call)? {
        let _place = call.permits.wait()?;
        tokio::select! {
            () = run.ended() => {}
            () = tokio::time::sleep(patience) => {}
            () = call.permits.stopping() => {}
        }
    }
    Ok(Reply::json(200, &run_view(&run)))
}

async fn stop_run(call: Call<Hub>) -> Reply {
    answer(run_of(&call).map(|run| {
        run.stop();
        Reply::json(200, &run_view(&run))
    }))
}

/// Where a client's stream stands.
struct Watching {
    hub: Arc<Hub>,
    company_key: Option<String>,
    /// The last change that was looked at.
    seen: u64,
    changes: watch::Receiver<u64>,
}

async fn stream(call: Call<Hub>) -> Reply {
    answer(try_stream(&call))
}

fn try_stream(call: &Call<Hub>) -> Result<Reply, Reply> {
    let hub = &call.hub;
    // What a browser sends when it comes back wins over what it asked for at first.
    let seen = match (call.header("Last-Event-ID"), call.query("since")) {
        (Some(last), _) | (None, Some(last)) => {
            let last = last.trim().parse::<u64>();
            last.map_err(|_| bad("Last-Event-ID: this is no id of a change"))?
        }
        (None, None) => hub.changes.latest(),
    };
    let permit = call.permits.stream()?;
    let watching = Watching {
        hub: Arc::clone(hub),
        company_key: call.query("company_key").map(str::to_owned),
        // A server that began anew counts anew; whoever knew the old one sees all of the new.
        seen: if seen > hub.changes.latest() { 0 } else { seen },
        changes: hub.changes.watch(),
    };
    Ok(sse::reply(permit, watching, next_changes))
}

/// The next changes that a client wants.
async fn next_changes(mut watching: Watching) -> Option<(bytes::Bytes, Watching)> {
    loop {
        let (found, missed) = watching.hub.changes.after(watching.seen, BATCH);
        let mut text = Vec::new();
        if missed {
            text.extend_from_slice(b": some changes are not kept any more\n\n");
        }
        let any = !found.is_empty();
        for (id, change) in found {
            watching.seen = id;
            let wanted = watching.company_key.as_deref();
            if wanted.is_none_or(|key| change.company.as_deref() == Some(key)) {
                text.extend_from_slice(&sse::event(id, change.kind(), &change.to_json()));
            }
        }
        if !text.is_empty() {
            return Some((text.into(), watching));
        }
        if !any {
            watching.changes.changed().await.ok()?;
        }
    }
}

async fn describe(_: Call<Hub>) -> Reply {
    Reply::json(200, &document())
}

/// The OpenAPI document of the server.
pub fn document() -> Value {
    openapi::document(&all(), "/")
}

async fn health(call: Call<Hub>) -> Reply {
    let trouble = call.hub.trouble();
    let (code, status) = match trouble {
        None => (200, "ok"),
        Some(_) => (503, "trouble"),
    };
    Reply::json(
        code,
        &Health {
            status,
            version: env!("CARGO_PKG_VERSION"),
            trouble,
        },
    )
}

async fn numbers(call: Call<Hub>) -> Reply {
    Reply::bytes(
        200,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        metrics::text(&call.hub),
    )
}
