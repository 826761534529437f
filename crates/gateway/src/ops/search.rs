//! Search: words to a selection, kept for explanations.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use toolscout_catalog::{CatalogView, UpstreamRow, UpstreamState};
use toolscout_core::text::{preview, sanitize};
use toolscout_core::{Caller, ContentHash, Generation, SelectionId, SideEffect, UpstreamId};
use toolscout_embed::QueryVectors;
use toolscout_index::{IndexProgress, Snapshot};
use toolscout_policy::Policy;
use toolscout_quality::QualityView;
use toolscout_selector::{Evidence, HeldTool, Query, Selected, Selection, SelectorOptions, select_with};
use tracing::{Instrument as _, info_span, warn};

use super::resolve::{visible_upstream, visible_upstreams};
use crate::error::OpError;
use crate::lenient::{MAX_LIMIT, Mistake, bounded};
use crate::plain;
use crate::second::settled;
use crate::selections::Kept;
use crate::services::Services;
use crate::wire::{Detail, Filters, FoundTool, NoMatch, SearchRequest, SearchResponse, Withheld, WithheldTool};

/// Tools per answer when nobody says how many.
const DEFAULT_LIMIT: usize = 5;
/// Longest summary, in characters.
const MAX_SUMMARY: usize = 240;

/// Finds the tools that fit a task.
pub async fn search(services: &Services, caller: &Caller, request: SearchRequest) -> Result<SearchResponse, OpError> {
    let span = info_span!("search", client = %preview(&caller.client), n_found = tracing::field::Empty);
    async {
        let found = find(services, caller, &request.query, request.limit, &request.filters).await?;
        tracing::Span::current().record("n_found", found.tools.len());
        let schemas = match request.detail {
            Detail::Schema => schemas(services, &found.tools).await?,
            Detail::Name | Detail::Summary => Vec::new(),
        };
        let mut schemas = schemas.into_iter();
        let tools = found.tools.iter().map(|tool| found_tool(tool, request.detail, schemas.next())).collect();
        Ok(SearchResponse {
            selection_id: found.id.as_str().to_owned(),
            index_state: found.index_state,
            confidence: rounded(found.confidence),
            tools,
            no_match: found.no_match,
            withheld: found.withheld,
        })
    }
    .instrument(span)
    .await
}

/// A selection that was made and kept.
pub(crate) struct Found {
    /// Its id.
    pub(crate) id: SelectionId,
    /// Which sides answered, in the word for outside.
    pub(crate) index_state: String,
    /// How likely it is that the first tool is right.
    pub(crate) confidence: f64,
    /// The tools, best first.
    pub(crate) tools: Vec<Selected>,
    /// Set when nothing fits.
    pub(crate) no_match: Option<NoMatch>,
    /// What the caller was not shown.
    pub(crate) withheld: Withheld,
}

/// A selection before it is kept.
pub(crate) struct Looked {
    /// What is told.
    pub(crate) found: Found,
    /// Why it came out so.
    pub(crate) evidence: Evidence,
    /// What was searched for, bounded.
    text: String,
    generation: Generation,
}

/// Selects on the current snapshot and keeps the evidence.
pub(crate) async fn find(
    services: &Services,
    caller: &Caller,
    text: &str,
    limit: Option<usize>,
    filters: &Filters,
) -> Result<Found, OpError> {
    let looked = look(services, caller, text, limit, filters).await?;
    Ok(keep(services, caller, looked))
}

