//! What definitions and places are held against.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use toolscout_catalog::intent;
use toolscout_core::text::{preview, sanitize};
use toolscout_core::{SideEffect, ToolCard};
use toolscout_scan::Reported;

use crate::FOUND_WITHIN;
use crate::paraphrase::ParaphraseKind;
use crate::report::{Finding, Place};
use crate::texts::{content_words, is_same_word, normalised, words_of};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Agents will stumble.
    Warning,
    /// Agents cannot do right.
    Error,
}

impl Severity {
    /// The word in reports and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $rule:ident = $id:literal, $severity:ident, $fix:literal;)+) => {
        /// One rule. Its id in reports never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Rule {
            $($(#[doc = $doc])+ #[serde(rename = $id)] $rule,)+
        }

        impl Rule {
            /// Every rule there is.
            pub const ALL: &[Self] = &[$(Self::$rule),+];

            /// Its id.
            pub fn id(self) -> &'static str {
                match self { $(Self::$rule => $id),+ }
            }

            /// How much its findings matter, unless one says otherwise.
            pub fn severity(self) -> Severity {
                match self { $(Self::$rule => Severity::$severity),+ }
            }

            /// How to mend what it finds.
            pub fn fix(self) -> &'static str {
                match self { $(Self::$rule => $fix),+ }
            }
        }
    };
}

rules! {
    /// There is no description.
    MissingDescription = "missing-description", Error,
        "say in one sentence what the tool does and to what, then when to use it";
    /// The description says no more than the name.
    EmptyDescription = "empty-description", Warning,
        "say what the name cannot: to what, from where, with what result, and when to use it";
    /// Another tool of the server has the same description.
    TwinDescription = "twin-description", Error,
        "say in each what it does that the other does not";
    /// Another tool of the server is found before this one by this one's own purpose.
    SiblingAhead = "sibling-ahead", Warning,
        "name in both descriptions what tells them apart, and when to use which";
    /// Its own purpose does not find it among the first five.
    HardToFind = "hard-to-find", Warning,
        "put the words that people use for the task into the first sentence";
    /// A parameter that a call needs has no description.
    UndescribedParameter = "undescribed-parameter", Warning,
        "say what to put in, in which form, with an example";
    /// A description lists the values that a parameter takes, and the schema does not.
    MissingEnum = "missing-enum", Warning,
        "list the values as `enum`: models keep to it, and wrong ones are refused before the call";
    /// The schema does not say of which type a parameter is.
    UntypedParameter = "untyped-parameter", Note,
        "give the property a `type`";
    /// Annotations do not say whether a call changes anything.
    SideEffectUndeclared = "side-effect-undeclared", Warning,
        "set `readOnlyHint: true`, or `readOnlyHint: false` and `destructiveHint`";
    /// The annotations call it read-only and the name says that it destroys.
    SideEffectContradicted = "side-effect-contradicted", Error,
        "make name and annotations say the same";
    /// The description is longer than what is read of it.
    LongDescription = "long-description", Note,
        "keep what helps to choose the tool, and move the rest to the parameters or to the documentation";
    /// A text speaks to the model or hides something.
    HostileText = "hostile-text", Error,
        "take out what gives orders to the model or cannot be seen; say what the tool does";
}

impl std::str::FromStr for Rule {
    type Err = String;

    fn from_str(id: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().copied().find(|rule| rule.id() == id);
        found.ok_or_else(|| format!("there is no rule `{}`", preview(id)))
    }
}

/// Words without which a description says nothing.
const FEW_WORDS: usize = 4;
/// Characters of a description that models are spared from: clients cut from about here.
const LONG_DESCRIPTION: usize = 2_000;
/// Names in one message.
const MAX_NAMES: usize = 6;

fn finding(rule: Rule, card: &ToolCard, message: String) -> Finding {
    Finding { rule, severity: rule.severity(), tool: card.id.clone(), at: None, message, fix: rule.fix() }
}

