//! All upstreams and their connections.
//!
//! Locks nest in one order: an entry's `history` (held while connecting), then `entries`, then `current`; the latter two
//! never across an await.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rmcp::model::Implementation;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Semaphore, broadcast};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use toolscout_core::text::preview;
use toolscout_core::{Untrusted, UpstreamId};
use tracing::{info, warn};

use crate::connection::{self, Connection};
use crate::{CallContext, CallReply, CallRequest, Challenge, Era, Error, Sent, Skipped, ToolListing, UpstreamSpec};

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
    /// Their definitions, as sent: for whoever looks closer, not for showing.
    #[serde(skip)]
    pub tools: Vec<Untrusted<Value>>,
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
    client: Implementation,
    events: broadcast::Sender<UpstreamEvent>,
    entries: Mutex<BTreeMap<UpstreamId, Arc<Entry>>>,
    eras: Mutex<HashMap<String, Era>>,
    starts: Semaphore,
    jitter: AtomicU64,
    closing: CancellationToken,
    me: Weak<Self>,
}

/// One configured upstream.
struct Entry {
    spec: Arc<UpstreamSpec>,
    current: Mutex<Option<Arc<Connection>>>,
    /// Held while connecting, so that it happens once for all who wait.
    history: tokio::sync::Mutex<History>,
    /// The configuration dropped or changed it.
    retired: CancellationToken,
}

/// How the last attempts to reach an upstream went.
#[derive(Default)]
struct History {
    failures: u32,
    /// Connections in a row that ended by themselves soon after they began.
    early_ends: u32,
    not_before: Option<Instant>,
    last: String,
    auth: Option<(u16, Challenge)>,
}

/// A connection that ends by itself within this time counts towards the backoff, from the third in a row on.
const EARLY: Duration = Duration::from_secs(30);
const EARLY_ENDS: u32 = 3;

/// Whether a wait after earlier failures is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Wait,
    AtOnce,
}

impl Pool {
    /// An empty pool.
    pub fn new(options: PoolOptions) -> Arc<Self> {
        let (events, _) = broadcast::channel(256);
        Arc::new_cyclic(|me| Self {
            client: Implementation::new(options.client_name.clone(), options.client_version.clone()),
            events,
            entries: Mutex::default(),
            eras: Mutex::default(),
            starts: Semaphore::new(options.max_starts.max(1)),
            jitter: AtomicU64::new(options.seed),
            closing: CancellationToken::new(),
            me: me.clone(),
            options,
        })
    }

    /// Takes a new configuration. Upstreams whose spec is unchanged keep their connection; the others' are closed in the
    /// background. Call within a tokio runtime if connections may be open.
    pub fn configure(&self, specs: Vec<UpstreamSpec>) {
        let mut entries = self.entries.lock();
        let mut old = std::mem::take(&mut *entries);
        for spec in specs {
            let kept = old.remove(&spec.id);
            let entry = match kept {
                Some(entry) if *entry.spec == spec => entry,
                changed => {
                    changed.iter().for_each(|entry| entry.retire());
                    Arc::new(Entry {
                        spec: Arc::new(spec),
                        current: Mutex::default(),
                        history: tokio::sync::Mutex::default(),
                        retired: CancellationToken::new(),
                    })
                }
            };
            entries.insert(entry.spec.id.clone(), entry);
        }
        drop(entries);
        old.values().for_each(|entry| entry.retire());
    }

    /// The configured upstreams, sorted.
    pub fn ids(&self) -> Vec<UpstreamId> {
        self.entries.lock().keys().cloned().collect()
    }

    /// One upstream's configuration.
    pub fn spec(&self, id: &UpstreamId) -> Option<Arc<UpstreamSpec>> {
        self.entries.lock().get(id).map(|entry| entry.spec.clone())
    }

    /// What upstreams do by themselves. A receiver that lags behind loses the oldest events.
    pub fn subscribe(&self) -> broadcast::Receiver<UpstreamEvent> {
        self.events.subscribe()
    }

