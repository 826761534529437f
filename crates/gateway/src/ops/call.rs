//! One call: policy again, then what its definition says and whether that was approved, then quality, arguments checked,
//! forwarded, judged.

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use toolscout_catalog::CatalogView;
use toolscout_core::text::preview;
use toolscout_core::{CallFault, Caller, CallerClass, Generation, Outcome, SelectionId, ToolCard, ToolId};
use toolscout_policy::{Decision, Granted, Moment, decide};
use toolscout_quality::{Admission, Standing, Trial};
use toolscout_upstream::{CallContext, CallReply, Progress};
use tracing::{Instrument as _, info, info_span};

use super::resolve::{resolve, subject, visible};
use super::search::input_schema;
use crate::error::OpError;
use crate::services::Services;
use crate::validate::{ArgumentFault, Checked, Compiled};
use crate::wire::{CallRequest, CallResponse};

/// How a call is made, beside what is called.
#[derive(Default)]
pub struct Conditions {
    /// From which side the call comes.
    pub class: CallerClass,
    /// Ends the call; the upstream is told.
    pub cancel: CancellationToken,
    /// Where progress goes.
    pub progress: Option<mpsc::Sender<Progress>>,
    /// The caller's `_meta`, for the upstream.
    pub meta: Option<Map<String, Value>>,
    /// What the client says it can do, when it speaks an era in which `input_required` reaches it.
    pub client_capabilities: Option<Map<String, Value>>,
    /// Answers to an earlier `input_required`.
    pub input_responses: Option<Value>,
    /// The state that came with it, in our envelope.
    pub request_state: Option<String>,
}

/// Calls a tool.
pub async fn call(
    services: &Services,
    caller: &Caller,
    request: CallRequest,
    conditions: Conditions,
) -> Result<CallResponse, OpError> {
    let _in_flight = services.drain.enter()?;
    let parts = &services.parts;
    let view = parts.catalog.view();
    let card = resolve(&view, &parts.policy, caller, &request.id).map_err(OpError::UnknownTool)?;
    let span = info_span!("call", tool = %card.id, client = %preview(&caller.client));
    let asked_for = request.selection_id.as_deref().map(str::trim).filter(|id| !id.is_empty());
    let selection = asked_for.and_then(SelectionId::parse);
    let judge = Judge {
        services,
        card,
        generation: view.generation,
        selection,
        class: conditions.class,
        started: Instant::now(),
        trial: Mutex::new(None),
    };
    // A model that mistypes it still wants its call made; but the outcome then counts for no selection, which it should know.
    let note = asked_for
        .filter(|_| judge.selection.is_none())
        .map(|id| format!("selection_id \"{}\" is none that search_tools gives (sel_…) and was left out", preview(id)));
    let answer = permitted_call(&judge, caller, request, conditions).instrument(span).await;
    let answer = answer.map(|mut answer| {
        answer.notes.extend(note);
        answer
    });
    if let Err(error) = &answer
        && let Some(fault) = error.call_fault()
    {
        judge.record(fault, 0, false, None);
    }
    answer
}

