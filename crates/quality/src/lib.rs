//! Can this tool be relied on today?
//!
//! [`Quality::record`] takes the [`Outcome`](toolscout_core::Outcome) of a call and never waits: a bounded queue, and what
//! does not fit is dropped and counted. One thread appends the events to a log in the store, folds them into a [`book::Book`]
//! and publishes a [`QualityView`] by swapping an `Arc`. The book is pure, and a replay of the log gives the same book.
//! Of each tool it knows a [`record::Record`] (counts that fade, and the score they give) and its [`health::Health`] (the way
//! into quarantine and out again); of each upstream a [`circuit::Circuit`], so that a dead server is one fact.
//!
//! What was put aside for silence is listed before a call tries it ([`Quality::to_be_listed`]): a listing may say that a server is
//! still gone, so that no agent pays for that, and never that its tools work.
//!
//! Only an upstream's fault lowers a score or moves a state; a caller's mistakes are counted apart. Quality never grants: it is
//! asked after policy. [`Quality::admit`] refuses a call of what is put aside, except the one that tries it.
//!
//! ```
//! use toolscout_quality::QualityView;
//! let nothing_known = QualityView::default();
//! let id = "github:create_issue".parse().unwrap();
//! let quality = nothing_known.of(&id);
//! assert_eq!((quality.calls, quality.state.as_str()), (0, "healthy"));
//! assert!(0.0 < quality.score.score && quality.score.score < 1.0);
//! assert_eq!(nothing_known.withheld(&id), None);
//! ```

pub mod book;
pub mod circuit;
pub mod health;
mod host;
mod known;
pub mod latency;
mod log;
pub mod options;
pub mod record;
pub mod silence;
#[cfg(test)]
mod testing;
mod view;
pub mod window;

pub use book::{Decision, Verdict};
pub use host::{Admission, Error, Quality, Trial};
pub use known::{Rates, Told, ToolQuality, UpstreamQuality};
pub use options::{CircuitOptions, QualityOptions, QuarantineOptions};
pub use silence::Listing;
pub use view::{Held, HeldWhat, QualityView, Standing};