    /// Asks an upstream for its tools, connecting first if need be.
    pub async fn list(&self, id: &UpstreamId) -> Result<ToolListing, Error> {
        let entry = self.entry(id)?;
        match self.connection(&entry, Patience::Wait).await?.list().await {
            // Listing changes nothing at the server, so a connection that ended under it may be replaced.
            Err(Error::Closed { .. }) => self.connection(&entry, Patience::Wait).await?.list().await,
            outcome => outcome,
        }
    }

    /// Forwards one call, connecting first if need be. Tried a second time only if the first certainly was not sent.
    pub async fn call(&self, id: &UpstreamId, request: CallRequest, context: CallContext) -> Result<CallReply, Error> {
        let entry = self.entry(id)?;
        if !entry.spec.tools.admits(&request.name) {
            return Err(Error::Filtered { upstream: id.clone(), tool: preview(&request.name) });
        }
        let connection = async {
            tokio::select! {
                connection = self.connection(&entry, Patience::Wait) => connection,
                () = context.cancel.cancelled() => Err(Error::Cancelled { upstream: id.clone() }),
            }
        };
        match connection.await?.call(&request, &context).await {
            Err(Error::Closed { sent: Sent::No, .. }) => {
                self.connection(&entry, Patience::Wait).await?.call(&request, &context).await
            }
            outcome => outcome,
        }
    }

    /// Looks whether an upstream works, at once, whatever its backoff says.
    pub async fn check(&self, id: &UpstreamId) -> CheckReport {
        let began = Instant::now();
        let mut report = CheckReport {
            upstream: id.clone(),
            status: CheckStatus::Unreachable,
            era: None,
            protocol_version: None,
            server_name: None,
            server_version: None,
            n_tools: 0,
            tools: Vec::new(),
            skipped: Vec::new(),
            truncated: None,
            error: Vec::new(),
            hint: None,
            stderr: None,
            elapsed_ms: 0,
        };
        let outcome = async {
            let entry = self.entry(id)?;
            let connection = self.connection(&entry, Patience::AtOnce).await?;
            Ok((connection.facts.clone(), connection.list().await))
        };
        let error = match outcome.await {
            Ok((server, listed)) => {
                report.era = Some(server.era);
                report.protocol_version = Some(server.protocol_version);
                report.server_name = Some(server.name);
                report.server_version = Some(server.version);
                match listed {
                    Ok(listing) => {
                        let whole = listing.skipped.is_empty() && listing.truncated.is_none();
                        report.status = if whole { CheckStatus::Ok } else { CheckStatus::Degraded };
                        report.n_tools = listing.tools.len();
                        report.tools = listing.tools;
                        report.skipped = listing.skipped;
                        report.truncated = listing.truncated;
                        None
                    }
                    Err(error) => Some(error),
                }
            }
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            report.status = match error {
                Error::NeedsAuth { .. } => CheckStatus::NeedsAuth,
                Error::Disabled { .. } => CheckStatus::Disabled,
                _ => CheckStatus::Unreachable,
            };
            report.hint = error.hint();
            report.stderr = error.stderr().map(str::to_owned);
            report.error = error.chain();
        }
        report.elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        report
    }

    /// Closes every connection, kills what does not end in time, and refuses further requests.
    pub async fn shutdown(&self) {
        self.closing.cancel();
        let entries: Vec<Arc<Entry>> = self.entries.lock().values().cloned().collect();
        let open: Vec<Arc<Connection>> = entries.iter().filter_map(|entry| entry.current.lock().take()).collect();
        let closing = futures::future::join_all(open.iter().map(|connection| connection.close()));
        if tokio::time::timeout(self.options.shutdown, closing).await.is_err() {
            warn!("some upstreams did not end in time and are killed");
            open.iter().for_each(|connection| connection.kill());
        }
        // Attempts to connect see `closing` and end what they started; whoever holds the lock has not yet.
        let attempts = futures::future::join_all(entries.iter().map(|entry| entry.history.lock()));
        let _ = tokio::time::timeout(self.options.shutdown, attempts).await;
    }

