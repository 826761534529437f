//! The two input files, line by line: every mistake names file and line, and nothing is read without a bound.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use toolscout_core::ContentHash;
use toolscout_core::text::preview;

use crate::error::Error;
use crate::metric::{Labels, tokens_by_chars};

/// Longest line we read, in bytes. The longest real definition we met is under 100 KB.
pub const MAX_LINE_BYTES: u64 = 4 << 20;
/// Most lines we read from one file.
pub const MAX_LINES: usize = 2_000_000;
/// Longest query, in bytes: a long task with its context, not a document.
pub const MAX_QUERY_BYTES: usize = 64 << 10;

/// `tools.jsonl`, made ready for `toolscout_catalog`'s import.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolFile {
    /// The lines as the import takes them: each with a server, and no server with two tools of one name.
    pub text: Vec<u8>,
    /// For each line of `text`, the file's own line that it came from.
    pub line_of: Vec<usize>,
    /// Of the file's lines: says which edition a report was made from.
    pub sha256: ContentHash,
    /// What the definitions would cost a model to read, all of them, by [`tokens_by_chars`].
    pub listing_tokens: usize,
    /// What was left out or changed, and why, for the report.
    pub notes: Vec<String>,
}

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

/// A file's lines and the hash of them.
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

/// The server of tools whose file names none.
const NO_SERVER: &str = "tools";

/// Reads `tools.jsonl`.
///
/// Foreign sets hold tools without a server, and servers with two tools of one name, which MCP does not know but labels tell
/// apart: the former get a server called `tools`, each further namesake goes to a server of its own. A second tool of the
/// same id is left out. All of it is noted. Only lines that are no tool at all are refused.
pub fn read_tools(path: &Path) -> Result<ToolFile, Error> {
    let mut file = ToolFile {
        text: Vec::new(),
        line_of: Vec::new(),
        sha256: ContentHash([0; 32]),
        listing_tokens: 0,
        notes: Vec::new(),
    };
    let (mut ids, mut names) = (BTreeSet::new(), BTreeMap::new());
    let mut n_namesakes = 0;
    file.sha256 = read_lines(path, |at, mut raw: Map<String, Value>| {
        let text = |key: &str| match raw.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Null) | None if key == "server" => Ok(String::new()),
            Some(Value::Number(number)) if key == "id" => Ok(number.to_string()),
            Some(_) => Err(format!("`{key}` is not a string")),
            None => Err(format!("`{key}` is missing")),
        };
        let (id, server, name) = (text("id")?, text("server")?, text("name")?);
        if !ids.insert(id.clone()) {
            file.notes.push(format!("line {at}: a second tool `{}`, left out", preview(&id)));
            return Ok(());
        }
        let server = if server.is_empty() { NO_SERVER.to_owned() } else { server };
        let n_same: &mut usize = names.entry((server.clone(), name.clone())).or_default();
        *n_same += 1;
        let server = match *n_same {
            1 => server,
            n => format!("{server} {n}"),
        };
        n_namesakes += usize::from(*n_same > 1);
        let definition = serde_json::json!({
            "name": name,
            "description": raw.get("description"),
            "inputSchema": raw.get("input_schema"),
        });
        file.listing_tokens += tokens_by_chars(&definition.to_string());
        raw.insert("id".into(), id.into());
        raw.insert("server".into(), server.into());
        serde_json::to_writer(&mut file.text, &raw).map_err(|e| e.to_string())?;
        file.text.push(b'\n');
        file.line_of.push(at);
        Ok(())
    })?
    .1;
    if file.line_of.is_empty() {
        return Err(Error::Nothing { path: path.into(), reason: "no tool in it".into() });
    }
    if n_namesakes > 0 {
        file.notes
            .push(format!("{n_namesakes} tools have the server and name of another, and got servers of their own"));
    }
    Ok(file)
}

/// Reads `queries.jsonl`. `relevant` has to be there, if only as `[]`; repeated ids within it count once.
pub fn read_queries(path: &Path) -> Result<Lines<QueryLine>, Error> {
    let mut seen = BTreeSet::new();
    let (lines, sha256) = read_lines(path, |_, raw: RawQuery| {
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
    mut take: impl FnMut(usize, R) -> Result<T, String>,
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
        lines.push(take(line, raw).map_err(refuse)?);
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
    fn tools() {
        let file = file(concat!(
            r#"{"id":"x/1","server":null,"name":"pay now","input_schema":null}"#,
            "\n\n",
            r#"{"id":"x/2","server":"Shop","name":"pay","title":"Pay","annotations":{"readOnlyHint":true}}"#,
            "\n",
            r#"{"id":"x/2","server":"Shop","name":"again"}"#,
            "\n",
            r#"{"id":7,"server":"Shop","name":"pay"}"#,
        ));
        let read = read_tools(file.path()).unwrap();
        let expect = [
            r#"{"id":"x/1","server":"tools","name":"pay now","input_schema":null}"#,
            r#"{"id":"x/2","server":"Shop","name":"pay","title":"Pay","annotations":{"readOnlyHint":true}}"#,
            r#"{"id":"7","server":"Shop 2","name":"pay"}"#,
            "",
        ];
        assert_eq!(String::from_utf8(read.text).unwrap(), expect.join("\n"));
        assert_eq!(read.line_of, [1, 3, 5]);
        assert_eq!(
            read.notes,
            [
                "line 4: a second tool `x/2`, left out",
                "1 tools have the server and name of another, and got servers of their own",
            ]
        );
    }

    #[test]
    fn refused_tools() {
        let refuse = |text: &str| read_tools(file(text).path()).unwrap_err().to_string();
        assert!(refuse(r#"{"id":"1","server":"s"}"#).ends_with(":1: `name` is missing"));
        assert!(refuse(r#"{"id":[],"server":"s","name":"n"}"#).ends_with(":1: `id` is not a string"));
        assert!(refuse("[]").contains(":1: invalid type"));
        assert!(refuse("\n").ends_with(": no tool in it"));
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
