//! What a gateway stands on, and how it behaves.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use toolscout_catalog::Catalog;
use toolscout_core::time::Clock;
use toolscout_core::{SideEffect, Timestamp, ToolId, UpstreamId};
use toolscout_embed::QueryEmbedder;
use toolscout_index::IndexHost;
use toolscout_policy::{Granted, Policy};
use toolscout_quality::Quality;
use toolscout_upstream::{CallContext, CallReply, CallRequest, Pool};

use crate::error::OpError;
use crate::findability::Findability;
use crate::metrics::Metrics;
use crate::seal::Sealer;
use crate::second::Reranker;
use crate::selections::SelectionLog;
use crate::validate::Validators;
use crate::wire::RecrawlResponse;

/// Forwards calls to the upstream that owns the tool. [`Pool`] is the one that counts; tests bring their own.
pub trait Forward: Send + Sync {
    /// Forwards one call. Takes the grant, so that nothing is forwarded that policy was not asked about.
    fn forward(
        &self,
        grant: Granted<ToolId>,
        request: CallRequest,
        context: CallContext,
    ) -> BoxFuture<'_, Result<CallReply, toolscout_upstream::Error>>;
}

impl Forward for Pool {
    fn forward(
        &self,
        grant: Granted<ToolId>,
        request: CallRequest,
        context: CallContext,
    ) -> BoxFuture<'_, Result<CallReply, toolscout_upstream::Error>> {
        Box::pin(async move { self.call(&grant.get().upstream, request, context).await })
    }
}

/// Crawls one upstream now. `cli` wires it to the crawler; knowing and answering meet only there.
pub trait Recrawl: Send + Sync {
    /// Crawls, waits for the end and tells what came of it. A failed crawl is an answer too (`problem`). By then
    /// [`Quality::listed`] has heard whether the server answered.
    fn recrawl(&self, upstream: UpstreamId) -> BoxFuture<'_, Result<RecrawlResponse, OpError>>;
}

/// For gateways that have nothing to crawl: a catalog imported from a file.
pub struct NoRecrawl;

impl Recrawl for NoRecrawl {
    fn recrawl(&self, upstream: UpstreamId) -> BoxFuture<'_, Result<RecrawlResponse, OpError>> {
        Box::pin(async move { Err(OpError::UnknownUpstream { id: upstream.as_str().to_owned(), nearest: Vec::new() }) })
    }
}

/// Which names `tools/list` holds beside the meta-tools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Exposure {
    /// The pinned tools, under their wire names. What models get.
    #[default]
    Pinned,
    /// Every tool the caller may see, under its wire name, in pages.
    All,
    /// Every tool under its own name, without prefix and without the meta-tools: a transparent proxy for a single upstream.
    /// Of two tools with one name the first by id is meant.
    Transparent,
}

/// How a gateway behaves. Everything has a default that is right for one person at one machine.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// What `tools/list` holds.
    pub exposure: Exposure,
    /// Tools that are always listed, by id. Those that do not exist (yet) are left out.
    pub pinned: Vec<ToolId>,
    /// How long a call may stay silent. `None`: what the upstream's configuration says.
    pub call_deadline: Option<Duration>,
    /// Largest result that is passed on whole, in bytes of JSON. Longer ones are cut, with a note. 4 MiB.
    pub max_result_bytes: usize,
    /// Calls of tools with at least this side effect want `confirm: true`. `None`: no call does; MCP clients ask themselves.
    pub confirm_from: Option<SideEffect>,
    /// Whether selections keep the query's text. Off: they keep a hash.
    pub keep_queries: bool,
    /// Searches that may compute at once. Further ones wait. 0 takes the number of cores.
    pub workers: usize,
    /// How long a query may wait for its vector before it is answered from words alone. 5 s.
    pub embed_patience: Duration,
    /// Compiled input schemas that are kept, and output schemas. 512.
    pub validators: usize,
    /// How long a client may keep a list, in milliseconds. 60,000.
    pub list_ttl_ms: u64,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            exposure: Exposure::default(),
            pinned: Vec::new(),
            call_deadline: None,
            max_result_bytes: 4 * 1024 * 1024,
            confirm_from: None,
            keep_queries: false,
            workers: 0,
            embed_patience: Duration::from_secs(5),
            validators: 512,
            list_ttl_ms: 60_000,
        }
    }
}

