//! Which definitions are taken as they come, and which changes are so small that nobody has to be asked. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use toolscout_core::words::split_identifier;
use toolscout_core::{ContentHash, Timestamp, UpstreamId};

use crate::definition::{changed_words, differences, pointer};

/// How far the definitions of an upstream are trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// A tool seen for the first time is taken as it is; from then on its definition may not change unasked.
    #[default]
    FirstUse,
    /// A tool seen for the first time waits for an approval too.
    Approve,
    /// Whatever is listed is taken: for a server one writes oneself.
    Always,
}

impl Trust {
    /// The word used in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstUse => "first-use",
            Self::Approve => "approve",
            Self::Always => "always",
        }
    }
}

/// Which changes are approved without asking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AutoApprove {
    /// Those that [`judge`] finds no obstacle to.
    #[default]
    Harmless,
    /// None.
    Never,
}

/// How definitions come to be approved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Review {
    /// For upstreams that `by_upstream` does not name.
    pub trust: Trust,
    /// For single upstreams.
    pub by_upstream: BTreeMap<UpstreamId, Trust>,
    /// Which changes need no one.
    pub auto_approve: AutoApprove,
}

impl Review {
    /// The same trust in every upstream.
    pub fn of(trust: Trust) -> Self {
        Self { trust, ..Self::default() }
    }

    /// How far this upstream is trusted.
    pub fn trust_in(&self, upstream: &UpstreamId) -> Trust {
        self.by_upstream.get(upstream).copied().unwrap_or(self.trust)
    }
}

/// When and how a definition was approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// When.
    pub at: Timestamp,
    /// How.
    pub how: How,
    /// Why no one was asked, where a rule approved it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// How a definition was approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// The tool was seen for the first time, and its upstream is trusted so far.
    FirstUse,
    /// An operator looked at it.
    ByHand,
    /// The change was harmless.
    ByRule,
    /// It came from a file that an operator imported.
    Imported,
    /// Its upstream is trusted whatever it lists.
    Trusted,
}

impl How {
    /// The word used in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstUse => "first_use",
            Self::ByHand => "by_hand",
            Self::ByRule => "by_rule",
            Self::Imported => "imported",
            Self::Trusted => "trusted",
        }
    }
}

/// What [`judge`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What changed without harm, in words of ours.
    pub reasons: Vec<String>,
    /// Why somebody has to look. Holds names that the server chose: for operators only.
    pub obstacles: Vec<String>,
}

/// Words that may come, and words that may go, over all texts of a definition.
const MAX_CHANGED_WORDS: usize = 3;
/// Optional parameters that may come.
const MAX_NEW_PARAMETERS: usize = 3;
/// Words of a new parameter's description.
const MAX_NEW_DESCRIPTION: usize = 12;
/// Allowed values of a new parameter.
const MAX_NEW_VALUES: usize = 10;
/// Characters that a text may grow by: spaces count too, or they would push what follows out of sight.
const MAX_GROWTH: usize = 80;
const MAX_OBSTACLES: usize = 20;

/// Words that change what a sentence says, steer a model, or ask for what is not the tool's business. They may neither come nor
/// go unasked. A list can only help against clumsy attempts; what carries the rule is that hardly any text may change at all.
const WEIGHTY: [&str; 92] = [
    "not",
    "no",
    "never",
    "none",
    "without",
    "only",
    "except",
    "unless",
    "instead",
    "always",
    "must",
    "should",
    "shall",
    "first",
    "before",
    "after",
    "then",
    "also",
    "every",
    "all",
    "any",
    "ignore",
    "forget",
    "override",
    "bypass",
    "disregard",
    "previous",
    "instruction",
    "instructions",
    "prompt",
    "system",
    "user",
    "users",
    "assistant",
    "model",
    "agent",
    "tool",
    "tools",
    "conversation",
    "history",
    "context",
    "reasoning",
    "thoughts",
    "chat",
    "memory",
    "secret",
    "secrets",
    "token",
    "tokens",
    "key",
    "keys",
    "password",
    "passwords",
    "credential",
    "credentials",
    "private",
    "ssh",
    "env",
    "environment",
    "cookie",
    "cookies",
    "session",
    "send",
    "sends",
    "mail",
    "upload",
    "forward",
    "post",
    "exfiltrate",
    "copy",
    "include",
    "append",
    "paste",
    "attach",
    "pass",
    "call",
    "run",
    "execute",
    "delete",
    "deletes",
    "remove",
    "removes",
    "overwrite",
    "overwrites",
    "write",
    "writes",
    "read",
    "reads",
    "hidden",
    "silently",
    "important",
    "confirm",
];

