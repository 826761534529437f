//! How likely is it that the first tool is right?
//!
//! A logistic function of two facts that do not depend on the other tools of the catalog: the best cosine, and the share of
//! the query's weight that a candidate has in its words. Fitted on open query sets; issue 3 replaces it by a learned one.

use crate::evidence::ConfidenceStage;
use crate::options::Abstain;

/// With a query vector: intercept, per unit of cosine, per unit of coverage.
const HYBRID: [f64; 3] = [-4.0, 8.0, 1.5];
/// With words alone: intercept, per unit of coverage.
const WORDS: [f64; 2] = [-2.0, 3.5];

pub(crate) fn judge(best_cosine: Option<f64>, best_coverage: f64, abstain: Abstain) -> ConfidenceStage {
    let sum = match best_cosine {
        Some(cosine) => HYBRID[0] + HYBRID[1] * cosine + HYBRID[2] * best_coverage,
        None => WORDS[0] + WORDS[1] * best_coverage,
    };
    let confidence = 1.0 / (1.0 + (-sum).exp());
    ConfidenceStage { best_cosine, best_coverage, confidence, threshold: abstain.below }
}
