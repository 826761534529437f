//! The HTTP face: `/v1` for sidecars and operators, `/openapi.json`, health, and the guard in front of everything.

mod guard;
mod sessions;
mod v1;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use futures::StreamExt as _;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, StatusCode};
use rmcp::transport::streamable_http_server::session::local::{LocalSessionManager, SessionConfig};
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tower_http::timeout::RequestBodyDeadlineLayer;
use tracing::{Instrument as _, debug, info_span};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::error::OpError;
use crate::lenient::Mistake;
use crate::lines;
use crate::mcp::{Mcp, Sharing};
use crate::serve::HttpOptions;
use crate::services::Services;
use crate::wire::Health;

use self::guard::Guard;
use self::sessions::Sessions;

/// How long a legacy MCP session may be idle. Clients keep sessions open over lunch; their state is small.
const SESSION_IDLE: std::time::Duration = std::time::Duration::from_secs(60 * 60);

/// What every handler needs.
pub(crate) struct App {
    pub(crate) services: Arc<Services>,
    pub(crate) options: HttpOptions,
    slots: Semaphore,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "toolscout",
        description = "Finds the right tool for an agent, explains why, and calls it. Failures are {\"error\": {code, message, hint, id}}."
    ),
    paths(healthz, v1::readyz, metrics)
)]
struct Document;

/// The document of everything that answers in JSON, and of `/metrics`, generated from the handlers.
pub fn openapi() -> utoipa::openapi::OpenApi {
    documented().split_for_parts().1
}

fn documented() -> OpenApiRouter<Arc<App>> {
    v1::router(OpenApiRouter::with_openapi(Document::openapi()))
}

/// The whole HTTP face. `closing` ends MCP sessions and open streams.
pub(crate) fn router(services: Arc<Services>, options: HttpOptions, closing: CancellationToken) -> Router {
    let (documented, document) = documented().split_for_parts();
    let guard = Arc::new(Guard::new(&options));
    let app = Arc::new(App { services: Arc::clone(&services), slots: Semaphore::new(options.max_requests), options });
    let cors = cors(&guard);
    let document = Arc::new(document);
    let sessions = Arc::new(sessions(app.options.max_sessions));
    let mcp = Router::new()
        .route_service("/mcp", mcp_service(services, &app.options, Arc::clone(&sessions), closing))
        .layer(middleware::from_fn_with_state(sessions, refuse_session))
        .layer(middleware::from_fn_with_state(app.options.max_body, refuse_body));
    let guarded = documented
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(async move || Json((*document).clone())))
        .with_state(Arc::clone(&app))
        .merge(mcp)
        .fallback(async || OpError::NoRoute.into_response())
        .method_not_allowed_fallback(async || OpError::WrongMethod.into_response())
        .layer(middleware::from_fn_with_state(Arc::clone(&guard), guard::check))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), shed));
    // Health answers to whoever can reach the port: probes know no token and come with any host name.
    let open = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(v1::readyz))
        .method_not_allowed_fallback(async || OpError::WrongMethod.into_response())
        .layer(axum::Extension(guard))
        .with_state(Arc::clone(&app));
    open.merge(guarded)
        .layer(DefaultBodyLimit::max(app.options.max_body))
        .layer(RequestBodyDeadlineLayer::new(app.options.body_timeout))
        .layer(cors)
        .layer(middleware::from_fn(observe))
        .layer(CatchPanicLayer::custom(panicked))
}

/// For whoever restarts processes: that this one answers at all.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = Health)))]
async fn healthz() -> Json<Health> {
    Json(Health { status: "ok".to_owned() })
}

/// For a monitor: counters and states, in Prometheus' text format. Behind the same guard as `/v1`.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "text/plain"),
    (status = "default", body = crate::wire::Problem)))]
async fn metrics(axum::extract::State(app): axum::extract::State<Arc<App>>) -> Response {
    let (text, kind) = app.services.parts.metrics.render();
    ([(http::header::CONTENT_TYPE, kind)], text).into_response()
}

fn sessions(max: usize) -> Sessions {
    let mut config = SessionConfig::default();
    config.keep_alive = Some(SESSION_IDLE);
    let mut manager = LocalSessionManager::default();
    manager.session_config = config;
    Sessions::new(manager, max)
}

/// rmcp answers 500 where no session could be made. That there is no place is no fault: 503, like everything too busy.
async fn refuse_session(
    axum::extract::State(sessions): axum::extract::State<Arc<Sessions>>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let failed = response.status() == http::StatusCode::INTERNAL_SERVER_ERROR;
    if failed && sessions.is_full().await { OpError::Busy.into_response() } else { response }
}

