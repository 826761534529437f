//! What is known of how tools work, in the order they come in: a bounded loss, and the right member for a family's place.
//!
//! Only ever a loss: a tool nobody called yet has none and stands like the best, and a good tool that does not fit gains
//! nothing. What it was matched by stays the measure: see [`weigh`].

use toolscout_core::ToolId;
use toolscout_index::{DocIdx, Snapshot};
use toolscout_quality::QualityView;

use crate::features::Group;
use crate::fuse::{Fused, order};

/// The place of the part among the others.
const PART: usize = Group::Quality as usize;
/// By which share the reliable member of a family stands before the other where both fit alike.
const LEAD: f64 = 1e-6;

/// Takes from each candidate up to `weight` of its score, as its quality lies below that of a tool of which nothing is known;
/// then puts the reliable member of a family in the place of one that fails. The first `n_kept` places count.
///
/// Reading, at 0.1: a tool of which every call fails keeps nine tenths of its score, so that only what fits nearly as well
/// passes it. With nothing known nothing is touched.
pub(crate) fn weigh(fused: &mut [Fused], snapshot: &Snapshot, quality: &QualityView, n_kept: usize, weight: f64) {
    if quality.is_blank() || weight <= 0.0 || fused.is_empty() {
        return;
    }
    // Behind it no loss and no family leads into the answer.
    let reach = fused[n_kept.clamp(1, fused.len()) - 1].score() * (1.0 - weight);
    let n_near = fused.iter().take_while(|one| one.score() >= reach).count();
    let mut changed = false;
    let mut doubtful: Vec<DocIdx> = Vec::new();
    for one in &mut fused[..n_near] {
        let id = &snapshot.card(one.doc).id;
        let shortfall = quality.shortfall(id);
        if shortfall > 0.0 {
            one.parts[PART] -= weight * shortfall * one.score();
            changed = true;
        }
        if shortfall > 0.0 || quality.stands_behind(id) {
            doubtful.push(one.doc);
        }
    }
    if changed {
        order(fused);
    }
    for doc in doubtful {
        if give_place(fused, snapshot, quality, doc) {
            order(fused);
        }
    }
}

/// Lets the best-placed member of a tool's family that is more reliable have its place, if it stands behind it.
fn give_place(fused: &mut [Fused], snapshot: &Snapshot, quality: &QualityView, doc: DocIdx) -> bool {
    let id: &ToolId = &snapshot.card(doc).id;
    let Some(family) = snapshot.view().family_of(id) else { return false };
    let Some(from) = fused.iter().position(|one| one.doc == doc) else { return false };
    let goes_before = |one: &Fused| {
        let other = &snapshot.card(one.doc).id;
        family.tools.contains(other) && quality.yields_to(id, other)
    };
    let Some(to) = fused.iter().skip(from + 1).position(goes_before).map(|at| from + 1 + at) else { return false };
    let (before, behind) = (fused[from].score(), fused[to].score());
    fused[to].parts[PART] += before - behind;
    fused[from].parts[PART] += behind * (1.0 - LEAD) - before;
    true
}
