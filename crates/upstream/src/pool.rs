//! All upstreams and their connections.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::broadcast;
use toolscout_core::UpstreamId;

use crate::{CallContext, CallReply, CallRequest, Era, Error, Skipped, ToolListing, UpstreamSpec};

/// Where the era of a server survives our restart, so that the next start greets it right at once.
/// A lost or wrong entry costs one more start of the server, nothing else.
pub trait EraCache: Send + Sync {
    /// The era remembered under a key of [`UpstreamSpec::era_key`].
    fn get(&self, key: &str) -> Option<Era>;
    /// Remembers an era. May fail silently.
    fn put(&self, key: &str, era: Era);
}

/// How a pool behaves as a whole.
#[derive(Clone)]
pub struct PoolOptions {
    /// The name we give to servers. `toolscout`.
    pub client_name: String,
    /// The version we give to servers.
    pub client_version: String,
    /// Where eras survive a restart. None: they live as long as the pool.
    pub eras: Option<Arc<dyn EraCache>>,
    /// How many upstreams may be starting at once. 4.
    pub max_starts: usize,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// Within what time `shutdown` ends. 8 s; what lives then is killed.
    pub shutdown: Duration,
    /// Seed of the jitter.
    pub seed: u64,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            client_name: "toolscout".to_owned(),
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
            eras: None,
            max_starts: 4,
            backoff: Backoff::default(),
            shutdown: Duration::from_secs(8),
            seed: 0,
        }
    }
}

/// Exponential waits between attempts to connect.
#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    /// After the first failure. 1 s.
    pub first: Duration,
    /// At most. 5 min.
    pub max: Duration,
    /// Each wait is this much longer than the one before. 2.
    pub factor: f64,
    /// Share of a wait that is random, 0 to 1. 0.3: from 70 % to 100 % of it.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), max: Duration::from_secs(300), factor: 2.0, jitter: 0.3 }
    }
}

/// Something an upstream did by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamEvent {
    /// It says that its tools changed: list again.
    ToolsChanged {
        /// Which.
        upstream: UpstreamId,
    },
    /// Its connection ended without our doing. The next request connects anew.
    Closed {
        /// Which.
        upstream: UpstreamId,
        /// Why, cleaned.
        reason: String,
    },
}

/// Whether an upstream works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// It answered with a whole listing.
    Ok,
    /// It works, but not all of its listing was usable.
    Degraded,
    /// It wants credentials.
    NeedsAuth,
    /// It could not be started, reached or understood.
    Unreachable,
    /// The configuration switches it off.
    Disabled,
}

/// What a look at one upstream gave.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// Which.
    pub upstream: UpstreamId,
    /// Whether it works.
    pub status: CheckStatus,
    /// The era spoken.
    pub era: Option<Era>,
    /// The revision spoken.
    pub protocol_version: Option<String>,
    /// The server's own name.
    pub server_name: Option<String>,
    /// The server's version.
    pub server_version: Option<String>,
    /// Usable tools.
    pub n_tools: usize,
    /// Unusable ones.
    pub skipped: Vec<Skipped>,
    /// Why the listing is not whole.
    pub truncated: Option<String>,
    /// Error and causes, outermost first.
    pub error: Vec<String>,
    /// What to do about the error.
    pub hint: Option<String>,
    /// What the process said on standard error, if it failed.
    pub stderr: Option<String>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// All upstreams and their connections: made when first needed, kept, made anew after they broke.
pub struct Pool {
    options: PoolOptions,
    events: broadcast::Sender<UpstreamEvent>,
}

impl Pool {
    /// An empty pool. Call within a tokio runtime.
    pub fn new(options: PoolOptions) -> Arc<Self> {
        let (events, _) = broadcast::channel(256);
        Arc::new(Self { options, events })
    }

    /// Takes a new configuration. Upstreams whose spec is unchanged keep their connection; the others' are closed.
    pub fn configure(&self, specs: Vec<UpstreamSpec>) {
        unimplemented!("{} {}", specs.len(), self.options.max_starts)
    }

    /// The configured upstreams, sorted.
    pub fn ids(&self) -> Vec<UpstreamId> {
        unimplemented!()
    }

    /// One upstream's configuration.
    pub fn spec(&self, id: &UpstreamId) -> Option<Arc<UpstreamSpec>> {
        unimplemented!("{id}")
    }

    /// What upstreams do by themselves. A receiver that lags behind loses the oldest events.
    pub fn subscribe(&self) -> broadcast::Receiver<UpstreamEvent> {
        self.events.subscribe()
    }

    /// Asks an upstream for its tools, connecting first if need be.
    #[expect(clippy::unused_async, reason = "body follows")]
    pub async fn list(&self, id: &UpstreamId) -> Result<ToolListing, Error> {
        unimplemented!("{id}")
    }

    /// Forwards one call, connecting first if need be. Tried a second time only if the first certainly was not sent.
    #[expect(clippy::unused_async, reason = "body follows")]
    pub async fn call(&self, id: &UpstreamId, request: CallRequest, context: CallContext) -> Result<CallReply, Error> {
        unimplemented!("{id} {request:?} {context:?}")
    }

    /// Looks whether an upstream works, at once, whatever its backoff says.
    #[expect(clippy::unused_async, reason = "body follows")]
    pub async fn check(&self, id: &UpstreamId) -> CheckReport {
        unimplemented!("{id}")
    }

    /// Closes every connection, kills what does not end in time, and refuses further requests.
    #[expect(clippy::unused_async, reason = "body follows")]
    pub async fn shutdown(&self) {
        unimplemented!()
    }
}
