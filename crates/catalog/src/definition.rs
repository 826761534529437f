//! Two definitions of one tool side by side: what differs, word by word for text and by path for schemas.
//!
//! Only what [`definition_hash`](crate::card::definition_hash) counts is compared. Everything is bounded, and characters that
//! show nothing of themselves are spelt out: an operator must see what a model would read.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use similar::{Algorithm, ChangeTag, capture_diff_slices};
use toolscout_core::text::is_hidden;

use crate::card::COUNTED;

/// Differences told of one pair of definitions; the others are counted.
const MAX_EDITS: usize = 100;
/// Longest text or value that is told, in characters. What is longer is cut, with `…`.
const MAX_SHOWN: usize = 4_000;
/// Words of one text that are compared word by word. Comparing takes words × differing words.
const MAX_WORDS: usize = 1_500;
/// Texts of fewer words are told whole: a diff of them reads worse.
const FEW_WORDS: usize = 3;
/// Nested values that are followed. serde_json reads no deeper.
const MAX_DEPTH: usize = 128;

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    /// Where, as a JSON Pointer into the definition.
    pub path: String,
    /// What.
    #[serde(flatten)]
    pub what: Change,
}

/// What differs at one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "edit", rename_all = "snake_case")]
pub enum Change {
    /// A text, word by word.
    Words {
        /// Its pieces in order.
        words: Vec<Piece>,
    },
    /// Only the later definition has it.
    Added {
        /// What.
        value: Value,
    },
    /// Only the earlier definition has it.
    Removed {
        /// What.
        value: Value,
    },
    /// Another value.
    Replaced {
        /// The earlier.
        before: Value,
        /// The later.
        after: Value,
    },
}

/// Some words in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Which of the two texts has them.
    pub of: Of,
    /// The words with the spaces between them.
    pub text: String,
}

/// Which text has a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Both.
    Both,
    /// The earlier one.
    Before,
    /// The later one.
    After,
}

/// All differences of two definitions, bounded.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Edits {
    /// The first of them, in the order of the definition's parts.
    pub edits: Vec<Edit>,
    /// How many there are besides.
    pub n_more: usize,
}

/// Tells what differs. Without an earlier definition everything is new.
pub fn edits(before: Option<&Value>, after: &Value) -> Edits {
    let mut found = Edits::default();
    differences(before.unwrap_or(&Value::Null), after, &mut |path, before, after| {
        if found.edits.len() >= MAX_EDITS {
            found.n_more += 1;
            return;
        }
        let what = match (before, after) {
            (Some(Value::String(before)), Some(Value::String(after))) => words(before, after),
            (Some(before), Some(after)) => Change::Replaced { before: shown(before), after: shown(after) },
            (None, Some(after)) => Change::Added { value: shown(after) },
            (Some(before), None) => Change::Removed { value: shown(before) },
            (None, None) => return,
        };
        found.edits.push(Edit { path: pointer(path), what });
    });
    found
}

/// Called with a place and what the two sides have there.
type Told<'a, 'v> = dyn FnMut(&[&str], Option<&'v Value>, Option<&'v Value>) + 'a;

/// Walks two definitions at once and tells each place at which they differ.
pub(crate) fn differences<'v>(before: &'v Value, after: &'v Value, told: &mut Told<'_, 'v>) {
    for key in COUNTED {
        let of = |definition: &'v Value| definition.get(key).filter(|value| !value.is_null());
        compare(&mut vec![key], of(before), of(after), told);
    }
}

fn compare<'v>(path: &mut Vec<&'v str>, before: Option<&'v Value>, after: Option<&'v Value>, told: &mut Told<'_, 'v>) {
    if before == after {
        return;
    }
    let (Some(Value::Object(old)), Some(Value::Object(new))) = (before, after) else {
        return told(path, before, after);
    };
    if path.len() > MAX_DEPTH {
        return told(path, before, after);
    }
    let only_new = new.keys().filter(|key| !old.contains_key(*key));
    for key in old.keys().chain(only_new) {
        path.push(key);
        compare(path, old.get(key), new.get(key), told);
        path.pop();
    }
}

/// A path as a JSON Pointer (RFC 6901), bounded.
pub(crate) fn pointer(path: &[&str]) -> String {
    let whole: String = path.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect();
    visible(&whole, 300).replace('\n', "\\n")
}

/// The words of a text that only one side has: those of the earlier, those of the later. `None` where the texts are too long to
/// compare.
pub(crate) fn changed_words<'t>(before: &'t str, after: &'t str) -> Option<(Vec<&'t str>, Vec<&'t str>)> {
    let (old, new) = (split(before)?, split(after)?);
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    for (tag, words) in diff(&old, &new) {
        match tag {
            ChangeTag::Delete => gone.extend_from_slice(words),
            ChangeTag::Insert => come.extend_from_slice(words),
            ChangeTag::Equal => {}
        }
    }
    Some((gone, come))
}

/// Runs of words that both have, or one alone, in order.
fn diff<'w, 't>(old: &'w [&'t str], new: &'w [&'t str]) -> Vec<(ChangeTag, &'w [&'t str])> {
    let runs = capture_diff_slices(Algorithm::Myers, old, new);
    runs.iter().flat_map(|run| run.iter_slices(old, new)).collect()
}

fn split(text: &str) -> Option<Vec<&str>> {
    let words: Vec<&str> = text.split_whitespace().take(MAX_WORDS + 1).collect();
    (words.len() <= MAX_WORDS).then_some(words)
}