/// What a gateway stands on. Built by `cli`, shared by every face.
pub struct Parts {
    /// What tools exist.
    pub catalog: Arc<Catalog>,
    /// Which are near a query.
    pub index: Arc<IndexHost>,
    /// Queries into vectors. `None`: words alone.
    pub embedder: Option<Arc<QueryEmbedder>>,
    /// The way to the upstreams.
    pub forward: Arc<dyn Forward>,
    /// What is permitted.
    pub policy: Arc<Policy>,
    /// How calls went.
    pub quality: Arc<Quality>,
    /// What was answered.
    pub selections: Arc<SelectionLog>,
    /// What time it is.
    pub clock: Clock,
    /// Crawling on demand.
    pub recrawl: Arc<dyn Recrawl>,
    /// What was found damaged at the start, for `/readyz`.
    pub damage: Option<String>,
    /// How the selector ranks.
    pub selector: toolscout_selector::SelectorOptions,
    /// Who looks at the best candidates again. `None`: nobody.
    pub second: Option<Arc<dyn Reranker>>,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// Which tools are found less well since a crawl.
    pub findability: Arc<Findability>,
    /// How the gateway behaves.
    pub options: GatewayOptions,
}

/// A gateway's parts and what it keeps between requests.
pub struct Services {
    /// What it stands on.
    pub parts: Parts,
    pub(crate) validators: Validators,
    pub(crate) output_validators: Validators,
    pub(crate) sealer: Sealer,
    pub(crate) drain: Drain,
    slots: Arc<Semaphore>,
}

impl Services {
    /// A gateway on these parts.
    pub fn new(parts: Parts) -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let workers = if parts.options.workers == 0 { cores } else { parts.options.workers };
        parts.metrics.observe(&parts);
        Arc::new(Self {
            validators: Validators::new(parts.options.validators),
            output_validators: Validators::new(parts.options.validators),
            sealer: Sealer::new(rand::random()),
            drain: Drain::default(),
            slots: Arc::new(Semaphore::new(workers)),
            parts,
        })
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Timestamp {
        (self.parts.clock)()
    }

    /// The one way off the async threads: for everything that computes for more than half a millisecond or reads the disk.
    /// At most [`GatewayOptions::workers`] run at once, the others wait.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, OpError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(OpError::internal)?;
        let span = tracing::Span::current();
        let done = tokio::task::spawn_blocking(move || {
            // Kept by the work, not by the waiter: work that nobody waits for any more still takes its slot.
            let _slot = slot;
            span.in_scope(work)
        });
        done.await.map_err(OpError::internal)
    }
}

/// Counts the calls in flight, so that a shutdown can let them finish.
#[derive(Default)]
pub(crate) struct Drain {
    calls: tokio_util::task::TaskTracker,
    draining: std::sync::atomic::AtomicBool,
}

impl Drain {
    /// Counts one call until the guard is dropped. Refused once draining has begun.
    pub(crate) fn enter(&self) -> Result<tokio_util::task::task_tracker::TaskTrackerToken, OpError> {
        let token = self.calls.token();
        // Read after the token is taken: whoever drains sees either the token or its refusal.
        if self.draining.load(std::sync::atomic::Ordering::SeqCst) { Err(OpError::ShuttingDown) } else { Ok(token) }
    }

    /// Whether draining has begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Refuses new calls and waits for those in flight, at most this long. False when some were left.
    pub(crate) async fn drain(&self, patience: Duration) -> bool {
        self.draining.store(true, std::sync::atomic::Ordering::SeqCst);
        self.calls.close();
        tokio::time::timeout(patience, self.calls.wait()).await.is_ok()
    }
}
