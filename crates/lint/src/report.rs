//! What comes out.

use std::collections::BTreeMap;

use serde::Serialize;
use toolscout_core::ToolId;

use crate::paraphrase::ParaphraseKind;
use crate::rules::{Rule, Severity};

/// What hinders a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// By which rule.
    pub rule: Rule,
    /// How much it matters.
    pub severity: Severity,
    /// Which tool.
    pub tool: ToolId,
    /// Where in its definition, for findings about a part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What is the matter, with the evidence.
    pub message: String,
    /// How to mend it.
    pub fix: &'static str,
}

/// The place that a tool gets when it is asked for in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// How the words were made.
    pub kind: ParaphraseKind,
    /// The words.
    pub query: String,
    /// From 1; absent: it was not among the candidates at all.
    pub rank: Option<usize>,
    /// How many candidates there were.
    pub n_candidates: usize,
    /// The tools before it, best first, at most five.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ahead: Vec<ToolId>,
}

/// How well one tool is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToolReport {
    /// Which.
    pub id: ToolId,
    /// By which words, in the order of [`ParaphraseKind`].
    pub places: Vec<Place>,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Tools that were held against the rules.
    pub n_tools: usize,
    /// Of these, tools that were searched for.
    pub n_searched: usize,
    /// Tools of the catalog they were searched in.
    pub n_catalog: usize,
    /// What the search rested on: `hybrid`, `hybrid_partial` or `lexical`.
    pub index_state: String,
    /// Findings per severity.
    pub counts: BTreeMap<String, usize>,
    /// Gravest first, then by tool and rule.
    pub findings: Vec<Finding>,
    /// By id.
    pub tools: Vec<ToolReport>,
}

impl Report {
    /// Whether any finding is one of those that are not tolerated.
    pub fn is_denied(&self, deny: &[Deny]) -> bool {
        self.findings.iter().any(|finding| deny.iter().any(|deny| deny.covers(finding)))
    }

    /// Of the tools asked for by words of this kind, how many came first and how many among the first five.
    pub fn found(&self, kind: ParaphraseKind) -> (usize, usize, usize) {
        let places = self.tools.iter().flat_map(|tool| &tool.places).filter(|place| place.kind == kind);
        places.fold((0, 0, 0), |(first, five, all), place| {
            let within = |n| usize::from(place.rank.is_some_and(|rank| rank <= n));
            (first + within(1), five + within(crate::FOUND_WITHIN), all + 1)
        })
    }
}

/// What is not tolerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deny {
    /// Findings of this severity and graver ones.
    From(Severity),
    /// Findings of this rule.
    Rule(Rule),
}

impl Deny {
    fn covers(self, finding: &Finding) -> bool {
        match self {
            Self::From(severity) => finding.severity >= severity,
            Self::Rule(rule) => finding.rule == rule,
        }
    }
}

impl std::str::FromStr for Deny {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let severity = [Severity::Error, Severity::Warning, Severity::Note].into_iter().find(|s| s.as_str() == word);
        match severity {
            Some(severity) => Ok(Self::From(severity)),
            None => word.parse().map(Self::Rule),
        }
    }
}
