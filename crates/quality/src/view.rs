//! What readers see: one immutable state of every known tool's quality.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use toolscout_core::{SideEffect, Timestamp, ToolId, ToolName, UpstreamId};

use crate::book::{Book, Tool, Upstream};
use crate::circuit::CircuitState;
use crate::health::State;
use crate::known::{ToolQuality, UpstreamQuality, tool_quality, upstream_quality};
use crate::options::QualityOptions;

/// Why a tool is not called now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Whether it or its whole server is the trouble.
    pub what: HeldWhat,
    /// Since when.
    pub since: Timestamp,
    /// When it is tried again by itself; `None`: an operator has to release it.
    pub until: Option<Timestamp>,
    /// Why, for people.
    pub reason: String,
}

impl std::fmt::Display for Held {
    /// `quarantined since 2026-…: 5 failures in a row`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} since {}: {}", self.what.as_str(), self.since.rfc3339(), self.reason)
    }
}

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldWhat {
    /// The tool is in quarantine.
    Tool,
    /// The circuit of its upstream is open.
    Upstream,
    /// It writes, and its upstream is degraded.
    Writing,
}

impl HeldWhat {
    /// The word under which such tools are counted as withheld.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "quarantined",
            Self::Upstream => "upstream_down",
            Self::Writing => "read_only",
        }
    }
}

/// Whether a tool is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Like any other.
    Open,
    /// By one call at a time, whose outcome decides. Says what is tried and why it was held.
    Trial(Held),
    /// Not at all.
    Held(Held),
}

/// Every known tool's quality as of one moment. A tool nobody called has the prior.
#[derive(Debug, Clone)]
pub struct QualityView {
    upstreams: BTreeMap<UpstreamId, Arc<OneUpstream>>,
    unknown: ToolQuality,
    /// Tools and upstreams that are held or on trial. Few, so that asking for one costs nothing.
    tools_held: BTreeMap<ToolId, Held>,
    upstreams_held: BTreeMap<UpstreamId, Held>,
    tools_on_trial: BTreeSet<ToolId>,
    upstreams_on_trial: BTreeSet<UpstreamId>,
    released: BTreeSet<ToolId>,
    /// Degraded tools, and until when they stand behind another that does the same.
    behind: BTreeMap<ToolId, Timestamp>,
    /// Upstreams whose writing tools are withheld. Always none without `fallback`.
    read_only: BTreeMap<UpstreamId, Held>,
    fallback: bool,
    /// When the next of those that are held comes on trial, or the next that stands behind comes forward.
    due: Option<Timestamp>,
}

/// After so many milliseconds without a call a degraded tool is tried again in its family's place: nobody would learn otherwise
/// that it works by now.
const BEHIND_MS: u64 = 10 * 60_000;

#[derive(Debug, Clone)]
struct OneUpstream {
    quality: UpstreamQuality,
    tools: BTreeMap<ToolName, ToolQuality>,
    /// From when on it is to be listed.
    listing_from: Option<Timestamp>,
}

impl Default for QualityView {
    fn default() -> Self {
        Self::new(&Book::default(), &QualityOptions::default())
    }
}

impl QualityView {
    /// The view of a book as of its newest event.
    pub fn new(book: &Book, options: &QualityOptions) -> Self {
        let mut view = Self {
            upstreams: BTreeMap::new(),
            unknown: tool_quality(&Tool::default(), book.now, options),
            tools_held: BTreeMap::new(),
            upstreams_held: BTreeMap::new(),
            tools_on_trial: BTreeSet::new(),
            upstreams_on_trial: BTreeSet::new(),
            released: BTreeSet::new(),
            behind: BTreeMap::new(),
            read_only: BTreeMap::new(),
            fallback: options.read_only_fallback && options.automatic,
            due: None,
        };
        book.upstreams.iter().for_each(|(id, upstream)| view.set(id, upstream, book.now, options));
        view.mark();
        view.at(book.now)
    }

    /// This view with some upstreams as they are now in the book.
    pub(crate) fn with(&self, book: &Book, changed: &BTreeSet<UpstreamId>, options: &QualityOptions) -> Self {
        let mut view = self.clone();
        for id in changed {
            if let Some(upstream) = book.upstreams.get(id) {
                view.set(id, upstream, book.now, options);
            }
        }
        view.mark();
        view.at(book.now)
    }

    fn set(&mut self, id: &UpstreamId, upstream: &Upstream, now: Timestamp, options: &QualityOptions) {
        let tools =
            upstream.tools.iter().map(|(name, tool)| (name.clone(), tool_quality(tool, now, options))).collect();
        let quality = upstream_quality(upstream, now, options);
        let listing_from = upstream.wants_listing(options);
        self.upstreams.insert(id.clone(), Arc::new(OneUpstream { quality, tools, listing_from }));
    }

