//! Who is let in: the caller's filters, then policy, then hostile text, what waits for an approval, and quality. What does not pass is
//! never a candidate.

use toolscout_core::{Caller, SideEffect, ToolCard};
use toolscout_index::{Allow, DocIdx, DocSet, Snapshot};
use toolscout_policy::{Decision, Moment, Policy, Subject, decide};
use toolscout_quality::{QualityView, Standing};

use crate::evidence::{AccessStage, HeldTool, MAX_HELD};
use crate::select::Query;

/// The kind of reason for which policy withholds tools. Quality has its own.
const POLICY: &str = "policy";
/// The kind of reason for which a tool is withheld whose definition speaks to the model.
pub const HOSTILE_TEXT: &str = "hostile_text";

/// Whether a card passes the caller's own filters.
pub(crate) fn passes_filters(card: &ToolCard, query: &Query) -> bool {
    (query.upstreams.is_empty() || query.upstreams.contains(&card.id.upstream))
        && (query.tags.is_empty() || query.tags.iter().any(|tag| card.tags.contains(tag)))
        && query.max_side_effect.is_none_or(|max| card.side_effect <= max)
}

/// The rule that hides a tool from a caller, if one does.
pub(crate) fn hidden_by(card: &ToolCard, policy: &Policy, caller: &Caller) -> Option<String> {
    if policy.permits_all() {
        return None;
    }
    let subject = Subject { id: &card.id, side_effect: card.side_effect, tags: &card.tags };
    match decide(policy, caller, &subject, Moment::See) {
        Decision::Granted(_) => None,
        Decision::Denied(denial) => Some(denial.rule),
    }
}

/// The tools that may be candidates. Policy is asked before the others: what it hides is counted as hidden and as nothing else.
pub(crate) fn admit(
    snapshot: &Snapshot,
    quality: &QualityView,
    policy: &Policy,
    caller: &Caller,
    query: &Query,
) -> (Allow, AccessStage) {
    let n_tools = snapshot.len() as u64;
    let mut stage = AccessStage {
        n_tools,
        upstreams: query.upstreams.clone(),
        tags: query.tags.clone(),
        max_side_effect: query.max_side_effect,
        n_in_filters: n_tools,
        n_allowed: n_tools,
        ..AccessStage::default()
    };
    let filters = !query.upstreams.is_empty() || !query.tags.is_empty() || query.max_side_effect.is_some();
    let held = held_docs(snapshot, quality);
    if !filters && policy.permits_all() {
        if held.is_empty() {
            return (Allow::All, stage);
        }
        // Nobody but the held ones has to be looked at: that a tool is broken must not slow every search.
        let view = snapshot.view();
        held.iter().for_each(|doc| hold(&view.tools[doc as usize], snapshot, quality, &mut stage));
        let mut allowed = DocSet::full(snapshot.len());
        held.iter().for_each(|doc| allowed.remove(doc));
        stage.n_allowed = allowed.len() as u64;
        return (Allow::Only(allowed), stage);
    }
    let mut allowed = DocSet::default();
    stage.n_in_filters = 0;
    for (card, doc) in snapshot.view().tools.iter().zip(0u32..).filter(|(card, _)| passes_filters(card, query)) {
        stage.n_in_filters += 1;
        match hidden_by(card, policy, caller) {
            None if held.contains(doc) => hold(card, snapshot, quality, &mut stage),
            None => allowed.insert(doc),
            // Not the rule itself: evidence is read by agents, and what rules there are is the operator's business.
            Some(_rule) => *stage.denied.entry(POLICY.to_owned()).or_default() += 1,
        }
    }
    stage.n_allowed = allowed.len() as u64;
    (Allow::Only(allowed), stage)
}

/// The tools that are withheld for their text, because they wait for an approval, or by quality. Mostly none; found from their
/// ids, so that a search does not ask for every tool.
fn held_docs(snapshot: &Snapshot, quality: &QualityView) -> DocSet {
    let view = snapshot.view();
    let mut held: DocSet = view.unapproved_positions().iter().copied().collect();
    for id in view.screen.withheld() {
        if let Some(doc) = view.position(id) {
            held.insert(doc as DocIdx);
        }
    }
    if quality.holds_nothing() {
        return held;
    }
    let of_upstreams = quality.upstreams_withheld().flat_map(|id| view.tools_of(id).iter().map(|card| &card.id));
    for id in quality.tools_withheld().chain(of_upstreams) {
        if let Some(doc) = view.position(id).filter(|_| quality.withheld(id).is_some()) {
            held.insert(doc as DocIdx);
        }
    }
    for id in quality.upstreams_read_only() {
        let writing = view.tools_of(id).iter().filter(|card| card.side_effect > SideEffect::Read);
        for card in writing {
            let is_held = matches!(quality.standing_of(&card.id, card.side_effect), Standing::Held(_));
            if let Some(doc) = view.position(&card.id).filter(|_| is_held) {
                held.insert(doc as DocIdx);
            }
        }
    }
    held
}

/// Notes why a tool that the caller may see is withheld. A hostile text outweighs that another waits, and both whether it works.
fn hold(card: &ToolCard, snapshot: &Snapshot, quality: &QualityView, stage: &mut AccessStage) {
    let view = snapshot.view();
    let waits = || view.unapproved(&card.id).map(|waits| (waits.what.as_str(), Some(waits.since), waits.reason()));
    let told = view.screen.reason(&card.id).map(|reason| (HOSTILE_TEXT, None, reason)).or_else(waits);
    let (what, since, reason) = match (told, quality.standing_of(&card.id, card.side_effect)) {
        (Some(told), _) => told,
        (None, Standing::Held(held)) => (held.what.as_str(), Some(held.since), held.reason),
        (None, Standing::Open | Standing::Trial(_)) => return,
    };
    *stage.denied.entry(what.to_owned()).or_default() += 1;
    // A name that is itself the trouble is written nowhere that a model reads.
    let may_be_named = !snapshot.view().screen.is_name_hostile(&card.id);
    if may_be_named && stage.held.len() < MAX_HELD {
        let (id, what) = (card.id.clone(), what.to_owned());
        stage.held.push(HeldTool { id, what, since, reason, instead: Vec::new() });
    }
}
