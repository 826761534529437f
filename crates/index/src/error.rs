//! What can go wrong with an index.

use std::path::PathBuf;

use toolscout_core::{Fault, Retry};

/// Why an index could not be opened or brought up to date. A damaged index is no error: it is rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be made, read or written: look at the disk and its permissions.
    #[error("index folder `{path}`")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The word index failed even after it was rebuilt: a full disk, usually.
    #[error("word index")]
    Lexical(#[source] tantivy::TantivyError),
    /// The graph of vectors cannot be trusted or written. Never reaches callers: search goes on exactly without it.
    #[error("vector graph: {0}")]
    Graph(String),
    /// Stored vectors cannot be read or written.
    #[error("stored vectors")]
    Store(#[from] toolscout_store::Error),
    /// A thread could not be started: the machine is out of threads or memory.
    #[error("start the indexing thread")]
    Thread(#[source] std::io::Error),
}

impl From<tantivy::TantivyError> for Error {
    fn from(source: tantivy::TantivyError) -> Self {
        Self::Lexical(source)
    }
}

impl Error {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        Fault::Ours
    }

    /// Whether trying again can help: a disk may get room again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Io { .. } | Self::Lexical(_) | Self::Store(_) | Self::Thread(_) => Retry::Later,
            Self::Graph(_) => Retry::Never,
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { .. } | Self::Lexical(_) => {
                Some("the index folder can be deleted at any time; it is rebuilt from the catalog")
            }
            Self::Graph(_) | Self::Store(_) | Self::Thread(_) => None,
        }
    }
}
