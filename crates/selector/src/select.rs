//! From a query to a few tools.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toolscout_core::{Caller, Generation, Score, SideEffect, ToolCard, ToolId, UpstreamId};
use toolscout_index::{IndexState, Snapshot};
use toolscout_policy::Policy;
use toolscout_quality::QualityView;

use crate::evidence::Evidence;
use crate::options::SelectorOptions;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Query {
    /// The task, in the words of whoever asks.
    pub text: String,
    /// Its vector; without one only words are searched.
    pub vector: Option<Arc<[f32]>>,
    /// How many tools at most.
    pub limit: usize,
    /// Only tools of these upstreams; none is all.
    pub upstreams: Vec<UpstreamId>,
    /// Only tools with any of these tags; none is all.
    pub tags: Vec<String>,
    /// Only tools that do no more than this.
    pub max_side_effect: Option<SideEffect>,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            text: String::new(),
            vector: None,
            limit: 5,
            upstreams: Vec::new(),
            tags: Vec::new(),
            max_side_effect: None,
        }
    }
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The generation it was made from.
    pub generation: Generation,
    /// What the index could answer with.
    pub index_state: IndexState,
    /// How likely it is that the first tool is right, 0 to 1.
    pub confidence: f64,
    /// The tools, best first. Empty when nothing fits.
    pub tools: Vec<Selected>,
    /// Set when nothing fits.
    pub no_match: Option<NoMatch>,
    /// What the caller was not shown.
    pub withheld: Withheld,
    /// Why it came out so.
    pub evidence: Evidence,
}

/// One tool of the answer.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The tool.
    pub card: Arc<ToolCard>,
    /// How good a match, 0 to 1: the first tool's is the confidence, the others' in proportion.
    pub score: Score,
    /// How reliable it has been lately, 0 to 1.
    pub quality: f64,
    /// The same tool on other upstreams that the caller may see, sorted.
    pub variants: Vec<ToolId>,
}

/// Nothing fits, and what came closest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoMatch {
    /// Why.
    pub reason: NoMatchReason,
    /// The nearest tools that the caller may see, nearest first, at most three.
    pub nearest: Vec<ToolId>,
}

/// Why nothing fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoMatchReason {
    /// The catalog is empty.
    NothingIndexed,
    /// The caller's own filters leave no tool.
    FiltersLeaveNothing,
    /// Policy lets this caller see none of the tools that the filters leave.
    NothingPermitted,
    /// Not one word of the query is known, and there is no meaning to go by.
    NoWordMatches,
    /// Tools were compared, and none is near enough.
    NothingNear,
}

impl NoMatchReason {
    /// One clause for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NothingIndexed => "no tools are indexed yet",
            Self::FiltersLeaveNothing => "no tool passes the filters",
            Self::NothingPermitted => "policy permits none of the tools that pass the filters",
            Self::NoWordMatches => "no tool shares a word with the query",
            Self::NothingNear => "no tool is near enough to the query",
        }
    }
}

/// Tools that pass the caller's filters and are not shown to it: how many, and why. Never which.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    /// How many.
    pub count: u64,
    /// Reason → how many.
    pub reasons: BTreeMap<String, u64>,
}

/// Selects with the default options.
pub fn select(
    snapshot: &Snapshot,
    quality: &QualityView,
    policy: &Policy,
    caller: &Caller,
    query: &Query,
) -> Selection {
    select_with(snapshot, quality, policy, caller, query, &SelectorOptions::default())
}

/// The same, every knob in hand.
pub fn select_with(
    snapshot: &Snapshot,
    quality: &QualityView,
    policy: &Policy,
    caller: &Caller,
    query: &Query,
    options: &SelectorOptions,
) -> Selection {
    let _ = (snapshot, quality, policy, caller, query, options);
    unimplemented!("lands next")
}
