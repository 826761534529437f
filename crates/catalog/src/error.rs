//! What can go wrong with the catalog.

use toolscout_core::{ContentHash, Fault, Generation, Retry, ToolId, UpstreamId};
use toolscout_store::row::RowError;

/// Why the catalog could not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed; its error says what to do.
    #[error("the catalog's store")]
    Store(#[from] toolscout_store::Error),
    /// A row is not what this program writes: a bug, or a folder from a newer program.
    #[error("read catalog row `{key}`")]
    Row {
        /// The row's key, cleaned for showing.
        key: String,
        /// What is wrong with it.
        #[source]
        source: RowError,
    },
    /// The generation was dropped from the history, or never was: ask for one in the range.
    #[error("generation {asked} is not kept; the history goes from {oldest} to {newest}")]
    NotKept {
        /// The generation asked for.
        asked: Generation,
        /// The oldest that is kept.
        oldest: Generation,
        /// The newest there is.
        newest: Generation,
    },
    /// No upstream of this id is in the catalog.
    #[error("upstream `{0}` is not in the catalog")]
    UnknownUpstream(UpstreamId),
    /// Nothing of this tool waits for an approval: it was given, or taken back by the server.
    #[error("nothing of `{0}` waits for an approval")]
    NothingWaits(ToolId),
    /// Another definition waits than the one that was looked at: look again.
    #[error("the definition of `{tool}` that waits is another by now")]
    OtherWaits {
        /// The tool.
        tool: ToolId,
        /// The hash of the one that waits.
        waits: ContentHash,
    },
    /// A file to import or export could not be read or written.
    #[error("read or write the tools file")]
    File(#[source] std::io::Error),
}

impl Error {
    /// Whose mistake it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::Row { .. } => Fault::Ours,
            Self::NotKept { .. }
            | Self::UnknownUpstream(_)
            | Self::NothingWaits(_)
            | Self::OtherWaits { .. }
            | Self::File(_) => Fault::Caller,
        }
    }

    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Store(error) => error.retry(),
            Self::Row { .. }
            | Self::NotKept { .. }
            | Self::UnknownUpstream(_)
            | Self::NothingWaits(_)
            | Self::OtherWaits { .. }
            | Self::File(_) => Retry::Never,
        }
    }

    /// What the person at the keyboard can do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Row { .. } => Some("update toolscout, or start with another data folder"),
            Self::UnknownUpstream(_) => Some("`toolscout upstreams list` shows the ids there are"),
            Self::OtherWaits { .. } => Some("look at it again: `toolscout tools approve ID` shows it"),
            Self::NotKept { .. } | Self::NothingWaits(_) | Self::File(_) => None,
        }
    }
}
