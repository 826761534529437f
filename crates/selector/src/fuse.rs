//! Two orders become one.
//!
//! The plain ways are here; the learned one adds features of every stage (`features.rs`, `ranker.rs`).

use std::cmp::Reverse;

use toolscout_core::Score;
use toolscout_index::{DenseHit, DocIdx, LateMatch, LexicalHit, LexicalRun, Snapshot};

use crate::evidence::FusionStage;
use crate::features::{Features, GROUPS, Group};
use crate::options::Fusion;
use crate::ranker::Weights;

/// A document that either side proposed, with what both say of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fused {
    pub(crate) doc: DocIdx,
    pub(crate) lexical_rank: Option<u32>,
    pub(crate) lexical: f64,
    pub(crate) dense_rank: Option<u32>,
    pub(crate) cosine: Option<f64>,
    /// Late interaction, where it was worked out.
    pub(crate) late: Option<LateMatch>,
    /// Meaning and words as the plain weighted sum sees them, 0 to 1 each.
    pub(crate) meaning: f64,
    pub(crate) words: f64,
    /// Addends of the score, by [`Group`].
    pub(crate) parts: [f64; Group::ALL.len()],
}

impl Fused {
    pub(crate) fn score(&self) -> f64 {
        self.parts.iter().sum()
    }

    /// Late interaction, as a score.
    pub(crate) fn tokens(&self) -> Option<f64> {
        self.late.as_ref().map(|found| f64::from(found.score))
    }

    /// The plain weighted sum, by which candidates are judged before the ranker sees them.
    pub(crate) fn plain(&self) -> f64 {
        PLAIN_DENSE * self.meaning + (1.0 - PLAIN_DENSE) * self.words
    }
}

/// Weight of meaning in the plain sum. Recall@5 / nDCG@10 of it alone at .4, .5, .6, .7 with the base model:
/// mcpproxy_golden .872/.796 .894/.804 .901/.825 .904/.829, azure_mcp .988/.936 .988/.947 .988/.947 .990/.946,
/// metatool .766/.712 .784/.729 .806/.745 .814/.752, toolbench_stable .706/.710 .704/.710 .693/.700 .676/.684.
pub(crate) const PLAIN_DENSE: f64 = 0.6;

/// All candidates, each with both scores: a word score costs nothing more, a cosine one product. `further` are documents that
/// neither side proposed for the whole query.
pub(crate) fn unite(
    snapshot: &Snapshot,
    run: &LexicalRun,
    words: &[LexicalHit],
    near: &[DenseHit],
    further: &[DocIdx],
    vector: Option<&[f32]>,
) -> Vec<Fused> {
    let mut ranks: Vec<(DocIdx, Option<u32>, Option<u32>)> =
        Vec::with_capacity(words.len() + near.len() + further.len());
    ranks.extend(words.iter().zip(1u32..).map(|(hit, rank)| (hit.doc, Some(rank), None)));
    ranks.extend(near.iter().zip(1u32..).map(|(hit, rank)| (hit.doc, None, Some(rank))));
    ranks.extend(further.iter().map(|doc| (*doc, None, None)));
    ranks.sort_by_key(|(doc, ..)| *doc);
    ranks.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            (kept.1, kept.2) = (kept.1.or(later.1), kept.2.or(later.2));
        }
        same
    });
    let fused = |(doc, lexical_rank, dense_rank)| Fused {
        doc,
        lexical_rank,
        lexical: run.score(doc),
        dense_rank,
        cosine: vector.and_then(|vector| snapshot.cosine(doc, vector)).map(f64::from),
        late: None,
        meaning: 0.0,
        words: 0.0,
        parts: [0.0; Group::ALL.len()],
    };
    ranks.into_iter().map(fused).collect()
}

