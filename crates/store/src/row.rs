//! Versioned rows: the first byte is the row's version, the rest is JSON.
//!
//! Each owner numbers its own rows from 1 and keeps reading every version it ever wrote: look at [`version`], decode into
//! that version's type, convert upwards. Bulk numbers (vectors) are rows of their own making.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes are no row that this program can read.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// There is not even a version.
    #[error("an empty row")]
    Empty,
    /// A newer program wrote it.
    #[error("row version {found}; this program knows up to {newest}")]
    Newer {
        /// The row's version.
        found: u8,
        /// The newest version that the reader knows.
        newest: u8,
    },
    /// The version is known and the content is not what it should be.
    #[error("row of version {version}")]
    Json {
        /// The row's version.
        version: u8,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
}

/// A value as a row of this version.
///
/// # Panics
/// When the value cannot be JSON (a map with keys that are no strings): a bug of the caller that its first test shows.
pub fn encode<T: Serialize + ?Sized>(version: u8, value: &T) -> Vec<u8> {
    let mut bytes = vec![version];
    serde_json::to_writer(&mut bytes, value).expect("row types serialise to JSON, and a Vec takes any amount");
    bytes
}

/// The version of a row.
pub fn version(bytes: &[u8]) -> Option<u8> {
    bytes.first().copied()
}

/// Reads a row of any version up to `newest` into `T`. For a type whose older versions need conversion, ask [`version`] first.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], newest: u8) -> Result<T, RowError> {
    let (&found, json) = bytes.split_first().ok_or(RowError::Empty)?;
    if found > newest {
        return Err(RowError::Newer { found, newest });
    }
    serde_json::from_slice(json).map_err(|source| RowError::Json { version: found, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_strange_ones_say_why_not() {
        let bytes = encode(2, &("a", 1));
        assert_eq!(bytes, b"\x02[\"a\",1]");
        assert_eq!(version(&bytes), Some(2));
        assert_eq!(decode::<(String, u8)>(&bytes, 2).unwrap(), ("a".to_owned(), 1));
        let fails = |bytes: &[u8], newest| decode::<u8>(bytes, newest).unwrap_err().to_string();
        assert_eq!(fails(b"", 1), "an empty row");
        assert_eq!(fails(&bytes, 1), "row version 2; this program knows up to 1");
        assert_eq!(fails(b"\x01{}", 1), "row of version 1");
    }
}
