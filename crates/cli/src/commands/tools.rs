//! `tools list|show|call|quarantine|release` and `quality`.

use std::io::Read as _;

use anyhow::Context as _;
use serde_json::{Map, Value};
use toolscout_gateway::ops::ToolsQuery;
use toolscout_gateway::wire::{CallRequest, CallResponse, DecisionRequest, TextFinding, ToolDetails, ToolRow};
use toolscout_quality::Verdict;
use toolscout_selector::HOSTILE_TEXT;

use crate::args::Decide;
use crate::backend::Backend;
use crate::fail::{Ended, Exit, usage};
use crate::screen;

/// Largest arguments read from a file or standard input.
const MAX_ARGUMENTS: u64 = 16 << 20;

/// `tools list`.
pub(crate) async fn list(upstreams: &[String], is_json: bool, backend: &Backend) -> Ended {
    let mut rows: Vec<ToolRow> = Vec::new();
    let mut generation = 0;
    let which: Vec<Option<String>> =
        if upstreams.is_empty() { vec![None] } else { upstreams.iter().cloned().map(Some).collect() };
    for upstream in which {
        let mut query = ToolsQuery { upstream, limit: Some(500), ..ToolsQuery::default() };
        loop {
            let page = backend.tools(&query).await?;
            generation = page.generation;
            rows.extend(page.tools);
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
    }
    if is_json {
        screen::json(&serde_json::json!({ "generation": generation, "tools": rows }))?;
    } else {
        let mut table = screen::table(&["tool", "effect", "quality", "what it does"]);
        for row in &rows {
            let states = [(&row.upstream_state, "ready"), (&row.state, "healthy")];
            let odd = states.iter().filter(|(state, usual)| !state.is_empty() && state != usual);
            let about: String = odd.map(|(state, _)| format!("({state}) ")).chain([row.summary.clone()]).collect();
            table.add_row([&row.id, &row.side_effect, &format!("{:.2}", row.quality), &about]);
        }
        screen::print(&table, "the catalog has no tool; `toolscout crawl` fills it")?;
    }
    Ok(if rows.is_empty() { Exit::NoMatch } else { Exit::Done })
}

/// `tools show`.
pub(crate) async fn show(ids: &[String], is_json: bool, backend: &Backend) -> Ended {
    let mut tools = Vec::new();
    let mut unknown = Vec::new();
    // The gateway takes ten at a time.
    for some in ids.chunks(10) {
        let answer = backend.details(some).await?;
        tools.extend(answer.tools);
        unknown.extend(answer.unknown);
    }
    if is_json {
        screen::json(&serde_json::json!({ "tools": tools, "unknown": unknown }))?;
    } else {
        for tool in &tools {
            print_tool(tool)?;
        }
        for unknown in &unknown {
            let nearest = match unknown.nearest.as_slice() {
                [] => String::new(),
                nearest => format!("; nearest: {}", nearest.join(", ")),
            };
            screen::say(&format!("there is no tool `{}`{nearest}", unknown.id));
        }
    }
    Ok(if unknown.is_empty() { Exit::Done } else { Exit::NoMatch })
}

fn print_tool(tool: &ToolDetails) -> anyhow::Result<()> {
    screen::line(&format!("{} · {} · {} · {}", tool.id, tool.title, tool.side_effect, tool.upstream_state))?;
    screen::line(&format!("{}\n", tool.signature))?;
    if let Some(reason) = &tool.withheld {
        let code = reason.split([' ', ':']).next().unwrap_or_default();
        let remedy = match code {
            HOSTILE_TEXT => "; scan.allow lets it through".to_owned(),
            _ if tool.waiting.is_some() => format!("; `toolscout tools approve {}`", tool.id),
            _ => format!("; `toolscout tools release {}` has it called again at once", tool.id),
        };
        screen::line(&format!("withheld as {reason}{remedy}\n"))?;
    }
    if !tool.findings.is_empty() {
        for finding in &tool.findings {
            let TextFinding { kind, severity, at, excerpt, why } = finding;
            screen::line(&format!("{severity} {kind} in {at}: {why}\n    {excerpt}"))?;
        }
        screen::line("")?;
    }
    if !tool.description.is_empty() {
        screen::line(&format!("{}\n", tool.description))?;
    }
    if !tool.family.is_empty() {
        screen::line(&format!("the same tool: {}\n", tool.family.join(", ")))?;
    }
    screen::line(&format!("{}\n", serde_json::to_string_pretty(&tool.input_schema)?))?;
    Ok(())
}

/// What `tools call` is asked.
pub(crate) struct Call<'a> {
    /// Which tool.
    pub(crate) id: &'a str,
    /// JSON, `@FILE` or `-`.
    pub(crate) arguments: Option<&'a str>,
    /// `NAME=VALUE` pairs.
    pub(crate) args: &'a [String],
    /// The selection that led here.
    pub(crate) selection: Option<&'a str>,
    /// Whether a confirmation is given.
    pub(crate) is_confirmed: bool,
    /// Whether to print JSON.
    pub(crate) is_json: bool,
}

