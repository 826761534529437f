//! The learned ranker: a weight per feature.
//!
//! Linear on purpose. What a feature brought is weight × value, so a score falls apart into reasons that add up to it, and a
//! rule learned on a few open sets cannot learn those sets by heart. The weights and how they were made: `models/ranker/`.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::features::{FEATURES, Features, N_FEATURES};

/// The file `models/ranker/ranker.json`, made by `models/ranker/fit.py`.
#[derive(Deserialize)]
struct File {
    format: u32,
    features: Vec<String>,
    /// What there was to go by → weights and confidence.
    sets: Sets,
}

#[derive(Deserialize)]
struct Sets {
    /// Words, meaning and token vectors.
    full: Weights,
    /// Words and meaning.
    hybrid: Weights,
    /// Words alone.
    lexical: Weights,
}

/// What was learned for one case.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Weights {
    /// One per feature.
    pub(crate) weights: Vec<f64>,
    /// Of the logistic function that says how likely the first tool is right: see `confidence.rs`.
    pub(crate) confidence: Vec<f64>,
}

static BUILTIN: LazyLock<File> = LazyLock::new(|| {
    let file: File = serde_json::from_str(include_str!("../../../models/ranker/ranker.json"))
        .expect("the shipped ranker parses: a test reads it");
    assert_eq!(file.format, 1, "the shipped ranker is of this format");
    assert_eq!(file.features, FEATURES, "the shipped ranker knows these features, in this order");
    for weights in [&file.sets.full, &file.sets.hybrid, &file.sets.lexical] {
        assert_eq!(weights.weights.len(), N_FEATURES, "a weight for each feature");
        assert_eq!(weights.confidence.len(), crate::confidence::N_SIGNS, "a weight for each sign");
    }
    file
});

/// The weights for what there is to go by.
pub(crate) fn weights(has_meaning: bool, has_tokens: bool) -> &'static Weights {
    let sets = &BUILTIN.sets;
    match (has_meaning, has_tokens) {
        (true, true) => &sets.full,
        (true, false) => &sets.hybrid,
        (false, _) => &sets.lexical,
    }
}

impl Weights {
    /// What each feature brings.
    pub(crate) fn contributions(&self, features: Features) -> [f64; N_FEATURES] {
        let mut values = features.to_array();
        values.iter_mut().zip(&self.weights).for_each(|(value, weight)| *value *= weight);
        values
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_shipped_ranker_is_whole() {
        for (has_meaning, has_tokens) in [(true, true), (true, false), (false, false)] {
            let weights = super::weights(has_meaning, has_tokens);
            assert!(weights.weights.iter().chain(&weights.confidence).all(|weight| weight.is_finite()));
        }
    }
}
