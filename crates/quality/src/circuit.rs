//! One upstream's circuit breaker: a dead server is one fact, not forty quarantines. A state machine without a clock.

use std::fmt;

use serde::{Deserialize, Serialize};
use toolscout_core::{CallFault, Outcome, Timestamp};

use crate::options::{CircuitOptions, backoff};
use crate::silence::{Heard, Listing, Silence, UNLISTED};

/// Whether calls go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// They do.
    #[default]
    Closed,
    /// None does until the backoff is over.
    Open,
    /// One, whose outcome decides.
    HalfOpen,
}

impl CircuitState {
    /// The word for outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Why a circuit is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outage {
    /// So many calls without an answer in a row, over several tools.
    Unanswered(u32),
    /// So many failures in a row, over several tools.
    Failing(u32),
    /// The call that tried it failed.
    StillDown,
    /// Before a call tried it, it did not even list its tools.
    Unlisted,
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unanswered(n) => write!(f, "its server left {n} calls in a row unanswered"),
            Self::Failing(n) => write!(f, "all of its server's last {n} calls failed"),
            Self::StillDown => write!(f, "its server failed again when it was tried"),
            Self::Unlisted => f.write_str(UNLISTED),
        }
    }
}

/// Where an upstream stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Circuit {
    /// Its state.
    pub state: CircuitState,
    /// Since when.
    pub since: Timestamp,
    /// When it is tried again.
    pub until: Timestamp,
    /// Why it is not closed.
    pub reason: Option<Outage>,
    /// Times in a row that it was opened without a success between.
    pub level: u32,
    /// Failures in a row.
    pub run: u32,
    /// Of these, those without any answer.
    pub unanswered: u32,
    /// When the first of the run began.
    pub run_began: Timestamp,
    /// Whether it is open for silence, and what listings have said since.
    #[serde(default)]
    pub silence: Silence,
}

impl Circuit {
    /// Where it stands at `now`, without anything having happened.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        match self.state {
            CircuitState::Open if now >= self.until => {
                Self { state: CircuitState::HalfOpen, since: self.until, ..self }
            }
            CircuitState::Open | CircuitState::Closed | CircuitState::HalfOpen => self,
        }
    }

    /// Where it stands after an outcome of one of its tools. `n_failing` counts the tools that failed in the run.
    #[must_use]
    pub fn after(self, outcome: &Outcome, n_failing: impl Fn(Timestamp) -> usize, options: &CircuitOptions) -> Self {
        let now = outcome.at;
        let mut circuit = self.at(now);
        let failed = outcome.fault.is_upstreams();
        if !failed && outcome.fault != CallFault::None {
            return circuit;
        }
        let is_of_now = outcome.started() >= circuit.since;
        match circuit.state {
            // Calls that were under way when it opened.
            CircuitState::Open => circuit,
            CircuitState::HalfOpen if !is_of_now => circuit,
            CircuitState::HalfOpen if failed => {
                circuit.opened(Outage::StillDown, Silence::new(is_silent(outcome.fault), now), now, options)
            }
            CircuitState::HalfOpen => Self { since: now, ..Self::default() },
            CircuitState::Closed if !is_of_now && failed => circuit,
            CircuitState::Closed if !failed => Self { level: 0, run: 0, unanswered: 0, ..circuit },
            CircuitState::Closed => {
                if circuit.run == 0 {
                    circuit.run_began = outcome.started();
                }
                circuit.run = circuit.run.saturating_add(1);
                circuit.unanswered = circuit.unanswered.saturating_add(u32::from(is_silent(outcome.fault)));
                let n_failing = || n_failing(circuit.run_began);
                if circuit.unanswered >= options.unanswered_in_a_row.max(1) && n_failing() >= 2 {
                    let reason = Outage::Unanswered(circuit.unanswered);
                    circuit.opened(reason, Silence::new(true, now), now, options)
                } else if circuit.run >= options.failed_in_a_row.max(1) && n_failing() >= 3 {
                    let reason = Outage::Failing(circuit.run);
                    circuit.opened(reason, Silence::new(false, now), now, options)
                } else {
                    circuit
                }
            }
        }
    }

    /// Where it stands after its server was asked for its tools. A listing never closes it.
    #[must_use]
    pub fn listed(self, listing: &Listing, options: &CircuitOptions) -> Self {
        let now = listing.at;
        let mut circuit = self.at(now);
        if circuit.state == CircuitState::Closed {
            return circuit;
        }
        match circuit.silence.hear(listing, circuit.until) {
            Heard::Silence => {
                let silence = circuit.silence.clone().goes_on(now);
                circuit.opened(Outage::Unlisted, silence, now, options)
            }
            Heard::Return if circuit.state == CircuitState::Open => {
                Self { state: CircuitState::HalfOpen, since: now, until: now, ..circuit }
            }
            Heard::Return | Heard::Nothing => circuit,
        }
    }

    /// From when on its server is to be listed, if it is.
    pub(crate) fn wants_listing(&self) -> Option<Timestamp> {
        if self.state == CircuitState::Closed { None } else { self.silence.wants_from(self.until) }
    }

    fn opened(self, reason: Outage, silence: Silence, now: Timestamp, options: &CircuitOptions) -> Self {
        let level = self.level.saturating_add(1);
        let until = now.plus(backoff(options.backoff_ms, options.backoff_cap_ms, level));
        let (state, reason) = (CircuitState::Open, Some(reason));
        Self { state, since: now, until, reason, level, run_began: self.run_began, run: 0, unanswered: 0, silence }
    }
}