/// `tools call`.
pub(crate) async fn call(call: &Call<'_>, backend: &Backend) -> Ended {
    let arguments = match call.arguments {
        Some(text) => read_arguments(text)?,
        None if call.args.is_empty() => Map::new(),
        None => {
            let found = backend.details(&[call.id.to_owned()]).await?;
            // Without the tool there is nothing to go by; the call says so itself.
            pairs(call.args, found.tools.first().map(|tool| &tool.input_schema))?
        }
    };
    let request = CallRequest {
        id: call.id.to_owned(),
        arguments,
        selection_id: call.selection.map(str::to_owned),
        confirm: call.is_confirmed,
    };
    let answer = backend.call(request).await?;
    if call.is_json {
        screen::json(&answer)?;
    } else {
        print_result(&answer)?;
    }
    if answer.result.get("resultType").and_then(Value::as_str) == Some("input_required") {
        screen::say("the tool asks for more input before it does anything; this command cannot give it");
        return Ok(Exit::Failed);
    }
    Ok(if answer.is_error { Exit::Upstream } else { Exit::Done })
}

fn read_arguments(text: &str) -> anyhow::Result<Map<String, Value>> {
    let read = |mut file: Box<dyn std::io::Read>| -> anyhow::Result<String> {
        let mut text = String::new();
        file.as_mut().take(MAX_ARGUMENTS).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = match text {
        "-" => read(Box::new(std::io::stdin())).context("read arguments from standard input")?,
        text => match text.strip_prefix('@') {
            Some(path) => {
                let context = || format!("read arguments from {path}");
                read(Box::new(std::fs::File::open(path).with_context(context)?)).with_context(context)?
            }
            None => text.to_owned(),
        },
    };
    match serde_json::from_str(&text) {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(_) => Err(usage("the arguments are no JSON object", "write '{\"name\": \"value\"}' or --arg name=value")),
        Err(error) => {
            let message = format!("the arguments are no JSON: {error}");
            Err(usage(message, "write '{\"name\": \"value\"}' or --arg name=value"))
        }
    }
}

/// `NAME=VALUE` pairs as the tool's schema wants them.
fn pairs(args: &[String], schema: Option<&Value>) -> anyhow::Result<Map<String, Value>> {
    let mut arguments = Map::new();
    for arg in args {
        let Some((name, text)) = arg.split_once('=') else {
            return Err(usage("an argument is not of the form NAME=VALUE", "write --arg path=/tmp"));
        };
        let property = schema.and_then(|schema| schema.get("properties")?.get(name));
        arguments.insert(name.to_owned(), value_of(text, property));
    }
    Ok(arguments)
}

/// The text as the type that the property has. Where it has none or several, as JSON if it reads as JSON of such a type.
fn value_of(text: &str, property: Option<&Value>) -> Value {
    let mut types = Vec::new();
    if let Some(property) = property {
        types_of(property, &mut types);
    }
    let as_text = || Value::String(text.to_owned());
    if types == ["string"] {
        return as_text();
    }
    let Ok(value) = serde_json::from_str::<Value>(text) else { return as_text() };
    let fits = match &value {
        Value::Null => types.contains(&"null"),
        Value::Bool(_) => types.contains(&"boolean"),
        Value::Number(_) => types.contains(&"number") || types.contains(&"integer"),
        Value::String(_) => types.contains(&"string"),
        Value::Array(_) => types.contains(&"array"),
        Value::Object(_) => types.contains(&"object"),
    };
    // What fits no type goes as it reads: the check of the arguments then says what would be right.
    if !fits && types.contains(&"string") { as_text() } else { value }
}

/// The types that a property names, itself or in plain alternatives.
fn types_of<'a>(property: &'a Value, types: &mut Vec<&'a str>) {
    match property.get("type") {
        Some(Value::String(one)) => types.push(one),
        Some(Value::Array(all)) => types.extend(all.iter().filter_map(Value::as_str)),
        _ => {}
    }
    for alternative in ["anyOf", "oneOf"] {
        for one in property.get(alternative).and_then(Value::as_array).into_iter().flatten() {
            // One level: an alternative of alternatives is read as JSON.
            types.extend(one.get("type").and_then(Value::as_str));
        }
    }
    if types.is_empty()
        && property.get("enum").and_then(Value::as_array).is_some_and(|all| all.iter().all(Value::is_string))
    {
        types.push("string");
    }
}