async fn permitted_call(
    judge: &Judge<'_>,
    caller: &Caller,
    request: CallRequest,
    conditions: Conditions,
) -> Result<CallResponse, OpError> {
    let (services, card) = (judge.services, judge.card);
    let grant = match decide(&services.parts.policy, caller, &subject(card), Moment::Call) {
        Decision::Granted(grant) => grant,
        Decision::Denied(denial) => return Err(OpError::Denied { tool: card.id.clone(), rule: denial.rule }),
    };
    // The newest view, not the one that the call began with: a change that waits, or a text that turned hostile since, counts.
    let newest = services.parts.catalog.view();
    if let Some(waits) = newest.unapproved(&card.id) {
        let siblings = siblings(services, &newest, caller, card);
        return Err(OpError::Unapproved { tool: card.id.clone(), waits: Box::new(waits.clone()), siblings });
    }
    let wants_confirmation = services.parts.options.confirm_from.is_some_and(|from| card.side_effect >= from);
    if wants_confirmation && !request.confirm {
        return Err(OpError::NeedsConfirmation { tool: card.id.clone(), side_effect: card.side_effect });
    }
    if let Some(reason) = newest.screen.reason(&card.id) {
        let siblings = siblings(services, &newest, caller, card);
        return Err(OpError::HostileText { tool: card.id.clone(), reason, siblings });
    }
    match services.parts.quality.admit(&card.id, card.side_effect, services.now()) {
        Admission::Free => {}
        Admission::Trial(trial) => *judge.trial.lock() = Some(trial),
        Admission::Refused(held) => {
            services.parts.metrics.refused(&card.id, held.what.as_str());
            let siblings = siblings(services, &newest, caller, card);
            return Err(OpError::Quarantined { tool: card.id.clone(), held: Box::new(held), siblings });
        }
    }
    let mut notes = Vec::new();
    let arguments = checked_arguments(services, card, request.arguments, &mut notes).await?;
    let reply = forward(services, caller, grant, arguments, conditions).await?;
    let result = object_of(card, reply)?;
    respond(judge, caller, result, notes).await
}

/// What can stand in: the same tool on other upstreams, then its backups; what works, may be shown and the caller may see.
fn siblings(services: &Services, view: &CatalogView, caller: &Caller, card: &ToolCard) -> Vec<String> {
    let parts = &services.parts;
    let quality = parts.quality.view_at(services.now());
    let stands_in = |id: &&ToolId| {
        view.get(id).is_some_and(|other| {
            let works = matches!(quality.standing_of(id, other.side_effect), Standing::Open);
            works && !view.is_silenced(id) && visible(&parts.policy, caller, other)
        })
    };
    view.stand_ins(&card.id).filter(stands_in).map(ToString::to_string).collect()
}

/// The arguments, if they fit the tool's schema or nobody can tell.
async fn checked_arguments(
    services: &Services,
    card: &ToolCard,
    mut arguments: Map<String, Value>,
    notes: &mut Vec<String>,
) -> Result<Map<String, Value>, OpError> {
    let compiled = compiled(services, card).await?;
    // A stranger's schema against a model's arguments: bounded, but not always quick.
    let check = services.compute(move || {
        let mut checked = compiled.check(&arguments);
        let mut dropped = Vec::new();
        // Each round takes at least one argument away, and a check names only the first few faults.
        while let Checked::Faults(faults) = &checked {
            let before = dropped.len();
            dropped.extend(drop_unfit_nulls(&compiled, &mut arguments, faults));
            if dropped.len() == before {
                break;
            }
            checked = compiled.check(&arguments);
        }
        (checked, dropped, arguments)
    });
    let (checked, dropped, arguments) = check.await?;
    if !dropped.is_empty() {
        notes.push(format!("left out because null does not fit: {}", dropped.join(", ")));
    }
    match checked {
        Checked::Fits => Ok(arguments),
        Checked::Unchecked(reason) => {
            notes.push(format!("the arguments were not checked: {reason}"));
            Ok(arguments)
        }
        Checked::Faults(faults) => {
            Err(OpError::Arguments { tool: card.id.clone(), signature: card.signature(), faults })
        }
    }
}

/// Models write `null` for "nothing to say". Where the schema wants no null and does not require the property, leaving it out
/// says the same. A null that the schema admits means something and stays.
fn drop_unfit_nulls(compiled: &Compiled, arguments: &mut Map<String, Value>, faults: &[ArgumentFault]) -> Vec<String> {
    let required: Vec<&str> = compiled
        .schema()
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let nulls: Vec<String> = arguments
        .iter()
        .filter(|(name, value)| value.is_null() && !required.contains(&name.as_str()))
        .filter(|(name, _)| {
            let path = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            faults.iter().any(|fault| fault.path == path)
        })
        .map(|(name, _)| name.clone())
        .collect();
    for name in &nulls {
        arguments.remove(name);
    }
    nulls.iter().map(|name| preview(name)).collect()
}