/// Scales both sides to 0..1 among the candidates: the best word score is 1 and no word 0, the highest cosine 1 and the
/// lowest 0.
pub(crate) fn scale(all: &mut [Fused]) -> FusionStage {
    let lexical_high = all.iter().map(|one| one.lexical).fold(0.0, f64::max);
    let cosines = || all.iter().filter_map(|one| one.cosine);
    let cosine_high = cosines().fold(f64::NEG_INFINITY, f64::max);
    let cosine_low = cosines().fold(f64::INFINITY, f64::min);
    let has_dense = cosine_high.is_finite();
    let (cosine_low, cosine_high) = if has_dense { (cosine_low, cosine_high) } else { (0.0, 0.0) };
    let between = |value: f64, low: f64, high: f64| if high > low { (value - low) / (high - low) } else { 1.0 };
    for one in all.iter_mut() {
        one.words = if one.lexical > 0.0 { one.lexical / lexical_high } else { 0.0 };
        one.meaning = one.cosine.map_or(0.0, |cosine| between(cosine, cosine_low, cosine_high));
    }
    FusionStage {
        method: Fusion::default(),
        n_candidates: all.len() as u64,
        lexical_high,
        cosine_low,
        cosine_high,
        scale: 1.0,
        quality: 0.0,
    }
}

/// Sets the parts by one of the plain methods.
pub(crate) fn fuse(all: &mut [Fused], method: Fusion, has_dense: bool) {
    const MEANING: usize = 0;
    const WORDS: usize = 1;
    debug_assert!(Group::ALL[MEANING] == Group::Meaning && Group::ALL[WORDS] == Group::Words, "places of the parts");
    for one in all.iter_mut() {
        let (words, meaning) = (one.words, one.meaning);
        (one.parts[MEANING], one.parts[WORDS]) = match method {
            // Without vectors the words decide alone, at full weight.
            Fusion::Lexical => (0.0, words),
            Fusion::Weighted { .. } | Fusion::Learned if !has_dense => (0.0, words),
            Fusion::Weighted { dense } => (dense * meaning, (1.0 - dense) * words),
            Fusion::Learned => (PLAIN_DENSE * meaning, (1.0 - PLAIN_DENSE) * words),
            Fusion::Dense => (meaning, 0.0),
            Fusion::Rrf { k } => {
                // Scaled by (k + 1) / 2, so that first on both sides is 1.
                let part = |rank: Option<u32>| rank.map_or(0.0, |rank| (k + 1.0) / 2.0 / (k + f64::from(rank)));
                (part(one.dense_rank), part(one.lexical_rank))
            }
        };
    }
}

/// Sets the parts by the learned ranker. A part is counted from the worst candidate's, so that the worst has 0 and parts add
/// up to scores that are never below it. Where all are alike, as a lone candidate is, the plain parts stay.
pub(crate) fn rank(all: &mut [Fused], features: &[Features], weights: &Weights) {
    let plain: Vec<_> = all.iter().map(|one| one.parts).collect();
    for (one, features) in all.iter_mut().zip(features) {
        one.parts = [0.0; Group::ALL.len()];
        for (value, group) in weights.contributions(*features).into_iter().zip(GROUPS) {
            one.parts[*group as usize] += value;
        }
    }
    let worst = all.iter().min_by(|a, b| a.score().total_cmp(&b.score())).map(|worst| worst.parts);
    let best = all.iter().map(Fused::score).fold(f64::NEG_INFINITY, f64::max);
    let Some(floor) = worst else { return };
    if best - floor.iter().sum::<f64>() < 1e-9 {
        all.iter_mut().zip(plain).for_each(|(one, plain)| one.parts = plain);
        return;
    }
    for one in all.iter_mut() {
        one.parts.iter_mut().zip(floor).for_each(|(part, floor)| *part -= floor);
    }
}

/// Brings the best to the front, equals by document, that is by tool id. Each is moved once, to its place: they are big, and
/// their scores are sums.
pub(crate) fn order(all: &mut [Fused]) {
    all.sort_by_cached_key(|one| (Reverse(Score::new(one.score())), one.doc));
}
