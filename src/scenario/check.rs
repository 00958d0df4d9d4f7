//! Whether a file that has the right shape makes sense, and what it then comes to.
//!
//! Everything that can be known without running is found here: names that are not there, weights that
//! are no weights, templates with unknown variables, journeys that the platform could not produce.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use chrono::DateTime;
use hyper::header::{HeaderName, HeaderValue};

use super::data::DataTemplate;
use super::decode::{Plain, Spanned, decode, resolve_plain};
use super::event::{EventSpec, MadeEvent, Occasion, Weights};
use super::finding::{Finding, Findings, Severity, did_you_mean};
use super::model::{self, AtStage, Impossible, JourneyChoice, Receipts, Step};
use super::source::Source;
use super::template::{Template, TemplateError, VariableUse};
use super::variables::check_path;
use super::yaml::{Kind, NodeId, Tree};
use super::{DEFAULT_COMPANY_KEY, Destination, RouteSpec, Scenario, Settings};
use crate::journey::{Journey, ReceiptSpec, Stages, StepSpec, Text, good_step, usual_delay};
use crate::sms;
use crate::vibes::callback::DEFAULT_ERROR_CODE;
use crate::vibes::event::{PERSON_KEYS, is_event_type, is_mdn};
use crate::vibes::outcome::{MessageType, Outcome, Stage, Status};
use crate::vibes::registration::{Filter, check_url};

/// So many events of each entry are made on trial.
const TRIALS: u64 = 8;

/// From so many events on it is worth a word that nothing spreads them.
const MANY_AT_ONCE: u64 = 100_000;

const MDN_HELP: &str =
    "write 10 to 15 digits, with a `+` before the country's code: `\"+15551230100\"`";

/// The most journeys and the most entries of events that a file may have.
const MAX_ENTRIES: usize = 10_000;

/// A run may not last longer than this, or its dates leave what computers agree on.
const MAX_LENGTH: f64 = 10.0 * 366.0 * 86_400.0;

/// Headers that are the mock's own to set.
const OWN_HEADERS: [&str; 6] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "user-agent",
];

/// Makes a scenario of its text, or says everything that is wrong with it.
pub fn compile(source: &Source) -> Result<Scenario, Findings> {
    let fail = |findings| Err(Findings::new(&source.name, &source.text, findings));
    let tree = match Tree::parse(&source.text) {
        Ok(tree) => tree,
        Err(finding) => return fail(vec![finding]),
    };
    let (file, misshapen) = decode::<model::File>(&tree);
    let Some(file) = file else {
        return fail(misshapen);
    };
    let mut checker = Checker {
        tree: &tree,
        partial: !misshapen.is_empty(),
        findings: misshapen,
        mdn_places: BTreeMap::new(),
    };
    let scenario = checker.scenario(file, source);
    let (errors, warnings): (Vec<_>, Vec<_>) = checker
        .findings
        .into_iter()
        .partition(|finding| finding.severity == Severity::Error);
    if errors.is_empty() {
        Ok(Scenario {
            warnings: Findings::new(&source.name, &source.text, warnings),
            ..scenario
        })
    } else {
        fail(errors.into_iter().chain(warnings).collect())
    }
}

impl TemplateError {
    /// The same as a finding about the text that stands at `span` in the file.
    pub fn finding(self, span: &Range<usize>) -> Finding {
        let mut finding = Finding::error(span.clone(), self.message);
        finding.help = self.help;
        finding
    }
}

struct Checker<'t> {
    tree: &'t Tree,
    /// Something was left out of the file since it has the wrong shape; what is missing is then no finding.
    partial: bool,
    /// Where the numbers of events stand, by where the event does.
    mdn_places: BTreeMap<usize, Range<usize>>,
    findings: Vec<Finding>,
}

