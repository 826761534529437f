//! What we know of a tool.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::{ContentHash, ToolId};

/// What calling a tool can do to the world, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SideEffect {
    /// It only looks.
    Read,
    /// It adds or changes something.
    Write,
    /// It may delete or overwrite something for good.
    Destructive,
}

impl SideEffect {
    /// The word used in answers and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destructive => "destructive",
        }
    }
}

/// How we came to believe a side effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SideEffectSource {
    /// The server says so in its annotations. Untrusted, but a statement.
    Annotated,
    /// Read off the verb and the schema: a guess.
    Guessed,
    /// A person wrote it in a card.
    Card,
}

/// One parameter of a tool, flattened for reading and indexing. The schema itself stays with the raw definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// The property's name.
    pub name: String,
    /// `string`, `integer`, `string[]`, `object`, `string|null`, …; `any` where the schema says nothing.
    pub kind: String,
    /// Whether the schema requires it.
    pub required: bool,
    /// What the schema says about it, cleaned and bounded; may be empty.
    pub description: String,
    /// The values it may take, if the schema lists them, bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enum_values: Vec<String>,
}

/// Our enriched record of one tool. All text in it is clean and bounded, but still a stranger's: data, never instructions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCard {
    /// Which tool.
    pub id: ToolId,
    /// Hash of name, description, schemas and annotations in canonical form.
    pub definition: ContentHash,
    /// The server's title, or its name's words.
    pub title: String,
    /// The words of the name.
    pub words: Vec<String>,
    /// The whole description, cleaned and bounded.
    pub description: String,
    /// Its first sentence: what the tool is for.
    pub purpose: String,
    /// When to use it, where the text says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_to_use: Option<String>,
    /// When not to use it, where the text says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_not: Option<String>,
    /// What a call can do.
    pub side_effect: SideEffect,
    /// How we know.
    pub side_effect_source: SideEffectSource,
    /// Parameters in the schema's order.
    pub params: Vec<Param>,
    /// Tags from the upstream's configuration, the server's annotations and cards, sorted.
    pub tags: Vec<String>,
    /// Ways people ask for it, from cards that people wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// The tool that this one can stand in for, from cards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_of: Option<ToolId>,
}

impl ToolCard {
    /// One compact line, `create_issue(owner*, repo*, labels[])`: `*` is required, `[]` is a list.
    pub fn signature(&self) -> String {
        let mut line = format!("{}(", self.id.name);
        for (i, param) in self.params.iter().enumerate() {
            let list = if param.kind.ends_with("[]") { "[]" } else { "" };
            let star = if param.required { "*" } else { "" };
            let comma = if i > 0 { ", " } else { "" };
            let _ = write!(line, "{comma}{}{list}{star}", param.name);
        }
        line.push(')');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_marks_required_and_lists() {
        let param = |name: &str, kind: &str, required| Param {
            name: name.into(),
            kind: kind.into(),
            required,
            description: String::new(),
            enum_values: Vec::new(),
        };
        let card = ToolCard {
            id: "github:create_issue".parse().unwrap(),
            definition: ContentHash::of(b""),
            title: "Create issue".into(),
            words: vec!["create".into(), "issue".into()],
            description: String::new(),
            purpose: String::new(),
            when_to_use: None,
            when_not: None,
            side_effect: SideEffect::Write,
            side_effect_source: SideEffectSource::Guessed,
            params: vec![param("owner", "string", true), param("labels", "string[]", false)],
            tags: Vec::new(),
            hints: Vec::new(),
            backup_of: None,
        };
        assert_eq!(card.signature(), "create_issue(owner*, labels[])");
    }
}
