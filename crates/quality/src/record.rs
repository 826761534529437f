//! What is remembered of one tool's calls, and the formulae that turn it into a score. Pure.

use serde::{Deserialize, Serialize};
use toolscout_core::{CallFault, Outcome, Timestamp};

/// How outcomes become scores.
#[derive(Debug, Clone)]
pub struct QualityOptions {
    /// Outcomes that may wait for the folding thread. More are dropped and counted.
    pub queue: usize,
    /// The success rate a tool is believed to have before anything is known of it, in (0, 1).
    pub prior_success: f64,
    /// How many calls that belief is worth.
    pub prior_calls: f64,
    /// After this many milliseconds an outcome counts half.
    pub half_life_ms: u64,
}

impl Default for QualityOptions {
    fn default() -> Self {
        Self { queue: 4_096, prior_success: 0.9, prior_calls: 5.0, half_life_ms: 3 * 24 * 60 * 60 * 1000 }
    }
}

/// Latency buckets grow by half each: 1, 1.5, 2.25, … milliseconds; the last begins near five minutes.
pub const LATENCY_BUCKETS: usize = 32;
const BUCKET_GROWTH: f64 = 1.5;

/// Everything remembered of one tool. A row in the store; see [`ROW_VERSION`].
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
    /// Successes, each weighted by its age at `as_of`.
    pub good: f64,
    /// Failures, each weighted by its age at `as_of`.
    pub bad: f64,
    /// Age-weighted counts of latencies, one per bucket.
    pub latency: Vec<f64>,
    /// The moment that the weights are for.
    pub as_of: Timestamp,
}

/// The newest layout of [`Record`] on disk.
pub const ROW_VERSION: u8 = 1;

impl Record {
    /// This record after one more outcome. Outcomes that arrive late (older than `as_of`) count as of now.
    #[must_use]
    pub fn after(mut self, outcome: &Outcome, options: &QualityOptions) -> Self {
        self.age(outcome.at, options);
        match outcome.fault {
            CallFault::None => {
                self.calls += 1;
                self.empty += u64::from(outcome.empty);
                self.good += 1.0;
                self.count_latency(outcome.latency_ms);
            }
            CallFault::UpstreamError | CallFault::Transport | CallFault::Timeout => {
                self.calls += 1;
                self.failures += 1;
                self.bad += 1.0;
            }
            CallFault::InvalidArguments | CallFault::UnsafeAttempt | CallFault::Throttled | CallFault::Cancelled => {
                self.caller_faults += 1
            }
        }
        self
    }

    /// Lets the weights fade to `now`.
    fn age(&mut self, now: Timestamp, options: &QualityOptions) {
        let keep = fade(now.since(self.as_of), options);
        self.good *= keep;
        self.bad *= keep;
        self.latency.iter_mut().for_each(|weight| *weight *= keep);
        self.as_of = self.as_of.max(now);
    }

    fn count_latency(&mut self, millis: u64) {
        self.latency.resize(LATENCY_BUCKETS, 0.0);
        self.latency[bucket_of(millis)] += 1.0;
    }

    /// The believed success rate at `now`.
    ///
    /// The mean of a Beta distribution: (prior successes + successes) / (prior calls + calls), with outcomes weighted by
    /// 2^(-age / half-life). Reading: with the default prior of 4.5 of 5, five failures in a row halve the score, and a week
    /// without calls brings it most of the way back.
    pub fn score(&self, now: Timestamp, options: &QualityOptions) -> f64 {
        let keep = fade(now.since(self.as_of), options);
        let (good, bad) = (self.good * keep, self.bad * keep);
        (options.prior_success * options.prior_calls + good) / (options.prior_calls + good + bad)
    }

    /// The latency that half of the recent successes stay below, in milliseconds, to a bucket's width.
    pub fn p50_ms(&self) -> Option<u64> {
        let half = self.latency.iter().sum::<f64>() / 2.0;
        // Weights that have faded to nothing say nothing.
        if half < 1e-6 {
            return None;
        }
        let mut below = 0.0;
        for (bucket, weight) in self.latency.iter().enumerate() {
            if below + weight >= half {
                let inside = (half - below) / weight;
                let (low, high) = (bucket_start(bucket), bucket_start(bucket + 1));
                return Some((low + (high - low) * inside).round() as u64);
            }
            below += weight;
        }
        None
    }
}

