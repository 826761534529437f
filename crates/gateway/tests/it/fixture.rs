//! A gateway on port 0 over a tiny catalog, and the clients that ask it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rmcp::ClientServiceExt as _;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, Implementation, ProtocolVersion,
};
use rmcp::service::{ClientLifecycleMode, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, RoleClient};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use toolscout_catalog::{Catalog, Listing, Overlays};
use toolscout_core::{Timestamp, ToolId, Untrusted, UpstreamId};
use toolscout_embed::{Embed, QueryEmbedder, QueryOptions};
use toolscout_gateway::{
    Forward, GatewayOptions, HttpOptions, NoRecrawl, Parts, Recrawl, Reranker, SelectionLog, SelectionOptions, Served,
    Services, serve_http,
};
use toolscout_index::{IndexHost, IndexOptions};
use toolscout_policy::{Granted, Policy};
use toolscout_quality::{Quality, QualityOptions};
use toolscout_selector::SelectorOptions;
use toolscout_store::Store;
use toolscout_testkit::embed::HashEmbedder;
use toolscout_upstream::{CallContext, CallReply, CallRequest, Era, Error, Progress};

/// Longest wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The upstream's side of one forwarded call.
pub(crate) struct Forwarded {
    pub(crate) tool: ToolId,
    pub(crate) request: CallRequest,
    pub(crate) context: CallContext,
}

type Script = Box<dyn Fn(Forwarded) -> BoxFuture<'static, Result<Value, Error>> + Send + Sync>;

/// An upstream that does what a test says and remembers what it was asked.
#[derive(Default)]
pub(crate) struct Fake {
    scripts: Mutex<BTreeMap<String, Arc<Script>>>,
    pub(crate) seen: Mutex<Vec<(ToolId, CallRequest)>>,
}

impl Fake {
    /// What a tool does when it is called. The others answer `ok`.
    pub(crate) fn script<F>(&self, tool: &str, script: impl Fn(Forwarded) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<Value, Error>> + Send + 'static,
    {
        let script: Script = Box::new(move |forwarded| Box::pin(script(forwarded)));
        self.scripts.lock().insert(tool.to_owned(), Arc::new(script));
    }

    /// What a tool answers when it is called.
    pub(crate) fn answers(&self, tool: &str, result: Value) {
        self.script(tool, move |_| std::future::ready(Ok(result.clone())));
    }

    /// The arguments of the last call.
    pub(crate) fn last(&self) -> (ToolId, CallRequest) {
        self.seen.lock().last().expect("something was forwarded").clone()
    }
}

impl Forward for Fake {
    fn forward(
        &self,
        grant: Granted<ToolId>,
        request: CallRequest,
        context: CallContext,
    ) -> BoxFuture<'_, Result<CallReply, Error>> {
        let tool = grant.into_inner();
        self.seen.lock().push((tool.clone(), request.clone()));
        let script = self.scripts.lock().get(&tool.to_string()).cloned();
        Box::pin(async move {
            let result = match script {
                Some(script) => script(Forwarded { tool, request, context }).await?,
                None => json!({"content": [{"type": "text", "text": "ok"}]}),
            };
            Ok(CallReply { result: Untrusted::new(result), era: Era::Modern })
        })
    }
}

/// What differs from test to test.
pub(crate) struct Setup {
    pub(crate) policy: Policy,
    pub(crate) options: GatewayOptions,
    pub(crate) http: HttpOptions,
    pub(crate) embedder: Option<Arc<dyn Embed>>,
    pub(crate) forward: Option<Arc<dyn Forward>>,
    pub(crate) recrawl: Arc<dyn Recrawl>,
    pub(crate) listings: Vec<Listing>,
    pub(crate) second: Option<Arc<dyn Reranker>>,
    pub(crate) quality: QualityOptions,
}

impl Default for Setup {
    fn default() -> Self {
        let bind = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            policy: Policy::default(),
            options: GatewayOptions::default(),
            http: HttpOptions { bind, drain: Duration::from_secs(10), ..HttpOptions::default() },
            embedder: Some(Arc::new(HashEmbedder::new())),
            forward: None,
            recrawl: Arc::new(NoRecrawl),
            listings: vec![forge(), files(), mirror()],
            second: None,
            quality: QualityOptions::default(),
        }
    }
}

