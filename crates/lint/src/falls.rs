//! Which tools are found worse than before.

use std::sync::Arc;

use serde::Serialize;
use toolscout_core::{ToolCard, ToolId};
use toolscout_embed::QueryVectors;
use toolscout_index::Snapshot;

use crate::FOUND_WITHIN;
use crate::paraphrase::{Paraphrase, ParaphraseKind, purpose};
use crate::place::asked;

/// A tool that its own words found, and find less well now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fall {
    /// Which.
    pub tool: ToolId,
    /// The words: what the tool said that it is for before.
    pub query: String,
    /// The place it had.
    pub before: usize,
    /// The place it has; absent: it is not among the candidates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<usize>,
    /// Who stands before it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<ToolId>,
    /// Whether its own definition changed; otherwise others came or changed.
    pub by_itself: bool,
}

impl Fall {
    /// One line for people.
    pub fn told(&self) -> String {
        let after = self.after.map_or("no place".to_owned(), |rank| format!("place {rank}"));
        let behind = self.behind.as_ref().map(|id| format!(", behind {id}")).unwrap_or_default();
        let why = if self.by_itself { "its definition changed" } else { "other tools came or changed" };
        format!("{} fell from place {} to {after}{behind} for \"{}\": {why}", self.tool, self.before, self.query)
    }
}

/// Compares two states of one catalog. Looked at are tools that are in both and whose card differs, then the unchanged ones of
/// upstreams where any tool differs, at most `max` in all. Each is asked for by what it said it is for *before*, in both:
/// new words that only find their own tool are no comfort to whoever asks as yesterday.
///
/// A tool fell when it was among the first five and stands further back now. One that is withheld for what it says of itself is no
/// worse to find, it is not to be found, and whoever crawls is told that already. Two states that rest on different things, words
/// here and vectors there, are not compared.
pub fn falls(
    before: &Snapshot,
    after: &Snapshot,
    vectors: &dyn Fn(&str) -> Option<QueryVectors>,
    max: usize,
) -> Vec<Fall> {
    let is_comparable = before.state() == after.state() && !Arc::ptr_eq(before.view(), after.view());
    if !is_comparable {
        return Vec::new();
    }
    let (old, new) = (before.view(), after.view());
    let differs = |card: &ToolCard| new.get(&card.id).is_some_and(|now| **now != *card);
    let touched = |card: &ToolCard| {
        let upstream = &card.id.upstream;
        let (old, new) = (old.tools_of(upstream), new.tools_of(upstream));
        old.len() != new.len() || old.iter().zip(new).any(|(old, new)| !Arc::ptr_eq(old, new) && old != new)
    };
    let touched_upstreams: Vec<_> =
        old.upstreams.keys().filter(|id| old.tools_of(id).first().is_some_and(|card| touched(card))).collect();
    let of_touched =
        || touched_upstreams.iter().flat_map(|id| old.tools_of(id)).filter(|card| new.get(&card.id).is_some());
    let changed = of_touched().filter(|card| differs(card));
    let siblings = of_touched().filter(|card| !differs(card));
    let mut falls = Vec::new();
    let is_shown = |card: &&Arc<ToolCard>| !new.is_silenced(&card.id);
    for card in changed.chain(siblings).filter(is_shown).take(max) {
        let (kind, query) = match purpose(card) {
            Some(query) => (ParaphraseKind::Purpose, query),
            None => (ParaphraseKind::Name, card.words.join(" ")),
        };
        let paraphrase = Paraphrase { kind, query };
        let then = asked(before, vectors, &paraphrase, &card.id);
        let Some(rank) = then.rank.filter(|rank| *rank <= FOUND_WITHIN) else { continue };
        let now = asked(after, vectors, &paraphrase, &card.id);
        if now.rank.is_none_or(|now| now > rank) {
            falls.push(Fall {
                tool: card.id.clone(),
                query: paraphrase.query,
                before: rank,
                after: now.rank,
                behind: now.ahead.first().cloned(),
                by_itself: differs(card),
            });
        }
    }
    falls.sort_by(|a, b| a.tool.cmp(&b.tool));
    falls
}
