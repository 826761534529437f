//! Where was one tool left behind?

use serde::{Deserialize, Serialize};
use toolscout_core::{Caller, ToolCard, ToolId};
use toolscout_index::{Allow, DocIdx, LexicalOptions, Snapshot};
use toolscout_policy::Policy;

use crate::access::{hidden_by, passes_filters};
use crate::evidence::{Candidate, Evidence, Fate, MAX_HELD};
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
    /// It was in quarantine, its server was down, its definition held a text that speaks to the model, or waited for an approval.
    Withheld,
    /// Neither words nor meaning proposed it.
    NotACandidate,
    /// The same tool of another upstream stands for it.
    Family,
    /// Better ones filled the limit.
    BelowLimit,
    /// Its definition did not fit the token budget.
    OverBudget,
    /// Nothing was near enough, it neither.
    NothingFits,
    /// It is in the selection.
    Selected,
}

/// Answers "why not this tool?".
pub fn why_not(evidence: &Evidence, asked: &Asked<'_>, id: &ToolId) -> WhyNot {
    let answer = |stage, reason: String| WhyNot { id: id.clone(), stage, reason, candidate: None, nearest: Vec::new() };
    if let Some(candidate) = evidence.candidates.iter().find(|candidate| candidate.id == *id) {
        return of_candidate(evidence, candidate);
    }
    let card = asked.snapshot.view().get(id).filter(|card| hidden_by(card, asked.policy, asked.caller).is_none());
    let Some(card) = card else {
        // The same words whether it does not exist or is denied: a denial would tell that it exists.
        let nearest = asked.snapshot.view().nearest(&id.to_string(), 2 * MAX_NEAREST);
        let visible = |near: &ToolId| {
            let card = asked.snapshot.view().get(near);
            card.is_some_and(|card| hidden_by(card, asked.policy, asked.caller).is_none())
        };
        let nearest = nearest.into_iter().filter(visible).take(MAX_NEAREST).collect();
        let reason = format!("there is no tool `{id}` that this caller may see");
        return WhyNot { nearest, ..answer(WhyStage::Unknown, reason) };
    };
    let access = &evidence.access;
    let filters = Query {
        upstreams: access.upstreams.clone(),
        tags: access.tags.clone(),
        max_side_effect: access.max_side_effect,
        ..Query::default()
    };
    if !passes_filters(card, &filters) {
        return answer(WhyStage::Filtered, filter_reason(card, &filters));
    }
    if let Some(reason) = asked.snapshot.view().screen.reason(id) {
        return answer(WhyStage::Withheld, format!("hostile_text: {reason}"));
    }
    if let Some(held) = access.held.iter().find(|held| held.id == *id) {
        let since = held.since.map(|since| format!(" since {}", since.rfc3339())).unwrap_or_default();
        return answer(WhyStage::Withheld, format!("{}{since}: {}", held.what, held.reason));
    }
    // More are withheld than were written down.
    if let Some(waits) = asked.snapshot.view().unapproved(id).filter(|_| access.held.len() >= MAX_HELD) {
        let (what, since) = (waits.what.as_str(), waits.since.rfc3339());
        return answer(WhyStage::Withheld, format!("{what} since {since}: {}", waits.reason()));
    }
    let mut reason = format!(
        "neither words ({} candidates) nor meaning ({}) put it among the best {} of {} permitted tools",
        evidence.lexical.n_candidates,
        evidence.dense.n_candidates,
        evidence.candidates.len(),
        access.n_allowed
    );
    if let Some(query) = asked.query {
        reason.push_str(&scores_now(asked.snapshot, query, id));
    }
    if asked.snapshot.generation() != evidence.generation {
        reason.push_str(&format!(
            "; the catalog has changed since, from generation {} to {}",
            evidence.generation,
            asked.snapshot.generation()
        ));
    }
    answer(WhyStage::NotACandidate, reason)
}

/// Most near names offered.
const MAX_NEAREST: usize = 3;

fn of_candidate(evidence: &Evidence, candidate: &Candidate) -> WhyNot {
    let cut = evidence.candidates.iter().rfind(|other| other.fate == Fate::Selected);
    let (stage, reason) = match &candidate.fate {
        Fate::Selected => (WhyStage::Selected, format!("it is in the selection, at rank {}", candidate.rank)),
        Fate::SameAs { id } => {
            let shown = evidence.candidates.iter().find(|other| other.id == *id);
            match shown.map(|shown| &shown.fate) {
                Some(Fate::OverBudget { .. }) => {
                    (WhyStage::OverBudget, format!("it is the same tool as `{id}`, which the token budget left out"))
                }
                _ => {
                    let reason =
                        format!("it is the same tool as `{id}`, which is in the selection and stands for both");
                    (WhyStage::Family, reason)
                }
            }
        }
        Fate::BelowLimit => {
            let score = candidate.score.value();
            let cut = cut.map_or_else(String::new, |last| {
                format!(": the last one, `{}`, has {:.3}", last.id, last.score.value())
            });
            let (rank, limit) = (candidate.rank, evidence.limit);
            (WhyStage::BelowLimit, format!("it ranks {rank} with {score:.3}, and {limit} were asked for{cut}"))
        }
        Fate::OverBudget { tokens } => {
            let left = evidence.budget.map_or_else(String::new, |budget| {
                format!(": the definitions given take {} of {}", budget.used, budget.tokens)
            });
            let rank = candidate.rank;
            let reason = format!("it ranks {rank}, and its {tokens} tokens are more than the budget had left{left}");
            (WhyStage::OverBudget, reason)
        }
        Fate::NothingFits => {
            let confidence = &evidence.confidence;
            let reason = format!(
                "nothing fits: confidence {:.3} is below {:.3}; this tool ranks {} of what there is",
                confidence.confidence, confidence.threshold, candidate.rank
            );
            (WhyStage::NothingFits, reason)
        }
    };
    WhyNot { id: candidate.id.clone(), stage, reason, candidate: Some(candidate.clone()), nearest: Vec::new() }
}

fn filter_reason(card: &ToolCard, filters: &Query) -> String {
    let max = filters.max_side_effect;
    if let Some(max) = max.filter(|max| card.side_effect > *max) {
        let (own, max) = (card.side_effect.as_str(), max.as_str());
        return format!("its side effect is `{own}`, and the search was limited to `{max}`");
    }
    if !filters.upstreams.is_empty() && !filters.upstreams.contains(&card.id.upstream) {
        return format!("the search was limited to other upstreams than `{}`", card.id.upstream);
    }
    format!("it has none of the tags asked for: {}", filters.tags.join(", "))
}

/// What both sides say of it today.
fn scores_now(snapshot: &Snapshot, query: &Query, id: &ToolId) -> String {
    let Some(doc) = snapshot.view().position(id) else { return String::new() };
    let doc = doc as DocIdx;
    let words = snapshot.lexical_run(&query.text, &Allow::All, &LexicalOptions::default()).score(doc);
    let cosine = query.vector.as_deref().and_then(|vector| snapshot.cosine(doc, vector));
    let meaning = cosine.map_or_else(|| "no vector".to_owned(), |cosine| format!("cosine {cosine:.3}"));
    format!("; now it has word score {words:.3} and {meaning}")
}
