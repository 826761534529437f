//! What operators ask: tools, upstreams, selections, quality, readiness.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use toolscout_catalog::{CatalogView, Error};
use toolscout_core::text::sanitize;
use toolscout_core::{Caller, ContentHash, SideEffect, ToolId, UpstreamId};
use toolscout_quality::health::State;
use toolscout_quality::{Decision, QualityView, Standing, Verdict};
use utoipa::IntoParams;

use super::details::{Reader, approved, details, upstream_state};
use super::resolve::{resolve, visible, visible_upstream, visible_upstreams};
use super::search::{rounded, summary, unknown_upstream};
use crate::error::OpError;
use crate::lenient::Mistake;
use crate::services::Services;
use crate::wire::{
    ApproveRequest, ApproveResponse, DecisionRequest, DecisionResponse, DetailsRequest, QualityList, QualityRow,
    Readiness, RecrawlResponse, SelectionList, SelectionRow, ToolDetails, ToolPage, ToolRow, UpstreamList,
    UpstreamStatus,
};

/// Most rows of one page.
const MAX_PAGE: usize = 500;

/// Which tools to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ToolsQuery {
    /// Only tools of this upstream.
    pub upstream: Option<String>,
    /// Only tools whose id comes after this one: `next` of the page before.
    pub after: Option<String>,
    /// At most this many, 1 to 500; 100 when absent.
    pub limit: Option<usize>,
    /// `true`: only tools whose definitions wait for an approval.
    pub waiting: Option<bool>,
}

/// One page of the tools that the caller may see, by id.
pub fn tools(services: &Services, caller: &Caller, query: &ToolsQuery) -> Result<ToolPage, OpError> {
    let parts = &services.parts;
    let view = parts.catalog.view();
    let quality = parts.quality.view_at(services.now());
    let upstream = match &query.upstream {
        None => None,
        Some(asked) => Some(known_upstream(services, caller, asked)?),
    };
    let of_upstream = |card: &&Arc<toolscout_core::ToolCard>| {
        upstream.as_ref().is_none_or(|id| card.id.upstream == *id)
            && (query.waiting != Some(true) || view.unapproved(&card.id).is_some())
            && visible(&parts.policy, caller, card)
    };
    let total = view.tools.iter().filter(of_upstream).count();
    let after: Option<toolscout_core::ToolId> = match &query.after {
        None => None,
        Some(text) => Some(text.parse().map_err(|error: toolscout_core::IdError| OpError::BadRequest {
            mistakes: vec![Mistake { field: "after".to_owned(), message: error.to_string() }],
        })?),
    };
    let limit = query.limit.unwrap_or(100).clamp(1, MAX_PAGE);
    let mut cards =
        view.tools.iter().filter(of_upstream).filter(|card| after.as_ref().is_none_or(|after| card.id > *after));
    let tools: Vec<ToolRow> = cards
        .by_ref()
        .take(limit)
        .map(|card| ToolRow {
            id: card.id.to_string(),
            title: if view.screen.withholds(&card.id) { String::new() } else { card.title.clone() },
            summary: match view.screen.reason(&card.id) {
                Some(reason) => format!("withheld for hostile text: {reason}"),
                None => summary(&card.purpose),
            },
            side_effect: card.side_effect.as_str().to_owned(),
            quality: rounded(quality.score(&card.id)),
            state: match (view.unapproved(&card.id), quality.held(&card.id, card.side_effect)) {
                (Some(waits), _) => waits.what.as_str().to_owned(),
                (None, Some(held)) => held.what.as_str().to_owned(),
                (None, None) => quality.of(&card.id).state.as_str().to_owned(),
            },
            upstream_state: upstream_state(&view, card).to_owned(),
        })
        .collect();
    let more = cards.next().is_some();
    let next = tools.last().filter(|_| more).map(|row| row.id.clone());
    Ok(ToolPage { generation: view.generation.0, total, tools, next })
}

/// Everything about one tool, also what waits for an approval: for operators.
pub async fn tool(services: &Services, caller: &Caller, id: &str) -> Result<ToolDetails, OpError> {
    let request = DetailsRequest { ids: vec![id.to_owned()] };
    let mut answer = details(services, caller, request, Reader::Operator).await?;
    match (answer.tools.pop(), answer.unknown.pop()) {
        (Some(tool), _) => Ok(tool),
        (None, Some(unknown)) => Err(OpError::UnknownTool(unknown)),
        (None, None) => unreachable!("one id asked gives one tool or one unknown"),
    }
}

