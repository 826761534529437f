//! The MCP face: what rmcp asks of a server, in terms of [`ops`](crate::ops).
//!
//! Both eras are served alike: a request brings its own protocol version (2026-07-28) or belongs to a session (earlier ones);
//! rmcp tells them apart. `tools/list` is the same for the same caller whatever was searched before. A list made for one
//! query (`_meta["dev.toolscout/query"]`) depends on that request alone and says so (`private`, `ttlMs: 0`).

mod convert;
mod list;

use std::borrow::Cow;
use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestMethod, CompleteRequestParams, CompleteResult,
    CustomRequest, CustomResult, DiscoverResult, ErrorCode, Implementation, ListPromptsRequestMethod,
    ListPromptsResult, ListResourceTemplatesRequestMethod, ListResourceTemplatesResult, ListResourcesRequestMethod,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ProtocolVersion,
    ServerCapabilities, ServerConfig, SubscriptionFilter, Tool,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, watch};
use toolscout_core::text::preview;
use toolscout_core::{Caller, CallerClass};
use toolscout_upstream::Progress;
use tracing::{Instrument as _, debug, info_span};

use crate::error::OpError;
use crate::services::{Exposure, Services};
use crate::wire::CallRequest;
use crate::{lenient, metatools, ops};

pub(crate) use self::convert::incident;
use self::convert::{Speaks, answer, bad_state, brief, complete, failure, protocol_error, sign};
use self::list::Lists;

/// Asks `tools/list` for the tools that fit a query.
pub const QUERY_META: &str = "dev.toolscout/query";
/// How many of them at most.
pub const QUERY_LIMIT_META: &str = "dev.toolscout/limit";
/// Names the selection that recommended a tool which is called directly.
pub const SELECTION_META: &str = "dev.toolscout/selection";
/// Confirms a tool which is called directly.
pub const CONFIRM_META: &str = "dev.toolscout/confirm";

/// Reports of progress that may wait for a slow client.
const PROGRESS_QUEUE: usize = 64;

/// Who may keep a list that is the same for every caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Whoever passes it on, if policy tells no callers apart.
    ByPolicy,
    /// Nobody but the one who asked.
    Private,
}

/// One gateway's MCP side. Cheap to clone: rmcp takes one per session or request.
#[derive(Clone)]
pub struct Mcp {
    services: Arc<Services>,
    lists: Arc<Lists>,
}

impl Mcp {
    /// The MCP side of these services.
    pub fn new(services: Arc<Services>, sharing: Sharing) -> Self {
        let lists = Lists::new(&services, sharing);
        Self { services, lists }
    }

    /// Who asks. Over HTTP the guard in front has decided; over stdio it is the person at this machine.
    fn caller(&self, context: &RequestContext<RoleServer>) -> Caller {
        let client = context.client_info().map(|info| preview(&info.name)).unwrap_or_default();
        let decided =
            context.extensions.get::<http::request::Parts>().and_then(|parts| parts.extensions.get::<Caller>());
        match decided {
            Some(caller) => Caller { client, ..caller.clone() },
            None => Caller::local(&client),
        }
    }

    async fn answer_call(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = self.caller(&context);
        let services = &self.services;
        let arguments = request.arguments.clone().unwrap_or_default();
        let is_meta =
            services.parts.options.exposure != Exposure::Transparent && metatools::is_meta_tool(&request.name);
        if !is_meta {
            return self.call_directly(&caller, request, arguments, context).await;
        }
        let bad = |mistakes| OpError::BadRequest { mistakes };
        let outcome = match &*request.name {
            metatools::SEARCH_TOOLS => match lenient::search(&arguments).map_err(bad) {
                Ok(asked) => ops::search(services, &caller, asked).await.and_then(|found| answer(&found)),
                Err(error) => Err(error),
            },
            metatools::GET_TOOL_DETAILS => match lenient::details(&arguments).map_err(bad) {
                Ok(asked) => {
                    let told = ops::details(services, &caller, asked, ops::Reader::Model).await;
                    told.and_then(|details| answer(&details))
                }
                Err(error) => Err(error),
            },
            metatools::EXPLAIN_SELECTION => match lenient::explain(&arguments).map_err(bad) {
                Ok(asked) => ops::explain(services, &caller, asked).await.and_then(|why| answer(&brief(why))),
                Err(error) => Err(error),
            },
            _ => match lenient::call(&arguments).map_err(bad) {
                Ok(asked) => {
                    let speaks = speaks(&context);
                    let called = self.forward(&caller, asked, &request, context).await;
                    called.and_then(|called| complete(called, speaks))
                }
                Err(error) => Err(error),
            },
        };
        outcome.or_else(|error| match bad_state(&error) {
            Some(protocol) => Err(protocol),
            None => Ok(failure(&error, &request.name)),
        })
    }

