//! Counts that fade: the share of what went wrong lately. Pure.

use serde::{Deserialize, Serialize};
use toolscout_core::{CallFault, Outcome};

/// How fast counts fade.
#[derive(Debug, Clone, Copy)]
pub struct Fading {
    /// After so many milliseconds an outcome counts half.
    pub half_life_ms: u64,
    /// After so many further outcomes too; `None` lets only time pass.
    pub half_life_calls: Option<f64>,
}

/// Outcomes of one tool or upstream by kind, each weighted by its age.
///
/// Two totals, because they answer different questions: `judged` holds the calls that the upstream did well or badly, `asked`
/// all calls, also those that never reached it or failed by the caller's fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "[u64; N_COUNTS]", into = "[u64; N_COUNTS]")]
pub struct Window {
    /// Calls that say something about the upstream.
    pub judged: f64,
    /// Those that failed by its fault.
    pub failed: f64,
    /// Of these: answered with an error.
    pub errors: f64,
    /// Of these: no connection.
    pub transport: f64,
    /// Of these: no answer in time.
    pub timeouts: f64,
    /// Results that could be held against the tool's output schema.
    pub structured: f64,
    /// Those that break it.
    pub violating: f64,
    /// Successes without content.
    pub empty: f64,
    /// All calls.
    pub asked: f64,
    /// Those with arguments that do not fit.
    pub invalid: f64,
    /// Those that policy refused because of their effect.
    pub unsafe_attempts: f64,
}

const N_COUNTS: usize = 11;

impl Window {
    /// This window after one more outcome, `age_ms` after the one before.
    #[must_use]
    pub fn after(self, outcome: &Outcome, age_ms: u64, fading: Fading) -> Self {
        let by_call = fading.half_life_calls.map_or(1.0, |calls| (-1.0 / calls.max(f64::MIN_POSITIVE)).exp2());
        let mut window = self.faded(age_ms, fading);
        window.scale_asked(by_call);
        window.asked += 1.0;
        let (good, failed) = (outcome.fault == CallFault::None, outcome.fault.is_upstreams());
        if good || failed {
            window.scale_judged(by_call);
            window.judged += 1.0;
        }
        match outcome.fault {
            CallFault::None => {
                window.empty += f64::from(u8::from(outcome.empty));
                window.structured += f64::from(u8::from(outcome.conforms.is_some()));
                window.violating += f64::from(u8::from(outcome.conforms == Some(false)));
            }
            CallFault::UpstreamError => window.errors += 1.0,
            CallFault::Transport => window.transport += 1.0,
            CallFault::Timeout => window.timeouts += 1.0,
            CallFault::InvalidArguments => window.invalid += 1.0,
            CallFault::UnsafeAttempt => window.unsafe_attempts += 1.0,
            CallFault::Throttled | CallFault::Cancelled => {}
        }
        window.failed += f64::from(u8::from(failed));
        window
    }

    /// This window when `age_ms` have passed.
    #[must_use]
    pub fn faded(mut self, age_ms: u64, fading: Fading) -> Self {
        let keep = (-(age_ms as f64) / fading.half_life_ms.max(1) as f64).exp2();
        self.scale_judged(keep);
        self.scale_asked(keep);
        self
    }

    /// Successes.
    pub fn good(&self) -> f64 {
        self.judged - self.failed
    }

    fn scale_judged(&mut self, keep: f64) {
        let Self { judged, failed, errors, transport, timeouts, structured, violating, empty, .. } = self;
        for count in [judged, failed, errors, transport, timeouts, structured, violating, empty] {
            *count *= keep;
        }
    }

    fn scale_asked(&mut self, keep: f64) {
        for count in [&mut self.asked, &mut self.invalid, &mut self.unsafe_attempts] {
            *count *= keep;
        }
    }
}

/// As bits: decimal text would not come back to the last digit, and replayed state must equal kept state.
impl From<Window> for [u64; N_COUNTS] {
    fn from(w: Window) -> Self {
        let counts = [
            w.judged,
            w.failed,
            w.errors,
            w.transport,
            w.timeouts,
            w.structured,
            w.violating,
            w.empty,
            w.asked,
            w.invalid,
            w.unsafe_attempts,
        ];
        counts.map(f64::to_bits)
    }
}

impl From<[u64; N_COUNTS]> for Window {
    fn from(bits: [u64; N_COUNTS]) -> Self {
        let count = |bits| {
            let count = f64::from_bits(bits);
            if count.is_finite() && count >= 0.0 { count } else { 0.0 }
        };
        let [
            judged,
            failed,
            errors,
            transport,
            timeouts,
            structured,
            violating,
            empty,
            asked,
            invalid,
            unsafe_attempts,
        ] = bits.map(count);
        Self {
            judged,
            failed,
            errors,
            transport,
            timeouts,
            structured,
            violating,
            empty,
            asked,
            invalid,
            unsafe_attempts,
        }
    }
}

/// The ends of Wilson's interval for a share, two standard deviations wide to either side; from 0 to 1 when nothing was counted.
///
/// E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927. Reading: the true share lies
/// between the two in some 95 of 100 cases, and the interval is wide where little was counted.
pub fn interval(part: f64, whole: f64) -> (f64, f64) {
    const Z2: f64 = 4.0;
    if whole <= 0.0 {
        return (0.0, 1.0);
    }
    let share = (part / whole).clamp(0.0, 1.0);
    let centre = share + Z2 / (2.0 * whole);
    let spread = (Z2 * (share * (1.0 - share) / whole + Z2 / (4.0 * whole * whole))).sqrt();
    let scale = 1.0 + Z2 / whole;
    (((centre - spread) / scale).max(0.0), ((centre + spread) / scale).min(1.0))
}

/// A share, 0 where nothing was counted.
pub(crate) fn share(part: f64, whole: f64) -> f64 {
    if whole < 1e-6 { 0.0 } else { (part / whole).clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(part: f64, whole: f64, expect: &str) {
        let (low, high) = interval(part, whole);
        assert_eq!(format!("{low:.2} {high:.2}"), expect, "{part} of {whole}");
    }

    #[test]
    fn few_calls_say_little() {
        check(0.0, 0.0, "0.00 1.00");
        check(1.0, 1.0, "0.20 1.00");
        check(5.0, 5.0, "0.56 1.00");
        check(0.0, 20.0, "0.00 0.17");
        check(10.0, 20.0, "0.30 0.70");
        check(500.0, 1_000.0, "0.47 0.53");
    }
}