/// Whether a call had no answer at all.
pub(crate) fn is_silent(fault: CallFault) -> bool {
    matches!(fault, CallFault::Transport | CallFault::Timeout)
}

#[cfg(test)]
mod tests {
    //! 1. It opens for several tools' failures without a success between, never for one tool's.
    //! 2. It closes by one success after its time, and not by calls that began before.
    //! 3. A listing never closes it. Of an outage of silence one without an answer near the end makes it longer, at most seven in a
    //!    row; one with an answer after one without lets the call that decides come at once.

    use super::*;
    use crate::testing::outcome;

    /// Each letter is a call a second later: `.` good, `x` error, `t` timeout, `i` invalid arguments; `_` lets the time pass,
    /// `n` all but a second of it. `L` is a listing with an answer, `l` one without.
    #[track_caller]
    fn check(script: &str, n_tools: usize, expect: &str) {
        let mut circuit = Circuit::default();
        let mut now = 1_000_000;
        for step in script.chars() {
            now = match step {
                '_' => circuit.until.0,
                'n' => circuit.until.0 - 1_000,
                'l' | 'L' => now + 10,
                _ => now + 1_000,
            };
            if matches!(step, 'l' | 'L') {
                let upstream = toolscout_core::UpstreamId::new("a").unwrap();
                let listing = Listing { upstream, answered: step == 'L', took_ms: 1, at: Timestamp(now) };
                circuit = circuit.listed(&listing, &CircuitOptions::default());
            }
            let fault = match step {
                '.' => CallFault::None,
                'x' => CallFault::UpstreamError,
                't' => CallFault::Timeout,
                'i' => CallFault::InvalidArguments,
                _ => continue,
            };
            circuit = circuit.after(&outcome("a:b", fault, now), |_| n_tools, &CircuitOptions::default());
        }
        let circuit = circuit.at(Timestamp(now));
        let reason = circuit.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        assert_eq!(format!("{}{reason}", circuit.state.as_str()), expect, "{script}");
    }

    #[test]
    fn it_opens_for_an_outage_and_closes_by_a_success() {
        check("tttt", 9, "closed");
        check("ttttt", 1, "closed");
        check("ttttt", 2, "open: its server left 5 calls in a row unanswered");
        check("tttt.tttt.tttt", 9, "closed");
        check("iiiiiiiiiiiiiiii", 9, "closed");
        check("xxxxxxxxxxx", 9, "closed");
        check("xxxxxxxxxxxx", 3, "open: all of its server's last 12 calls failed");
        check("ttttt_", 2, "half_open: its server left 5 calls in a row unanswered");
        check("ttttt_.", 2, "closed");
        check("ttttt_i", 2, "half_open: its server left 5 calls in a row unanswered");
        check("ttttt_t", 2, "open: its server failed again when it was tried");
        check("ttttt_t_t_.tttt", 2, "closed");
    }

    #[test]
    fn a_listing_says_whether_a_call_can_have_an_answer() {
        let unlisted = "open: its server did not answer when it was asked for its tools";
        check("tttttL", 2, "open: its server left 5 calls in a row unanswered");
        check("tttttl", 2, "open: its server left 5 calls in a row unanswered");
        check("tttttlL", 2, "half_open: its server left 5 calls in a row unanswered");
        check("tttttnl", 2, unlisted);
        check("ttttt_l", 2, unlisted);
        check("tttttnlL", 2, "half_open: its server did not answer when it was asked for its tools");
        check("tttttnlL.", 2, "closed");
        check("tttttnlLt", 2, "open: its server failed again when it was tried");
        check("tttttnL_", 2, "half_open: its server left 5 calls in a row unanswered");
        check("tttttnLl", 2, unlisted);
        let seven = "nl".repeat(7);
        check(&format!("ttttt{seven}"), 2, unlisted);
        check(&format!("ttttt{seven}_l"), 2, "half_open: its server did not answer when it was asked for its tools");
        check(&format!("ttttt{seven}_l."), 2, "closed");
        // A server that answers with errors lists well: nothing is learned.
        check("xxxxxxxxxxxx_l", 3, "half_open: all of its server's last 12 calls failed");
        check("xxxxxxxxxxxxlL", 3, "open: all of its server's last 12 calls failed");
        check("lLlL", 2, "closed");
    }
}
