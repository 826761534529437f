//! The one thread that folds outcomes, the door through which they come, and the one that calls go through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use toolscout_core::{Fault, Outcome, Retry, SideEffect, Timestamp, ToolId, UpstreamId};
use toolscout_store::{QueueOptions, Store, TreeName, WriteQueue};
use tracing::{debug, info, warn};

use crate::book::{Book, Decision, Event};
use crate::circuit::CircuitState;
use crate::health::State;
use crate::log::Log;
use crate::options::QualityOptions;
use crate::silence::Listing;
use crate::view::{Held, HeldWhat, QualityView, Standing};

/// Outcomes folded before the view is published and the events are written.
const MAX_BATCH: usize = 256;
/// Events that wait for a disk that refuses them. Older ones are given up: the view has them, the log will not.
const MAX_UNSAVED: usize = 20_000;
/// After so many milliseconds every score is computed anew, also of tools that nobody called: time heals them.
const REFRESH_MS: u64 = 10 * 60_000;
/// A trial that nobody told the end of is given up after so many milliseconds. Longer than calls take.
const TRIAL_MS: u64 = 5 * 60_000;

/// What can go wrong. Outcomes report nothing to callers: a failed write is logged and tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not give up its quality rows. Quality can be left out: the service works without history.
    #[error("read the quality rows")]
    Store(#[source] toolscout_store::Error),
    /// The store did not take an operator's decision: it holds until the next start only.
    #[error("write the decision")]
    Write(#[source] toolscout_store::Error),
    /// The system gave no thread.
    #[error("start the quality thread")]
    Thread(#[source] std::io::Error),
}

impl Error {
    /// Whose mistake it is.
    pub fn fault(&self) -> Fault {
        Fault::Ours
    }

    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        Retry::Later
    }
}

/// Takes outcomes, gives out the current view. Dropping it folds and writes what is still queued.
pub struct Quality {
    view: Arc<ArcSwap<QualityView>>,
    queue: WriteQueue<Event>,
    folder: Arc<Mutex<Folder>>,
    trials: Arc<Trials>,
}

/// Whether a call goes ahead.
#[derive(Debug)]
pub enum Admission {
    /// Like any other.
    Free,
    /// As the one call that decides whether the tool is called again. Keep it until the outcome is recorded.
    Trial(Trial),
    /// Not now.
    Refused(Held),
}

impl Quality {
    /// Reads what is remembered and starts the folding thread.
    ///
    /// A row that cannot be read is logged and left out.
    pub fn open(store: &Store, options: QualityOptions) -> Result<Self, Error> {
        let tree = store.tree(TreeName::Quality).map_err(Error::Store)?;
        let (log, book) = Log::open(tree, &options).map_err(Error::Store)?;
        let view = Arc::new(ArcSwap::from_pointee(QualityView::new(&book, &options)));
        let queued = QueueOptions { capacity: options.queue, max_batch: MAX_BATCH };
        let refreshed = book.now;
        let trials = Arc::new(Trials::default());
        let folder = Folder { book, log, unsaved: Vec::new(), options, view: Arc::clone(&view), refreshed };
        let folder = Arc::new(Mutex::new(folder));
        let work = {
            let (folder, trials) = (Arc::clone(&folder), Arc::clone(&trials));
            move |events: Vec<Event>| {
                let tried = |event: &Event| match event {
                    Event::Outcome(outcome) => Tried::Called(outcome.tool.clone()),
                    Event::Decision(decision) => Tried::Called(decision.tool.clone()),
                    Event::Listing(listing) => Tried::Listed(listing.upstream.clone()),
                };
                let tried: Vec<Tried> = events.iter().map(tried).collect();
                let _ = folder.lock().take(events);
                // Only now: the view says already what came of it.
                tried.into_iter().for_each(|tried| trials.end(tried));
            }
        };
        let queue = WriteQueue::start("quality", queued, work).map_err(Error::Thread)?;
        Ok(Self { view, queue, folder, trials })
    }

    /// Takes one outcome. Never waits: when the queue is full the outcome is dropped and counted.
    pub fn record(&self, outcome: Outcome) {
        self.queue.send(Event::Outcome(outcome));
    }

    /// Takes what became of a listing, whoever asked for it. Never waits, as with [`Quality::record`]. Kept only where it can say
    /// anything: of an upstream that left calls unanswered.
    pub fn listed(&self, listing: Listing) {
        if self.view().may_hear(&listing.upstream) {
            self.queue.send(Event::Listing(listing));
        } else {
            self.trials.end(Tried::Listed(listing.upstream));
        }
    }

    /// The upstreams whose tools should be listed now: something was put aside because they did not answer, and its time is
    /// nearly over. Each with the right to do so; while it is kept, no call tries anything of theirs. Tell the end of the listing
    /// to [`Quality::listed`], and then [`Trial::recorded`].
    pub fn to_be_listed(&self, now: Timestamp) -> Vec<(UpstreamId, Trial)> {
        let view = self.view_at(now);
        let begin = |id: &UpstreamId| Some((id.clone(), self.trials.begin_listing(id, now)?));
        view.to_be_listed(now).filter_map(begin).collect()
    }

    /// The state of every tool at `now`. Lock-free.
    pub fn view_at(&self, now: Timestamp) -> Arc<QualityView> {
        let view = self.view.load_full();
        if !view.is_due(now) {
            return view;
        }
        let later = Arc::new(QualityView::clone(&view).at(now));
        // When the folding thread was quicker, the next reader does it again.
        self.view.compare_and_swap(&view, Arc::clone(&later));
        later
    }

    /// The state of every tool as of the last outcome, or of the last moment that anybody asked for. Lock-free.
    pub fn view(&self) -> Arc<QualityView> {
        self.view.load_full()
    }

    /// Asks for one call of a tool that policy has granted already.
    pub fn admit(&self, tool: &ToolId, effect: SideEffect, now: Timestamp) -> Admission {
        match self.view_at(now).standing_of(tool, effect) {
            Standing::Open => Admission::Free,
            Standing::Held(held) => Admission::Refused(held),
            Standing::Trial(held) => match self.trials.begin(&held, tool, now) {
                Some(trial) => {
                    info!(tool = %tool, what = held.what.as_str(), "trial call");
                    Admission::Trial(trial)
                }
                None => {
                    Admission::Refused(Held { reason: format!("{}; one call tries it right now", held.reason), ..held })
                }
            },
        }
    }

    /// Takes an operator's decision. In the view and on disk when this returns. Blocks on the disk.
    pub fn decide(&self, decision: Decision) -> Result<(), Error> {
        info!(tool = %decision.tool, verdict = ?decision.verdict, "operator's decision");
        self.folder.lock().take(vec![Event::Decision(decision)]).map_err(Error::Write)
    }

    /// Outcomes that did not fit the queue, since the start.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Waits until every outcome recorded before is in the view and in the store; false if that took longer than `patience`.
    /// Blocks its thread: for shutdown and tests.
    pub fn settle(&self, patience: Duration) -> bool {
        self.queue.settle(patience)
    }
}

/// The calls that try what was put aside, one per tool or upstream.
#[derive(Debug, Default)]
struct Trials(Mutex<BTreeMap<Subject, Timestamp>>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Tool(ToolId),
    Upstream(UpstreamId),
    Listing(UpstreamId),
}

/// What was tried.
enum Tried {
    Called(ToolId),
    Listed(UpstreamId),
}

/// The right to make the one call that decides.
#[derive(Debug)]
pub struct Trial {
    trials: Arc<Trials>,
    subject: Option<Subject>,
}

impl Trial {
    /// The call's outcome was recorded: the next trial waits until it has been folded.
    pub fn recorded(mut self) {
        self.subject = None;
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Some(subject) = self.subject.take() {
            self.trials.0.lock().remove(&subject);
        }
    }
}

impl Trials {
    fn begin(self: &Arc<Self>, held: &Held, tool: &ToolId, now: Timestamp) -> Option<Trial> {
        let subject = match held.what {
            HeldWhat::Tool => Subject::Tool(tool.clone()),
            HeldWhat::Upstream | HeldWhat::Writing => Subject::Upstream(tool.upstream.clone()),
        };
        let listing = Subject::Listing(tool.upstream.clone());
        self.begin_one(subject, &[listing], now)
    }

    /// Not while a call tries its server: that one tells more.
    fn begin_listing(self: &Arc<Self>, upstream: &UpstreamId, now: Timestamp) -> Option<Trial> {
        self.begin_one(Subject::Listing(upstream.clone()), &[Subject::Upstream(upstream.clone())], now)
    }

    fn begin_one(self: &Arc<Self>, subject: Subject, others: &[Subject], now: Timestamp) -> Option<Trial> {
        let mut running = self.0.lock();
        let runs = |one: &Subject| running.get(one).is_some_and(|began| now.since(*began) < TRIAL_MS);
        if runs(&subject) || others.iter().any(runs) {
            return None;
        }
        running.insert(subject.clone(), now);
        Some(Trial { trials: Arc::clone(self), subject: Some(subject) })
    }

    fn end(&self, tried: Tried) {
        let mut running = self.0.lock();
        if running.is_empty() {
            return;
        }
        match tried {
            Tried::Called(tool) => {
                running.remove(&Subject::Upstream(tool.upstream.clone()));
                running.remove(&Subject::Tool(tool));
            }
            Tried::Listed(upstream) => drop(running.remove(&Subject::Listing(upstream))),
        }
    }
}

/// The state behind the thread.
struct Folder {
    book: Book,
    log: Log,
    unsaved: Vec<Event>,
    options: QualityOptions,
    view: Arc<ArcSwap<QualityView>>,
    /// When every score was computed last.
    refreshed: Timestamp,
}

impl Folder {
    /// Folds, publishes, writes. On failure the events are kept and go with the next batch.
    fn take(&mut self, events: Vec<Event>) -> Result<(), toolscout_store::Error> {
        let mut changed = BTreeSet::new();
        for event in &events {
            let before = States::of(&self.book, event);
            self.book.apply(event, &self.options);
            before.log(&States::of(&self.book, event), &self.book, event);
            changed.insert(event.upstream().clone());
        }
        let view = if self.book.now.since(self.refreshed) >= REFRESH_MS {
            self.refreshed = self.book.now;
            QualityView::new(&self.book, &self.options)
        } else {
            self.view.load().with(&self.book, &changed, &self.options)
        };
        self.view.store(Arc::new(view));
        self.unsaved.extend(events);
        let written = self.log.append(&self.unsaved).and_then(|()| {
            self.unsaved.clear();
            self.log.compact(&self.options)
        });
        if let Err(error) = &written {
            warn!(error = error as &dyn std::error::Error, n_events = self.unsaved.len(), "quality events not written");
            let n_over = self.unsaved.len().saturating_sub(MAX_UNSAVED);
            self.unsaved.drain(..n_over);
        }
        written
    }
}

/// Where the tool and the server of one event stand, for the log.
struct States {
    tool: State,
    server: CircuitState,
}

impl States {
    fn of(book: &Book, event: &Event) -> Self {
        let upstream = book.upstreams.get(event.upstream());
        let tool = match event {
            Event::Outcome(outcome) => book.tool(&outcome.tool),
            // A decision is logged as what it is, and a listing moves no tool but those of a silent server.
            Event::Decision(_) | Event::Listing(_) => None,
        };
        let health = tool.map(|tool| tool.health.clone().at(event.at()).state);
        let circuit = upstream.map(|upstream| upstream.circuit.clone().at(event.at()).state);
        Self { tool: health.unwrap_or_default(), server: circuit.unwrap_or_default() }
    }

    fn log(&self, after: &Self, book: &Book, event: &Event) {
        let upstream = event.upstream();
        let why = || book.upstreams.get(upstream)?.circuit.reason.as_ref().map(ToString::to_string);
        match turn(as_state(self.server), as_state(after.server)) {
            Some(Turn::Aside) => warn!(%upstream, reason = why(), "server put aside"),
            Some(Turn::StillAside) => debug!(%upstream, reason = why(), "server stays aside"),
            Some(Turn::Back) => info!(%upstream, "server is called again"),
            None => {}
        }
        let Event::Outcome(Outcome { tool, .. }) = event else { return };
        let why = || book.tool(tool)?.health.reason.as_ref().map(ToString::to_string);
        match turn(self.tool, after.tool) {
            Some(Turn::Aside) => warn!(%tool, reason = why(), "tool put aside"),
            Some(Turn::StillAside) => debug!(%tool, reason = why(), "tool stays aside"),
            Some(Turn::Back) => info!(%tool, "tool is called again"),
            None => {}
        }
    }
}

/// A server's state in the words for tools.
fn as_state(circuit: CircuitState) -> State {
    match circuit {
        CircuitState::Closed => State::Healthy,
        CircuitState::Open => State::Quarantined,
        CircuitState::HalfOpen => State::Probation,
    }
}

/// What is worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// An outage begins.
    Aside,
    /// It was tried and goes on.
    StillAside,
    /// It is over.
    Back,
}

