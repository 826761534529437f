//! Which definitions are taken as they come, and which changes are so small that nobody has to be asked. Pure.

use std::collections::{BTreeMap, HashSet};

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

/// Words that may come and go where nothing can be carried out: a parameter that takes yes, no or a number takes no secret, and
/// a text that is all new has no sentence yet that "not" could turn round.
const FREE: [&str; 17] = [
    "not", "no", "never", "none", "without", "only", "except", "unless", "instead", "first", "before", "after", "then",
    "every", "all", "any", "include",
];

/// Words that no name may have.
const STEERING: [&str; 14] = [
    "ignore",
    "forget",
    "override",
    "bypass",
    "disregard",
    "instruction",
    "instructions",
    "prompt",
    "assistant",
    "silently",
    "always",
    "never",
    "must",
    "exfiltrate",
];

/// Whether a definition that changed may be shown without asking anybody: then there is no obstacle.
///
/// Harmless are:
/// - at most three words in the texts, none of them weighty; a title of the tool's own words;
/// - up to three new optional parameters of plain type;
/// - what only checkers read and what asks for less: `$schema`, `additionalProperties` as yes or no, a bound where there was none,
///   a parameter that is not required any more;
/// - an output schema without a text of its own;
/// - hints (`annotations`) where there were none. Whether the tool may do other things by them is not asked here.
///
/// What is removed, renamed, required, typed otherwise, annotated otherwise, or allowed besides (an `enum`'s new value may be a new
/// deed) is not. `before` is what a person or the first use approved, not what a rule made of it since: many small steps do not
/// add up to a large one.
pub fn judge(before: &Value, after: &Value) -> Judgement {
    let mut found = Judgement::default();
    let (mut n_gone, mut n_come, mut n_parameters, mut n_form) = (0, 0, 0, 0);
    let required = required(after);
    let known = Known::of(before);
    differences(before, after, &mut |path, old, new| {
        let mut words = |(gone, come): (usize, usize)| {
            n_gone += gone;
            n_come += come;
        };
        let verdict = match (path, old, new) {
            (_, Some(Value::String(old)), Some(Value::String(new))) if is_text(path) => {
                text_change(old, new).map(&mut words)
            }
            (["inputSchema", "properties", name], None, Some(schema)) => {
                n_parameters += 1;
                new_parameter(name, schema, &required)
            }
            (["title"] | ["annotations", "title"], None, Some(Value::String(title))) => {
                known.title(title).map(|come| words((0, come)))
            }
            (["annotations"], None, Some(Value::Object(hints))) => {
                n_form += 1;
                hints.iter().try_for_each(|(name, value)| match (name.as_str(), value) {
                    ("title", Value::String(title)) => known.title(title).map(|come| words((0, come))),
                    _ => new_hint(name, value),
                })
            }
            (["annotations", name], None, Some(value)) => {
                n_form += 1;
                new_hint(name, value)
            }
            (["outputSchema", rest @ ..], _, new) if new.is_none_or(|new| known.says_all(rest, new)) => {
                n_form += 1;
                Ok(())
            }
            (_, old, new) if is_form(path, old, new) => {
                n_form += 1;
                Ok(())
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
    if n_form > 0 {
        found.reasons.push(format!("{n_form} detail{} of form changed, which say nothing", plural(n_form)));
    }
    let n_words = n_gone.max(n_come);
    if n_words > 0 || n_parameters + n_form == 0 {
        found.reasons.push(format!("{n_words} word{} of text changed", plural(n_words)));
    }
    found
}

fn required(definition: &Value) -> Vec<&str> {
    let names = definition.get("inputSchema").and_then(|schema| schema.get("required")).and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The keyword of a schema that a path leads to. A property may itself be called `description`: only what stands outside
/// `properties` is one.
fn keyword<'p>(path: &[&'p str]) -> Option<&'p str> {
    let ["inputSchema" | "outputSchema", rest @ ..] = path else { return None };
    let mut rest = rest;
    loop {
        match rest {
            ["properties", _, further @ ..] | ["items", further @ ..] if !further.is_empty() => rest = further,
            [keyword] => return Some(keyword),
            _ => return None,
        }
    }
}

/// Whether a path leads to a text that is meant for reading: of the tool, or of a parameter or a part of one.
fn is_text(path: &[&str]) -> bool {
    matches!(path, ["description" | "title"] | ["annotations", "title"])
        || matches!(keyword(path), Some("description" | "title"))
}

/// Whether what differs is of no use to a reader, or asks for less than before.
fn is_form(path: &[&str], old: Option<&Value>, new: Option<&Value>) -> bool {
    let is_yes_or_no = |value: Option<&Value>| match value {
        None | Some(Value::Bool(_)) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    };
    match keyword(path) {
        Some("$schema") => old.is_none_or(is_dialect) && new.is_none_or(is_dialect),
        Some("additionalProperties") => is_yes_or_no(old) && is_yes_or_no(new),
        Some("required") => {
            let names = |value: Option<&Value>| match value {
                None => Some(Vec::new()),
                Some(Value::Array(names)) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
                Some(_) => None,
            };
            match (names(old), names(new)) {
                (Some(old), Some(new)) => new.iter().all(|name| old.contains(name)),
                _ => false,
            }
        }
        Some(bound) if BOUNDS.contains(&bound) => old.is_none() && new.is_some_and(Value::is_number),
        _ => false,
    }
}

/// What narrows a value and says nothing.
const BOUNDS: [&str; 8] =
    ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems"];

/// Whether a value names a version of JSON Schema.
fn is_dialect(value: &Value) -> bool {
    let Some(text) = value.as_str() else { return false };
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let version = rest.and_then(|rest| rest.strip_prefix("json-schema.org/"));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-/#".contains(c);
    version.is_some_and(|version| version.len() <= 24 && version.starts_with("draft") && version.chars().all(is_plain))
}

fn new_hint(name: &str, value: &Value) -> Result<(), &'static str> {
    const HINTS: [&str; 4] = ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"];
    if HINTS.contains(&name) && value.is_boolean() { Ok(()) } else { Err("is new") }
}

/// What the approved definition says already.
struct Known<'v> {
    texts: HashSet<&'v str>,
    name: Vec<String>,
}

