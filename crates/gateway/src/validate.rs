//! Checks arguments against a tool's stored input schema.
//!
//! The schema is a stranger's: it is bounded in size and depth before it is compiled, nothing is ever fetched for a `$ref`,
//! and patterns may backtrack so much and no more. A schema that cannot be used for checking is no reason to refuse a call: the
//! upstream checks for itself, and the answer carries a note.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use lru::LruCache;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use toolscout_core::ContentHash;
use toolscout_core::text::{preview, sanitize};

use crate::lenient::{kind, nearest_word};

/// Largest schema that is compiled, in bytes of JSON.
pub const MAX_SCHEMA_BYTES: usize = 512 * 1024;
/// Deepest schema that is compiled, and deepest arguments that are checked, in nested values.
pub const MAX_DEPTH: usize = 64;
/// Most subschemas that one value may be held against, every reference followed. Real schemas stay below some thousands; a
/// chain of definitions that each name the next one twice reaches 2^40 in a few kilobytes.
const MAX_UNFOLDED: u64 = 200_000;
/// Most pairs of subschema and value that one check may meet. Some hundred milliseconds at worst.
const MAX_WORK: u64 = 2_000_000;
/// Most such pairs that are looked at to learn that.
const MAX_PAIRS: usize = 100_000;
/// Longest way through nested schemas and references: validating recurses along it.
const MAX_WAY: usize = 256;
/// Steps that one pattern may go back while it looks at one string.
const MAX_BACKTRACKS: usize = 20_000;
/// Most faults one answer names. The first few tell a model what it needs.
pub const MAX_FAULTS: usize = 5;
/// Most enum values one fault lists.
const MAX_SUGGESTIONS: usize = 10;

/// One thing that is wrong with some arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArgumentFault {
    /// Where, as a JSON pointer; empty for the arguments as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// Values or names that would be right, nearest first, where the schema tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suggestions: Vec<String>,
}

/// What checking brought.
#[derive(Debug, Clone, PartialEq)]
pub enum Checked {
    /// The arguments fit.
    Fits,
    /// They do not.
    Faults(Vec<ArgumentFault>),
    /// Nobody can tell, for this reason: the call goes ahead with a note.
    Unchecked(String),
}

/// A tool's input schema, ready to check with.
pub struct Compiled {
    schema: Value,
    validator: Result<(Validator, Unfolded), String>,
}

impl Compiled {
    /// Compiles a schema. CPU work: call it off the async threads.
    pub fn new(schema: Value) -> Self {
        Self { validator: compile(&schema), schema }
    }

    /// The schema itself.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Checks arguments.
    pub fn check(&self, arguments: &Map<String, Value>) -> Checked {
        let (validator, unfolded) = match &self.validator {
            Ok((validator, unfolded)) => (validator, unfolded),
            Err(reason) => return Checked::Unchecked(reason.clone()),
        };
        // JSON that was parsed is at most 128 deep; the border here is what validating recurses into.
        if arguments.values().map(depth).max().unwrap_or(0) >= MAX_DEPTH {
            let message = format!("nests deeper than {MAX_DEPTH} levels");
            return Checked::Faults(vec![ArgumentFault { path: String::new(), message, suggestions: Vec::new() }]);
        }
        let instance = Value::Object(arguments.clone());
        // Where the schema leads back into itself, or is held against very many values, the work is counted before it is done.
        let foreseeable = !unfolded.recursive && unfolded.n.saturating_mul(n_values(&instance)) <= MAX_WORK;
        if !foreseeable && !Work::new(&self.schema).fits(&instance) {
            return Checked::Unchecked("its schema would take too long for these arguments".to_owned());
        }
        let is_engines = |error: &ValidationError<'_>| {
            matches!(
                error.kind(),
                ValidationErrorKind::BacktrackLimitExceeded { .. } | ValidationErrorKind::RegexEngineFailure { .. }
            )
        };
        let mut faults = Vec::new();
        for error in validator.iter_errors(&instance).take(MAX_FAULTS) {
            if is_engines(&error) {
                return Checked::Unchecked("a pattern of its schema takes too long".to_owned());
            }
            faults.push(fault(&error, &self.schema));
        }
        if faults.is_empty() { Checked::Fits } else { Checked::Faults(faults) }
    }
}

