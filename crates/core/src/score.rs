//! How good a match is.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// A finite number that orders totally. Scale is the maker's business; bigger is better.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Score(f64);

impl Score {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);

    /// A score. NaN and infinities are a bug of the maker: zero in release, a failed assertion in tests.
    pub fn new(value: f64) -> Self {
        debug_assert!(value.is_finite(), "score must be finite, got {value}");
        // Adding zero turns -0.0 into 0.0, which `total_cmp` would tell apart.
        if value.is_finite() { Self(value + 0.0) } else { Self::ZERO }
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}
