//! One listing of one upstream, from the request to the catalog.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use toolscout_catalog::{Catalog, Change, Listing, ServerRow, Skipped, UpstreamState};
use toolscout_core::text::sanitize;
use toolscout_core::time::Clock;
use toolscout_core::{Timestamp, UpstreamId};
use toolscout_upstream::{Error, Step, ToolListing};

use crate::{Crawled, Outcome, Source};

pub(crate) struct Job {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) clock: Clock,
    pub(crate) deadline: Duration,
    pub(crate) upstream: UpstreamId,
    pub(crate) cancel: CancellationToken,
    /// The failure that the log has already.
    pub(crate) told: Option<UpstreamState>,
}

/// What the schedule hears of it.
pub(crate) struct Ended {
    pub(crate) upstream: UpstreamId,
    pub(crate) crawled: Crawled,
    /// The failure itself says to wait this long.
    pub(crate) retry_after: Option<Duration>,
    /// The listing says how long it holds.
    pub(crate) ttl: Option<Duration>,
}

impl Job {
    pub(crate) async fn run(self) -> Ended {
        let begun = Instant::now();
        // A panic under a listing must not leave its upstream waited for for ever.
        let outcome = AssertUnwindSafe(self.outcome()).catch_unwind().await;
        let (outcome, retry_after, ttl) =
            outcome.unwrap_or_else(|_| (self.unwritten("the listing panicked".to_owned(), None), None, None));
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let upstream = self.upstream;
        match &outcome {
            Outcome::Listed { n_tools, added, changed, removed, waiting, skipped, hostile, suspicious, .. } => {
                tracing::info!(
                    %upstream, n_tools, added, changed, removed, n_waiting = waiting.len(), n_skipped = skipped.len(), took_ms,
                    "upstream listed"
                );
                if hostile + suspicious > 0 {
                    tracing::warn!(%upstream, n_withheld = hostile, n_suspicious = suspicious, "hostile text in definitions");
                }
            }
            Outcome::Failed { state, reason, .. } => {
                // Once for each outage: one that stays down is tried every minute or so.
                if self.told == Some(*state) {
                    tracing::debug!(%upstream, state = state.as_str(), reason, took_ms, "upstream still not listed");
                } else {
                    tracing::warn!(%upstream, state = state.as_str(), reason, took_ms, "upstream not listed");
                }
            }
            Outcome::Stopped => tracing::debug!(%upstream, "listing given up"),
        }
        let crawled = Crawled { upstream: upstream.clone(), took_ms, outcome };
        Ended { upstream, crawled, retry_after, ttl }
    }

