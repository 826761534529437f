//! What a server says of itself and of its tools.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use toolscout_core::Untrusted;

/// Which family of protocol revisions a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// 2026-07-28 and later: stateless, `server/discover`.
    Modern,
    /// Up to 2025-11-25: `initialize`.
    Legacy,
}

impl std::fmt::Display for Era {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Modern => "modern",
            Self::Legacy => "legacy",
        })
    }
}

/// What a server says of itself, cleaned and cut. For display and for indexing; nothing may be decided by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// Its own name, at most 100 characters.
    pub name: String,
    /// Its version, at most 100 characters.
    pub version: String,
    /// A title for people, at most 200 characters.
    pub title: Option<String>,
    /// The revision spoken on this connection.
    pub protocol_version: String,
    /// The family of that revision.
    pub era: Era,
    /// What it says about its use, at most 8,000 characters.
    pub instructions: Option<String>,
    /// Whether it promises to tell when its tools change.
    pub tools_list_changed: bool,
}

/// Everything `tools/list` gave, all pages.
#[derive(Debug, Clone)]
pub struct ToolListing {
    /// Who answered.
    pub server: ServerFacts,
    /// The definitions as sent, unknown fields included, in the server's order; each is an object with a `name` that
    /// [`toolscout_core::ToolName`] takes and an `inputSchema` that is an object. Names are unique.
    pub tools: Vec<Untrusted<Value>>,
    /// Definitions that were left out.
    pub skipped: Vec<Skipped>,
    /// Why the listing is not whole, if it is not: which cap ended it. A truncated listing proves no tool's absence.
    pub truncated: Option<String>,
    /// For how long the server calls it fresh: the smallest of all pages.
    pub ttl_ms: Option<u64>,
    /// `public` or `private`; `private` if any page says so.
    pub cache_scope: Option<String>,
}

/// A definition that was left out of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its position in the whole listing, from 0.
    pub position: usize,
    /// Its name, cleaned, if it has one.
    pub name: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}
