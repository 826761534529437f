//! Everything that is known of every tool, and the one way it changes: an event. Pure; a replay of the same events gives the
//! same book.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use toolscout_core::{Outcome, Timestamp, ToolId, ToolName, UpstreamId};

use crate::circuit::{Circuit, CircuitState};
use crate::health::{Health, State};
use crate::options::QualityOptions;
use crate::record::Record;
use crate::silence::Listing;

/// What can happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A call ended.
    Outcome(Outcome),
    /// An operator decided.
    Decision(Decision),
    /// A server was asked for its tools.
    Listing(Listing),
}

impl Event {
    /// Which upstream it is about. Nothing of another changes by it.
    pub fn upstream(&self) -> &UpstreamId {
        match self {
            Self::Outcome(outcome) => &outcome.tool.upstream,
            Self::Decision(decision) => &decision.tool.upstream,
            Self::Listing(listing) => &listing.upstream,
        }
    }

    /// When it happened.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Outcome(outcome) => outcome.at,
            Self::Decision(decision) => decision.at,
            Self::Listing(listing) => listing.at,
        }
    }
}

/// What an operator decided about a tool. Beats the automaton.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The tool.
    pub tool: ToolId,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why, in the operator's words; may be empty.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// What becomes of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is put aside until somebody releases it.
    Quarantine,
    /// It is called again, whatever the automaton thinks, for as long as the options say.
    Release,
}

/// One change of state, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// Into what.
    pub state: State,
    /// Why.
    pub reason: String,
}

/// Changes kept of each tool.
const MAX_HISTORY: usize = 8;

/// One tool.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Tool {
    /// Its calls.
    pub record: Record,
    /// What the automaton thinks of it.
    pub health: Health,
    /// What an operator decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Its last changes, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Change>,
}

impl Tool {
    /// The operator's decision that holds at `now`.
    pub fn decided(&self, now: Timestamp, options: &QualityOptions) -> Option<&Decision> {
        self.decision.as_ref().filter(|decision| match decision.verdict {
            Verdict::Quarantine => true,
            Verdict::Release => now.since(decision.at) < options.quarantine.released_ms,
        })
    }

    fn remember(&mut self, at: Timestamp, state: State, reason: String) {
        self.history.push(Change { at, state, reason });
        let n_over = self.history.len().saturating_sub(MAX_HISTORY);
        self.history.drain(..n_over);
    }
}

/// One upstream and its tools.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Upstream {
    /// All of its tools' calls.
    pub record: Record,
    /// Whether its server answers.
    pub circuit: Circuit,
    /// By name.
    pub tools: BTreeMap<ToolName, Tool>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Book {
    /// By id.
    pub upstreams: BTreeMap<UpstreamId, Upstream>,
    /// The newest moment that anything is known of.
    pub now: Timestamp,
}

impl Book {
    /// What is known of one tool.
    pub fn tool(&self, id: &ToolId) -> Option<&Tool> {
        self.upstreams.get(&id.upstream)?.tools.get(&id.name)
    }

    /// Takes one event. Whatever it changed belongs to the upstream of its tool.
    pub fn apply(&mut self, event: &Event, options: &QualityOptions) {
        self.now = self.now.max(event.at());
        if let Event::Listing(listing) = event {
            // Of a server that nobody called there is nothing to say.
            if let Some(upstream) = self.upstreams.get_mut(&listing.upstream) {
                upstream.listed(listing, options);
            }
            return;
        }
        let upstream = self.upstreams.entry(event.upstream().clone()).or_default();
        match event {
            Event::Listing(_) => {}
            Event::Outcome(outcome) => upstream.take(outcome, options),
            Event::Decision(decision) => {
                let tool = upstream.tools.entry(decision.tool.name.clone()).or_default();
                // A release forgives: the backoff begins anew.
                tool.health = Health::default().fresh(decision.at);
                let (state, what) = match decision.verdict {
                    Verdict::Quarantine => (State::Quarantined, "put aside by the operator"),
                    Verdict::Release => (State::Healthy, "released by the operator"),
                };
                tool.remember(decision.at, state, with_reason(what, &decision.reason));
                tool.decision = Some(decision.clone());
            }
        }
    }

    /// Drops the tools that nobody has called for long and nobody decided about. Tells which.
    pub fn forget(&mut self, options: &QualityOptions) -> BTreeSet<ToolId> {
        let mut gone = BTreeSet::new();
        for (id, upstream) in &mut self.upstreams {
            upstream.tools.retain(|name, tool| {
                let is_old = self.now.since(tool.record.as_of) > options.forget_after_ms;
                let keep = !is_old || tool.decision.is_some();
                if !keep {
                    gone.insert(ToolId::new(id.clone(), name.clone()));
                }
                keep
            });
        }
        self.upstreams.retain(|_, upstream| !upstream.tools.is_empty());
        gone
    }
}

