//! How likely is it that the first tool is right?
//!
//! A logistic function of two facts that do not depend on the other tools of the catalog: the best cosine, and the share of
//! the query's weight (idf) that one of the best candidates has in its words. Fitted by maximum likelihood, every set of equal
//! weight, on 2,612 queries of four open sets (azure_mcp, mcpproxy_golden, metatool, toolbench_stable; right if the first tool
//! is) and as many of the *other* sets' queries put to each catalog (never right). On the answerable ones it says .05/.25/.45/
//! .65/.85/.95 where .28/.52/.66/.73/.85/.92 were right: too modest below, since the foreign queries pull it down there.

use crate::evidence::ConfidenceStage;
use crate::options::Abstain;

/// With a query vector: intercept, per unit of cosine, per unit of coverage.
const HYBRID: [f64; 3] = [-5.6, 9.5, 3.3];
/// With words alone: intercept, per unit of coverage.
const WORDS: [f64; 2] = [-2.1, 6.75];

pub(crate) fn judge(best_cosine: Option<f64>, best_coverage: f64, abstain: Abstain) -> ConfidenceStage {
    let sum = match best_cosine {
        Some(cosine) => HYBRID[0] + HYBRID[1] * cosine + HYBRID[2] * best_coverage,
        None => WORDS[0] + WORDS[1] * best_coverage,
    };
    let confidence = 1.0 / (1.0 + (-sum).exp());
    ConfidenceStage { best_cosine, best_coverage, confidence, threshold: abstain.below }
}
