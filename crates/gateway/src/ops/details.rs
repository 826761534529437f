//! Everything about some tools.

use std::sync::Arc;

use serde_json::Value;
use toolscout_catalog::CatalogView;
use toolscout_core::{Caller, ToolCard};
use toolscout_policy::Policy;

use super::resolve::{resolve, visible};
use super::search::input_schema;
use crate::error::OpError;
use crate::services::Services;
use crate::wire::{DetailsRequest, DetailsResponse, ToolDetails};

/// Tells everything about up to ten tools. Ids that name nothing come back with the nearest that do.
pub async fn details(
    services: &Services,
    caller: &Caller,
    request: DetailsRequest,
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
            tools.push(tool_details(&view, &policy, &caller, card, raw, quality));
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
    }
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
