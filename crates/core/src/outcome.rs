//! What one call did.

use serde::{Deserialize, Serialize};

use crate::{Generation, SelectionId, Timestamp, ToolId};

/// How a call went wrong, or that it did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallFault {
    /// It went well.
    None,
    /// The upstream answered with an error of its own.
    UpstreamError,
    /// The connection broke or never came up.
    Transport,
    /// No answer within the deadline.
    Timeout,
    /// The arguments do not fit the schema: the caller's mistake.
    InvalidArguments,
    /// Policy refused a call that would have written or destroyed.
    UnsafeAttempt,
    /// A limit said "later".
    Throttled,
    /// The caller went away.
    Cancelled,
}

impl CallFault {
    /// Whether the upstream is to blame. Only then may quality fall.
    pub fn is_upstreams(self) -> bool {
        match self {
            Self::UpstreamError | Self::Transport | Self::Timeout => true,
            Self::None | Self::InvalidArguments | Self::UnsafeAttempt | Self::Throttled | Self::Cancelled => false,
        }
    }
}

/// From which side a call came. Decided by the face that took it, never by what a caller writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerClass {
    /// A model, over MCP.
    #[default]
    Agent,
    /// A program, over HTTP.
    Service,
    /// A person at the command line.
    Operator,
}

/// One call's result as quality sees it. Holds no argument and no content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which tool was called.
    pub tool: ToolId,
    /// Which generation the call was decided on.
    pub generation: Generation,
    /// The selection that recommended it, when the caller said so.
    pub selection: Option<SelectionId>,
    /// How it went.
    pub fault: CallFault,
    /// From forwarding to the last byte, in milliseconds.
    pub latency_ms: u64,
    /// Size of the result's JSON in bytes.
    pub result_bytes: u64,
    /// Whether the result carried no content at all.
    pub empty: bool,
    /// Whether structured content keeps the schema that the tool declares for it; `None` where there is nothing to compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conforms: Option<bool>,
    /// Who called.
    #[serde(default)]
    pub caller: CallerClass,
    /// When it ended.
    pub at: Timestamp,
}

impl Outcome {
    /// When the call began.
    pub fn started(&self) -> Timestamp {
        Timestamp(self.at.0.saturating_sub(self.latency_ms))
    }
}