/// A gateway that runs.
pub(crate) struct Gateway {
    pub(crate) addr: SocketAddr,
    pub(crate) services: Arc<Services>,
    pub(crate) fake: Arc<Fake>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: Served,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) index: Arc<IndexHost>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) async fn start(setup: Setup) -> Gateway {
    // reqwest and rmcp's client want a TLS provider even for plain HTTP; a second installation is refused, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (services, fake, catalog, index, http) = tokio::task::spawn_blocking(move || build(setup)).await.unwrap();
    let shutdown = CancellationToken::new();
    let served = serve_http(Arc::clone(&services), http, shutdown.clone()).await.unwrap();
    Gateway { addr: served.addr, services, fake, shutdown, served, catalog, index }
}

fn build(setup: Setup) -> (Arc<Services>, Arc<Fake>, Arc<Catalog>, Arc<IndexHost>, HttpOptions) {
    let store = Store::temporary().unwrap();
    let catalog = Arc::new(Catalog::open(&store, Overlays::default()).unwrap());
    let embed = setup.embedder;
    let index = IndexHost::open(IndexOptions::default(), &store, embed.clone()).unwrap();
    for listing in setup.listings {
        catalog.apply(listing).unwrap();
    }
    index.apply(&catalog.view()).unwrap();
    assert!(index.wait_settled(PATIENCE));
    let fake = Arc::new(Fake::default());
    let ticks = AtomicU64::new(1_000);
    let services = Services::new(Parts {
        catalog: Arc::clone(&catalog),
        index: Arc::clone(&index),
        embedder: embed.map(|embed| Arc::new(QueryEmbedder::new(embed, QueryOptions::default()))),
        forward: setup.forward.unwrap_or_else(|| Arc::clone(&fake) as Arc<dyn Forward>),
        policy: Arc::new(setup.policy),
        quality: Arc::new(Quality::open(&store, setup.quality).unwrap()),
        selections: Arc::new(SelectionLog::open(&store, SelectionOptions::default()).unwrap()),
        clock: Arc::new(move || Timestamp(ticks.fetch_add(1, Ordering::Relaxed))),
        recrawl: setup.recrawl,
        damage: None,
        selector: SelectorOptions::default(),
        second: setup.second,
        metrics: Arc::default(),
        findability: Arc::default(),
        options: setup.options,
    });
    (services, fake, catalog, index, setup.http)
}

// === the tiny catalog ===

pub(crate) fn listing(upstream: &str, tools: Vec<Value>) -> Listing {
    let mut listing = Listing::new(UpstreamId::new(upstream).unwrap(), Timestamp(1));
    listing.server.name = format!("{upstream} server");
    listing.tools = tools.into_iter().map(Untrusted::new).collect();
    listing
}

pub(crate) fn issue_tool() -> Value {
    json!({
        "name": "create_issue",
        "title": "Create issue",
        "description": "Open a new issue in a repository. Use this when something is broken.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "repo": {"type": "string", "description": "Repository, as owner/name."},
                "title": {"type": "string"},
                "state": {"enum": ["open", "closed"]},
                "labels": {"type": "array", "items": {"type": "string"}},
                "count": {"type": "integer"}
            },
            "required": ["repo", "title"],
            "additionalProperties": false
        }
    })
}

pub(crate) fn forge() -> Listing {
    let delete = json!({
        "name": "delete_repository",
        "description": "Delete a repository for good.",
        "inputSchema": {"type": "object", "properties": {"repo": {"type": "string"}}, "required": ["repo"]},
        "annotations": {"destructiveHint": true, "readOnlyHint": false}
    });
    let list = json!({
        "name": "list_issues",
        "description": "List the issues of a repository.",
        "inputSchema": {"type": "object", "properties": {"repo": {"type": "string"}}},
        "annotations": {"readOnlyHint": true},
        "vendorKey": {"kept": true}
    });
    listing("forge", vec![issue_tool(), delete, list])
}