/// rmcp answers a body that is no message with 415 and its parser's words. Not the type is wrong then but the body: 400, and
/// the error that JSON-RPC has for it.
async fn refuse_body(axum::extract::State(max): axum::extract::State<usize>, request: Request, next: Next) -> Response {
    // A wrong type stays 415: rmcp looks at it first.
    let is_json = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(|kind| {
        let essence = kind.split_once(';').map_or(kind, |(essence, _)| essence);
        essence.trim().eq_ignore_ascii_case("application/json")
    });
    if request.method() != Method::POST || !is_json {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let body = match read_body(body, max).await {
        Ok(body) => body,
        Err(error) => {
            let fault = lines::Fault::unread(error.for_model());
            return (error.outside().status, Json(fault.answer())).into_response();
        }
    };
    let text = body.slice_ref(lines::without_mark(&body));
    let response = next.run(Request::from_parts(head, Body::from(text.clone()))).await;
    if response.status() != StatusCode::UNSUPPORTED_MEDIA_TYPE {
        return response;
    }
    let fault = lines::fault(&text);
    debug!(reason = fault.reason(), "a body that is no message");
    (StatusCode::BAD_REQUEST, Json(fault.answer())).into_response()
}

/// A whole body, no longer than `max` bytes.
async fn read_body(body: Body, max: usize) -> Result<Bytes, OpError> {
    axum::body::to_bytes(body, max).await.map_err(|error| {
        let too_large =
            std::error::Error::source(&error).is_some_and(|cause| cause.to_string().contains("length limit"));
        if too_large { OpError::TooLarge { limit: max } } else { bad_body(format!("could not be read: {error}")) }
    })
}

fn bad_body(message: String) -> OpError {
    OpError::BadRequest { mistakes: vec![Mistake { field: "body".to_owned(), message }] }
}

fn mcp_service(
    services: Arc<Services>,
    options: &HttpOptions,
    sessions: Arc<Sessions>,
    closing: CancellationToken,
) -> StreamableHttpService<Mcp, Sessions> {
    // Hosts and origins are the guard's business, in one place for every route.
    let config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .disable_allowed_origins()
        .with_max_request_body_bytes(options.max_body)
        .with_cancellation_token(closing);
    // What a token opens is nobody else's to be told by a shared cache.
    let sharing = if options.token.is_some() { Sharing::Private } else { Sharing::ByPolicy };
    let mcp = Mcp::new(services, sharing);
    StreamableHttpService::new(move || Ok(mcp.clone()), sessions, config)
}

fn cors(guard: &Arc<Guard>) -> CorsLayer {
    let guard = Arc::clone(guard);
    let exposed = ["mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name", "www-authenticate"];
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin: &HeaderValue, _| guard.admits_origin(origin)))
        .allow_methods([Method::GET, Method::POST, Method::DELETE, Method::OPTIONS])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.map(HeaderName::from_static))
}

/// Answers 503 at once when too much is being answered already: a queue would only make everybody slow.
async fn shed(axum::extract::State(app): axum::extract::State<Arc<App>>, request: Request, next: Next) -> Response {
    let in_flight = match app.services.drain.enter() {
        Ok(in_flight) => in_flight,
        Err(error) => return error.into_response(),
    };
    // What only listens never ends by itself: a shutdown does not wait for it.
    let listens = request.headers().get("mcp-method").is_some_and(|method| method == "subscriptions/listen");
    let answers = request.uri().path() == "/mcp" && request.method() == Method::POST && !listens;
    let Ok(slot) = app.slots.try_acquire() else { return OpError::Busy.into_response() };
    let response = next.run(request).await;
    drop(slot);
    if !answers {
        return response;
    }
    // The answer of a call is the end of this stream: until then the call is in flight, or a shutdown would cut it off.
    response.map(move |body| {
        Body::from_stream(body.into_data_stream().map(move |chunk| {
            let _ = &in_flight;
            chunk
        }))
    })
}

/// One span and one line per request. No path but the route's pattern: ids in paths are strangers' text.
async fn observe(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("-", MatchedPath::as_str).to_owned();
    let span = info_span!("http", method = %request.method(), route);
    async {
        let started = tokio::time::Instant::now();
        let mut response = next.run(request).await;
        let elapsed_ms = started.elapsed().as_millis();
        debug!(status = response.status().as_u16(), elapsed_ms, "answered");
        // Answers depend on who asks and on the moment.
        response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        response
    }
    .instrument(span)
    .await
}

fn panicked(_cause: Box<dyn std::any::Any + Send + 'static>) -> Response {
    // The panic hook has printed message and place; the cause may quote a request.
    OpError::internal(std::io::Error::other("a handler panicked")).into_response()
}

impl IntoResponse for OpError {
    fn into_response(self) -> Response {
        let id = crate::mcp::incident();
        self.log(&id, "http");
        let mut response = (self.outside().status, Json(self.problem(&id))).into_response();
        let headers = response.headers_mut();
        if matches!(self, Self::Unauthorized) {
            headers.insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.retry() == toolscout_core::Retry::Later {
            headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
