//! The append-only journal of kept trees: one line of JSON per batch, each with its checksum.
//!
//! `{"sum":"<16 hex digits>","seq":7,"tree":"catalog","rows":[["key","value"],["gone",null]]}`
//! The sum is over every byte behind it. A line that ends in the middle of a write is as good as not written.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toolscout_core::ContentHash;

use crate::tree::{Batch, TreeName};

/// How far a tree has come: which batch, in which journal file, ending at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Number of the batch; grows for ever.
    pub(crate) seq: u64,
    /// Number of the journal file; grows with each compaction.
    pub(crate) file: u64,
    /// Where the batch's line ends.
    pub(crate) offset: u64,
    /// How long that file was right after its compaction.
    pub(crate) base: u64,
}

/// First line of a journal.
#[derive(Serialize, Deserialize)]
struct Header {
    journal: u32,
    file: u64,
}

const FORMAT: u32 = 1;
const SUM_OPEN: &[u8] = b"{\"sum\":\"";
const SUM_DIGITS: usize = 16;
const SUM_CLOSE: &[u8] = b"\",";
const PREFIX: usize = SUM_OPEN.len() + SUM_DIGITS + SUM_CLOSE.len();

/// Bytes as JSON: text where they are text (nearly always), hex where not.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Hex { hex: String },
}

impl Bytes {
    fn of(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Hex { hex: error.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect() },
        }
    }

    fn into_vec(self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.into_bytes()),
            Self::Hex { hex } => {
                let digits = hex.as_bytes();
                let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
                (digits.len() % 2 == 0).then(|| digits.chunks(2).map(pair).collect()).flatten()
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    seq: u64,
    tree: String,
    rows: Vec<(Bytes, Option<Bytes>)>,
}

/// What a journal holds from some position on.
#[derive(Default)]
pub(crate) struct Tail {
    pub(crate) entries: Vec<(Position, TreeName, Batch)>,
    pub(crate) n_bad_lines: u64,
    /// The engine knows of batches that this file cannot have: the journal was lost or replaced, and has to be rewritten.
    pub(crate) is_behind: bool,
}

/// An open journal. One writer at a time: the store holds it behind a lock.
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// Number of the file, from its header.
    number: u64,
    /// Length in bytes: where the next line starts.
    len: u64,
    /// Length right after the last compaction.
    base_len: u64,
    /// The last batch's number.
    seq: u64,
}

impl Journal {
    /// Opens the journal at `path`, or starts one. A file with a header that cannot be read is set aside by name.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if let Some(number) = read_header(path)? {
            let mut file = OpenOptions::new().read(true).append(true).open(path)?;
            let len = file.seek(SeekFrom::End(0))?;
            return Ok(Self { path: path.to_owned(), file, number, len, base_len: 0, seq: 0 });
        }
        if path.exists() {
            let aside = crate::store::free_name(path, "unreadable");
            std::fs::rename(path, &aside)?;
            tracing::warn!(set_aside = %aside.display(), "journal without a readable header set aside");
        }
        Self::create(path, 1)
    }

    fn create(path: &Path, number: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create_new(true).open(path)?;
        let header = seal(&Header { journal: FORMAT, file: number });
        file.write_all(&header)?;
        file.sync_data()?;
        sync_dir(path)?;
        Ok(Self { path: path.to_owned(), file, number, len: header.len() as u64, base_len: 0, seq: 0 })
    }

    /// Where the next batch will be found, once written.
    pub(crate) fn position(&self) -> Position {
        Position { seq: self.seq, file: self.number, offset: self.len, base: self.base_len }
    }

    /// Whether a rewrite would shrink the file to less than half.
    pub(crate) fn is_bloated(&self) -> bool {
        const SLACK: u64 = 8 << 20;
        self.len > 2 * self.base_len + SLACK
    }

    /// Everything written after `seen`; then the journal continues after it. A torn last line is cut off.
    pub(crate) fn tail(&mut self, seen: Option<Position>) -> io::Result<Tail> {
        let seen_here = seen.filter(|seen| seen.file == self.number && seen.offset <= self.len);
        let mut tail = Tail { is_behind: seen.is_some() && seen_here.is_none(), ..Tail::default() };
        let mut offset = seen_here.map_or(0, |seen| seen.offset);
        self.seq = seen.map_or(0, |seen| seen.seq);
        self.base_len = seen_here.map_or(0, |seen| seen.base);
        let mut reader = BufReader::with_capacity(1 << 16, File::open(&self.path)?);
        reader.seek(SeekFrom::Start(offset))?;
        let mut text = Vec::new();
        loop {
            text.clear();
            let n = reader.read_until(b'\n', &mut text)? as u64;
            if n == 0 {
                break;
            }
            if text.last() != Some(&b'\n') {
                tracing::warn!(journal = %self.path.display(), "journal ends in a torn line; cut off");
                self.file.set_len(offset)?;
                self.len = offset;
                break;
            }
            offset += n;
            let Some(body) = unseal(&text) else {
                tail.n_bad_lines += 1;
                continue;
            };
            let is_header = serde_json::from_slice::<Header>(&body).is_ok();
            if is_header {
                continue;
            }
            let Some((seq, tree, batch)) = parse(&body) else {
                tail.n_bad_lines += 1;
                continue;
            };
            // A compacted journal repeats one seq over many lines; together they are the state after that batch. So within
            // a file the offset alone decides, and the seq where the file is another than the engine knows.
            let known = seen_here.is_none() && seen.is_some_and(|seen| seq <= seen.seq);
            if known {
                continue;
            }
            self.seq = self.seq.max(seq);
            tail.entries.push((Position { seq, file: self.number, offset, base: self.base_len }, tree, batch));
        }
        Ok(tail)
    }

    /// Appends one batch and syncs it. On failure the file is as before.
    pub(crate) fn append(&mut self, tree: TreeName, batch: &Batch) -> io::Result<Position> {
        let line = seal(&line(self.seq + 1, tree, batch));
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.seq += 1;
        self.len += line.len() as u64;
        Ok(self.position())
    }

    /// Takes the last append back, because its second half failed. `before` is the position before it.
    pub(crate) fn undo(&mut self, before: Position) -> io::Result<()> {
        self.file.set_len(before.offset)?;
        self.len = before.offset;
        self.seq = before.seq;
        Ok(())
    }

    /// Replaces the journal by one that holds just these rows, all at the current position.
    pub(crate) fn compact(
        &mut self,
        state: impl Iterator<Item = io::Result<(TreeName, Batch)>>,
    ) -> io::Result<Position> {
        let fresh_path = self.path.with_extension("jsonl.new");
        let _ = std::fs::remove_file(&fresh_path);
        let mut fresh = Self::create(&fresh_path, self.number + 1)?;
        for part in state {
            let (tree, batch) = part?;
            let line = seal(&line(self.seq, tree, &batch));
            fresh.file.write_all(&line)?;
            fresh.len += line.len() as u64;
        }
        fresh.file.sync_all()?;
        std::fs::rename(&fresh_path, &self.path)?;
        sync_dir(&self.path)?;
        let base_len = fresh.len;
        *self = Self { path: self.path.clone(), base_len, seq: self.seq, ..fresh };
        Ok(self.position())
    }
}

