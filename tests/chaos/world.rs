//! Fifty tools and more that ail in their ways, and agents that ask for what they do. Seeded, with a clock of its own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use toolscout_core::{CallFault, CallerClass, Generation, Outcome, SideEffect, Timestamp, ToolId};
use toolscout_quality::health::State;
use toolscout_quality::{Admission, HeldWhat, Listing, Quality, QualityOptions, Standing, Trial};
use toolscout_store::Store;

/// Calls that agents want to make in one run.
pub(crate) const N_TASKS: u64 = 4_000;
/// Mean time between them, in milliseconds.
const BETWEEN_MS: f64 = 1_000.0;
/// When a run begins. Not at zero: then every call would look as if it began before time.
const START: u64 = 1_000_000_000;
/// How long a run takes, on the average.
const LENGTH: f64 = N_TASKS as f64 * BETWEEN_MS;
/// How long a caller waits.
const DEADLINE_MS: u64 = 30_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// What is the matter with a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ail {
    /// Nothing: one call in a hundred fails.
    Nothing,
    /// One call in twelve fails, always did. No reason to put it aside.
    Mediocre,
    /// Three callers in five get its arguments wrong. No reason either.
    Misused,
    /// It takes twenty times as long from a moment on, and answers. No reason either.
    Slower,
    /// Nine calls in ten fail, from a moment on.
    Broken,
    /// Every second call fails, from a moment on.
    Half,
    /// Seven calls in ten get no answer in time, from a moment on.
    Silent,
    /// Nine results in ten break its own output schema, from a moment on.
    Lying,
    /// Fails more and more, up to four calls in five.
    Drifting,
    /// Three minutes bad, three minutes good.
    Flapping,
    /// Broken for a quarter of the run, then mended.
    Mended,
    /// Its whole server is gone for a fifth of the run.
    Crashed,
}

impl Ail {
    /// Those that are put aside, in the order of the table.
    pub(crate) const BAD: [Self; 8] = [
        Self::Broken,
        Self::Silent,
        Self::Lying,
        Self::Half,
        Self::Drifting,
        Self::Flapping,
        Self::Mended,
        Self::Crashed,
    ];
    /// Those that are not.
    pub(crate) const GOOD: [Self; 4] = [Self::Nothing, Self::Mediocre, Self::Misused, Self::Slower];

    /// For people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Nothing => "healthy: 1 call in 100 fails",
            Self::Mediocre => "mediocre: 8 in 100 fail, as ever",
            Self::Misused => "misused: 60 in 100 calls with wrong arguments",
            Self::Slower => "latency step: 20 times as slow, in time",
            Self::Broken => "broken: 90 in 100 fail",
            Self::Half => "half broken: 50 in 100 fail",
            Self::Silent => "latency step: 70 in 100 past the deadline",
            Self::Lying => "90 in 100 results break the output schema",
            Self::Drifting => "slow drift: from 1 to 80 in 100",
            Self::Flapping => "flapping: 3 minutes bad, 3 good",
            Self::Mended => "broken for 17 minutes, then mended",
            Self::Crashed => "whole server down for 13 minutes, then back",
        }
    }

    /// The share of calls that come to nothing by the upstream's fault, at a moment of the run.
    pub(crate) fn fails(self, now: u64) -> f64 {
        let passed = now.saturating_sub(START) as f64;
        let at = passed / LENGTH;
        let from = |begin: f64, share: f64| if at >= begin { share } else { 0.01 };
        match self {
            Self::Nothing | Self::Misused | Self::Slower => 0.01,
            Self::Mediocre => 0.08,
            Self::Broken => from(0.2, 0.9),
            Self::Half => from(0.2, 0.5),
            Self::Silent => from(0.3, 0.7),
            Self::Lying => from(0.3, 0.9),
            Self::Drifting => 0.01 + 0.79 * ((at - 0.1) / 0.8).clamp(0.0, 1.0),
            Self::Flapping if at >= 0.2 && passed % 360_000.0 < 180_000.0 => 0.95,
            Self::Flapping => 0.01,
            Self::Mended if (0.25..0.5).contains(&at) => 0.95,
            Self::Crashed if (0.4..0.6).contains(&at) => 1.0,
            Self::Mended | Self::Crashed => 0.01,
        }
    }

    /// Whether nobody should call it if there is another.
    fn is_bad(self, now: u64) -> bool {
        self.fails(now) >= 0.3
    }

    /// Whether keeping agents from it is a mistake.
    fn works(self, now: u64) -> bool {
        self.fails(now) <= 0.1
    }

    /// When it is well again, for those that are.
    fn well_from(self) -> Option<u64> {
        let at = match self {
            Self::Mended => 0.5,
            Self::Crashed => 0.6,
            _ => return None,
        };
        Some(START + (at * LENGTH).ceil() as u64)
    }
}

