//! One tool's way into quarantine and out again: a state machine without a clock.
//!
//! ```text
//! healthy ⇄ degraded ──trigger──► quarantined ──backoff over──► probation ──success──► healthy
//!                                      ▲                            │
//!                                      └──── failure, twice as long ┘
//! ```
//! Fed by judged outcomes only: what a caller did wrong never gets here.

use std::fmt;

use serde::{Deserialize, Serialize};
use toolscout_core::{CallFault, Outcome, Timestamp};

use crate::circuit::is_silent;
use crate::options::{QualityOptions, QuarantineOptions, backoff};
use crate::record::{Record, short};
use crate::silence::{Heard, Listing, Silence, UNLISTED};
use crate::window::{Window, interval, share};

/// What a tool is trusted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Everything.
    #[default]
    Healthy,
    /// Everything; but it fails more than it should.
    Degraded,
    /// Nothing until the backoff is over.
    Quarantined,
    /// One call, whose outcome decides.
    Probation,
}

impl State {
    /// The word for outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Quarantined => "quarantined",
            Self::Probation => "probation",
        }
    }
}

/// Why a tool is not healthy. Shares in percent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// So many failures in a row.
    InARow(u32),
    /// It fails too often.
    Failures(u32),
    /// It is silent too often.
    Timeouts(u32),
    /// It fails much more often than it used to: from, to.
    Regression(u32, u32),
    /// Its results break its own output schema too often.
    Schema(u32),
    /// Its slow calls take much longer than they used to: from, to, in milliseconds.
    Slow(u64, u64),
    /// The call on probation failed.
    Relapse,
    /// Before a call tried it, its server did not even list its tools.
    Unlisted,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InARow(n) => write!(f, "{n} failures in a row"),
            Self::Failures(share) => write!(f, "{share} % of its calls failed lately"),
            Self::Timeouts(share) => write!(f, "{share} % of its calls got no answer in time lately"),
            Self::Regression(from, to) => write!(f, "{to} % of its calls failed lately, {from} % before"),
            Self::Schema(share) => write!(f, "{share} % of its results broke its own output schema lately"),
            Self::Slow(from, to) => write!(f, "its slow calls take {to} ms, they used to take {from} ms"),
            Self::Relapse => write!(f, "it failed again when it was tried"),
            Self::Unlisted => f.write_str(UNLISTED),
        }
    }
}

/// Where a tool stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Health {
    /// Its state.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// When the quarantine ends.
    pub until: Timestamp,
    /// Why it is not healthy; in probation, why it was put aside.
    pub reason: Option<Reason>,
    /// Quarantines in a row.
    pub level: u32,
    /// Failures in a row.
    pub streak: u32,
    /// Evidence that it broke, in thousandths of a failure: see [`strain`].
    #[serde(default)]
    pub strain: u32,
    /// Only calls that began from then on count: what comes in later than that from before is not evidence any more.
    pub fresh_from: Timestamp,
    /// What was seen since.
    pub seen: Window,
    /// The moment that `seen` is for.
    pub as_of: Timestamp,
    /// Whether it was put aside for silence, and what listings have said since.
    #[serde(default)]
    pub silence: Silence,
}

impl Health {
    /// A tool that starts again at `now` with nothing held against it, but not forgotten: a relapse counts as one.
    #[must_use]
    pub fn fresh(&self, now: Timestamp) -> Self {
        Self { since: now, fresh_from: now, as_of: now, level: self.level, ..Self::default() }
    }

