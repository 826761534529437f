//! The ranking variants that can be measured.

use toolscout_selector::{Abstain, Fusion, SelectorOptions};

use crate::error::Error;

/// One ranking variant. A closed list: an arm's name in a report always means the same thing.
///
/// Every arm goes through the same `select`, over the same index, with the same text analysis; only options differ. The
/// one-sided arms and `rrf` never abstain: a refusal threshold that was set for the hybrid would make them look worse than
/// they are. To add one: a variant, and a line wherever the compiler then asks for it, [`Arm::options`] among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arm {
    /// What `search_tools` answers with, as configured by default.
    Hybrid,
    /// The lexical side alone.
    Bm25,
    /// The vector side alone.
    Dense,
    /// Both sides, fused by reciprocal rank instead of by score.
    Rrf,
    /// [`Arm::Hybrid`] that never says that nothing fits: what the refusals cost and bring.
    NoAbstain,
    /// [`Arm::Hybrid`] in which the same tool on several servers takes several places.
    NoFamilies,
}

impl Arm {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Hybrid, Self::Bm25, Self::Dense, Self::Rrf, Self::NoAbstain, Self::NoFamilies];

    /// The name in commands and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hybrid => "hybrid",
            Self::Bm25 => "bm25",
            Self::Dense => "dense",
            Self::Rrf => "rrf",
            Self::NoAbstain => "hybrid-no-abstain",
            Self::NoFamilies => "hybrid-no-families",
        }
    }

    /// One line for people.
    pub fn what(self) -> &'static str {
        match self {
            Self::Hybrid => "the default selection",
            Self::Bm25 => "full-text search alone",
            Self::Dense => "vectors alone",
            Self::Rrf => "full text and vectors, fused by reciprocal rank",
            Self::NoAbstain => "the default selection, which never says that nothing fits",
            Self::NoFamilies => "the default selection, with twins of a tool listed one by one",
        }
    }

    /// What it asks of the selector.
    pub fn options(self) -> SelectorOptions {
        let never = Abstain { below: 0.0 };
        let default = SelectorOptions::default();
        match self {
            Self::Hybrid => default,
            Self::Bm25 => SelectorOptions { fusion: Fusion::Lexical, abstain: never, ..default },
            Self::Dense => SelectorOptions { fusion: Fusion::Dense, abstain: never, ..default },
            Self::Rrf => SelectorOptions { fusion: Fusion::Rrf { k: 60.0 }, abstain: never, ..default },
            Self::NoAbstain => SelectorOptions { abstain: never, ..default },
            Self::NoFamilies => SelectorOptions { families: false, ..default },
        }
    }

    /// Whether it cannot do without an embedding model.
    ///
    /// [`Arm::Hybrid`] can: like the service, it falls back to the lexical side, and the report's `model` is absent.
    pub fn needs_vectors(self) -> bool {
        match self {
            Self::Hybrid | Self::Bm25 | Self::NoAbstain | Self::NoFamilies => false,
            Self::Dense | Self::Rrf => true,
        }
    }

    /// Whether it looks at the query's vector at all.
    pub fn uses_vectors(self) -> bool {
        match self {
            Self::Bm25 => false,
            Self::Hybrid | Self::Dense | Self::Rrf | Self::NoAbstain | Self::NoFamilies => true,
        }
    }
}

impl std::str::FromStr for Arm {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.iter().find(|arm| arm.name() == name);
        found.copied().ok_or_else(|| Error::UnknownArm { name: toolscout_core::text::preview(name) })
    }
}

impl std::fmt::Display for Arm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for arm in Arm::ALL {
            assert_eq!(arm.name().parse::<Arm>().unwrap(), *arm);
        }
        assert_eq!("bm26".parse::<Arm>().unwrap_err().to_string(), "unknown arm `bm26`");
        assert_eq!(
            "x".parse::<Arm>().unwrap_err().hint().as_deref(),
            Some(format!("arms are {}", Arm::ALL.iter().map(|a| a.name()).collect::<Vec<_>>().join(", ")).as_str())
        );
    }
}