/// Selects on the current snapshot. Whoever takes the answer has it kept.
pub(crate) async fn look(
    services: &Services,
    caller: &Caller,
    text: &str,
    limit: Option<usize>,
    filters: &Filters,
) -> Result<Looked, OpError> {
    // The command line asks past the reader of requests; its answers are the same.
    let text = bounded(text);
    if text.is_empty() {
        let message = "is required: what you want to do, in words".to_owned();
        return Err(OpError::BadRequest { mistakes: vec![Mistake { field: "query".to_owned(), message }] });
    }
    let parts = &services.parts;
    let began = Instant::now();
    let snapshot = parts.index.snapshot();
    let (upstreams, max_side_effect) = read_filters(&snapshot, &parts.policy, caller, filters)?;
    let asked = upstreams.clone();
    let task = Task {
        query: Query {
            text: text.to_owned(),
            limit: limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT),
            shortlist: parts.second.as_ref().map_or(0, |stage| stage.top()),
            upstreams,
            tags: filters.tags.clone(),
            max_side_effect,
            ..Query::default()
        },
        snapshot,
        quality: parts.quality.view_at(services.now()),
        policy: Arc::clone(&parts.policy),
        caller: caller.clone(),
        options: parts.selector.clone(),
    };
    let Ranked { mut selection, with_meaning, took } = ranked(services, task).await?;
    // The catalog may be ahead of the index, and details are read from it: a tool whose text turned hostile or
    // changed since is left out.
    let newest = parts.catalog.view();
    selection.tools.retain(|tool| !newest.is_silenced(&tool.card.id));
    if let Some(stage) = &parts.second {
        selection = settled(services, stage.as_ref(), text, selection).await;
    }
    let index_state = if with_meaning { selection.index_state.as_str() } else { "lexical" };
    let id = SelectionId::from_random(rand::random());
    parts.metrics.searched(&selection, index_state, began.elapsed(), took);
    let found = Found {
        id,
        index_state: index_state.to_owned(),
        confidence: selection.confidence,
        no_match: no_match(&selection, || unlisted(&newest, &parts.policy, caller, &asked)),
        withheld: withheld(&selection),
        tools: selection.tools,
    };
    let (evidence, generation) = (selection.evidence, selection.generation);
    Ok(Looked { found, evidence, text: text.to_owned(), generation })
}

/// What a search works on once the request is read.
struct Task {
    /// Without its vectors.
    query: Query,
    snapshot: Arc<Snapshot>,
    quality: Arc<QualityView>,
    policy: Arc<Policy>,
    caller: Caller,
    options: SelectorOptions,
}

/// What came of it.
struct Ranked {
    selection: Selection,
    with_meaning: bool,
    /// How long it took without the query's vectors.
    took: Duration,
}

impl Task {
    /// The query as it is to be embedded, if slips of the keyboard are mended in it.
    fn read(&self, knows: &dyn Fn(&str) -> bool) -> Option<Query> {
        let read =
            || toolscout_selector::read(&self.snapshot, &self.quality, &self.policy, &self.caller, &self.query, knows);
        self.options.slips.then(read).flatten()
    }

    /// By the vectors of a query, or by words alone. Computes.
    fn rank(&self, query: &Query, vectors: Option<QueryVectors>) -> Ranked {
        let _span = info_span!("select").entered();
        let began = Instant::now();
        let with_meaning = vectors.is_some();
        let (vector, tokens) = vectors.map(|vectors| (vectors.pooled, vectors.tokens)).unzip();
        let query = Query { vector, tokens, ..query.clone() };
        let selection = select_with(&self.snapshot, &self.quality, &self.policy, &self.caller, &query, &self.options);
        Ranked { selection, with_meaning, took: began.elapsed() }
    }
}

/// Embeds and ranks, in one go on one thread: each change of threads costs a search as much as its smaller stages. Words alone
/// must do where there is no model, where it fails, and where it takes too long.
async fn ranked(services: &Services, task: Task) -> Result<Ranked, OpError> {
    let embedder = services.parts.embedder.clone().filter(|_| speaks_for_all(task.snapshot.progress()));
    let Some(embedder) = embedder else {
        return services.compute(move || task.rank(&task.query, None)).await;
    };
    let task = Arc::new(task);
    // Whoever is first writes here whether the vectors came in time.
    let in_time = Arc::new(OnceLock::new());
    let by_meaning = services.compute({
        let (task, in_time) = (Arc::clone(&task), Arc::clone(&in_time));
        move || {
            let read = task.read(&|word| embedder.knows(word));
            let query = read.as_ref().unwrap_or(&task.query);
            let text = toolscout_index::glossary::with_gloss(&query.text);
            let vectors = info_span!("embed").in_scope(|| embedder.embed_query(&text));
            // Too late: nobody waits any more.
            in_time.set(true).ok()?;
            Some(match vectors {
                Ok(vectors) => task.rank(query, Some(vectors)),
                Err(error) => {
                    not_embedded(&error);
                    task.rank(&task.query, None)
                }
            })
        }
    });
    // In a block of its own: whoever gives up must leave the queue for a slot before joining it again.
    let done = {
        let mut by_meaning = std::pin::pin!(by_meaning);
        let patience = tokio::time::sleep(services.parts.options.embed_patience);
        tokio::select! {
            biased;
            done = &mut by_meaning => done,
            () = patience => match in_time.set(false) {
                Ok(()) => Ok(None),
                Err(_) => by_meaning.await,
            },
        }
    };
    match done {
        Ok(Some(ranked)) => return Ok(ranked),
        Ok(None) => warn!("query not embedded in time, answering from words alone"),
        Err(error) if in_time.get().is_some() => return Err(error),
        Err(error) => not_embedded(&error),
    }
    services.compute(move || task.rank(&task.query, None)).await
}