async fn compiled(services: &Services, card: &ToolCard) -> Result<Arc<Compiled>, OpError> {
    if let Some(compiled) = services.validators.cached(card.definition) {
        return Ok(compiled);
    }
    let (catalog, id) = (Arc::clone(&services.parts.catalog), card.id.clone());
    let compile = services.compute(move || catalog.raw(&id).map(|raw| Compiled::new(input_schema(raw))));
    let compiled = Arc::new(compile.await?.map_err(OpError::internal)?);
    services.validators.keep(card.definition, Arc::clone(&compiled));
    Ok(compiled)
}

async fn forward(
    services: &Services,
    caller: &Caller,
    grant: Granted<ToolId>,
    arguments: Map<String, Value>,
    conditions: Conditions,
) -> Result<CallReply, OpError> {
    let tool = grant.get().clone();
    let request_state = match &conditions.request_state {
        None => None,
        Some(sealed) => {
            let opened = services.sealer.open(&tool, &caller.tenant, sealed, services.now());
            opened.map_err(|source| OpError::State { tool: tool.clone(), source })?
        }
    };
    let request = toolscout_upstream::CallRequest {
        name: tool.name.as_str().to_owned(),
        arguments,
        meta: conditions.meta,
        input_responses: conditions.input_responses,
        request_state,
    };
    let context = CallContext {
        deadline: services.parts.options.call_deadline,
        cancel: conditions.cancel,
        progress: conditions.progress,
        client_capabilities: conditions.client_capabilities,
    };
    let reply = services.parts.forward.forward(grant, request, context);
    reply.await.map_err(|source| OpError::Upstream { tool, source: Box::new(source) })
}

fn object_of(card: &ToolCard, reply: CallReply) -> Result<Map<String, Value>, OpError> {
    match reply.result.into_raw() {
        Value::Object(result) => Ok(result),
        other => Err(OpError::Upstream {
            tool: card.id.clone(),
            source: Box::new(toolscout_upstream::Error::Protocol {
                upstream: card.id.upstream.clone(),
                what: format!("a result that is {}", crate::lenient::kind(&other)),
            }),
        }),
    }
}

async fn respond(
    judge: &Judge<'_>,
    caller: &Caller,
    mut result: Map<String, Value>,
    mut notes: Vec<String>,
) -> Result<CallResponse, OpError> {
    let (services, card) = (judge.services, judge.card);
    let result_type = result.get("resultType").and_then(Value::as_str).unwrap_or("complete").to_owned();
    let is_error = result.get("isError").and_then(Value::as_bool).unwrap_or(false);
    let n_bytes = json_len(&result);
    if result_type == "input_required" {
        // The call is neither done nor failed: nothing to judge yet.
        let state = result.get("requestState").and_then(Value::as_str).map(str::to_owned);
        let sealed = services.sealer.seal(&card.id, &caller.tenant, state, services.now());
        result.insert("requestState".to_owned(), Value::from(sealed));
    } else {
        let fault = if is_error { blame(&result) } else { CallFault::None };
        let conforms = if is_error { None } else { conforms(services, card, &result, n_bytes).await };
        judge.record(fault, n_bytes as u64, is_empty(&result), conforms);
        let max = services.parts.options.max_result_bytes;
        if n_bytes > max {
            cut(&mut result, n_bytes, max);
            notes.push(format!("the result had {n_bytes} bytes and was cut to about {max}"));
        }
        mark(&mut result, card);
    }
    let latency_ms = judge.latency_ms();
    info!(latency_ms, n_bytes, is_error, result_type, "call answered");
    Ok(CallResponse { id: card.id.to_string(), is_error, result, latency_ms, notes })
}

