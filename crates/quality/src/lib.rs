//! Can this tool be relied on today?
//!
//! [`Quality::record`] takes the [`Outcome`](toolscout_core::Outcome) of a call and never waits: a bounded queue, and what
//! does not fit is dropped and counted. One thread folds the queue into a [`record::Record`] per tool (pure, see there for the
//! formulae), writes it to the store and publishes a [`QualityView`] by swapping an `Arc`.
//! Only an upstream's fault lowers a score; a caller's mistakes are counted apart. Quality never grants and never blocks a
//! call. A damaged or missing row only means that a tool starts at the prior again: see [`Quality::open`].
//!
//! ```
//! use toolscout_quality::QualityView;
//! let nothing_known = QualityView::default();
//! let quality = nothing_known.of(&"github:create_issue".parse().unwrap());
//! assert_eq!(quality.calls, 0);
//! assert!(0.0 < quality.score && quality.score < 1.0);
//! ```

mod host;
pub mod record;
mod view;

pub use host::{Error, Quality};
pub use record::QualityOptions;
pub use view::{QualityView, ToolQuality};
