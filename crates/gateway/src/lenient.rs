//! Reads requests the way models write them.
//!
//! Every reader takes a JSON object and either gives a request or names all fields that cannot be understood, each with what
//! was expected. Tolerated: numbers and booleans as strings, one value where a list belongs, a list as one comma-separated or
//! JSON string, camelCase, usual synonyms, and the whole request one level too deep (`{"arguments": {…}}`).
//! Unknown fields are ignored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use toolscout_core::text::preview;

use crate::wire::{
    CallRequest, Detail, DetailsRequest, ExplainRequest, Filters, SearchRequest, SelectRequest, ToolFormat,
};

/// Most tools one answer holds.
pub const MAX_LIMIT: usize = 50;
/// Most tools whose details one answer holds.
pub const MAX_DETAILS: usize = 10;
/// Longest query that is looked at, in characters. The rest is cut: nobody finds a tool by a novel.
pub const MAX_QUERY: usize = 4_000;

/// A field that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mistake {
    /// The field.
    pub field: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// Reads `search_tools`.
pub fn search(object: &Map<String, Value>) -> Result<SearchRequest, Vec<Mistake>> {
    let mut read = Reader::new(object, &["query", "q", "task", "text"]);
    let query = read.required_text(&["query", "q", "task", "text"], "what you want to do, in words");
    let limit = read.count(&["limit", "k", "top_k", "max_results", "n"], MAX_LIMIT);
    let detail = read.word(&["detail", "details", "detail_level", "detailLevel"], DETAILS).unwrap_or_default();
    let filters = filters(&mut read);
    read.done(SearchRequest { query: bounded(&query).to_owned(), limit, detail, filters })
}

/// Reads `get_tool_details`.
pub fn details(object: &Map<String, Value>) -> Result<DetailsRequest, Vec<Mistake>> {
    const IDS: &[&str] =
        &["ids", "id", "names", "name", "tool_names", "tool_name", "tools", "tool", "tool_ids", "tool_id"];
    let mut read = Reader::new(object, IDS);
    let mut ids = read.list(IDS);
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    if ids.is_empty() {
        read.mistake("ids", "is required: a list of 1 to 10 tool ids such as [\"github:create_issue\"]");
    } else if ids.len() > MAX_DETAILS {
        read.mistake("ids", &format!("has {} entries; ask for at most {MAX_DETAILS} at a time", ids.len()));
    }
    read.done(DetailsRequest { ids })
}

/// Reads `call_tool`. The tool's name may also lie inside `arguments`, beside or around the real ones.
pub fn call(object: &Map<String, Value>) -> Result<CallRequest, Vec<Mistake>> {
    const ID: &[&str] = &["id", "name", "tool_name", "toolName", "tool_id", "toolId", "tool"];
    const OUTER_ONLY: &[&str] = &["tool_name", "toolName", "tool_id", "toolId"];
    const ARGUMENTS: &[&str] = &["arguments", "args", "input", "parameters", "params", "tool_input", "tool_args"];
    let mut read = Reader { object, mistakes: Vec::new() };
    let mut arguments = read.object(ARGUMENTS).unwrap_or_default();
    let mut id = read.text(ID);
    // Everything was put one level too deep: {"arguments": {"name": "x:y", "arguments": {…}}}.
    if id.is_none() {
        let inner = arguments.clone();
        let mut nested = Reader { object: &inner, mistakes: Vec::new() };
        let holds_arguments = nested.first(ARGUMENTS).is_some();
        // Without arguments of its own it is `{"arguments": {"tool_name": "x:y", "path": "…"}}`. There `id`, `name` and `tool`
        // may be the tool's own parameters: they count as the tool's name only when they look like one.
        if holds_arguments {
            id = nested.text(ID);
            if id.is_some() {
                arguments = nested.object(ARGUMENTS).unwrap_or_default();
            }
        } else if let Some((key, found)) = OUTER_ONLY
            .iter()
            .chain(ID)
            .filter_map(|&key| inner.get(key).and_then(Value::as_str).map(|text| (key, text)))
            .find(|(key, text)| OUTER_ONLY.contains(key) || looks_like_tool(text))
        {
            id = Some(found.to_owned());
            arguments.remove(key);
        }
        read.mistakes.append(&mut nested.mistakes);
    }
    let id = id.unwrap_or_default();
    if id.is_empty() {
        read.mistake("id", "is required: the tool's id as search_tools gave it, such as \"github:create_issue\"");
    }
    let selection_id = read.text(&["selection_id", "selectionId", "selection"]);
    let confirm = read.flag(&["confirm", "confirmed"]).unwrap_or(false);
    read.done(CallRequest { id, arguments, selection_id, confirm })
}

