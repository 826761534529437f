//! The schedule.

use std::sync::Arc;

use toolscout_catalog::Catalog;
use toolscout_core::UpstreamId;
use toolscout_core::time::Clock;

use crate::{CrawlReport, CrawlerOptions, ProgressFn, Source};

/// What a crawler needs.
#[derive(Clone)]
pub struct CrawlerDeps {
    /// Where listings come from; the [`Pool`](toolscout_upstream::Pool).
    pub source: Arc<dyn Source>,
    /// Where they go.
    pub catalog: Arc<Catalog>,
    /// The time that goes into the catalog's rows.
    pub clock: Clock,
    /// How to behave.
    pub options: CrawlerOptions,
    /// Told about every step, if anyone wants to know.
    pub progress: Option<ProgressFn>,
}

/// Keeps the catalog current. Cheap to clone; the schedule ends with [`Crawler::stop`] or the last clone.
#[derive(Clone)]
pub struct Crawler {}

impl Crawler {
    /// Starts the schedule: every upstream is listed soon. Needs a tokio runtime.
    pub fn start(deps: CrawlerDeps) -> Self {
        let _ = deps;
        unimplemented!("lands with the next step")
    }

    /// A crawler that only works when asked: for one-shot commands. Needs a tokio runtime.
    pub fn on_demand(deps: CrawlerDeps) -> Self {
        let _ = deps;
        unimplemented!("lands with the next step")
    }

    /// Lists one upstream, or all, now, whatever their waits; returns when each has ended. A listing that runs already is
    /// waited for and counts, if it began after the last announced change.
    pub async fn crawl(&self, which: Option<UpstreamId>) -> CrawlReport {
        let _ = which;
        std::future::pending().await
    }

    /// The source's configuration changed: new upstreams are listed soon, those that are gone are forgotten.
    pub fn reconfigured(&self) {
        unimplemented!("lands with the next step")
    }

    /// Stops the schedule. Listings under way are given up; one that is being written to the catalog is waited for.
    pub async fn stop(&self) {
        std::future::pending().await
    }
}
