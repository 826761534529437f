//! What several tests need.

use crate::silence::Listing;
use proptest::prelude::*;
use toolscout_core::{CallFault, CallerClass, Generation, Outcome, Timestamp};

/// A call that took a millisecond.
pub(crate) fn outcome(tool: &str, fault: CallFault, at: u64) -> Outcome {
    Outcome {
        tool: tool.parse().unwrap(),
        generation: Generation(1),
        selection: None,
        fault,
        latency_ms: 1,
        result_bytes: 10,
        empty: false,
        conforms: None,
        caller: CallerClass::Agent,
        at: Timestamp(at),
    }
}

/// A listing of a tool's server.
pub(crate) fn listing(tool: &str, answered: bool, at: u64) -> Listing {
    let upstream = tool.parse::<toolscout_core::ToolId>().unwrap().upstream;
    Listing { upstream, answered, took_ms: 1, at: Timestamp(at) }
}

pub(crate) fn any_fault() -> impl Strategy<Value = CallFault> {
    prop::sample::select(vec![
        CallFault::None,
        CallFault::UpstreamError,
        CallFault::Transport,
        CallFault::Timeout,
        CallFault::InvalidArguments,
        CallFault::UnsafeAttempt,
        CallFault::Throttled,
        CallFault::Cancelled,
    ])
}
