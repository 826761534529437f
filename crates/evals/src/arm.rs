//! The ranking variants that can be measured.

use toolscout_selector::{Abstain, Fusion, SelectorOptions};

use crate::error::Error;
use crate::peers::Peer;

/// One ranking variant. A closed list: an arm's name in a report always means the same thing.
///
/// Ours go through the same `select`, over the same index, with the same text analysis; only options differ. The one-sided
/// arms and `rrf` never abstain: a refusal threshold that was set for the hybrid would make them look worse than they are.
/// Peers are rankers of their own over the same tools.
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
    /// [`Arm::Hybrid`] with one stage off.
    Without(Ablation),
    /// Somebody else's way.
    Peer(Peer),
}

/// One stage that can be switched off: a line of [`ABLATIONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ablation(usize);

/// An arm's name, one line for people, and what it changes in the default options.
type Line = (&'static str, &'static str, fn(&mut SelectorOptions));

/// [`Arm::Hybrid`] with one stage off, each. To add one, add a line.
const ABLATIONS: &[Line] = &[
    ("hybrid-no-abstain", "the default selection, which never says that nothing fits", |o| o.abstain = NEVER),
    ("hybrid-no-families", "the default selection, with twins of a tool listed one by one", |o| o.families = false),
    ("hybrid-no-ranker", "the default selection, by a weighted sum of words and meaning", |o| {
        o.fusion = Fusion::Weighted { dense: 0.6 };
    }),
    ("hybrid-no-slips", "the default selection, which embeds a query as it is typed", |o| o.slips = false),
    ("hybrid-no-tokens", "the default selection, without late interaction", |o| o.tokens = false),
    ("hybrid-no-upstreams", "the default selection, in which upstreams do not count", |o| o.upstreams = false),
    ("hybrid-no-steps", "the default selection, with every task searched as one", |o| {
        (o.steps, o.cover) = (false, false)
    }),
    ("hybrid-no-cover", "the default selection, without a place for the best of every step", |o| o.cover = false),
];

/// A way by itself: it takes the query as it is typed, and always answers.
fn single(options: &mut SelectorOptions, fusion: Fusion) {
    (options.fusion, options.abstain, options.slips) = (fusion, NEVER, false);
}

const NEVER: Abstain = Abstain { below: 0.0 };

/// Names that stand for several arms.
pub const GROUPS: &[(&str, &str)] = &[
    ("ablations", "hybrid, hybrid with each stage off, and the single sides"),
    ("peers", "every peer"),
    ("all", "everything"),
];

impl Arm {
    /// All of them, in the order of reports.
    pub fn all() -> Vec<Self> {
        let mut arms = Self::ablations();
        arms.extend(Peer::ALL.iter().copied().map(Self::Peer));
        arms
    }

    /// [`Arm::Hybrid`], and what is left of it without one part or the other.
    pub fn ablations() -> Vec<Self> {
        let mut arms = vec![Self::Hybrid];
        arms.extend((0..ABLATIONS.len()).map(|line| Self::Without(Ablation(line))));
        arms.extend([Self::Bm25, Self::Dense, Self::Rrf]);
        arms
    }

    /// Arms and groups by name. What a group adds is there once, however often it is meant; an arm named twice stays so.
    pub fn parse_list<T: AsRef<str>>(names: &[T]) -> Result<Vec<Self>, Error> {
        let mut arms = Vec::new();
        for name in names {
            let group = match name.as_ref() {
                "ablations" => Self::ablations(),
                "peers" => Peer::ALL.iter().copied().map(Self::Peer).collect(),
                "all" => Self::all(),
                arm => {
                    arms.push(arm.parse()?);
                    continue;
                }
            };
            for arm in group {
                if !arms.contains(&arm) {
                    arms.push(arm);
                }
            }
        }
        Ok(arms)
    }

    /// The name in commands and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hybrid => "hybrid",
            Self::Bm25 => "bm25",
            Self::Dense => "dense",
            Self::Rrf => "rrf",
            Self::Without(stage) => ABLATIONS[stage.0].0,
            Self::Peer(peer) => peer.name(),
        }
    }

    /// One line for people.
    pub fn what(self) -> &'static str {
        match self {
            Self::Hybrid => "the default selection",
            Self::Bm25 => "full-text search alone",
            Self::Dense => "vectors alone",
            Self::Rrf => "full text and vectors, fused by reciprocal rank",
            Self::Without(stage) => ABLATIONS[stage.0].1,
            Self::Peer(peer) => peer.what(),
        }
    }

    /// What it asks of the selector, if it is one of ours.
    pub fn options(self) -> Option<SelectorOptions> {
        let mut options = SelectorOptions::default();
        match self {
            Self::Hybrid => {}
            Self::Bm25 => single(&mut options, Fusion::Lexical),
            Self::Dense => single(&mut options, Fusion::Dense),
            Self::Rrf => single(&mut options, Fusion::Rrf { k: 60.0 }),
            Self::Without(stage) => ABLATIONS[stage.0].2(&mut options),
            Self::Peer(_) => return None,
        }
        Some(options)
    }

    /// Whether it cannot do without an embedding model.
    ///
    /// [`Arm::Hybrid`] can: like the service, it falls back to the lexical side, and the report's `model` is absent.
    pub fn needs_vectors(self) -> bool {
        match self {
            Self::Hybrid | Self::Bm25 | Self::Without(_) => false,
            Self::Dense | Self::Rrf => true,
            Self::Peer(peer) => peer.uses_vectors(),
        }
    }

    /// Whether it looks at the query's vector at all.
    pub fn uses_vectors(self) -> bool {
        match self {
            Self::Bm25 => false,
            Self::Hybrid | Self::Dense | Self::Rrf | Self::Without(_) => true,
            Self::Peer(peer) => peer.uses_vectors(),
        }
    }
}

impl std::str::FromStr for Arm {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::all().into_iter().find(|arm| arm.name() == name);
        found.ok_or_else(|| Error::UnknownArm { name: toolscout_core::text::preview(name) })
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

    fn list(names: &str) -> Vec<&'static str> {
        let names: Vec<&str> = names.split(',').collect();
        Arm::parse_list(&names).unwrap().into_iter().map(Arm::name).collect()
    }

    #[test]
    fn names_parse_back() {
        for arm in Arm::all() {
            assert_eq!(arm.name().parse::<Arm>().unwrap(), arm);
            assert!(!arm.what().is_empty() && GROUPS.iter().all(|(group, _)| *group != arm.name()));
        }
        assert_eq!("bm26".parse::<Arm>().unwrap_err().to_string(), "unknown arm `bm26`");
        let hint = "x".parse::<Arm>().unwrap_err().hint().unwrap();
        assert!(
            hint.starts_with("arms are hybrid, hybrid-no-abstain, ") && hint.ends_with("groups ablations, peers, all")
        );
    }

    #[test]
    fn groups_add_what_is_not_there_yet() {
        assert_eq!(list("hybrid,peers")[..2], ["hybrid", "peer-mcpproxy"]);
        assert_eq!(list("dense,ablations")[..3], ["dense", "hybrid", "hybrid-no-abstain"]);
        assert_eq!(list("all,peers,ablations"), Arm::all().into_iter().map(Arm::name).collect::<Vec<_>>());
        assert_eq!(list("bm25,bm25"), ["bm25", "bm25"], "a slip, for the run to refuse");
    }

    #[test]
    fn every_ablation_changes_something() {
        for arm in Arm::ablations().into_iter().skip(1) {
            assert_ne!(arm.options(), Some(SelectorOptions::default()), "{arm}");
        }
    }
}
