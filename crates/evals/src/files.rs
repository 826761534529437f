//! The two input files, line by line: every mistake names file and line, and nothing is read without a bound.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use toolscout_core::ContentHash;
use toolscout_core::text::preview;

use crate::error::Error;
use crate::metric::Labels;
use crate::report::DistractorReport;
use crate::tokens;

/// Longest line we read, in bytes. The longest real definition we met is under 100 KB.
pub const MAX_LINE_BYTES: u64 = 4 << 20;
/// Most lines we read from one file.
pub const MAX_LINES: usize = 2_000_000;
/// Longest query, in bytes: a long task with its context, not a document.
pub const MAX_QUERY_BYTES: usize = 64 << 10;

/// `tools.jsonl`, made ready for `toolscout_catalog`'s import, with the tools of other catalogs behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolFile {
    /// The lines as the import takes them: each with a server, and no server with two tools of one name.
    pub text: Vec<u8>,
    /// For each line of `text`, where it came from.
    pub lines: Vec<ToolLine>,
    /// Of the file's lines: says which edition a report was made from.
    pub sha256: ContentHash,
    /// What was left out or changed, and why, for the report.
    pub notes: Vec<String>,
    /// The other catalogs.
    pub distractors: Vec<DistractorReport>,
}

/// One tool of a [`ToolFile`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolLine {
    /// What reports call it.
    pub id: String,
    /// The file and line it came from, in words: `line 7`, or `b.jsonl line 7` of another catalog.
    pub origin: String,
    /// Where in `text` it stands.
    pub range: std::ops::Range<usize>,
    /// What its definition costs a model to read: name, description and input schema, as `tools/list` gives them.
    pub tokens: usize,
}

impl ToolFile {
    /// What the definitions cost a model to read, all of them: what an agent pays that has no search.
    pub fn listing_tokens(&self) -> usize {
        self.lines.iter().map(|line| line.tokens).sum()
    }
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
    id: RawId,
    query: String,
    relevant: Vec<RawId>,
    slice: Option<String>,
    #[serde(default)]
    groups: Option<Vec<Vec<RawId>>>,
}

/// Foreign sets number their queries, and their tools. A number is its digits, as in `tools.jsonl`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "an id must be a text or a number")]
enum RawId {
    Text(String),
    Number(serde_json::Number),
}

impl From<RawId> for String {
    fn from(id: RawId) -> Self {
        match id {
            RawId::Text(text) => text,
            RawId::Number(number) => number.to_string(),
        }
    }
}

/// The server of tools whose file names none.
const NO_SERVER: &str = "tools";

/// Reads `tools.jsonl`, and behind it the tools of other catalogs in the same form.
///
/// Foreign sets hold tools without a server, and servers with two tools of one name, which MCP does not know but labels tell
/// apart: the former get a server called `tools`, each further namesake goes to a server of its own. A second tool of the
/// same id is left out. All of it is noted. Only lines that are no tool at all are refused.
///
/// Other catalogs are in the way, nothing else: their ids get a prefix and their servers, where the name is taken, a suffix,
/// so that no label can mean one; and a tool with the name and description of one of the set's own, which would be just as
/// right an answer, is left out.
pub fn read_tools(path: &Path, distractors: &[PathBuf]) -> Result<ToolFile, Error> {
    let mut reading = Reading::default();
    let sha256 = read_lines(path, |at, raw| reading.take(at, raw, None))?.1;
    if reading.lines.is_empty() {
        return Err(Error::Nothing { path: path.into(), reason: "no tool in it".into() });
    }
    let own: BTreeSet<String> = std::mem::take(&mut reading.keys);
    let mut others = Vec::with_capacity(distractors.len());
    for (path, number) in distractors.iter().zip(1..) {
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let from = Other { number, file: &file, own: &own, taken: reading.servers.clone() };
        let (n_before, n_copies_before) = (reading.lines.len(), reading.n_copies);
        let sha256 = read_lines(path, |at, raw| reading.take(at, raw, Some(&from)))?.1;
        let report = DistractorReport {
            file: file.clone(),
            sha256: sha256.to_string(),
            n_tools: reading.lines.len() - n_before,
            n_copies: reading.n_copies - n_copies_before,
        };
        if report.n_copies > 0 {
            reading.notes.push(format!("{file}: {} copies of the set's own tools left out", report.n_copies));
        }
        others.push(report);
    }
    if reading.n_namesakes > 0 {
        let n = reading.n_namesakes;
        reading.notes.push(format!("{n} tools have the server and name of another, and got servers of their own"));
    }
    let counts = tokens::count_all(&reading.definitions);
    let Reading { text, mut lines, notes, .. } = reading;
    lines.iter_mut().zip(counts).for_each(|(line, tokens)| line.tokens = tokens);
    Ok(ToolFile { text, lines, sha256, notes, distractors: others })
}

