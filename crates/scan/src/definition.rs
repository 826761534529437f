//! One definition, every text of it.

use std::ops::Range;

use serde_json::Value;
use toolscout_core::text::sanitize;

use crate::hidden::spots;
use crate::rules::COMPILED;
use crate::text::{excerpt, fold, unfold};
use crate::{Finding, Kind, Mention, Scan, Severity};

/// Values that are looked at in one definition. The largest of 35,676 real ones has some thousands.
const MAX_NODES: usize = 20_000;
/// How deep a schema is followed.
const MAX_DEPTH: usize = 48;
/// Bytes of text that are looked at.
const MAX_BYTES: usize = 1 << 20;
/// Longest text, in bytes, that no finding is made of.
const LONG_TEXT: usize = 24_000;
/// Findings and mentions that are kept of one definition.
const MAX_FINDINGS: usize = 16;
/// Findings that are collected before the gravest are chosen.
const MAX_COLLECTED: usize = 256;
const MAX_MENTIONS: usize = 16;
/// Characters of a place.
const MAX_AT: usize = 160;
/// Characters of one name in a place.
const MAX_KEY: usize = 60;

/// Looks through every text of a definition as its server sent it: name, title, description, both schemas with the names of
/// their properties, annotations, and keys that only the server knows.
///
/// Two hints of different kinds in one definition make a case: then findings of medium severity count as high ones.
pub fn scan(definition: &Value) -> Scan {
    let mut reader = Reader::default();
    reader.value(definition, Place { is_param: false, is_name: false });
    let Reader { mut findings, mut mentions, .. } = reader;
    // "Use ids instead of user_name" speaks of a parameter, whoever has a tool of that name.
    mentions.retain(|mention| !has_param(definition, &mention.name, 0));
    settle(&mut findings);
    Scan { findings, mentions }
}

/// One finding per kind and place, hints that make a case together raised, gravest first, at most 16.
pub(crate) fn settle(findings: &mut Vec<Finding>) {
    let order =
        |a: &Finding, b: &Finding| (b.severity, &a.at, a.kind, &a.why).cmp(&(a.severity, &b.at, b.kind, &b.why));
    findings.sort_by(order);
    let mut kept: Vec<Finding> = Vec::new();
    for finding in findings.drain(..) {
        let is_new = kept.iter().all(|known| (known.kind, &known.at) != (finding.kind, &finding.at));
        if is_new {
            kept.push(finding);
        }
    }
    let counts = |finding: &&Finding| finding.severity >= Severity::Medium && finding.kind.adds_up();
    let mut kinds: Vec<Kind> = kept.iter().filter(counts).map(|finding| finding.kind).collect();
    kinds.sort();
    kinds.dedup();
    if kinds.len() > 1 {
        for finding in kept.iter_mut().filter(|f| f.severity == Severity::Medium && f.kind.adds_up()) {
            let others: Vec<&str> = kinds.iter().filter(|kind| **kind != finding.kind).map(|k| k.words()).collect();
            finding.severity = Severity::High;
            finding.why.push_str(&format!("; beside {}", others.join(" and ")));
        }
    }
    kept.sort_by(order);
    kept.truncate(MAX_FINDINGS);
    *findings = kept;
}

/// What kind of text is read.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// It belongs to a parameter.
    is_param: bool,
    /// It is the name of something.
    is_name: bool,
}

/// One step into a definition.
enum Step<'a> {
    Key(&'a str),
    Item(usize),
}

#[derive(Default)]
struct Reader<'a> {
    findings: Vec<Finding>,
    mentions: Vec<Mention>,
    /// The way to where it reads. Spelt out only where something is found: most texts are clean.
    at: Vec<Step<'a>>,
    n_nodes: usize,
    n_bytes: usize,
    is_spent: bool,
}

