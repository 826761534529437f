//! A second opinion on the best few: others read them closely, here it becomes an order.
//!
//! Whoever has one (a cross-encoder, a language model) works outside: this crate stays pure. [`crate::select`] keeps a
//! shortlist ([`crate::Query::shortlist`]), somebody weighs it, and [`settle`] puts it in order and cuts it to the limit. A
//! second opinion changes the order of the shortlist and nothing else: not who is on it, not the confidence.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use toolscout_core::{Score, ToolId};

use crate::evidence::{Candidate, Fate, Part, SecondStage};
use crate::select::Selection;

/// The name of the part of a score that comes from here.
const PART: &str = "second_opinion";
/// By which share a tool stands before the next where the first stage gave both the same score.
const LEAD: f64 = 1e-6;

/// Puts the shortlist in the order of `scores`, one for each of the selection's tools, and cuts it to what was asked for.
/// Without scores, or with ones that do not fit, the first order stands.
///
/// The scores shown are those of the first stage, dealt out anew: the first place keeps the confidence. What a tool gains or
/// loses by that is its part `second_opinion`.
pub fn settle(selection: &mut Selection, stage: SecondStage, scores: Option<&[f64]>) {
    let fits = |scores: &&[f64]| scores.len() == selection.tools.len() && scores.iter().all(|score| score.is_finite());
    let scores = scores.filter(fits);
    debug_assert!(scores.is_some() != stage.skipped.is_some(), "either scores or a reason: {stage:?}");
    if let Some(scores) = scores {
        reorder(selection, scores);
    }
    cut(selection);
    selection.evidence.second = Some(stage);
}

fn reorder(selection: &mut Selection, scores: &[f64]) {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // Stable: tools that the second stage cannot tell apart stay as the first put them.
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    // Place by place, who stands there now and who stood there before.
    let mut moved: BTreeMap<ToolId, (f64, f64)> = BTreeMap::new();
    let mut before = f64::INFINITY;
    for (tool_idx, place) in order.iter().zip(&selection.tools) {
        let own = &selection.tools[*tool_idx];
        let score = place.score.value().min(before * (1.0 - LEAD));
        moved.insert(own.card.id.clone(), (own.score.value(), score));
        before = score;
    }
    for candidate in &mut selection.evidence.candidates {
        let (id, is_twin) = match &candidate.fate {
            Fate::SameAs { id } => (id, true),
            Fate::Selected | Fate::BelowLimit | Fate::OverBudget { .. } | Fate::NothingFits => (&candidate.id, false),
        };
        let Some((old, new)) = moved.get(id).copied() else { continue };
        // A twin goes where its representative goes, in proportion, so that it stays behind it.
        let gain = if is_twin && old > 0.0 { candidate.score.value() * (new / old - 1.0) } else { new - old };
        if !is_twin || old > 0.0 {
            add_part(candidate, gain);
        }
    }
    let of_candidate: BTreeMap<&ToolId, Score> =
        selection.evidence.candidates.iter().map(|candidate| (&candidate.id, candidate.score)).collect();
    for tool in &mut selection.tools {
        // With very many twins not every tool is written down.
        let dealt = || Score::new(moved.get(&tool.card.id).map_or(0.0, |(_, new)| *new));
        tool.score = of_candidate.get(&tool.card.id).copied().unwrap_or_else(dealt);
    }
    // Stable again: of two that have nothing, the first order decides.
    selection.tools.sort_by_key(|tool| Reverse(tool.score));
    selection.evidence.candidates.sort_by_key(|candidate| Reverse(candidate.score));
    for (candidate, rank) in selection.evidence.candidates.iter_mut().zip(1..) {
        candidate.rank = rank;
    }
}

fn add_part(candidate: &mut Candidate, gain: f64) {
    if gain != 0.0 {
        candidate.parts.push(Part { name: PART.into(), value: gain });
        candidate.score = Score::new(candidate.parts.iter().map(|part| part.value).sum());
    }
}

/// Leaves as many tools as were asked for.
fn cut(selection: &mut Selection) {
    let evidence = &mut selection.evidence;
    let dropped = selection.tools.split_off(evidence.limit.min(selection.tools.len()));
    for candidate in &mut evidence.candidates {
        let stands_for = match &candidate.fate {
            Fate::Selected => &candidate.id,
            Fate::SameAs { id } => id,
            Fate::BelowLimit | Fate::OverBudget { .. } | Fate::NothingFits => continue,
        };
        if dropped.iter().any(|tool| tool.card.id == *stands_for) {
            candidate.fate = Fate::BelowLimit;
        }
    }
}