/// Whether as many tools have a vector as that those without are the exception. Meaning puts the few that have one before all
/// others, and finds nothing near where the right one has none.
fn speaks_for_all(progress: &IndexProgress) -> bool {
    progress.embedded * 2 >= progress.total
}

fn not_embedded(error: &(dyn std::error::Error + 'static)) {
    warn!(error, "query not embedded, answering from words alone");
}

fn read_filters(
    snapshot: &Snapshot,
    policy: &Policy,
    caller: &Caller,
    filters: &Filters,
) -> Result<(Vec<UpstreamId>, Option<SideEffect>), OpError> {
    let view = snapshot.view();
    let is_known = |id: &UpstreamId| {
        let is_there = view.upstreams.contains_key(id) || !view.tools_of(id).is_empty();
        is_there && visible_upstream(view, policy, caller, id)
    };
    let mut upstreams = Vec::new();
    for name in &filters.upstreams {
        // The server's display name is what a model may have seen; its slug is what people make ids of.
        let id = UpstreamId::new(name).or_else(|_| UpstreamId::slug(name)).ok();
        match id.filter(is_known) {
            Some(id) => upstreams.push(id),
            None => return Err(unknown_upstream(visible_upstreams(view, policy, caller), name)),
        }
    }
    let max_side_effect = match filters.max_side_effect.as_deref() {
        None => None,
        Some("read") => Some(SideEffect::Read),
        Some("write") => Some(SideEffect::Write),
        Some("destructive") => Some(SideEffect::Destructive),
        Some(other) => {
            let message = format!("must be read, write or destructive, not \"{}\"", preview(other));
            return Err(OpError::BadRequest { mistakes: vec![Mistake { field: "max_side_effect".into(), message }] });
        }
    };
    Ok((upstreams, max_side_effect))
}

/// The error that names the upstreams most like what was asked for.
pub(crate) fn unknown_upstream<'a>(known: impl Iterator<Item = &'a UpstreamId>, asked: &str) -> OpError {
    let mut near: Vec<(f64, &UpstreamId)> =
        known.map(|id| (strsim::jaro_winkler(&asked.to_lowercase(), id.as_str()), id)).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let nearest = near.iter().take(3).filter(|(score, _)| *score > 0.6).map(|(_, id)| id.to_string()).collect();
    OpError::UnknownUpstream { id: preview(asked), nearest }
}

/// Keeps a selection for explanations.
pub(crate) fn keep(services: &Services, caller: &Caller, looked: Looked) -> Found {
    let Looked { found, evidence, text, generation } = looked;
    services.parts.selections.keep(Kept {
        id: found.id.clone(),
        at: services.now(),
        tenant: caller.tenant.clone(),
        client: preview(&caller.client),
        generation,
        query_hash: ContentHash::of(text.as_bytes()).to_string(),
        query: services.parts.options.keep_queries.then_some(text),
        index_state: found.index_state.clone(),
        confidence: found.confidence,
        tools: found.tools.iter().map(|tool| (tool.card.id.clone(), tool.score)).collect(),
        no_match: found.no_match.clone(),
        evidence,
    });
    found
}

/// The input schemas of the selected tools, in their order; an empty object where the definition is gone by now.
async fn schemas(services: &Services, tools: &[Selected]) -> Result<Vec<Value>, OpError> {
    let catalog = Arc::clone(&services.parts.catalog);
    let ids: Vec<_> = tools.iter().map(|tool| tool.card.id.clone()).collect();
    let read = services.compute(move || ids.iter().map(|id| catalog.raw(id)).collect::<Result<Vec<_>, _>>());
    let raws = read.await?.map_err(OpError::internal)?;
    Ok(raws.into_iter().map(input_schema).map(plain::shown).collect())
}

