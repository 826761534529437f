//! Why a selection came out so: what each stage saw and did, written down as it was decided.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toolscout_core::{Generation, Score, SideEffect, Timestamp, ToolId, UpstreamId};
use toolscout_index::{DenseKind, IndexProgress, Slip, TermMatch};

use crate::options::Fusion;

/// Everything that decided one selection. Bounded: see [`MAX_CANDIDATES`]. Holds no word of the query but its terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The generation it speaks of.
    pub generation: Generation,
    /// What the index could answer with.
    pub index: IndexProgress,
    /// Who was let in.
    pub access: AccessStage,
    /// Words of the query that were read as others. Places in the query are places in it as read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slips: Vec<Slip>,
    /// The search by words.
    pub lexical: LexicalStage,
    /// The search by meaning.
    pub dense: DenseStage,
    /// The words of the query against the words of the cards, one by one.
    #[serde(default)]
    pub tokens: TokensStage,
    /// The steps that the task names, as parts of the query in bytes; none if it is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepStage>,
    /// How all of it became one score.
    pub fusion: FusionStage,
    /// How sure the answer is.
    pub confidence: ConfidenceStage,
    /// Who looked at the best of them again, if a second stage is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<SecondStage>,
    /// How many tools were asked for.
    pub limit: usize,
    /// What their definitions might cost, if the caller said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetStage>,
    /// The best candidates, best first.
    pub candidates: Vec<Candidate>,
    /// Candidates behind these.
    pub n_more_candidates: u64,
}

/// Most candidates written down.
pub const MAX_CANDIDATES: usize = 100;
/// Most matched terms written down per candidate; the rest is summed up.
pub const MAX_TERMS: usize = 24;

/// Filters and policy, before anything is searched.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AccessStage {
    /// Tools in the generation.
    pub n_tools: u64,
    /// The upstreams the caller restricted the search to; none is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<UpstreamId>,
    /// The tags, any of which a tool must have; none is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The worst side effect the caller accepts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_side_effect: Option<SideEffect>,
    /// Tools that pass these filters.
    pub n_in_filters: u64,
    /// Of these, tools that policy lets the caller see.
    pub n_allowed: u64,
    /// Kind of reason → how many of the filtered tools it denied. Never the rules themselves.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub denied: BTreeMap<String, u64>,
    /// Tools that the caller may see and that are withheld for their text, for an approval or by quality, at most [`MAX_HELD`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldTool>,
}

/// A tool that is withheld: it does not work at the moment, its text is hostile, or its definition waits for an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldTool {
    /// The tool.
    pub id: ToolId,
    /// `read_only`, `quarantined`, `upstream_down`, `hostile_text`, `changed_definition` or `not_approved`.
    pub what: String,
    /// Since when, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why, in words of ours.
    pub reason: String,
    /// Tools that can stand in for it, if it fits the query: its family elsewhere, then those whose card names it as what they
    /// are the backup of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instead: Vec<ToolId>,
}

/// Tools that are withheld that are written down; the others are counted.
pub const MAX_HELD: usize = 50;

/// The search by words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LexicalStage {
    /// The query's terms, folded and stemmed, with their rarity (idf).
    pub terms: Vec<(String, f64)>,
    /// Allowed tools that have any of them.
    pub n_matched: u64,
    /// Candidates taken from this side.
    pub n_candidates: u64,
}

/// The search by meaning.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DenseStage {
    /// Who found the nearest: nobody when there was no query vector or no vectors.
    pub by: Option<DenseKind>,
    /// Candidates taken from this side.
    pub n_candidates: u64,
}

/// Late interaction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TokensStage {
    /// Candidates it was worked out for: the best so far.
    pub n_candidates: u64,
    /// The lowest score among them, which counts as 0.
    pub low: f64,
    /// The highest, which counts as 1.
    pub high: f64,
}

/// One step of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepStage {
    /// Where it begins in the query, in bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The tool that does it best, if any is near.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<ToolId>,
}

