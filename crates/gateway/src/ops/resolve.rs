//! Which tool is meant, among those the caller may see.

use std::sync::Arc;

use toolscout_catalog::CatalogView;
use toolscout_core::text::preview;
use toolscout_core::{Caller, ToolCard, ToolId};
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
    nearest.retain(|id| view.get(id).is_some_and(|card| visible(policy, caller, card)));
    nearest.truncate(NEAREST);
    Err(UnknownTool { id: preview(asked), nearest: nearest.iter().map(ToString::to_string).collect() })
}