    fn entry(&self, id: &UpstreamId) -> Result<Arc<Entry>, Error> {
        if self.closing.is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        let entry = self.entries.lock().get(id).cloned();
        let entry = entry.ok_or_else(|| Error::UnknownUpstream { upstream: id.clone() })?;
        if entry.spec.enabled { Ok(entry) } else { Err(Error::Disabled { upstream: id.clone() }) }
    }

    /// The open connection, or a new one. Whoever asks first starts it; it goes on when that caller leaves.
    async fn connection(&self, entry: &Arc<Entry>, patience: Patience) -> Result<Arc<Connection>, Error> {
        if let Some(connection) = entry.open() {
            return Ok(connection);
        }
        let Some(pool) = self.me.upgrade() else { return Err(Error::ShuttingDown) };
        let entry = entry.clone();
        let attempt = tokio::spawn(async move { pool.connect(&entry, patience).await });
        attempt.await.unwrap_or(Err(Error::ShuttingDown))
    }

    async fn connect(self: Arc<Self>, entry: &Arc<Entry>, patience: Patience) -> Result<Arc<Connection>, Error> {
        let id = &entry.spec.id;
        let failed_before = entry.history.try_lock().map(|history| history.failures).ok();
        let mut history = entry.history.lock().await;
        if let Some(connection) = entry.open() {
            return Ok(connection);
        }
        // Whoever waited for an attempt that failed meanwhile shares its fate, even when it asked for one at once.
        let shared_failure = failed_before.is_none() && history.failures > 0;
        if patience == Patience::Wait || shared_failure {
            let wait = history.not_before.map(|at| at.saturating_duration_since(Instant::now()));
            if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
                return Err(match &history.auth {
                    Some((status, challenge)) => {
                        Error::NeedsAuth { upstream: id.clone(), status: *status, challenge: challenge.clone() }
                    }
                    None => Error::BackingOff {
                        upstream: id.clone(),
                        failures: history.failures,
                        wait,
                        last: history.last.clone(),
                    },
                });
            }
        }
        let key = entry.spec.era_key();
        let known = self.known_era(&key);
        let attempt = async {
            let _permit = self.starts.acquire().await;
            connection::connect(entry.spec.clone(), &self.client, known).await
        };
        let outcome = tokio::select! {
            outcome = attempt => outcome,
            () = self.closing.cancelled() => Err(Error::ShuttingDown),
            () = entry.retired.cancelled() => Err(Error::UnknownUpstream { upstream: id.clone() }),
        };
        match outcome {
            Ok(connection) => {
                let era = connection.facts.era;
                if known != Some(era) {
                    self.remember_era(key, era);
                }
                *history = History { early_ends: history.early_ends, ..History::default() };
                info!(upstream = %id, %era, protocol = %connection.facts.protocol_version, "upstream connected");
                *entry.current.lock() = Some(connection.clone());
                // Whoever ends this upstream gives the sign first and looks for a connection then. One made in between is
                // not seen by them, but their sign is seen here.
                let ended = match (self.closing.is_cancelled(), entry.retired.is_cancelled()) {
                    (true, _) => Some(Error::ShuttingDown),
                    (false, true) => Some(Error::UnknownUpstream { upstream: id.clone() }),
                    (false, false) => None,
                };
                if let Some(error) = ended {
                    entry.current.lock().take();
                    if tokio::time::timeout(self.options.shutdown, connection.close()).await.is_err() {
                        connection.kill();
                    }
                    return Err(error);
                }
                tokio::spawn(watch(Arc::downgrade(&self), self.events.clone(), entry.clone(), connection.clone()));
                Ok(connection)
            }
            Err(error) => {
                if !matches!(error, Error::ShuttingDown | Error::UnknownUpstream { .. }) {
                    history.failures += 1;
                    history.last = error.to_string();
                    history.auth = match &error {
                        Error::NeedsAuth { status, challenge, .. } => Some((*status, challenge.clone())),
                        _ => None,
                    };
                    let wait = self.wait_after(history.failures);
                    history.not_before = Some(Instant::now() + wait);
                    info!(upstream = %id, failures = history.failures, %error, "upstream not reached");
                }
                Err(error)
            }
        }
    }

    fn known_era(&self, key: &str) -> Option<Era> {
        let here = self.eras.lock().get(key).copied();
        here.or_else(|| self.options.eras.as_ref().and_then(|eras| eras.get(key)))
    }

    fn remember_era(&self, key: String, era: Era) {
        if let Some(eras) = &self.options.eras {
            eras.put(&key, era);
        }
        self.eras.lock().insert(key, era);
    }

    fn wait_after(&self, failures: u32) -> Duration {
        let seed = self.jitter.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        self.options.backoff.after(failures, unit(seed))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.closing.cancel();
        for entry in self.entries.get_mut().values() {
            if let Some(connection) = entry.current.lock().take() {
                connection.kill();
            }
        }
    }
}

