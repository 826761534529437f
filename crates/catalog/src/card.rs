//! From a definition to a card.
//!
//! [`build`] takes any JSON at all: what is missing or of the wrong type is as good as absent, everything that is taken is
//! cleaned and bounded, and depth is limited, so that no definition can hurt.

use serde_json::Value;
use toolscout_core::card::SideEffectSource;
use toolscout_core::text::sanitize;
use toolscout_core::words::split_identifier;
use toolscout_core::{ContentHash, Param, SideEffect, ToolCard, ToolId, canonical_json};

use crate::{Overlay, prose, verbs};

/// Changes when the same definition gives another card than before: then everything derived from cards is renewed.
pub(crate) const CARD_VERSION: u32 = 1;

const MAX_TITLE: usize = 120;
const MAX_DESCRIPTION: usize = 4_000;
const MAX_PURPOSE: usize = 300;
const MAX_WHEN: usize = 400;
const MAX_WORDS: usize = 24;
const MAX_PARAMS: usize = 64;
const MAX_PARAM_NAME: usize = 80;
const MAX_PARAM_DESCRIPTION: usize = 300;
const MAX_ENUM_VALUES: usize = 32;
const MAX_ENUM_VALUE: usize = 60;
const MAX_KIND: usize = 80;
const MAX_TAGS: usize = 16;
const MAX_TAG: usize = 40;
const MAX_FIELDS: usize = 12;
/// Nested schemas, `$ref`s and unions that are followed.
const MAX_DEPTH: usize = 6;
/// Branches of one union that are looked at.
const MAX_BRANCHES: usize = 16;
/// Steps over subschemas that reading one definition may take in all, however its unions and `$ref`s multiply.
const MAX_STEPS: usize = 4_000;

/// A card and what else was read off the definition.
pub struct Built {
    /// The card.
    pub card: ToolCard,
    /// Hash of the canonical input schema: what families share.
    pub input_schema: ContentHash,
}

/// The hash by which a definition is the same or another: name, title, description, schemas and annotations, in canonical
/// form. Fields that carry no meaning for choosing or calling (`_meta`, icons, vendors' own) do not count.
pub fn definition_hash(definition: &Value) -> ContentHash {
    hashes(definition).0
}

/// The parts of a definition that count, sorted.
pub(crate) const COUNTED: [&str; 6] = ["annotations", "description", "inputSchema", "name", "outputSchema", "title"];

/// The definition's hash and its input schema's, with the schema spelt out once.
fn hashes(definition: &Value) -> (ContentHash, ContentHash) {
    let schema = canonical_json(definition.get("inputSchema").unwrap_or(&Value::Null));
    let mut counted = String::with_capacity(schema.len() + 512);
    for key in COUNTED {
        let Some(value) = definition.get(key).filter(|value| !value.is_null()) else { continue };
        counted.push_str(if counted.is_empty() { "{\"" } else { ",\"" });
        counted.push_str(key);
        counted.push_str("\":");
        if key == "inputSchema" { counted.push_str(&schema) } else { counted.push_str(&canonical_json(value)) }
    }
    counted.push('}');
    (ContentHash::of(counted.as_bytes()), ContentHash::of(schema.as_bytes()))
}

/// Reads a definition, whatever it is, into a card. `tags` are the configuration's.
///
/// Tags that the server gives itself (`annotations.category` and the like) get the prefix `server/`, so that a rule of the
/// policy about tags can only match what a person wrote.
pub fn build(id: &ToolId, definition: &Value, tags: &[String], overlay: Option<&Overlay>) -> Built {
    let nothing = Value::Null;
    let schema = definition.get("inputSchema").unwrap_or(&nothing);
    let annotations = definition.get("annotations").unwrap_or(&nothing);
    let text = |value: Option<&Value>, max| value.and_then(Value::as_str).map(|text| sanitize(text, max));
    let one_line = |value: Option<&Value>| {
        text(value, MAX_TITLE).map(|text| text.replace('\n', " ")).filter(|text| !text.trim().is_empty())
    };
    let mut words = split_identifier(&sanitize(id.name.as_str(), MAX_TITLE));
    words.truncate(MAX_WORDS);
    let title = one_line(definition.get("title"))
        .or_else(|| one_line(annotations.get("title")))
        .unwrap_or_else(|| title_of(&words, id));
    let description = text(definition.get("description"), MAX_DESCRIPTION).unwrap_or_default();
    let units = prose::units(&description);
    let purpose = prose::purpose(&units, MAX_PURPOSE);
    let (when_to_use, when_not) = prose::when(&units, MAX_WHEN);
    let params = Reader { root: schema, steps: std::cell::Cell::new(0) }.params();
    let (side_effect, side_effect_source) = side_effect(annotations, &words, &purpose, &params);
    let (hash, input_schema) = hashes(definition);
    let mut card = ToolCard {
        id: id.clone(),
        definition: hash,
        purpose: if purpose.is_empty() { title.clone() } else { purpose },
        title,
        words,
        description,
        when_to_use,
        when_not,
        side_effect,
        side_effect_source,
        params,
        tags: all_tags(tags, definition, annotations, overlay),
        hints: Vec::new(),
        backup_of: None,
    };
    if let Some(overlay) = overlay {
        lay_over(&mut card, overlay);
    }
    Built { card, input_schema }
}

