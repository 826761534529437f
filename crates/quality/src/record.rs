//! What is remembered of one tool's or one upstream's calls, and the score that comes of it. Pure.

use serde::{Deserialize, Serialize};
use toolscout_core::{CallFault, Outcome, Timestamp};

use crate::latency::Latency;
use crate::options::QualityOptions;
use crate::window::{Fading, Window, share};

/// Everything remembered of the calls.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Record {
    /// Calls that were forwarded and judged, since ever.
    pub calls: u64,
    /// Those that failed by the upstream's fault, since ever.
    pub failures: u64,
    /// Calls that failed by the caller's fault or were called off, since ever. They say nothing about the tool.
    pub caller_faults: u64,
    /// Successes that came back without any content, since ever.
    pub empty: u64,
    /// The long baseline.
    pub long: Window,
    /// What happened lately.
    pub short: Window,
    /// How long successes took.
    pub latency: Latency,
    /// The moment that the windows are for; of the last call.
    pub as_of: Timestamp,
}

/// A score and what it is made of; each part in (0, 1).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ScoreParts {
    /// The whole: 0.5 lasting + 0.4 recent + 0.1 conforming.
    pub score: f64,
    /// Believed success rate by the long baseline.
    pub lasting: f64,
    /// Believed success rate by what happened lately.
    pub recent: f64,
    /// Believed share of results that keep the tool's own output schema.
    pub conforming: f64,
}

impl Record {
    /// This record after one more outcome. Outcomes that arrive late (older than `as_of`) count as of now.
    #[must_use]
    pub fn after(mut self, outcome: &Outcome, options: &QualityOptions) -> Self {
        let age = outcome.at.since(self.as_of);
        self.long = self.long.after(outcome, age, long(options));
        self.short = self.short.after(outcome, age, short(options));
        self.as_of = self.as_of.max(outcome.at);
        match outcome.fault {
            CallFault::None => {
                self.calls += 1;
                self.empty += u64::from(outcome.empty);
                self.latency.add(outcome.latency_ms);
            }
            CallFault::UpstreamError | CallFault::Transport | CallFault::Timeout => {
                self.calls += 1;
                self.failures += 1;
            }
            CallFault::InvalidArguments | CallFault::UnsafeAttempt | CallFault::Throttled | CallFault::Cancelled => {
                self.caller_faults += 1
            }
        }
        self
    }

    /// The windows at `now`: the long baseline and what happened lately.
    pub fn windows(&self, now: Timestamp, options: &QualityOptions) -> (Window, Window) {
        let age = now.since(self.as_of);
        (self.long.faded(age, long(options)), self.short.faded(age, short(options)))
    }

    /// The score at `now`.
    ///
    /// Each part is the mean of a Beta distribution: (prior successes + successes) / (prior calls + calls), successes and calls
    /// weighted by age. What the long baseline says is the prior of the recent part. Reading: with the default prior of 4.5 of
    /// 5, five failures in a row bring 0.90 down to 0.42, and a week without calls brings it most of the way back.
    pub fn score(&self, now: Timestamp, options: &QualityOptions) -> ScoreParts {
        let (long, short) = self.windows(now, options);
        let believed = |prior: f64, good: f64, all: f64| {
            (prior * options.prior_calls + good) / (options.prior_calls + all).max(f64::MIN_POSITIVE)
        };
        let lasting = believed(options.prior_success, long.good(), long.judged);
        let recent = believed(lasting, short.good(), short.judged);
        let conforming = believed(options.prior_success, long.structured - long.violating, long.structured);
        ScoreParts { score: 0.5 * lasting + 0.4 * recent + 0.1 * conforming, lasting, recent, conforming }
    }

    /// How far the share of failures lies above the long baseline's: below 0 where it got better.
    pub fn drift(&self) -> f64 {
        share(self.short.failed, self.short.judged) - share(self.long.failed, self.long.judged)
    }
}

/// How the long baseline fades.
pub(crate) fn long(options: &QualityOptions) -> Fading {
    Fading { half_life_ms: options.half_life_ms, half_life_calls: None }
}

/// How the short window fades.
pub(crate) fn short(options: &QualityOptions) -> Fading {
    Fading { half_life_ms: options.short_half_life_ms, half_life_calls: Some(options.short_half_life_calls) }
}

#[cfg(test)]
mod tests {
    //! 1. A score and its parts lie strictly between 0 and 1, whatever happened.
    //! 2. A success that keeps its schema never lowers it, an upstream's fault never raises it, a caller's fault leaves it alone.
    //! 3. Without calls it returns to the prior.

    use proptest::prelude::*;

    use super::*;
    use crate::testing::{any_fault, outcome};

    const DAY: u64 = 24 * 60 * 60 * 1000;

    #[track_caller]
    fn check(faults: &[CallFault], later: u64, expect: &str) {
        let options = QualityOptions::default();
        let record = faults.iter().fold(Record::default(), |r, &fault| r.after(&outcome("a:b", fault, 0), &options));
        assert_eq!(format!("{:.2}", record.score(Timestamp(later), &options).score), expect, "{faults:?}");
    }

    #[test]
    fn scores_read_as_success_rates() {
        check(&[], 0, "0.90");
        check(&[CallFault::None; 20], 0, "0.98");
        check(&[CallFault::Timeout; 5], 0, "0.41");
        check(&[CallFault::Timeout; 5], 7 * DAY, "0.77");
        check(&[CallFault::UpstreamError; 100], 0, "0.11");
        check(&[CallFault::UpstreamError; 100], 365 * DAY, "0.90");
        check(&[CallFault::InvalidArguments; 100], 0, "0.90");
    }

    #[test]
    fn results_that_break_their_schema_lower_the_score() {
        let options = QualityOptions::default();
        let of = |conforms| {
            let one = Outcome { conforms, ..outcome("a:b", CallFault::None, 0) };
            (0..20)
                .fold(Record::default(), |record, _| record.after(&one, &options))
                .score(Timestamp(0), &options)
                .score
        };
        assert!(of(Some(true)) > of(None) && of(None) > of(Some(false)));
    }

    proptest! {
        #[test]
        fn every_outcome_moves_the_score_the_right_way(
            events in prop::collection::vec((any_fault(), 0u64..1_000_000, 0u64..30 * DAY), 1..60)
        ) {
            let options = QualityOptions::default();
            let mut record = Record::default();
            for (fault, latency_ms, at) in events {
                let now = Timestamp(at).max(record.as_of);
                let before = record.score(now, &options).score;
                record = record.after(&Outcome { latency_ms, ..outcome("a:b", fault, at) }, &options);
                let ScoreParts { score: after, lasting, recent, conforming } = record.score(now, &options);
                prop_assert!([after, lasting, recent, conforming].iter().all(|part| *part > 0.0 && *part < 1.0));
                match fault {
                    CallFault::None => prop_assert!(after >= before),
                    fault if fault.is_upstreams() => prop_assert!(after <= before),
                    _ => prop_assert!((after - before).abs() < 1e-9),
                }
            }
        }
    }
}
