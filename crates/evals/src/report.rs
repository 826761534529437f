//! What a run found out, in the form of its JSON file.
//!
//! The shape is a promise to whoever reads the file (`evals/README.md`); fields may be added, none change. Nothing in it
//! depends on the clock or the machine but `latency_ms`, which can be left out: the same inputs and seed then give the same
//! bytes.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::metric::{Answer, Labels};

/// One run over one set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The set's name.
    pub set: String,
    /// How many tools each arm was asked for.
    pub k: usize,
    /// What was measured, and how.
    pub about: About,
    /// One entry per arm, in the order asked for.
    pub arms: Vec<ArmReport>,
    /// Every answer: arms in order, queries in the file's order.
    pub queries: Vec<QueryReport>,
    /// What the labels said, so that two reports can be compared without the set at hand.
    pub labels: Vec<LabelReport>,
}

/// What was measured, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The version of toolscout that ranked.
    pub toolscout: String,
    /// Tools in the catalog, those of other catalogs included.
    pub n_tools: usize,
    /// The other catalogs whose tools stand behind the set's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distractors: Vec<DistractorReport>,
    /// Queries asked.
    pub n_queries: usize,
    /// Hash of the hashes of the catalog file's lines.
    pub catalog: String,
    /// Hash of the hashes of the query file's lines.
    pub queries: String,
    /// Which embedding model, with its hash; absent if none was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Seed of the intervals.
    pub seed: u64,
    /// Redrawn slices behind each interval.
    pub resamples: usize,
    /// How `answer_tokens` was counted.
    pub answer_tokens: String,
    /// The same count over the definitions of all tools: what an agent reads that has no search.
    pub listing_tokens: usize,
    /// Relevant ids that the catalog does not hold. They count as not found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_relevant: Vec<UnknownRelevant>,
    /// Anything else a reader should know, such as tools left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Another catalog whose tools are in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DistractorReport {
    /// The file's name, without its folders.
    pub file: String,
    /// Hash of the hashes of its lines.
    pub sha256: String,
    /// Tools taken from it.
    pub n_tools: usize,
    /// Tools left out because the set has one of the same name and description.
    pub n_copies: usize,
}

/// A query whose labels name tools that are not there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnknownRelevant {
    /// The query.
    pub query: String,
    /// The ids.
    pub ids: Vec<String>,
}

/// How one arm did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmReport {
    /// The arm's name.
    pub arm: String,
    /// `all` first, then the set's slices by name.
    pub slices: Vec<SliceReport>,
    /// How long the arm took per query; absent when latency was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<LatencyReport>,
    /// Whether its confidence can be believed; absent for an arm that states none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<ConfidenceReport>,
    /// Whether denied tools stay hidden; absent for an arm that knows no policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyReport>,
}

/// How often the first tool is right, by the confidence stated. Over answered queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfidenceReport {
    /// Ten bins of equal width, from 0 to 1; empty ones are left out.
    pub bins: Vec<ConfidenceBin>,
    /// Expected calibration error: the mean distance between the two, bins weighed by their queries
    /// (Naeini, Cooper, Hauskrecht, AAAI 2015).
    pub ece: f64,
}

/// Queries answered with about the same confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ConfidenceBin {
    /// Lower end.
    pub from: f64,
    /// Upper end.
    pub to: f64,
    /// Queries in it.
    pub n: usize,
    /// The confidence stated, on average.
    pub confidence: f64,
    /// The share whose first tool is right.
    pub right: f64,
}

/// What came of asking again under a policy that denies tools drawn by lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyReport {
    /// Tools denied.
    pub n_denied: usize,
    /// Queries asked again.
    pub n_queries: usize,
    /// Answers that hold a denied tool's id anywhere, the evidence included. Has to be 0.
    pub n_leaks: usize,
}

/// How one arm did on one slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceReport {
    /// The slice.
    pub slice: String,
    /// Its queries.
    pub n: usize,
    /// By metric name. A metric that is about none of the slice's queries is absent.
    pub metrics: BTreeMap<String, MetricReport>,
}

/// One figure with its 95 % bootstrap interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricReport {
    /// The figure.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// How many of the slice's queries it rests on.
    pub n: usize,
}

/// Milliseconds per query, queries one after the other in one thread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LatencyReport {
    /// Half of the queries took at most so long, the embedding of the query included where the arm uses it.
    pub p50: f64,
    /// 95 of 100 did.
    pub p95: f64,
    /// 99 of 100 did.
    pub p99: f64,
    /// Embedding the query alone, in the same run; 0 for an arm that does not embed.
    pub embedding_p50: f64,
}

/// What one arm answered to one query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryReport {
    /// The query.
    pub id: String,
    /// The arm.
    pub arm: String,
    /// The tools, best first.
    pub top: Vec<TopReport>,
    /// Whether the arm said that nothing fits.
    pub no_match: bool,
    /// What the answer costs a model to read.
    pub tokens: usize,
    /// How sure the arm was; 1 for an arm that does not say, since whoever reads its answer cannot know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
}

/// One tool of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopReport {
    /// The catalog file's id.
    pub id: String,
    /// The selector's score.
    pub score: f64,
}

/// What the labels say about one query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelReport {
    /// The query.
    pub id: String,
    /// Its slice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// What fits.
    pub relevant: Vec<String>,
    /// Its needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Vec<String>>,
}

impl Report {
    /// The file's text: indented JSON and a newline.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report holds only strings and finite numbers");
        text.push('\n');
        text
    }

    /// Reads a report back.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
        serde_json::from_str(&text)
            .map_err(|e| Error::Report { path: path.into(), reason: format!("no report of `eval run`: {e}") })
    }

    /// One arm's figure on one slice.
    pub fn metric(&self, arm: &str, slice: &str, metric: &str) -> Option<MetricReport> {
        let arm = self.arms.iter().find(|a| a.arm == arm)?;
        let slice = arm.slices.iter().find(|s| s.slice == slice)?;
        slice.metrics.get(metric).copied()
    }
}

impl LabelReport {
    /// The labels as the metrics take them.
    pub fn labels(&self) -> Labels<String> {
        Labels { relevant: self.relevant.clone(), groups: self.groups.clone() }
    }
}

impl QueryReport {
    /// The answer as the metrics take it.
    pub fn answer(&self) -> Answer<String> {
        let top = self.top.iter().map(|tool| tool.id.clone()).collect();
        Answer { top, no_match: self.no_match, tokens: self.tokens, confidence: self.confidence }
    }
}

/// Six decimals: finer than any interval, coarse enough that the last bits of a sum do not show.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6 + 0.0
}
