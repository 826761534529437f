//! What a crawl did, while it runs and afterwards.

use std::sync::Arc;

use serde::Serialize;
use toolscout_catalog::{Skipped, UpstreamState};
use toolscout_core::{Generation, ToolId, UpstreamId};

/// Why an upstream is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The service starts, or the upstream is new.
    Start,
    /// It says that its tools changed.
    Changed,
    /// Its last listing has grown old.
    Expired,
    /// Its last listing failed.
    Retry,
    /// Somebody asked.
    Demand,
}

/// A step of a crawl, for a progress bar or a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrawlEvent {
    /// A listing of this upstream begins.
    Started {
        /// Which.
        upstream: UpstreamId,
        /// Why.
        reason: Reason,
    },
    /// It ended, one way or the other.
    Ended(Crawled),
}

/// How the listing of one upstream went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Crawled {
    /// Which.
    pub upstream: UpstreamId,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It is in the catalog.
    Listed {
        /// Tools the upstream now has in the catalog.
        n_tools: usize,
        /// Of these, new ones.
        added: usize,
        /// Of these, changed ones.
        changed: usize,
        /// Tools that are gone.
        removed: usize,
        /// Tools of the upstream that are withheld because their definitions wait for an approval.
        waiting: Vec<ToolId>,
        /// Tools that are withheld for hostile text.
        hostile: usize,
        /// Tools that are shown although a scan found something in their texts.
        suspicious: usize,
        /// What could not be taken.
        skipped: Vec<Skipped>,
        /// Why the listing ended early, if it did.
        truncated: Option<String>,
        /// The generation that has it.
        generation: Generation,
    },
    /// Nothing came; the tools known from before stay.
    Failed {
        /// The state that the upstream is in now.
        state: UpstreamState,
        /// Why, cleaned, outermost cause first.
        reason: String,
        /// What to do about it, where known.
        hint: Option<String>,
        /// Tools known from before.
        n_tools: usize,
        /// Whether the server answered, if only with an error.
        answered: bool,
    },
    /// The crawler was stopped before it ended.
    Stopped,
}

/// What [`crate::Crawler::crawl`] did, by upstream id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CrawlReport {
    /// One entry per upstream asked for.
    pub upstreams: Vec<Crawled>,
}

impl CrawlReport {
    /// Whether every upstream was listed.
    pub fn is_ok(&self) -> bool {
        self.upstreams.iter().all(|crawled| matches!(crawled.outcome, Outcome::Listed { .. }))
    }
}

/// Told about every step, on the crawler's task: must not block.
pub type ProgressFn = Arc<dyn Fn(&CrawlEvent) + Send + Sync>;
