//! Can an agent find this tool, and use it rightly?
//!
//! [`lint`] holds the definitions of some tools against [`Rule`]s, and searches for each tool in its own words
//! ([`paraphrase`]), the tool's name left out, over the catalog it stands in: which place does it get, and who stands before it?
//! [`falls`] asks the same words of the catalog before and after a crawl, and tells which tools are found worse by them.
//!
//! For authors of servers and for operators. Never changes a card, a rank or a score, and is on nobody's way to an answer.
//! No I/O and no clock: definitions and vectors are asked of whoever calls. Start at [`lint`], then [`Rule`], then [`falls`].
//!
//! ```
//! use toolscout_lint::Rule;
//! assert_eq!("missing-description".parse(), Ok(Rule::MissingDescription));
//! assert_eq!(Rule::MissingDescription.severity().as_str(), "error");
//! ```

mod falls;
mod paraphrase;
mod place;
mod report;
mod rules;
mod texts;

use std::collections::BTreeMap;

use serde_json::Value;
use toolscout_core::{ToolCard, ToolId, UpstreamId};
use toolscout_embed::QueryVectors;
use toolscout_index::Snapshot;

pub use falls::{Fall, falls};
pub use paraphrase::{Paraphrase, ParaphraseKind, paraphrases};
pub use report::{Deny, Finding, Report, ToolReport};
pub use rules::{Rule, Severity};

use place::asked;

/// What is at hand.
#[derive(Clone, Copy)]
pub struct Bench<'a> {
    /// The catalog, indexed.
    pub snapshot: &'a Snapshot,
    /// A tool's definition, whole, as its server sent it.
    pub raw: &'a dyn Fn(&ToolId) -> Option<Value>,
    /// A query's vectors; `None`: words alone are searched.
    pub vectors: &'a dyn Fn(&str) -> Option<QueryVectors>,
    /// Told how many tools have been searched for, of how many.
    pub progress: &'a dyn Fn(usize, usize),
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintOptions {
    /// Only tools of these upstreams; none is all. Everything else in the catalog stays in the way.
    pub upstreams: Vec<UpstreamId>,
    /// Tools that are searched for, at most. Of more, this many evenly spread over the ids; all are held against the other
    /// rules.
    pub max_searched: usize,
}

impl Default for LintOptions {
    fn default() -> Self {
        Self { upstreams: Vec::new(), max_searched: 500 }
    }
}

/// A place from which on a tool counts as hard to find: an answer has five tools.
pub const FOUND_WITHIN: usize = 5;

/// Lints.
pub fn lint(bench: &Bench<'_>, options: &LintOptions) -> Report {
    let view = bench.snapshot.view();
    let is_asked_for = |card: &&std::sync::Arc<ToolCard>| {
        options.upstreams.is_empty() || options.upstreams.contains(&card.id.upstream)
    };
    // Of a tool of which nothing was approved yet the catalog shows the bare name: nobody wrote what rules would find there.
    let is_there = |card: &&std::sync::Arc<ToolCard>| {
        view.unapproved(&card.id).is_none_or(toolscout_catalog::Unapproved::has_approved)
    };
    let cards: Vec<&ToolCard> = view.tools.iter().filter(is_asked_for).filter(is_there).map(|card| &**card).collect();
    let mut findings = rules::twins(&cards);
    for card in &cards {
        let definition = (bench.raw)(&card.id).unwrap_or_default();
        let hostile = view.screen.of(&card.id);
        findings.extend(rules::of_definition(card, &definition, hostile));
    }
    // Evenly spread, so that no upstream is searched whole and another not at all.
    let n_searched = cards.len().min(options.max_searched);
    let searched: Vec<&ToolCard> = (0..n_searched).map(|n| cards[n * cards.len() / n_searched]).collect();
    let mut tools = Vec::with_capacity(n_searched);
    for (n, card) in searched.iter().enumerate() {
        (bench.progress)(n, n_searched);
        // What is withheld for its text or waits for an approval is found by nobody, whatever its words.
        if view.is_silenced(&card.id) {
            continue;
        }
        let places: Vec<_> = paraphrases(card)
            .into_iter()
            .map(|paraphrase| asked(bench.snapshot, bench.vectors, &paraphrase, &card.id))
            .collect();
        findings.extend(rules::of_places(card, &places));
        tools.push(ToolReport { id: card.id.clone(), places });
    }
    (bench.progress)(n_searched, n_searched);
    findings.sort_by(|a, b| (b.severity, &a.tool, a.rule, &a.at).cmp(&(a.severity, &b.tool, b.rule, &b.at)));
    let mut counts: BTreeMap<String, usize> =
        [Severity::Error, Severity::Warning, Severity::Note].map(|severity| (severity.as_str().to_owned(), 0)).into();
    for finding in &findings {
        *counts.entry(finding.severity.as_str().to_owned()).or_default() += 1;
    }
    Report {
        n_tools: cards.len(),
        n_searched: tools.len(),
        n_catalog: view.len(),
        index_state: bench.snapshot.state().as_str().to_owned(),
        counts,
        findings,
        tools,
    }
}
