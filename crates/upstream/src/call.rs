//! One call: what goes out, under which conditions, and what comes back.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use toolscout_core::Untrusted;

use crate::Era;

/// A `tools/call` to forward.
#[derive(Debug, Clone, Default)]
pub struct CallRequest {
    /// The tool's own name at its upstream.
    pub name: String,
    /// Its arguments, already checked by whoever asks.
    pub arguments: Map<String, Value>,
    /// The caller's `_meta`. Passed on but for the keys that belong to the connection (protocol version, client facts,
    /// progress token); `traceparent` and the like go through.
    pub meta: Option<Map<String, Value>>,
    /// Answers to an earlier `input_required`, as the caller sent them. Modern upstreams only.
    pub input_responses: Option<Value>,
    /// The `requestState` of that earlier answer, verbatim. Modern upstreams only.
    pub request_state: Option<String>,
}

/// The conditions of a call.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// How long the call may stay silent: every progress notification starts it anew, up to the upstream's
    /// `timeouts.call_max` in all. `None` takes the upstream's `timeouts.call`.
    pub deadline: Option<Duration>,
    /// Ends the call; the upstream is told.
    pub cancel: CancellationToken,
    /// Where progress goes. When the receiver is slow, reports are dropped, never the call.
    pub progress: Option<mpsc::Sender<Progress>>,
    /// The capabilities the downstream client declared, when its era lets an `input_required` result through to it.
    /// They are declared to a modern upstream for this call. `None`: none are declared.
    pub client_capabilities: Option<Map<String, Value>>,
}

impl Default for CallContext {
    fn default() -> Self {
        Self { deadline: None, cancel: CancellationToken::new(), progress: None, client_capabilities: None }
    }
}

/// One report of progress, numbers as the server sent them.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// How far. Each report is greater than the one before; others are dropped.
    pub progress: f64,
    /// Of how much.
    pub total: Option<f64>,
    /// In words, cleaned, at most 500 characters.
    pub message: Option<String>,
}

/// What a call gave.
#[derive(Debug, Clone)]
pub struct CallReply {
    /// The result object whole, as the upstream sent it: `content`, `structuredContent`, `isError`, `resultType`,
    /// `_meta`, `inputRequests`, `requestState` and whatever else.
    pub result: Untrusted<Value>,
    /// Which era the upstream speaks: a legacy result has no `resultType`, which means `complete`.
    pub era: Era,
}
