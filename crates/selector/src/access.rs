//! Who is let in: the caller's filters, then policy. What does not pass is never a candidate.

use toolscout_core::{Caller, ToolCard};
use toolscout_index::{Allow, DocSet, Snapshot};
use toolscout_policy::{Decision, Moment, Policy, Subject, decide};

use crate::evidence::AccessStage;
use crate::select::Query;

/// The one kind of reason for which tools are withheld.
const POLICY: &str = "policy";

/// Whether a card passes the caller's own filters.
pub(crate) fn passes_filters(card: &ToolCard, query: &Query) -> bool {
    (query.upstreams.is_empty() || query.upstreams.contains(&card.id.upstream))
        && (query.tags.is_empty() || query.tags.iter().any(|tag| card.tags.contains(tag)))
        && query.max_side_effect.is_none_or(|max| card.side_effect <= max)
}

/// The rule that hides a tool from a caller, if one does.
pub(crate) fn hidden_by(card: &ToolCard, policy: &Policy, caller: &Caller) -> Option<String> {
    let subject = Subject { id: &card.id, side_effect: card.side_effect, tags: &card.tags };
    match decide(policy, caller, &subject, Moment::See) {
        Decision::Granted(_) => None,
        Decision::Denied(denial) => Some(denial.rule),
    }
}

/// The tools that may be candidates.
pub(crate) fn admit(snapshot: &Snapshot, policy: &Policy, caller: &Caller, query: &Query) -> (Allow, AccessStage) {
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
    if !filters && policy.permits_all() {
        return (Allow::All, stage);
    }
    let mut allowed = DocSet::default();
    stage.n_in_filters = 0;
    for (card, doc) in snapshot.view().tools.iter().zip(0u32..).filter(|(card, _)| passes_filters(card, query)) {
        stage.n_in_filters += 1;
        match hidden_by(card, policy, caller) {
            None => allowed.insert(doc),
            // Not the rule itself: evidence is read by agents, and what rules there are is the operator's business.
            Some(_rule) => *stage.denied.entry(POLICY.to_owned()).or_default() += 1,
        }
    }
    stage.n_allowed = allowed.len() as u64;
    (Allow::Only(allowed), stage)
}