impl Checker<'_> {
    fn error(&mut self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.findings
            .push(Finding::error(span.clone(), message).help(help));
    }

    /// `message`, with the way to mend it behind a line break.
    fn error_in_two(&mut self, span: &Range<usize>, message: &str) {
        let (message, help) = message.split_once('\n').unwrap_or((message, ""));
        let finding = Finding::error(span.clone(), message);
        self.findings.push(match help {
            "" => finding,
            help => finding.help(help),
        });
    }

    /// A guard makes it a variable that is never there, which is probably not meant.
    fn unknown_variable(&mut self, span: &Range<usize>, message: &str, guarded: bool) {
        self.error_in_two(span, message);
        if guarded && let Some(finding) = self.findings.last_mut() {
            finding.severity = Severity::Warning;
        }
    }

    fn warning(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.findings
            .push(Finding::warning(span.clone(), message).help(help));
    }

    fn scenario(&mut self, file: model::File, source: &Source) -> Scenario {
        let settings = self.settings(&file);
        let company_key = self.company_key(file.company_key);
        let destination = file
            .destination
            .map(|destination| self.destination(destination))
            .unwrap_or_default();
        for (what, number) in [
            ("journeys", file.journeys.0.len()),
            ("events", file.events.len()),
        ] {
            if number > MAX_ENTRIES {
                let root = self.tree.node(self.tree.root()).span.clone();
                self.error(
                    &root,
                    format!("`{what}` has {number} entries; {MAX_ENTRIES} is the most"),
                    "let `count:`, weights and templates make up the variety",
                );
                return Scenario::empty(&source.name);
            }
        }
        let names: Vec<String> = file
            .journeys
            .0
            .iter()
            .map(|(name, _)| name.value.clone())
            .collect();
        let mut journeys = Vec::new();
        let mut places = Vec::new();
        for (name, journey) in file.journeys.0 {
            places.push(JourneyPlace {
                name: name.span.clone(),
                text: journey
                    .message
                    .as_ref()
                    .and_then(|message| message.text.as_ref())
                    .map_or(name.span.clone(), |text| text.span.clone()),
                parts: part_places(&journey),
            });
            journeys.push(self.journey(name, journey, &settings));
        }
        // Where nothing else is said, events have a good day.
        journeys.push(Some(Journey::good_day()));
        let mut used = BTreeSet::new();
        let events: Vec<EventSpec> = file
            .events
            .into_iter()
            .filter_map(|event| self.event(event, &names, &mut used))
            .collect();
        let routes: Vec<RouteSpec> = file
            .routes
            .into_iter()
            .map(|route| self.route(route, &names, &mut used))
            .collect();
        for (at, place) in places.iter().enumerate() {
            if !self.partial && !used.contains(&at) {
                self.warning(
                    &place.name,
                    format!("no event and no route takes the journey `{}`", names[at]),
                    "name it in an event's `journey:`",
                );
            }
        }
        if events.is_empty() && routes.is_empty() && !self.partial && self.findings.is_empty() {
            let root = self.tree.node(self.tree.root()).span.clone();
            self.error(
                &root,
                "the scenario has no events, so nothing would happen",
                "add `events:` with at least an `event_type`",
            );
        }
        for event in &events {
            self.try_out(event, &journeys, &places);
        }
        Scenario {
            name: file.scenario.unwrap_or_else(|| source.name.clone()),
            seed: file.seed,
            company_key,
            destination,
            // A journey that is missing here is a finding, so nothing will run.
            journeys: journeys
                .into_iter()
                .map(|journey| journey.unwrap_or_else(Journey::good_day))
                .collect(),
            events,
            routes,
            settings,
            warnings: Findings::new("", "", Vec::new()),
        }
    }

    fn settings(&mut self, file: &model::File) -> Settings {
        let usual = Settings::default();
        let mut statuses = Vec::new();
        for (name, status) in &file.statuses.0 {
            match Outcome::named(&name.value) {
                Some(outcome) => statuses.push((outcome, *status)),
                None => {
                    let names = crate::vibes::outcome::OUTCOMES
                        .iter()
                        .map(|outcome| outcome.name);
                    let help = did_you_mean(&name.value, names);
                    self.error(
                        &name.span,
                        format!("unknown outcome `{}`", name.value),
                        help,
                    );
                }
            }
        }
        if let Some(downed) = &file.downed
            && downed.value.after == 0
        {
            self.error(
                &downed.span,
                "`after: 0` would make every destination down at once",
                "write 1 or more",
            );
        }
        let mut wording = usual.wording;
        wording.dlr_links = file.dlr_links.unwrap_or(wording.dlr_links);
        wording.top_event_type = file.top_event_type.unwrap_or(wording.top_event_type);
        Settings {
            wording,
            multipart_success: file.multipart_success.unwrap_or(usual.multipart_success),
            statuses,
            retry: file.retry.unwrap_or(usual.retry),
            timeout: file.timeout.unwrap_or(usual.timeout),
            downed: file
                .downed
                .as_ref()
                .map_or(usual.downed, |downed| downed.value),
        }
    }

    fn company_key(&mut self, key: Option<Spanned<String>>) -> String {
        let Some(key) = key else {
            return DEFAULT_COMPANY_KEY.to_owned();
        };
        let fits = (1..=64).contains(&key.value.len())
            && key
                .value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !fits {
            self.error(
                &key.span,
                "a company key is 1 to 64 letters, digits, `-` and `_`",
                format!("for example `{DEFAULT_COMPANY_KEY}`"),
            );
        }
        key.value
    }

    fn destination(&mut self, destination: model::Destination) -> Destination {
        if let Some(url) = &destination.url
            && let Err(message) = check_url(&url.value)
        {
            self.error_in_two(&url.span, &message);
        }
        let mut headers = Vec::new();
        for (name, value) in destination.headers.0 {
            match header(&name.value, &value.value) {
                Ok(header) => headers.push(header),
                Err(message) => self.error_in_two(&name.span, &message),
            }
        }
        Destination {
            url: destination.url.map(|url| url.value),
            method: destination.method,
            content_type: destination.content_type,
            headers,
            filter: Filter {
                event_type: destination.event_type,
                callbacks_to_send: destination.callbacks_to_send,
            },
        }
    }

    fn template(&mut self, text: &Spanned<String>) -> Option<Template> {
        match Template::parse(&text.value) {
            Ok(template) => Some(template),
            Err(error) => {
                self.findings.push(error.finding(&text.span));
                None
            }
        }
    }

    fn journey(
        &mut self,
        name: Spanned<String>,
        journey: model::Journey,
        settings: &Settings,
    ) -> Option<Journey> {
        let whole = name.span.clone();
        let message_type = journey
            .message
            .as_ref()
            .map_or(MessageType::Sms, |message| message.message_type);
        let campaign = journey
            .message
            .as_ref()
            .and_then(|message| message.event_triggered_message_id);
        let text = match journey
            .message
            .as_ref()
            .and_then(|message| message.text.as_ref())
        {
            None => Text::Fixed { parts: 1 },
            Some(text) => self.text(text, message_type)?,
        };
        let span_at = |stage| match stage {
            Stage::Routing => journey.routing.as_ref().map(|step| step.span.clone()),
            Stage::Processing => journey.processing.as_ref().map(|step| step.span.clone()),
            Stage::Carrier => journey.carrier.as_ref().map(|step| step.span.clone()),
            Stage::Handset => journey.handset.as_ref().map(|step| step.span.clone()),
        };
        let spans = Stage::ALL.map(|stage| span_at(stage).unwrap_or(whole.clone()));
        let places = part_places(&journey);
        let wish = Stages {
            routing: journey.routing.map_or_else(
                || good_step(Stage::Routing),
                |step| self.step(&step, settings),
            ),
            processing: journey.processing.map(|step| self.step(&step, settings)),
            carrier: journey
                .carrier
                .map(|receipts| self.receipts(&receipts, settings)),
            handset: journey
                .handset
                .map(|receipts| self.receipts(&receipts, settings)),
        };
        let impossible = matches!(journey.impossible, Some(Impossible::Allowed));
        match Journey::new(
            name.value,
            message_type,
            text,
            campaign,
            wish,
            impossible,
            settings,
        ) {
            Ok(journey) => Some(journey),
            Err(broken) => {
                for broken in broken {
                    let span = places
                        .iter()
                        .find(|(stage, part, _)| {
                            *stage == broken.stage && Some(*part) == broken.part
                        })
                        .map_or(&spans[broken.stage as usize], |(_, _, span)| span);
                    self.error(
                        span,
                        broken.rule,
                        "remove it, or say `impossible: allowed` in the journey to send it all the same",
                    );
                }
                None
            }
        }
    }

    fn text(&mut self, text: &Spanned<String>, message_type: MessageType) -> Option<Text> {
        let template = self.template(text)?;
        for variable in template.variables() {
            if let Err(message) = check_path(&variable.path, None, None) {
                self.unknown_variable(&text.span, &message, variable.guarded);
            }
        }
        // An MMS goes out whole.
        match (template.literal(), message_type) {
            (_, MessageType::Mms) => Some(Text::Fixed { parts: 1 }),
            (None, MessageType::Sms) => Some(Text::Template(template)),
            (Some(literal), MessageType::Sms) => match sms::part_count(literal) {
                Ok(parts) => Some(Text::Fixed { parts }),
                Err(error) => {
                    self.error(&text.span, error.to_string(), "shorten it");
                    None
                }
            },
        }
    }

    fn step<S: AtStage>(&mut self, step: &Spanned<Step<S>>, settings: &Settings) -> StepSpec {
        let Spanned {
            value: Step {
                outcome, options, ..
            },
            span,
        } = step;
        let fails = settings.status(outcome) == Status::Failed;
        if options.error_code.is_some() && !(fails && outcome.stage.is_receipt()) {
            self.error(
                span,
                format!("{outcome} has no error code; only a failed delivery receipt has one"),
                "remove `error_code`",
            );
        }
        StepSpec {
            outcome,
            error_code: options.error_code.unwrap_or(DEFAULT_ERROR_CODE),
            after: options.after.unwrap_or_else(|| usual_delay(outcome.stage)),
        }
    }

    fn receipts<S: AtStage>(
        &mut self,
        receipts: &Spanned<Receipts<S>>,
        settings: &Settings,
    ) -> ReceiptSpec {
        let Receipts {
            default,
            parts,
            before,
            after,
        } = &receipts.value;
        let usual = after.unwrap_or_else(|| usual_delay(S::STAGE));
        let mut spec = |step: &Spanned<Step<S>>| StepSpec {
            after: step.value.options.after.unwrap_or(usual),
            ..self.step(step, settings)
        };
        let mut by_part: Vec<(u8, StepSpec)> = parts
            .iter()
            .map(|(part, step)| (part.value, spec(step)))
            .collect();
        let default = default.as_ref().map_or(
            StepSpec {
                after: usual,
                ..good_step(S::STAGE)
            },
            &mut spec,
        );
        for step in before {
            if step.value.options.after.is_some() || step.value.options.error_code.is_some() {
                self.error(
                    &step.span,
                    "a status on the way takes neither `after` nor `error_code`",
                    "write its name alone; these statuses are spread evenly over the stage's `after`",
                );
            }
        }
        for (at, (part, _)) in parts.iter().enumerate() {
            if parts[..at]
                .iter()
                .any(|(before, _)| before.value == part.value)
            {
                self.error(
                    &part.span,
                    format!("part {} stands here twice", part.value),
                    "keep one of the two",
                );
            }
            if part.value == 0 {
                self.error(
                    &part.span,
                    "parts are numbered from 1",
                    "write 1 for the first part",
                );
            }
        }
        by_part.sort_by_key(|(part, _)| *part);
        ReceiptSpec {
            default,
            parts: by_part,
            before: before.iter().map(|step| step.value.outcome).collect(),
        }
    }

    fn event(
        &mut self,
        event: Spanned<model::Event>,
        names: &[String],
        used: &mut BTreeSet<usize>,
    ) -> Option<EventSpec> {
        let Spanned { value: event, span } = event;
        let event_type = self.template(&event.event_type);
        if let Some(literal) = event_type.as_ref().and_then(Template::literal)
            && !is_event_type(literal)
        {
            self.error(
                &event.event_type.span,
                format!("`{literal}` is not an event type"),
                "use letters, digits, `-` and `_`",
            );
        }
        let event_id = event.event_id.as_ref().and_then(|text| self.template(text));
        let event_data = match event.event_data {
            Some(node) => DataTemplate::compile(self.tree, node.0, &mut self.findings),
            None => Template::parse("{{ person.external_person_id }}")
                .ok()
                .map(|template| DataTemplate::single("external_person_id", template)),
        };
        if let (Some(node), Some(data)) = (event.event_data, &event_data) {
            let place = self.tree.node(node.0).span.clone();
            self.person(data, &place);
            self.mdn_place(node.0, span.start);
        }
        let debug_data = event
            .debug_data
            .map(|node| DataTemplate::compile(self.tree, node.0, &mut self.findings));
        let count = event.count.as_ref().map_or(1, |count| count.value);
        if let Some(given) = &event.count
            && !(1..=model::MAX_COUNT).contains(&given.value)
        {
            self.error(
                &given.span,
                format!(
                    "the count {} is not between 1 and {}",
                    given.value,
                    model::MAX_COUNT
                ),
                "more events can come from a second entry",
            );
        }
        match (&event.arrivals, &event.count) {
            (Some(arrivals), _) => self.arrivals(arrivals, count),
            (None, Some(given)) if count > MANY_AT_ONCE => self.warning(
                &given.span,
                format!("{count} events come at once, and all of them wait in memory"),
                "spread them, say with `arrivals: {rate: 1000/s}`",
            ),
            (None, _) => {}
        }
        let journeys = match &event.journey {
            Some(choice) => self.choice(choice, names, used),
            None => Some(Weights::new(vec![(names.len(), 1.0)])),
        };
        let event_type_span = event.event_type.span.clone();
        for (template, span) in [(&event_type, &event_type_span), (&event_id, &span)] {
            if let Some(template) = template {
                self.event_variables(
                    template,
                    span,
                    &["event_id", "event_type", "event_data", "debug_data"],
                );
            }
        }
        for data in [
            event_data.as_ref(),
            debug_data.as_ref().and_then(Option::as_ref),
        ]
        .into_iter()
        .flatten()
        {
            for (template, span) in data.templates() {
                self.event_variables(template, span, &["event_data", "debug_data"]);
            }
        }
        Some(EventSpec {
            event_type: event_type?,
            event_id: match event.event_id {
                Some(_) => Some(event_id?),
                None => None,
            },
            event_data: event_data?,
            debug_data: match debug_data {
                Some(data) => Some(data?),
                None => None,
            },
            count: count.min(model::MAX_COUNT),
            arrivals: event.arrivals.map(|arrivals| arrivals.value),
            journeys: journeys?,
            span,
        })
    }

    /// Vibes takes no event that is about nobody, and a number must be one.
    fn person(&mut self, data: &DataTemplate, span: &Range<usize>) {
        if !data.keys().any(|key| PERSON_KEYS.contains(&key)) {
            self.warning(
                span,
                "Vibes would refuse this event: its data does not say whom it is about",
                format!(
                    "add one of {}",
                    PERSON_KEYS.map(|key| format!("`{key}`")).join(", ")
                ),
            );
        }
    }

    /// Notes where an event's number stands. A number of the wrong shape is one that no template makes.
    fn mdn_place(&mut self, data: NodeId, event: usize) {
        let Kind::Map(entries) = &self.tree.node(data).kind else {
            return;
        };
        let Some((_, value)) = entries
            .iter()
            .find(|(key, _)| self.tree.scalar(*key) == Some("mdn"))
        else {
            return;
        };
        let node = self.tree.node(*value);
        let is_null = matches!(&node.kind, Kind::Scalar { text, plain: true } if resolve_plain(text) == Plain::Null);
        if is_null || self.tree.scalar(*value).is_none() {
            self.error(&node.span, "a mobile number is one text", MDN_HELP);
        }
        self.mdn_places.insert(event, node.span.clone());
    }

    /// The event's own templates cannot look at what is being made of them.
    fn event_variables(&mut self, template: &Template, span: &Range<usize>, not_there: &[&str]) {
        for variable in template.variables() {
            let root = variable.path.first().map_or("", String::as_str);
            if not_there.contains(&root) {
                self.error(
                    span,
                    format!("`{root}` is not there yet while the event is made"),
                    "an event's own texts can use `person`, `journey` and `fake`, its data also `event_id` and `event_type`",
                );
            } else if let Err(message) = check_path(&variable.path, None, None) {
                self.unknown_variable(span, &message, variable.guarded);
            }
        }
    }

    fn arrivals(&mut self, arrivals: &Spanned<model::Arrivals>, count: u64) {
        let slowest = match &arrivals.value {
            model::Arrivals::Rate(rate) | model::Arrivals::Poisson(rate) => rate.0,
            model::Arrivals::Ramp { from, to, .. } => from.0.min(to.0),
            model::Arrivals::Cron(cron) => match firings_per_second(cron, count) {
                Some(rate) => rate,
                None => {
                    self.error(
                        &arrivals.span,
                        "this cron expression names instants that do not come often enough",
                        "look at day and month: the 30th of February never comes",
                    );
                    return;
                }
            },
        };
        if count as f64 / slowest > MAX_LENGTH {
            self.error(
                &arrivals.span,
                format!("{count} events at this rate take more than ten years"),
                "raise the rate or lower the count",
            );
        }
    }

    fn choice(
        &mut self,
        choice: &Spanned<JourneyChoice>,
        names: &[String],
        used: &mut BTreeSet<usize>,
    ) -> Option<Weights> {
        let or_whole = |span: &Range<usize>| match span.is_empty() {
            true => choice.span.clone(),
            false => span.clone(),
        };
        let before = self.findings.len();
        let mut choices = Vec::new();
        for (name, weight) in &choice.value.0 {
            let found = names.iter().position(|journey| *journey == name.value);
            match found {
                Some(at) => {
                    used.insert(at);
                    choices.push((at, weight.value));
                }
                None if self.partial && self.is_written_journey(&name.value) => return None,
                None => {
                    let help = did_you_mean(&name.value, names.iter().map(String::as_str));
                    self.error(
                        &or_whole(&name.span),
                        format!("unknown journey `{}`", name.value),
                        help,
                    );
                }
            }
            if !(weight.value > 0.0 && weight.value.is_finite()) {
                self.error(
                    &or_whole(&weight.span),
                    format!("the weight {} is not a number above zero", weight.value),
                    "remove the journey if it is never to be taken",
                );
            }
        }
        if choices.is_empty() && self.findings.len() == before {
            self.error(
                &choice.span,
                "no journey is named here",
                "name one, or remove `journey:` for a good day",
            );
        }
        let total: f64 = choices.iter().map(|(_, weight)| weight).sum();
        if total.is_infinite() {
            self.error(
                &choice.span,
                "the weights are too large to add up",
                "divide them all by the same number",
            );
        }
        (self.findings.len() == before).then(|| Weights::new(choices))
    }

    /// Whether the file has a journey of that name, be it of the wrong shape.
    fn is_written_journey(&self, name: &str) -> bool {
        let entries = |id| match &self.tree.node(id).kind {
            Kind::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        entries(self.tree.root())
            .iter()
            .filter(|(key, _)| self.tree.scalar(*key) == Some("journeys"))
            .flat_map(|(_, journeys)| entries(*journeys))
            .any(|(key, _)| self.tree.scalar(*key) == Some(name))
    }

    fn route(
        &mut self,
        route: model::Route,
        names: &[String],
        used: &mut BTreeSet<usize>,
    ) -> RouteSpec {
        let mut when = Vec::new();
        for (path, pattern) in route.when.0 {
            let known = path.value == "event_type"
                || ["event_data.", "debug_data."].iter().any(|root| {
                    path.value
                        .strip_prefix(root)
                        .is_some_and(|rest| !rest.is_empty())
                });
            if !known {
                self.error(
                    &path.span,
                    format!("a route cannot look at `{}`", path.value),
                    "it can look at `event_type`, `event_data.KEY` and `debug_data.KEY`",
                );
            }
            when.push((path.value, pattern.value));
        }
        let journeys = self.choice(&route.journey, names, used);
        RouteSpec {
            when,
            journeys: journeys.unwrap_or_else(|| Weights::new(vec![(names.len(), 1.0)])),
        }
    }

    fn error_count(&self) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .count()
    }

    /// Makes a few events of an entry and their messages, to find what only shows then.
    fn try_out(
        &mut self,
        event: &EventSpec,
        journeys: &[Option<Journey>],
        places: &[JourneyPlace],
    ) {
        if self.partial {
            return;
        }
        let before = self.error_count();
        for at in event.journeys.journeys() {
            if let (Some(Some(journey)), Some(place)) = (journeys.get(at), places.get(at))
                && let Text::Template(text) = &journey.text
            {
                // The others were checked with the journey.
                let of_event = |variable: &&VariableUse| {
                    let root = variable.path.first().map_or("", String::as_str);
                    !variable.guarded && matches!(root, "event_data" | "debug_data")
                };
                for variable in text.variables().iter().filter(of_event) {
                    let nothing = DataTemplate::literal("{}");
                    let debug_data = event.debug_data.as_ref().unwrap_or(&nothing);
                    let checked =
                        check_path(&variable.path, Some(&event.event_data), Some(debug_data));
                    if let Err(message) = checked {
                        self.error_in_two(&place.text, &message);
                    }
                }
            }
        }
        if self.error_count() > before {
            return;
        }
        let mut most_parts = vec![0; journeys.len()];
        let mut made = MadeEvent::default();
        let mut text = String::new();
        for number in 0..TRIALS.min(event.count) {
            for at in event.journeys.journeys() {
                let Some(Some(journey)) = journeys.get(at) else {
                    continue;
                };
                let occasion = Occasion {
                    seed: 0,
                    number,
                    journey: &journey.name,
                    now: DateTime::UNIX_EPOCH,
                };
                if let Err(error) = event.make(&occasion, &mut made) {
                    self.findings.push(error.finding(&event.span));
                    return;
                }
                if !self.made_well(event, &made) {
                    return;
                }
                let parts = match &journey.text {
                    Text::Fixed { parts } => *parts,
                    Text::Template(template) => {
                        let place = places.get(at).map_or(&event.span, |place| &place.text);
                        if let Err(error) = event.render_text(template, &made, &occasion, &mut text)
                        {
                            self.findings.push(error.finding(place));
                            return;
                        }
                        match sms::part_count(&text) {
                            Ok(parts) => parts,
                            Err(error) => {
                                self.error(place, error.to_string(), "shorten it");
                                return;
                            }
                        }
                    }
                };
                most_parts[at] = u8::max(most_parts[at], parts);
            }
        }
        for at in event.journeys.journeys() {
            let (Some(Some(journey)), Some(place)) = (journeys.get(at), places.get(at)) else {
                continue;
            };
            for (stage, part) in journey.parts_beyond(most_parts[at]) {
                let span = place
                    .parts
                    .iter()
                    .find(|(of, number, _)| *of == stage && *number == part)
                    .map_or(&place.name, |(_, _, span)| span);
                let parts = most_parts[at];
                self.error(
                    span,
                    format!("the message has no part {part}; it goes out in {parts} part{}", if parts == 1 { "" } else { "s" }),
                    "lengthen the text or correct the number; `vibes-mock segments TEXT` shows how a text splits",
                );
            }
        }
    }

    /// What the Event API would have refused.
    fn made_well(&mut self, event: &EventSpec, made: &MadeEvent) -> bool {
        let part = made.part();
        if event.event_type.literal().is_none() && !is_event_type(part.event_type) {
            self.error(
                &event.span,
                format!("the template made `{}` of `event_type`", part.event_type),
                "use letters, digits, `-` and `_`",
            );
            return false;
        }
        if event.event_data.keys().any(|key| key == "mdn") && !is_mdn(&made.mdn) {
            let span = self
                .mdn_places
                .get(&event.span.start)
                .unwrap_or(&event.span)
                .clone();
            self.error(
                &span,
                format!("`{}` is not a mobile number", made.mdn),
                MDN_HELP,
            );
            return false;
        }
        true
    }
}