/// One tool.
#[derive(Debug)]
struct Tool {
    id: ToolId,
    ail: Ail,
}

/// What agents want done, each by one to two tools, the more relevant first.
fn purposes() -> Vec<Vec<Tool>> {
    let mut purposes = Vec::new();
    let mut n = 0;
    let mut purpose = |ails: &[Ail]| {
        n += 1;
        let tool = |(place, ail): (usize, &Ail)| {
            let upstream = match ail {
                Ail::Crashed => "gone".to_owned(),
                _ => format!("server-{}", (n + 5 * place) % 12),
            };
            Tool { id: format!("{upstream}:do-{n}").parse().expect("a tool id"), ail: *ail }
        };
        purposes.push(ails.iter().enumerate().map(tool).collect());
    };
    for ail in Ail::BAD.into_iter().chain([Ail::Mediocre, Ail::Misused, Ail::Slower]) {
        // One that another can stand in for, and one that is alone.
        purpose(&[ail, Ail::Nothing]);
        purpose(&[ail]);
        if ail == Ail::Crashed {
            purpose(&[ail, Ail::Nothing]);
            purpose(&[ail]);
        }
    }
    (0..8).for_each(|_| purpose(&[Ail::Nothing, Ail::Nothing]));
    (0..16).for_each(|_| purpose(&[Ail::Nothing]));
    purposes
}

/// How many tools there are.
pub(crate) fn n_tools() -> usize {
    purposes().iter().map(Vec::len).sum()
}

/// A number from 0 to 1 that is the same for the same names: each way to run sees the same luck. Splitmix64.
fn luck(names: [u64; 4]) -> f64 {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for name in names {
        state = (state ^ name).wrapping_add(0x9E37_79B9_7F4A_7C15);
        state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        state ^= state >> 31;
    }
    (state >> 11) as f64 / (1_u64 << 53) as f64
}

/// What a call of a tool does.
fn call(seed: u64, task: u64, place: usize, tool: &Tool, now: u64) -> Outcome {
    let dice = |what| luck([seed, task, place as u64, what]);
    let mut latency_ms = 50 + (200.0 * dice(1) * dice(2)) as u64;
    let mut conforms = None;
    let fails = dice(3) < tool.ail.fails(now);
    let fault = match tool.ail {
        Ail::Misused if dice(4) < 0.6 => CallFault::InvalidArguments,
        Ail::Lying if fails => {
            conforms = Some(false);
            CallFault::None
        }
        Ail::Silent if fails => {
            latency_ms = DEADLINE_MS;
            CallFault::Timeout
        }
        Ail::Crashed if fails => CallFault::Transport,
        _ if fails => CallFault::UpstreamError,
        _ => CallFault::None,
    };
    let began_slowly = now > START + (0.3 * LENGTH) as u64;
    if tool.ail == Ail::Slower && began_slowly {
        latency_ms *= 20;
    }
    if tool.ail == Ail::Lying && !fails {
        conforms = Some(true);
    }
    Outcome {
        tool: tool.id.clone(),
        generation: Generation(1),
        selection: None,
        fault,
        latency_ms,
        result_bytes: 100,
        empty: false,
        conforms,
        caller: CallerClass::Agent,
        at: Timestamp(now + latency_ms),
    }
}

/// How tasks went whose most relevant tool ails in one way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count {
    /// Tasks.
    pub(crate) tasks: u64,
    /// Done, with quarantine.
    pub(crate) done: u64,
    /// Done by who always takes the most relevant tool.
    pub(crate) done_without: u64,
    /// Done by who knows every tool's share of failures at every moment and takes the best.
    pub(crate) done_best: u64,
    /// Tasks that came while that tool was bad.
    pub(crate) while_bad: u64,
    /// Of these, those that called it.
    pub(crate) reached: u64,
    /// Tools.
    pub(crate) tools: u64,
    /// Those that agents were kept from while they were bad: put aside, with their server, or behind another that does the same.
    pub(crate) aside: u64,
    /// Calls that reached each of them from when it was bad until then.
    pub(crate) calls_until: Vec<u64>,
    /// Seconds until then.
    pub(crate) seconds_until: Vec<u64>,
    /// Seconds from when each was well again until it was called like any other.
    pub(crate) seconds_to_heal: Vec<u64>,
    /// Those that were well again, and not called like any other at the end.
    pub(crate) unhealed: u64,
    /// Put aside while it worked and had not been bad before: a mistake.
    pub(crate) wrongly: u64,
}