/// What is known while tools are read.
#[derive(Default)]
struct Reading {
    text: Vec<u8>,
    lines: Vec<ToolLine>,
    definitions: Vec<String>,
    notes: Vec<String>,
    ids: BTreeSet<String>,
    /// How many tools have this server and name.
    names: BTreeMap<(String, String), usize>,
    servers: BTreeSet<String>,
    /// Name and description, for finding copies.
    keys: BTreeSet<String>,
    n_namesakes: usize,
    n_copies: usize,
}

/// The other catalog that is being read.
struct Other<'a> {
    number: usize,
    file: &'a str,
    /// Names and descriptions of the set's own tools.
    own: &'a BTreeSet<String>,
    /// Servers of the catalogs before it.
    taken: BTreeSet<String>,
}

impl Reading {
    fn take(&mut self, at: usize, mut raw: Map<String, Value>, from: Option<&Other<'_>>) -> Result<(), String> {
        let text = |key: &str| match raw.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Null) | None if key == "server" => Ok(String::new()),
            Some(Value::Number(number)) if key == "id" => Ok(number.to_string()),
            Some(_) => Err(format!("`{key}` is not a string")),
            None => Err(format!("`{key}` is missing")),
        };
        let (mut id, mut server, name) = (text("id")?, text("server")?, text("name")?);
        let key = same_tool_key(&name, raw.get("description").and_then(Value::as_str).unwrap_or_default());
        let mut origin = format!("line {at}");
        if server.is_empty() {
            server = NO_SERVER.to_owned();
        }
        match from {
            None => _ = self.keys.insert(key),
            Some(other) if other.own.contains(&key) => {
                self.n_copies += 1;
                return Ok(());
            }
            Some(other) => {
                id = format!("distractor{}/{id}", other.number);
                origin = format!("{} line {at}", other.file);
                if other.taken.contains(&server) {
                    server = format!("{server} (distractor {})", other.number);
                }
            }
        }
        if !self.ids.insert(id.clone()) {
            self.notes.push(format!("{origin}: a second tool `{}`, left out", preview(&id)));
            return Ok(());
        }
        let n_same: &mut usize = self.names.entry((server.clone(), name.clone())).or_default();
        *n_same += 1;
        self.n_namesakes += usize::from(*n_same > 1);
        self.servers.insert(server.clone());
        if *n_same > 1 {
            server = format!("{server} {n_same}");
        }
        let definition = serde_json::json!({
            "name": name,
            "description": raw.get("description"),
            "inputSchema": raw.get("input_schema"),
        });
        self.definitions.push(definition.to_string());
        raw.insert("id".into(), id.clone().into());
        raw.insert("server".into(), server.into());
        let start = self.text.len();
        serde_json::to_writer(&mut self.text, &raw).map_err(|e| e.to_string())?;
        self.lines.push(ToolLine { id, origin, range: start..self.text.len(), tokens: 0 });
        self.text.push(b'\n');
        Ok(())
    }
}

/// The same for two tools that nobody could tell apart: case, spacing and punctuation do not count.
fn same_tool_key(name: &str, description: &str) -> String {
    let plain = |text: &str| {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.map(str::to_lowercase).collect::<Vec<_>>()
    };
    format!("{}|{}", plain(name).concat(), plain(description).join(" "))
}

/// Reads `queries.jsonl`. `relevant` has to be there, if only as `[]`; repeated ids within it count once.
pub fn read_queries(path: &Path) -> Result<Lines<QueryLine>, Error> {
    let mut seen = BTreeSet::new();
    let (lines, sha256) = read_lines(path, |_, raw: RawQuery| {
        let id = String::from(raw.id);
        if raw.query.trim().is_empty() {
            return Err(format!("query `{}` has no text", preview(&id)));
        }
        if raw.query.len() > MAX_QUERY_BYTES {
            return Err(format!("query `{}` is longer than {MAX_QUERY_BYTES} bytes", preview(&id)));
        }
        if raw.slice.as_deref() == Some("all") {
            return Err("slice `all` is the whole set's name; call the slice something else".into());
        }
        let relevant = unique(raw.relevant);
        let groups: Vec<Vec<String>> = raw.groups.unwrap_or_default().into_iter().map(unique).collect();
        if groups.iter().any(Vec::is_empty) {
            return Err(format!("query `{}` has an empty group, which nothing can meet", preview(&id)));
        }
        if let Some(stray) = groups.iter().flatten().find(|id| !relevant.contains(id)) {
            return Err(format!("query `{}`: `{}` is in a group but not relevant", preview(&id), preview(stray)));
        }
        if !seen.insert(id.clone()) {
            return Err(format!("a second query `{}`", preview(&id)));
        }
        Ok(QueryLine { id, query: raw.query, slice: raw.slice, labels: Labels { relevant, groups } })
    })?;
    if lines.is_empty() {
        return Err(Error::Nothing { path: path.into(), reason: "no query in it".into() });
    }
    Ok(Lines { lines, sha256 })
}

