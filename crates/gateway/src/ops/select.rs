//! Ready tool definitions for one model request: the sidecar's question.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use toolscout_core::text::sanitize;
use toolscout_core::{Caller, ToolCard};
use toolscout_selector::BudgetStage;

use super::search::{input_schema, keep, look, rounded};
use crate::error::OpError;
use crate::lenient::{MAX_QUERY, Mistake};
use crate::plain;
use crate::services::Services;
use crate::wire::{SelectRequest, SelectResponse, SelectedName, ToolFormat};

/// Longest description of a definition, in characters. OpenAI refuses longer ones.
const MAX_DESCRIPTION: usize = 1_000;
/// A last message with fewer words than this is taken together with the one before: "yes, do that" says nothing alone.
const FEW_WORDS: usize = 6;

/// Selects tools for a task or a conversation and gives them in the form a model API takes.
pub async fn select_for_model(
    services: &Services,
    caller: &Caller,
    request: SelectRequest,
) -> Result<SelectResponse, OpError> {
    let query = match request.query.clone().filter(|query| !query.is_empty()) {
        Some(query) => query,
        None => query_of(&request.messages).ok_or_else(|| {
            let message = "hold no text by the user; send `query`, or messages with role \"user\"".to_owned();
            OpError::BadRequest { mistakes: vec![Mistake { field: "messages".to_owned(), message }] }
        })?,
    };
    let mut looked = look(services, caller, &query, request.limit, &request.filters).await?;
    let found = &looked.found;
    let catalog = Arc::clone(&services.parts.catalog);
    let cards: Vec<Arc<ToolCard>> = found.tools.iter().map(|tool| Arc::clone(&tool.card)).collect();
    let format = request.format;
    let read = services.compute(move || {
        let define = |card: &Arc<ToolCard>| Ok(definition(card, catalog.raw(&card.id)?, format));
        cards.iter().map(define).collect::<Result<Vec<Value>, toolscout_catalog::Error>>()
    });
    let definitions = read.await?.map_err(OpError::internal)?;

    let (mut tools, mut names, mut tokens, mut left_out) = (Vec::new(), Vec::new(), 0, BTreeMap::new());
    for (definition, selected) in definitions.into_iter().zip(&found.tools) {
        let cost = definition.to_string().len().div_ceil(4);
        let fits = request.token_budget.is_none_or(|budget| tokens + cost <= budget);
        if !fits && !tools.is_empty() {
            left_out.insert(selected.card.id.clone(), cost);
            continue;
        }
        tokens += cost;
        let (name, id) = (selected.card.id.wire_name(), selected.card.id.to_string());
        names.push(SelectedName { name, id, score: rounded(selected.score.value()) });
        tools.push(definition);
    }
    if let Some(budget) = request.token_budget {
        looked.found.tools.retain(|tool| !left_out.contains_key(&tool.card.id));
        looked.evidence.cut(BudgetStage { tokens: budget, used: tokens }, &left_out);
    }
    let found = keep(services, caller, looked);
    Ok(SelectResponse {
        selection_id: found.id.as_str().to_owned(),
        index_state: found.index_state,
        confidence: rounded(found.confidence),
        tools,
        names,
        tokens,
        over_budget: left_out.len(),
        no_match: found.no_match,
        withheld: found.withheld,
    })
}

/// The task in a conversation: the last thing the user said, with what the user said before when that alone is too short.
/// Understands `content` as a string and as a list of text parts, which is what OpenAI and Anthropic have.
fn query_of(messages: &[Value]) -> Option<String> {
    let said: Vec<String> = messages
        .iter()
        .rev()
        .filter(|message| message.get("role").and_then(Value::as_str) == Some("user"))
        .map(|message| text_of(message.get("content").unwrap_or(&Value::Null)))
        .filter(|text| !text.is_empty())
        .take(2)
        .collect();
    let last = said.first()?;
    let is_short = last.split_whitespace().count() < FEW_WORDS;
    let query = match said.get(1) {
        Some(before) if is_short => format!("{before}\n{last}"),
        _ => last.clone(),
    };
    // The end of a long message is where the request is.
    let skip = query.chars().count().saturating_sub(MAX_QUERY);
    Some(query.chars().skip(skip).collect())
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.trim().to_owned(),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect();
            texts.join("\n").trim().to_owned()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

/// One tool in the form a model API takes. The description is the upstream's, cleaned and bounded.
pub(crate) fn definition(card: &ToolCard, raw: Option<Value>, format: ToolFormat) -> Value {
    let name = card.id.wire_name();
    let description = sanitize(&card.description, MAX_DESCRIPTION);
    let annotations = raw.as_ref().and_then(|raw| raw.get("annotations")).filter(|hints| hints.is_object()).cloned();
    let annotations = annotations.map(plain::shown);
    let schema = model_schema(plain::shown(input_schema(raw)));
    match format {
        ToolFormat::Mcp => {
            let mut tool = json!({
                "name": name, "title": card.title, "description": description, "inputSchema": schema,
            });
            if let (Some(annotations), Value::Object(map)) = (annotations, &mut tool) {
                map.insert("annotations".to_owned(), annotations);
            }
            tool
        }
        ToolFormat::OpenAi => json!({
            "type": "function",
            "function": {"name": name, "description": description, "parameters": schema},
        }),
        ToolFormat::Anthropic => json!({"name": name, "description": description, "input_schema": schema}),
    }
}

/// A schema as model APIs want it: an object with `type: "object"`, without what only MCP clients read.
fn model_schema(schema: Value) -> Value {
    let Value::Object(mut map) = schema else { return json!({"type": "object", "properties": {}}) };
    map.remove("$schema");
    let is_object = map.get("type").and_then(Value::as_str) == Some("object");
    if !is_object {
        map.insert("type".to_owned(), Value::from("object"));
    }
    map.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(messages: Value, expect: Option<&str>) {
        assert_eq!(query_of(messages.as_array().unwrap()).as_deref(), expect);
    }

    #[test]
    fn the_task_is_what_the_user_said_last() {
        let long = "please create an issue about the broken login page";
        check(json!([{"role": "user", "content": long}]), Some(long));
        check(
            json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "?"}, {"role": "user", "content": long}]),
            Some(long),
        );
        check(
            json!([{"role": "user", "content": [{"type": "text", "text": long}, {"type": "image_url"}]}]),
            Some(long),
        );
        let both = format!("{long}\nyes, do that");
        check(json!([{"role": "user", "content": long}, {"role": "user", "content": "yes, do that"}]), Some(&both));
        check(
            json!([{"role": "user", "content": long}, {"role": "user", "content": [{"type": "tool_result", "content": "x"}]}]),
            Some(long),
        );
        check(json!([{"role": "system", "content": "be nice"}]), None);
        check(json!([7, null, {"role": "user"}]), None);
    }
}