impl Count {
    /// Takes another run's in.
    pub(crate) fn add(&mut self, other: &Self) {
        self.tasks += other.tasks;
        self.done += other.done;
        self.done_without += other.done_without;
        self.done_best += other.done_best;
        self.while_bad += other.while_bad;
        self.reached += other.reached;
        self.tools += other.tools;
        self.aside += other.aside;
        self.calls_until.extend(&other.calls_until);
        self.seconds_until.extend(&other.seconds_until);
        self.seconds_to_heal.extend(&other.seconds_to_heal);
        self.unhealed += other.unhealed;
        self.wrongly += other.wrongly;
    }
}

/// What became of one tool.
#[derive(Default, Clone, Copy)]
struct Fate {
    was_bad: bool,
    bad_since: Option<u64>,
    reached: u64,
    aside_at: Option<u64>,
    well_at: Option<u64>,
    wrongly: bool,
}

/// A call under way.
struct Flight {
    outcome: Outcome,
    trial: Option<Trial>,
}

/// One run: tasks that come, tools that are called, outcomes that come in when calls end.
pub(crate) struct Run {
    seed: u64,
    purposes: Vec<Vec<Tool>>,
    quality: Quality,
    /// By the moment of their end, and the number of their task.
    under_way: BinaryHeap<Reverse<(u64, u64)>>,
    flights: Vec<Option<Flight>>,
    fates: Vec<Vec<Fate>>,
    counts: std::collections::BTreeMap<Ail, Count>,
}

/// Runs one seed, and tells by ailment of each task's most relevant tool.
pub(crate) fn run(seed: u64, options: QualityOptions) -> std::collections::BTreeMap<Ail, Count> {
    let store = Store::temporary().expect("a temporary folder");
    let purposes = purposes();
    let mut run = Run {
        seed,
        fates: purposes.iter().map(|tools| vec![Fate::default(); tools.len()]).collect(),
        purposes,
        quality: Quality::open(&store, options).expect("opens an empty store"),
        under_way: BinaryHeap::new(),
        flights: Vec::new(),
        counts: std::collections::BTreeMap::new(),
    };
    let mut now = START as f64;
    for task in 0..N_TASKS {
        now += -BETWEEN_MS * (1.0 - luck([seed, task, 100, 0])).ln();
        run.end_until(now as u64);
        run.list(now as u64);
        run.task(task, now as u64);
    }
    run.end_until(u64::MAX);
    run.finish()
}

impl Run {
    fn task(&mut self, task: u64, now: u64) {
        let n = (luck([self.seed, task, 101, 0]) * self.purposes.len() as f64) as usize;
        self.watch(n, now);
        let tools = &self.purposes[n];
        let outcome = |place: usize| call(self.seed, task, place, &tools[place], now);
        let went_well = |outcome: &Outcome| outcome.fault == CallFault::None && outcome.conforms != Some(false);
        let first = outcome(0);
        let best = (0..tools.len()).min_by(|a, b| tools[*a].ail.fails(now).total_cmp(&tools[*b].ail.fails(now)));
        let best = outcome(best.unwrap_or(0));
        let (chosen, trial) = match self.choose(n, now) {
            Some((place, trial)) => (Some(place), trial),
            None => (None, None),
        };
        let made = chosen.map(outcome);
        let count = self.counts.entry(tools[0].ail).or_default();
        // What callers get wrong is nobody's success and nobody's failure.
        if first.fault != CallFault::InvalidArguments {
            count.tasks += 1;
            count.done += u64::from(made.as_ref().is_some_and(went_well));
            count.done_without += u64::from(went_well(&first));
            count.done_best += u64::from(went_well(&best));
        }
        if tools[0].ail.is_bad(now) {
            let is_spared = chosen != Some(0);
            count.while_bad += 1;
            count.reached += u64::from(!is_spared);
            if is_spared {
                self.fates[n][0].aside_at.get_or_insert(now);
            }
        }
        if let (Some(place), Some(outcome)) = (chosen, made) {
            let fate = &mut self.fates[n][place];
            fate.reached += u64::from(fate.bad_since.is_some() && fate.aside_at.is_none());
            self.under_way.push(Reverse((outcome.at.0, self.flights.len() as u64)));
            self.flights.push(Some(Flight { outcome, trial }));
        }
    }