fn words(before: &str, after: &str) -> Change {
    let whole =
        || Change::Replaced { before: visible(before, MAX_SHOWN).into(), after: visible(after, MAX_SHOWN).into() };
    let (Some(old), Some(new)) = (split(before), split(after)) else { return whole() };
    // Texts that differ in their spaces alone have nothing to show word by word.
    if old.len().max(new.len()) <= FEW_WORDS || old == new {
        return whole();
    }
    let pieces = diff(&old, &new).into_iter().map(|(tag, words)| {
        let of = match tag {
            ChangeTag::Delete => Of::Before,
            ChangeTag::Insert => Of::After,
            ChangeTag::Equal => Of::Both,
        };
        Piece { of, text: visible(&words.join(" "), MAX_SHOWN) }
    });
    Change::Words { words: pieces.collect() }
}

/// A value as it may be shown: texts cleaned, and the whole of it cut to its text where it is long.
fn shown(value: &Value) -> Value {
    let clean = clean(value);
    let text = clean.to_string();
    if text.len() <= MAX_SHOWN { clean } else { visible(&text, MAX_SHOWN).into() }
}

fn clean(value: &Value) -> Value {
    match value {
        Value::String(text) => visible(text, MAX_SHOWN).into(),
        Value::Array(items) => items.iter().map(clean).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (visible(key, MAX_SHOWN), clean(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// A text in which what would be invisible, or would steer a terminal, is spelt out: `<U+200B>`.
fn visible(text: &str, max_chars: usize) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n >= max_chars {
            out.push('…');
            break;
        }
        if is_hidden(c) {
            out.push_str(&format!("<U+{:04X}>", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    //! 1. Text is told word by word, everything else by path, and nothing that is the same.
    //! 2. What does not show is spelt out.
    //! 3. However large two definitions are, what is told of them is bounded.

    use expect_test::{Expect, expect};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(before: Value, after: Value, expected: &Expect) {
        let Edits { edits, n_more } = edits(Some(&before), &after);
        assert_eq!(n_more, 0);
        let lines = edits.iter().map(|edit| serde_json::to_string(edit).unwrap());
        expected.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn text_word_by_word_and_schemas_by_path() {
        check(
            json!({"name": "x", "description": "Reads one file from the disk.", "_meta": {"a": 1}}),
            json!({"name": "x", "description": "Reads one file and mails it from the disk.", "_meta": {"a": 2}}),
            &expect![[
                r#"{"path":"/description","edit":"words","words":[{"of":"both","text":"Reads one file"},{"of":"after","text":"and mails it"},{"of":"both","text":"from the disk."}]}"#
            ]],
        );
        check(
            json!({"name": "x", "inputSchema": {"type": "object", "properties": {"a/b": {"type": "string"}}, "required": []}}),
            json!({"name": "x", "inputSchema": {"properties": {"a/b": {"type": "integer"}, "c": {}}, "type": "object", "required": ["c"]}}),
            &expect![[r#"
                {"path":"/inputSchema/properties/a~1b/type","edit":"replaced","before":"string","after":"integer"}
                {"path":"/inputSchema/properties/c","edit":"added","value":{}}
                {"path":"/inputSchema/required","edit":"replaced","before":[],"after":["c"]}"#]],
        );
        check(json!({"name": "x", "title": null}), json!({"name": "x"}), &expect![""]);
    }

    #[test]
    fn what_does_not_show_is_spelt_out() {
        check(
            json!({"name": "x", "description": "Reads one file of yours."}),
            json!({"name": "x", "description": "Reads\u{200b} one file of yours.\u{1b}[8m"}),
            &expect![[
                r#"{"path":"/description","edit":"words","words":[{"of":"before","text":"Reads"},{"of":"after","text":"Reads<U+200B>"},{"of":"both","text":"one file of"},{"of":"before","text":"yours."},{"of":"after","text":"yours.<U+001B>[8m"}]}"#
            ]],
        );
        check(
            json!({"name": "x", "description": "a"}),
            json!({"name": "x", "description": "a\u{E0041}"}),
            &expect![[r#"{"path":"/description","edit":"replaced","before":"a","after":"a<U+E0041>"}"#]],
        );
    }

    #[test]
    fn large_definitions_are_told_in_bounds() {
        let many: serde_json::Map<String, Value> =
            (0..5_000).map(|n| (format!("p{n}"), json!({"a": "x".repeat(50)}))).collect();
        let after = json!({"name": "x", "description": "word ".repeat(100_000), "inputSchema": {"properties": many}});
        let before = json!({"name": "x", "description": "other ".repeat(100_000), "inputSchema": {"properties": {}}});
        let told = edits(Some(&before), &after);
        assert_eq!((told.edits.len(), told.n_more), (MAX_EDITS, 5_001 - MAX_EDITS));
        assert!(serde_json::to_string(&told).unwrap().len() < 50_000);
        let whole = serde_json::to_string(&edits(None, &after)).unwrap();
        assert!(whole.len() < 20_000, "{}", whole.len());
    }

    proptest! {
        #[test]
        fn the_pieces_of_a_text_are_the_words_of_both(old in "[a-c ]{0,40}", new in "[a-c ]{0,40}") {
            let texts = |text: &str| json!({"name": "x", "description": text});
            for edit in edits(Some(&texts(&old)), &texts(&new)).edits {
                let Change::Words { words } = edit.what else { continue };
                let side = |mine| {
                    let pieces = words.iter().filter(|piece| piece.of == Of::Both || piece.of == mine);
                    pieces.map(|piece| piece.text.as_str()).collect::<Vec<_>>().join(" ")
                };
                prop_assert_eq!(side(Of::Before), old.split_whitespace().collect::<Vec<_>>().join(" "));
                prop_assert_eq!(side(Of::After), new.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
    }
}