    /// A call of a tool by its own name on the wire. What is protocol between the client and that tool stays protocol:
    /// an unknown name and the upstream's own JSON-RPC errors are errors, everything else is a result.
    async fn call_directly(
        &self,
        caller: &Caller,
        request: CallToolRequestParams,
        arguments: Map<String, Value>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let meta = &context.meta;
        let asked = CallRequest {
            id: self.lists.id_of(&self.services, caller, &request.name),
            arguments,
            selection_id: meta.get(SELECTION_META).and_then(Value::as_str).map(str::to_owned),
            confirm: meta.get(CONFIRM_META).and_then(Value::as_bool).unwrap_or(false),
        };
        let speaks = speaks(&context);
        let called = self.forward(caller, asked, &request, context).await;
        let outcome = called.and_then(|called| complete(called, speaks));
        outcome.or_else(|error| match protocol_error(&error) {
            Some(protocol) => Err(protocol),
            None => Ok(failure(&error, &request.name)),
        })
    }

    /// Calls the tool, passing progress on while it runs.
    async fn forward(
        &self,
        caller: &Caller,
        asked: CallRequest,
        request: &CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<crate::wire::CallResponse, OpError> {
        let is_modern = speaks(&context) == Speaks::Modern;
        let capabilities = context.client_capabilities().filter(|_| is_modern);
        let as_map = |value| match value {
            Value::Object(map) => Some(map),
            _ => None,
        };
        let (reports, mut reported) = mpsc::channel(PROGRESS_QUEUE);
        let token = context.meta.get_progress_token();
        let conditions = ops::Conditions {
            class: CallerClass::Agent,
            cancel: context.ct.clone(),
            progress: token.is_some().then_some(reports),
            meta: Some(context.meta.0.0.clone()),
            client_capabilities: capabilities.and_then(|all| serde_json::to_value(all).ok()).and_then(as_map),
            input_responses: request.input_responses.as_ref().and_then(|all| serde_json::to_value(all).ok()),
            request_state: request.request_state.clone(),
        };
        let report = async |progress: Progress| {
            let Some(token) = &token else { return };
            let mut note = ProgressNotificationParam::new(token.clone(), progress.progress);
            note.total = progress.total;
            note.message = progress.message;
            if let Err(error) = context.peer.notify_progress(note).await {
                debug!(%error, "progress not delivered");
            }
        };
        let mut call = std::pin::pin!(ops::call(&self.services, caller, asked, conditions));
        loop {
            tokio::select! {
                biased;
                Some(progress) = reported.recv() => report(progress).await,
                answer = &mut call => {
                    // What was reported before the end goes out before the end.
                    while let Ok(progress) = reported.try_recv() {
                        report(progress).await;
                    }
                    return answer;
                }
            }
        }
    }
}

/// Which era the request is of. Revisions are dates: they compare as text.
fn speaks(context: &RequestContext<RoleServer>) -> Speaks {
    match context.protocol_version() {
        Some(version) if version.as_str() >= ProtocolVersion::V_2026_07_28.as_str() => Speaks::Modern,
        _ => Speaks::Legacy,
    }
}

/// Who we are to clients.
fn implementation() -> Implementation {
    Implementation::new("toolscout", env!("CARGO_PKG_VERSION")).with_title("toolscout")
}

impl ServerHandler for Mcp {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build();
        ServerConfig::new(capabilities)
            .with_server_info(implementation())
            .with_instructions(self.lists.instructions(&self.services))
    }

