//! The labelled queries, line by line: every mistake names file and line, and nothing is read without a bound.
//! (The other input, the catalog, is read by `toolscout_catalog`, exactly as `toolscout catalog import` does.)

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toolscout_core::ContentHash;
use toolscout_core::text::preview;

use crate::error::Error;
use crate::metric::Labels;

/// Longest line we read, in bytes: a query and its labels.
pub const MAX_LINE_BYTES: u64 = 1 << 20;
/// Most lines we read from one file.
pub const MAX_LINES: usize = 1_000_000;
/// Longest query, in bytes: a long task with its context, not a document.
pub const MAX_QUERY_BYTES: usize = 64 << 10;

/// One query of `queries.jsonl`.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryLine {
    /// Unique in the file.
    pub id: String,
    /// The task in words.
    pub query: String,
    /// Which part of the set it belongs to.
    pub slice: Option<String>,
    /// What fits.
    pub labels: Labels<String>,
}

/// A file's lines and the hash of its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Lines<T> {
    /// The lines, in order.
    pub lines: Vec<T>,
    /// Of the file's lines: says which edition a report was made from.
    pub sha256: ContentHash,
}

#[derive(Deserialize)]
struct RawQuery {
    id: String,
    query: String,
    relevant: Vec<String>,
    slice: Option<String>,
    #[serde(default)]
    groups: Option<Vec<Vec<String>>>,
}

/// Reads `queries.jsonl`. `relevant` has to be there, if only as `[]`; repeated ids within it count once.
pub fn read_queries(path: &Path) -> Result<Lines<QueryLine>, Error> {
    let mut seen = BTreeSet::new();
    let (lines, sha256) = read_lines(path, |raw: RawQuery| {
        if raw.query.trim().is_empty() {
            return Err(format!("query `{}` has no text", preview(&raw.id)));
        }
        if raw.query.len() > MAX_QUERY_BYTES {
            return Err(format!("query `{}` is longer than {MAX_QUERY_BYTES} bytes", preview(&raw.id)));
        }
        if raw.slice.as_deref() == Some("all") {
            return Err("slice `all` is the whole set's name; call the slice something else".into());
        }
        let relevant = unique(raw.relevant);
        let groups: Vec<Vec<String>> = raw.groups.unwrap_or_default().into_iter().map(unique).collect();
        if groups.iter().any(Vec::is_empty) {
            return Err(format!("query `{}` has an empty group, which nothing can meet", preview(&raw.id)));
        }
        if let Some(stray) = groups.iter().flatten().find(|id| !relevant.contains(id)) {
            return Err(format!("query `{}`: `{}` is in a group but not relevant", preview(&raw.id), preview(stray)));
        }
        if !seen.insert(raw.id.clone()) {
            return Err(format!("a second query `{}`", preview(&raw.id)));
        }
        Ok(QueryLine { id: raw.id, query: raw.query, slice: raw.slice, labels: Labels { relevant, groups } })
    })?;
    if lines.is_empty() {
        return Err(Error::Nothing { path: path.into(), reason: "no query in it".into() });
    }
    Ok(Lines { lines, sha256 })
}

fn unique(ids: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    ids.into_iter().filter(|id| seen.insert(id.clone())).collect()
}

