//! `tools.jsonl`: a catalog as a file, one tool per line.
//!
//! `{"id", "server", "name", "title"?, "description", "input_schema"?, "annotations"?}`. Servers become upstreams: the id is
//! the nearest valid one to the server's name, with a few digits of that name's hash where two would meet in it.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, Read as _};

use serde_json::{Map, Value};
use toolscout_core::text::{preview, sanitize};
use toolscout_core::{ContentHash, Timestamp, ToolId, ToolName, Untrusted, UpstreamId};

use crate::{Change, Listing};

/// What an import did.
pub struct Imported {
    /// The catalog after it.
    pub change: Change,
    /// Each line's `id`, as label files spell it, to the tool it became.
    pub ids: BTreeMap<String, ToolId>,
    /// Lines that were left out, by line number.
    pub problems: Vec<LineProblem>,
    /// How many tools were taken.
    pub n_tools: usize,
}

/// A line that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineProblem {
    /// Its number, from 1.
    pub line: usize,
    /// Why.
    pub reason: String,
}

/// How a file calls its tools, where not by their ids.
#[derive(Default)]
pub(crate) struct Labels(HashMap<ToolName, String>);

impl Labels {
    pub(crate) fn get(&self, name: &ToolName) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

pub(crate) struct Parsed {
    pub(crate) listings: Vec<(Listing, Labels)>,
    /// Label, tool, line.
    pub(crate) ids: Vec<(String, ToolId, usize)>,
    pub(crate) problems: Vec<LineProblem>,
}

/// Longest line that is read, in bytes.
const MAX_LINE: u64 = 4 << 20;
const MAX_LABEL: usize = 512;
/// The server of tools whose line names none.
const NO_SERVER: &str = "tools";

/// Reads a file. Only reading itself can fail; bad lines are reported.
pub(crate) fn read(mut file: impl BufRead, at: Timestamp) -> io::Result<Parsed> {
    let mut servers = Servers::default();
    let mut listings: BTreeMap<UpstreamId, (Listing, Labels)> = BTreeMap::new();
    let mut lines_by_label: HashMap<String, usize> = HashMap::new();
    let mut lines_by_tool: HashMap<ToolId, usize> = HashMap::new();
    let mut parsed = Parsed { listings: Vec::new(), ids: Vec::new(), problems: Vec::new() };
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let n = file.by_ref().take(MAX_LINE).read_until(b'\n', &mut text)?;
        if n == 0 {
            break;
        }
        let is_cut = n as u64 == MAX_LINE && text.last() != Some(&b'\n');
        if is_cut {
            skip_line(&mut file)?;
        }
        let blank = text.iter().all(u8::is_ascii_whitespace) || (line == 1 && text.trim_ascii() == b"\xef\xbb\xbf");
        if blank {
            continue;
        }
        let read = if is_cut { Err(format!("longer than {MAX_LINE} bytes")) } else { read_line(&text) };
        let taken = read.and_then(|tool| {
            let upstream = servers.id_of(&tool.server);
            let id = ToolId::new(upstream.clone(), tool.name.clone());
            if let Some(first) = lines_by_tool.get(&id) {
                return Err(format!("the same server and name as line {first}"));
            }
            if let Some(first) = lines_by_label.get(&tool.label) {
                return Err(format!("the same id as line {first}"));
            }
            lines_by_tool.insert(id.clone(), line);
            lines_by_label.insert(tool.label.clone(), line);
            let (listing, labels) = listings.entry(upstream.clone()).or_insert_with(|| {
                let mut listing = Listing::new(upstream, at);
                listing.server.name = sanitize(&tool.server, 100).replace('\n', " ");
                (listing, Labels::default())
            });
            if tool.label != id.to_string() {
                labels.0.insert(tool.name, tool.label.clone());
            }
            listing.tools.push(Untrusted::new(tool.definition));
            parsed.ids.push((tool.label, id, line));
            Ok(())
        });
        if let Err(reason) = taken {
            parsed.problems.push(LineProblem { line, reason });
        }
    }
    parsed.listings = listings.into_values().collect();
    Ok(parsed)
}