    /// Where it stands at `now`, without anything having happened.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        match self.state {
            State::Quarantined if now >= self.until => Self { state: State::Probation, since: self.until, ..self },
            State::Quarantined | State::Healthy | State::Degraded | State::Probation => self,
        }
    }

    /// Where it stands after an outcome. `record` already has it.
    #[must_use]
    pub fn after(self, outcome: &Outcome, record: &Record, options: &QualityOptions) -> Self {
        let now = outcome.at.max(self.as_of);
        let mut health = self.at(now);
        let failed = outcome.fault.is_upstreams();
        let is_evidence = (failed || outcome.fault == CallFault::None) && outcome.started() >= health.fresh_from;
        if !is_evidence {
            return health;
        }
        match health.state {
            // Calls that were under way when it was put aside.
            State::Quarantined => health,
            State::Probation if outcome.started() < health.since => health,
            State::Probation => {
                if failed || outcome.conforms == Some(false) {
                    let silence = Silence::new(is_silent(outcome.fault), now);
                    return health.put_aside(Reason::Relapse, silence, now, &options.quarantine);
                }
                // One success is no proof. Lucas and Crosier, "Fast initial response for CUSUM quality-control schemes", 1982:
                // after an alarm the sum starts half way to the next; here, after each further one, nearer to it.
                let level = health.level.clamp(1, 100);
                let strain = options.quarantine.in_a_row.saturating_mul(FAILURE) / (level + 1) * level;
                Self { strain, ..health.fresh(now) }
            }
            State::Healthy | State::Degraded => {
                let age = now.since(health.as_of);
                health.seen = health.seen.after(outcome, age, short(options));
                health.as_of = now;
                health.streak = if failed { health.streak + 1 } else { 0 };
                // A success puts nobody aside, even where it is the call that makes the evidence enough.
                let is_bad = failed || outcome.conforms == Some(false);
                health.strain = strain(health.strain, is_bad, Usual::of(&health, record, &options.quarantine));
                match trigger(&health, record, &options.quarantine).filter(|_| is_bad) {
                    Some(reason) => {
                        let seen = &health.seen;
                        let is_silent = seen.transport + seen.timeouts > seen.failed / 2.0;
                        health.put_aside(reason, Silence::new(is_silent, now), now, &options.quarantine)
                    }
                    None => health.graded(record, now, &options.quarantine),
                }
            }
        }
    }

    /// Where it stands after its server was asked for its tools. A listing never heals.
    #[must_use]
    pub fn listed(self, listing: &Listing, options: &QualityOptions) -> Self {
        let now = listing.at.max(self.as_of);
        let mut health = self.at(now);
        if !matches!(health.state, State::Quarantined | State::Probation) {
            return health;
        }
        match health.silence.hear(listing, health.until) {
            Heard::Silence => {
                let silence = health.silence.clone().goes_on(now);
                health.put_aside(Reason::Unlisted, silence, now, &options.quarantine)
            }
            Heard::Return if health.state == State::Quarantined => {
                Self { state: State::Probation, since: now, until: now, ..health }
            }
            Heard::Return | Heard::Nothing => health,
        }
    }

    /// From when on its server is to be listed, if it is.
    pub(crate) fn wants_listing(&self) -> Option<Timestamp> {
        match self.state {
            State::Quarantined | State::Probation => self.silence.wants_from(self.until),
            State::Healthy | State::Degraded => None,
        }
    }

    fn put_aside(self, reason: Reason, silence: Silence, now: Timestamp, options: &QuarantineOptions) -> Self {
        let is_relapse = self.state == State::Probation || now.since(self.fresh_from) < options.relapse_ms;
        let level = if is_relapse { self.level.saturating_add(1) } else { 1 };
        let until = now.plus(backoff(options.backoff_ms, options.backoff_cap_ms, level));
        let fresh_from = self.fresh_from;
        let (state, reason) = (State::Quarantined, Some(reason));
        Self { state, since: now, until, reason, level, fresh_from, as_of: now, silence, ..Self::default() }
    }

    /// Healthy or degraded. What is degraded stays so until its share, not only the lower end of what it may be, is small.
    fn graded(self, record: &Record, now: Timestamp, options: &QuarantineOptions) -> Self {
        let failed = share(self.seen.failed, self.seen.judged);
        let enough = self.seen.judged >= options.min_calls;
        let surely = interval(self.seen.failed, self.seen.judged).0 >= options.degraded_share;
        let still = self.state == State::Degraded && failed >= options.degraded_share;
        let reason = if enough && (surely || still) {
            Some(Reason::Failures(percent(failed)))
        } else {
            record.latency.slowed(options.slow_factor).map(|(from, to)| Reason::Slow(from, to))
        };
        let state = if reason.is_some() { State::Degraded } else { State::Healthy };
        let since = if state == self.state { self.since } else { now };
        Self { state, since, reason, ..self }
    }
}

/// A failure, in the measure of [`Health::strain`].
const FAILURE: u32 = 1_000;

