//! What is known of one tool and of one upstream, as readers see it.

use serde::{Serialize, Serializer};
use toolscout_core::Timestamp;

use crate::book::{Tool, Upstream, Verdict, with_reason};
use crate::circuit::{Circuit, CircuitState};
use crate::health::{Health, State};
use crate::options::QualityOptions;
use crate::record::{Record, ScoreParts};
use crate::window::{Window, interval, share};

/// One tool's quality.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolQuality {
    /// Believed success rate, in (0, 1), and what it is made of; the prior when nothing is known.
    #[serde(flatten)]
    pub score: ScoreParts,
    /// What it is trusted with.
    pub state: State,
    /// Since when; absent for a tool that never was anything but healthy.
    #[serde(serialize_with = "moment", skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When a quarantine ends by itself.
    #[serde(serialize_with = "moment", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why it is not healthy, or who released it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether an operator decided so.
    pub by_operator: bool,
    /// Calls judged, since ever.
    pub calls: u64,
    /// Those that failed by the upstream's fault, since ever.
    pub failures: u64,
    /// Calls that failed by the caller's fault, since ever; they do not count in `score`.
    pub caller_faults: u64,
    /// Successes without any content, since ever.
    pub empty: u64,
    /// What happened lately.
    pub lately: Rates,
    /// Callers often get its arguments wrong: what its description says may mislead.
    pub misleading: bool,
    /// The latency that half of the recent successes stay below, in milliseconds.
    pub p50_ms: Option<u64>,
    /// The latency that all but a twentieth of the recent successes stay below, in milliseconds.
    pub p95_ms: Option<u64>,
    /// When it was last called.
    #[serde(serialize_with = "moment")]
    pub last_call: Option<Timestamp>,
    /// Its last changes of state, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Told>,
}

/// One change of state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    /// When, UTC.
    pub at: String,
    /// Into what.
    pub state: State,
    /// Why.
    pub reason: String,
}

/// Shares of what happened lately, each of the calls that could have gone so.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// How many judged calls they are taken from, older ones counting less.
    pub evidence: f64,
    /// Answered with an error.
    pub errors: f64,
    /// No connection.
    pub transport: f64,
    /// No answer in time.
    pub timeouts: f64,
    /// Results that break the tool's own output schema.
    pub violating: f64,
    /// Successes without content.
    pub empty: f64,
    /// Arguments that do not fit.
    pub invalid_arguments: f64,
    /// Refused by policy because of their effect.
    pub unsafe_attempts: f64,
    /// How far the share of failures lies above the long baseline's.
    pub drift: f64,
}

impl Rates {
    /// The ends of what the share of failures may be.
    pub(crate) fn failed(&self) -> (f64, f64) {
        interval((self.errors + self.transport + self.timeouts) * self.evidence, self.evidence)
    }

    fn new(record: &Record, short: &Window) -> Self {
        let rounded = |share: f64| (share * 1_000.0).round() / 1_000.0;
        let of = |part, whole| rounded(share(part, whole));
        Self {
            evidence: rounded(short.judged),
            errors: of(short.errors, short.judged),
            transport: of(short.transport, short.judged),
            timeouts: of(short.timeouts, short.judged),
            violating: of(short.violating, short.structured),
            empty: of(short.empty, short.good()),
            invalid_arguments: of(short.invalid, short.asked),
            unsafe_attempts: of(short.unsafe_attempts, short.asked),
            drift: rounded(record.drift()),
        }
    }
}

/// One upstream's quality.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UpstreamQuality {
    /// Believed success rate over all of its tools, and what it is made of.
    #[serde(flatten)]
    pub score: ScoreParts,
    /// Whether calls go through.
    pub circuit: CircuitState,
    /// Since when; absent for one that never was anything but closed.
    #[serde(serialize_with = "moment", skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When an open circuit is tried.
    #[serde(serialize_with = "moment", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why it is not closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Calls go through, and more of them fail than should, of two tools at least.
    pub degraded: bool,
    /// Calls judged, since ever.
    pub calls: u64,
    /// Those that failed by its fault, since ever.
    pub failures: u64,
    /// What happened lately.
    pub lately: Rates,
    /// See [`ToolQuality::p50_ms`].
    pub p50_ms: Option<u64>,
    /// See [`ToolQuality::p95_ms`].
    pub p95_ms: Option<u64>,
    /// When one of its tools was last called.
    #[serde(serialize_with = "moment")]
    pub last_call: Option<Timestamp>,
}