/// Whether a definition that changed may be shown without asking anybody: then there is no obstacle.
///
/// Harmless are at most three words in the texts, none of them weighty, and up to three new optional parameters of plain type. What is
/// removed, renamed, required, typed otherwise, annotated otherwise, or allowed besides (an `enum`'s new value may be a new
/// deed) is not. `before` is what a person or the first use approved, not what a rule made of it since: many small steps do not
/// add up to a large one.
pub fn judge(before: &Value, after: &Value) -> Judgement {
    let mut found = Judgement::default();
    let (mut n_gone, mut n_come, mut n_parameters) = (0, 0, 0);
    let required = required(after);
    differences(before, after, &mut |path, old, new| {
        let verdict = match (path, old, new) {
            (_, Some(Value::String(old)), Some(Value::String(new))) if is_text(path) => {
                text_change(old, new).map(|(gone, come)| {
                    n_gone += gone;
                    n_come += come;
                })
            }
            (["inputSchema", "properties", name], None, Some(schema)) => {
                n_parameters += 1;
                new_parameter(name, schema, &required)
            }
            (_, None, Some(_)) => Err("is new"),
            (_, Some(_), None) => Err("is gone"),
            _ => Err("changed"),
        };
        if let Err(what) = verdict
            && found.obstacles.len() < MAX_OBSTACLES
        {
            found.obstacles.push(format!("{} {what}", pointer(path)));
        }
    });
    if n_gone.max(n_come) > MAX_CHANGED_WORDS {
        found.obstacles.push(format!("more than {MAX_CHANGED_WORDS} words of text changed"));
    }
    if n_parameters > MAX_NEW_PARAMETERS {
        found.obstacles.push(format!("more than {MAX_NEW_PARAMETERS} new parameters"));
    }
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    if n_parameters > 0 {
        found.reasons.push(format!("{n_parameters} optional parameter{} added", plural(n_parameters)));
    }
    let n_words = n_gone.max(n_come);
    if n_words > 0 || n_parameters == 0 {
        found.reasons.push(format!("{n_words} word{} of text changed", plural(n_words)));
    }
    found
}

fn required(definition: &Value) -> Vec<&str> {
    let names = definition.get("inputSchema").and_then(|schema| schema.get("required")).and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether a path leads to a text that is meant for reading: of the tool, or of a parameter or a part of one.
fn is_text(path: &[&str]) -> bool {
    match path {
        ["description" | "title"] => true,
        ["inputSchema", rest @ ..] => {
            let mut rest = rest;
            loop {
                match rest {
                    // A property may itself be called `description`: only what stands outside `properties` is a keyword.
                    ["properties", _, further @ ..] | ["items", further @ ..] => rest = further,
                    ["description" | "title"] => return true,
                    _ => return false,
                }
            }
        }
        _ => false,
    }
}

/// How many words went and came.
fn text_change(old: &str, new: &str) -> Result<(usize, usize), &'static str> {
    if new.chars().count() > old.chars().count() + MAX_GROWTH {
        return Err("grew");
    }
    let spaces = |text: &str| text.chars().filter(|c| c.is_whitespace()).count();
    if spaces(new) > spaces(old) + 2 * MAX_CHANGED_WORDS {
        return Err("has more space");
    }
    let (gone, come) = changed_words(old, new).ok_or("is too long to compare")?;
    if !gone.iter().chain(&come).all(|word| is_light(word)) || !come.iter().all(|word| is_plain(word)) {
        return Err("changed in words that matter");
    }
    Ok((gone.len(), come.len()))
}

/// Whether a word may come or go unasked.
fn is_light(word: &str) -> bool {
    let parts = split_identifier(word);
    parts.iter().all(|part| !WEIGHTY.contains(&part.as_str()))
}

/// Whether a word is one: short, of plain letters, no address, path or markup. Scripts that put no space between words could
/// say anything in one "word", so their changes are looked at.
fn is_plain(word: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".,;()'\"!?-".contains(c);
    word.len() <= 24 && word.chars().all(fits) && !word.contains("..")
}