/// The evidence after one more outcome: a failure adds one, a success takes back a part of one, and nothing goes below zero.
///
/// Page, "Continuous inspection schemes", 1954 (CUSUM): the sum of the log-likelihoods of failing by `usual` + 0.4 against
/// failing as usual, in units of what one failure adds. Reading: as much as five failures in a row puts aside, also when a
/// success stands between them now and then. No other rule with as few false alarms notices a change sooner.
fn strain(before: u32, is_bad: bool, usual: Usual) -> u32 {
    let (good, bad) = (usual.share, usual.share + 0.4);
    let success = ((1.0 - good) / (1.0 - bad)).ln() / (bad / good).ln();
    match is_bad {
        true => before.saturating_add(FAILURE),
        false => before.saturating_sub((success * f64::from(FAILURE)).round() as u32),
    }
}

/// How often a tool usually disappoints: what is compared with.
#[derive(Clone, Copy)]
struct Usual {
    /// Between 0.1 and 0.2: one that fails more often is no measure for itself, one that never did will yet.
    share: f64,
    /// What its own longer past says, when there is enough of it.
    known: Option<f64>,
}

impl Usual {
    fn of(health: &Health, record: &Record, options: &QuarantineOptions) -> Self {
        let bad = |window: &Window| window.failed + window.violating;
        // Without what is held against it right now.
        let judged = record.long.judged - health.seen.judged;
        let known =
            (judged >= options.min_baseline).then(|| share((bad(&record.long) - bad(&health.seen)).max(0.0), judged));
        Self { share: known.unwrap_or(1.0).clamp(0.1, 0.2), known }
    }
}

/// What puts a tool aside, if anything does.
fn trigger(health: &Health, record: &Record, options: &QuarantineOptions) -> Option<Reason> {
    if health.streak >= options.in_a_row.max(1) {
        return Some(Reason::InARow(health.streak));
    }
    let by_shares = if health.seen.judged < options.min_calls { None } else { shares(health, record, options) };
    by_shares.or_else(|| by_strain(health, record, options))
}

/// What the shares of the window say.
fn shares(health: &Health, record: &Record, options: &QuarantineOptions) -> Option<Reason> {
    let seen = &health.seen;
    let (surely_failed, _) = interval(seen.failed, seen.judged);
    let failed = percent(share(seen.failed, seen.judged));
    if interval(seen.timeouts, seen.judged).0 >= options.timeout_share {
        return Some(Reason::Timeouts(percent(share(seen.timeouts, seen.judged))));
    }
    if surely_failed >= options.failed_share {
        return Some(Reason::Failures(failed));
    }
    if seen.structured >= options.min_calls && interval(seen.violating, seen.structured).0 >= options.violating_share {
        return Some(Reason::Schema(percent(share(seen.violating, seen.structured))));
    }
    // Against what it did before: the baseline without what is held against it.
    let before = (record.long.failed - seen.failed).max(0.0);
    let before_judged = (record.long.judged - seen.judged).max(0.0);
    let (_, usually_at_most) = interval(before, before_judged);
    let is_worse = before_judged >= options.min_baseline && surely_failed - usually_at_most >= options.regression;
    is_worse.then(|| Reason::Regression(percent(share(before, before_judged)), failed))
}

/// What the evidence of a change says, in the words of what there was most of.
fn by_strain(health: &Health, record: &Record, options: &QuarantineOptions) -> Option<Reason> {
    if health.strain < options.in_a_row.max(1).saturating_mul(FAILURE) {
        return None;
    }
    let seen = &health.seen;
    let failed = percent(share(seen.failed, seen.judged));
    Some(match Usual::of(health, record, options).known {
        _ if seen.violating > seen.failed => Reason::Schema(percent(share(seen.violating, seen.structured))),
        _ if seen.timeouts > seen.failed / 2.0 => Reason::Timeouts(percent(share(seen.timeouts, seen.judged))),
        Some(before) => Reason::Regression(percent(before), failed),
        None => Reason::Failures(failed),
    })
}

fn percent(share: f64) -> u32 {
    (share * 100.0).round() as u32
}