/// Marks a result as a stranger's, whatever its server says of it: for programs, as the words beside `call_tool` are for models.
fn mark(result: &mut Map<String, Value>, card: &ToolCard) {
    let meta = result.entry("_meta").or_insert_with(|| json!({}));
    if !meta.is_object() {
        *meta = json!({});
    }
    if let Value::Object(meta) = meta {
        meta.insert(UNTRUSTED_META.to_owned(), json!({"upstream": card.id.upstream}));
    }
}

/// Says in `_meta` whose words a result holds: data, never instructions.
const UNTRUSTED_META: &str = "dev.toolscout/untrusted";

/// Whether structured content keeps the output schema; `None` where there is none to compare, or nobody can tell cheaply.
async fn conforms(services: &Services, card: &ToolCard, result: &Map<String, Value>, n_bytes: usize) -> Option<bool> {
    let Some(Value::Object(content)) = result.get("structuredContent") else { return None };
    if n_bytes > MAX_CHECKED_RESULT {
        return None;
    }
    let compiled = match services.output_validators.cached(card.definition) {
        Some(compiled) => compiled,
        None => {
            let (catalog, id) = (Arc::clone(&services.parts.catalog), card.id.clone());
            let schema = move || {
                let raw = catalog.raw(&id).ok().flatten();
                // Null is no schema: whatever is held against it stays unchecked.
                raw.and_then(|mut raw| raw.get_mut("outputSchema").map(Value::take)).unwrap_or_default()
            };
            let compiled = Arc::new(services.compute(move || Compiled::new(schema())).await.ok()?);
            services.output_validators.keep(card.definition, Arc::clone(&compiled));
            compiled
        }
    };
    if compiled.schema().is_null() {
        return None;
    }
    let content = content.clone();
    match services.compute(move || compiled.check(&content)).await.ok()? {
        Checked::Fits => Some(true),
        Checked::Faults(_) => Some(false),
        Checked::Unchecked(_) => None,
    }
}

/// Largest result whose structure is checked, in bytes. The caller waits for it.
const MAX_CHECKED_RESULT: usize = 256 * 1024;

/// What is needed to say afterwards how a call went.
struct Judge<'a> {
    services: &'a Services,
    card: &'a ToolCard,
    generation: Generation,
    selection: Option<SelectionId>,
    class: CallerClass,
    started: Instant,
    /// Held when this call decides whether the tool is called again.
    trial: Mutex<Option<Trial>>,
}

impl Judge<'_> {
    fn latency_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn record(&self, fault: CallFault, result_bytes: u64, empty: bool, conforms: Option<bool>) {
        self.services.parts.metrics.called(&self.card.id, fault, self.started.elapsed());
        self.services.parts.quality.record(Outcome {
            tool: self.card.id.clone(),
            generation: self.generation,
            selection: self.selection.clone(),
            fault,
            latency_ms: self.latency_ms(),
            result_bytes,
            empty,
            conforms,
            caller: self.class,
            at: self.services.now(),
        });
        if let Some(trial) = self.trial.lock().take() {
            trial.recorded();
        }
    }
}

/// Who is to blame for a result with `isError`. The protocol does not say; the text often does.
///
/// A guess with a bias: what sounds like a mistake of the caller's (a missing file, a bad value) does not count against
/// the tool, everything else does.
fn blame(result: &Map<String, Value>) -> CallFault {
    const LATER: &[&str] = &["rate limit", "too many requests", "429", "quota"];
    const CALLERS: &[&str] = &[
        "invalid",
        "required",
        "missing",
        "not found",
        "no such",
        "does not exist",
        "doesn't exist",
        "must be",
        "expected",
        "validation",
        "not allowed",
        "denied",
        "unknown",
        "already exists",
        "out of range",
        "404",
        "400",
    ];
    let text = first_text(result).to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(LATER) {
        CallFault::Throttled
    } else if says(CALLERS) {
        CallFault::InvalidArguments
    } else {
        CallFault::UpstreamError
    }
}

fn first_text(result: &Map<String, Value>) -> Cow<'_, str> {
    let blocks = result.get("content").and_then(Value::as_array);
    let text = blocks.and_then(|blocks| blocks.iter().find_map(|block| block.get("text").and_then(Value::as_str)));
    // The beginning tells; a whole page is not searched for words.
    text.map(|text| text.chars().take(500).collect::<String>().into()).unwrap_or_default()
}

