//! How do we speak to somebody else's MCP server?
//!
//! [`UpstreamSpec`] says how to reach one, [`Pool`] keeps the connections, [`Pool::list`] asks for its tools and
//! [`Pool::call`] forwards one call. Behind them: three transports (stdio in a process group of its own, Streamable HTTP,
//! legacy HTTP+SSE), both protocol eras with our own probe, deadlines and caps on everything that comes in, and a tap
//! that keeps what servers send whole, unknown fields included, because rmcp's types drop them.
//!
//! This is the only crate that is an MCP client. It never passes on unbounded or unmarked text: definitions and results
//! come out as [`Untrusted`](toolscout_core::Untrusted), names and messages of a server only cleaned and cut.
//!
//! ```no_run
//! # async fn run() -> Result<(), toolscout_upstream::Error> {
//! use toolscout_core::UpstreamId;
//! use toolscout_upstream::{Pool, PoolOptions, UpstreamSpec};
//! let id = UpstreamId::new("files").expect("a valid id");
//! let pool = Pool::new(PoolOptions::default());
//! pool.configure(vec![UpstreamSpec::stdio(id.clone(), "npx", ["-y", "@modelcontextprotocol/server-filesystem", "/tmp"])]);
//! let listing = pool.list(&id).await?;
//! assert!(listing.truncated.is_none());
//! pool.shutdown().await;
//! # Ok(()) }
//! ```

pub mod call;
mod connection;
pub mod error;
mod handshake;
mod http;
pub mod listing;
pub mod pool;
mod redact;
pub mod spec;
mod sse;
mod stdio;
mod tap;

pub use call::{CallContext, CallReply, CallRequest, Progress};
pub use error::{Challenge, Error, Sent, Step};
pub use http::{ReadError, read_capped};
pub use listing::{Era, ServerFacts, Skipped, ToolListing};
pub use pool::{Backoff, CheckReport, CheckStatus, EraCache, Pool, PoolOptions, UpstreamEvent};
pub use spec::{Caps, HttpKind, Timeouts, ToolFilter, Transport, UpstreamSpec};
