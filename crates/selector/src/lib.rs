//! Given a caller and a task in words, which few tools should it see, and why?
//!
//! [`select`] = policy and filters → candidates by words and by meaning → fusion → families → limit, over one immutable
//! [`Snapshot`](toolscout_index::Snapshot). Each stage writes into [`Evidence`] as it decides; [`explain`] renders that for
//! people, [`why_not`] says where one tool was left behind. Whoever has a second opinion on the best few brings it to
//! [`settle`].
//!
//! Pure: no I/O, no clock, no memory of the last request. The same inputs give the same answer in the same order, by score,
//! then by tool id. What policy denies is never a candidate. Knows nothing of MCP or HTTP.
//!
//! ```
//! # use toolscout_core::Caller;
//! # use toolscout_index::{IndexHost, IndexOptions};
//! # use toolscout_policy::Policy;
//! # use toolscout_quality::QualityView;
//! # use toolscout_selector::{Query, select};
//! # use toolscout_store::Store;
//! let host = IndexHost::open(IndexOptions::default(), &Store::temporary()?, None)?;
//! let query = Query { text: "open an issue".into(), ..Query::default() };
//! let selection = select(&host.snapshot(), &QualityView::default(), &Policy::default(), &Caller::local("doc"), &query);
//! assert!(selection.tools.is_empty(), "nothing is indexed yet");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access;
mod confidence;
mod evidence;
mod explain;
mod features;
mod fuse;
mod gather;
mod options;
mod ranker;
mod reliability;
mod second;
mod select;
pub mod steps;
mod why;

pub use access::HOSTILE_TEXT;
pub use evidence::{
    AccessStage, Alignment, BudgetStage, Candidate, ConfidenceStage, DenseStage, Evidence, Fate, FusionStage, HeldTool,
    LexicalStage, MAX_CANDIDATES, MAX_HELD, MAX_TERMS, Part, SecondStage, Side, Sign, StepStage, TokensStage,
};
pub use explain::explain;
pub use features::FEATURES;
pub use options::{Abstain, Fusion, SelectorOptions};
pub use second::settle;
pub use select::{
    NoMatch, NoMatchReason, Query, Selected, Selection, Trace, Withheld, read, select, select_with, trace,
};
pub use why::{Asked, WhyNot, WhyStage, why_not};
