//! What can be turned in a selection. Arms of an eval are variations of [`SelectorOptions`].

use serde::{Deserialize, Serialize};
use toolscout_index::LexicalOptions;

/// How a selection is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelectorOptions {
    /// Candidates taken from each side, at least 50.
    pub candidates: usize,
    /// How the two sides' scores become one.
    pub fusion: Fusion,
    /// How word matches are weighed.
    pub lexical: LexicalOptions,
    /// Whether the same tool on several upstreams takes one place.
    pub families: bool,
    /// When to answer "nothing fits".
    pub abstain: Abstain,
}

impl Default for SelectorOptions {
    fn default() -> Self {
        Self {
            candidates: 100,
            fusion: Fusion::default(),
            lexical: LexicalOptions::default(),
            families: true,
            abstain: Abstain::default(),
        }
    }
}

/// How the two sides' scores become one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Fusion {
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

impl Default for Fusion {
    // Recall@5 / nDCG@10 at .4, .5, .6, .7: mcpproxy_golden .872/.796 .894/.804 .901/.825 .904/.829, azure_mcp .988/.936
    // .988/.947 .988/.947 .990/.946, metatool .766/.712 .784/.729 .806/.745 .814/.752, toolbench_stable .706/.710 .704/.710
    // .693/.700 .676/.684. Long tasks for several tools want more words, paraphrases more meaning.
    fn default() -> Self {
        Self::Weighted { dense: 0.6 }
    }
}

/// When to answer "nothing fits".
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Abstain {
    /// The confidence below which nothing is selected; 0 never abstains. The default is cautious: it refused .2 % of the
    /// queries of four open sets that were answered well, and a quarter of those meant for another set's tools.
    pub below: f64,
}

impl Default for Abstain {
    fn default() -> Self {
        Self { below: 0.03 }
    }
}
