//! How likely is it that the first tool is right?
//!
//! A logistic function of signs that do not depend on how many tools the catalog has: how near the nearest is, how much of
//! the query it has. Fitted with the ranker (`models/ranker/fit.py`) on the open sets' own queries and on as many of *other*
//! sets' queries, which no tool answers.

use crate::evidence::{ConfidenceStage, Sign};
use crate::options::Abstain;

/// The signs, in the order of the weights.
pub(crate) const SIGNS: [&str; N_SIGNS] = [
    "always",
    "best_cosine",
    "best_tokens",
    "best_coverage",
    "first_words",
    "first_name",
    "unknown_words",
    "length",
    "lead",
];
/// How many there are.
pub(crate) const N_SIGNS: usize = 9;

/// What confidence is judged by: [`SIGNS`] without the first.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Signs {
    /// The highest cosine.
    pub(crate) best_cosine: Option<f64>,
    /// The highest late interaction.
    pub(crate) best_tokens: Option<f64>,
    /// The largest share of the query's weight that one of the best candidates has.
    pub(crate) best_coverage: f64,
    /// The first candidate's word score over the highest there could be.
    pub(crate) first_words: f64,
    /// Share of the first candidate's name that is in the query.
    pub(crate) first_name: f64,
    /// Share of the query's weight that no tool has.
    pub(crate) unknown_words: f64,
    /// How long the query is, 0 to 1.
    pub(crate) length: f64,
    /// How far the first candidate stands before the sixth, in the ranker's points, over 5.
    pub(crate) lead: f64,
}

impl Signs {
    pub(crate) fn to_array(self) -> [f64; N_SIGNS] {
        [
            1.0,
            self.best_cosine.unwrap_or(0.0),
            self.best_tokens.unwrap_or(0.0),
            self.best_coverage,
            self.first_words,
            self.first_name,
            self.unknown_words,
            self.length,
            self.lead,
        ]
    }
}

pub(crate) fn judge(signs: Signs, weights: &[f64], abstain: Abstain) -> ConfidenceStage {
    let sum: f64 = signs.to_array().iter().zip(weights).map(|(sign, weight)| sign * weight).sum();
    let confidence = 1.0 / (1.0 + (-sum).exp());
    let sign =
        |(name, (value, weight)): (&&str, (f64, &f64))| Sign { name: (*name).to_owned(), value, weight: *weight };
    ConfidenceStage {
        best_cosine: signs.best_cosine,
        best_coverage: signs.best_coverage,
        signs: SIGNS.iter().zip(signs.to_array().into_iter().zip(weights)).map(sign).collect(),
        confidence,
        threshold: abstain.below,
    }
}
