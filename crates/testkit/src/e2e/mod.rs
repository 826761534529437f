//! Run the real binary as its users do, and see what it leaves behind.
//!
//! [`Session`] runs one program in a session of its own: whatever it starts, however deep, stays countable and goes when
//! the value is dropped. [`Client`] speaks MCP to it over stdio or HTTP in either era, in plain JSON-RPC, so that a
//! mistake which an SDK makes on both sides of the wire cannot hide itself. Linux only (`/proc`, `setsid`).
//!
//! Everything here panics with what it saw when the other side breaks the protocol or a deadline: a test wants no more.

pub mod http;
pub mod mcp;
pub mod session;

pub use http::{Reply, request};
pub use mcp::{Client, Era, RpcError};
pub use session::{Member, Session};

use std::time::Duration;

/// How long anything may take before a test calls it hanging. Far above what is ever needed: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Asks again and again until `probe` answers; panics with `what` after [`PATIENCE`].
#[track_caller]
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = tokio::time::Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}
