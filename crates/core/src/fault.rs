//! Whose mistake an error is, and whether trying again can help.

use serde::{Deserialize, Serialize};

/// Who has to act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The one who asked: change the request.
    Caller,
    /// The MCP server behind us.
    Upstream,
    /// Us: a bug, a full disk, a damaged file.
    Ours,
}

/// Whether the same request may go better later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// It will fail again.
    Never,
    /// It may work after a while.
    Later,
}
