//! Where was one tool left behind?

use serde::{Deserialize, Serialize};
use toolscout_core::{Caller, ToolId};
use toolscout_index::Snapshot;
use toolscout_policy::Policy;

use crate::evidence::{Candidate, Evidence};
use crate::select::Query;

/// What is at hand when the question is asked.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The index as it is now; its generation may be later than the evidence's.
    pub snapshot: &'a Snapshot,
    /// The policy as it is now.
    pub policy: &'a Policy,
    /// Who asks. What it may not see is answered like what does not exist.
    pub caller: &'a Caller,
    /// The query, if it is still known.
    pub query: Option<&'a Query>,
}

/// Why one tool is not in a selection, or that it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhyNot {
    /// Which tool.
    pub id: ToolId,
    /// Where it was left behind.
    pub stage: WhyStage,
    /// One sentence for people.
    pub reason: String,
    /// What the selection knows of it, if it was a candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
    /// Tools of nearly that name, when there is no such tool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<ToolId>,
}

/// The stage at which a tool was left behind, in the order of the stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyStage {
    /// There is no such tool, or none that the caller may know of.
    Unknown,
    /// The caller's filters exclude it.
    Filtered,
    /// Neither words nor meaning proposed it.
    NotACandidate,
    /// The same tool of another upstream stands for it.
    Family,
    /// Better ones filled the limit.
    BelowLimit,
    /// Nothing was near enough, it neither.
    NothingFits,
    /// It is in the selection.
    Selected,
}

/// Answers "why not this tool?".
pub fn why_not(evidence: &Evidence, asked: &Asked<'_>, id: &ToolId) -> WhyNot {
    let _ = (evidence, asked, id);
    unimplemented!("lands next")
}