    /// Notes who is held, from the qualities.
    fn mark(&mut self) {
        self.tools_held.clear();
        self.upstreams_held.clear();
        self.tools_on_trial.clear();
        self.upstreams_on_trial.clear();
        self.released.clear();
        self.behind.clear();
        self.read_only.clear();
        for (id, one) in &self.upstreams {
            let quality = &one.quality;
            let held = |what, since: Option<Timestamp>, until, reason: &Option<String>| Held {
                what,
                since: since.unwrap_or_default(),
                until,
                reason: reason.clone().unwrap_or_default(),
            };
            if quality.circuit != CircuitState::Closed {
                let down = held(HeldWhat::Upstream, quality.since, quality.until, &quality.reason);
                self.upstreams_held.insert(id.clone(), down);
            }
            if quality.circuit == CircuitState::HalfOpen {
                self.upstreams_on_trial.insert(id.clone());
            }
            if let (true, true, Some(last)) = (self.fallback, quality.degraded, quality.last_call) {
                let reason =
                    Some("its server fails more often than it should; its reading tools are called".to_owned());
                let writing = held(HeldWhat::Writing, Some(last), Some(last.plus(BEHIND_MS)), &reason);
                self.read_only.insert(id.clone(), writing);
            }
            for (name, tool) in &one.tools {
                let tool_id = || ToolId::new(id.clone(), name.clone());
                if matches!(tool.state, State::Quarantined | State::Probation) {
                    let aside = held(HeldWhat::Tool, tool.since, tool.until, &tool.reason);
                    self.tools_held.insert(tool_id(), aside);
                }
                if tool.state == State::Probation {
                    self.tools_on_trial.insert(tool_id());
                }
                if tool.by_operator && tool.state != State::Quarantined {
                    self.released.insert(tool_id());
                }
                if let (State::Degraded, Some(last)) = (tool.state, tool.last_call) {
                    self.behind.insert(tool_id(), last.plus(BEHIND_MS));
                }
            }
        }
    }

    /// This view when nothing has happened until `now`: whose time is over comes on trial.
    #[must_use]
    pub(crate) fn at(mut self, now: Timestamp) -> Self {
        let over = |held: &Held| held.until.is_some_and(|until| until <= now);
        for (id, held) in self.tools_held.iter().filter(|(_, held)| over(held)) {
            if self.tools_on_trial.insert(id.clone())
                && let Some(tool) = self.upstreams.get_mut(&id.upstream).map(Arc::make_mut)
                && let Some(tool) = tool.tools.get_mut(&id.name)
            {
                (tool.state, tool.since, tool.until) = (State::Probation, held.until, None);
            }
        }
        for (id, held) in self.upstreams_held.iter().filter(|(_, held)| over(held)) {
            if self.upstreams_on_trial.insert(id.clone())
                && let Some(upstream) = self.upstreams.get_mut(id).map(Arc::make_mut)
            {
                let quality = &mut upstream.quality;
                (quality.circuit, quality.since, quality.until) = (CircuitState::HalfOpen, held.until, None);
            }
        }
        self.behind.retain(|_, until| *until > now);
        self.read_only.retain(|_, held| held.until.is_some_and(|until| until > now));
        let held = self.tools_held.values().chain(self.upstreams_held.values()).chain(self.read_only.values());
        let held = held.filter_map(|held| held.until);
        self.due = held.chain(self.behind.values().copied()).filter(|until| *until > now).min();
        self
    }

    /// Whether time alone changes it by `now`.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// What is known of one tool.
    pub fn of(&self, id: &ToolId) -> ToolQuality {
        self.get(id).unwrap_or(&self.unknown).clone()
    }

    /// Whether nothing is known of any tool.
    pub fn is_blank(&self) -> bool {
        self.upstreams.is_empty()
    }

    /// By which share its score lies below that of a tool of which nothing is known, 0 to 1.
    pub fn shortfall(&self, id: &ToolId) -> f64 {
        let unknown = self.unknown.score.score;
        self.get(id).map_or(0.0, |known| ((unknown - known.score.score) / unknown).clamp(0.0, 1.0))
    }

    /// Whether callers often get its arguments wrong: what its description says may mislead.
    pub fn misleads(&self, id: &ToolId) -> bool {
        self.get(id).is_some_and(|known| known.misleading)
    }

    /// Whether it is degraded and was called a moment ago: then another that does the same goes before it.
    pub fn stands_behind(&self, id: &ToolId) -> bool {
        self.behind.contains_key(id)
    }

    /// The score alone, without a copy.
    pub fn score(&self, id: &ToolId) -> f64 {
        self.get(id).unwrap_or(&self.unknown).score.score
    }

    fn get(&self, id: &ToolId) -> Option<&ToolQuality> {
        self.upstreams.get(&id.upstream)?.tools.get(&id.name)
    }