/// Makes the file's name survive a power cut as its bytes do: a new file or a new name is an entry of its folder.
fn sync_dir(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

fn line(seq: u64, tree: TreeName, batch: &Batch) -> Line {
    let rows = batch.writes.iter().map(|(key, value)| (Bytes::of(key.clone()), value.clone().map(Bytes::of))).collect();
    Line { seq, tree: tree.as_str().to_owned(), rows }
}

fn parse(body: &[u8]) -> Option<(u64, TreeName, Batch)> {
    let line: Line = serde_json::from_slice(body).ok()?;
    let tree = TreeName::ALL.into_iter().find(|tree| tree.as_str() == line.tree)?;
    let mut batch = Batch::default();
    for (key, value) in line.rows {
        let value = match value {
            Some(value) => Some(value.into_vec()?),
            None => None,
        };
        batch.writes.push((key.into_vec()?, value));
    }
    Some((line.seq, tree, batch))
}

/// The JSON object of `value` with its checksum in front, and a line end.
fn seal(value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(value).expect("journal lines are plain structs of strings and numbers");
    let body = &json[1..];
    let sum = ContentHash::of(body).to_string();
    let mut line = Vec::with_capacity(PREFIX + body.len() + 1);
    line.extend_from_slice(SUM_OPEN);
    line.extend_from_slice(&sum.as_bytes()[..SUM_DIGITS]);
    line.extend_from_slice(SUM_CLOSE);
    line.extend_from_slice(body);
    line.push(b'\n');
    line
}

/// The JSON object without its checksum, if that is right.
fn unseal(line: &[u8]) -> Option<Vec<u8>> {
    let line = line.strip_suffix(b"\n")?;
    let rest = line.strip_prefix(SUM_OPEN)?;
    let (sum, rest) = rest.split_at_checked(SUM_DIGITS)?;
    let body = rest.strip_prefix(SUM_CLOSE)?;
    let right = ContentHash::of(body).to_string().as_bytes()[..SUM_DIGITS] == *sum;
    right.then(|| [b"{", body].concat())
}

fn read_header(path: &Path) -> io::Result<Option<u64>> {
    const HEADER_LIMIT: u64 = 256;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut line = Vec::new();
    BufReader::new(file.take(HEADER_LIMIT)).read_until(b'\n', &mut line)?;
    let header = unseal(&line).and_then(|body| serde_json::from_slice::<Header>(&body).ok());
    Ok(header.map(|header| header.file))
}