/// The result as a person wants it: its text blocks; what is no text by its kind.
fn print_result(answer: &CallResponse) -> anyhow::Result<()> {
    let blocks = answer.result.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for block in blocks {
        let text = |key: &str| block.get(key).and_then(Value::as_str);
        match (text("type"), text("text")) {
            // A stranger's text must not steer the terminal.
            (_, Some(text)) => screen::line(&text.lines().map(clean).collect::<Vec<_>>().join("\n"))?,
            (Some(kind), None) => {
                let size = text("data").map(|data| format!(", {}", screen::bytes(data.len() as u64 * 3 / 4)));
                let what = text("mimeType").or_else(|| text("uri")).unwrap_or_default();
                screen::line(&format!("[{} {}{}]", clean(kind), clean(what), size.unwrap_or_default()))?;
            }
            (None, None) => {}
        }
    }
    if blocks.is_empty() {
        screen::json(&answer.result)?;
    }
    for note in &answer.notes {
        screen::say(&format!("note: {note}"));
    }
    if answer.is_error {
        screen::say("the tool reports an error");
    }
    Ok(())
}

/// One line without control characters, its spaces kept: sanitising proper would squeeze them.
fn clean(line: &str) -> String {
    line.chars().filter(|c| !toolscout_core::text::is_hidden(*c)).collect()
}

/// `tools quarantine` and `tools release`.
pub(crate) async fn decide(args: &Decide, verdict: Verdict, backend: &Backend) -> Ended {
    let answer = backend.decide(&args.id, verdict, DecisionRequest { reason: args.reason.clone() }).await?;
    if args.output.json {
        screen::json(&answer)?;
    } else {
        let state = answer.quality.get("state").and_then(Value::as_str).unwrap_or_default();
        screen::line(&format!("{} is {state}", answer.id))?;
    }
    Ok(Exit::Done)
}

/// `quality`.
pub(crate) async fn quality(is_json: bool, backend: &Backend) -> Ended {
    let list = backend.quality().await?;
    if is_json {
        screen::json(&list)?;
        return Ok(Exit::Done);
    }
    let mut upstreams = screen::table(&["upstream", "state", "quality", "calls", "failures", "lately", "p50", "p95"]);
    for row in &list.upstreams {
        let told = Told(&row.quality);
        let counts = [told.score(), told.whole("calls"), told.whole("failures"), told.lately()];
        let cells = [row.id.clone(), server_state(&told)].into_iter().chain(counts);
        upstreams.add_row(cells.chain([told.millis("p50_ms"), told.millis("p95_ms")]));
    }
    if !upstreams.is_empty() {
        screen::print(&upstreams, "")?;
        screen::line("")?;
    }
    let heads = ["tool", "state", "quality", "calls", "failures", "caller's faults", "lately", "p50", "p95"];
    let mut table = screen::table(&heads);
    for row in &list.tools {
        let told = Told(&row.quality);
        let counts = [told.score(), told.whole("calls"), told.whole("failures"), told.whole("caller_faults")];
        let cells = [row.id.clone(), tool_state(&told)].into_iter().chain(counts);
        table.add_row(cells.chain([told.lately(), told.millis("p50_ms"), told.millis("p95_ms")]));
    }
    screen::print(&table, "no tool has been called yet")?;
    if list.dropped > 0 {
        screen::say(&format!("{} outcomes were not counted: too many at once", list.dropped));
    }
    Ok(Exit::Done)
}

/// What a row of `/v1/quality` tells of a tool or a server.
struct Told<'a>(&'a Value);

