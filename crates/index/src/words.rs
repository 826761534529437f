//! The word index on disk: which documents it holds, bringing it to a view, mending it.
//!
//! A document is known by the hash of what is indexed of it ([`CardKeys::document`]), so the difference between index and
//! view is a difference of sets, whatever happened in between. tantivy commits atomically: a kill leaves the last commit.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tantivy::indexer::NoMergePolicy;
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, TantivyDocument, Term};
use toolscout_catalog::CatalogView;
use tracing::{info, warn};

use crate::Error;
use crate::keys::CardKeys;
use crate::lexical::{Fields, LexicalSnapshot, register};

pub(crate) struct WordIndex {
    fields: Fields,
    /// `None`: in memory.
    dir: Option<PathBuf>,
    index: Index,
    reader: IndexReader,
    /// Keys of the documents in it.
    held: HashSet<u64>,
    reused: bool,
    /// Segments changed since the last [`WordIndex::tidy`].
    untidy: bool,
}

/// The folder's name holds the format: another format is another folder.
const FOLDER: &str = "words-v1";
/// Cards from which two threads write. Below it one is faster: threads and segments cost too.
const MANY: usize = 512;
/// Memory of a writing thread, in bytes; tantivy wants 15 MB at least.
const WRITER_BYTES: usize = 32 << 20;
/// Segments that are merged into one when there are more.
const MAX_SEGMENTS: usize = 6;

impl WordIndex {
    pub(crate) fn open(dir: Option<&Path>) -> Result<Self, Error> {
        let fields = Fields::new();
        let dir = dir.map(|dir| dir.join(FOLDER));
        let (index, reader, held) = match &dir {
            Some(dir) => match open_existing(dir, &fields) {
                Ok(Some(found)) => found,
                Ok(None) => create(Some(dir), &fields)?,
                Err(trouble) => {
                    warn!(trouble, "the word index is damaged and will be rebuilt");
                    create(Some(dir), &fields)?
                }
            },
            None => create(None, &fields)?,
        };
        let reused = !held.is_empty();
        Ok(Self { fields, dir, index, reader, held, reused, untidy: false })
    }

    /// Whether documents were found at opening.
    pub(crate) fn reused(&self) -> bool {
        self.reused
    }

    /// Removes what the view has not and adds what the index has not, in one commit. Tells how many were added.
    /// If that fails the index is made anew and filled whole, once.
    pub(crate) fn bring_to(&mut self, view: &CatalogView, keys: &[CardKeys]) -> Result<u64, Error> {
        match self.try_bring_to(view, keys) {
            Ok(written) => Ok(written),
            Err(error) => {
                warn!(%error, "the word index cannot be written and is rebuilt");
                let (index, reader, held) = create(self.dir.as_deref(), &self.fields)?;
                (self.index, self.reader, self.held) = (index, reader, held);
                self.try_bring_to(view, keys)
            }
        }
    }

    fn try_bring_to(&mut self, view: &CatalogView, keys: &[CardKeys]) -> Result<u64, Error> {
        let wanted: HashSet<u64> = keys.iter().map(|keys| keys.document).collect();
        let mut gone: Vec<u64> = self.held.difference(&wanted).copied().collect();
        gone.sort_unstable();
        let new: Vec<usize> = (0..keys.len()).filter(|&doc| !self.held.contains(&keys[doc].document)).collect();
        if gone.is_empty() && new.is_empty() {
            return Ok(0);
        }
        let n_threads = if new.len() < MANY { 1 } else { 2 };
        let mut writer: IndexWriter = self.index.writer_with_num_threads(n_threads, n_threads * WRITER_BYTES)?;
        // Merging is for `tidy`, when nobody waits for it.
        writer.set_merge_policy(Box::new(NoMergePolicy));
        for key in &gone {
            writer.delete_term(Term::from_field_u64(self.fields.key, *key));
        }
        for &doc in &new {
            writer.add_document(self.fields.document(&view.tools[doc], keys[doc].document))?;
        }
        writer.commit()?;
        self.reader.reload()?;
        self.held = wanted;
        self.untidy = true;
        Ok(new.len() as u64)
    }

    /// The index as committed, seen through these documents.
    pub(crate) fn snapshot(&self, keys: &[CardKeys]) -> Result<LexicalSnapshot, Error> {
        let position_of: std::collections::HashMap<u64, u32> =
            keys.iter().zip(0u32..).map(|(keys, doc)| (keys.document, doc)).collect();
        let lookup = |key| position_of.get(&key).copied();
        Ok(LexicalSnapshot::new(&self.fields, self.reader.searcher(), keys.len(), lookup)?)
    }

    /// Merges segments when there are many or much in them is deleted. The next snapshot uses the result.
    pub(crate) fn tidy(&mut self) -> Result<(), Error> {
        if !std::mem::take(&mut self.untidy) {
            return Ok(());
        }
        let searcher = self.reader.searcher();
        let readers = searcher.segment_readers();
        let worn = |n_deleted: u32, n_docs: u32| n_deleted > 64 && n_deleted > n_docs / 2;
        let many = readers.len() > MAX_SEGMENTS;
        let ids: Vec<_> = readers
            .iter()
            .filter(|reader| many || worn(reader.num_deleted_docs(), reader.num_docs()))
            .map(tantivy::SegmentReader::segment_id)
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        let mut writer: IndexWriter<TantivyDocument> = self.index.writer_with_num_threads(1, WRITER_BYTES)?;
        writer.set_merge_policy(Box::new(NoMergePolicy));
        writer.merge(&ids).wait()?;
        writer.wait_merging_threads()?;
        self.reader.reload()?;
        info!(n_merged = ids.len(), "word index merged");
        Ok(())
    }
}

type Found = (Index, IndexReader, HashSet<u64>);

/// Opens what is there, if it is of our schema and every byte is as it was written. A damaged index may make tantivy
/// panic: that is damage too.
fn open_existing(dir: &Path, fields: &Fields) -> Result<Option<Found>, String> {
    if !dir.join("meta.json").is_file() {
        return Ok(None);
    }
    let opened = catch_unwind(AssertUnwindSafe(|| -> tantivy::Result<Option<Found>> {
        let index = Index::open_in_dir(dir)?;
        let same = index.schema() == fields.schema && index.validate_checksum()?.is_empty();
        if !same {
            return Ok(None);
        }
        let found = ready(index)?;
        Ok(Some(found))
    }));
    match opened {
        Ok(Ok(Some(found))) => Ok(Some(found)),
        Ok(Ok(None)) => Err("schema or checksums differ".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it cannot be read".to_owned()),
    }
}

/// An empty index; what stood in the folder goes.
fn create(dir: Option<&Path>, fields: &Fields) -> Result<Found, Error> {
    let Some(dir) = dir else { return Ok(ready(Index::create_in_ram(fields.schema.clone()))?) };
    let io = |source| Error::Io { path: dir.to_owned(), source };
    match std::fs::remove_dir_all(dir) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(io(source)),
        _ => {}
    }
    std::fs::create_dir_all(dir).map_err(io)?;
    Ok(ready(Index::create_in_dir(dir, fields.schema.clone())?)?)
}

fn ready(index: Index) -> tantivy::Result<Found> {
    register(&index);
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
    let mut held = HashSet::new();
    for segment in reader.searcher().segment_readers() {
        let keys = segment.fast_fields().u64("key")?;
        held.extend(segment.doc_ids_alive().filter_map(|doc| keys.first(doc)));
    }
    Ok((index, reader, held))
}