/// A tool as a line, with its line end.
pub(crate) fn line(id: &ToolId, label: Option<&str>, server: Option<&str>, definition: &Value) -> String {
    let mut line = Map::new();
    line.insert("id".to_owned(), label.map_or_else(|| id.to_string(), str::to_owned).into());
    // An imported file's own spelling where it leads back to the same upstream; the id itself always does.
    let leads_back = |name: &&str| UpstreamId::slug(name).is_ok_and(|slug| slug == id.upstream);
    let server = server.filter(leads_back).unwrap_or(id.upstream.as_str());
    line.insert("server".to_owned(), server.into());
    line.insert("name".to_owned(), id.name.as_str().into());
    let mut copy = |from: &str, to: &str| {
        if let Some(value) = definition.get(from).filter(|value| !value.is_null()) {
            line.insert(to.to_owned(), value.clone());
        }
    };
    copy("title", "title");
    copy("description", "description");
    copy("inputSchema", "input_schema");
    copy("outputSchema", "output_schema");
    copy("annotations", "annotations");
    line.entry("description").or_insert_with(|| "".into());
    format!("{}\n", Value::Object(line))
}

struct Line {
    label: String,
    server: String,
    name: ToolName,
    definition: Value,
}

fn read_line(text: &[u8]) -> Result<Line, String> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let value: Value =
        serde_json::from_slice(text).map_err(|error| format!("not JSON: {}", preview(&error.to_string())))?;
    let Value::Object(mut object) = value else { return Err("not a JSON object".to_owned()) };
    let string = |key: &str| match object.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) if key == "id" => Ok(number.to_string()),
        Some(_) => Err(format!("`{key}` is not a string")),
        None => Err(format!("`{key}` is missing")),
    };
    // Sets of tools without servers exist: they are one server's then.
    let server = match object.get("server") {
        None | Some(Value::Null) => NO_SERVER.to_owned(),
        Some(Value::String(text)) if text.trim().is_empty() => NO_SERVER.to_owned(),
        Some(_) => string("server")?,
    };
    let (label, name) = (string("id")?, string("name")?);
    if label.is_empty() || label.len() > MAX_LABEL {
        return Err(format!("`id` must have 1 to {MAX_LABEL} bytes"));
    }
    let name = ToolName::new(&name).map_err(|error| error.to_string())?;
    let mut definition = Map::new();
    definition.insert("name".to_owned(), name.as_str().into());
    let keys = [
        ("title", "title"),
        ("description", "description"),
        ("input_schema", "inputSchema"),
        ("inputSchema", "inputSchema"),
        ("output_schema", "outputSchema"),
        ("annotations", "annotations"),
    ];
    for (from, to) in keys {
        if let Some(value) = object.remove(from).filter(|value| !value.is_null()) {
            definition.insert(to.to_owned(), value);
        }
    }
    Ok(Line { label, server, name, definition: definition.into() })
}

fn skip_line(file: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let n = end.map_or(buffer.len(), |end| end + 1);
        file.consume(n);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// Upstream ids for a file's server names, without two servers meeting in one.
#[derive(Default)]
struct Servers {
    by_name: HashMap<String, UpstreamId>,
    taken: HashMap<UpstreamId, String>,
}

impl Servers {
    fn id_of(&mut self, name: &str) -> UpstreamId {
        if let Some(id) = self.by_name.get(name) {
            return id.clone();
        }
        let digits = &ContentHash::of(name.as_bytes()).to_string()[..8];
        let plain = UpstreamId::slug(name).ok().filter(|id| !self.taken.contains_key(id));
        let id = plain.unwrap_or_else(|| {
            // Ids hold 48 bytes; what is cut still differs by the digits.
            let base = UpstreamId::slug(name).map_or_else(|_| "server".to_owned(), |id| id.as_str().to_owned());
            let base = base.get(..39).unwrap_or(&base).trim_end_matches('-').to_owned();
            UpstreamId::new(&format!("{base}-{digits}")).expect("a slug, a dash and hex digits")
        });
        self.taken.insert(id.clone(), name.to_owned());
        self.by_name.insert(name.to_owned(), id.clone());
        id
    }
}