fn compile(schema: &Value) -> Result<(Validator, Unfolded), String> {
    if depth(schema) > MAX_DEPTH {
        return Err(format!("its schema nests deeper than {MAX_DEPTH} levels"));
    }
    if schema.to_string().len() > MAX_SCHEMA_BYTES {
        return Err(format!("its schema is larger than {} KiB", MAX_SCHEMA_BYTES / 1024));
    }
    let validator = jsonschema::options()
        .offline()
        .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(MAX_BACKTRACKS).size_limit(1 << 20))
        .should_validate_formats(false)
        .build(schema)
        .map_err(|error| format!("its schema does not compile: {}", preview(&error.to_string())))?;
    let mut recursive = false;
    match unfolded(schema, schema, 0, &mut HashMap::new(), &mut recursive) {
        Some(n) if n <= MAX_UNFOLDED => Ok((validator, Unfolded { n, recursive })),
        Some(_) | None => Err("the references of its schema lead too far".to_owned()),
    }
}

/// What a schema comes to with every reference followed.
struct Unfolded {
    /// Subschemas that one value may be held against, a way back counted once.
    n: u64,
    /// Whether there is a way back.
    recursive: bool,
}

/// Stands for a count that is not known yet: a way that meets it has come back to where it was.
const UNDER_WAY: u64 = 0;

/// How many subschemas a value may meet from here on, each reference counted as what it leads to; a way back to where it came
/// from counts once. `None`: the way is too long, or a reference is not a plain pointer into this schema.
fn unfolded(
    root: &Value,
    here: &Value,
    way: usize,
    known: &mut HashMap<*const Value, u64>,
    recursive: &mut bool,
) -> Option<u64> {
    if way > MAX_WAY {
        return None;
    }
    let place = std::ptr::from_ref(here);
    match known.get(&place) {
        Some(&UNDER_WAY) => {
            *recursive = true;
            return Some(1);
        }
        Some(&n) => return Some(n),
        None => known.insert(place, UNDER_WAY),
    };
    let mut n = 1_u64;
    match here {
        Value::Object(map) => {
            for (key, value) in map {
                let target = match (key.as_str(), value) {
                    ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(to)) => {
                        root.pointer(to.strip_prefix('#')?)?
                    }
                    _ => value,
                };
                n = n.saturating_add(unfolded(root, target, way + 1, known, recursive)?);
            }
        }
        Value::Array(items) => {
            for item in items {
                n = n.saturating_add(unfolded(root, item, way + 1, known, recursive)?);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    known.insert(place, n);
    Some(n)
}

/// Counts what holding one value against a schema comes to, before it is done: a definition that leads back into itself by
/// two ways doubles the work with every level of the value, and callers choose the levels.
struct Work<'a> {
    root: &'a Value,
    known: HashMap<(*const Value, *const Value), u64>,
}

impl<'a> Work<'a> {
    /// Longest way, references and levels together: validating recurses along it.
    const MAX_WAY: usize = 1_000;

    fn new(root: &'a Value) -> Self {
        Self { root, known: HashMap::new() }
    }

    fn fits(mut self, value: &Value) -> bool {
        self.count(self.root, value, 0).is_some_and(|n| n <= MAX_WORK)
    }

    /// Pairs of subschema and value, as if no branch were ever left early; `None`: too many to tell, or too long a way.
    fn count(&mut self, schema: &'a Value, value: &Value, way: usize) -> Option<u64> {
        let Value::Object(keywords) = schema else { return Some(1) };
        let pair = (std::ptr::from_ref(schema), std::ptr::from_ref(value));
        if let Some(&n) = self.known.get(&pair) {
            return Some(n);
        }
        if way > Self::MAX_WAY || self.known.len() >= MAX_PAIRS {
            return None;
        }
        self.known.insert(pair, 1);
        let mut n = 1_u64;
        let mut add = |more: Option<u64>| more.map(|more| n = n.saturating_add(more));
        for (keyword, below) in keywords {
            match (keyword.as_str(), below) {
                ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(to)) => {
                    let target = self.root.pointer(to.strip_prefix('#')?)?;
                    add(self.count(target, value, way + 1))?;
                }
                ("allOf" | "anyOf" | "oneOf", Value::Array(all)) => {
                    for one in all {
                        add(self.count(one, value, way + 1))?;
                    }
                }
                ("not" | "if" | "then" | "else", one) => add(self.count(one, value, way + 1))?,
                ("dependentSchemas" | "dependencies", Value::Object(all)) => {
                    for one in all.values() {
                        add(self.count(one, value, way + 1))?;
                    }
                }
                ("properties", Value::Object(all)) => {
                    let Value::Object(members) = value else { continue };
                    for (name, one) in all {
                        if let Some(member) = members.get(name) {
                            add(self.count(one, member, way + 1))?;
                        }
                    }
                }
                ("patternProperties", Value::Object(all)) => {
                    for one in all.values() {
                        for member in members(value) {
                            add(self.count(one, member, way + 1))?;
                        }
                    }
                }
                ("prefixItems" | "items", Value::Array(all)) => {
                    for (one, member) in all.iter().zip(members(value)) {
                        add(self.count(one, member, way + 1))?;
                    }
                }
                (
                    "items"
                    | "additionalItems"
                    | "unevaluatedItems"
                    | "contains"
                    | "additionalProperties"
                    | "unevaluatedProperties",
                    one,
                ) => {
                    for member in members(value) {
                        add(self.count(one, member, way + 1))?;
                    }
                }
                _ => {}
            }
        }
        self.known.insert(pair, n);
        Some(n)
    }
}