impl Backoff {
    /// The wait after so many failures in a row. `random` in 0..1 shortens it by up to the share of `jitter`.
    pub fn after(&self, failures: u32, random: f64) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let full = self.first.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        let capped = full.min(self.max.as_secs_f64());
        Duration::from_secs_f64(capped * (1.0 - self.jitter.clamp(0.0, 1.0) * random))
    }
}

/// A number in 0..1 from a counter: the finaliser of SplitMix64 (Steele, Lea, Flood 2014). Jitter needs no more.
fn unit(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

impl Entry {
    fn open(&self) -> Option<Arc<Connection>> {
        self.current.lock().as_ref().filter(|connection| connection.is_open()).cloned()
    }

    fn retire(&self) {
        self.retired.cancel();
        let Some(connection) = self.current.lock().take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move { connection.close().await });
            }
            Err(_) => connection.kill(),
        }
    }
}

/// Passes on what a connection says by itself, until it ends.
async fn watch(
    pool: Weak<Pool>,
    events: broadcast::Sender<UpstreamEvent>,
    entry: Arc<Entry>,
    connection: Arc<Connection>,
) {
    let id = entry.spec.id.clone();
    let changes = async {
        while connection.tools_changed().await.is_some() {
            let _ = events.send(UpstreamEvent::ToolsChanged { upstream: id.clone() });
            // A server that says so without end costs four events a second; the last one is never lost.
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    let listening = async {
        connection.keep_listening().await;
        connection.gone().await;
    };
    tokio::join!(changes, listening);
    if connection.is_stopping() {
        return;
    }
    {
        let mut current = entry.current.lock();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &connection)) {
            current.take();
        }
    }
    let reason = connection.last_words();
    info!(upstream = %id, "upstream closed the connection");
    let _ = events.send(UpstreamEvent::Closed { upstream: id, reason: reason.clone() });
    connection.close().await;
    let Some(pool) = pool.upgrade() else { return };
    let mut history = entry.history.lock().await;
    if connection.since.elapsed() >= EARLY {
        history.early_ends = 0;
        return;
    }
    history.early_ends += 1;
    if history.early_ends >= EARLY_ENDS {
        // Each connect that works sets `failures` back, so the early ends are what the wait grows with.
        history.failures = history.early_ends - EARLY_ENDS + 1;
        history.last = format!("it ended by itself {} times in a row; {reason}", history.early_ends);
        let wait = pool.wait_after(history.failures);
        history.not_before = Some(Instant::now() + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(failures: u32, random: f64, expect_ms: u128) {
        assert_eq!(Backoff::default().after(failures, random).as_millis(), expect_ms, "{failures} {random}");
    }

    #[test]
    fn waits_double_up_to_the_limit_and_jitter_only_shortens() {
        check(1, 0.0, 1_000);
        check(2, 0.0, 2_000);
        check(4, 0.0, 8_000);
        check(1, 1.0, 700);
        check(40, 0.0, 300_000);
        check(u32::MAX, 0.0, 300_000);
    }

    #[test]
    fn the_jitter_stays_in_its_range_and_moves() {
        let all: Vec<f64> = (0..100).map(unit).collect();
        assert!(all.iter().all(|x| (0.0..1.0).contains(x)));
        assert!(all.windows(2).all(|pair| (pair[0] - pair[1]).abs() > f64::EPSILON));
    }
}