/// How often a cron expression's instants come, by the first few of them; none if there are too few.
fn firings_per_second(cron: &croner::Cron, count: u64) -> Option<f64> {
    let first = DateTime::from_timestamp(1_767_225_600, 0)?;
    let firings = count.clamp(2, 9);
    let mut at = first;
    for _ in 0..firings {
        at = cron.find_next_occurrence(&at, false).ok()?;
    }
    Some(firings as f64 / (at - first).as_seconds_f64())
}

/// Where the pieces of a journey stand in the file.
struct JourneyPlace {
    name: Range<usize>,
    text: Range<usize>,
    parts: Vec<(Stage, u8, Range<usize>)>,
}

fn part_places(journey: &model::Journey) -> Vec<(Stage, u8, Range<usize>)> {
    fn of<S: AtStage>(receipts: &Option<Spanned<Receipts<S>>>) -> Vec<(Stage, u8, Range<usize>)> {
        let parts = receipts.iter().flat_map(|receipts| &receipts.value.parts);
        parts
            .map(|(part, _)| (S::STAGE, part.value, part.span.clone()))
            .collect()
    }
    let mut places = of(&journey.carrier);
    places.extend(of(&journey.handset));
    places
}

/// A header that a file or an option adds.
///
/// # Errors
///
/// What is wrong and, after a line break, how to mend it.
pub fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let parsed = HeaderName::try_from(name).map_err(|_| {
        format!(
            "`{}` is not a header's name\nuse letters, digits and `-`",
            name.escape_debug()
        )
    })?;
    if OWN_HEADERS.contains(&parsed.as_str()) {
        return Err(format!(
            "the header `{name}` is set by the request itself\nremove it; `content_type` of the destination sets the content type"
        ));
    }
    let value = HeaderValue::from_str(value).map_err(|_| {
        format!(
            "the value of the header `{name}` holds a character that a header cannot\nremove line breaks and control characters"
        )
    })?;
    Ok((parsed, value))
}