/// How scores of both sides became one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FusionStage {
    /// The method with its weights.
    pub method: Fusion,
    /// Candidates of both sides together, each counted once.
    pub n_candidates: u64,
    /// The best word score among them, which counts as 1.
    pub lexical_high: f64,
    /// The cosine that counts as 0.
    pub cosine_low: f64,
    /// The cosine that counts as 1.
    pub cosine_high: f64,
    /// What fused scores were multiplied with, so that the best candidate's score is the confidence.
    pub scale: f64,
    /// The largest share of its score that a tool could lose because it fails; 0 when nothing was known of any.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub quality: f64,
}

/// How sure the answer is that its best tool is right.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfidenceStage {
    /// The highest cosine of any allowed tool, if there are vectors.
    pub best_cosine: Option<f64>,
    /// The largest share of the query's weight (idf) that one of the best candidates has in its words, 0 to 1.
    pub best_coverage: f64,
    /// Everything it was judged by: the logistic function of Σ value × weight is the result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signs: Vec<Sign>,
    /// The result, 0 to 1.
    pub confidence: f64,
    /// Below this the answer is "nothing fits".
    pub threshold: f64,
}

/// One thing that confidence was judged by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sign {
    /// What it is.
    pub name: Cow<'static, str>,
    /// How strong.
    pub value: f64,
    /// What one of it is worth.
    pub weight: f64,
}

/// The second opinion on the best candidates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SecondStage {
    /// Who gave it: `cross_encoder` or `judge`.
    pub by: String,
    /// Its model.
    pub model: String,
    /// Candidates it was asked about.
    pub n_candidates: u64,
    /// How long it took, or was waited for, in milliseconds.
    pub millis: u64,
    /// Whether it was remembered from the same question asked before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remembered: bool,
    /// Why the first order stands; none if the second does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// What definitions may cost whoever has to read them, and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetStage {
    /// Tokens they may take together. The first tool comes in any case.
    pub tokens: usize,
    /// Tokens that those given take.
    pub used: usize,
}

impl Evidence {
    /// Writes down what a budget left out of the selected tools, each with the tokens that its definition takes.
    pub fn cut(&mut self, budget: BudgetStage, left_out: &BTreeMap<ToolId, usize>) {
        self.budget = Some(budget);
        for candidate in self.candidates.iter_mut().filter(|candidate| candidate.fate == Fate::Selected) {
            if let Some(tokens) = left_out.get(&candidate.id) {
                candidate.fate = Fate::OverBudget { tokens: *tokens };
            }
        }
    }
}

/// One tool that came into question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its place in the fused order, from 1.
    pub rank: u32,
    /// Which tool.
    pub id: ToolId,
    /// The score shown: the sum of `parts`.
    pub score: Score,
    /// What made the score.
    pub parts: Vec<Part>,
    /// Its place and score by words. No place: not among that side's candidates, scored all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lexical: Option<Side>,
    /// Its place and cosine by meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dense: Option<Side>,
    /// How near the query's words are to its own, one by one: late interaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<f64>,
    /// The words that are nearest to each other. Only for the first candidates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alignments: Vec<Alignment>,
    /// Which words matched where; adds up, with `terms_rest`, to the word score. Only for the first candidates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub terms: Vec<TermMatch>,
    /// What further terms added.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub terms_rest: f64,
    /// Callers often get its arguments wrong, so that its description may mislead. Costs it nothing: it may work well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub misleads: bool,
    /// What became of it.
    pub fate: Fate,
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// One addend of a score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What it came from: `meaning`, `words`, `tokens`, `name`, `upstream`, `action`, `steps`, `quality` (a loss,
    /// or a place in its family taken or given) or `second_opinion`.
    pub name: Cow<'static, str>,
    /// How much.
    pub value: f64,
}

/// Two words that late interaction found to mean the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alignment {
    /// The query's word.
    pub query: String,
    /// The card's.
    pub card: String,
    /// Their cosine.
    pub cosine: f32,
}

/// What one side of the search says of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Its place among that side's candidates, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u32>,
    /// BM25F score, or cosine.
    pub score: f64,
}

/// What became of a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum Fate {
    /// It is in the answer.
    Selected,
    /// The same tool of another upstream stands for it.
    SameAs {
        /// Which one.
        id: ToolId,
    },
    /// Enough better ones were there.
    BelowLimit,
    /// Its definition did not fit the token budget any more.
    OverBudget {
        /// What it takes.
        tokens: usize,
    },
    /// Nothing was near enough, it neither.
    NothingFits,
}
