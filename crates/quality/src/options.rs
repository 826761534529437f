//! Every knob, with its unit.

/// How outcomes become scores and decisions.
#[derive(Debug, Clone)]
pub struct QualityOptions {
    /// Outcomes that may wait for the folding thread. More are dropped and counted.
    pub queue: usize,
    /// The success rate a tool is believed to have before anything is known of it, in (0, 1).
    pub prior_success: f64,
    /// How many calls that belief is worth.
    pub prior_calls: f64,
    /// The long baseline: after this many milliseconds an outcome counts half. 3 days.
    pub half_life_ms: u64,
    /// The short window: after this many milliseconds an outcome counts half. 6 hours.
    pub short_half_life_ms: u64,
    /// The short window: after this many further outcomes one counts half. A busy tool's window is minutes long, a rare one's
    /// hours. 16.
    pub short_half_life_calls: f64,
    /// Whether tools and upstreams are put aside by what their calls say. Without, only an operator does. On.
    pub automatic: bool,
    /// Whether the writing tools of an upstream that fails more often than it should are withheld, and its reading ones kept.
    /// For ten minutes after its last call, then it is tried again. Off.
    pub read_only_fallback: bool,
    /// When a tool is put aside.
    pub quarantine: QuarantineOptions,
    /// When a whole upstream is.
    pub circuit: CircuitOptions,
    /// Events in the log. Older ones are folded into what is known of each tool, so that counts are kept and single calls are
    /// not. 20,000, some 5 MB.
    pub keep_events: usize,
    /// A tool that was not called for so many milliseconds is forgotten, unless an operator decided about it. 180 days.
    pub forget_after_ms: u64,
}

/// The thresholds of one tool's states.
///
/// Shares are compared by the lower end of Wilson's interval at two standard deviations: what the true share exceeds in
/// some 98 of 100 cases. Few calls give a wide interval, so nothing moves before there is evidence: five failures of five reach 0.55,
/// two of two 0.33.
#[derive(Debug, Clone)]
pub struct QuarantineOptions {
    /// Calls in the window, older ones counting less, before any share is looked at. 4.5, which five calls in a row reach.
    pub min_calls: f64,
    /// Failures in a row that are enough by themselves. 5.
    pub in_a_row: u32,
    /// Share of failures from which a tool is degraded. 0.1.
    pub degraded_share: f64,
    /// Share of failures from which it is put aside. 0.35.
    pub failed_share: f64,
    /// Share of timeouts from which it is put aside: each costs its caller the whole deadline. 0.25.
    pub timeout_share: f64,
    /// Share of results that break the tool's own output schema from which it is put aside. 0.35.
    pub violating_share: f64,
    /// How far the share of failures must lie above the tool's own long baseline to be a regression. 0.1.
    pub regression: f64,
    /// Calls in the long baseline before anything is held against it. 30.
    pub min_baseline: f64,
    /// Degraded when its slow calls (p95) take so many times as long as they used to. 3.
    pub slow_factor: f64,
    /// First time aside, in milliseconds. Doubles with each relapse. 30 s.
    pub backoff_ms: u64,
    /// Longest time aside, in milliseconds. 1 h.
    pub backoff_cap_ms: u64,
    /// A tool that stayed well for so long starts again at the first time aside. 6 h.
    pub relapse_ms: u64,
    /// For so long after an operator's release the automaton leaves a tool alone. 24 h.
    pub released_ms: u64,
}

/// The thresholds of one upstream's circuit.
#[derive(Debug, Clone)]
pub struct CircuitOptions {
    /// Unanswered calls (no connection, no answer in time) in a row, over at least two tools, that open it. 5.
    pub unanswered_in_a_row: u32,
    /// Failures of any kind in a row, over at least three tools, that open it: a server that answers nothing but errors. 12.
    pub failed_in_a_row: u32,
    /// First time open, in milliseconds. Doubles with each failed trial. 15 s.
    pub backoff_ms: u64,
    /// Longest time open, in milliseconds. 10 min.
    pub backoff_cap_ms: u64,
}

impl Default for QualityOptions {
    fn default() -> Self {
        Self {
            queue: 4_096,
            prior_success: 0.9,
            prior_calls: 5.0,
            half_life_ms: 3 * 24 * HOUR,
            short_half_life_ms: 6 * HOUR,
            short_half_life_calls: 16.0,
            automatic: true,
            read_only_fallback: false,
            quarantine: QuarantineOptions::default(),
            circuit: CircuitOptions::default(),
            keep_events: 20_000,
            forget_after_ms: 180 * 24 * HOUR,
        }
    }
}

impl Default for QuarantineOptions {
    fn default() -> Self {
        Self {
            min_calls: 4.5,
            in_a_row: 5,
            degraded_share: 0.1,
            failed_share: 0.35,
            timeout_share: 0.25,
            violating_share: 0.35,
            regression: 0.1,
            min_baseline: 30.0,
            slow_factor: 3.0,
            backoff_ms: 30_000,
            backoff_cap_ms: HOUR,
            relapse_ms: 6 * HOUR,
            released_ms: 24 * HOUR,
        }
    }
}

impl Default for CircuitOptions {
    fn default() -> Self {
        Self { unanswered_in_a_row: 5, failed_in_a_row: 12, backoff_ms: 15_000, backoff_cap_ms: 10 * 60_000 }
    }
}

const HOUR: u64 = 60 * 60 * 1000;

/// `first` doubled for every level above 1, at most `cap`.
pub(crate) fn backoff(first_ms: u64, cap_ms: u64, level: u32) -> u64 {
    let doublings = level.saturating_sub(1).min(40);
    first_ms.saturating_mul(1 << doublings).min(cap_ms.max(first_ms))
}
