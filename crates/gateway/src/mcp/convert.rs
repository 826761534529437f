//! Answers and failures in MCP's form.

use rmcp::ErrorData;
use rmcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, ErrorCode, InputRequiredResult, MetaObject, ResultType,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use toolscout_core::SelectionId;

use crate::error::OpError;
use crate::ops::rounded;
use crate::wire::{CallResponse, ExplainResponse};

/// Notes of the gateway on a result, in `_meta`.
const NOTES_META: &str = "dev.toolscout/notes";
/// Who answered, in `_meta` of results since 2026-07-28.
const SERVER_META: &str = "io.modelcontextprotocol/serverInfo";
/// What went wrong, for programs, in `_meta`.
const ERROR_META: &str = "dev.toolscout/error";

/// An id that finds a failure in the log.
pub(crate) fn incident() -> String {
    SelectionId::from_random(rand::random()).as_str().replacen("sel_", "err_", 1)
}

/// An operation's answer: structured, and the same JSON as text, because many clients show only one of them.
pub(super) fn answer(answer: &impl Serialize) -> Result<CallToolResponse, OpError> {
    let value = serde_json::to_value(answer).map_err(OpError::internal)?;
    Ok(CallToolResult::structured(value).into())
}

/// Candidates behind the answer whose evidence a model is told. It pays for every one, and can ask about any by name.
const N_BEHIND: usize = 5;

/// Evidence as a model needs it: the candidates around the answer, the others counted, and no digits that tell nothing. `/v1`
/// has all of it; a hundred candidates are some 20,000 tokens.
pub(super) fn brief(mut why: ExplainResponse) -> ExplainResponse {
    if let Some(Value::Object(evidence)) = &mut why.evidence {
        let count = |evidence: &Map<String, Value>, key: &str| evidence.get(key).and_then(Value::as_u64).unwrap_or(0);
        let n_told = usize::try_from(count(evidence, "limit")).unwrap_or(0) + N_BEHIND;
        let mut n_more = count(evidence, "n_more_candidates");
        if let Some(Value::Array(candidates)) = evidence.get_mut("candidates") {
            n_more += candidates.len().saturating_sub(n_told) as u64;
            candidates.truncate(n_told);
        }
        evidence.insert("n_more_candidates".to_owned(), Value::from(n_more));
    }
    why.confidence = rounded(why.confidence);
    for told in why.evidence.iter_mut().chain(&mut why.why) {
        shorten(told);
    }
    why
}

