//! The upstream that the official conformance suite expects behind the gateway.
//!
//! The suite asks a server for tools with agreed names and answers; a gateway has none of its own, so leg B of
//! `make conformance` puts this one behind it and runs the suite against the gateway: whatever the gateway loses on the
//! way (content types, progress, `resultType`, `requestState`, schemas) then fails a check.
//! Plain JSON-RPC over stdin and stdout, both eras, so that it shares no code with the gateway.

use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

/// A red pixel, as PNG.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";
/// No sound, as WAV.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";

/// Answers requests from `input` on `output` until `input` ends. Each request has a thread: some take their time.
pub fn serve(input: impl BufRead, output: impl Write + Send + 'static) {
    let output: Output = Arc::new(Mutex::new(Box::new(output)));
    for line in input.lines().map_while(Result::ok) {
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        let Some(id) = message.get("id").cloned() else { continue };
        let output = output.clone();
        std::thread::spawn(move || {
            let method = message["method"].as_str().unwrap_or_default();
            let request = Request::of(&message["params"], &output);
            let answer = match answer(method, &request) {
                Ok(mut result) => {
                    if request.modern && result.get("resultType").is_none() {
                        result["resultType"] = json!("complete");
                    }
                    json!({"jsonrpc": "2.0", "id": id, "result": result})
                }
                Err(Refusal { code, message, data }) => {
                    let mut error = json!({"code": code, "message": message});
                    if let Some(data) = data {
                        error["data"] = data;
                    }
                    json!({"jsonrpc": "2.0", "id": id, "error": error})
                }
            };
            send(&output, &answer);
        });
    }
}

type Output = Arc<Mutex<Box<dyn Write + Send>>>;

/// What a request says besides its method.
struct Request<'a> {
    params: &'a Value,
    output: &'a Output,
    modern: bool,
}

struct Refusal {
    code: i64,
    message: String,
    data: Option<Value>,
}

fn refuse<T>(code: i64, message: impl Into<String>, data: Option<Value>) -> Result<T, Refusal> {
    Err(Refusal { code, message: message.into(), data })
}

fn send(output: &Output, message: &Value) {
    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
    // Nobody reads any more once the gateway has gone.
    let _ = writeln!(output, "{message}").and_then(|()| output.flush());
}

impl<'a> Request<'a> {
    fn of(params: &'a Value, output: &'a Output) -> Self {
        let modern = params["_meta"].get("io.modelcontextprotocol/protocolVersion").is_some();
        Request { params, output, modern }
    }

    fn has_capability(&self, name: &str) -> bool {
        self.params["_meta"][CAPABILITIES].get(name).is_some()
    }

    fn input(&self, key: &str) -> Option<&Map<String, Value>> {
        self.params["inputResponses"].get(key)?.as_object()
    }

    fn state(&self) -> Option<&str> {
        self.params["requestState"].as_str()
    }

