//! What tools exist, and what changed?
//!
//! A [`Listing`] (what one upstream answered) goes into [`Catalog::apply`]; out comes a [`Change`]: the new
//! [`CatalogView`], one immutable generation with a [`ToolCard`](toolscout_core::ToolCard) per tool, and the difference to
//! the one before. Every generation is one atomic batch in the store: a kill at any moment leaves the last whole one.
//! The definitions are kept whole, as the upstream sent them; cards are derived from them at every start.
//!
//! A definition that changes is not taken unasked: it waits, and what was approved stays, until [`Catalog::approve`] is told so
//! or [`trust::judge`] finds the change harmless.
//!
//! Never ranks, never calls a server, reads no clock. Start at [`Catalog`], then [`card`], then [`overlay`]
//! and [`trust`].
//!
//! ```
//! use serde_json::json;
//! use toolscout_catalog::{Catalog, Listing, Overlays};
//! use toolscout_core::{Timestamp, Untrusted, UpstreamId};
//! use toolscout_store::Store;
//!
//! let catalog = Catalog::open(&Store::temporary()?, Overlays::default())?;
//! let mut listing = Listing::new(UpstreamId::new("forge")?, Timestamp(0));
//! listing.tools = vec![Untrusted::new(json!({
//!     "name": "create_issue",
//!     "description": "Open a new issue. Use this when something is broken.",
//!     "inputSchema": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]},
//! }))];
//! let change = catalog.apply(listing)?;
//! assert_eq!(change.diff.added, ["forge:create_issue".parse()?]);
//! assert_eq!(change.view.tools[0].signature(), "create_issue(title*)");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod approve;
pub mod card;
mod catalog;
pub mod definition;
mod error;
pub mod jsonl;
pub mod known;
mod listing;
pub mod overlay;
mod pins;
mod prose;
mod rows;
pub mod trust;
mod verbs;
mod view;

pub use approve::Proposal;
pub use catalog::{Catalog, CatalogOptions, Change, Diff, Subscriber, Version};
pub use error::Error;
pub use jsonl::Imported;
pub use listing::{Listing, Origin, ServerRow, Skipped, UpstreamRow, UpstreamState};
pub use overlay::{Overlay, Overlays};
pub use pins::{Unapproved, UnapprovedWhat};
pub use trust::{Approval, AutoApprove, How, Review, Trust};
pub use verbs::intent;
pub use view::{CatalogView, Family};