impl<'a> Reader<'a> {
    fn value(&mut self, value: &'a Value, place: Place) {
        self.n_nodes += 1;
        let is_too_much = self.n_nodes > MAX_NODES || self.at.len() > MAX_DEPTH || self.n_bytes > MAX_BYTES;
        if is_too_much {
            if !self.is_spent {
                self.is_spent = true;
                let why = "more than is looked at: what comes after this was not scanned";
                self.note(Kind::Oversized, Severity::Medium, String::new(), why);
            }
            return;
        }
        match value {
            Value::String(text) => self.text(text, place),
            Value::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    if self.is_spent {
                        return;
                    }
                    self.at.push(Step::Item(n));
                    self.value(item, place);
                    self.at.pop();
                }
            }
            Value::Object(entries) => {
                let holds_params = matches!(self.at.last(), Some(Step::Key("properties")));
                let is_top = self.at.is_empty();
                for (key, entry) in entries {
                    if self.is_spent {
                        return;
                    }
                    self.at.push(Step::Key(key));
                    self.text(key, Place { is_name: true, is_param: false });
                    let is_param = place.is_param || holds_params;
                    self.value(entry, Place { is_param, is_name: is_top && key == "name" });
                    self.at.pop();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text(&mut self, text: &str, place: Place) {
        self.n_bytes += text.len();
        if is_plain(text) {
            return;
        }
        if text.len() > LONG_TEXT {
            let why = "a text longer than any that helps to use a tool";
            self.note(Kind::Oversized, Severity::Low, String::new(), why);
        }
        // Of an overlong text the part that still fits is looked at.
        let mut end = text.len().min(MAX_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = &text[..end];
        for spot in spots(text, place.is_name) {
            let length = text[spot.at..].chars().next().map_or(0, char::len_utf8);
            self.note(spot.kind, spot.severity, excerpt(text, &(spot.at..spot.at + length)), spot.why);
        }
        let folded = fold(text);
        for (rule, range) in COMPILED.matches(&folded, place.is_param) {
            self.note(rule.kind, rule.severity, around(text, &range), rule.why);
        }
        if place.is_name || self.mentions.len() >= MAX_MENTIONS {
            return;
        }
        for spoken in COMPILED.mentions(&folded, MAX_MENTIONS - self.mentions.len()) {
            let excerpt = around(text, &spoken.range);
            let (name, is_shadowing, at) = (spoken.name, spoken.is_shadowing, self.place());
            self.mentions.push(Mention { name, is_shadowing, at, excerpt });
        }
    }

    fn note(&mut self, kind: Kind, severity: Severity, excerpt: String, why: &str) {
        if self.findings.len() < MAX_COLLECTED {
            let at = self.place();
            self.findings.push(Finding { kind, severity, at, excerpt, why: why.to_owned() });
        }
    }

    /// Where it reads, the server's names cleaned. A long way keeps its beginning.
    fn place(&self) -> String {
        let mut place = String::new();
        for step in &self.at {
            if place.chars().count() >= MAX_AT {
                place.push('…');
                break;
            }
            match step {
                Step::Item(n) => place.push_str(&format!("[{n}]")),
                Step::Key(key) => {
                    if !place.is_empty() {
                        place.push('.');
                    }
                    place.push_str(&sanitize(key, MAX_KEY).replace(['\n', ' '], "_"));
                }
            }
        }
        place
    }
}

/// Whether any schema in it has a property of this name.
fn has_param(value: &Value, name: &str, depth: usize) -> bool {
    let below = |value: &Value| depth < MAX_DEPTH && has_param(value, name, depth + 1);
    match value {
        Value::Object(entries) => {
            let names = entries.get("properties").and_then(Value::as_object);
            names.is_some_and(|names| names.keys().any(|key| key.eq_ignore_ascii_case(name)))
                || entries.values().any(below)
        }
        Value::Array(items) => items.iter().any(below),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Whether a text is one short plain word, which can hold nothing: most keys and types are.
fn is_plain(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'$' | b'.' | b'/'))
}

/// The excerpt around a place in a text's folded form.
fn around(text: &str, folded: &Range<usize>) -> String {
    excerpt(text, &unfold(text, folded))
}