fn members(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(map) => Box::new(map.values()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Box::new(std::iter::empty()),
    }
}

/// How many values there are in one, itself included.
fn n_values(value: &Value) -> u64 {
    let (mut n, mut open) = (0, vec![value]);
    while let Some(value) = open.pop() {
        n += 1;
        open.extend(members(value));
    }
    n
}

/// Compiled schemas of the tools called last.
pub struct Validators {
    compiled: Mutex<LruCache<ContentHash, Arc<Compiled>>>,
}

impl Validators {
    /// Keeps up to `capacity` compiled schemas.
    pub fn new(capacity: usize) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        Self { compiled: Mutex::new(LruCache::new(capacity)) }
    }

    /// The compiled schema of a definition, if it is known already.
    pub fn cached(&self, definition: ContentHash) -> Option<Arc<Compiled>> {
        self.compiled.lock().get(&definition).cloned()
    }

    /// Remembers a compiled schema.
    pub fn keep(&self, definition: ContentHash, compiled: Arc<Compiled>) {
        self.compiled.lock().put(definition, compiled);
    }
}

fn fault(error: &ValidationError<'_>, schema: &Value) -> ArgumentFault {
    let path = error.instance_path().to_string();
    let given = error.instance();
    let (message, suggestions) = match error.kind() {
        ValidationErrorKind::Enum { options } => {
            let options: Vec<&Value> = options.as_array().map(|all| all.iter().collect()).unwrap_or_default();
            (
                format!("{} is not one of the allowed values", preview(&given.to_string())),
                nearest_values(given, &options),
            )
        }
        ValidationErrorKind::Required { property } => {
            (format!("{} is required and missing", preview(&property.to_string())), Vec::new())
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let known = properties_at(schema, &path);
            let near: Vec<String> = unexpected
                .iter()
                .filter_map(|name| nearest_word(name, known.iter().map(String::as_str)).map(str::to_owned))
                .collect();
            let suggestions = if near.is_empty() { known.into_iter().take(MAX_SUGGESTIONS).collect() } else { near };
            let names: Vec<String> = unexpected.iter().take(MAX_FAULTS).map(|name| preview(name)).collect();
            (format!("there is no parameter {}", names.join(", ")), suggestions)
        }
        ValidationErrorKind::Type { kind: wanted } => {
            let wanted = match wanted {
                jsonschema::error::TypeKind::Single(one) => one.to_string(),
                jsonschema::error::TypeKind::Multiple(all) => {
                    all.iter().map(|one| one.to_string()).collect::<Vec<_>>().join(" or ")
                }
            };
            (format!("{} is {}; it must be {wanted}", preview(&given.to_string()), kind(given)), Vec::new())
        }
        ValidationErrorKind::Constant { expected_value } => {
            ("has one allowed value".to_owned(), vec![spell(expected_value)])
        }
        // The library's own words for the rarer kinds. They quote the instance, hence the bound.
        _ => (sanitize(&error.to_string(), 200), Vec::new()),
    };
    ArgumentFault { path, message, suggestions }
}