/// The caller's newest selections.
pub async fn selections(services: &Services, caller: &Caller, limit: Option<usize>) -> Result<SelectionList, OpError> {
    let (log, tenant) = (Arc::clone(&services.parts.selections), caller.tenant.clone());
    let limit = limit.unwrap_or(50).clamp(1, MAX_PAGE);
    let newest = services.compute(move || log.newest(&tenant, limit)).await?.map_err(OpError::internal)?;
    let row = |kept: &Arc<crate::selections::Kept>| SelectionRow {
        selection_id: kept.id.as_str().to_owned(),
        at: kept.at.rfc3339(),
        generation: kept.generation.0,
        confidence: rounded(kept.confidence),
        tools: kept.tools.iter().map(|(id, _)| id.to_string()).collect(),
    };
    Ok(SelectionList { selections: newest.iter().map(row).collect() })
}

/// How the calls of every tool went that was ever called and that the caller may see, worst first.
pub fn quality(services: &Services, caller: &Caller) -> QualityList {
    let parts = &services.parts;
    let (view, quality) = (parts.catalog.view(), parts.quality.view_at(services.now()));
    let may_see = |id: &ToolId| view.get(id).is_some_and(|card| visible(&parts.policy, caller, card));
    let mut known: Vec<_> = quality.iter().filter(|(id, _)| may_see(id)).collect();
    known.sort_by(|a, b| a.1.score.score.total_cmp(&b.1.score.score).then_with(|| a.0.cmp(&b.0)));
    let row = |(id, known): (ToolId, &toolscout_quality::ToolQuality)| {
        let mut told = serde_json::to_value(known).unwrap_or_default();
        if let Some((best, goes_before)) = best_relative(&view, &quality, &id, may_see) {
            told["family"] = json!({"best": best, "score": rounded(quality.score(&best)), "goes_before": goes_before});
        }
        QualityRow { id: id.to_string(), quality: told }
    };
    let upstreams = quality.upstreams().filter(|(id, _)| visible_upstream(&view, &parts.policy, caller, id));
    let upstreams = upstreams.map(|(id, known)| {
        let mut told = serde_json::to_value(known).unwrap_or_default();
        if quality.upstreams_read_only().any(|read_only| read_only == id) {
            told["read_only"] = true.into();
        }
        QualityRow { id: id.to_string(), quality: told }
    });
    QualityList {
        upstreams: upstreams.collect(),
        tools: known.into_iter().map(row).collect(),
        dropped: parts.quality.dropped(),
    }
}

/// The best of the tools that do the same and may be shown, those that are called before those that are not, and whether it goes
/// before this one.
fn best_relative(
    view: &CatalogView,
    quality: &QualityView,
    id: &ToolId,
    may_see: impl Fn(&ToolId) -> bool,
) -> Option<(ToolId, bool)> {
    let stands = |id: &ToolId| {
        let effect = view.get(id).map_or(SideEffect::Read, |card| card.side_effect);
        matches!(quality.standing_of(id, effect), Standing::Open)
    };
    let others = view.family_of(id)?.tools.iter().filter(|other| *other != id && may_see(other));
    let others = others.filter(|other| !view.is_silenced(other)).map(|other| (stands(other), other));
    let (works, best) = others.max_by(|(a_works, a), (b_works, b)| {
        let by_score = || quality.score(a).total_cmp(&quality.score(b));
        a_works.cmp(b_works).then_with(by_score).then_with(|| b.cmp(a))
    })?;
    let takes_over = works && !stands(id) && quality.of(id).state != State::Probation;
    Some((best.clone(), takes_over || quality.yields_to(id, best)))
}

/// Puts a tool aside or takes it back, whatever its calls say. Holds over restarts.
pub async fn decide_quality(
    services: &Services,
    caller: &Caller,
    id: &str,
    verdict: Verdict,
    request: DecisionRequest,
) -> Result<DecisionResponse, OpError> {
    let parts = &services.parts;
    let tool = resolve(&parts.catalog.view(), &parts.policy, caller, id).map_err(OpError::UnknownTool)?.id.clone();
    // It is shown in lines and tables.
    let reason = sanitize(&request.reason.unwrap_or_default().replace('\n', " "), MAX_REASON);
    let decision = Decision { tool: tool.clone(), verdict, reason, at: services.now() };
    let quality = Arc::clone(&parts.quality);
    let decided = services.compute(move || quality.decide(decision)).await?;
    decided.map_err(OpError::internal)?;
    let quality = parts.quality.view_at(services.now()).of(&tool);
    Ok(DecisionResponse { id: tool.to_string(), quality: serde_json::to_value(quality).unwrap_or_default() })
}