fn title_of(words: &[String], id: &ToolId) -> String {
    let mut title = words.join(" ");
    if title.is_empty() {
        return sanitize(id.name.as_str(), MAX_TITLE);
    }
    if let Some(first) = title.get(..1).map(str::to_ascii_uppercase) {
        title.replace_range(..1, &first);
    }
    title
}

fn lay_over(card: &mut ToolCard, overlay: &Overlay) {
    let set = |place: &mut String, text: &Option<String>| {
        if let Some(text) = text {
            place.clone_from(text);
        }
    };
    set(&mut card.title, &overlay.title);
    set(&mut card.purpose, &overlay.purpose);
    if overlay.when_to_use.is_some() {
        card.when_to_use.clone_from(&overlay.when_to_use);
    }
    if overlay.when_not.is_some() {
        card.when_not.clone_from(&overlay.when_not);
    }
    if let Some(side_effect) = overlay.side_effect {
        (card.side_effect, card.side_effect_source) = (side_effect, SideEffectSource::Card);
    }
    card.hints.clone_from(&overlay.hints);
    card.backup_of.clone_from(&overlay.backup_of);
}

/// A tag as we spell them: lower case, one word.
pub(crate) fn clean_tag(tag: &str) -> String {
    sanitize(tag, MAX_TAG).to_lowercase().split_whitespace().collect::<Vec<_>>().join("-")
}

fn all_tags(ours: &[String], definition: &Value, annotations: &Value, overlay: Option<&Overlay>) -> Vec<String> {
    let meta = definition.get("_meta");
    let fastmcp = meta.and_then(|meta| meta.get("fastmcp").or_else(|| meta.get("_fastmcp")));
    let theirs = [
        annotations.get("category"),
        annotations.get("categories"),
        annotations.get("tags"),
        definition.get("tags"),
        fastmcp.and_then(|fastmcp| fastmcp.get("tags")),
    ];
    let mut tags: Vec<String> =
        ours.iter().chain(overlay.into_iter().flat_map(|o| &o.tags)).map(|t| clean_tag(t)).collect();
    for value in theirs.into_iter().flatten() {
        let listed = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for tag in listed.iter().take(MAX_TAGS).filter_map(Value::as_str) {
            let tag = clean_tag(tag);
            if !tag.is_empty() && tags.len() < MAX_TAGS {
                tags.push(format!("server/{tag}"));
            }
        }
    }
    tags.retain(|tag| !tag.is_empty());
    tags.sort();
    tags.dedup();
    tags
}

/// What a call can do: what the annotations state, else what verb and schema suggest.
///
/// MCP says of an absent `destructiveHint` that it counts as true, but only for a tool that states `readOnlyHint: false`.
/// Servers that state just that are mostly careless rather than destructive, so there a plainly additive verb may
/// soften it to a write, and the card says that this is a guess.
fn side_effect(
    annotations: &Value,
    words: &[String],
    purpose: &str,
    params: &[Param],
) -> (SideEffect, SideEffectSource) {
    let hint = |name: &str| annotations.get(name).and_then(Value::as_bool);
    let guess = verbs::guess(words, purpose, params);
    match (hint("readOnlyHint"), hint("destructiveHint")) {
        (Some(true), _) => (SideEffect::Read, SideEffectSource::Annotated),
        (_, Some(true)) => (SideEffect::Destructive, SideEffectSource::Annotated),
        (Some(false), Some(false)) => (SideEffect::Write, SideEffectSource::Annotated),
        (Some(false), None) if guess.is_sure && guess.side_effect == SideEffect::Write => {
            (SideEffect::Write, SideEffectSource::Guessed)
        }
        (Some(false), None) => (SideEffect::Destructive, SideEffectSource::Annotated),
        // "Not destructive" alone leaves open whether it writes.
        (None, Some(false)) => (guess.side_effect.min(SideEffect::Write), SideEffectSource::Guessed),
        (None, None) => (guess.side_effect, SideEffectSource::Guessed),
    }
}