/// Feeds each line that is not blank to `take`, `take` gives a reason for refusing the line.
fn read_lines<R: DeserializeOwned, T>(
    path: &Path,
    mut take: impl FnMut(R) -> Result<T, String>,
) -> Result<(Vec<T>, ContentHash), Error> {
    let read_error = |source| Error::Read { path: path.into(), source };
    let mut file = BufReader::new(File::open(path).map_err(read_error)?);
    let (mut lines, mut whole) = (Vec::new(), Vec::new());
    let mut buffer = Vec::new();
    for line in 1.. {
        let refuse = |reason: String| Error::Line { path: path.into(), line, reason };
        buffer.clear();
        let n_bytes = file.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut buffer).map_err(read_error)?;
        if n_bytes == 0 {
            break;
        }
        if n_bytes as u64 > MAX_LINE_BYTES {
            return Err(refuse(format!("longer than {MAX_LINE_BYTES} bytes")));
        }
        if line > MAX_LINES {
            return Err(refuse(format!("more than {MAX_LINES} lines")));
        }
        // One hash per line, hashed again at the end, keeps memory flat; what it must tell apart is editions of a file.
        whole.extend_from_slice(&ContentHash::of(&buffer).0);
        let text = std::str::from_utf8(&buffer).map_err(|e| refuse(format!("not UTF-8: {e}")))?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            continue;
        }
        let raw: R = serde_json::from_str(text).map_err(|e| refuse(format!("{e} in `{}`", preview(text))))?;
        lines.push(take(raw).map_err(refuse)?);
    }
    Ok((lines, ContentHash::of(&whole)))
}

#[cfg(test)]
mod tests {
    //! 1. Good lines come out whole; optional fields may be missing or null; blank lines, BOM and CRLF do no harm.
    //! 2. A bad line is refused with its number.
    use super::*;

    fn file(text: impl AsRef<[u8]>) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[track_caller]
    fn check_query(text: &str, expect: &str) {
        let file = file(text);
        let got = match read_queries(file.path()) {
            Ok(read) => read
                .lines
                .iter()
                .map(|q| format!("{}={} {:?} {:?}", q.id, q.query, q.labels.relevant, q.labels.groups))
                .collect::<Vec<_>>()
                .join("; "),
            Err(error) => error.to_string().replace(&file.path().display().to_string(), "FILE"),
        };
        assert!(got.starts_with(expect), "{got}\nshould start with\n{expect}");
    }

    #[test]
    fn queries() {
        check_query(r#"{"id":"1","query":"pay","relevant":["a","b","a"],"slice":"x"}"#, r#"1=pay ["a", "b"] []"#);
        check_query("\u{feff}{\"id\":\"1\",\"query\":\"pay\",\"relevant\":[]}\r\n\n", "1=pay [] []");
        check_query(
            r#"{"id":"1","query":"pay","relevant":["a","b"],"groups":[["a"],["b"]]}"#,
            r#"1=pay ["a", "b"] [["a"], ["b"]]"#,
        );
        check_query(r#"{"id":"1","query":"pay","relevant":["a"],"groups":null,"slice":null}"#, r#"1=pay ["a"] []"#);
    }

    #[test]
    fn refused_queries() {
        let good = r#"{"id":"1","query":"pay","relevant":[]}"#;
        check_query("", "FILE: no query in it");
        check_query(&format!("{good}\n\n{{"), "FILE:3: EOF while parsing an object");
        check_query(&format!("{good}\n{good}"), "FILE:2: a second query `1`");
        check_query(r#"{"id":"1","query":"pay"}"#, "FILE:1: missing field `relevant`");
        check_query(r#"{"id":"1","query":" ","relevant":[]}"#, "FILE:1: query `1` has no text");
        check_query(r#"{"id":"1","query":"p","relevant":[],"slice":"all"}"#, "FILE:1: slice `all`");
        check_query(r#"{"id":"1","query":"p","relevant":["a"],"groups":[[]]}"#, "FILE:1: query `1` has an empty group");
        check_query(
            r#"{"id":"1","query":"p","relevant":["a"],"groups":[["b"]]}"#,
            "FILE:1: query `1`: `b` is in a group but not relevant",
        );
    }

    #[test]
    fn a_line_without_end_is_not_swallowed() {
        let file = file(vec![b'x'; MAX_LINE_BYTES as usize + 10]);
        assert!(read_queries(file.path()).unwrap_err().to_string().contains(":1: longer than"));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let file = file(b"{\"id\":\"\xff\"}");
        assert!(read_queries(file.path()).unwrap_err().to_string().contains(":1: not UTF-8"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read_queries(Path::new("/nowhere/queries.jsonl")).unwrap_err();
        assert_eq!(error.to_string(), "read /nowhere/queries.jsonl");
    }
}
