//! The gateway in one process: real catalog, index, selector, policy, quality; an upstream that is scripted.
//!
//! What MCP clients see is asked through rmcp's own client, in both eras; what goes over the wire is looked at raw.

#![expect(clippy::unwrap_used, reason = "tests, and helpers that only tests call")]

mod call;
mod definitions;
mod fixture;
mod lists;
mod mcp;
mod pool;
mod probes;
mod second;
mod shutdown;
mod v1;