fn spell(value: &Value) -> String {
    match value {
        Value::String(text) => preview(text),
        other => preview(&other.to_string()),
    }
}

/// The allowed values, those most like the given one first, at most ten.
fn nearest_values(given: &Value, options: &[&Value]) -> Vec<String> {
    let given = spell(given).to_lowercase();
    let mut spelled: Vec<(f64, String)> = options
        .iter()
        .map(|option| spell(option))
        .map(|option| (strsim::jaro_winkler(&given, &option.to_lowercase()), option))
        .collect();
    // Stable: options that are equally near keep the schema's order.
    spelled.sort_by(|a, b| b.0.total_cmp(&a.0));
    spelled.into_iter().take(MAX_SUGGESTIONS).map(|(_, option)| option).collect()
}

/// The property names that the schema gives for the object at a path, as far as plain `properties` and `items` lead there.
fn properties_at(schema: &Value, path: &str) -> Vec<String> {
    let mut here = schema;
    for step in path.split('/').skip(1) {
        let next = here.get("properties").and_then(|all| all.get(step)).or_else(|| here.get("items"));
        let Some(next) = next else { return Vec::new() };
        here = next;
    }
    let names = here.get("properties").and_then(Value::as_object);
    names.map(|all| all.keys().map(|name| preview(name)).collect()).unwrap_or_default()
}

