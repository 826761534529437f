//! What can be turned in a selection. Arms of an eval are variations of [`SelectorOptions`].

use serde::{Deserialize, Serialize};
use toolscout_index::LexicalOptions;

/// How a selection is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelectorOptions {
    /// Whether slips of the keyboard are mended before a query is embedded.
    #[serde(default = "yes")]
    pub slips: bool,
    /// Candidates taken from each side, at least 50.
    pub candidates: usize,
    /// How the two sides' scores become one.
    pub fusion: Fusion,
    /// How word matches are weighed.
    pub lexical: LexicalOptions,
    /// Whether the words of the query are also compared with the words of the cards one by one (late interaction), where the
    /// model makes vectors for them.
    pub tokens: bool,
    /// Whether a tool's upstream and its other tools count.
    pub upstreams: bool,
    /// Whether a task of several steps is also searched step by step.
    pub steps: bool,
    /// Whether the best tool of each step gets a place among the first.
    pub cover: bool,
    /// Whether the same tool on several upstreams takes one place.
    pub families: bool,
    /// The largest share of its score that a tool loses because it fails, 0 to 1; 0 lets only fitness count. Not learned: nobody
    /// has queries with labels and outcomes.
    #[serde(default = "default_quality")]
    pub quality: f64,
    /// When to answer "nothing fits".
    pub abstain: Abstain,
}

fn yes() -> bool {
    true
}

fn default_quality() -> f64 {
    0.1
}

impl Default for SelectorOptions {
    fn default() -> Self {
        Self {
            slips: true,
            candidates: 100,
            fusion: Fusion::default(),
            lexical: LexicalOptions::default(),
            tokens: true,
            upstreams: true,
            steps: true,
            cover: true,
            families: true,
            quality: default_quality(),
            abstain: Abstain::default(),
        }
    }
}

/// How the two sides' scores become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Fusion {
    /// By the learned ranker, over the features of all stages.
    #[default]
    Learned,
    /// Both scores scaled to 0..1 among the candidates, then weighted and added.
    Weighted {
        /// Weight of the cosine. The words get the rest to 1.
        dense: f64,
    },
    /// Σ 1/(k + rank) over both sides (RRF, Cormack 2009), scaled so that first place on both is 1. Only ranks count.
    Rrf {
        /// How little the first places stand out; 60 is usual.
        k: f64,
    },
    /// Words alone.
    Lexical,
    /// Meaning alone.
    Dense,
}

/// When to answer "nothing fits".
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Abstain {
    /// The confidence below which nothing is selected; 0 never abstains. The default is cautious: it refuses at most 2 % of the
    /// queries of six open sets that have an answer, and between a tenth and half of those meant for another set's
    /// tools, the more the smaller the catalog. With words alone it refuses at most 1.4 % of the former on eight open sets (most
    /// on metatool and toolalpaca; .5 % on `evals/real`), most of them with nothing right to show, and at most 7 % of the
    /// latter. It refuses more only where queries share no word with their tool by design: 29 % of `evals/tiny`, where one in
    /// ten of those refused had its tool among the first five.
    pub below: f64,
}

impl Default for Abstain {
    fn default() -> Self {
        Self { below: 0.03 }
    }
}