fn unique(ids: Vec<RawId>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    ids.into_iter().map(String::from).filter(|id| seen.insert(id.clone())).collect()
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
        // Its own "line 1" beside the file's line would be one line too many.
        let said = |e: serde_json::Error| e.to_string().replace(" at line 1 column ", " at column ");
        let raw: R = serde_json::from_str(text).map_err(|e| refuse(format!("{} in `{}`", said(e), preview(text))))?;
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
        check_query(r#"{"id":1,"query":"pay","relevant":[7,"7",8],"groups":[[7]]}"#, r#"1=pay ["7", "8"] [["7"]]"#);
    }

    #[test]
    fn refused_queries() {
        let good = r#"{"id":"1","query":"pay","relevant":[]}"#;
        check_query("", "FILE: no query in it");
        check_query(&format!("{good}\n\n{{"), "FILE:3: EOF while parsing an object at column 1 in `{`");
        check_query(&format!("{good}\n{good}"), "FILE:2: a second query `1`");
        check_query(r#"{"id":"1","query":"pay","relevant":[{}]}"#, "FILE:1: an id must be a text or a number");
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
        let read = read_tools(file.path(), &[]).unwrap();
        let expect = [
            r#"{"id":"x/1","server":"tools","name":"pay now","input_schema":null}"#,
            r#"{"id":"x/2","server":"Shop","name":"pay","title":"Pay","annotations":{"readOnlyHint":true}}"#,
            r#"{"id":"7","server":"Shop 2","name":"pay"}"#,
            "",
        ];
        for (line, expect) in read.lines.iter().zip(expect) {
            assert_eq!(std::str::from_utf8(&read.text[line.range.clone()]).unwrap(), expect);
            assert!(line.tokens > 5 && line.tokens < 40, "{line:?}");
        }
        assert_eq!(read.listing_tokens(), read.lines.iter().map(|line| line.tokens).sum::<usize>());
        assert_eq!(String::from_utf8(read.text).unwrap(), expect.join("\n"));
        let origins: Vec<&str> = read.lines.iter().map(|line| line.origin.as_str()).collect();
        assert_eq!(origins, ["line 1", "line 3", "line 5"]);
        assert_eq!(
            read.notes,
            [
                "line 4: a second tool `x/2`, left out",
                "1 tools have the server and name of another, and got servers of their own",
            ]
        );
    }

    #[test]
    fn other_catalogs_stand_behind_and_cannot_be_meant() {
        let own = file(r#"{"id":"a","server":"git","name":"create_issue","description":"Create an issue."}"#);
        let other = file(
            [
                r#"{"id":"a","server":"git","name":"createIssue","description":"create an Issue"}"#,
                r#"{"id":"a","server":"git","name":"create_issue","description":"Something else."}"#,
                r#"{"id":"b","server":"lab","name":"list","description":""}"#,
            ]
            .join("\n"),
        );
        let paths = [other.path().to_owned(), other.path().to_owned()];
        let read = read_tools(own.path(), &paths).unwrap();
        let lines: Vec<Value> =
            read.lines.iter().map(|line| serde_json::from_slice(&read.text[line.range.clone()]).unwrap()).collect();
        let ids: Vec<String> = lines.iter().map(|line| format!("{} of {}", line["id"], line["server"])).collect();
        let expect = [
            r#""a" of "git""#,
            r#""distractor1/a" of "git (distractor 1)""#,
            r#""distractor1/b" of "lab""#,
            r#""distractor2/a" of "git (distractor 2)""#,
            r#""distractor2/b" of "lab (distractor 2)""#,
        ];
        assert_eq!(ids, expect);
        let counts: Vec<(usize, usize)> = read.distractors.iter().map(|one| (one.n_tools, one.n_copies)).collect();
        assert_eq!(counts, [(2, 1), (2, 1)]);
        assert!(read.notes[0].ends_with(": 1 copies of the set's own tools left out"), "{:?}", read.notes);
        assert_eq!(read.sha256, read_tools(own.path(), &[]).unwrap().sha256, "the set stays the set");
    }

    #[test]
    fn refused_tools() {
        let refuse = |text: &str| read_tools(file(text).path(), &[]).unwrap_err().to_string();
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
