//! Two orders become one.

use toolscout_index::{DenseHit, DocIdx, LexicalHit, LexicalRun, Snapshot};

use crate::evidence::FusionStage;
use crate::options::Fusion;

/// A document that either side proposed, with what both say of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fused {
    pub(crate) doc: DocIdx,
    pub(crate) lexical_rank: Option<u32>,
    pub(crate) lexical: f64,
    pub(crate) dense_rank: Option<u32>,
    pub(crate) cosine: Option<f64>,
    /// Addends of the fused score, meaning and words.
    pub(crate) dense_part: f64,
    pub(crate) lexical_part: f64,
}

impl Fused {
    pub(crate) fn score(&self) -> f64 {
        self.dense_part + self.lexical_part
    }
}

/// Both sides' candidates together, each with both scores: a word score costs nothing more, a cosine one product.
pub(crate) fn unite(
    snapshot: &Snapshot,
    run: &LexicalRun,
    words: &[LexicalHit],
    near: &[DenseHit],
    vector: Option<&[f32]>,
) -> Vec<Fused> {
    let mut ranks: Vec<(DocIdx, Option<u32>, Option<u32>)> = Vec::with_capacity(words.len() + near.len());
    ranks.extend(words.iter().zip(1u32..).map(|(hit, rank)| (hit.doc, Some(rank), None)));
    ranks.extend(near.iter().zip(1u32..).map(|(hit, rank)| (hit.doc, None, Some(rank))));
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
        dense_part: 0.0,
        lexical_part: 0.0,
    };
    ranks.into_iter().map(fused).collect()
}

/// Sets the parts and brings the best to the front, equals by document, that is by tool id.
pub(crate) fn fuse(all: &mut [Fused], method: Fusion) -> FusionStage {
    let lexical_high = all.iter().map(|one| one.lexical).fold(0.0, f64::max);
    let cosines = || all.iter().filter_map(|one| one.cosine);
    let cosine_high = cosines().fold(f64::NEG_INFINITY, f64::max);
    let cosine_low = cosines().fold(f64::INFINITY, f64::min);
    let has_dense = cosine_high.is_finite();
    let (cosine_low, cosine_high) = if has_dense { (cosine_low, cosine_high) } else { (0.0, 0.0) };
    let scale = |value: f64, low: f64, high: f64| if high > low { (value - low) / (high - low) } else { 1.0 };
    for one in all.iter_mut() {
        let words = if one.lexical > 0.0 { one.lexical / lexical_high } else { 0.0 };
        let meaning = one.cosine.map_or(0.0, |cosine| scale(cosine, cosine_low, cosine_high));
        (one.dense_part, one.lexical_part) = match method {
            // Without vectors the words decide alone, at full weight.
            Fusion::Lexical => (0.0, words),
            Fusion::Weighted { .. } if !has_dense => (0.0, words),
            Fusion::Weighted { dense } => (dense * meaning, (1.0 - dense) * words),
            Fusion::Dense => (meaning, 0.0),
            Fusion::Rrf { k } => {
                // Scaled by (k + 1) / 2, so that first on both sides is 1.
                let part = |rank: Option<u32>| rank.map_or(0.0, |rank| (k + 1.0) / 2.0 / (k + f64::from(rank)));
                (part(one.dense_rank), part(one.lexical_rank))
            }
        };
    }
    all.sort_by(|a, b| b.score().total_cmp(&a.score()).then(a.doc.cmp(&b.doc)));
    FusionStage { method, n_candidates: all.len() as u64, lexical_high, cosine_low, cosine_high, scale: 1.0 }
}