    async fn outcome(&self) -> (Outcome, Option<Duration>, Option<Duration>) {
        let listed = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return (Outcome::Stopped, None, None),
            listed = tokio::time::timeout(self.deadline, self.source.list(&self.upstream)) => listed,
        };
        let listed = match listed {
            Ok(listed) => listed,
            Err(_) => {
                let (upstream, after) = (self.upstream.clone(), self.deadline);
                Err(Error::Timeout { upstream, step: Step::List, after, stderr: String::new() })
            }
        };
        let now = (self.clock)();
        match listed {
            Ok(listing) => {
                let ttl = listing.ttl_ms.map(Duration::from_millis);
                let listing = to_listing(&self.upstream, self.source.tags(&self.upstream), listing, now);
                let (skipped, truncated) = (listing.skipped.clone(), listing.truncated.clone());
                let catalog = self.catalog.clone();
                match off_async(move || catalog.apply(listing)).await {
                    Some(Ok(change)) => (self.listed(&change, skipped, truncated), None, ttl),
                    Some(Err(error)) => (self.unwritten(chain(&error), error.hint()), None, None),
                    None => (self.unwritten("the catalog broke off".to_owned(), None), None, None),
                }
            }
            Err(Error::Cancelled { .. } | Error::ShuttingDown) => (Outcome::Stopped, None, None),
            Err(error) => self.failed(error, now).await,
        }
    }

    fn listed(&self, change: &Change, skipped: Vec<Skipped>, truncated: Option<String>) -> Outcome {
        let row = change.view.upstream(&self.upstream);
        let (hostile, suspicious) = change.view.screen.counts(&self.upstream);
        let waiting = change.view.all_unapproved().map(|(id, _)| id).filter(|id| id.upstream == self.upstream);
        Outcome::Listed {
            waiting: waiting.cloned().collect(),
            hostile,
            suspicious,
            n_tools: row.map_or(0, |row| row.n_tools),
            added: change.diff.added.len(),
            changed: change.diff.changed.len(),
            removed: change.diff.removed.len(),
            // The catalog may have found more to leave out than the reader.
            skipped: row.map_or(skipped, |row| row.skipped.clone()),
            truncated,
            generation: change.view.generation,
        }
    }

    /// The upstream did its part and we did not.
    fn unwritten(&self, reason: String, hint: Option<&str>) -> Outcome {
        let n_tools = self.catalog.view().upstream(&self.upstream).map_or(0, |row| row.n_tools);
        Outcome::Failed { state: UpstreamState::Stale, reason, hint: hint.map(str::to_owned), n_tools, answered: true }
    }

    async fn failed(&self, error: Error, now: Timestamp) -> (Outcome, Option<Duration>, Option<Duration>) {
        let view = self.catalog.view();
        let row = view.upstream(&self.upstream);
        let was_listed = row.is_some_and(|row| row.listed_at.is_some());
        let state = match &error {
            Error::NeedsAuth { .. } => UpstreamState::NeedsAuth,
            // Not tried at all, so it is what the last try found.
            Error::BackingOff { .. } if row.is_some_and(|row| row.state != UpstreamState::Ready) => {
                row.map_or(UpstreamState::Unreachable, |row| row.state)
            }
            Error::Timeout { step: Step::List | Step::Call, .. }
            | Error::Protocol { .. }
            | Error::Caps { .. }
            | Error::Rpc { .. }
                if was_listed =>
            {
                UpstreamState::Stale
            }
            _ => UpstreamState::Unreachable,
        };
        // A connection that is not even tried again yet would fail a call as well.
        let answered =
            matches!(&error, Error::NeedsAuth { .. } | Error::Protocol { .. } | Error::Caps { .. } | Error::Rpc { .. });
        let retry_after = match &error {
            Error::BackingOff { wait, .. } => Some(*wait),
            _ => None,
        };
        let reason = sanitize(&error.chain().join(": "), 300).replace('\n', " ");
        let hint = error.hint();
        let (catalog, upstream, why) = (self.catalog.clone(), self.upstream.clone(), reason.clone());
        let marked = off_async(move || catalog.mark(&upstream, state, &why, now)).await;
        if let Some(Err(error)) = marked {
            tracing::warn!(upstream = %self.upstream, %error, "the failure could not be remembered");
        }
        let n_tools = row.map_or(0, |row| row.n_tools);
        (Outcome::Failed { state, reason, hint, n_tools, answered }, retry_after, None)
    }
}

/// Disk work leaves the async threads here. `None`: it panicked, which the panic hook has reported.
pub(crate) async fn off_async<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

fn to_listing(upstream: &UpstreamId, tags: Vec<String>, listing: ToolListing, at: Timestamp) -> Listing {
    let ToolListing { server, tools, skipped, truncated, ttl_ms, cache_scope: _ } = listing;
    let server = ServerRow {
        name: server.name,
        version: server.version,
        title: server.title,
        protocol_version: server.protocol_version,
        era: server.era.to_string(),
        instructions: server.instructions,
        tools_list_changed: server.tools_list_changed,
    };
    let skipped =
        skipped.into_iter().map(|s| Skipped { position: s.position, name: s.name, reason: s.reason }).collect();
    Listing { upstream: upstream.clone(), server, tags, tools, skipped, truncated, ttl_ms, at }
}

/// An error with its causes in one clean line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    sanitize(&text, 300).replace('\n', " ")
}
