//! The seam between the crawler and the upstreams.

use futures::future::BoxFuture;
use tokio::sync::broadcast;
use toolscout_core::UpstreamId;
use toolscout_upstream::{Error, Pool, ToolListing, UpstreamEvent};

/// Where listings come from: the pool, or a script in tests.
pub trait Source: Send + Sync + 'static {
    /// The upstreams to keep current, as configured now.
    fn ids(&self) -> Vec<UpstreamId>;
    /// The tags that the configuration gives an upstream.
    fn tags(&self, upstream: &UpstreamId) -> Vec<String>;
    /// Lists one upstream's tools. Dropping the future gives the listing up.
    fn list<'a>(&'a self, upstream: &'a UpstreamId) -> BoxFuture<'a, Result<ToolListing, Error>>;
    /// What upstreams do by themselves.
    fn events(&self) -> broadcast::Receiver<UpstreamEvent>;
}

impl Source for Pool {
    fn ids(&self) -> Vec<UpstreamId> {
        let enabled = |id: &UpstreamId| self.spec(id).is_some_and(|spec| spec.enabled);
        Pool::ids(self).into_iter().filter(enabled).collect()
    }

    fn tags(&self, upstream: &UpstreamId) -> Vec<String> {
        self.spec(upstream).map(|spec| spec.tags.clone()).unwrap_or_default()
    }

    fn list<'a>(&'a self, upstream: &'a UpstreamId) -> BoxFuture<'a, Result<ToolListing, Error>> {
        Box::pin(Pool::list(self, upstream))
    }

    fn events(&self) -> broadcast::Receiver<UpstreamEvent> {
        self.subscribe()
    }
}