/// Rounds every fraction. The depth is that of our own evidence.
fn shorten(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(number) = number.as_f64() {
                *value = Value::from(rounded(number));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(map) => map.values_mut().for_each(shorten),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A failure as a result that the model reads.
pub(super) fn failure(error: &OpError, operation: &str) -> CallToolResponse {
    let id = incident();
    error.log(&id, operation);
    let mut meta = MetaObject::default();
    let outside = error.outside();
    let mut body = json!({"code": outside.code, "fault": outside.fault, "id": id});
    if let (Some(details), Value::Object(body)) = (error.details(), &mut body) {
        body.insert("details".to_owned(), details);
    }
    meta.insert(ERROR_META.to_owned(), body);
    CallToolResult::error(vec![ContentBlock::text(error.for_model())]).with_meta(Some(meta)).into()
}

/// A continuation that was altered or is not ours: an error of the protocol however the tool was called (SEP-2322).
pub(super) fn bad_state(error: &OpError) -> Option<ErrorData> {
    matches!(error, OpError::State { .. }).then(|| ErrorData::invalid_params(error.for_model(), error.details()))
}

/// What stays a JSON-RPC error when a tool is called by its own name: the name nobody has, and the upstream's own errors.
pub(super) fn protocol_error(error: &OpError) -> Option<ErrorData> {
    match error {
        OpError::State { .. } => bad_state(error),
        OpError::UnknownTool(_) => Some(ErrorData::invalid_params(error.for_model(), error.details())),
        OpError::Upstream { source, .. } => match &**source {
            toolscout_upstream::Error::Rpc { code, message, data, .. } => {
                let code = ErrorCode(i32::try_from(*code).unwrap_or(ErrorCode::INTERNAL_ERROR.0));
                Some(ErrorData::new(code, message.clone(), data.as_ref().map(|data| data.raw().clone())))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Which eras a client's requests may be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// 2026-07-28 or later.
    Modern,
    /// An earlier revision.
    Legacy,
}

/// An upstream's result, as it sent it as far as the protocol knows it: every content block, `structuredContent`, `isError`,
/// `_meta`, and `input_required` whole. A block of a kind that the protocol does not know becomes a text with its JSON.
pub(super) fn complete(response: CallResponse, speaks: Speaks) -> Result<CallToolResponse, OpError> {
    let CallResponse { id, mut result, notes, .. } = response;
    let result_type = result.get("resultType").and_then(Value::as_str).unwrap_or("complete");
    let unfit = |what: String| -> OpError {
        match id.parse::<toolscout_core::ToolId>() {
            Ok(tool) => {
                let upstream = tool.upstream.clone();
                OpError::Upstream { tool, source: Box::new(toolscout_upstream::Error::Protocol { upstream, what }) }
            }
            Err(error) => OpError::internal(error),
        }
    };
    match result_type {
        "complete" => {}
        "input_required" if speaks == Speaks::Legacy => {
            return Err(unfit("a question that only a client of MCP 2026-07-28 or later can be asked".to_owned()));
        }
        "input_required" => {
            let asked: InputRequiredResult = serde_json::from_value(Value::Object(result))
                .map_err(|error| unfit(format!("an input_required that cannot be read ({error})")))?;
            return Ok(asked.into());
        }
        other => {
            return Err(unfit(format!(
                "a result of type `{}`, which is not served",
                toolscout_core::text::preview(other)
            )));
        }
    }
    let blocks = match result.remove("content") {
        Some(Value::Array(blocks)) => blocks,
        _ => Vec::new(),
    };
    let mut complete = CallToolResult::success(blocks.into_iter().map(content_block).collect());
    complete.result_type = Some(ResultType::COMPLETE);
    complete.structured_content = result.remove("structuredContent");
    complete.is_error = result.get("isError").and_then(Value::as_bool);
    let mut meta = match result.remove("_meta") {
        Some(Value::Object(meta)) => Some(MetaObject(meta)),
        _ => None,
    };
    if !notes.is_empty() {
        meta.get_or_insert_default().insert(NOTES_META.to_owned(), json!(notes));
    }
    complete.meta = meta;
    Ok(complete.into())
}

/// Whose result it is: ours, whoever made what is in it. An upstream's own name is about the connection behind us.
pub(super) fn sign(meta: &mut Option<MetaObject>, speaks: Speaks) {
    if let Some(meta) = meta {
        meta.remove(SERVER_META);
    }
    if speaks == Speaks::Modern {
        let us = serde_json::to_value(super::implementation()).unwrap_or_default();
        meta.get_or_insert_default().insert(SERVER_META.to_owned(), us);
    }
    if meta.as_ref().is_some_and(|meta| meta.is_empty()) {
        *meta = None;
    }
}

fn content_block(block: Value) -> ContentBlock {
    let text = match &block {
        Value::Object(_) => None,
        other => Some(other.to_string()),
    };
    match text {
        Some(text) => ContentBlock::text(text),
        None => serde_json::from_value(block.clone()).unwrap_or_else(|_| ContentBlock::text(block.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(result: &Value) -> CallResponse {
        CallResponse {
            id: "a:b".into(),
            is_error: false,
            result: result.as_object().unwrap().clone(),
            latency_ms: 1,
            notes: Vec::new(),
        }
    }

    fn through(result: &Value) -> Value {
        match complete(response(result), Speaks::Modern).unwrap() {
            CallToolResponse::Complete(result) => serde_json::to_value(result).unwrap(),
            CallToolResponse::InputRequired(result) => serde_json::to_value(result).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check_unchanged(result: Value) {
        assert_eq!(through(&result), result);
    }

    #[test]
    fn what_an_upstream_sends_arrives() {
        check_unchanged(json!({
            "resultType": "complete",
            "content": [
                {"type": "text", "text": "x", "annotations": {"priority": 0.5}, "_meta": {"a": 1}},
                {"type": "image", "data": "AA==", "mimeType": "image/png"},
                {"type": "audio", "data": "AA==", "mimeType": "audio/wav"},
                {"type": "resource", "resource": {"uri": "test://a", "mimeType": "text/plain", "text": "hello"}},
                {"type": "resource_link", "uri": "file:///a", "name": "a"}
            ],
            "structuredContent": [1, {"any": null}],
            "isError": true,
            "_meta": {"vendor/key": {"deep": [1]}}
        }));
        check_unchanged(json!({
            "resultType": "input_required",
            "inputRequests": {"who": {"method": "elicitation/create", "params": {"mode": "form", "message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}}},
            "requestState": "opaque"
        }));
    }

    #[test]
    fn a_question_is_no_answer_to_a_client_that_cannot_be_asked() {
        let result = json!({"resultType": "input_required", "inputRequests": {}, "requestState": "opaque"});
        let error = complete(response(&result), Speaks::Legacy).unwrap_err();
        assert!(error.for_model().contains("only a client of MCP 2026-07-28"), "{}", error.for_model());
    }

    #[test]
    fn results_are_signed_by_us_alone() {
        let theirs = || Some(MetaObject(Map::from_iter([(SERVER_META.to_owned(), json!({"name": "theirs"}))])));
        let mut meta = theirs();
        sign(&mut meta, Speaks::Modern);
        assert_eq!(meta.unwrap()[SERVER_META]["name"], "toolscout");
        let mut meta = theirs();
        sign(&mut meta, Speaks::Legacy);
        assert_eq!(meta, None);
    }

    #[test]
    fn an_unknown_block_becomes_text_and_nothing_is_lost() {
        let through =
            through(&json!({"content": [{"type": "hologram", "data": 7}, "bare", {"type": "text", "text": "x"}]}));
        assert_eq!(through["content"][0], json!({"type": "text", "text": "{\"type\":\"hologram\",\"data\":7}"}));
        assert_eq!(through["content"][1]["text"], "\"bare\"");
        assert_eq!(through["content"][2]["text"], "x");
    }
}
