//! The routes of `/v1`. Each documents itself; the document at `/openapi.json` is made of nothing else.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Json;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};
use toolscout_core::{Caller, CallerClass};
use toolscout_quality::Verdict;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::guard::Guard;
use super::{App, bad_body, read_body};
use crate::error::OpError;
use crate::lenient::{self, Mistake, kind};
use crate::lines;
use crate::ops::{self, ToolsQuery};
use crate::wire::{
    ApproveRequest, ApproveResponse, CallRequest, CallResponse, DecisionRequest, DecisionResponse, ExplainRequest,
    ExplainResponse, Problem, QualityList, Readiness, RecrawlResponse, SearchRequest, SearchResponse, SelectRequest,
    SelectResponse, SelectionList, ToolDetails, ToolPage, UpstreamList,
};

type Answer<T> = Result<Json<T>, OpError>;

pub(super) fn router(router: OpenApiRouter<Arc<App>>) -> OpenApiRouter<Arc<App>> {
    router
        .routes(routes!(select))
        .routes(routes!(search))
        .routes(routes!(tools))
        .routes(routes!(tool))
        .routes(routes!(call))
        .routes(routes!(selections))
        .routes(routes!(selection))
        .routes(routes!(quality))
        .routes(routes!(quarantine))
        .routes(routes!(release))
        .routes(routes!(approve))
        .routes(routes!(upstreams))
        .routes(routes!(crawl))
}

/// Ready tool definitions for one model request.
#[utoipa::path(post, path = "/v1/select", request_body = SelectRequest,
    responses((status = 200, body = SelectResponse), (status = "default", body = Problem)))]
async fn select(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Answer<SelectResponse> {
    let object = read_object(&app, body).await?;
    let asked = lenient::select(&object).map_err(|mistakes| OpError::BadRequest { mistakes })?;
    in_time(&app, ops::select_for_model(&app.services, &caller, asked)).await
}

/// The tools that fit a task, best first.
#[utoipa::path(post, path = "/v1/search", request_body = SearchRequest,
    responses((status = 200, body = SearchResponse), (status = "default", body = Problem)))]
async fn search(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Answer<SearchResponse> {
    let object = read_object(&app, body).await?;
    let asked = lenient::search(&object).map_err(|mistakes| OpError::BadRequest { mistakes })?;
    in_time(&app, ops::search(&app.services, &caller, asked)).await
}

/// One page of the tools, by id.
#[utoipa::path(get, path = "/v1/tools", params(ToolsQuery),
    responses((status = 200, body = ToolPage), (status = "default", body = Problem)))]
async fn tools(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ToolsQuery>, QueryRejection>,
) -> Answer<ToolPage> {
    ops::tools(&app.services, &caller, &read_query(query)?).map(Json)
}

/// Everything about one tool, also what waits for an approval: words of its upstream that nobody has looked at yet.
#[utoipa::path(get, path = "/v1/tools/{id}", params(("id" = String, Path, description = "Tool id or wire name")),
    responses((status = 200, body = ToolDetails), (status = "default", body = Problem)))]
async fn tool(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Answer<ToolDetails> {
    in_time(&app, ops::tool(&app.services, &caller, &read_id(id)?)).await
}

/// Calls a tool. A failure that the tool itself reports is a 200 with `is_error`.
#[utoipa::path(post, path = "/v1/tools/{id}/call", request_body = CallRequest,
    params(("id" = String, Path, description = "Tool id or wire name")),
    responses((status = 200, body = CallResponse), (status = "default", body = Problem)))]
async fn call(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Answer<CallResponse> {
    let mut object = read_object(&app, body).await?;
    object.insert("id".to_owned(), Value::from(read_id(id)?));
    let asked = lenient::call(&object).map_err(|mistakes| OpError::BadRequest { mistakes })?;
    let conditions = ops::Conditions { class: CallerClass::Service, ..ops::Conditions::default() };
    // A client that goes away ends its call.
    let _gone = conditions.cancel.clone().drop_guard();
    ops::call(&app.services, &caller, asked, conditions).await.map(Json)
}

/// How many to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SelectionsQuery {
    /// At most this many, 1 to 500; 50 when absent.
    limit: Option<usize>,
}

/// The newest selections.
#[utoipa::path(get, path = "/v1/selections", params(SelectionsQuery),
    responses((status = 200, body = SelectionList), (status = "default", body = Problem)))]
async fn selections(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<SelectionsQuery>, QueryRejection>,
) -> Answer<SelectionList> {
    let limit = read_query(query)?.limit;
    in_time(&app, ops::selections(&app.services, &caller, limit)).await
}

/// Which tool to ask about.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct WhyQuery {
    /// A tool id: why is it in the selection, or why not?
    tool: Option<String>,
}

/// A selection's evidence, or why one tool is in it or not.
#[utoipa::path(get, path = "/v1/selections/{id}", params(("id" = String, Path, description = "Selection id"), WhyQuery),
    responses((status = 200, body = ExplainResponse), (status = "default", body = Problem)))]
async fn selection(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<WhyQuery>, QueryRejection>,
) -> Answer<ExplainResponse> {
    let asked = ExplainRequest { selection_id: read_id(id)?, tool: read_query(query)?.tool };
    in_time(&app, ops::explain(&app.services, &caller, asked)).await
}