fn looks_like_tool(text: &str) -> bool {
    text.parse::<toolscout_core::ToolId>().is_ok() || text.contains("__")
}

/// Reads `explain_selection`.
pub fn explain(object: &Map<String, Value>) -> Result<ExplainRequest, Vec<Mistake>> {
    const ID: &[&str] = &["selection_id", "selectionId", "selection", "id"];
    let mut read = Reader::new(object, ID);
    let selection_id = read.required_text(ID, "a selection id such as \"sel_…\", from an answer of search_tools");
    let tool = read.text(&["tool", "tool_id", "tool_name", "name"]);
    read.done(ExplainRequest { selection_id, tool })
}

/// Reads `POST /v1/select`.
pub fn select(object: &Map<String, Value>) -> Result<SelectRequest, Vec<Mistake>> {
    let mut read = Reader::new(object, &["query", "messages", "q"]);
    let query = read.text(&["query", "q", "task"]).map(|query| bounded(&query).to_owned());
    let messages = match read.first(&["messages"]) {
        None => Vec::new(),
        Some((_, Value::Array(items))) => items.clone(),
        Some((_, other)) => {
            let message = format!("must be a list of messages, not {}", kind(other));
            read.mistake("messages", &message);
            Vec::new()
        }
    };
    if query.is_none() && messages.is_empty() && read.mistakes.is_empty() {
        read.mistake("query", "or `messages` is required: what you want to do, in words, or the conversation");
    }
    let limit = read.count(&["limit", "k", "top_k"], MAX_LIMIT);
    let token_budget = read.count(&["token_budget", "tokenBudget", "max_tokens"], usize::MAX);
    let format = read.word(&["format"], FORMATS).unwrap_or_default();
    let filters = filters(&mut read);
    read.done(SelectRequest { query, messages, limit, token_budget, format, filters })
}

fn filters(read: &mut Reader<'_>) -> Filters {
    Filters {
        upstreams: read.list(&["upstreams", "upstream", "servers", "server"]),
        tags: read.list(&["tags", "tag"]),
        max_side_effect: read
            .word(&["max_side_effect", "maxSideEffect", "side_effect"], SIDE_EFFECTS)
            .map(str::to_owned)
            .or_else(|| read.flag(&["read_only", "readOnly"]).filter(|&only| only).map(|_| "read".to_owned())),
    }
}

const DETAILS: &[(&str, Detail)] = &[
    ("name", Detail::Name),
    ("names", Detail::Name),
    ("summary", Detail::Summary),
    ("brief", Detail::Summary),
    ("schema", Detail::Schema),
    ("full", Detail::Schema),
];

const FORMATS: &[(&str, ToolFormat)] = &[
    ("mcp", ToolFormat::Mcp),
    ("openai", ToolFormat::OpenAi),
    ("anthropic", ToolFormat::Anthropic),
    ("claude", ToolFormat::Anthropic),
];

const SIDE_EFFECTS: &[(&str, &str)] = &[
    ("read", "read"),
    ("write", "write"),
    ("destructive", "destructive"),
    ("readonly", "read"),
    ("read_only", "read"),
    ("none", "read"),
];

/// A query without the spaces around it and without what nobody looks at.
pub(crate) fn bounded(query: &str) -> &str {
    let query = query.trim();
    match query.char_indices().nth(MAX_QUERY) {
        Some((end, _)) => &query[..end],
        None => query,
    }
}

/// What a JSON value is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