/// Values of an output schema that are looked at.
const MAX_OUTPUT: usize = 500;

impl<'v> Known<'v> {
    fn of(definition: &'v Value) -> Self {
        let mut texts = HashSet::new();
        collect_texts(definition, &mut texts);
        let name = definition.get("name").and_then(Value::as_str).unwrap_or_default();
        Self { texts, name: split_identifier(name) }
    }

    /// How many words a new title has that the tool's name has not.
    fn title(&self, title: &str) -> Result<usize, &'static str> {
        let words: Vec<&str> = title.split_whitespace().collect();
        let is_own = |word: &&&str| {
            let parts = split_identifier(word);
            parts.iter().all(|part| self.name.contains(part) || part == "tool")
        };
        let others: Vec<&str> = words.iter().filter(|word| !is_own(word)).copied().collect();
        let fits = words.len() <= MAX_NEW_DESCRIPTION && title.chars().count() <= MAX_GROWTH;
        let light = words.iter().all(|word| is_plain(word)) && others.iter().all(|word| is_light(word));
        if fits && light { Ok(others.len()) } else { Err("is new") }
    }

    /// Whether a part of an output schema has no text but types, plain names and what was said before.
    fn says_all(&self, path: &[&str], part: &Value) -> bool {
        let mut n_left = MAX_OUTPUT;
        path.iter().all(|name| is_bare_name(name)) && self.holds(part, &mut n_left)
    }

    fn holds(&self, value: &Value, n_left: &mut usize) -> bool {
        let Some(left) = n_left.checked_sub(1) else { return false };
        *n_left = left;
        match value {
            Value::String(text) => {
                let is_word = is_plain(text) && !text.contains(char::is_whitespace) && is_light(text);
                is_word || is_dialect(value) || self.texts.contains(text.as_str())
            }
            Value::Array(items) => items.iter().all(|item| self.holds(item, n_left)),
            Value::Object(map) => map.iter().all(|(key, value)| is_bare_name(key) && self.holds(value, n_left)),
            Value::Null | Value::Bool(_) | Value::Number(_) => true,
        }
    }
}