#[cfg(test)]
mod tests {
    //! 1. Minimum evidence: four failures move nothing, five in a row do; one failure in ten never does.
    //! 2. A quarantine ends by time alone, in probation; a success heals, a failure doubles the time up to the cap.
    //! 3. Calls that began before do not decide: not over a probation, not over a healed tool.
    //! 4. A tool that got much worse than it was is put aside earlier than its share alone would.
    //! 5. Broken schemas put aside; a success that breaks it again does not heal.
    //! 6. After a quarantine it takes less to come back to it, and less each time.
    //! 7. Listings never heal and never put aside what is not; they only keep, or let try, what was put aside for silence.

    use proptest::prelude::*;

    use super::*;
    use crate::testing::{any_fault, outcome};

    struct World {
        health: Health,
        record: Record,
        options: QualityOptions,
        now: u64,
    }

    impl World {
        fn new() -> Self {
            let (health, record) = (Health::default(), Record::default());
            Self { health, record, options: QualityOptions::default(), now: 1_000_000 }
        }

        fn see(&mut self, outcome: &Outcome) {
            self.record = std::mem::take(&mut self.record).after(outcome, &self.options);
            self.health = std::mem::take(&mut self.health).after(outcome, &self.record, &self.options);
        }

        /// Each letter is a call a second later: `.` good, `x` error, `t` timeout, `s` good with a broken schema, `i` invalid
        /// arguments; `_` lets the quarantine pass, `n` all but a second of it; `L` is a listing with an answer, `l` one without.
        fn play(&mut self, script: &str) -> String {
            for step in script.chars() {
                self.now = match step {
                    '_' => self.health.until.0.max(self.now),
                    'n' => self.health.until.0 - 1_000,
                    'l' | 'L' => self.now + 10,
                    _ => self.now + 1_000,
                };
                if matches!(step, 'l' | 'L') {
                    self.list(step == 'L');
                }
                let (fault, conforms) = match step {
                    '.' => (CallFault::None, None),
                    'x' => (CallFault::UpstreamError, None),
                    't' => (CallFault::Timeout, None),
                    's' => (CallFault::None, Some(false)),
                    'i' => (CallFault::InvalidArguments, None),
                    _ => continue,
                };
                self.see(&Outcome { conforms, ..outcome("a:b", fault, self.now) });
            }
            self.state()
        }

        fn list(&mut self, answered: bool) {
            let upstream = toolscout_core::UpstreamId::new("a").unwrap();
            let listing = Listing { upstream, answered, took_ms: 1, at: Timestamp(self.now) };
            self.health = std::mem::take(&mut self.health).listed(&listing, &self.options);
        }

        fn state(&self) -> String {
            let health = self.health.clone().at(Timestamp(self.now));
            let reason = health.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{}{reason}", health.state.as_str())
        }
    }

    #[track_caller]
    fn check(script: &str, expect: &str) {
        assert_eq!(World::new().play(script), expect, "{script}");
    }

    #[test]
    fn evidence_decides() {
        check("", "healthy");
        check("xxxx", "healthy");
        check("xxxxx", "quarantined: 5 failures in a row");
        check("xx.xx.xx.xx.", "quarantined: 80 % of its calls failed lately");
        check(&".........x".repeat(50), "healthy");
        check(&"...x".repeat(30), "degraded: 27 % of its calls failed lately");
        check(&format!("{}{}", "...x".repeat(30), ".".repeat(30)), "healthy");
        check(&"..t".repeat(4), "degraded: 35 % of its calls failed lately");
        check(&"i".repeat(500), "healthy");
        check(&"xi".repeat(4), "healthy");
    }

    #[test]
    fn timeouts_regressions_and_broken_schemas() {
        check(&"t.".repeat(12), "quarantined: 55 % of its calls got no answer in time lately");
        let was_good = |then: &str| format!("{}{then}", ".".repeat(200));
        check(&was_good(&"x.x..".repeat(4)), "degraded: 22 % of its calls failed lately");
        check(&was_good(&"x.x..".repeat(5)), "quarantined: 28 % of its calls failed lately, 2 % before");
        check(&was_good(&"x....".repeat(40)), "healthy");
        check(&"x.x..".repeat(12), "degraded: 38 % of its calls failed lately");
        check("sssss", "quarantined: 100 % of its results broke its own output schema lately");
        check("sssss_s", "quarantined: it failed again when it was tried");
        check("sssss_.", "healthy");
    }

