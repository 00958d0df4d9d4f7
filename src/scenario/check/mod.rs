//! Whether a file that has the right shape makes sense, and what it then comes to.
//!
//! Everything that can be known without running is found here: names that are not there, weights that
//! are no weights, templates with unknown variables, journeys that the platform could not produce.

mod events;
mod journeys;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use hyper::header::{HeaderName, HeaderValue};

use super::decode::{Spanned, decode};
use super::event::EventSpec;
use super::faults::MAX_FAULTS;
use super::finding::{Finding, Findings, Severity, did_you_mean};
use super::model;
use super::source::Source;
use super::template::{Template, TemplateError};
use super::yaml::Tree;
use super::{DEFAULT_COMPANY_KEY, Destination, RouteSpec, Scenario, Serving, Settings};
use crate::fault::FaultSpec;
use crate::journey::Journey;
use crate::vibes::outcome::Outcome;
use crate::vibes::registration::{Filter, check_url};
use journeys::{JourneyPlace, part_places};

/// The most journeys and the most entries of events that a file may have.
const MAX_ENTRIES: usize = 10_000;

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
        let usual = "look at that place of the template; text that is not Liquid stands between `{% raw %}` and `{% endraw %}`";
        finding.help = Some(self.help.unwrap_or_else(|| usual.to_owned()));
        finding
    }
}

pub(super) struct Checker<'t> {
    tree: &'t Tree,
    /// Something was left out of the file since it has the wrong shape; what is missing is then no finding.
    pub(super) partial: bool,
    /// Where the numbers of events stand, by where the event does.
    mdn_places: BTreeMap<usize, Range<usize>>,
    findings: Vec<Finding>,
}

impl Checker<'_> {
    pub(super) fn error(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
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
        let serving = Serving {
            routing: file.routing,
            duplicate_event_id: file.duplicate_event_id,
            enforce_limits: file.enforce_limits,
            retry: file.retry,
            timeout: file.timeout,
            downed: file.downed.as_ref().map(|downed| downed.value),
            wording: (file.multipart_success.is_some()
                || file.dlr_links.is_some()
                || file.top_event_type.is_some()
                || !file.statuses.0.is_empty())
            .then_some(()),
        };
        let names_company = file.company_key.is_some();
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
        if let Some(first_too_many) = file.faults.get(MAX_FAULTS) {
            self.error(
                &first_too_many.span,
                format!("this is fault {}; {MAX_FAULTS} is the most", MAX_FAULTS + 1),
                "let `rate`, `during` and patterns with `*` in `when` choose more with each",
            );
            return Scenario::empty(&source.name);
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
        let faults: Vec<FaultSpec> = file
            .faults
            .into_iter()
            .filter_map(|fault| self.fault(fault, &names))
            .collect();
        let expect = self.expect(file.expect);
        for (at, place) in places.iter().enumerate() {
            if !self.partial && !used.contains(&at) {
                self.warning(
                    &place.name,
                    format!("no event and no route takes the journey `{}`", names[at]),
                    "name it in an event's `journey:`",
                );
            }
        }
        // A file may be there for a server alone.
        let idle = events.is_empty() && routes.is_empty() && serving == Serving::default();
        if idle && !self.partial && self.findings.is_empty() {
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
            names_company,
            destination,
            // A journey that is missing here is a finding, so nothing will run.
            journeys: journeys
                .into_iter()
                .map(|journey| journey.unwrap_or_else(Journey::good_day))
                .collect(),
            events,
            routes,
            faults,
            expect,
            text: source.text.clone(),
            settings,
            serving,
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
