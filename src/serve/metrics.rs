//! Numbers for Prometheus.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::hub::Hub;
use crate::delivery::answer::FailureKind;
use crate::platform::event::Attempt;

/// Bounds of the histograms, in seconds.
const BOUNDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// What is measured as it happens.
#[derive(Clone, Debug)]
pub struct Metrics {
    latency: Histogram,
    lag: Histogram,
    responses: Family<Labels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    result: Came,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Came {
    Status(u16),
    Error(FailureKind),
}

impl EncodeLabelValue for Came {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Came::Status(status) => EncodeLabelValue::encode(status, encoder),
            Came::Error(kind) => EncodeLabelValue::encode(&kind.name(), encoder),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            latency: Histogram::new(BOUNDS),
            lag: Histogram::new(BOUNDS),
            responses: Family::default(),
        }
    }
}

impl Metrics {
    /// Counts an attempt.
    pub fn attempt(&self, made: &Attempt, lag: Duration) {
        self.latency.observe(made.latency_us as f64 / 1e6);
        self.lag.observe(lag.as_secs_f64());
        let result = match &made.result {
            Ok(status) => Came::Status(*status),
            Err((kind, _)) => Came::Error(*kind),
        };
        self.responses.get_or_create(&Labels { result }).inc();
    }
}

/// What is read when somebody asks.
#[derive(Debug)]
struct Standing(Weak<Hub>);

impl Collector for Standing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(hub) = self.0.upgrade() else {
            return Ok(());
        };
        let counts = &hub.counts;
        let counters = [
            ("events", "Events that were accepted", &counts.events),
            (
                "deliveries_accepted",
                "Deliveries that the receiver took",
                &counts.accepted,
            ),
            (
                "deliveries_failed",
                "Deliveries that were refused or given up",
                &counts.failed,
            ),
            (
                "callbacks_unmatched",
                "Callbacks that no active registration wanted",
                &counts.unmatched,
            ),
        ];
        for (name, help, count) in counters {
            let counter = ConstCounter::new(count.load(Ordering::Relaxed));
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            counter.encode(metric)?;
        }
        let (mut up, mut down, mut waiting, mut under_way) = (0_i64, 0_i64, 0_i64, 0_i64);
        let now = hub.now();
        for (_, _, standing) in hub.destinations() {
            match standing.down_until > now {
                true => down += 1,
                false => up += 1,
            }
            waiting += standing.pending as i64;
            under_way += standing.under_way as i64;
        }
        let gauges = [
            (
                "callbacks_pending",
                "Callbacks whose time has not come",
                hub.waiting() as i64,
            ),
            (
                "deliveries_waiting",
                "Deliveries that wait for an attempt",
                waiting,
            ),
            (
                "attempts_under_way",
                "Requests that are under way",
                under_way,
            ),
            ("destinations_up", "Destinations that are sent to", up),
            (
                "destinations_down",
                "Destinations that are left alone after failures in a row",
                down,
            ),
            (
                "companies",
                "Companies that are known",
                hub.places().len() as i64,
            ),
            ("runs_running", "Runs that go on", hub.runs.running() as i64),
        ];
        for (name, help, value) in gauges {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)?;
        }
        Ok(())
    }
}

/// Everything, in OpenMetrics' text form.
pub fn text(hub: &Arc<Hub>) -> String {
    let mut registry = Registry::with_prefix("vibes_mock");
    let metrics = hub.metrics.clone();
    registry.register_with_unit(
        "attempt_duration",
        "From when an attempt was due to its end, in real time",
        Unit::Seconds,
        metrics.latency,
    );
    registry.register_with_unit(
        "attempt_lag",
        "How late an attempt began, in real time",
        Unit::Seconds,
        metrics.lag,
    );
    registry.register(
        "attempts",
        "HTTP requests that were made, by the answer's status or the kind of error",
        metrics.responses,
    );
    registry.register_collector(Box::new(Standing(Arc::downgrade(hub))));
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = encode(&mut text, &registry);
    text
}
