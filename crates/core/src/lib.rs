//! What are we talking about?
//!
//! The vocabulary every other crate speaks: which tool ([`ToolId`]), what we know of it ([`ToolCard`]), who asks
//! ([`Caller`]), how good a match is ([`Score`]), how a call went ([`Outcome`]), which published state a statement is
//! about ([`Generation`]), and which text is a stranger's ([`Untrusted`]).
//! Values only: no I/O, no async, no clock, no MCP types.
//!
//! ```
//! use toolscout_core::{ToolId, words::split_identifier};
//! let id: ToolId = "github:createIssue".parse().unwrap();
//! assert_eq!(id.upstream.as_str(), "github");
//! assert_eq!(split_identifier(id.name.as_str()), ["create", "issue"]);
//! ```

pub mod caller;
pub mod card;
pub mod fault;
pub mod hash;
pub mod id;
pub mod outcome;
pub mod score;
pub mod secret;
pub mod text;
pub mod time;
pub mod words;

pub use caller::Caller;
pub use card::{Param, SideEffect, SideEffectSource, ToolCard};
pub use fault::{Fault, Retry};
pub use hash::{ContentHash, canonical_json};
pub use id::{Generation, IdError, SelectionId, ToolId, ToolName, UpstreamId};
pub use outcome::{CallFault, CallerClass, Outcome};
pub use score::Score;
pub use secret::{Secret, sounds_secret};
pub use text::Untrusted;
pub use time::Timestamp;