fn collect_texts<'v>(value: &'v Value, texts: &mut HashSet<&'v str>) {
    match value {
        Value::String(text) => drop(texts.insert(text)),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Object(map) => map.values().for_each(|value| collect_texts(value, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A name that names something and says nothing.
fn is_bare_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-$".contains(c);
    let parts = split_identifier(name);
    name.len() <= 40
        && name.chars().all(fits)
        && parts.len() <= 5
        && parts.iter().all(|part| !STEERING.contains(&part.as_str()))
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

/// Whether a word may stand in the text of what takes no text.
fn is_light_or_free(word: &str) -> bool {
    let parts = split_identifier(word);
    parts.iter().all(|part| FREE.contains(&part.as_str()) || !WEIGHTY.contains(&part.as_str()))
}

/// Whether a word is one: short, of plain letters, no address, path or markup. Scripts that put no space between words could
/// say anything in one "word", so their changes are looked at.
fn is_plain(word: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".,;:()'\"!?-_`".contains(c);
    word.len() <= 24 && word.chars().all(fits) && !word.contains("..")
}

fn new_parameter(name: &str, schema: &Value, required: &[&str]) -> Result<(), &'static str> {
    const KEYS: [&str; 6] = ["type", "description", "title", "default", "enum", "items"];
    if required.contains(&name) {
        return Err("is new and required");
    }
    let Some(schema) = schema.as_object() else { return Err("is new and has no plain schema") };
    let kind = schema.get("type").and_then(Value::as_str);
    // What takes yes, no or a number takes nothing out.
    let carries = !matches!(kind, Some("boolean" | "integer" | "number"));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let is_light_name = is_light(name) || (!carries && is_light(&without_include(name)));
    if name.len() > 40 || !name.chars().all(is_name) || !is_light_name {
        return Err("is new and has a name that matters");
    }
    let is_known = |key: &String| KEYS.contains(&key.as_str()) || BOUNDS.contains(&key.as_str());
    if !schema.keys().all(is_known) || !has_plain_type(schema) {
        return Err("is new and has no plain schema");
    }
    let (max_words, max_chars) =
        if carries { (MAX_NEW_DESCRIPTION, MAX_GROWTH + 40) } else { (2 * MAX_NEW_DESCRIPTION, 2 * MAX_GROWTH) };
    let said = |key: &str| match schema.get(key) {
        None => true,
        Some(Value::String(text)) => {
            let words: Vec<&str> = text.split_whitespace().collect();
            let few = words.len() <= max_words && text.chars().count() <= max_chars;
            let is_light = if carries { is_light } else { is_light_or_free };
            few && words.iter().all(|word| is_light(word) && is_plain(word))
        }
        Some(_) => false,
    };
    let values = schema.get("enum").is_none_or(are_plain_values);
    let bounds = BOUNDS.iter().all(|key| schema.get(*key).is_none_or(Value::is_number));
    if said("description") && said("title") && values && bounds && schema.get("default").is_none_or(is_plain_value) {
        Ok(())
    } else {
        Err("is new and says what matters")
    }
}

/// `includeSnapshot` without the word that only says that it is a switch.
fn without_include(name: &str) -> String {
    let parts = split_identifier(name);
    let mut rest = parts.iter().map(String::as_str).filter(|part| !["include", "only"].contains(part));
    let first = rest.next().unwrap_or_default().to_owned();
    rest.fold(first, |name, part| format!("{name}_{part}"))
}

fn are_plain_values(values: &Value) -> bool {
    values.as_array().is_some_and(|values| values.len() <= MAX_NEW_VALUES && values.iter().all(is_plain_value))
}

fn is_plain_value(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            text.is_empty() || (!text.contains(char::is_whitespace) && is_light(text) && is_plain(text))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(_) => false,
    }
}

/// One plain type, or a list of one.
fn has_plain_type(schema: &Map<String, Value>) -> bool {
    const PLAIN: [&str; 4] = ["string", "integer", "number", "boolean"];
    let kind = schema.get("type").and_then(Value::as_str);
    match schema.get("items") {
        None => kind.is_some_and(|kind| PLAIN.contains(&kind)),
        Some(Value::Object(items)) => {
            let only = items.keys().all(|key| ["type", "enum"].contains(&key.as_str()));
            let is_typed = items.get("type").and_then(Value::as_str).is_some_and(|kind| PLAIN.contains(&kind));
            kind == Some("array") && only && is_typed && items.get("enum").is_none_or(are_plain_values)
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
    const TEXTS: [&str; 7] = ["description", "title", "default", "examples", "example", "$comment", "$schema"];
    const MAPS: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
    match schema {
        Value::Object(map) => {
            // What a library writes with one release and leaves out with the next is no form of the tool's.
            let is_open = |value: &Value| value.is_boolean() || value.as_object().is_some_and(Map::is_empty);
            let says_nothing = |key: &str, value: &Value| key == "additionalProperties" && is_open(value);
            let kept = map.iter().filter(|(key, _)| !TEXTS.contains(&key.as_str()));
            let kept = kept.filter(|(key, value)| !says_nothing(key, value) && !BOUNDS.contains(&key.as_str()));
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
