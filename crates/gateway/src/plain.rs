//! Schemas as models and people read them: without characters that show nothing and may still be read.
//!
//! A schema holds two kinds of strings. Texts are for reading, and of them hidden characters are dropped. Data has to come back
//! in a call exactly as it stands here, the names of parameters and the values of `enum` and `const`, and stays; so do
//! references, which have to meet. Patterns keep what they mean: there a hidden character is spelt out.
//! Arguments are always checked against the schema as its server sent it.

use serde_json::{Map, Value};
use toolscout_core::text::is_hidden;

/// A schema, or any other part of a definition, as it may be shown. What holds nothing hidden is given back as it is. Recursion is
/// bounded: serde_json read the definition, to a depth of 128.
pub(crate) fn shown(value: Value) -> Value {
    if holds_hidden(&value) { clean(value) } else { value }
}

fn holds_hidden(value: &Value) -> bool {
    let hides = |text: &str| text.chars().any(is_hidden);
    match value {
        Value::String(text) => hides(text),
        Value::Array(items) => items.iter().any(holds_hidden),
        Value::Object(map) => map.iter().any(|(key, value)| hides(key) || holds_hidden(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// One value that is no map of names.
fn clean(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(dropped(&text)),
        Value::Array(items) => items.into_iter().map(clean).collect(),
        Value::Object(map) => {
            let parts = map.into_iter().map(|(key, value)| {
                let value = keyword(&key, value);
                (dropped(&key), value)
            });
            Value::Object(parts.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// What stands under a keyword of a schema.
fn keyword(key: &str, value: Value) -> Value {
    match (key, value) {
        // Data, and references to it.
        (
            "enum" | "const" | "required" | "dependentRequired" | "$ref" | "$id" | "$anchor" | "$dynamicRef"
            | "$dynamicAnchor",
            value,
        ) => value,
        ("pattern", Value::String(pattern)) => Value::String(spelt(&pattern)),
        ("properties" | "$defs" | "definitions" | "dependentSchemas", Value::Object(named)) => {
            named.into_iter().map(|(name, schema)| (name, clean(schema))).collect::<Map<_, _>>().into()
        }
        ("patternProperties", Value::Object(named)) => {
            named.into_iter().map(|(name, schema)| (spelt(&name), clean(schema))).collect::<Map<_, _>>().into()
        }
        (_, value) => clean(value),
    }
}

fn dropped(text: &str) -> String {
    text.chars().filter(|c| !is_hidden(*c)).collect()
}

/// A regular expression that matches the same and hides nothing: ECMA 262 knows a character by its UTF-16 units.
fn spelt(pattern: &str) -> String {
    let mut plain = String::with_capacity(pattern.len());
    for c in pattern.chars() {
        if is_hidden(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| plain.push_str(&format!("\\u{unit:04x}")));
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    //! 1. No text in what is shown holds a hidden character; names, values to choose from and references are as they were.
    //! 2. What holds none is shown as it is.

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(schema: Value, expect: Value) {
        assert_eq!(shown(schema), expect);
    }

    #[test]
    fn texts_are_cleaned_and_data_stays() {
        check(
            json!({"description": "a\u{200b}b", "title": "\u{2066}c\u{2069}"}),
            json!({"description": "ab", "title": "c"}),
        );
        check(json!({"examples": ["a\u{feff}"], "default": "\u{ad}x"}), json!({"examples": ["a"], "default": "x"}));
        check(json!({"x-no\u{200b}te": {"any": ["\u{e0041}b"]}}), json!({"x-note": {"any": ["b"]}}));
        for data in [
            json!({"enum": ["❤\u{fe0f}", "a\u{200b}"]}),
            json!({"const": "a\u{200b}"}),
            json!({"required": ["a\u{200b}"]}),
            json!({"properties": {"a\u{200b}": {"$ref": "#/$defs/b\u{200b}"}}, "$defs": {"b\u{200b}": {"type": "string"}}}),
        ] {
            check(data.clone(), data);
        }
        check(
            json!({"properties": {"enum": {"description": "a\u{200b}"}, "description": {"title": "\u{200b}b"}}}),
            json!({"properties": {"enum": {"description": "a"}, "description": {"title": "b"}}}),
        );
        check(
            json!({"anyOf": [{"items": {"description": "\u{7}x"}}]}),
            json!({"anyOf": [{"items": {"description": "x"}}]}),
        );
    }

    #[test]
    fn a_pattern_matches_what_it_matched() {
        check(json!({"pattern": "^[\u{200b}a]+$"}), json!({"pattern": "^[\\u200ba]+$"}));
        check(json!({"patternProperties": {"\u{e0041}": {}}}), json!({"patternProperties": {"\\udb40\\udc41": {}}}));
    }

    fn any_schema() -> impl Strategy<Value = Value> {
        let text = "[a-z\u{200b}\u{202e}\u{ad}\u{7}\n ]{0,6}";
        let leaf = prop_oneof![Just(json!(null)), Just(json!(7)), text.prop_map(Value::from)];
        leaf.prop_recursive(4, 30, 4, move |inner| {
            let key = "description|items|x-any|a\u{200b}b|[a-z]{1,3}";
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left_where_no_data_is(schema in any_schema()) {
            let once = shown(schema.clone());
            prop_assert!(!holds_hidden(&once), "{once}");
            prop_assert_eq!(shown(once.clone()), once.clone());
            if !holds_hidden(&schema) {
                prop_assert_eq!(once, schema);
            }
        }
    }
}