/// Reads one input schema within a budget of steps.
struct Reader<'a> {
    root: &'a Value,
    steps: std::cell::Cell<usize>,
}

impl<'a> Reader<'a> {
    fn spend(&self) -> bool {
        self.steps.set(self.steps.get() + 1);
        self.steps.get() <= MAX_STEPS
    }

    fn params(&self) -> Vec<Param> {
        let mut properties: Vec<(&'a str, &'a Value, bool)> = Vec::new();
        self.collect(self.root, 0, &mut properties);
        if properties.len() > MAX_PARAMS {
            // Required ones first to stay, then the rest, all in the schema's order.
            let n_required = properties.iter().filter(|(_, _, required)| *required).count();
            let mut room = MAX_PARAMS.saturating_sub(n_required);
            properties.retain(|(_, _, required)| {
                let stays = *required || room > 0;
                room -= usize::from(stays && !*required);
                stays
            });
            properties.truncate(MAX_PARAMS);
        }
        properties.into_iter().map(|(name, schema, required)| self.param(name, schema, required)).collect()
    }

    /// Properties of an object schema: its own, and those of the schemas that it refers to or is made of.
    fn collect(&self, schema: &'a Value, depth: usize, into: &mut Vec<(&'a str, &'a Value, bool)>) {
        if depth > MAX_DEPTH || !self.spend() {
            return;
        }
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if !self.spend() {
                return;
            }
            let is_required =
                required.contains(&name.as_str()) || property.get("required").and_then(Value::as_bool) == Some(true);
            match into.iter_mut().find(|(known, _, _)| known == name) {
                Some(known) => known.2 |= is_required,
                None => into.push((name, property, is_required)),
            }
        }
        if let Some(target) = self.resolve(schema) {
            self.collect(target, depth + 1, into);
        }
        for part in branches(schema, "allOf") {
            self.collect(part, depth + 1, into);
        }
        // Of a union each branch is possible and none is sure.
        for part in branches(schema, "anyOf").chain(branches(schema, "oneOf")) {
            let from = into.len();
            self.collect(part, depth + 1, into);
            into[from..].iter_mut().for_each(|property| property.2 = false);
        }
        for name in required {
            if let Some(known) = into.iter_mut().find(|(known, _, _)| *known == name) {
                known.2 = true;
            }
        }
    }

    fn param(&self, name: &str, schema: &'a Value, required: bool) -> Param {
        let text =
            schema.get("description").or_else(|| self.resolve(schema)?.get("description")).and_then(Value::as_str);
        let mut description = sanitize(text.unwrap_or_default(), MAX_PARAM_DESCRIPTION).replace('\n', " ");
        let fields = self.fields(schema, 0);
        if !fields.is_empty() {
            let gap = if description.is_empty() { "" } else { " " };
            description = format!("{description}{gap}{{{}}}", fields.join(", "));
        }
        let mut enum_values = Vec::new();
        self.enum_values(schema, 0, &mut enum_values);
        Param {
            name: sanitize(name, MAX_PARAM_NAME).replace('\n', " "),
            kind: clip_kind(self.kind(schema, 0)),
            required,
            description,
            enum_values,
        }
    }

    /// `string`, `integer[]`, `string|null`, …
    fn kind(&self, schema: &'a Value, depth: usize) -> String {
        const ANY: &str = "any";
        if depth > MAX_DEPTH || !self.spend() {
            return ANY.to_owned();
        }
        if let Some(target) = self.resolve(schema) {
            return self.kind(target, depth + 1);
        }
        match schema.get("type") {
            Some(Value::String(kind)) => return self.plain_kind(kind, schema, depth),
            Some(Value::Array(kinds)) => {
                let kinds = kinds.iter().take(MAX_BRANCHES).filter_map(Value::as_str);
                return union(kinds.map(|kind| self.plain_kind(kind, schema, depth)));
            }
            _ => {}
        }
        let mut branches_of_union = branches(schema, "anyOf").chain(branches(schema, "oneOf")).peekable();
        if branches_of_union.peek().is_some() {
            return union(branches_of_union.map(|branch| self.kind(branch, depth + 1)));
        }
        if let Some(kind) = branches(schema, "allOf").map(|part| self.kind(part, depth + 1)).find(|kind| kind != ANY) {
            return kind;
        }
        let values = schema.get("enum").and_then(Value::as_array).into_iter().flatten().chain(schema.get("const"));
        let kinds = union(values.take(MAX_BRANCHES).map(|value| kind_of_value(value).to_owned()));
        match kinds.as_str() {
            "" if schema.get("properties").is_some() => "object".to_owned(),
            "" if schema.get("items").is_some() => self.plain_kind("array", schema, depth),
            "" => ANY.to_owned(),
            _ => kinds,
        }
    }

    fn plain_kind(&self, kind: &str, schema: &'a Value, depth: usize) -> String {
        if kind != "array" {
            return sanitize(kind, 20).replace('\n', " ");
        }
        let item = schema.get("items").filter(|items| items.is_object());
        match item.map(|item| self.kind(item, depth + 1)) {
            Some(item) if item.contains('|') => format!("({item})[]"),
            Some(item) => format!("{item}[]"),
            None => "any[]".to_owned(),
        }
    }

    fn enum_values(&self, schema: &'a Value, depth: usize, into: &mut Vec<String>) {
        if depth > MAX_DEPTH || !self.spend() {
            return;
        }
        if let Some(target) = self.resolve(schema) {
            self.enum_values(target, depth + 1, into);
        }
        let values = schema.get("enum").and_then(Value::as_array).into_iter().flatten().chain(schema.get("const"));
        for value in values {
            if into.len() >= MAX_ENUM_VALUES {
                return;
            }
            let text = match value {
                Value::String(text) => sanitize(text, MAX_ENUM_VALUE).replace('\n', " "),
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => continue,
            };
            if !text.is_empty() && !into.contains(&text) {
                into.push(text);
            }
        }
        let parts = branches(schema, "anyOf").chain(branches(schema, "oneOf")).chain(branches(schema, "allOf"));
        for part in parts.chain(schema.get("items").filter(|items| items.is_object())) {
            self.enum_values(part, depth + 1, into);
        }
    }

    /// Names of a nested object's properties: they are often what people ask for.
    fn fields(&self, schema: &'a Value, depth: usize) -> Vec<String> {
        if depth > MAX_DEPTH || !self.spend() {
            return Vec::new();
        }
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            return properties.keys().take(MAX_FIELDS).map(|name| sanitize(name, 40).replace('\n', " ")).collect();
        }
        let nested = self.resolve(schema).into_iter().chain(schema.get("items").filter(|items| items.is_object()));
        let nested =
            nested.chain(branches(schema, "anyOf")).chain(branches(schema, "oneOf")).chain(branches(schema, "allOf"));
        nested.map(|part| self.fields(part, depth + 1)).find(|fields| !fields.is_empty()).unwrap_or_default()
    }

    /// What a local `$ref` points at. Never leaves the document.
    fn resolve(&self, schema: &'a Value) -> Option<&'a Value> {
        let pointer = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
        self.root.pointer(pointer).filter(|target| !std::ptr::eq(*target, schema))
    }
}

fn branches<'a>(schema: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    schema.get(key).and_then(Value::as_array).into_iter().flatten().take(MAX_BRANCHES)
}

fn union(kinds: impl Iterator<Item = String>) -> String {
    let mut distinct: Vec<String> = Vec::new();
    for kind in kinds
        .flat_map(|kind| if kind.ends_with("[]") { vec![kind] } else { kind.split('|').map(str::to_owned).collect() })
    {
        if !kind.is_empty() && !distinct.contains(&kind) && distinct.len() < MAX_BRANCHES {
            distinct.push(kind);
        }
    }
    distinct.join("|")
}

fn kind_of_value(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn clip_kind(kind: String) -> String {
    if kind.is_empty() {
        return "any".to_owned();
    }
    if kind.chars().count() <= MAX_KIND { kind } else { "any".to_owned() }
}