impl Upstream {
    fn take(&mut self, outcome: &Outcome, options: &QualityOptions) {
        self.record = std::mem::take(&mut self.record).after(outcome, options);
        let tool = self.tools.entry(outcome.tool.name.clone()).or_default();
        tool.record = std::mem::take(&mut tool.record).after(outcome, options);
        if !options.automatic {
            return;
        }
        let was_closed = self.circuit.state == CircuitState::Closed;
        let failing_since = |since: Timestamp| {
            let failing = |tool: &&Tool| tool.health.streak > 0 || tool.health.state == State::Quarantined;
            self.tools.values().filter(|tool| tool.record.as_of >= since).filter(failing).count()
        };
        // Before the tool's own state is asked: this failure counts among the failing ones.
        let health = &self.tools[&outcome.tool.name].health;
        let is_first = health.streak == 0 && health.state != State::Quarantined;
        let n_failing = |since| failing_since(since) + usize::from(is_first);
        self.circuit = std::mem::take(&mut self.circuit).after(outcome, n_failing, &options.circuit);
        let is_closed = self.circuit.state == CircuitState::Closed;
        if was_closed && !is_closed {
            self.forgive(outcome.at);
        } else if is_closed || !outcome.fault.is_upstreams() {
            // While the server is down, failures are its own and no tool's.
            self.judge(outcome, options);
        }
    }

    /// Takes in what a listing says of what was put aside for silence. While the server is down, it speaks of the server.
    fn listed(&mut self, listing: &Listing, options: &QualityOptions) {
        if !options.automatic {
            return;
        }
        let was_closed = self.circuit.state == CircuitState::Closed;
        self.circuit = std::mem::take(&mut self.circuit).listed(listing, &options.circuit);
        if !was_closed {
            return;
        }
        for tool in self.tools.values_mut().filter(|tool| tool.health.wants_listing().is_some()) {
            let before = tool.health.since;
            tool.health = std::mem::take(&mut tool.health).listed(listing, options);
            if tool.health.since != before && tool.health.since == listing.at {
                let reason = match tool.health.state {
                    State::Probation => "its server answers again".to_owned(),
                    _ => tool.health.reason.as_ref().map(ToString::to_string).unwrap_or_default(),
                };
                tool.remember(listing.at, tool.health.state, reason);
            }
        }
    }

    /// From when on its server is to be listed, so that no agent has to find out, if it is.
    pub(crate) fn wants_listing(&self, options: &QualityOptions) -> Option<Timestamp> {
        match self.circuit.state {
            _ if !options.automatic => None,
            CircuitState::Closed => self.tools.values().filter_map(|tool| tool.health.wants_listing()).min(),
            CircuitState::Open | CircuitState::HalfOpen => self.circuit.wants_listing(),
        }
    }

    /// Moves the tool's own state.
    fn judge(&mut self, outcome: &Outcome, options: &QualityOptions) {
        let Some(tool) = self.tools.get_mut(&outcome.tool.name) else { return };
        if tool.decided(outcome.at, options).is_some() {
            return;
        }
        if let Some(release) = tool.decision.take() {
            // It is over. What happened meanwhile is not held against the tool.
            let over = release.at.plus(options.quarantine.released_ms);
            tool.health = Health::default().fresh(over);
        }
        let before = tool.health.state;
        tool.health = std::mem::take(&mut tool.health).after(outcome, &tool.record, options);
        let (state, since) = (tool.health.state, tool.health.since);
        if state != before || (state == State::Quarantined && since == outcome.at) {
            let reason = tool.health.reason.as_ref().map(ToString::to_string).unwrap_or_default();
            tool.remember(outcome.at, state, reason);
        }
    }

    /// Takes back what the outage made of single tools before it was known to be one.
    fn forgive(&mut self, now: Timestamp) {
        let began = self.circuit.run_began;
        for tool in self.tools.values_mut().filter(|tool| tool.record.as_of >= began) {
            let was_quarantined = tool.health.state == State::Quarantined;
            if was_quarantined && tool.health.since < began {
                continue;
            }
            if was_quarantined {
                tool.health.level = tool.health.level.saturating_sub(1);
                tool.remember(now, State::Healthy, "its whole server was down".to_owned());
            }
            tool.health = tool.health.fresh(now);
        }
    }
}

/// `what`, with the operator's words behind it.
pub(crate) fn with_reason(what: &str, reason: &str) -> String {
    if reason.is_empty() { what.to_owned() } else { format!("{what}: {reason}") }
}

#[cfg(test)]
mod tests {
    //! 1. Invalid arguments, refused attempts, limits and cancellations alone never move a state or a score.
    //! 2. Whatever happens to one upstream leaves every other as it was.
    //! 3. A dead server opens one circuit; none of its forty tools is left in quarantine.
    //! 4. An operator's decision beats the automaton: nothing that happens ends a quarantine, and a release holds.
    //! 5. Of fifty tools under seeded load the broken ones are put aside within some calls and come back once they are mended;
    //!    one that fails one call in twenty is never put aside.

