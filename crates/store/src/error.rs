//! What can go wrong with a folder of state.

use std::io;
use std::path::PathBuf;

use toolscout_core::{Fault, Retry};

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the folder open: ask that process, or stop it.
    #[error("the store in `{dir}` is in use by another process", dir = dir.display())]
    Busy {
        /// The folder.
        dir: PathBuf,
    },
    /// A newer toolscout wrote the folder: use that one, or another folder.
    #[error("the store in `{dir}` has format {found}; this program knows up to {newest}", dir = dir.display())]
    Newer {
        /// The folder.
        dir: PathBuf,
        /// The format the folder says it has.
        found: String,
        /// The newest format that this program reads.
        newest: u32,
    },
    /// The operating system said no (rights, a full disk): mend that and try again.
    #[error("{doing} `{path}`", path = path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// The files turned out to be damaged while in use. The next open sets them aside and refills what is truth.
    #[error("the store in `{dir}` is damaged: {reason}", dir = dir.display())]
    Damaged {
        /// The folder.
        dir: PathBuf,
        /// What was found.
        reason: String,
    },
}

impl Error {
    /// Whose mistake it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Busy { .. } | Self::Newer { .. } => Fault::Caller,
            Self::Io { .. } | Self::Damaged { .. } => Fault::Ours,
        }
    }

    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Busy { .. } | Self::Io { .. } => Retry::Later,
            Self::Newer { .. } | Self::Damaged { .. } => Retry::Never,
        }
    }

    /// What the person at the keyboard can do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Busy { .. } => Some("a running `toolscout serve` holds it: stop that, or choose another data folder"),
            Self::Newer { .. } => Some("update toolscout, or choose another data folder"),
            Self::Io { .. } => Some("check the folder's rights and the free space on its disk"),
            Self::Damaged { .. } => Some("restart: the damaged files are set aside and the catalog is refilled"),
        }
    }
}

/// A store was found damaged at [`crate::Store::open`] and replaced. Say so loudly: `doctor`, `/readyz`, the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where the damaged files are now. They are never deleted.
    pub set_aside: PathBuf,
    /// What was wrong with them.
    pub reason: String,
    /// How many rows the journal brought back.
    pub n_refilled: u64,
    /// How many journal lines failed their checksum and were left out.
    pub n_bad_lines: u64,
}
