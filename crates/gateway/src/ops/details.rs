//! Everything about some tools.

use std::sync::Arc;

use serde_json::Value;
use toolscout_catalog::{Catalog, CatalogView, How, Proposal};
use toolscout_core::{Caller, ToolCard};
use toolscout_policy::Policy;
use toolscout_quality::QualityView;
use toolscout_scan::Finding;

use super::resolve::{resolve, visible};
use super::search::input_schema;
use crate::error::OpError;
use crate::plain;
use crate::services::Services;
use crate::wire::{ApprovedDefinition, DetailsRequest, DetailsResponse, TextFinding, ToolDetails, WaitingDefinition};

/// Who reads what is told of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A model: of a tool that is withheld for its text it gets our words alone, and of what waits for an approval none.
    Model,
    /// A person who judges, and needs the text for it.
    Operator,
}

/// Tells everything about up to ten tools. Ids that name nothing come back with the nearest that do.
pub async fn details(
    services: &Services,
    caller: &Caller,
    request: DetailsRequest,
    reader: Reader,
) -> Result<DetailsResponse, OpError> {
    let parts = &services.parts;
    let view = parts.catalog.view();
    let (mut cards, mut unknown) = (Vec::new(), Vec::new());
    for id in &request.ids {
        match resolve(&view, &parts.policy, caller, id) {
            Ok(card) => cards.push(Arc::clone(card)),
            Err(one) => unknown.push(one),
        }
    }
    let (catalog, policy, caller) = (Arc::clone(&parts.catalog), Arc::clone(&parts.policy), caller.clone());
    let quality = parts.quality.view_at(services.now());
    let read = services.compute(move || {
        let mut tools = Vec::new();
        for card in &cards {
            let raw = catalog.raw(&card.id)?;
            let mut told = tool_details(&view, &policy, &caller, card, raw, &quality);
            if reader == Reader::Operator {
                told.definition = approved(&catalog, &view, card)?;
                told.waiting = catalog.proposal(&card.id)?.map(waiting);
            }
            let is_hostile = view.screen.withholds(&card.id);
            tools.push(if reader == Reader::Model { for_model(told, is_hostile) } else { told });
        }
        Ok::<_, toolscout_catalog::Error>(tools)
    });
    let tools = read.await?.map_err(OpError::internal)?;
    Ok(DetailsResponse { tools, unknown })
}

fn tool_details(
    view: &CatalogView,
    policy: &Policy,
    caller: &Caller,
    card: &ToolCard,
    raw: Option<Value>,
    quality: &QualityView,
) -> ToolDetails {
    let part = |key: &str| {
        raw.as_ref().and_then(|raw| raw.get(key)).filter(|value| value.is_object()).cloned().map(plain::shown)
    };
    let may_see = |id: &&toolscout_core::ToolId| view.get(id).is_some_and(|card| visible(policy, caller, card));
    let family = view.family_of(&card.id).map(|family| {
        family.tools.iter().filter(|id| **id != card.id).filter(may_see).map(ToString::to_string).collect()
    });
    ToolDetails {
        id: card.id.to_string(),
        wire_name: card.id.wire_name(),
        title: card.title.clone(),
        description: card.description.clone(),
        side_effect: card.side_effect.as_str().to_owned(),
        signature: card.signature(),
        output_schema: part("outputSchema"),
        annotations: part("annotations"),
        input_schema: plain::shown(input_schema(raw)),
        card: card_extras(card),
        quality: serde_json::to_value(quality.of(&card.id)).unwrap_or_default(),
        family: family.unwrap_or_default(),
        upstream_state: upstream_state(view, card).to_owned(),
        withheld: withheld(view, quality, card),
        findings: view
            .screen
            .of(&card.id)
            .map(|told| told.findings.iter().map(text_finding).collect())
            .unwrap_or_default(),
        definition: None,
        waiting: None,
    }
}

/// Why a tool is withheld, in our words, which are those of searches: for its text, or because it waits, or because it does not
/// work.
fn withheld(view: &CatalogView, quality: &QualityView, card: &ToolCard) -> Option<String> {
    let waits = || {
        let waits = view.unapproved(&card.id)?;
        Some(format!("{} since {}: {}", waits.what.as_str(), waits.since.rfc3339(), waits.reason()))
    };
    let fails = || quality.held(&card.id, card.side_effect).map(|held| held.to_string());
    let reason = view.screen.reason(&card.id).map(|reason| format!("{}: {reason}", toolscout_selector::HOSTILE_TEXT));
    reason.or_else(waits).or_else(fails)
}

/// What was approved of a tool, if anything.
pub(crate) fn approved(
    catalog: &Catalog,
    view: &CatalogView,
    card: &ToolCard,
) -> Result<Option<ApprovedDefinition>, toolscout_catalog::Error> {
    let approval = catalog.approval(&card.id)?;
    if approval.is_none() && view.unapproved(&card.id).is_some() {
        return Ok(None);
    }
    Ok(Some(ApprovedDefinition {
        hash: card.definition.to_string(),
        how: approval.as_ref().map_or(How::FirstUse, |approval| approval.how).as_str().to_owned(),
        at: approval.as_ref().map(|approval| approval.at.rfc3339()),
        reasons: approval.map(|approval| approval.reasons).unwrap_or_default(),
    }))
}

fn waiting(proposal: Proposal) -> WaitingDefinition {
    WaitingDefinition {
        code: proposal.unapproved.what.as_str().to_owned(),
        since: proposal.unapproved.since.rfc3339(),
        reason: proposal.unapproved.reason(),
        hash: proposal.unapproved.hash.to_string(),
        renamed_from: proposal.unapproved.renamed_from.map(|old| old.to_string()),
        obstacles: proposal.obstacles,
        findings: proposal.findings.iter().map(text_finding).collect(),
        edits: proposal.edits.edits,
        n_more: proposal.edits.n_more,
    }
}

fn text_finding(finding: &Finding) -> TextFinding {
    TextFinding {
        kind: finding.kind.as_str().to_owned(),
        severity: finding.severity.as_str().to_owned(),
        at: finding.at.clone(),
        excerpt: finding.excerpt.clone(),
        why: finding.why.clone(),
    }
}

/// The details as a model may read them: no excerpts, and of a tool that is withheld no text of its server's at all.
fn for_model(mut tool: ToolDetails, is_hostile: bool) -> ToolDetails {
    tool.findings.clear();
    if is_hostile {
        for text in [&mut tool.title, &mut tool.description, &mut tool.signature] {
            text.clear();
        }
        (tool.input_schema, tool.card) = (Value::Object(<_>::default()), Value::Object(<_>::default()));
        (tool.output_schema, tool.annotations) = (None, None);
    }
    tool
}

/// The card without what the answer says elsewhere.
fn card_extras(card: &ToolCard) -> Value {
    let mut extras = serde_json::to_value(card).unwrap_or_default();
    if let Value::Object(map) = &mut extras {
        for elsewhere in ["id", "title", "words", "description", "side_effect", "definition"] {
            map.remove(elsewhere);
        }
    }
    extras
}

/// The state of a tool's upstream; `ready` for a catalog without upstream rows.
pub(crate) fn upstream_state(view: &CatalogView, card: &ToolCard) -> &'static str {
    view.upstream(&card.id.upstream).map_or("ready", |row| row.state.as_str())
}
