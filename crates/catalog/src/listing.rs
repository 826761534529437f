//! What goes in: one upstream's answer, and what we remember of the upstream itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use toolscout_core::{Timestamp, Untrusted, UpstreamId};

/// What one upstream listed, complete or as far as it could be read.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Whose tools.
    pub upstream: UpstreamId,
    /// What the server says of itself.
    pub server: ServerRow,
    /// Tags from our configuration; every tool of the upstream gets them.
    pub tags: Vec<String>,
    /// The definitions as listed, whole.
    pub tools: Vec<Untrusted<Value>>,
    /// What the reader had to leave out. A tool named here counts as listed: its old definition stays.
    pub skipped: Vec<Skipped>,
    /// Why the listing ended early, if it did. Then nothing is removed.
    pub truncated: Option<String>,
    /// How long the server says that the listing holds, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// When it was read.
    pub at: Timestamp,
}

impl Listing {
    /// A complete listing without tools, to fill.
    pub fn new(upstream: UpstreamId, at: Timestamp) -> Self {
        Self {
            upstream,
            server: ServerRow::default(),
            tags: Vec::new(),
            tools: Vec::new(),
            skipped: Vec::new(),
            truncated: None,
            ttl_ms: None,
            at,
        }
    }
}

/// What a server says of itself: for showing, never for deciding. Clean and bounded by whoever makes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRow {
    /// Its own name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its title for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The protocol revision spoken with it.
    pub protocol_version: String,
    /// `modern` or `legacy`; empty when nobody spoke with it.
    pub era: String,
    /// What it tells models about itself: a stranger's text, indexed and never obeyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// Whether it announces changes of its list.
    #[serde(default)]
    pub tools_list_changed: bool,
}

/// One tool that was listed and could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its place in the listing, from 0.
    pub position: usize,
    /// Its name, cleaned, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What was wrong with it.
    pub reason: String,
}

/// How current our picture of an upstream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamState {
    /// The last crawl went well.
    Ready,
    /// The last crawl failed; what we know is from before.
    Stale,
    /// It wants credentials that we do not have.
    NeedsAuth,
    /// It does not start or answer.
    Unreachable,
}

impl UpstreamState {
    /// The word used in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Stale => "stale",
            Self::NeedsAuth => "needs_auth",
            Self::Unreachable => "unreachable",
        }
    }
}

/// How an upstream's tools came here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The upstream listed them.
    #[default]
    Crawled,
    /// A file was imported; there may be no server to call.
    Imported,
}

/// What the catalog remembers of one upstream. Kept on disk as it is, in a versioned row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamRow {
    /// Its id in our configuration.
    pub id: UpstreamId,
    /// What the server says of itself, as of the last good listing.
    pub server: ServerRow,
    /// Tags from our configuration.
    pub tags: Vec<String>,
    /// How current our picture is.
    pub state: UpstreamState,
    /// Since when it has been in that state.
    pub since: Timestamp,
    /// Why, in one clean line; empty when ready.
    pub reason: String,
    /// How its tools came here.
    #[serde(default)]
    pub origin: Origin,
    /// How many tools it has in the catalog.
    pub n_tools: usize,
    /// What the last good listing had that could not be taken, bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// Why the last good listing ended early, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<String>,
    /// How long the server says that its listing holds, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// When the last good listing was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_at: Option<Timestamp>,
}