    /// Lists what is to be listed, as the gateway does twice a second. A server that is there lists well, whatever its tools do.
    fn list(&self, now: u64) {
        let asked = self.quality.to_be_listed(Timestamp(now));
        if asked.is_empty() {
            return;
        }
        for (upstream, trial) in asked {
            let answered = upstream.as_str() != "gone" || Ail::Crashed.works(now);
            self.quality.listed(Listing { upstream, answered, took_ms: 0, at: Timestamp(now) });
            trial.recorded();
        }
        assert!(self.quality.settle(PATIENCE), "listings are folded within a minute");
    }

    /// What a search would show first and a call would be admitted to: what is not withheld, the family's more reliable member
    /// before the more relevant one, and after a refusal the sibling that it names.
    fn choose(&self, n: usize, now: u64) -> Option<(usize, Option<Trial>)> {
        let (tools, now) = (&self.purposes[n], Timestamp(now));
        let view = self.quality.view_at(now);
        let mut places: Vec<usize> = (0..tools.len()).filter(|at| view.withheld(&tools[*at].id).is_none()).collect();
        if let [first, second] = places[..]
            && view.yields_to(&tools[first].id, &tools[second].id)
        {
            places.swap(0, 1);
        }
        places.into_iter().find_map(|place| match self.quality.admit(&tools[place].id, SideEffect::Read, now) {
            Admission::Free => Some((place, None)),
            Admission::Trial(trial) => Some((place, Some(trial))),
            Admission::Refused(_) => None,
        })
    }

    /// Tells quality of the calls that ended by `now`.
    fn end_until(&mut self, now: u64) {
        let mut ended = false;
        while self.under_way.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, flight))) = self.under_way.pop() else { break };
            let Some(flight) = self.flights[flight as usize].take() else { continue };
            self.quality.record(flight.outcome);
            if let Some(trial) = flight.trial {
                trial.recorded();
            }
            ended = true;
        }
        if ended {
            assert!(self.quality.settle(PATIENCE), "outcomes are folded within a minute");
            assert_eq!(self.quality.dropped(), 0, "no outcome was dropped");
        }
    }

    /// Notes where the tools of a purpose stand.
    fn watch(&mut self, n: usize, now: u64) {
        let view = self.quality.view_at(Timestamp(now));
        for (tool, fate) in self.purposes[n].iter().zip(&mut self.fates[n]) {
            let is_bad = tool.ail.is_bad(now);
            let standing = view.standing(&tool.id);
            let is_aside = matches!(standing, Standing::Held(_));
            // Also what is on trial was put aside; and a tool of a dead server must not be in quarantine by itself.
            let by_itself =
                matches!(&standing, Standing::Held(held) | Standing::Trial(held) if held.what == HeldWhat::Tool);
            fate.wrongly |= (by_itself || is_aside) && !fate.was_bad && tool.ail.works(now);
            if is_bad && !fate.was_bad {
                (fate.was_bad, fate.bad_since) = (true, Some(now));
            }
            let is_well = matches!(standing, Standing::Open) && view.of(&tool.id).state != State::Quarantined;
            if tool.ail.well_from().is_some_and(|from| now >= from) && is_well {
                fate.well_at.get_or_insert(now);
            }
        }
    }

    fn finish(mut self) -> std::collections::BTreeMap<Ail, Count> {
        for (tools, fates) in self.purposes.iter().zip(&self.fates) {
            for (tool, fate) in tools.iter().zip(fates) {
                let count = self.counts.entry(tool.ail).or_default();
                count.tools += 1;
                count.wrongly += u64::from(fate.wrongly);
                if let (Some(since), Some(at)) = (fate.bad_since, fate.aside_at) {
                    count.aside += 1;
                    count.calls_until.push(fate.reached);
                    count.seconds_until.push((at - since) / 1_000);
                }
                match (tool.ail.well_from(), fate.well_at) {
                    (Some(from), Some(at)) => count.seconds_to_heal.push((at - from) / 1_000),
                    (Some(_), None) => count.unhealed += 1,
                    (None, _) => {}
                }
            }
        }
        self.counts
    }
}