/// What one definition alone gives away. `hostile`: what the scan found in it.
pub(crate) fn of_definition(card: &ToolCard, definition: &Value, hostile: Option<&Reported>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |rule, severity, message| found.push(Finding { severity, ..finding(rule, card, message) });
    // The card's may be a person's of ours; what counts is what the server says.
    let description = sanitize(definition.get("description").and_then(Value::as_str).unwrap_or_default(), 100_000);
    let said = content_words(&description);
    let adds = said.iter().any(|word| !card.words.iter().any(|known| is_same_word(known, word)));
    if words_of(&description).is_empty() {
        add(Rule::MissingDescription, Rule::MissingDescription.severity(), "has no description".to_owned());
    } else if said.len() < FEW_WORDS && !adds {
        add(
            Rule::EmptyDescription,
            Rule::EmptyDescription.severity(),
            format!("\"{}\" says no more than the name", preview(&description)),
        );
    }
    let length = description.chars().count();
    if length > LONG_DESCRIPTION {
        add(
            Rule::LongDescription,
            Rule::LongDescription.severity(),
            format!("has a description of {length} characters"),
        );
    }
    side_effect(card, definition, &mut add);
    let required = card.params.iter().filter(|param| param.required && param.description.is_empty());
    let silent: Vec<&str> = required.map(|param| param.name.as_str()).collect();
    if !silent.is_empty() {
        add(
            Rule::UndescribedParameter,
            Rule::UndescribedParameter.severity(),
            format!("needs {} and does not say what to put in", names(&silent)),
        );
    }
    let untyped: Vec<&str> =
        card.params.iter().filter(|param| param.kind == "any").map(|param| param.name.as_str()).collect();
    if !untyped.is_empty() {
        add(
            Rule::UntypedParameter,
            Rule::UntypedParameter.severity(),
            format!("does not say of which type {}", are(&untyped)),
        );
    }
    for param in card.params.iter().filter(|param| param.enum_values.is_empty() && param.kind.contains("string")) {
        // "One of `path` or `url` is needed" speaks of parameters, not of values.
        let is_of_params = |values: &String| card.params.iter().any(|other| quotes(values, &other.name));
        if let Some(values) = listed_values(&param.description).filter(|values| !is_of_params(values)) {
            let mut one = finding(
                Rule::MissingEnum,
                card,
                format!("the description of `{}` lists {values}, and its schema any string", param.name),
            );
            one.at = Some(format!("inputSchema.properties.{}", param.name));
            found.push(one);
        }
    }
    for hostile in hostile.into_iter().flat_map(|reported| &reported.findings) {
        let message = format!("{}: {}", hostile.why, hostile.excerpt);
        let mut one = finding(Rule::HostileText, card, message);
        one.severity = match hostile.severity.as_str() {
            "high" => Severity::Error,
            "medium" => Severity::Warning,
            _ => Severity::Note,
        };
        one.at = Some(hostile.at.clone());
        found.push(one);
    }
    found
}

fn side_effect(card: &ToolCard, definition: &Value, add: &mut dyn FnMut(Rule, Severity, String)) {
    let hint = |name: &str| definition.get("annotations").and_then(|hints| hints.get(name)).and_then(Value::as_bool);
    let (reads, destroys) = (hint("readOnlyHint"), hint("destructiveHint"));
    let named = intent(&card.words.join(" "));
    if reads == Some(true) && named == Some(SideEffect::Destructive) {
        add(
            Rule::SideEffectContradicted,
            Rule::SideEffectContradicted.severity(),
            "says `readOnlyHint: true`, and its name that it destroys".to_owned(),
        );
    } else if reads.is_none() && destroys.is_none() {
        let guess = card.side_effect.as_str();
        // Taken for harmless is at worst unkind to the tool; taken for less than it does would be the trouble.
        let severity = if card.side_effect == SideEffect::Read { Severity::Note } else { Severity::Warning };
        let message = format!("has neither `readOnlyHint` nor `destructiveHint`; taken for: {guess}");
        add(Rule::SideEffectUndeclared, severity, message);
    }
}

/// Tools of one server that describe themselves in the same words.
pub(crate) fn twins(cards: &[&ToolCard]) -> Vec<Finding> {
    let mut said: BTreeMap<(&str, String), Vec<&ToolCard>> = BTreeMap::new();
    for card in cards {
        let words = normalised(&card.description);
        if !words.is_empty() {
            said.entry((card.id.upstream.as_str(), words)).or_default().push(card);
        }
    }
    let mut found = Vec::new();
    for twins in said.values().filter(|twins| twins.len() > 1) {
        for card in twins {
            let others: Vec<&str> =
                twins.iter().filter(|twin| twin.id != card.id).map(|twin| twin.id.name.as_str()).collect();
            found.push(finding(Rule::TwinDescription, card, format!("describes itself like {}", names(&others))));
        }
    }
    found
}

