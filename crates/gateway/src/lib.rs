//! How does an agent ask and call?
//!
//! [`ops`] holds what can be asked, whatever the way: search, details, call, explain, select for a model. Three faces stand on
//! it: MCP over HTTP and over stdio (both eras, [`mcp`]) and `/v1` for sidecars and operators ([`http`]). Requests are
//! untrusted and written by models: `lines` answers what is no message at all, [`lenient`] reads them, [`validate`] checks arguments against the tool's own schema, and
//! [`error`] holds the one table that says how a failure looks outside.
//!
//! Never ranks: a [`second`] opinion, off by default, orders what the selector found. Never calls what policy did not grant a moment ago: [`Forward`] takes the grant itself. No argument and no
//! result is ever logged. Start at [`Services`], then [`ops`], then [`serve_http`].

pub mod error;
pub mod findability;
pub mod http;
pub mod lenient;
mod lines;
pub mod mcp;
pub mod metatools;
pub mod metrics;
pub mod ops;
mod plain;
pub mod probes;
pub mod seal;
pub mod second;
pub mod selections;
pub mod serve;
pub mod services;
pub mod validate;
pub mod wire;

pub use error::OpError;
pub use findability::Findability;
pub use metrics::{Metrics, MetricsOptions};
pub use second::{CrossEncoding, Judge, JudgeOptions, Question, Reranker, Skipped, Weighed};
pub use selections::{Kept, SelectionLog, SelectionOptions};
pub use serve::{HttpOptions, ServeError, Served, serve_http, serve_pipe, serve_stdio};
pub use services::{Exposure, Forward, GatewayOptions, NoRecrawl, Parts, Recrawl, Services};