    /// Every tool that anything is known of, by id.
    pub fn iter(&self) -> impl Iterator<Item = (ToolId, &ToolQuality)> {
        self.upstreams.iter().flat_map(|(upstream, one)| {
            one.tools.iter().map(|(name, quality)| (ToolId::new(upstream.clone(), name.clone()), quality))
        })
    }

    /// Every upstream that anything is known of, by id.
    pub fn upstreams(&self) -> impl Iterator<Item = (&UpstreamId, &UpstreamQuality)> {
        self.upstreams.iter().map(|(id, one)| (id, &one.quality))
    }

    /// Whether a tool is called.
    pub fn standing(&self, id: &ToolId) -> Standing {
        let upstream = || {
            let held = self.upstreams_held.get(&id.upstream)?;
            Some((held, self.upstreams_on_trial.contains(&id.upstream)))
        };
        match (self.tools_held.get(id), upstream()) {
            (Some(held), _) if !self.tools_on_trial.contains(id) => Standing::Held(held.clone()),
            (_, Some((down, false))) if !self.released.contains(id) => Standing::Held(down.clone()),
            (_, Some((down, true))) if !self.released.contains(id) => Standing::Trial(down.clone()),
            (Some(held), _) => Standing::Trial(held.clone()),
            (None, _) => Standing::Open,
        }
    }

    /// Whether `other`, which does the same, goes before it: where one fails more often than it should and the other does not,
    /// or surely fails less. A tool on trial goes before all: nobody would try it otherwise.
    pub fn yields_to(&self, tool: &ToolId, other: &ToolId) -> bool {
        let Some(known) = self.get(tool).filter(|known| known.state != State::Probation) else { return false };
        if !matches!(self.standing(other), Standing::Open) || self.behind.contains_key(other) {
            return false;
        }
        if self.behind.contains_key(tool) {
            return true;
        }
        let theirs = self.get(other).map_or((0.0, 1.0), |other| other.lately.failed());
        known.lately.failed().0 > theirs.1
    }

    /// The same for a tool that does this: also what writes may be held.
    pub fn standing_of(&self, id: &ToolId, effect: SideEffect) -> Standing {
        let standing = self.standing(id);
        let writing = self.read_only.get(&id.upstream).filter(|_| effect > SideEffect::Read);
        match (writing, &standing) {
            (Some(held), Standing::Open) if !self.released.contains(id) => Standing::Held(held.clone()),
            _ => standing,
        }
    }

    /// Why a tool that does this is not called now, if it is not.
    pub fn held(&self, id: &ToolId, effect: SideEffect) -> Option<Held> {
        match self.standing_of(id, effect) {
            Standing::Held(held) => Some(held),
            Standing::Open | Standing::Trial(_) => None,
        }
    }

    /// Why a tool is no candidate, if it is none. Does not know of writing tools, see [`QualityView::standing_of`]. A tool on trial is one: nobody would try it otherwise.
    pub fn withheld(&self, id: &ToolId) -> Option<HeldWhat> {
        if self.holds_nothing() {
            return None;
        }
        match self.standing(id) {
            Standing::Held(held) => Some(held.what),
            Standing::Open | Standing::Trial(_) => None,
        }
    }

    /// The tools that are in quarantine, by id. Not those of upstreams that are down.
    pub fn tools_withheld(&self) -> impl Iterator<Item = &ToolId> {
        self.tools_held.keys().filter(|id| !self.tools_on_trial.contains(id))
    }

    /// The upstreams that are down, by id. A tool of theirs may be withheld or not, see [`QualityView::withheld`].
    pub fn upstreams_withheld(&self) -> impl Iterator<Item = &UpstreamId> {
        self.upstreams_held.keys().filter(|id| !self.upstreams_on_trial.contains(*id))
    }

    /// The upstreams whose writing tools are withheld, by id.
    pub fn upstreams_read_only(&self) -> impl Iterator<Item = &UpstreamId> {
        self.read_only.keys()
    }

    /// The upstreams that are to be listed at `now`, because what they left unanswered is soon tried again, by id.
    pub(crate) fn to_be_listed(&self, now: Timestamp) -> impl Iterator<Item = &UpstreamId> {
        let is_due = move |one: &OneUpstream| one.listing_from.is_some_and(|from| from <= now);
        self.upstreams.iter().filter(move |(_, one)| is_due(one)).map(|(id, _)| id)
    }

    /// Whether a listing of this upstream can say anything: something of it was put aside.
    pub(crate) fn may_hear(&self, id: &UpstreamId) -> bool {
        let is_held = |(held, _): (&ToolId, &Held)| held.upstream == *id;
        self.upstreams_held.contains_key(id) || self.tools_held.iter().any(is_held)
    }

    /// Whether no tool at all is withheld: nobody has to be asked one by one.
    pub fn holds_nothing(&self) -> bool {
        self.read_only.is_empty()
            && self.tools_held.len() == self.tools_on_trial.len()
            && self.upstreams_held.len() == self.upstreams_on_trial.len()
    }
}