    fn notify(&self, method: &str, params: &Value) {
        send(self.output, &json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    fn log(&self, text: &str) {
        let wanted = !self.modern || self.params["_meta"].get(LOG_LEVEL).is_some();
        if wanted {
            self.notify("notifications/message", &json!({"level": "info", "logger": "conformance", "data": text}));
        }
    }

    fn progress(&self, done: u32) {
        if let Some(token) = self.params["_meta"].get("progressToken") {
            let step = json!({"progressToken": token, "progress": done, "total": 100});
            self.notify("notifications/progress", &step);
        }
    }
}

fn answer(method: &str, request: &Request<'_>) -> Result<Value, Refusal> {
    let us = json!({"name": "conformance-upstream", "version": "1.0.0"});
    let capabilities = json!({"tools": {}, "logging": {}});
    match method {
        "initialize" => Ok(json!({"protocolVersion": LEGACY, "capabilities": capabilities, "serverInfo": us})),
        "server/discover" => Ok(json!({
            "supportedVersions": [MODERN], "capabilities": capabilities, "ttlMs": 60_000, "cacheScope": "public",
            "serverInfo": us, "_meta": {"io.modelcontextprotocol/serverInfo": us},
        })),
        "ping" | "logging/setLevel" if !request.modern => Ok(json!({})),
        "tools/list" => Ok(json!({"tools": tools(), "ttlMs": 60_000, "cacheScope": "public"})),
        "tools/call" => call(request.params["name"].as_str().unwrap_or_default(), request),
        _ => refuse(-32601, format!("no method {method}"), None),
    }
}

fn call(tool: &str, request: &Request<'_>) -> Result<Value, Refusal> {
    let arguments = &request.params["arguments"];
    let image = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
    match tool {
        "test_simple_text" => Ok(text("This is a simple text response for testing.")),
        "test_image_content" => Ok(json!({"content": [image]})),
        "test_audio_content" => Ok(json!({"content": [{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]})),
        "test_embedded_resource" => Ok(json!({"content": [{"type": "resource", "resource": {
            "uri": "test://embedded-resource", "mimeType": "text/plain", "text": "This is an embedded resource content.",
        }}]})),
        "test_multiple_content_types" => Ok(json!({"content": [
            {"type": "text", "text": "Multiple content types test:"},
            image,
            {"type": "resource", "resource": {
                "uri": "test://mixed-content-resource", "mimeType": "application/json",
                "text": r#"{"test":"data","value":123}"#,
            }},
        ]})),
        "test_error_handling" => {
            let mut result = text("This tool intentionally returns an error for testing");
            result["isError"] = json!(true);
            Ok(result)
        }
        "test_tool_with_logging" | "test_logging_tool" => {
            for (step, line) in ["started", "processing", "completed"].into_iter().enumerate() {
                pause_before(step);
                request.log(
                    if step == 1 { "Tool processing data".to_owned() } else { format!("Tool execution {line}") }
                        .as_str(),
                );
            }
            Ok(text("Logged three times."))
        }
        "test_tool_with_progress" => {
            for (step, done) in [0, 50, 100].into_iter().enumerate() {
                pause_before(step);
                request.progress(done);
            }
            Ok(text("Reported progress three times."))
        }
        "test_custom_header" => Ok(text(format!("Region: {}", arguments["region"].as_str().unwrap_or_default()))),
        "json_schema_2020_12_tool" => Ok(text("Fine.")),
        "test_missing_capability" => {
            if request.has_capability("sampling") {
                Ok(text("Sampling was declared."))
            } else {
                let missing = json!({"requiredCapabilities": {"sampling": {}}});
                refuse(-32021, "this tool needs the sampling capability", Some(missing))
            }
        }
        "test_streaming_elicitation" => {
            request.progress(50);
            rounds(request, &[("user_name", ask("What is your name?", "name", "string"))], State::None, |_| {
                text("Thank you.")
            })
        }
        _ => call_with_input(tool, request),
    }
}

/// The tools that want something from the client first (SEP-2322).
fn call_with_input(tool: &str, request: &Request<'_>) -> Result<Value, Refusal> {
    let name = ("user_name", ask("What is your name?", "name", "string"));
    let roots = ("client_roots", json!({"method": "roots/list", "params": {}}));
    match tool {
        "test_input_required_result_elicitation" => rounds(request, &[name], State::None, |request| {
            let name = request.input("user_name").and_then(|input| input["content"]["name"].as_str());
            text(format!("Hello, {}!", name.unwrap_or("stranger")))
        }),
        "test_input_required_result_sampling" => {
            let question = ("capital_question", sample("What is the capital of France?", 100));
            rounds(request, &[question], State::None, |request| {
                let said = request.input("capital_question").and_then(|input| input["content"]["text"].as_str());
                text(said.unwrap_or_default())
            })
        }
        "test_input_required_result_list_roots" => rounds(request, &[roots], State::None, |request| {
            let roots = request.input("client_roots").map(|input| input["roots"].to_string());
            text(format!("Roots: {}", roots.unwrap_or_default()))
        }),
        "test_input_required_result_request_state" | "test_input_required_result_tampered_state" => {
            let confirm = ("confirm", ask("Please confirm", "ok", "boolean"));
            rounds(request, &[confirm], State::Checked, |_| text("state-ok"))
        }
        "test_input_required_result_multiple_inputs" => {
            let greeting = ("greeting", sample("Generate a greeting", 50));
            rounds(request, &[name, greeting, roots], State::Checked, |_| text("All three arrived."))
        }
        "test_input_required_result_multi_round" => {
            let first = ask("Step 1: What is your name?", "name", "string");
            let second = ask("Step 2: What is your favorite color?", "color", "string");
            match request.state() {
                None => Ok(wanting(&[("step1", first)], Some("round 1"))),
                Some("round 1") if request.input("step1").is_some() => {
                    Ok(wanting(&[("step2", second)], Some("round 2")))
                }
                Some("round 2") if request.input("step2").is_some() => Ok(text("Both steps are done.")),
                Some(_) => refuse(-32602, "this requestState is not ours", None),
            }
        }
        "test_input_required_result_capabilities" => {
            let mut wanted = Vec::new();
            if request.has_capability("sampling") {
                wanted.push(("greeting", sample("Generate a greeting", 50)));
            }
            if request.has_capability("elicitation") {
                wanted.push(name);
            }
            Ok(if wanted.is_empty() { text("Nothing to ask with.") } else { wanting(&wanted, None) })
        }
        _ => refuse(-32602, format!("unknown tool {tool}"), None),
    }
}

/// Whether a tool hands out a `requestState` and wants it back.
#[derive(PartialEq)]
enum State {
    None,
    Checked,
}

/// Asks for all of `wanted`, and again while something is missing; then `done`.
fn rounds(
    request: &Request<'_>,
    wanted: &[(&str, Value)],
    state: State,
    done: impl FnOnce(&Request<'_>) -> Value,
) -> Result<Value, Refusal> {
    // The state's second half stands for a signature: the suite sends it back altered and expects a refusal.
    let signed = "asked:5f3759df";
    if state == State::Checked && request.state().is_some_and(|got| got != signed) {
        return refuse(-32602, "this requestState is not ours", None);
    }
    let complete = wanted.iter().all(|(key, _)| request.input(key).is_some());
    let stateful = state == State::None || request.state().is_some();
    if complete && stateful {
        return Ok(done(request));
    }
    Ok(wanting(wanted, (state == State::Checked).then_some(signed)))
}

fn wanting(wanted: &[(&str, Value)], state: Option<&str>) -> Value {
    let requests: Map<String, Value> = wanted.iter().map(|(key, ask)| ((*key).to_owned(), ask.clone())).collect();
    let mut result = json!({"resultType": "input_required", "inputRequests": requests});
    if let Some(state) = state {
        result["requestState"] = json!(state);
    }
    result
}

fn ask(message: &str, field: &str, kind: &str) -> Value {
    let schema = json!({"type": "object", "properties": {field: {"type": kind}}, "required": [field]});
    json!({"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}})
}

fn sample(prompt: &str, max_tokens: u32) -> Value {
    let message = json!({"role": "user", "content": {"type": "text", "text": prompt}});
    json!({"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": max_tokens}})
}

fn text(text: impl Into<String>) -> Value {
    json!({"content": [{"type": "text", "text": text.into()}]})
}

fn pause_before(step: usize) {
    if step > 0 {
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn tools() -> Vec<Value> {
    let plain = [
        ("test_simple_text", "Returns a text."),
        ("test_image_content", "Returns an image."),
        ("test_audio_content", "Returns a sound."),
        ("test_embedded_resource", "Returns a resource."),
        ("test_multiple_content_types", "Returns a text, an image and a resource."),
        ("test_tool_with_logging", "Writes three log messages."),
        ("test_logging_tool", "Writes log messages when asked to."),
        ("test_error_handling", "Always fails."),
        ("test_tool_with_progress", "Reports progress."),
        ("test_missing_capability", "Needs the sampling capability."),
        ("test_streaming_elicitation", "Asks for a name while it streams."),
        ("test_input_required_result_elicitation", "Asks for a name."),
        ("test_input_required_result_sampling", "Asks the model for a capital."),
        ("test_input_required_result_list_roots", "Asks for the roots."),
        ("test_input_required_result_request_state", "Asks for a confirmation, with state."),
        ("test_input_required_result_tampered_state", "Asks for a confirmation and refuses altered state."),
        ("test_input_required_result_multiple_inputs", "Asks for three things at once."),
        ("test_input_required_result_multi_round", "Asks twice."),
        ("test_input_required_result_capabilities", "Asks only for what the client can do."),
    ];
    let nothing = json!({"type": "object", "properties": {}});
    let mut tools: Vec<Value> = plain
        .iter()
        .map(|(name, description)| json!({"name": name, "description": description, "inputSchema": nothing}))
        .collect();
    tools.push(json!({
        "name": "test_custom_header", "description": "Takes a parameter that is also a header.",
        "inputSchema": {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
    }));
    tools.push(json!({
        "name": "json_schema_2020_12_tool", "description": "Tool with JSON Schema 2020-12 features",
        "inputSchema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {
                "street": {"type": "string"}, "city": {"type": "string"},
            }}},
            "properties": {
                "name": {"type": "string"}, "address": {"$ref": "#/$defs/address"},
                "contactMethod": {"type": "string", "enum": ["phone", "email"]},
                "phone": {"type": "string"}, "email": {"type": "string"},
            },
            "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
            "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
            "then": {"required": ["phone"]},
            "else": {"required": ["email"]},
            "additionalProperties": false,
        },
    }));
    tools
}
