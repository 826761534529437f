//! A tool in words that somebody who needs it might use, made from its own without a language model.

use serde::{Deserialize, Serialize};
use toolscout_core::ToolCard;

use crate::texts::{content_words, is_same_word};

/// How a paraphrase was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParaphraseKind {
    /// The first sentence of the description, without the words that the name has too. Only where three words that tell
    /// something are left.
    Purpose,
    /// The words of the name alone.
    Name,
    /// The server's title, where it says more or other than the name.
    Title,
    /// What the description says about when to use the tool.
    When,
    /// The name's first word and the names of the parameters that a call needs: the first four.
    Inputs,
}

impl ParaphraseKind {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Purpose => "purpose",
            Self::Name => "name",
            Self::Title => "title",
            Self::When => "when",
            Self::Inputs => "inputs",
        }
    }
}

/// A query that should find the tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paraphrase {
    /// How it was made.
    pub kind: ParaphraseKind,
    /// What is asked.
    pub query: String,
}

/// Words of a purpose without the name's that are needed to say anything.
const ENOUGH: usize = 3;
/// Characters of a query.
const MAX_QUERY: usize = 300;
const MAX_INPUTS: usize = 4;

/// The paraphrases of a tool, one per kind at most, each different from the ones before.
pub fn paraphrases(card: &ToolCard) -> Vec<Paraphrase> {
    let mut made: Vec<Paraphrase> = Vec::new();
    let mut add = |kind, query: String| {
        let query: String = query.chars().take(MAX_QUERY).collect();
        let is_new = made.iter().all(|known: &Paraphrase| !known.query.eq_ignore_ascii_case(&query));
        if !query.trim().is_empty() && is_new {
            made.push(Paraphrase { kind, query });
        }
    };
    if let Some(purpose) = purpose(card) {
        add(ParaphraseKind::Purpose, purpose);
    }
    add(ParaphraseKind::Name, card.words.join(" "));
    if !card.title.eq_ignore_ascii_case(&card.words.join(" ")) {
        add(ParaphraseKind::Title, card.title.clone());
    }
    if let Some(when) = &card.when_to_use {
        add(ParaphraseKind::When, when.clone());
    }
    let required = card.params.iter().filter(|param| param.required).take(MAX_INPUTS);
    let inputs: Vec<String> =
        required.map(|param| toolscout_core::words::split_identifier(&param.name).join(" ")).collect();
    if let (Some(verb), false) = (card.words.first(), inputs.is_empty()) {
        add(ParaphraseKind::Inputs, format!("{verb} {}", inputs.join(" ")));
    }
    made
}

/// What the tool says it is for, without the words that its name gives away.
pub(crate) fn purpose(card: &ToolCard) -> Option<String> {
    // Without a description the purpose is the title.
    if card.description.is_empty() {
        return None;
    }
    let is_told = |word: &str| card.words.iter().any(|known| is_same_word(known, word));
    let kept: Vec<&str> = card
        .purpose
        .split_whitespace()
        .filter(|word| !is_told(word.trim_matches(|c: char| !c.is_alphanumeric())))
        .collect();
    let query = kept.join(" ");
    (content_words(&query).len() >= ENOUGH).then_some(query)
}