impl Told<'_> {
    fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    fn is(&self, key: &str) -> bool {
        self.0.get(key) == Some(&Value::Bool(true))
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.0.get(key).and_then(Value::as_f64)
    }

    fn score(&self) -> String {
        self.number("score").map(|n| format!("{n:.2}")).unwrap_or_default()
    }

    fn whole(&self, key: &str) -> String {
        self.number(key).map(|n| format!("{n:.0}")).unwrap_or_default()
    }

    fn millis(&self, key: &str) -> String {
        self.number(key).map(|n| format!("{n:.0} ms")).unwrap_or_default()
    }

    /// What went wrong lately, one kind a line, and whether that is more than usual.
    fn lately(&self) -> String {
        const KINDS: [(&str, &str); 7] = [
            ("errors", "errors"),
            ("timeouts", "without an answer in time"),
            ("transport", "without a connection"),
            ("violating", "of what could be checked breaks its schema"),
            ("empty", "empty"),
            ("invalid_arguments", "with wrong arguments"),
            ("unsafe_attempts", "refused for their effect"),
        ];
        let share = |key: &str| self.0["lately"].get(key).and_then(Value::as_f64).unwrap_or_default();
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        let kinds = KINDS.into_iter().map(|(key, words)| (share(key), words)).filter(|(share, _)| *share >= 0.005);
        let mut lines: Vec<String> = kinds.map(|(share, words)| format!("{} {words}", percent(share))).collect();
        let drift = share("drift");
        if drift >= 0.05 {
            lines.push(format!("{} more failures than usual", percent(drift)));
        }
        lines.join("\n")
    }
}

fn server_state(told: &Told<'_>) -> String {
    let since = |word: &str| format!("{word} since {}\n{}", told.text("since"), told.text("reason"));
    match told.text("circuit") {
        "open" => since("down"),
        "half_open" => since("one call tries it"),
        _ if told.is("read_only") => "fails more often than it should;\nits writing tools are withheld".to_owned(),
        _ if told.is("degraded") => "fails more often than it should".to_owned(),
        _ => "answers".to_owned(),
    }
}

fn tool_state(told: &Told<'_>) -> String {
    let mut state = match (told.text("state"), told.text("reason")) {
        (state, "") => state.to_owned(),
        (state, reason) => format!("{state} since {}\n{reason}", told.text("since")),
    };
    if told.is("misleading") {
        state.push_str("\ncallers often get its arguments wrong: its description may mislead");
    }
    let family = Told(&told.0["family"]);
    if family.is("goes_before") {
        state.push_str(&format!("\n{} ({}), which does the same, goes before it", family.text("best"), family.score()));
    }
    state
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(property: Value, text: &str, expect: Value) {
        assert_eq!(value_of(text, Some(&property)), expect, "{text} for {property}");
    }

    #[test]
    fn an_argument_is_read_as_the_type_that_the_schema_names() {
        check(json!({"type": "string"}), "5", json!("5"));
        check(json!({"type": "string"}), "true", json!("true"));
        check(json!({"type": "integer"}), "5", json!(5));
        check(json!({"type": "integer"}), "five", json!("five"));
        check(json!({"type": ["string", "null"]}), "5", json!("5"));
        check(json!({"type": ["string", "null"]}), "null", json!(null));
        check(json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}), "5", json!(5));
        check(json!({"anyOf": [{"type": "string"}, {"type": "null"}]}), "5", json!("5"));
        check(json!({"type": "array"}), "[1]", json!([1]));
        check(json!({"enum": ["1", "2"]}), "1", json!("1"));
        check(json!({}), "5", json!(5));
        assert_eq!(value_of("5", None), json!(5));
        assert_eq!(value_of("a b", None), json!("a b"));
    }
    #[test]
    fn quality_is_told_in_words() {
        let lately = json!({"errors": 0.25, "timeouts": 0.125, "transport": 0.0, "violating": 0.5, "empty": 0.001,
            "invalid_arguments": 0.75, "unsafe_attempts": 0.1, "drift": 0.2});
        let family = json!({"best": "b:x", "score": 0.9, "goes_before": true});
        let tool = json!({"state": "degraded", "since": "then", "reason": "38 % of its calls failed lately",
            "misleading": true, "family": family, "lately": lately});
        expect![[r#"
            degraded since then
            38 % of its calls failed lately
            callers often get its arguments wrong: its description may mislead
            b:x (0.90), which does the same, goes before it"#]]
        .assert_eq(&tool_state(&Told(&tool)));
        expect![[r#"
            25 % errors
            12 % without an answer in time
            50 % of what could be checked breaks its schema
            75 % with wrong arguments
            10 % refused for their effect
            20 % more failures than usual"#]]
        .assert_eq(&Told(&tool).lately());
        let server = |quality: Value| server_state(&Told(&quality)).replace('\n', " ");
        assert_eq!(server(json!({"circuit": "closed"})), "answers");
        assert_eq!(server(json!({"circuit": "open", "since": "then", "reason": "gone"})), "down since then gone");
        assert_eq!(server(json!({"circuit": "closed", "degraded": true})), "fails more often than it should");
        let held = json!({"circuit": "closed", "degraded": true, "read_only": true});
        assert_eq!(server(held), "fails more often than it should; its writing tools are withheld");
    }
}