    use proptest::prelude::*;
    use toolscout_core::CallFault;

    use super::*;
    use crate::testing::{any_fault, outcome};
    use crate::view::QualityView;

    fn options() -> QualityOptions {
        QualityOptions::default()
    }

    fn play(events: &[Event]) -> Book {
        let mut book = Book::default();
        events.iter().for_each(|event| book.apply(event, &options()));
        book
    }

    fn decision(tool: &str, verdict: Verdict, at: u64) -> Event {
        let reason = "because".to_owned();
        Event::Decision(Decision { tool: tool.parse().unwrap(), verdict, reason, at: Timestamp(at) })
    }

    fn any_events() -> impl Strategy<Value = Vec<Event>> {
        let step = (0..2usize, 0..4usize, any_fault(), 0u64..20_000, 0u64..30_000, 0..60u32);
        prop::collection::vec(step, 1..300).prop_map(|steps| {
            let mut now = 1_000_000;
            let mut events = Vec::new();
            for (upstream, tool, fault, later, latency_ms, luck) in steps {
                now += later;
                let tool = format!("{}:{tool}", ["a", "b"][upstream]);
                events.push(match luck {
                    0 => decision(&tool, Verdict::Quarantine, now),
                    1 => decision(&tool, Verdict::Release, now),
                    2..8 => Event::Listing(crate::testing::listing(&tool, luck % 2 == 0, now)),
                    _ => Event::Outcome(Outcome { latency_ms, ..outcome(&tool, fault, now) }),
                });
            }
            events
        })
    }

    proptest! {
        #[test]
        fn one_upstream_never_touches_another(events in any_events()) {
            let all = play(&events);
            let of_b: Vec<Event> = events.into_iter().filter(|event| event.upstream().as_str() == "b").collect();
            let alone = play(&of_b);
            let b = UpstreamId::new("b").unwrap();
            prop_assert_eq!(all.upstreams.get(&b), alone.upstreams.get(&b));
        }

        #[test]
        fn a_callers_faults_alone_move_nothing(
            steps in prop::collection::vec((0usize..4, 0usize..4, 0u64..60_000), 1..200)
        ) {
            let faults =
                [CallFault::InvalidArguments, CallFault::UnsafeAttempt, CallFault::Throttled, CallFault::Cancelled];
            let mut now = 1_000_000;
            let mut book = Book::default();
            for (tool, fault, later) in steps {
                now += later;
                let one = outcome(&format!("a:{tool}"), faults[fault], now);
                book.apply(&Event::Outcome(one), &options());
            }
            let upstream = &book.upstreams[&UpstreamId::new("a").unwrap()];
            prop_assert_eq!(&upstream.circuit, &Circuit::default());
            let unknown = Record::default().score(Timestamp(now), &options());
            for tool in upstream.tools.values() {
                prop_assert_eq!(&tool.health, &Health::default());
                prop_assert_eq!(tool.record.score(Timestamp(now), &options()), unknown);
            }
        }

        #[test]
        fn decisions_hold(events in any_events(), at in 0usize..300) {
            let at = at.min(events.len());
            let mut book = play(&events[..at]);
            let tool: ToolId = "a:0".parse().unwrap();
            let now = book.now.0;
            book.apply(&decision("a:0", Verdict::Quarantine, now), &options());
            let without_decisions = |event: &&Event| matches!(event, Event::Outcome(_));
            for event in events[at..].iter().filter(without_decisions) {
                book.apply(event, &options());
                let decided = book.tool(&tool).unwrap().decided(book.now, &options()).map(|decision| decision.verdict);
                prop_assert_eq!(decided, Some(Verdict::Quarantine));
            }
            let now = book.now.0;
            book.apply(&decision("a:0", Verdict::Release, now), &options());
            for n in 0..50 {
                book.apply(&Event::Outcome(outcome("a:0", CallFault::Timeout, now + n)), &options());
                let tool = book.tool(&tool).unwrap();
                prop_assert_eq!(tool.decided(book.now, &options()).map(|decision| decision.verdict), Some(Verdict::Release));
                prop_assert_eq!(tool.health.state, State::Healthy);
            }
        }
    }

