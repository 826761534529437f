//! Which place a tool gets for a query.

use toolscout_core::{Caller, ToolId};
use toolscout_embed::QueryVectors;
use toolscout_index::Snapshot;
use toolscout_policy::Policy;
use toolscout_quality::QualityView;
use toolscout_selector::{Abstain, Fate, Query, SelectorOptions, select_with};

use crate::paraphrase::Paraphrase;
use crate::report::Place;

/// Asks for a tool in some words, as `search_tools` would: everybody may see everything, no tool is out of order, and the answer
/// never is that nothing fits.
pub(crate) fn asked(
    snapshot: &Snapshot,
    vectors: &dyn Fn(&str) -> Option<QueryVectors>,
    paraphrase: &Paraphrase,
    id: &ToolId,
) -> Place {
    let vectors = vectors(&paraphrase.query);
    let query = Query {
        text: paraphrase.query.clone(),
        vector: vectors.as_ref().map(|vectors| vectors.pooled.clone()),
        tokens: vectors.map(|vectors| vectors.tokens),
        ..Query::default()
    };
    let options = SelectorOptions { abstain: Abstain { below: 0.0 }, ..SelectorOptions::default() };
    let (policy, caller) = (Policy::default(), Caller::local("lint"));
    let selection = select_with(snapshot, &QualityView::default(), &policy, &caller, &query, &options);
    let candidates = &selection.evidence.candidates;
    let own = candidates.iter().find(|candidate| candidate.id == *id);
    // The same tool on another upstream stands for this one: whoever gets it is well served.
    let stands = match own.map(|own| &own.fate) {
        Some(Fate::SameAs { id }) => id,
        _ => id,
    };
    let mut before = candidates.iter().filter(|one| !matches!(one.fate, Fate::SameAs { .. }));
    let ahead: Vec<&ToolId> = before.by_ref().take_while(|one| one.id != *stands).map(|one| &one.id).collect();
    let rank = own.map(|_| ahead.len() + 1);
    Place {
        kind: paraphrase.kind,
        query: paraphrase.query.clone(),
        rank,
        n_candidates: candidates.len(),
        ahead: ahead.into_iter().take(MAX_AHEAD).cloned().collect(),
    }
}

/// Tools named that stand before.
const MAX_AHEAD: usize = 5;