pub(crate) fn files() -> Listing {
    let read = json!({
        "name": "read_file",
        "description": "Read a text file from disk.",
        "inputSchema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
        "annotations": {"readOnlyHint": true}
    });
    let odd = json!({
        "name": "odd",
        "description": "A tool whose schema nobody can compile.",
        "inputSchema": {"type": "object", "properties": {"x": {"$ref": "https://example.com/never-fetched.json"}}}
    });
    listing("files", vec![read, odd])
}

/// The same issue tool again: a family.
pub(crate) fn mirror() -> Listing {
    listing("mirror", vec![issue_tool()])
}

// === clients ===

/// A client of rmcp that collects progress.
#[derive(Clone)]
pub(crate) struct Client {
    info: ClientConfig,
    pub(crate) progress: Arc<Mutex<Vec<f64>>>,
    pub(crate) list_changes: Arc<AtomicU64>,
}

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        self.info.clone()
    }

    async fn on_progress(
        &self,
        params: rmcp::model::ProgressNotificationParam,
        _context: rmcp::service::NotificationContext<RoleClient>,
    ) {
        self.progress.lock().push(params.progress);
    }

    async fn on_tool_list_changed(&self, _context: rmcp::service::NotificationContext<RoleClient>) {
        self.list_changes.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) type Running = RunningService<RoleClient, Client>;

pub(crate) fn lifecycle(era: Era) -> ClientLifecycleMode {
    match era {
        Era::Legacy => ClientLifecycleMode::Initialize,
        Era::Modern => ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] },
    }
}

pub(crate) fn client() -> Client {
    let mut info =
        ClientConfig::new(ClientCapabilities::builder().enable_elicitation().build(), Implementation::new("it", "1"));
    info.protocol_version = ProtocolVersion::V_2025_11_25;
    Client { info, progress: Arc::default(), list_changes: Arc::default() }
}

impl Gateway {
    /// An rmcp client over HTTP.
    pub(crate) async fn connect(&self, era: Era) -> Running {
        let url = format!("http://{}/mcp", self.addr);
        let transport = StreamableHttpClientTransport::with_client(
            reqwest::Client::new(),
            StreamableHttpClientTransportConfig::with_uri(url),
        );
        let connected = client().serve_with_lifecycle(transport, lifecycle(era));
        tokio::time::timeout(PATIENCE, connected).await.expect("in time").expect("connected")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// A GET on `/v1` and the like: status and JSON.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        read(reqwest::Client::new().get(self.url(path)).send().await.unwrap()).await
    }

    /// A POST.
    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let request = reqwest::Client::new().post(self.url(path)).body(body.to_string());
        read(request.header("content-type", "application/json").send().await.unwrap()).await
    }

    /// Applies a listing as the crawler would, and waits for the index.
    pub(crate) async fn apply(&self, listing: Listing) {
        let (catalog, index) = (Arc::clone(&self.catalog), Arc::clone(&self.index));
        let applied = tokio::task::spawn_blocking(move || {
            let change = catalog.apply(listing).unwrap();
            index.apply(&change.view).unwrap();
            assert!(index.wait_settled(PATIENCE));
        });
        applied.await.unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "our own server's answer, small")]
pub(crate) async fn read(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Calls one of the gateway's own tools.
pub(crate) async fn ask(client: &Running, tool: &'static str, arguments: Value) -> CallToolResult {
    let params = CallToolRequestParams::new(tool).with_arguments(object(arguments));
    tokio::time::timeout(PATIENCE, client.call_tool(params)).await.expect("in time").expect("a result")
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

/// The first text of a result.
pub(crate) fn text(result: &CallToolResult) -> &str {
    result.content.first().and_then(|block| block.as_text()).map(|text| text.text.as_str()).unwrap_or_default()
}

/// A failure of a connection, as the pool reports it.
pub(crate) fn closed() -> Error {
    Error::Closed {
        upstream: UpstreamId::new("forge").unwrap(),
        sent: toolscout_upstream::Sent::Maybe,
        stderr: "Traceback: out of memory".to_owned(),
        source: None,
    }
}

pub(crate) fn progress(value: f64) -> Progress {
    Progress { progress: value, total: Some(3.0), message: None }
}