/// What the places of a tool for its own words give away.
pub(crate) fn of_places(card: &ToolCard, places: &[Place]) -> Vec<Finding> {
    let of = |kind| places.iter().find(|place: &&Place| place.kind == kind);
    // Who has nothing to say but the name is asked for by the name.
    let Some(place) = of(ParaphraseKind::Purpose).or_else(|| of(ParaphraseKind::Name)) else { return Vec::new() };
    let mut found = Vec::new();
    let rank = place.rank.map_or("not at all".to_owned(), |rank| format!("at place {rank}"));
    let is_hard = place.rank.is_none_or(|rank| rank > FOUND_WITHIN);
    if is_hard {
        let ahead: Vec<String> = place.ahead.iter().map(ToString::to_string).collect();
        let ahead: Vec<&str> = ahead.iter().map(String::as_str).collect();
        let behind = if ahead.is_empty() { String::new() } else { format!(", behind {}", names(&ahead)) };
        found.push(finding(Rule::HardToFind, card, format!("\"{}\" finds it {rank}{behind}", preview(&place.query))));
    }
    let sibling = place.ahead.iter().find(|id| id.upstream == card.id.upstream);
    if let Some(sibling) = sibling {
        let message =
            format!("\"{}\" finds its sibling `{}` first, and it {rank}", preview(&place.query), sibling.name);
        found.push(finding(Rule::SiblingAhead, card, message));
    }
    found
}

/// The values that a description lists as the only ones, if it does. Examples are none.
fn listed_values(description: &str) -> Option<String> {
    static QUOTED: LazyLock<Regex> = LazyLock::new(|| {
        let one = r#"[`'"][\w .:/-]{1,24}[`'"]"#;
        let lead =
            r"\b(?:one of|either|allowed values?|valid values?|possible values?|valid options?|must be|accepts)\b";
        let pattern =
            format!(r"(?i){lead}[:\s]*(?:are|is)?[:\s]*[\[({{]?({one}(?:\s*(?:,|\||/|or|and)\s*(?:or\s+)?{one})+)");
        Regex::new(&pattern).expect("a test matches with it")
    });
    static BARE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?i)(?:^|\(|:\s)([a-z_]{2,20}(?:\s*\|\s*[a-z_]{2,20})+)(?:\)|\.|$)")
            .expect("a test matches with it")
    });
    let found = QUOTED.captures(description).or_else(|| BARE.captures(description))?;
    let (list, whole) = (found.get(1)?, found.get(0)?);
    let before = description[..whole.start()].to_lowercase();
    let is_example = ["e.g.", "example", "such as", "like"]
        .iter()
        .any(|word| before.ends_with(word) || before.ends_with(&format!("{word} ")));
    (!is_example).then(|| preview(list.as_str()))
}

/// Whether a list of values has this word among them.
fn quotes(values: &str, word: &str) -> bool {
    values.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))).any(|value| value == word)
}

fn names(all: &[&str]) -> String {
    let shown: Vec<String> = all.iter().take(MAX_NAMES).map(|name| format!("`{}`", preview(name))).collect();
    let more = all.len().saturating_sub(MAX_NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

fn are(all: &[&str]) -> String {
    format!("{} {}", names(all), if all.len() == 1 { "is" } else { "are" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_parse_back() {
        for rule in Rule::ALL {
            assert_eq!(rule.id().parse(), Ok(*rule));
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.id());
            assert!(!rule.fix().is_empty());
        }
        assert!("missing".parse::<Rule>().is_err());
    }

    #[track_caller]
    fn check(description: &str, expect: Option<&str>) {
        assert_eq!(listed_values(description).as_deref(), expect, "{description:?}");
    }

    #[test]
    fn values_that_a_description_lists_are_seen() {
        check("Sort order, one of 'asc', 'desc'", Some("'asc', 'desc'"));
        check("Must be \"open\" or \"closed\".", Some("\"open\" or \"closed\""));
        check("Allowed values: `a`, `b`, or `c`", Some("`a`, `b`, or `c`"));
        check("Direction (asc|desc)", Some("asc|desc"));
        check("The name, such as 'x' or 'y'", None);
        check("A path like (src|lib)", None);
        check("Must be a valid path", None);
        check("one of the repositories", None);
    }
}