/// Approves the definition of a tool that waits, if it is the one that was looked at.
pub async fn approve(
    services: &Services,
    caller: &Caller,
    id: &str,
    request: ApproveRequest,
) -> Result<ApproveResponse, OpError> {
    let parts = &services.parts;
    let tool = resolve(&parts.catalog.view(), &parts.policy, caller, id).map_err(OpError::UnknownTool)?.id.clone();
    let hash: ContentHash = request.hash.trim().parse().map_err(|_| {
        let message = "must be the 64 digits of `waiting.hash`, as GET /v1/tools/{id} gives them".to_owned();
        OpError::BadRequest { mistakes: vec![Mistake { field: "hash".to_owned(), message }] }
    })?;
    let (catalog, at, of) = (Arc::clone(&parts.catalog), services.now(), tool.clone());
    let done = services.compute(move || {
        let change = catalog.approve(&of, hash, at)?;
        let card = change.view.get(&of).ok_or_else(|| Error::NothingWaits(of.clone()))?;
        approved(&catalog, &change.view, card)?.ok_or(Error::NothingWaits(of))
    });
    match done.await? {
        Ok(definition) => Ok(ApproveResponse { id: tool.to_string(), definition }),
        Err(Error::NothingWaits(tool)) => Err(OpError::NothingWaits { tool }),
        Err(Error::OtherWaits { tool, waits }) => Err(OpError::OtherWaits { tool, waits }),
        Err(error) => Err(OpError::internal(error)),
    }
}

/// Longest reason of an operator, in characters.
const MAX_REASON: usize = 200;

/// The state of every upstream that the caller may see.
pub fn upstreams(services: &Services, caller: &Caller) -> UpstreamList {
    let view = services.parts.catalog.view();
    let seen = view.upstreams.values().filter(|row| visible_upstream(&view, &services.parts.policy, caller, &row.id));
    // Whether a tool is visible is asked anew: policy may hide one of an upstream's.
    let may_see = |id: &ToolId| view.get(id).is_some_and(|card| visible(&services.parts.policy, caller, card));
    let fallen = |id: &UpstreamId| {
        let fallen = services.parts.findability.fallen(id);
        fallen.iter().filter(|id| may_see(id)).map(ToString::to_string).collect()
    };
    let rows = seen.map(|row| (row, view.screen.counts(&row.id))).map(|(row, (hostile, suspicious))| UpstreamStatus {
        hostile,
        suspicious,
        found_less_well: fallen(&row.id),
        id: row.id.to_string(),
        state: row.state.as_str().to_owned(),
        since: row.since.rfc3339(),
        reason: row.reason.clone(),
        n_tools: row.n_tools,
        server: row.server.name.clone(),
        protocol_version: row.server.protocol_version.clone(),
    });
    UpstreamList { upstreams: rows.collect() }
}

/// Crawls one upstream now and waits for the end.
pub async fn recrawl(services: &Services, caller: &Caller, id: &str) -> Result<RecrawlResponse, OpError> {
    let parts = &services.parts;
    let unknown = || {
        let view = parts.catalog.view();
        unknown_upstream(visible_upstreams(&view, &parts.policy, caller), id)
    };
    let asked = UpstreamId::new(id).map_err(|_| unknown())?;
    if !visible_upstream(&parts.catalog.view(), &parts.policy, caller, &asked) {
        return Err(unknown());
    }
    match parts.recrawl.recrawl(asked).await {
        // The nearest that whoever crawls can name are not chosen for this caller.
        Err(OpError::UnknownUpstream { .. }) => Err(unknown()),
        outcome => outcome,
    }
}

/// Whether the service can answer, and how well; figures of the catalog only for a known caller, and of what it may see.
pub fn readiness(services: &Services, caller: Option<&Caller>) -> Readiness {
    let parts = &services.parts;
    let (view, snapshot) = (parts.catalog.view(), parts.index.snapshot());
    let n_tools = |caller| snapshot.view().tools.iter().filter(|card| visible(&parts.policy, caller, card)).count();
    let n_not_ready = |caller| {
        let rows = view.upstreams.values().filter(|row| row.state != toolscout_catalog::UpstreamState::Ready);
        rows.filter(|row| visible_upstream(&view, &parts.policy, caller, &row.id)).count()
    };
    Readiness {
        ready: !services.drain.is_draining(),
        index_state: if parts.embedder.is_some() { snapshot.state().as_str() } else { "lexical" }.to_owned(),
        index_reason: snapshot.progress().reason.clone(),
        catalog_generation: view.generation.0,
        index_generation: snapshot.generation().0,
        n_tools: caller.map(n_tools),
        upstreams_not_ready: caller.map(n_not_ready),
        damage: parts.damage.clone(),
    }
}

fn known_upstream(services: &Services, caller: &Caller, asked: &str) -> Result<UpstreamId, OpError> {
    let (view, policy) = (services.parts.catalog.view(), &services.parts.policy);
    let id = UpstreamId::new(asked).ok();
    let is_there = |id: &UpstreamId| view.upstream(id).is_some() || !view.tools_of(id).is_empty();
    id.filter(|id| is_there(id) && visible_upstream(&view, policy, caller, id))
        .ok_or_else(|| unknown_upstream(visible_upstreams(&view, policy, caller), asked))
}
