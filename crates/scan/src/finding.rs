//! What is found.

use serde::{Deserialize, Serialize};

/// What a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Characters that show nothing and may carry a text or turn one around: tags, bidirectional controls, zero-width ones,
    /// runs of variation selectors, private use.
    HiddenUnicode,
    /// Control sequences of terminals.
    TerminalEscape,
    /// A text that speaks to the model over the head of whoever uses it.
    Instructions,
    /// Asks for credentials, keys, or what the model was told.
    SecretRequest,
    /// Speaks of tools that are not its server's, or wants to come before all others.
    CrossTool,
    /// A parameter that wants more of the conversation than the task needs.
    Smuggling,
    /// A long encoded blob, which nobody can read and some models can.
    EncodedBlob,
    /// Letters of another script that look like Latin ones, in one word with them.
    Homoglyph,
    /// White space that pushes text out of sight.
    Padding,
    /// More text or structure than is looked at, or than any real tool has.
    Oversized,
}

impl Kind {
    /// The word in JSON and settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HiddenUnicode => "hidden_unicode",
            Self::TerminalEscape => "terminal_escape",
            Self::Instructions => "instructions",
            Self::SecretRequest => "secret_request",
            Self::CrossTool => "cross_tool",
            Self::Smuggling => "smuggling",
            Self::EncodedBlob => "encoded_blob",
            Self::Homoglyph => "homoglyph",
            Self::Padding => "padding",
            Self::Oversized => "oversized",
        }
    }

    /// In words, for people and models.
    pub fn words(self) -> &'static str {
        match self {
            Self::HiddenUnicode => "hidden characters",
            Self::TerminalEscape => "terminal control sequences",
            Self::Instructions => "instructions to the model",
            Self::SecretRequest => "a request for secrets",
            Self::CrossTool => "a claim about other tools",
            Self::Smuggling => "a parameter that wants the conversation",
            Self::EncodedBlob => "an encoded text",
            Self::Homoglyph => "letters of mixed scripts",
            Self::Padding => "text pushed out of sight",
            Self::Oversized => "more text than is read",
        }
    }

    /// Whether the kind alone is a hint and another beside it makes a case: see [`crate::scan`].
    pub(crate) fn adds_up(self) -> bool {
        !matches!(self, Self::Oversized | Self::Homoglyph)
    }
}

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Unusual; honest servers do it too.
    Low,
    /// Steers the model or hides something; some honest servers do it.
    Medium,
    /// What attacks look like; hardly any honest server does it.
    High,
}

impl Severity {
    /// The word in JSON and settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// How grave.
    pub severity: Severity,
    /// Where in the definition, `inputSchema.properties.note.description`: clean and bounded, but holds the server's own names.
    pub at: String,
    /// The text around it, bounded, with hidden characters spelt out. A stranger's words: for people who judge, never for models.
    pub excerpt: String,
    /// What is wrong with it, in our words.
    pub why: String,
}

impl Finding {
    /// One clause in our own words alone, fit for models: no name and no word of the server's.
    pub fn told(&self) -> String {
        let place = match self.at.split(['.', '[']).next().unwrap_or_default() {
            "name" => "its name",
            "title" => "its title",
            "description" => "its description",
            "inputSchema" => "its input schema",
            "outputSchema" => "its output schema",
            "annotations" => "its annotations",
            _ => "its definition",
        };
        format!("{} in {place} ({}, {})", self.kind.words(), self.kind.as_str(), self.severity.as_str())
    }
}

/// A tool-like name that a text speaks of, to be compared with the names of other servers' tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The name, in lower case.
    pub name: String,
    /// Whether the text says what shall happen when that tool is used.
    pub is_shadowing: bool,
    /// Where.
    pub at: String,
    /// The text around it, as in [`Finding::excerpt`].
    pub excerpt: String,
}

/// All of one definition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// What was found, gravest first, then by place. At most 16.
    pub findings: Vec<Finding>,
    /// Names of tools in sentences that tell when to use them. At most 16.
    pub mentions: Vec<Mention>,
}

impl Scan {
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty() && self.mentions.is_empty()
    }
}