struct Reader<'a> {
    object: &'a Map<String, Value>,
    mistakes: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    /// Looks into `arguments` or `params` when none of the fields that matter is at the top.
    fn new(object: &'a Map<String, Value>, matters: &[&str]) -> Self {
        let here = matters.iter().any(|key| object.contains_key(*key));
        let nested = ["arguments", "params", "input"]
            .iter()
            .find_map(|key| object.get(*key).and_then(Value::as_object))
            .filter(|inner| matters.iter().any(|key| inner.contains_key(*key)));
        Self { object: if here { object } else { nested.unwrap_or(object) }, mistakes: Vec::new() }
    }

    fn done<T>(self, request: T) -> Result<T, Vec<Mistake>> {
        if self.mistakes.is_empty() { Ok(request) } else { Err(self.mistakes) }
    }

    fn mistake(&mut self, field: &str, message: &str) {
        self.mistakes.push(Mistake { field: field.to_owned(), message: message.to_owned() });
    }

    /// The first of these fields that is there and not null.
    fn first(&self, keys: &[&'static str]) -> Option<(&'static str, &'a Value)> {
        keys.iter().find_map(|&key| self.object.get(key).filter(|value| !value.is_null()).map(|value| (key, value)))
    }

    fn text(&mut self, keys: &[&'static str]) -> Option<String> {
        match self.first(keys)? {
            (_, Value::String(text)) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            (_, Value::Number(number)) => Some(number.to_string()),
            // A list of one is what some models make of a string.
            (_, Value::Array(items)) if items.len() == 1 && items[0].is_string() => {
                items[0].as_str().map(|text| text.trim().to_owned())
            }
            (key, other) => {
                self.mistake(key, &format!("must be a string, not {}", kind(other)));
                None
            }
        }
    }

    fn required_text(&mut self, keys: &[&'static str], what: &str) -> String {
        let n_before = self.mistakes.len();
        let text = self.text(keys);
        if text.is_none() && self.mistakes.len() == n_before {
            self.mistake(keys[0], &format!("is required: {what}"));
        }
        text.unwrap_or_default()
    }

    /// A number from 1 to `max`. What lies outside is moved to the border: a model that asks for 100 wants many.
    fn count(&mut self, keys: &[&'static str], max: usize) -> Option<usize> {
        let (key, value) = self.first(keys)?;
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse::<f64>().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        match number.filter(|number| number.is_finite()) {
            // The cast saturates, which is what a border is for.
            Some(number) => Some((number.max(1.0) as usize).clamp(1, max)),
            None => {
                self.mistake(key, &format!("must be a number, not {}", preview(&value.to_string())));
                None
            }
        }
    }

    fn flag(&mut self, keys: &[&'static str]) -> Option<bool> {
        let (key, value) = self.first(keys)?;
        match value {
            Value::Bool(flag) => return Some(*flag),
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "1" => return Some(true),
                "false" | "no" | "0" | "" => return Some(false),
                _ => {}
            },
            Value::Number(number) if number.as_f64() == Some(1.0) => return Some(true),
            Value::Number(number) if number.as_f64() == Some(0.0) => return Some(false),
            Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => {}
        }
        self.mistake(key, &format!("must be true or false, not {}", preview(&value.to_string())));
        None
    }

    /// Strings: a list, one string, a comma-separated string or a JSON list in a string.
    fn list(&mut self, keys: &[&'static str]) -> Vec<String> {
        let Some((key, value)) = self.first(keys) else { return Vec::new() };
        let items = match value {
            Value::Array(items) => items.clone(),
            Value::String(text) if text.trim_start().starts_with('[') => match serde_json::from_str(text) {
                Ok(Value::Array(items)) => items,
                _ => vec![value.clone()],
            },
            Value::String(text) => text.split(',').map(|part| Value::from(part.trim())).collect(),
            Value::Null => Vec::new(),
            Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                self.mistake(key, &format!("must be a list of strings, not {}", kind(value)));
                return Vec::new();
            }
        };
        let mut texts = Vec::new();
        for item in &items {
            match item {
                Value::String(text) if text.trim().is_empty() => {}
                Value::String(text) => texts.push(text.trim().to_owned()),
                Value::Object(object) if object.get("id").or(object.get("name")).is_some_and(Value::is_string) => {
                    let text = object.get("id").or(object.get("name")).and_then(Value::as_str);
                    texts.extend(text.map(str::to_owned));
                }
                other => self.mistake(key, &format!("must hold strings, not {}", kind(other))),
            }
        }
        texts
    }

    /// One of a few words. Case, spaces, `-` and `_` do not matter.
    fn word<T: Copy>(&mut self, keys: &[&'static str], words: &[(&str, T)]) -> Option<T> {
        let (key, _) = self.first(keys)?;
        let text = self.text(keys)?;
        let plain = |text: &str| text.to_ascii_lowercase().replace([' ', '-', '_'], "");
        let found = words.iter().find(|(word, _)| plain(word) == plain(&text));
        if found.is_none() {
            let near = nearest_word(&plain(&text), words.iter().map(|(word, _)| *word));
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let meant = near.map(|word| format!("; did you mean \"{word}\"?")).unwrap_or_default();
            self.mistake(key, &format!("must be one of {}, not \"{}\"{meant}", all.join(", "), preview(&text)));
        }
        found.map(|(_, value)| *value)
    }

    /// An object, or one written as a JSON string. An empty string is no object.
    fn object(&mut self, keys: &[&'static str]) -> Option<Map<String, Value>> {
        match self.first(keys)? {
            (_, Value::Object(object)) => Some(object.clone()),
            (_, Value::String(text)) if text.trim().is_empty() => None,
            (key, Value::String(text)) => match serde_json::from_str::<Value>(text) {
                Ok(Value::Object(object)) => Some(object),
                // Encoded twice: a JSON string that holds a JSON string.
                Ok(Value::String(inner)) => match serde_json::from_str::<Value>(&inner) {
                    Ok(Value::Object(object)) => Some(object),
                    _ => {
                        self.mistake(key, "is a string that does not hold a JSON object; write an object");
                        None
                    }
                },
                Ok(other) => {
                    self.mistake(key, &format!("is a string that holds {}; write an object", kind(&other)));
                    None
                }
                Err(error) => {
                    self.mistake(key, &format!("is a string and no valid JSON ({error}); write an object"));
                    None
                }
            },
            (_, Value::Array(items)) if items.is_empty() => None,
            (key, other) => {
                self.mistake(key, &format!("must be an object, not {}", kind(other)));
                None
            }
        }
    }
}

/// The word nearest to a text, if one is near at all.
pub(crate) fn nearest_word<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let text = text.to_lowercase();
    words
        .map(|word| (strsim::jaro_winkler(&text, &word.to_lowercase()), word))
        .filter(|(near, _)| *near >= 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[track_caller]
    fn check_search(input: Value, expect: &str) {
        let answer = match search(&object(input)) {
            Ok(r) => format!(
                "{:?} {:?} {:?} {:?} {:?} {:?}",
                r.query, r.limit, r.detail, r.filters.upstreams, r.filters.tags, r.filters.max_side_effect
            ),
            Err(mistakes) => spell(&mistakes),
        };
        assert_eq!(answer, expect);
    }

    fn spell(mistakes: &[Mistake]) -> String {
        mistakes.iter().map(|m| format!("{} {}", m.field, m.message)).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn search_is_read_however_a_model_writes_it() {
        check_search(json!({"query": " issues "}), r#""issues" None Summary [] [] None"#);
        check_search(json!({"query": "x", "limit": "7"}), r#""x" Some(7) Summary [] [] None"#);
        check_search(json!({"query": "x", "limit": 3.0}), r#""x" Some(3) Summary [] [] None"#);
        check_search(json!({"query": "x", "limit": 1000}), r#""x" Some(50) Summary [] [] None"#);
        check_search(json!({"query": "x", "limit": -1}), r#""x" Some(1) Summary [] [] None"#);
        check_search(json!({"query": "x", "limit": null, "detail": "Full"}), r#""x" None Schema [] [] None"#);
        check_search(json!({"query": "x", "upstreams": "a, b"}), r#""x" None Summary ["a", "b"] [] None"#);
        check_search(json!({"query": "x", "upstreams": "[\"a\"]"}), r#""x" None Summary ["a"] [] None"#);
        check_search(
            json!({"query": "x", "tags": ["t"], "read_only": "true"}),
            r#""x" None Summary [] ["t"] Some("read")"#,
        );
        check_search(json!({"arguments": {"query": "deep"}}), r#""deep" None Summary [] [] None"#);
        check_search(json!({"query": ["one"]}), r#""one" None Summary [] [] None"#);
        check_search(json!({}), "query is required: what you want to do, in words");
        check_search(
            json!({"query": {}, "limit": "many", "detail": "shcema"}),
            "query must be a string, not an object | limit must be a number, not \"many\" | \
             detail must be one of name, names, summary, brief, schema, full, not \"shcema\"; did you mean \"schema\"?",
        );
    }

    #[track_caller]
    fn check_call(input: Value, expect: &str) {
        let answer = match call(&object(input)) {
            Ok(r) => format!("{} {} {}", r.id, Value::Object(r.arguments), r.confirm),
            Err(mistakes) => spell(&mistakes),
        };
        assert_eq!(answer, expect);
    }

    #[test]
    fn a_call_is_read_however_a_model_writes_it() {
        let expect = r#"fs:read {"path":"a"} false"#;
        check_call(json!({"id": "fs:read", "arguments": {"path": "a"}}), expect);
        check_call(json!({"name": "fs:read", "arguments": "{\"path\": \"a\"}"}), expect);
        check_call(json!({"tool_name": "fs:read", "args": "\"{\\\"path\\\": \\\"a\\\"}\""}), expect);
        check_call(json!({"arguments": {"name": "fs:read", "arguments": {"path": "a"}}}), expect);
        check_call(json!({"arguments": {"tool_name": "fs:read", "path": "a"}}), expect);
        check_call(json!({"arguments": {"id": "fs:read", "path": "a"}}), expect);
        check_call(json!({"id": "fs:read"}), "fs:read {} false");
        check_call(json!({"id": "fs:read", "arguments": "", "confirm": "yes"}), "fs:read {} true");
        // A tool's own parameter called `name` stays where it is.
        check_call(json!({"id": "a:b", "arguments": {"name": "Ada"}}), r#"a:b {"name":"Ada"} false"#);
        check_call(
            json!({"arguments": {"name": "Ada"}}),
            "id is required: the tool's id as search_tools gave it, such as \"github:create_issue\"",
        );
        check_call(json!({"id": "a:b", "arguments": 7}), "arguments must be an object, not a number");
        check_call(
            json!({"id": "a:b", "arguments": "{path"}),
            "arguments is a string and no valid JSON (key must be a string at line 1 column 2); write an object",
        );
    }

    #[test]
    fn the_others_tolerate_as_much() {
        let ids = |value| details(&object(value)).map(|r| r.ids).map_err(|m| spell(&m));
        assert_eq!(ids(json!({"ids": ["a:b", "a:b", "c:d"]})), Ok(vec!["a:b".into(), "c:d".into()]));
        assert_eq!(ids(json!({"name": "a:b"})), Ok(vec!["a:b".into()]));
        assert_eq!(ids(json!({"ids": [{"id": "a:b"}]})), Ok(vec!["a:b".into()]));
        assert_eq!(ids(json!({"ids": vec!["x:y"; 11]})), Ok(vec!["x:y".into()]));
        let eleven: Vec<String> = (0..11).map(|i| format!("x:y{i}")).collect();
        assert!(ids(json!({ "ids": eleven })).unwrap_err().contains("at most 10"));
        assert!(ids(json!({})).unwrap_err().contains("is required"));
        assert_eq!(explain(&object(json!({"id": "sel_x", "tool": "a:b"}))).unwrap().tool.as_deref(), Some("a:b"));
        assert_eq!(select(&object(json!({"query": "x", "format": "OpenAI"}))).unwrap().format, ToolFormat::OpenAi);
        assert!(spell(&select(&object(json!({}))).unwrap_err()).contains("`messages` is required"));
    }
}