/// How many values lie inside each other, without recursion: the value may be made to exhaust a stack.
pub(crate) fn depth(value: &Value) -> usize {
    let mut deepest = 0;
    let mut open = vec![(value, 1)];
    while let Some((value, level)) = open.pop() {
        deepest = deepest.max(level);
        match value {
            Value::Array(items) => open.extend(items.iter().map(|item| (item, level + 1))),
            Value::Object(map) => open.extend(map.values().map(|item| (item, level + 1))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_arguments(schema: Value, arguments: Value, expect: &str) {
        let answer = match Compiled::new(schema).check(arguments.as_object().unwrap()) {
            Checked::Fits => "fits".to_owned(),
            Checked::Unchecked(reason) => format!("unchecked: {reason}"),
            Checked::Faults(faults) => {
                let spell = |f: &ArgumentFault| format!("{}: {} {:?}", f.path, f.message, f.suggestions);
                faults.iter().map(spell).collect::<Vec<_>>().join(" | ")
            }
        };
        assert_eq!(answer, expect);
    }

    fn issue() -> Value {
        json!({
            "type": "object",
            "properties": {
                "title": {"type": "string"},
                "state": {"enum": ["open", "closed", "all"]},
                "labels": {"type": "array", "items": {"type": "object", "properties": {"color": {"type": "string"}}, "additionalProperties": false}}
            },
            "required": ["title"],
            "additionalProperties": false
        })
    }

    #[test]
    fn a_fault_names_its_place_and_what_would_be_right() {
        check_arguments(issue(), json!({"title": "x", "state": "open"}), "fits");
        check_arguments(issue(), json!({}), r#": "title" is required and missing []"#);
        check_arguments(issue(), json!({"title": 7}), "/title: 7 is a number; it must be string []");
        check_arguments(
            issue(),
            json!({"title": "x", "state": "close"}),
            r#"/state: "close" is not one of the allowed values ["closed", "all", "open"]"#,
        );
        check_arguments(issue(), json!({"title": "x", "stat": "open"}), r#": there is no parameter stat ["state"]"#);
        check_arguments(
            issue(),
            json!({"title": "x", "labels": [{"colour": "red"}]}),
            r#"/labels/0: there is no parameter colour ["color"]"#,
        );
    }

    /// Chains of definitions that are small to read and endless to follow must neither overflow the stack nor take for ever.
    #[test]
    fn references_that_multiply_are_not_followed() {
        let link = |i: usize| format!("#/$defs/a{}", i + 1);
        let long: Map<String, Value> = (0..2000).map(|i| (format!("a{i}"), json!({ "$ref": link(i) }))).collect();
        let wide: Map<String, Value> = (0..40)
            .map(|i| (format!("a{i}"), json!({ "allOf": [{ "$ref": link(i) }, { "$ref": link(i) }] })))
            .collect();
        for (mut definitions, end) in [(long, "a2000"), (wide, "a40")] {
            definitions.insert(end.to_owned(), json!({ "type": "object" }));
            let schema = json!({ "type": "object", "$ref": "#/$defs/a0", "$defs": definitions });
            let checked = Compiled::new(schema).check(&Map::new());
            assert_eq!(checked, Checked::Unchecked("the references of its schema lead too far".to_owned()));
        }
    }

    /// A definition that leads back into itself by two ways doubles the work with every level of the arguments.
    #[test]
    fn recursion_that_branches_is_bounded_by_the_arguments() {
        let branching = json!({
            "type": "object", "properties": {"tree": {"$ref": "#/$defs/node"}},
            "$defs": {"node": {"anyOf": [
                {"properties": {"next": {"$ref": "#/$defs/node"}, "leaf": {"const": 1}}, "required": ["leaf"]},
                {"properties": {"next": {"$ref": "#/$defs/node"}, "leaf": {"const": 2}}, "required": ["leaf"]},
            ]}}
        });
        let chain =
            |depth| json!({"tree": (0..depth).fold(json!({"leaf": 3}), |next, _| json!({"leaf": 1, "next": next}))});
        let too_long = "unchecked: its schema would take too long for these arguments";
        check_arguments(branching.clone(), chain(60), too_long);
        let shallow = Compiled::new(branching).check(chain(5).as_object().unwrap());
        assert!(matches!(shallow, Checked::Faults(_)), "{shallow:?}");
        // Recursion by one way only is common and cheap: trees, filters.
        let tree = json!({
            "type": "object", "properties": {"root": {"$ref": "#/$defs/node"}},
            "$defs": {"node": {"type": "object", "properties": {
                "left": {"$ref": "#/$defs/node"}, "right": {"$ref": "#/$defs/node"}, "name": {"type": "string"}}}}
        });
        let full = |depth| (0..depth).fold(json!({"name": "leaf"}), |below, _| json!({"left": below, "right": below}));
        check_arguments(tree.clone(), json!({"root": full(10)}), "fits");
        check_arguments(tree, json!({"root": full(17)}), too_long);
    }

    #[test]
    fn a_useless_schema_refuses_nothing() {
        check_arguments(json!({}), json!({"a": 1}), "fits");
        check_arguments(json!({"properties": {"a": {"type": "string"}}}), json!({"a": "x"}), "fits");
        let unchecked = |schema: Value| match Compiled::new(schema).check(&Map::new()) {
            Checked::Unchecked(reason) => reason,
            other => panic!("{other:?}"),
        };
        assert!(unchecked(json!({"type": "nonsense"})).contains("does not compile"));
        assert!(unchecked(json!({"$ref": "https://example.com/schema.json"})).contains("does not compile"));
        assert!(unchecked(json!({"$ref": "file:///etc/passwd"})).contains("does not compile"));
        let deep = (0..100).fold(json!({}), |inner, _| json!({"properties": {"a": inner}}));
        assert!(unchecked(deep).contains("nests deeper"));
    }

    #[test]
    fn local_references_and_older_dialects_work() {
        let schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"name": {"type": "string", "minLength": 2}},
            "type": "object",
            "properties": {"name": {"$ref": "#/definitions/name"}}
        });
        check_arguments(schema.clone(), json!({"name": "Ada"}), "fits");
        check_arguments(schema, json!({"name": "A"}), r#"/name: "A" is shorter than 2 characters []"#);
    }

    #[test]
    fn deep_arguments_are_refused() {
        let nested = |depth| (0..depth).fold(json!(1), |inner, _| json!([inner]));
        let check = |depth| Compiled::new(json!({})).check(json!({"a": nested(depth)}).as_object().unwrap());
        assert_eq!(check(MAX_DEPTH - 2), Checked::Fits);
        match check(MAX_DEPTH) {
            Checked::Faults(faults) => assert!(faults[0].message.contains("nests deeper")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn compiled_schemas_are_kept_and_bounded() {
        let validators = Validators::new(2);
        let hash = |n: u8| ContentHash::of(&[n]);
        for n in 0..3 {
            validators.keep(hash(n), Arc::new(Compiled::new(issue())));
        }
        assert!(validators.cached(hash(0)).is_none());
        assert!(validators.cached(hash(2)).is_some());
    }
}
