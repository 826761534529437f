//! What a monitor scrapes at `/metrics`: counters and histograms of searches, calls and crawls, and the states of upstreams.
//!
//! OpenTelemetry's instruments, in Prometheus' text format. Labels are words of ours and ids of upstreams from the operator's
//! configuration; ids of tools only where [`MetricsOptions::tools`] says so, and never a text of a server or a caller. An
//! upstream that policy hides is not named here either.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider as _};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use parking_lot::Mutex;
use prometheus::{Encoder as _, Registry, TextEncoder};
use toolscout_core::{CallFault, Caller, ToolId, UpstreamId};
use toolscout_quality::circuit::CircuitState;
use toolscout_quality::health::State;
use toolscout_selector::{NoMatchReason, Selection};

use crate::ops::visible_upstream;
use crate::services::Parts;

/// What is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MetricsOptions {
    /// Whether calls are counted by tool, too. Off: a catalog of thousands would make as many series.
    pub tools: bool,
}

/// The instruments of one gateway.
pub struct Metrics {
    options: MetricsOptions,
    registry: Registry,
    meter: Meter,
    /// Kept for as long as the instruments are used.
    _provider: SdkMeterProvider,
    searches: Counter<u64>,
    search_time: Histogram<f64>,
    selection_time: Histogram<f64>,
    no_match: Counter<u64>,
    withheld: Counter<u64>,
    calls: Counter<u64>,
    call_time: Histogram<f64>,
    refused: Counter<u64>,
    /// By upstream and outcome: counted here, because which upstreams may be named is only known when somebody asks.
    crawls: Arc<Mutex<BTreeMap<(UpstreamId, &'static str), u64>>>,
}

/// Upper ends of a histogram's buckets, in seconds: a search takes milliseconds, a call up to minutes.
const SEARCH_SECONDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
const CALL_SECONDS: [f64; 11] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

impl Default for Metrics {
    fn default() -> Self {
        Self::new(MetricsOptions::default())
    }
}

impl Metrics {
    /// Instruments that nothing was measured with yet.
    pub fn new(options: MetricsOptions) -> Self {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .with_namespace("toolscout")
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .expect("a registry of our own takes one exporter");
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let meter = provider.meter("toolscout");
        let counter = |name, about| meter.u64_counter(name).with_description(about).build();
        let seconds = |name, about, ends: &[f64]| {
            meter.f64_histogram(name).with_unit("s").with_boundaries(ends.to_vec()).with_description(about).build()
        };
        Self {
            options,
            searches: counter("searches", "Searches answered, by what the index answered with."),
            search_time: seconds("search", "A whole search, the query's embedding included.", &SEARCH_SECONDS),
            selection_time: seconds(
                "selection",
                "Ranking alone: from the query's vector to the tools.",
                &SEARCH_SECONDS,
            ),
            no_match: counter("no_match", "Searches that nothing fitted, by reason."),
            withheld: counter("withheld_tools", "Tools within the filters of a search that it withheld, by reason."),
            calls: counter("calls", "Calls judged, by upstream and fault."),
            call_time: seconds("call", "Calls, from their arrival to the last byte, by upstream.", &CALL_SECONDS),
            refused: counter(
                "calls_refused",
                "Calls refused because the tool is out of order, by upstream and reason.",
            ),
            crawls: Arc::default(),
            meter,
            registry,
            _provider: provider,
        }
    }

    /// Counts a listing of an upstream. `outcome` is a word of ours.
    pub fn crawled(&self, upstream: &UpstreamId, outcome: &'static str) {
        *self.crawls.lock().entry((upstream.clone(), outcome)).or_default() += 1;
    }

    pub(crate) fn searched(&self, selection: &Selection, index_state: &str, took: Duration, ranking: Duration) {
        self.searches.add(1, &[KeyValue::new("index", index_state.to_owned())]);
        self.search_time.record(took.as_secs_f64(), &[]);
        self.selection_time.record(ranking.as_secs_f64(), &[]);
        if let Some(none) = &selection.no_match {
            self.no_match.add(1, &[KeyValue::new("reason", word_of(none.reason))]);
        }
        for (reason, n) in &selection.withheld.reasons {
            self.withheld.add(*n, &[KeyValue::new("reason", reason.clone())]);
        }
    }

    pub(crate) fn called(&self, tool: &ToolId, fault: CallFault, took: Duration) {
        let upstream = KeyValue::new("upstream", tool.upstream.as_str().to_owned());
        self.call_time.record(took.as_secs_f64(), std::slice::from_ref(&upstream));
        let mut labels = vec![upstream, KeyValue::new("fault", fault_word(fault))];
        if self.options.tools {
            labels.push(KeyValue::new("tool", tool.name.as_str().to_owned()));
        }
        self.calls.add(1, &labels);
    }

    pub(crate) fn refused(&self, tool: &ToolId, reason: &'static str) {
        let upstream = KeyValue::new("upstream", tool.upstream.as_str().to_owned());
        self.refused.add(1, &[upstream, KeyValue::new("reason", reason)]);
    }

    /// Everything, in Prometheus' text format, and the content type of that.
    pub(crate) fn render(&self) -> (String, String) {
        let encoder = TextEncoder::new();
        let mut text = Vec::new();
        if let Err(error) = encoder.encode(&self.registry.gather(), &mut text) {
            tracing::warn!(error = &error as &dyn std::error::Error, "metrics not encoded");
        }
        (String::from_utf8_lossy(&text).into_owned(), encoder.format_type().to_owned())
    }