pub(crate) fn tool_quality(tool: &Tool, now: Timestamp, options: &QualityOptions) -> ToolQuality {
    let record = &tool.record;
    let (_, short) = record.windows(now, options);
    let (p50_ms, p95_ms) = record.latency.p50_p95();
    // What an earlier start put aside by itself is not held when nothing is to be.
    let health = if options.automatic { tool.health.clone().at(now) } else { Health::default() };
    let mut quality = ToolQuality {
        score: record.score(now, options),
        state: health.state,
        since: (health.since != Timestamp::default()).then_some(health.since),
        until: (health.state == State::Quarantined).then_some(health.until),
        reason: health.reason.as_ref().map(ToString::to_string),
        by_operator: false,
        calls: record.calls,
        failures: record.failures,
        caller_faults: record.caller_faults,
        empty: record.empty,
        lately: Rates::new(record, &short),
        // As many calls as an opinion needs, and more of them wrong than one can blame on a careless caller.
        misleading: short.asked >= 10.0 && share(short.invalid, short.asked) > 0.4,
        p50_ms,
        p95_ms,
        last_call: (record.calls + record.caller_faults > 0).then_some(record.as_of),
        history: tool
            .history
            .iter()
            .map(|change| Told { at: change.at.rfc3339(), state: change.state, reason: change.reason.clone() })
            .collect(),
    };
    if let Some(decision) = tool.decided(now, options) {
        let (state, what) = match decision.verdict {
            Verdict::Quarantine => (State::Quarantined, "put aside by the operator"),
            Verdict::Release => (State::Healthy, "released by the operator"),
        };
        (quality.state, quality.since, quality.until) = (state, Some(decision.at), None);
        (quality.reason, quality.by_operator) = (Some(with_reason(what, &decision.reason)), true);
    }
    quality
}

pub(crate) fn upstream_quality(upstream: &Upstream, now: Timestamp, options: &QualityOptions) -> UpstreamQuality {
    let record = &upstream.record;
    let (_, short) = record.windows(now, options);
    let (p50_ms, p95_ms) = record.latency.p50_p95();
    let circuit = if options.automatic { upstream.circuit.clone().at(now) } else { Circuit::default() };
    UpstreamQuality {
        score: record.score(now, options),
        circuit: circuit.state,
        since: (circuit.since != Timestamp::default()).then_some(circuit.since),
        until: (circuit.state == CircuitState::Open).then_some(circuit.until),
        reason: circuit.reason.as_ref().map(ToString::to_string),
        degraded: options.automatic
            && circuit.state == CircuitState::Closed
            && is_degraded(upstream, &short, now, options),
        calls: record.calls,
        failures: record.failures,
        lately: Rates::new(record, &short),
        p50_ms,
        p95_ms,
        last_call: (record.calls + record.caller_faults > 0).then_some(record.as_of),
    }
}

/// Whether a server fails more often than it should: surely so over all of its calls, and not for one bad tool alone.
fn is_degraded(upstream: &Upstream, short: &Window, now: Timestamp, options: &QualityOptions) -> bool {
    let thresholds = &options.quarantine;
    let ails = |tool: &&Tool| tool.health.clone().at(now).state != State::Healthy || tool.health.streak > 1;
    short.judged >= thresholds.min_calls
        && interval(short.failed, short.judged).0 >= thresholds.degraded_share
        && upstream.tools.values().filter(ails).take(2).count() == 2
}

fn moment<S: Serializer>(moment: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match moment {
        Some(moment) => serializer.serialize_some(&moment.rfc3339()),
        None => serializer.serialize_none(),
    }
}
