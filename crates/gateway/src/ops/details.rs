//! Everything about some tools.

use std::sync::Arc;

use serde_json::Value;
use toolscout_catalog::CatalogView;
use toolscout_core::{Caller, ToolCard};
use toolscout_policy::Policy;
use toolscout_scan::Finding;

use super::resolve::{resolve, visible};
use super::search::input_schema;
use crate::error::OpError;
use crate::services::Services;
use crate::wire::{DetailsRequest, DetailsResponse, TextFinding, ToolDetails};

/// Who reads what is told of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A model: of a tool that is withheld for its text it gets our words alone.
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
            let quality = serde_json::to_value(quality.of(&card.id)).unwrap_or_default();
            let told = tool_details(&view, &policy, &caller, card, raw, quality);
            tools.push(if reader == Reader::Model { for_model(told) } else { told });
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
    quality: Value,
) -> ToolDetails {
    let part = |key: &str| raw.as_ref().and_then(|raw| raw.get(key)).filter(|value| !value.is_null()).cloned();
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
        input_schema: input_schema(raw),
        card: card_extras(card),
        quality,
        family: family.unwrap_or_default(),
        upstream_state: upstream_state(view, card).to_owned(),
        withheld: view.screen.reason(&card.id),
        findings: view
            .screen
            .of(&card.id)
            .map(|told| told.findings.iter().map(text_finding).collect())
            .unwrap_or_default(),
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
fn for_model(mut tool: ToolDetails) -> ToolDetails {
    tool.findings.clear();
    if tool.withheld.is_some() {
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
