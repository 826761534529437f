//! Why a selection came out as it did.

use std::sync::Arc;

use toolscout_core::text::preview;
use toolscout_core::{Caller, SelectionId, SideEffect, ToolId};
use toolscout_policy::{Decision, Moment, Subject, decide};
use toolscout_selector::{Asked, Evidence, Query};

use super::resolve::{resolve, visible};
use crate::error::OpError;
use crate::lenient::Mistake;
use crate::services::Services;
use crate::wire::{ExplainRequest, ExplainResponse};

/// Candidates explained in detail by the text; the evidence itself holds more.
const N_EXPLAINED: usize = 10;

/// Gives a selection's evidence, or why one named tool is in it or not. Works as long as the selection is kept.
pub async fn explain(
    services: &Services,
    caller: &Caller,
    request: ExplainRequest,
) -> Result<ExplainResponse, OpError> {
    let unknown = || OpError::UnknownSelection { id: preview(&request.selection_id) };
    let id = SelectionId::parse(request.selection_id.trim()).ok_or_else(unknown)?;
    let (log, tenant) = (Arc::clone(&services.parts.selections), caller.tenant.clone());
    let kept =
        services.compute(move || log.get(&id, &tenant)).await?.map_err(OpError::internal)?.ok_or_else(unknown)?;
    let evidence = still_visible(services, caller, kept.evidence.clone());
    let (text, why) = match &request.tool {
        None => (toolscout_selector::explain(&evidence, N_EXPLAINED), None),
        Some(tool) => {
            let snapshot = services.parts.index.snapshot();
            let tool = named(services, caller, &snapshot, tool)?;
            let query = kept
                .query
                .as_ref()
                .map(|typed| Query { text: toolscout_index::mended(typed, &evidence.slips), ..Query::default() });
            let asked = Asked { snapshot: &snapshot, policy: &services.parts.policy, caller, query: query.as_ref() };
            let why = toolscout_selector::why_not(&evidence, &asked, &tool);
            let nearest: Vec<String> = why.nearest.iter().map(ToString::to_string).collect();
            let text = match nearest[..] {
                [] => why.reason.clone(),
                _ => format!("{}; nearest by name: {}", why.reason, nearest.join(", ")),
            };
            (text, Some(serde_json::to_value(&why).map_err(OpError::internal)?))
        }
    };
    let evidence = match request.tool {
        None => Some(serde_json::to_value(&evidence).map_err(OpError::internal)?),
        Some(_) => None,
    };
    Ok(ExplainResponse {
        selection_id: kept.id.as_str().to_owned(),
        at: kept.at.rfc3339(),
        generation: kept.generation.0,
        index_state: kept.index_state.clone(),
        confidence: kept.confidence,
        query: kept.query.clone(),
        query_hash: kept.query_hash.clone(),
        tools: kept
            .tools
            .iter()
            .filter(|(id, _)| may_see(services, caller, id))
            .map(|(id, _)| id.to_string())
            .collect(),
        text,
        evidence,
        why,
    })
}

/// The evidence without the tools that policy hides from the caller by now: a selection is no permission.
fn still_visible(services: &Services, caller: &Caller, mut evidence: Evidence) -> Evidence {
    evidence.candidates.retain(|candidate| may_see(services, caller, &candidate.id));
    evidence.access.held.retain(|held| may_see(services, caller, &held.id));
    evidence
}

fn may_see(services: &Services, caller: &Caller, id: &ToolId) -> bool {
    match services.parts.catalog.view().get(id) {
        Some(card) => visible(&services.parts.policy, caller, card),
        // A tool that is gone: its id can still be judged.
        None => {
            let gone = Subject { id, side_effect: SideEffect::Read, tags: &[] };
            matches!(decide(&services.parts.policy, caller, &gone, Moment::See), Decision::Granted(_))
        }
    }
}

/// The tool asked about: one that exists, or the id of one that may have existed.
fn named(
    services: &Services,
    caller: &Caller,
    snapshot: &toolscout_index::Snapshot,
    asked: &str,
) -> Result<ToolId, OpError> {
    match resolve(snapshot.view(), &services.parts.policy, caller, asked) {
        Ok(card) => Ok(card.id.clone()),
        // An id of a tool that is gone, or that this caller may not see: the answer is the same, "not in the catalog".
        Err(unknown) => asked.trim().parse().map_err(|_| match unknown.nearest.is_empty() {
            true => {
                let message = format!("\"{}\" is no tool id; write it as upstream:tool", unknown.id);
                OpError::BadRequest { mistakes: vec![Mistake { field: "tool".into(), message }] }
            }
            false => OpError::UnknownTool(unknown),
        }),
    }
}