    #[test]
    fn a_dead_server_is_one_circuit_and_not_forty_quarantines() {
        let mut book = Book::default();
        let mut now = 1_000_000;
        let mut call = |book: &mut Book, n: usize, fault| {
            now += 100;
            book.apply(&Event::Outcome(outcome(&format!("a:tool-{n}"), fault, now)), &options());
        };
        (0..40).for_each(|n| call(&mut book, n, CallFault::None));
        // The first tool is asked so often that it is put aside by itself; then the others are asked.
        (0..5).for_each(|_| call(&mut book, 0, CallFault::Transport));
        assert_eq!(book.tool(&"a:tool-0".parse().unwrap()).unwrap().health.state, State::Quarantined);
        (1..40).for_each(|n| call(&mut book, n, CallFault::Transport));
        let upstream = &book.upstreams[&UpstreamId::new("a").unwrap()];
        assert_eq!(upstream.circuit.state, CircuitState::Open);
        assert!(upstream.tools.values().all(|tool| tool.health.state == State::Healthy));
    }

    /// xorshift64*, after Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled".
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
        }
    }

    #[test]
    fn broken_tools_are_found_and_healthy_ones_are_left_alone() {
        let (n_tools, n_broken, n_calls) = (50, 5, 4_000);
        for seed in 1..=20 {
            let mut dice = Dice(seed);
            let mut book = Book::default();
            let (mut n_reached, mut n_refused, mut aside) = (0, 0, BTreeSet::new());
            for call in 0..n_calls {
                let now = 1_000_000 + call * 1_000;
                let n = dice.below(n_tools);
                let id: ToolId = format!("upstream-{}:tool-{n}", n % 10).parse().unwrap();
                let held = book
                    .tool(&id)
                    .is_some_and(|tool| tool.health.clone().at(Timestamp(now)).state == State::Quarantined);
                // The broken ones fail nine calls of ten, and are mended at three quarters.
                let is_broken = n < n_broken && call < n_calls * 3 / 4;
                let fails = if is_broken { dice.below(10) > 0 } else { dice.below(20) == 0 };
                if held {
                    aside.insert(n);
                    n_refused += u64::from(is_broken);
                    continue;
                }
                n_reached += u64::from(is_broken);
                let fault = if fails { CallFault::UpstreamError } else { CallFault::None };
                book.apply(&Event::Outcome(outcome(&id.to_string(), fault, now)), &options());
            }
            assert!(aside.iter().all(|n| *n < n_broken), "seed {seed}: healthy tools were put aside: {aside:?}");
            assert_eq!(aside.len() as u64, n_broken, "seed {seed}");
            // About 300 calls asked for a broken tool.
            assert!(n_reached < 100 && n_refused > 150, "seed {seed}: {n_reached} reached, {n_refused} refused");
            // Mended, each comes back by one call; none waits longer for it than it was broken.
            for n in 0..n_broken {
                let id = format!("upstream-{}:tool-{n}", n % 10);
                let health = |book: &Book| book.tool(&id.parse().unwrap()).unwrap().health.clone().at(book.now);
                let until = health(&book).until.max(book.now);
                assert!(until.since(Timestamp(1_000_000)) < 2 * n_calls * 1_000, "seed {seed}");
                book.apply(&Event::Outcome(outcome(&id, CallFault::None, until.0 + 10)), &options());
                assert!(!matches!(health(&book).state, State::Quarantined | State::Probation), "seed {seed}");
            }
        }
    }

    #[test]
    fn without_the_automaton_only_operators_decide() {
        let options = QualityOptions { automatic: false, ..options() };
        let mut book = Book::default();
        for n in 0..50 {
            book.apply(&Event::Outcome(outcome(&format!("a:{}", n % 3), CallFault::Timeout, n)), &options);
        }
        book.apply(&decision("a:1", Verdict::Quarantine, 60), &options);
        let view = QualityView::new(&book, &options);
        let withheld = |id: &str| view.withheld(&id.parse().unwrap()).is_some();
        assert!(!withheld("a:0") && withheld("a:1") && !withheld("a:2"));
        assert!(view.score(&"a:0".parse().unwrap()) < 0.5);
    }

    #[test]
    fn a_release_ends_and_the_automaton_starts_anew() {
        let mut events: Vec<Event> =
            (0..5).map(|n| Event::Outcome(outcome("a:0", CallFault::UpstreamError, n))).collect();
        events.push(decision("a:0", Verdict::Release, 10));
        let day = 24 * 60 * 60 * 1_000;
        let fails = |at| Event::Outcome(outcome("a:0", CallFault::UpstreamError, at));
        events.extend((0..5).map(|n| fails(20 + n)));
        let id = "a:0".parse().unwrap();
        assert_eq!(play(&events).tool(&id).unwrap().health.state, State::Healthy);
        events.extend((0..5).map(|n| fails(day + 1_000 * n + 1_000)));
        let book = play(&events);
        assert_eq!(book.tool(&id).unwrap().health.state, State::Quarantined);
        let told: Vec<&str> = book.tool(&id).unwrap().history.iter().map(|change| change.reason.as_str()).collect();
        assert_eq!(told, ["5 failures in a row", "released by the operator: because", "5 failures in a row"]);
    }
}
