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
    "first_cosine",
    "first_tokens",
    "first_content",
    "first_weakest",
    "first_name_told",
    "first_action",
    "first_worse_action",
];
/// How many there are.
pub(crate) const N_SIGNS: usize = 16;

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
    /// The first candidate's cosine.
    pub(crate) first_cosine: f64,
    /// Its late interaction.
    pub(crate) first_tokens: f64,
    /// The same over the words that say something.
    pub(crate) first_content: f64,
    /// How near it comes to the words of the query that it tells least: a near miss has the rest.
    pub(crate) first_weakest: f64,
    /// How well the query tells the words of its name.
    pub(crate) first_name_told: f64,
    /// It does what the query's verb asks for: reading, writing, destroying.
    pub(crate) first_action: f64,
    /// It does worse than that.
    pub(crate) first_worse_action: f64,
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
            self.first_cosine,
            self.first_tokens,
            self.first_content,
            self.first_weakest,
            self.first_name_told,
            self.first_action,
            self.first_worse_action,
        ]
    }
}

pub(crate) fn judge(signs: Signs, weights: &[f64], abstain: Abstain) -> ConfidenceStage {
    let sum: f64 = signs.to_array().iter().zip(weights).map(|(sign, weight)| sign * weight).sum();
    let confidence = 1.0 / (1.0 + (-sum).exp());
    let sign =
        |(name, (value, weight)): (&&'static str, (f64, &f64))| Sign { name: (*name).into(), value, weight: *weight };
    ConfidenceStage {
        best_cosine: signs.best_cosine,
        best_coverage: signs.best_coverage,
        signs: SIGNS.iter().zip(signs.to_array().into_iter().zip(weights)).map(sign).collect(),
        confidence,
        threshold: abstain.below,
    }
}