    async fn discover(&self, _context: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let versions = self.supported_protocol_versions().into_owned();
        let discovered = DiscoverResult::from_server_info(versions, self.get_info());
        let (ttl_ms, scope) = self.lists.caching(&self.services);
        Ok(discovered.with_ttl_ms(ttl_ms).with_cache_scope(scope))
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let caller = self.caller(&context);
        let cursor = request.and_then(|params| params.cursor);
        let listed = match context.meta.get(QUERY_META).filter(|query| !query.is_null()) {
            // Read as leniently as `search_tools`, and refused where it refuses: the plain list is no answer to a query.
            Some(query) => {
                let limit = context.meta.get(QUERY_LIMIT_META).cloned().unwrap_or_default();
                let asked = Map::from_iter([("query".to_owned(), query.clone()), ("limit".to_owned(), limit)]);
                match lenient::search(&asked) {
                    Ok(asked) => self.lists.for_query(&self.services, &caller, &asked.query, asked.limit).await,
                    Err(mistakes) => Err(OpError::BadRequest { mistakes }),
                }
            }
            None => self.lists.page(&self.services, &caller, cursor).await,
        };
        let listed = listed.map(|mut listed| {
            sign(&mut listed.meta, speaks(&context));
            listed
        });
        listed.map_err(|error| {
            let id = convert::incident();
            error.log(&id, "tools/list");
            match error {
                OpError::BadRequest { .. } => ErrorData::invalid_params(error.for_model(), None),
                other => ErrorData::internal_error(format!("{other} ({id})"), None),
            }
        })
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let speaks = speaks(&context);
        let span = info_span!("mcp", method = "tools/call", modern = speaks == Speaks::Modern);
        let mut answer = self.answer_call(request, context).instrument(span).await?;
        match &mut answer {
            CallToolResponse::Complete(result) => sign(&mut result.meta, speaks),
            CallToolResponse::InputRequired(result) => sign(&mut result.meta, speaks),
            _ => {}
        }
        Ok(answer)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.lists.tool(&self.services, name)
    }

    fn accepted_subscription_filter(&self, _requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(SubscriptionFilter::builder().tools_list_changed().build())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.lists.changes();
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                changed = changes.changed() => {
                    let over = changed.is_err() || context.sink().notify_tool_list_changed().await.is_err();
                    if over {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// A session has begun: it hears of changes as long as it lasts.
    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        let changes = self.lists.changes();
        tokio::spawn(tell_session(context.peer, changes));
    }

    /// rmcp takes a request whose parameters it cannot read for one of a method it does not know.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let method = request.method;
        if matches!(method.as_str(), "tools/call" | "tools/list" | "server/discover") {
            return Err(ErrorData::invalid_params(format!("the parameters of {method} cannot be understood"), None));
        }
        let message = format!("there is no method {}", preview(&method));
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, message, None))
    }

    // What is not served says so: rmcp's defaults would answer with empty lists, which look like "there is none".

    async fn complete(
        &self,
        _request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Err(ErrorData::method_not_found::<CompleteRequestMethod>())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListPromptsRequestMethod>())
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListResourcesRequestMethod>())
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListResourceTemplatesRequestMethod>())
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS)
    }
}

/// Tells one legacy session of every change until it ends.
async fn tell_session(peer: rmcp::Peer<RoleServer>, mut changes: watch::Receiver<u64>) {
    /// How often an idle session is looked at, so that one that is gone does not keep its task.
    const LOOK: std::time::Duration = std::time::Duration::from_secs(60);
    loop {
        match tokio::time::timeout(LOOK, changes.changed()).await {
            Ok(Ok(())) => {
                if peer.notify_tool_list_changed().await.is_err() {
                    return;
                }
            }
            Ok(Err(_)) => return,
            Err(_) if peer.is_transport_closed() => return,
            Err(_) => {}
        }
    }
}