    #[test]
    fn time_leads_to_probation_and_one_call_decides() {
        check("xxxxx_", "probation: 5 failures in a row");
        check("xxxxx_.", "healthy");
        check("xxxxx_i", "probation: 5 failures in a row");
        check("xxxxx_x", "quarantined: it failed again when it was tried");
        // Half way to the next alarm, and nearer after each.
        check("xxxxx_.xx", "healthy");
        check("xxxxx_.xxx", "quarantined: 100 % of its calls failed lately");
        check("xxxxx_.xxx_.x", "healthy");
        check("xxxxx_.xxx_.xx", "quarantined: 100 % of its calls failed lately");
        check("xxxxx_.......xx", "healthy");
        check("xxxxx......", "quarantined: 5 failures in a row");
    }

    #[test]
    fn a_listing_says_whether_a_call_can_have_an_answer() {
        let unlisted = "quarantined: its server did not answer when it was asked for its tools";
        check("tttttl", "quarantined: 5 failures in a row");
        check("tttttlL", "probation: 5 failures in a row");
        check("tttttnl", unlisted);
        check("ttttt_l", unlisted);
        check("ttttt_L", "probation: 5 failures in a row");
        check("tttttnlL.", "healthy");
        check("tttttnlLt", "quarantined: it failed again when it was tried");
        check("ttttt_t_l", unlisted);
        check("xxxxx_l", "probation: 5 failures in a row");
        check("xxxxxlL", "quarantined: 5 failures in a row");
        check("sssss_l", "probation: 100 % of its results broke its own output schema lately");
        check("llll", "healthy");
    }

    #[test]
    fn time_aside_doubles_up_to_the_cap_and_is_forgotten() {
        let mut world = World::new();
        let mut aside = |script: &str| {
            world.play(script);
            world.health.until.since(world.health.since) / 1_000
        };
        assert_eq!(aside("xxxxx"), 30);
        assert_eq!((0..8).map(|_| aside("_x")).collect::<Vec<_>>(), [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
        // Healed, and soon again: still long.
        assert_eq!(aside("_.xxxxx"), 3_600);
        world.play("_.");
        world.now += 7 * 60 * 60 * 1_000;
        world.play("xxxxx");
        assert_eq!(world.health.until.since(world.health.since) / 1_000, 30);
    }

    #[test]
    fn calls_from_before_do_not_decide() {
        let mut world = World::new();
        world.play("xxxxx_");
        let late = |fault, now| Outcome { latency_ms: 120_000, ..outcome("a:b", fault, now) };
        world.see(&late(CallFault::Timeout, world.now));
        world.see(&late(CallFault::None, world.now));
        assert_eq!(world.state(), "probation: 5 failures in a row");
        world.play(".");
        (0..9).for_each(|_| world.see(&late(CallFault::Timeout, world.now)));
        assert_eq!(world.state(), "healthy");
    }

    proptest! {
        #[test]
        fn only_time_ends_a_quarantine_and_only_the_upstream_begins_one(
            steps in prop::collection::vec((any_fault(), 0u64..40_000, 0u32..8), 1..200)
        ) {
            let mut world = World::new();
            for (fault, later, luck) in steps {
                world.now += later;
                let before = world.health.clone().at(Timestamp(world.now));
                if luck < 2 {
                    world.list(luck == 0);
                    let aside = [State::Quarantined, State::Probation];
                    prop_assert_eq!(aside.contains(&before.state), aside.contains(&world.health.state));
                    if !before.silence.is_cause {
                        prop_assert_eq!(&before, &world.health);
                    }
                    continue;
                }
                world.see(&outcome("a:b", fault, world.now));
                let after = &world.health;
                if before.state == State::Quarantined {
                    prop_assert_eq!(&before, after);
                    prop_assert!(Timestamp(world.now) < after.until);
                }
                if after.state == State::Quarantined && before.state != State::Quarantined {
                    prop_assert!(fault.is_upstreams(), "{fault:?}");
                    let aside = after.until.since(after.since);
                    prop_assert!((30_000..=3_600_000).contains(&aside));
                }
                if !fault.is_upstreams() && fault != CallFault::None {
                    prop_assert_eq!(&before, after);
                }
            }
        }
    }
}