    /// What is known without counting: read when somebody scrapes.
    pub(crate) fn observe(&self, parts: &Parts) {
        self.observe_upstreams(parts);
        let (catalog, quality, clock) =
            (Arc::clone(&parts.catalog), Arc::clone(&parts.quality), Arc::clone(&parts.clock));
        let tools = self
            .meter
            .u64_observable_gauge("tools")
            .with_description("Tools of the catalog, by what they are trusted with.");
        tools
            .with_callback(move |gauge| {
                let (view, quality) = (catalog.view(), quality.view_at(clock()));
                let mut by_state = [State::Degraded, State::Quarantined, State::Probation].map(|state| (state, 0));
                for (_, tool) in quality.iter().filter(|(id, _)| view.get(id).is_some()) {
                    by_state.iter_mut().filter(|(state, _)| *state == tool.state).for_each(|(_, n)| *n += 1);
                }
                let ailing: u64 = by_state.iter().map(|(_, n)| n).sum();
                gauge.observe((view.len() as u64).saturating_sub(ailing), &[KeyValue::new("state", "healthy")]);
                for (state, n) in by_state {
                    gauge.observe(n, &[KeyValue::new("state", state.as_str())]);
                }
            })
            .build();
        let quality = Arc::clone(&parts.quality);
        let dropped = self
            .meter
            .u64_observable_counter("outcomes_dropped")
            .with_description("Outcomes that did not fit the queue.");
        dropped.with_callback(move |counter| counter.observe(quality.dropped(), &[])).build();
        if let Some(embedder) = parts.embedder.clone() {
            let hits = self
                .meter
                .u64_observable_counter("query_cache_hits")
                .with_description("Queries whose vectors were remembered.");
            hits.with_callback(move |counter| counter.observe(embedder.remembered(), &[])).build();
        }
    }

    fn observe_upstreams(&self, parts: &Parts) {
        let seen = Seen::of(parts);
        let states =
            self.meter.u64_observable_gauge("upstream_state").with_description("1 for the state an upstream is in.");
        states
            .with_callback(move |gauge| {
                let view = seen.catalog.view();
                for (id, row) in view.upstreams.iter().filter(|(id, _)| seen.may_name(id)) {
                    gauge.observe(1, &[named(id), KeyValue::new("state", row.state.as_str())]);
                }
            })
            .build();
        let (seen, quality, clock) = (Seen::of(parts), Arc::clone(&parts.quality), Arc::clone(&parts.clock));
        let circuits =
            self.meter.u64_observable_gauge("upstream_circuit").with_description("0 closed, 1 half open, 2 open.");
        circuits
            .with_callback(move |gauge| {
                for (id, known) in quality.view_at(clock()).upstreams().filter(|(id, _)| seen.may_name(id)) {
                    let value = match known.circuit {
                        CircuitState::Closed => 0,
                        CircuitState::HalfOpen => 1,
                        CircuitState::Open => 2,
                    };
                    gauge.observe(value, &[named(id)]);
                }
            })
            .build();
        let (seen, crawls) = (Seen::of(parts), Arc::clone(&self.crawls));
        let crawled =
            self.meter.u64_observable_counter("crawls").with_description("Listings of upstreams, by outcome.");
        crawled
            .with_callback(move |counter| {
                for ((id, outcome), n) in crawls.lock().iter().filter(|((id, _), _)| seen.may_name(id)) {
                    counter.observe(*n, &[named(id), KeyValue::new("outcome", *outcome)]);
                }
            })
            .build();
    }
}

/// Which upstreams a scraper may know of: those that the callers of this gateway may.
struct Seen {
    catalog: Arc<toolscout_catalog::Catalog>,
    policy: Arc<toolscout_policy::Policy>,
}

impl Seen {
    fn of(parts: &Parts) -> Self {
        Self { catalog: Arc::clone(&parts.catalog), policy: Arc::clone(&parts.policy) }
    }

    fn may_name(&self, id: &UpstreamId) -> bool {
        visible_upstream(&self.catalog.view(), &self.policy, &Caller::local(""), id)
    }
}

fn named(id: &UpstreamId) -> KeyValue {
    KeyValue::new("upstream", id.as_str().to_owned())
}

fn word_of(reason: NoMatchReason) -> &'static str {
    match reason {
        NoMatchReason::NothingIndexed => "nothing_indexed",
        NoMatchReason::FiltersLeaveNothing => "filters",
        NoMatchReason::NothingPermitted => "policy",
        NoMatchReason::NothingWorks => "out_of_order",
        NoMatchReason::NoWordMatches => "no_word",
        NoMatchReason::NothingNear => "nothing_near",
    }
}

fn fault_word(fault: CallFault) -> &'static str {
    match fault {
        CallFault::None => "none",
        CallFault::UpstreamError => "upstream_error",
        CallFault::Transport => "transport",
        CallFault::Timeout => "timeout",
        CallFault::InvalidArguments => "invalid_arguments",
        CallFault::UnsafeAttempt => "unsafe_attempt",
        CallFault::Throttled => "throttled",
        CallFault::Cancelled => "cancelled",
    }
}