fn turn(before: State, after: State) -> Option<Turn> {
    let is_called = |state| matches!(state, State::Healthy | State::Degraded);
    match (before, after) {
        (before, State::Quarantined) if is_called(before) => Some(Turn::Aside),
        (State::Probation, State::Quarantined) => Some(Turn::StillAside),
        (State::Quarantined | State::Probation, after) if is_called(after) => Some(Turn::Back),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    //! 1. What was recorded is in the view after settling, and still there after a restart.
    //! 2. A full queue drops and counts; it never waits.
    //! 3. A tool in quarantine is refused until its time is over; then one call at a time goes through, and a success heals.
    //! 4. Decisions survive a restart.
    //! 5. What was put aside for silence is listed before a call tries it, and no call tries it meanwhile.
    //! 6. The log has each outage once, and its end.
    //! 7. With the fallback on, a degraded server's writing tools are refused and its reading ones called, for a while.

    use toolscout_core::CallFault;

    use super::*;
    use crate::book::Verdict;
    use crate::testing::outcome;

    fn calls(quality: &Quality, tool: &str) -> (u64, u64) {
        let seen = quality.view().of(&tool.parse().unwrap());
        (seen.calls, seen.failures)
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn an_outage_has_a_beginning_and_an_end() {
        use State::{Degraded, Healthy, Probation, Quarantined};
        let mut book = Book::default();
        // Five failures, a trial that fails, one that goes well.
        let calls = [1_000, 2_000, 3_000, 4_000, 5_000, 40_000, 200_000, 201_000];
        let turns: Vec<_> = calls
            .into_iter()
            .map(|at| {
                let fault = if at < 200_000 { CallFault::UpstreamError } else { CallFault::None };
                let event = Event::Outcome(outcome("a:b", fault, at));
                let before = States::of(&book, &event);
                book.apply(&event, &QualityOptions::default());
                turn(before.tool, States::of(&book, &event).tool)
            })
            .collect();
        let nothing = [None; 4];
        let expect = [&nothing[..], &[Some(Turn::Aside), Some(Turn::StillAside), Some(Turn::Back), None]].concat();
        assert_eq!(turns, expect);
        assert_eq!([turn(Healthy, Degraded), turn(Degraded, Healthy), turn(Quarantined, Probation)], [None; 3]);
        assert_eq!(turn(Probation, Degraded), Some(Turn::Back));
        assert_eq!(turn(as_state(CircuitState::Closed), as_state(CircuitState::Open)), Some(Turn::Aside));
    }

    #[test]
    fn outcomes_reach_the_view_and_survive_a_restart() {
        let store = Store::temporary().unwrap();
        let open = || Quality::open(&store, QualityOptions { keep_events: 300, ..QualityOptions::default() }).unwrap();
        let quality = open();
        for at in 0..1_000 {
            let fault = if at % 4 == 0 { CallFault::Timeout } else { CallFault::None };
            quality.record(outcome("a:b", fault, at));
        }
        assert!(quality.settle(PATIENCE));
        assert_eq!(quality.dropped(), 0);
        assert_eq!(calls(&quality, "a:b"), (1_000, 250));
        let before = quality.view().of(&"a:b".parse().unwrap());
        drop(quality);
        assert_eq!(open().view().of(&"a:b".parse().unwrap()), before);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let store = Store::temporary().unwrap();
        let quality = Quality::open(&store, QualityOptions { queue: 1, ..QualityOptions::default() }).unwrap();
        let n_sent = 20_000;
        for at in 0..n_sent {
            quality.record(outcome("a:b", CallFault::None, at));
        }
        assert!(quality.settle(PATIENCE));
        assert!(quality.dropped() > 0);
        assert_eq!(calls(&quality, "a:b").0 + quality.dropped(), n_sent);
    }

    fn fail(quality: &Quality, tool: &str, n: u64, at: u64) {
        (0..n).for_each(|n| quality.record(outcome(tool, CallFault::UpstreamError, at + n)));
        assert!(quality.settle(PATIENCE));
    }

    #[test]
    fn one_call_at_a_time_tries_what_was_put_aside() {
        let store = Store::temporary().unwrap();
        let quality = Quality::open(&store, QualityOptions::default()).unwrap();
        let tool: ToolId = "a:b".parse().unwrap();
        let now = 1_000_000;
        fail(&quality, "a:b", 5, now);
        let admit = |at| quality.admit(&tool, SideEffect::Read, Timestamp(at));
        let Admission::Refused(held) = admit(now + 1_000) else { panic!("in quarantine") };
        assert_eq!((held.what, held.reason.as_str()), (HeldWhat::Tool, "5 failures in a row"));
        assert!(matches!(
            quality.admit(&"a:other".parse().unwrap(), SideEffect::Read, Timestamp(now)),
            Admission::Free
        ));
        assert_eq!(quality.view().withheld(&tool), Some(HeldWhat::Tool));

        let later = now + 40_000;
        let Admission::Trial(first) = admit(later) else { panic!("on probation") };
        assert_eq!(quality.view().of(&tool).state, State::Probation);
        assert_eq!(quality.view().withheld(&tool), None);
        let Admission::Refused(held) = admit(later) else { panic!("one at a time") };
        assert!(held.reason.contains("right now"), "{}", held.reason);
        // A trial that was never called decides nothing; its place is free again.
        drop(first);
        let Admission::Trial(second) = admit(later) else { panic!("free again") };
        quality.record(outcome("a:b", CallFault::None, later + 10));
        second.recorded();
        assert!(quality.settle(PATIENCE));
        assert!(matches!(admit(later + 20), Admission::Free));
        assert!(quality.view().holds_nothing());
    }

    #[test]
    fn a_silent_server_is_listed_before_it_is_called() {
        let store = Store::temporary().unwrap();
        let quality = Quality::open(&store, QualityOptions::default()).unwrap();
        let start = 1_000_000;
        for n in 0..6 {
            quality.record(outcome(&format!("a:{}", n % 2), CallFault::Transport, start + n));
            quality.record(outcome(&format!("b:{}", n % 2), CallFault::None, start + n));
        }
        assert!(quality.settle(PATIENCE));
        let due = |at| quality.to_be_listed(Timestamp(start + at));
        let admit = |at| match quality.admit(&"a:0".parse().unwrap(), SideEffect::Read, Timestamp(start + at)) {
            Admission::Free => "free".to_owned(),
            Admission::Trial(_) => "trial".to_owned(),
            Admission::Refused(held) => held.reason,
        };
        let listed = |trials: Vec<(UpstreamId, Trial)>, answered: bool, at: u64| {
            for (upstream, trial) in trials {
                quality.listed(Listing { upstream, answered, took_ms: 1, at: Timestamp(start + at) });
                trial.recorded();
            }
            assert!(quality.settle(PATIENCE));
        };
        assert!(due(5_000).is_empty(), "its time is not nearly over");
        let asked = due(11_000);
        assert_eq!(asked.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a"]);
        assert!(due(11_000).is_empty(), "once at a time");
        assert!(admit(16_000).ends_with("one call tries it right now"), "no agent pays meanwhile: {}", admit(16_000));
        listed(asked, false, 16_000);
        assert_eq!(admit(40_000), "its server did not answer when it was asked for its tools");
        assert!(due(40_000).is_empty());
        let asked = due(45_000);
        assert_eq!(asked.len(), 1);
        listed(asked, true, 45_000);
        assert!(due(45_000).is_empty(), "it answered");
        assert_eq!(admit(45_001), "trial");
        // Of a server that nothing is held against, nothing is kept.
        let n = quality.view().of(&"b:0".parse().unwrap());
        quality.listed(Listing {
            upstream: UpstreamId::new("b").unwrap(),
            answered: false,
            took_ms: 1,
            at: Timestamp(start),
        });
        assert!(quality.settle(PATIENCE));
        assert_eq!(quality.view().of(&"b:0".parse().unwrap()), n);
    }

    #[test]
    fn a_degraded_server_is_read_only_for_a_while() {
        let check = |read_only_fallback: bool, expect: [&str; 4]| {
            let store = Store::temporary().unwrap();
            let options = QualityOptions { read_only_fallback, ..QualityOptions::default() };
            let quality = Quality::open(&store, options).unwrap();
            let start = 1_000_000;
            for n in 0..24 {
                let fault = if n % 3 == 0 { CallFault::UpstreamError } else { CallFault::None };
                quality.record(outcome(&format!("a:{}", n % 2), fault, start + n * 1_000));
            }
            assert!(quality.settle(PATIENCE));
            assert!(quality.view().upstreams().all(|(_, upstream)| upstream.degraded));
            let told =
                |tool: &str, effect, at| match quality.admit(&tool.parse().unwrap(), effect, Timestamp(start + at)) {
                    Admission::Free => "free",
                    Admission::Trial(_) => "trial",
                    Admission::Refused(held) => held.what.as_str(),
                };
            let told = [
                told("a:9", SideEffect::Write, 30_000),
                told("a:9", SideEffect::Read, 30_000),
                told("b:9", SideEffect::Destructive, 30_000),
                told("a:9", SideEffect::Write, 700_000),
            ];
            assert_eq!(told, expect);
        };
        check(true, ["read_only", "free", "free", "free"]);
        check(false, ["free"; 4]);
    }

    #[test]
    fn decisions_survive_a_restart() {
        let store = Store::temporary().unwrap();
        let quality = Quality::open(&store, QualityOptions::default()).unwrap();
        let tool: ToolId = "a:b".parse().unwrap();
        let decide = |quality: &Quality, verdict, at| {
            let decision = Decision { tool: tool.clone(), verdict, reason: "I say so".to_owned(), at: Timestamp(at) };
            quality.decide(decision).unwrap();
        };
        let year = 365 * 24 * 60 * 60 * 1_000;
        decide(&quality, Verdict::Quarantine, 5);
        drop(quality);
        let quality = Quality::open(&store, QualityOptions::default()).unwrap();
        let Admission::Refused(held) = quality.admit(&tool, SideEffect::Read, Timestamp(year)) else {
            panic!("held for ever")
        };
        assert_eq!((held.reason.as_str(), held.until), ("put aside by the operator: I say so", None));
        decide(&quality, Verdict::Release, year);
        fail(&quality, "a:b", 20, year + 1);
        drop(quality);
        let quality = Quality::open(&store, QualityOptions::default()).unwrap();
        assert!(matches!(quality.admit(&tool, SideEffect::Read, Timestamp(year + 100)), Admission::Free));
        assert!(quality.view().of(&tool).by_operator);
    }
}