/// Puts a tool aside until it is released: searches leave it out, calls are refused.
#[utoipa::path(post, path = "/v1/tools/{id}/quarantine", request_body = DecisionRequest,
    params(("id" = String, Path, description = "Tool id or wire name")),
    responses((status = 200, body = DecisionResponse), (status = "default", body = Problem)))]
async fn quarantine(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Answer<DecisionResponse> {
    decide(&app, &caller, &read_id(id)?, Verdict::Quarantine, body).await
}

/// Takes a tool back: for a day it is called whatever its calls say, then it is judged anew.
#[utoipa::path(post, path = "/v1/tools/{id}/release", request_body = DecisionRequest,
    params(("id" = String, Path, description = "Tool id or wire name")),
    responses((status = 200, body = DecisionResponse), (status = "default", body = Problem)))]
async fn release(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Answer<DecisionResponse> {
    decide(&app, &caller, &read_id(id)?, Verdict::Release, body).await
}

/// Approves the definition of a tool that waits. Names the hash that was looked at; 409 if something else waits by now.
#[utoipa::path(post, path = "/v1/tools/{id}/approve", request_body = ApproveRequest,
    params(("id" = String, Path, description = "Tool id or wire name")),
    responses((status = 200, body = ApproveResponse), (status = "default", body = Problem)))]
async fn approve(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Answer<ApproveResponse> {
    let object = read_object(&app, body).await?;
    let Some(Value::String(hash)) = object.get("hash") else {
        let message = "is required: `waiting.hash` of the tool, as GET /v1/tools/{id} gives it".to_owned();
        return Err(OpError::BadRequest { mistakes: vec![Mistake { field: "hash".to_owned(), message }] });
    };
    let request = ApproveRequest { hash: hash.clone() };
    in_time(&app, ops::approve(&app.services, &caller, &read_id(id)?, request)).await
}

async fn decide(app: &App, caller: &Caller, id: &str, verdict: Verdict, body: Body) -> Answer<DecisionResponse> {
    let object = read_object(app, body).await?;
    let reason = match object.get("reason") {
        None | Some(Value::Null) => None,
        Some(Value::String(reason)) => Some(reason.clone()),
        Some(other) => {
            let message = format!("must be a string, not {}", kind(other));
            return Err(OpError::BadRequest { mistakes: vec![Mistake { field: "reason".to_owned(), message }] });
        }
    };
    in_time(app, ops::decide_quality(&app.services, caller, id, verdict, DecisionRequest { reason })).await
}

/// How the calls of every tool and upstream went, worst tools first.
#[utoipa::path(get, path = "/v1/quality", responses((status = 200, body = QualityList), (status = "default", body = Problem)))]
async fn quality(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Json<QualityList> {
    Json(ops::quality(&app.services, &caller))
}

/// The state of every upstream that the caller may see.
#[utoipa::path(get, path = "/v1/upstreams", responses((status = 200, body = UpstreamList), (status = "default", body = Problem)))]
async fn upstreams(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Json<UpstreamList> {
    Json(ops::upstreams(&app.services, &caller))
}

/// Crawls one upstream now and waits for the end.
#[utoipa::path(post, path = "/v1/upstreams/{id}/crawl", params(("id" = String, Path, description = "Upstream id")),
    responses((status = 200, body = RecrawlResponse), (status = "default", body = Problem)))]
async fn crawl(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Answer<RecrawlResponse> {
    ops::recrawl(&app.services, &caller, &read_id(id)?).await.map(Json)
}

/// Whether requests are answered: 200, or 503 while they are not. Answers everybody, but figures only those who may ask more.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub(super) async fn readyz(
    State(app): State<Arc<App>>,
    Extension(guard): Extension<Arc<Guard>>,
    headers: HeaderMap,
) -> (StatusCode, Json<Readiness>) {
    let caller = guard.admits_token(&headers).then(|| Caller::local(""));
    let readiness = ops::readiness(&app.services, caller.as_ref());
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

async fn in_time<T>(app: &App, work: impl Future<Output = Result<T, OpError>>) -> Answer<T> {
    let limit = app.options.request_timeout;
    match tokio::time::timeout(limit, work).await {
        Ok(answer) => answer.map(Json),
        Err(_) => Err(OpError::TooSlow { seconds: limit.as_secs() }),
    }
}

/// The body as a JSON object, whatever its content type says. Nothing at all is an empty object.
async fn read_object(app: &App, body: Body) -> Result<Map<String, Value>, OpError> {
    let bytes = read_body(body, app.options.max_body).await?;
    let text = lines::without_mark(&bytes);
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(bad_body(format!("must be a JSON object, not {}", kind(&other)))),
        Err(error) => Err(bad_body(format!("is no JSON: {error}"))),
    }
}

fn read_id(id: Result<Path<String>, PathRejection>) -> Result<String, OpError> {
    id.map(|Path(id)| id).map_err(|rejection| {
        let message = toolscout_core::text::preview(&rejection.body_text());
        OpError::BadRequest { mistakes: vec![Mistake { field: "id".to_owned(), message }] }
    })
}

fn read_query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, OpError> {
    query.map(|Query(query)| query).map_err(|rejection| {
        let message = toolscout_core::text::preview(&rejection.body_text());
        OpError::BadRequest { mistakes: vec![Mistake { field: "query".to_owned(), message }] }
    })
}