fn is_empty(result: &Map<String, Value>) -> bool {
    let no_content = result.get("content").and_then(Value::as_array).is_none_or(Vec::is_empty);
    no_content && result.get("structuredContent").is_none_or(Value::is_null)
}

/// The length of the JSON without writing it down.
fn json_len(result: &Map<String, Value>) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting cannot fail, and a map of JSON values can always be written.
    let _ = serde_json::to_writer(&mut count, result);
    count.0
}

/// Makes a result that is too long short enough: whole blocks as long as they fit, the first text that does not fit cut, the
/// rest named. The call itself went well, so it stays a success: an error would make a model call again.
fn cut(result: &mut Map<String, Value>, n_bytes: usize, max: usize) {
    let blocks = match result.remove("content") {
        Some(Value::Array(blocks)) => blocks,
        _ => Vec::new(),
    };
    let had_structure = result.remove("structuredContent").is_some();
    let mut kept = Vec::new();
    let mut room = max;
    let mut n_left_out = 0;
    for block in blocks {
        let size = block.to_string().len();
        if size <= room {
            room -= size;
            kept.push(block);
            continue;
        }
        match block.get("text").and_then(Value::as_str) {
            Some(text) if room > 200 => {
                let mut end = (room - 100).min(text.len());
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                kept.push(json!({"type": "text", "text": format!("{}…", &text[..end])}));
                room = 0;
            }
            _ => n_left_out += 1,
        }
    }
    let mut note = format!("[cut by the gateway: the result had {n_bytes} bytes, more than {max}");
    if n_left_out > 0 {
        note.push_str(&format!("; {n_left_out} content blocks left out"));
    }
    if had_structure {
        note.push_str("; structured content left out");
    }
    note.push_str(". Ask for less, or for a page at a time]");
    kept.push(json!({"type": "text", "text": note}));
    result.insert("content".to_owned(), Value::Array(kept));
    let meta = result.entry("_meta").or_insert_with(|| json!({}));
    if let Value::Object(meta) = meta {
        meta.insert("dev.toolscout/cut".to_owned(), json!({"bytes": n_bytes, "limit": max}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[track_caller]
    fn check_blame(text: &str, expect: CallFault) {
        assert_eq!(blame(&object(json!({"isError": true, "content": [{"type": "text", "text": text}]}))), expect);
    }

    #[test]
    fn mistakes_of_the_caller_do_not_count_against_the_tool() {
        check_blame("ENOENT: no such file or directory", CallFault::InvalidArguments);
        check_blame("Invalid repository name", CallFault::InvalidArguments);
        check_blame("API rate limit exceeded", CallFault::Throttled);
        check_blame("Internal server error", CallFault::UpstreamError);
        check_blame("", CallFault::UpstreamError);
    }

    #[test]
    fn a_long_result_is_cut_and_stays_a_success() {
        let long = "ü".repeat(5_000);
        let mut result = object(json!({
            "content": [{"type": "text", "text": "short"}, {"type": "text", "text": long}, {"type": "image", "data": long, "mimeType": "image/png"}],
            "structuredContent": {"a": long}, "_meta": {"own": 1},
        }));
        let n_bytes = json_len(&result);
        assert_eq!(n_bytes, Value::Object(result.clone()).to_string().len());
        cut(&mut result, n_bytes, 2_000);
        assert!(json_len(&result) < 2_600, "{}", json_len(&result));
        assert!(result.get("isError").is_none() && result.get("structuredContent").is_none());
        assert_eq!(result["content"][0]["text"], "short");
        assert_eq!(result["_meta"]["own"], 1);
        let note = result["content"].as_array().unwrap().last().unwrap()["text"].as_str().unwrap();
        assert!(note.contains("1 content blocks left out; structured content left out"), "{note}");
    }
}