/// A definition's input schema as its server sent it: for checking. What is shown goes through [`plain::shown`].
pub(crate) fn input_schema(raw: Option<Value>) -> Value {
    match raw {
        // Files hold anything; a schema that is none asks for nothing.
        Some(Value::Object(mut definition)) => definition.remove("inputSchema").filter(Value::is_object),
        _ => None,
    }
    .unwrap_or_else(|| Value::Object(<_>::default()))
}

fn found_tool(tool: &Selected, detail: Detail, schema: Option<Value>) -> FoundTool {
    let card = &tool.card;
    let says_more = detail != Detail::Name;
    FoundTool {
        id: card.id.to_string(),
        title: card.title.clone(),
        summary: says_more.then(|| summary(&card.purpose)),
        side_effect: card.side_effect.as_str().to_owned(),
        score: rounded(tool.score.value()),
        quality: rounded(tool.quality),
        signature: (detail == Detail::Summary).then(|| card.signature()),
        input_schema: schema,
        caution: tool.misleads.then(|| MISLEADS.to_owned()),
        variants: tool.variants.iter().map(ToString::to_string).collect(),
    }
}

/// What whoever finds a tool is told whose callers often get its arguments wrong.
const MISLEADS: &str = "its arguments are often wrong: read get_tool_details before you call it";

/// One line of a card's purpose.
pub(crate) fn summary(purpose: &str) -> String {
    sanitize(&purpose.replace('\n', " "), MAX_SUMMARY)
}

/// Why nothing fits, and whose tools might have if anybody knew them.
fn no_match(selection: &Selection, unlisted: impl FnOnce() -> Vec<String>) -> Option<NoMatch> {
    selection.no_match.as_ref().map(|none| NoMatch {
        reason: match unlisted() {
            unlisted if unlisted.is_empty() => none.reason.as_str().to_owned(),
            unlisted => {
                format!("{}; not searched, as they list no tools: {}", none.reason.as_str(), unlisted.join(", "))
            }
        },
        nearest: none.nearest.iter().map(ToString::to_string).collect(),
    })
}

/// Upstreams that the caller may know of and asked for, that never listed a tool and do not answer now, each with its state:
/// `vault (needs_auth)`.
fn unlisted(view: &CatalogView, policy: &Policy, caller: &Caller, asked: &[UpstreamId]) -> Vec<String> {
    let is_unlisted = |row: &&Arc<UpstreamRow>| {
        let answers = matches!(row.state, UpstreamState::Ready | UpstreamState::Stale);
        let is_asked = asked.is_empty() || asked.contains(&row.id);
        is_asked && !answers && view.tools_of(&row.id).is_empty() && visible_upstream(view, policy, caller, &row.id)
    };
    let mut told: Vec<String> =
        view.upstreams.values().filter(is_unlisted).map(|row| format!("{} ({})", row.id, row.state.as_str())).collect();
    let n_more = told.len().saturating_sub(MAX_UNLISTED);
    told.truncate(MAX_UNLISTED);
    told.extend((n_more > 0).then(|| format!("and {n_more} more")));
    told
}

/// Upstreams without tools that are named; the others are counted.
const MAX_UNLISTED: usize = 3;

pub(crate) fn withheld(selection: &Selection) -> Withheld {
    let since = |held: &HeldTool| held.since.map(|since| format!(" since {}", since.rfc3339())).unwrap_or_default();
    let held = |held: &HeldTool| WithheldTool {
        id: held.id.to_string(),
        reason: format!("{}{}: {}", held.what, since(held), held.reason),
        instead: held.instead.iter().map(ToString::to_string).collect(),
    };
    Withheld {
        count: selection.withheld.count,
        reasons: selection.withheld.reasons.clone(),
        tools: selection.withheld.tools.iter().map(held).collect(),
    }
}

/// Three digits tell all there is to tell, and cost fewer tokens.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use toolscout_index::IndexState;

    use super::*;

    #[track_caller]
    fn check(embedded: usize, total: usize, expect: bool) {
        let progress = IndexProgress { state: IndexState::HybridPartial, embedded, total, reason: None };
        assert_eq!(speaks_for_all(&progress), expect, "{embedded} of {total}");
    }

    #[test]
    fn words_answer_until_half_of_the_tools_have_a_vector() {
        check(0, 0, true);
        check(0, 1, false);
        check(1, 242, false);
        check(120, 242, false);
        check(121, 242, true);
        check(242, 242, true);
    }
}
