//! The edge to sled: every call goes through [`guard`], because sled panics on some damaged files.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What came out of a call into the engine other than a result.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Somebody else has the files.
    Busy,
    /// The operating system said no.
    Io(io::Error),
    /// The files are not what the engine wrote.
    Damaged(String),
}

/// Runs one call into sled; a panic in it becomes [`Trouble::Damaged`].
pub(crate) fn guard<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, Trouble> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(classify(error)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
            Err(Trouble::Damaged(format!(
                "the engine panicked: {}",
                toolscout_core::text::preview(text.unwrap_or("?"))
            )))
        }
    }
}

fn classify(error: sled::Error) -> Trouble {
    match error {
        sled::Error::Io(source) => match source.kind() {
            io::ErrorKind::WouldBlock => Trouble::Busy,
            // sled reports its lock's WouldBlock wrapped in an error of kind Other with this text.
            io::ErrorKind::Other if source.to_string().contains("could not acquire lock") => Trouble::Busy,
            // These say that the bytes on disk are not the bytes that were written.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Trouble::Damaged(source.to_string())
            }
            _ => Trouble::Io(source),
        },
        sled::Error::Corruption { at, .. } => Trouble::Damaged(match at {
            Some(at) => format!("corruption at {at:?}"),
            None => "corruption".to_owned(),
        }),
        sled::Error::CollectionNotFound(_) => Trouble::Damaged("a tree is missing".to_owned()),
        sled::Error::Unsupported(reason) | sled::Error::ReportableBug(reason) => {
            Trouble::Damaged(toolscout_core::text::preview(&reason))
        }
    }
}