fn fade(age_ms: u64, options: &QualityOptions) -> f64 {
    (-(age_ms as f64) / options.half_life_ms.max(1) as f64).exp2()
}

fn bucket_of(millis: u64) -> usize {
    let bucket = (millis.max(1) as f64).ln() / BUCKET_GROWTH.ln();
    (bucket as usize).min(LATENCY_BUCKETS - 1)
}

fn bucket_start(bucket: usize) -> f64 {
    BUCKET_GROWTH.powi(i32::try_from(bucket).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    //! 1. A score lies strictly between 0 and 1, whatever happened.
    //! 2. A success never lowers it, an upstream's fault never raises it, a caller's fault leaves it alone.
    //! 3. Without calls it returns to the prior.
    //! 4. The p50 is within a bucket (a factor of 1.5) of the true one.

    use proptest::prelude::*;
    use toolscout_core::Generation;

    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1000;

    fn outcome(fault: CallFault, latency_ms: u64, at: u64) -> Outcome {
        Outcome {
            tool: "a:b".parse().unwrap(),
            generation: Generation(1),
            selection: None,
            fault,
            latency_ms,
            result_bytes: 10,
            empty: false,
            at: Timestamp(at),
        }
    }

    fn any_fault() -> impl Strategy<Value = CallFault> {
        prop::sample::select(vec![
            CallFault::None,
            CallFault::UpstreamError,
            CallFault::Transport,
            CallFault::Timeout,
            CallFault::InvalidArguments,
            CallFault::UnsafeAttempt,
            CallFault::Throttled,
            CallFault::Cancelled,
        ])
    }

    #[track_caller]
    fn check(faults: &[CallFault], later: u64, expect: &str) {
        let options = QualityOptions::default();
        let record = faults.iter().fold(Record::default(), |r, &fault| r.after(&outcome(fault, 10, 0), &options));
        assert_eq!(format!("{:.2}", record.score(Timestamp(later), &options)), expect, "{faults:?}");
    }

    #[test]
    fn scores_read_as_success_rates() {
        check(&[], 0, "0.90");
        check(&[CallFault::None; 20], 0, "0.98");
        check(&[CallFault::Timeout; 5], 0, "0.45");
        check(&[CallFault::Timeout; 5], 7 * DAY, "0.75");
        check(&[CallFault::UpstreamError; 100], 0, "0.04");
        check(&[CallFault::UpstreamError; 100], 365 * DAY, "0.90");
        check(&[CallFault::InvalidArguments; 100], 0, "0.90");
    }

    proptest! {
        #[test]
        fn every_outcome_moves_the_score_the_right_way(
            events in prop::collection::vec((any_fault(), 0u64..1_000_000, 0u64..30 * DAY), 1..60)
        ) {
            let options = QualityOptions::default();
            let mut record = Record::default();
            for (fault, latency, at) in events {
                let now = Timestamp(at).max(record.as_of);
                let before = record.score(now, &options);
                record = record.after(&outcome(fault, latency, at), &options);
                let after = record.score(now, &options);
                prop_assert!(after > 0.0 && after < 1.0, "{after}");
                match fault {
                    CallFault::None => prop_assert!(after >= before),
                    fault if fault.is_upstreams() => prop_assert!(after <= before),
                    _ => prop_assert!((after - before).abs() < 1e-9),
                }
            }
        }

        #[test]
        fn p50_is_within_a_bucket_of_the_true_one(mut latencies in prop::collection::vec(1u64..100_000, 1..200)) {
            let options = QualityOptions::default();
            let record = latencies
                .iter()
                .fold(Record::default(), |r, &ms| r.after(&outcome(CallFault::None, ms, 0), &options));
            latencies.sort_unstable();
            let p50 = record.p50_ms().unwrap() as f64;
            let lower = latencies[(latencies.len() - 1) / 2] as f64;
            let upper = latencies[latencies.len() / 2] as f64;
            prop_assert!(p50 + 1.0 >= lower / BUCKET_GROWTH && p50 - 1.0 <= upper * BUCKET_GROWTH, "{p50} {lower} {upper}");
        }
    }
}
