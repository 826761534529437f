//! Is our picture current?
//!
//! The [`Crawler`] lists every upstream at the start, again when one says that its tools changed, when its listing has
//! grown old, and when somebody asks; it brings what it gets into the catalog. One listing per upstream at a time, a
//! bounded number together, longer and longer waits for one that fails.
//!
//! A failure deletes nothing: the upstream is marked stale, `needs_auth` or unreachable, and its tools stay. Never calls a
//! tool, never ranks. All waiting is on tokio's clock, all chance comes from a seed. Start at [`Crawler`], then [`Source`].
//!
//! ```no_run
//! # async fn run(pool: std::sync::Arc<toolscout_upstream::Pool>, catalog: std::sync::Arc<toolscout_catalog::Catalog>) {
//! use std::sync::Arc;
//! use toolscout_core::Timestamp;
//! use toolscout_crawler::{Crawler, CrawlerDeps, CrawlerOptions};
//! let clock = Arc::new(|| Timestamp(0));
//! let options = CrawlerOptions::default();
//! let crawler = Crawler::start(CrawlerDeps { source: pool, catalog, clock, options, progress: None });
//! let report = crawler.crawl(None).await;
//! assert!(report.is_ok(), "{report:?}");
//! crawler.stop().await;
//! # }
//! ```

mod crawler;
mod job;
mod options;
mod report;
mod source;

pub use crawler::{Crawler, CrawlerDeps};
pub use options::CrawlerOptions;
pub use report::{CrawlEvent, CrawlReport, Crawled, Outcome, ProgressFn, Reason};
pub use source::Source;