fn new_parameter(name: &str, schema: &Value, required: &[&str]) -> Result<(), &'static str> {
    const KEYS: [&str; 11] = [
        "type",
        "description",
        "title",
        "default",
        "enum",
        "items",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "maxItems",
    ];
    if required.contains(&name) {
        return Err("is new and required");
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.len() > 40 || !name.chars().all(is_name) || !is_light(name) {
        return Err("is new and has a name that matters");
    }
    let Some(schema) = schema.as_object() else { return Err("is new and has no plain schema") };
    if schema.keys().any(|key| !KEYS.contains(&key.as_str())) || !has_plain_type(schema) {
        return Err("is new and has no plain schema");
    }
    let said = |key: &str| match schema.get(key) {
        None => true,
        Some(Value::String(text)) => {
            let words: Vec<&str> = text.split_whitespace().collect();
            let few = words.len() <= MAX_NEW_DESCRIPTION && text.chars().count() <= MAX_GROWTH + 40;
            few && words.iter().all(|word| is_light(word) && is_plain(word))
        }
        Some(_) => false,
    };
    let is_value = |value: &Value| match value {
        Value::String(text) => {
            text.is_empty() || (!text.contains(char::is_whitespace) && is_light(text) && is_plain(text))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(_) => false,
    };
    let values = match schema.get("enum") {
        None => true,
        Some(Value::Array(values)) => values.len() <= MAX_NEW_VALUES && values.iter().all(is_value),
        Some(_) => false,
    };
    let numbers = ["minimum", "maximum", "minLength", "maxLength", "maxItems"];
    let bounds = numbers.iter().all(|key| schema.get(*key).is_none_or(Value::is_number));
    if said("description") && said("title") && values && bounds && schema.get("default").is_none_or(is_value) {
        Ok(())
    } else {
        Err("is new and says what matters")
    }
}

/// One plain type, or a list of one.
fn has_plain_type(schema: &Map<String, Value>) -> bool {
    const PLAIN: [&str; 4] = ["string", "integer", "number", "boolean"];
    let kind = schema.get("type").and_then(Value::as_str);
    match schema.get("items") {
        None => kind.is_some_and(|kind| PLAIN.contains(&kind)),
        Some(Value::Object(items)) => {
            let only_typed =
                items.len() == 1 && items.get("type").and_then(Value::as_str).is_some_and(|kind| PLAIN.contains(&kind));
            kind == Some("array") && only_typed
        }
        Some(_) => false,
    }
}

// === renames ===

/// What of a definition stays when only its name and its texts change: the form of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Shape([u8; 16]);

/// The shape of a definition's input schema: everything but the texts in it.
pub(crate) fn shape(definition: &Value) -> Shape {
    let bare = bare(definition.get("inputSchema").unwrap_or(&Value::Null));
    let hash = ContentHash::of_json(&bare);
    Shape(std::array::from_fn(|i| hash.0[i]))
}

fn bare(schema: &Value) -> Value {
    const TEXTS: [&str; 6] = ["description", "title", "default", "examples", "example", "$comment"];
    const MAPS: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
    match schema {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| !TEXTS.contains(&key.as_str()));
            let parts = kept.map(|(key, value)| {
                let value = match value {
                    // Names of properties are names, whatever they say.
                    Value::Object(named) if MAPS.contains(&key.as_str()) => {
                        named.iter().map(|(name, value)| (name.clone(), bare(value))).collect()
                    }
                    other => bare(other),
                };
                (key.clone(), value)
            });
            Value::Object(parts.collect())
        }
        Value::Array(items) => items.iter().map(bare).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}

/// How much one definition looks like the other under a new name, 0 to 1; `None`: not so much that it is called a rename. Both have
/// the same [`shape`].
///
/// A tool without parameters has a shape like many others, so its description has to tell; with parameters half of the words, or
/// a name that is nearly the same, will do.
pub(crate) fn likeness(old: &Value, new: &Value) -> Option<f64> {
    let text =
        |definition: &Value, key: &str| definition.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let names = like_names(&text(old, "name"), &text(new, "name"));
    let words = shared_words(&text(old, "description"), &text(new, "description"));
    let has_parameters = old
        .get("inputSchema")
        .and_then(|schema| schema.get("properties"))
        .and_then(Value::as_object)
        .is_some_and(|properties| !properties.is_empty());
    let alike = words >= 0.8 || (has_parameters && (words >= 0.5 || names >= 0.7));
    alike.then_some(words.max(names))
}

/// `list_issues` and `issues_list_v2`: one has all the words of the other; else by the letters.
fn like_names(old: &str, new: &str) -> f64 {
    const MAX_CHARS: usize = 256;
    let bounded = |name: &str| name.chars().take(MAX_CHARS).collect::<String>();
    let (old, new) = (bounded(old), bounded(new));
    let (mine, theirs) = (split_identifier(&old), split_identifier(&new));
    let has_all = |some: &[String], all: &[String]| !some.is_empty() && some.iter().all(|word| all.contains(word));
    let by_letters = strsim::normalized_damerau_levenshtein(&old, &new);
    if has_all(&mine, &theirs) || has_all(&theirs, &mine) { by_letters.max(0.8) } else { by_letters }
}

/// What two texts share of their words, each counted as often as it stands there: Dice's coefficient, or how much of the old one is
/// in the new one, since what is added is what a new name is to hide. Nothing is like nothing: 0.
fn shared_words(old: &str, new: &str) -> f64 {
    const MAX_WORDS: usize = 500;
    /// So many words are in any text.
    const FEW: usize = 3;
    let words = |text: &str| {
        let mut words: Vec<String> = text
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .take(MAX_WORDS)
            .map(str::to_lowercase)
            .collect();
        words.sort_unstable();
        words
    };
    let (old, new) = (words(old), words(new));
    let (mut i, mut j, mut n_shared) = (0, 0, 0_usize);
    while i < old.len() && j < new.len() {
        match old[i].cmp(&new[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                (i, j) = (i + 1, j + 1);
                n_shared += 1;
            }
        }
    }
    let share = |of: usize| if of == 0 { 0.0 } else { n_shared as f64 / of as f64 };
    let dice = 2.0 * share(old.len() + new.len());
    if old.len() > FEW { dice.max(share(old.len())) } else { dice }
}

/// The definition shown of a tool that nobody approved yet: its name, and not one word more.
pub(crate) fn stub(name: &str) -> Value {
    serde_json::json!({ "name": name, "inputSchema": { "type": "object" } })
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
