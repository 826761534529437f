//! Which tool is meant, among those the caller may see.

use std::sync::Arc;

use toolscout_catalog::CatalogView;
use toolscout_core::text::preview;
use toolscout_core::{Caller, SideEffect, ToolCard, ToolId, ToolName, UpstreamId};
use toolscout_policy::{Decision, Moment, Policy, Subject, decide};

use crate::wire::UnknownTool;

/// How many of the nearest ids an answer names.
const NEAREST: usize = 3;

/// What policy is asked about a card.
pub(crate) fn subject(card: &ToolCard) -> Subject<'_> {
    Subject { id: &card.id, side_effect: card.side_effect, tags: &card.tags }
}

/// Whether the caller may know of the tool.
pub(crate) fn visible(policy: &Policy, caller: &Caller, card: &ToolCard) -> bool {
    policy.permits_all() || matches!(decide(policy, caller, &subject(card), Moment::See), Decision::Granted(_))
}

/// Whether the caller may know of an upstream: of any of its tools, or, as long as it has none, of tools it may come to have.
pub(crate) fn visible_upstream(view: &CatalogView, policy: &Policy, caller: &Caller, id: &UpstreamId) -> bool {
    let tools = view.tools_of(id);
    if policy.permits_all() || !tools.is_empty() {
        return policy.permits_all() || tools.iter().any(|card| visible(policy, caller, card));
    }
    let any = ToolId { upstream: id.clone(), name: ToolName::new("any").expect("a plain word is a tool name") };
    let subject = Subject { id: &any, side_effect: SideEffect::Read, tags: &[] };
    matches!(decide(policy, caller, &subject, Moment::See), Decision::Granted(_))
}

/// The upstreams that the caller may know of.
pub(crate) fn visible_upstreams<'v>(
    view: &'v CatalogView,
    policy: &'v Policy,
    caller: &'v Caller,
) -> impl Iterator<Item = &'v UpstreamId> {
    view.upstreams.keys().filter(|id| visible_upstream(view, policy, caller, id))
}

/// The tool of an id, a wire name, or a bare name that only one visible tool has. A tool that the caller may not see does not
/// exist, not even among the nearest.
pub(crate) fn resolve<'v>(
    view: &'v CatalogView,
    policy: &Policy,
    caller: &Caller,
    asked: &str,
) -> Result<&'v Arc<ToolCard>, UnknownTool> {
    let asked = asked.trim();
    let by_id = asked.parse::<ToolId>().ok().and_then(|id| view.get(&id));
    if let Some(card) = by_id.or_else(|| view.by_wire_name(asked)).filter(|card| visible(policy, caller, card)) {
        return Ok(card);
    }
    let mut bare =
        view.tools.iter().filter(|card| card.id.name.as_str() == asked).filter(|card| visible(policy, caller, card));
    if let (Some(card), None) = (bare.next(), bare.next()) {
        return Ok(card);
    }
    // More than are shown, because some may not be seen.
    let mut nearest: Vec<ToolId> = view.nearest(asked, 8 * NEAREST);
    // Nor is one that is withheld for what it says of itself: its name may be part of it.
    nearest.retain(|id| view.get(id).is_some_and(|card| visible(policy, caller, card)) && !view.is_silenced(id));
    nearest.truncate(NEAREST);
    Err(UnknownTool { id: preview(asked), nearest: nearest.iter().map(ToString::to_string).collect() })
}
