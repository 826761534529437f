//! How the crawler behaves.

use std::time::Duration;

/// Options of a [`crate::Crawler`]. The defaults are what `serve` uses.
#[derive(Debug, Clone, PartialEq)]
pub struct CrawlerOptions {
    /// How many upstreams are listed at once. 4.
    pub concurrency: usize,
    /// A listing without a time to live is taken again after this. 5 min.
    pub default_ttl: Duration,
    /// No listing is taken again sooner, whatever its server says. 30 s.
    pub min_ttl: Duration,
    /// Every listing is taken again after this, whatever its server says. 24 h.
    pub max_ttl: Duration,
    /// Share of a wait that is random, 0 to 1, so that upstreams spread out. 0.1: from 90 % to 110 % of it.
    pub jitter: f64,
    /// Wait after the first failure. 5 s.
    pub first_retry: Duration,
    /// Longest wait between failures; each doubles the one before. 15 min.
    pub max_retry: Duration,
    /// Changes announced within this time become one listing. 500 ms.
    pub settle: Duration,
    /// No answer of any upstream is waited for longer, whatever the pool's own limits. 5 min.
    pub deadline: Duration,
    /// Seed of the jitter.
    pub seed: u64,
}

impl Default for CrawlerOptions {
    fn default() -> Self {
        Self {
            concurrency: 4,
            default_ttl: Duration::from_secs(300),
            min_ttl: Duration::from_secs(30),
            max_ttl: Duration::from_secs(24 * 3600),
            jitter: 0.1,
            first_retry: Duration::from_secs(5),
            max_retry: Duration::from_secs(900),
            settle: Duration::from_millis(500),
            deadline: Duration::from_secs(300),
            seed: 0,
        }
    }
}
