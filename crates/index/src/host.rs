//! The index as a service: takes views of the catalog, publishes snapshots.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex};
use serde::Serialize;
use toolscout_catalog::CatalogView;
use toolscout_core::ContentHash;
use toolscout_core::text::sanitize;
use toolscout_embed::Embed;
use toolscout_store::Store;
use tracing::{debug, info, warn};

use crate::dense::graph::{Graph, GraphOptions};
use crate::dense::late::{LateRows, LateVectors};
use crate::dense::rows::Rows;
use crate::dense::{DenseMode, DenseSnapshot, NONE};
use crate::keys::{CardKeys, keys_of_view};
use crate::lexical::LexicalSnapshot;
use crate::vectors::{Stored, Vectors};
use crate::words::WordIndex;
use crate::{Error, IndexProgress, IndexState, Snapshot};

/// Where and how to index.
#[derive(Debug, Clone)]
pub struct IndexOptions {
    /// The folder for the word index and the graph. Left out: memory alone, for tests and evals.
    pub dir: Option<PathBuf>,
    /// How vectors are searched.
    pub dense: DenseMode,
    /// With [`DenseMode::Auto`]: the number of vectors from which the graph is used. 25,000. Exact search (int8 first, f32
    /// where it matters) takes some 25 to 40 µs per thousand vectors; the graph takes 0.3 to 0.6 ms whatever there is, asked
    /// for the hundred candidates of a selection, and some milliseconds a vector to build. They meet at about 10,000; from
    /// 25,000 on the graph takes half the time or less. `examples/hnsw_recall.rs` measures it.
    pub hnsw_from: usize,
    /// How the graph is knit.
    pub graph: GraphOptions,
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self { dir: None, dense: DenseMode::Auto, hnsw_from: 25_000, graph: GraphOptions::default() }
    }
}

/// Figures about the index, for `doctor`, `/readyz` and tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IndexStats {
    /// How far embedding has come.
    pub progress: IndexProgress,
    /// Parts of the word index.
    pub segments: usize,
    /// Whether the word index was found on disk at opening and reused.
    pub lexical_reused: bool,
    /// Cards written to the word index since opening.
    pub lexical_written: u64,
    /// Vectors in memory, those of removed tools included.
    pub rows: usize,
    /// Of these, of removed tools.
    pub tombstones: usize,
    /// Bytes the vectors take, the graph not counted.
    pub vector_bytes: usize,
    /// Vectors read from the store since opening.
    pub vectors_loaded: u64,
    /// Texts embedded since opening.
    pub texts_embedded: u64,
    /// Texts that could not be embedded since opening.
    pub texts_failed: u64,
    /// Rows in the graph, if there is one.
    pub graph_rows: Option<usize>,
    /// Whether the graph was found on disk and reused.
    pub graph_reused: bool,
    /// The model of the vectors, if there is one.
    pub model: Option<String>,
}

/// Keeps both indexes up to date with the catalog. One per process.
pub struct IndexHost {
    shared: Arc<Shared>,
    /// Held while a view is applied: one at a time.
    words: Mutex<WordIndex>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    options: IndexOptions,
    vectors: Option<Vectors>,
    current: ArcSwap<Snapshot>,
    master: Mutex<Master>,
    work: Mutex<Work>,
    /// Signals every change of `work`.
    changed: Condvar,
    stop: AtomicBool,
    counts: Counts,
}

/// What the next snapshot is made of.
struct Master {
    view: Arc<CatalogView>,
    /// By document.
    keys: Arc<[CardKeys]>,
    lexical: Option<Arc<LexicalSnapshot>>,
    rows: Rows,
    /// Token vectors, as many as `rows`.
    late: LateRows,
    /// Row → key; as long as `rows`.
    row_keys: Vec<u64>,
    /// Key → row.
    row_of: HashMap<u64, u32>,
    graph: Option<Arc<Graph>>,
    /// Why there are no more vectors to come for this view.
    trouble: Option<String>,
}

#[derive(Default)]
struct Work {
    /// A view came that the worker has not begun with.
    waiting: bool,
    busy: bool,
    /// The newest view's vectors have not all been looked for in the store yet.
    loading: bool,
}

#[derive(Default)]
struct Counts {
    lexical_written: AtomicU64,
    loaded: AtomicU64,
    embedded: AtomicU64,
    failed: AtomicU64,
    lexical_reused: AtomicBool,
    graph_reused: AtomicBool,
}

/// Texts per call of the embedder. Its lanes wait for each other at the end of a call, so a call holds several texts for each;
/// what is lost to a kill is at most one call's work.
const EMBED_BATCH: usize = 32;
/// Failures in a row after which the embedder counts as broken.
const MAX_FAILURES: usize = 3;
/// Fewest new vectors worth a snapshot of their own.
const MIN_PUBLISH: usize = 256;

impl IndexHost {
    /// Opens the index in its folder, or makes one. Without an embedder answers rest on words alone.
    pub fn open(options: IndexOptions, store: &Store, embedder: Option<Arc<dyn Embed>>) -> Result<Arc<Self>, Error> {
        let words = WordIndex::open(options.dir.as_deref())?;
        let vectors = embedder.map(|embedder| Vectors::new(store, embedder)).transpose()?;
        let dimension = vectors.as_ref().map_or(0, |vectors| vectors.model().dimension);
        let counts = Counts::default();
        counts.lexical_reused.store(words.reused(), Ordering::Relaxed);
        let master = Master {
            view: Arc::default(),
            keys: Arc::from([]),
            lexical: None,
            rows: Rows::new(dimension),
            late: LateRows::default(),
            row_keys: Vec::new(),
            row_of: HashMap::new(),
            graph: None,
            trouble: None,
        };
        let shared = Arc::new(Shared {
            options,
            vectors,
            current: ArcSwap::from_pointee(Snapshot::empty()),
            master: Mutex::new(master),
            work: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
            counts,
        });
        shared.publish(&shared.master.lock());
        let worker = if shared.vectors.is_some() {
            let shared = shared.clone();
            let spawned = std::thread::Builder::new().name("toolscout-index".to_owned()).spawn(move || shared.work());
            Some(spawned.map_err(Error::Thread)?)
        } else {
            None
        };
        Ok(Arc::new(Self { shared, words: Mutex::new(words), worker: Mutex::new(worker) }))
    }

    /// Brings the index to this view; one older than the last is ignored. When it returns, words answer from the new
    /// generation; vectors that are there already are kept, missing ones follow from a background thread, each fuller state
    /// published as a new snapshot. Blocks for the time the changed cards take to index: keep it off the async threads.
    pub fn apply(&self, view: &Arc<CatalogView>) -> Result<(), Error> {
        let mut words = self.words.lock();
        let (old_view, old_keys) = {
            let master = self.shared.master.lock();
            (master.view.clone(), master.keys.clone())
        };
        let outdated = view.generation < old_view.generation;
        if outdated || (Arc::ptr_eq(view, &old_view) && self.shared.current.load().lexical.is_some()) {
            return Ok(());
        }
        let keys: Arc<[CardKeys]> = keys_of_view(view, &old_view, &old_keys).into();
        let written = words.bring_to(view, &keys)?;
        let lexical = Arc::new(words.snapshot(&keys)?);
        {
            let mut master = self.shared.master.lock();
            master.view = view.clone();
            master.keys = keys;
            master.lexical = Some(lexical);
            master.trouble = None;
            self.shared.publish(&master);
        }
        self.shared.counts.lexical_written.fetch_add(written, Ordering::Relaxed);
        info!(generation = %view.generation, n_tools = view.tools.len(), n_written = written, "words indexed");
        if self.shared.vectors.is_some() {
            {
                let mut work = self.shared.work.lock();
                (work.waiting, work.loading) = (true, true);
            }
            self.shared.changed.notify_all();
        }
        words.tidy()
    }

    /// The newest state. Lock-free.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.current.load_full()
    }

    /// Waits until nothing is left to embed, build or save, at most so long; whether it came to that.
    pub fn wait_settled(&self, at_most: Duration) -> bool {
        let mut work = self.shared.work.lock();
        let unsettled = |work: &mut Work| (work.waiting || work.busy) && !self.shared.stop.load(Ordering::Relaxed);
        !self.shared.changed.wait_while_for(&mut work, unsettled, at_most).timed_out()
    }

    /// Waits until every vector that the store has is in the snapshot, at most so long; whether it came to that. What was never
    /// embedded is not waited for: a command that answers once wants the vectors there are, not those to come.
    pub fn wait_loaded(&self, at_most: Duration) -> bool {
        let mut work = self.shared.work.lock();
        let loading = |work: &mut Work| work.loading && !self.shared.stop.load(Ordering::Relaxed);
        !self.shared.changed.wait_while_for(&mut work, loading, at_most).timed_out()
    }

    /// Figures.
    pub fn stats(&self) -> IndexStats {
        let snapshot = self.snapshot();
        let counts = &self.shared.counts;
        let master = self.shared.master.lock();
        let tombstones = master.row_keys.len() - master.n_live();
        IndexStats {
            progress: snapshot.progress.clone(),
            segments: snapshot.lexical.as_ref().map_or(0, |lexical| lexical.n_segments()),
            lexical_reused: counts.lexical_reused.load(Ordering::Relaxed),
            lexical_written: counts.lexical_written.load(Ordering::Relaxed),
            rows: master.rows.len(),
            tombstones,
            vector_bytes: master.rows.bytes() + master.late.bytes(),
            vectors_loaded: counts.loaded.load(Ordering::Relaxed),
            texts_embedded: counts.embedded.load(Ordering::Relaxed),
            texts_failed: counts.failed.load(Ordering::Relaxed),
            graph_rows: master.graph.as_ref().map(|graph| graph.len()),
            graph_reused: counts.graph_reused.load(Ordering::Relaxed),
            model: self.shared.vectors.as_ref().map(|vectors| vectors.model().id.clone()),
        }
    }

    /// Stops the background thread after the batch at hand and waits for it. Snapshots stay valid; what was embedded is kept.
    pub fn close(&self) {
        {
            // Under the lock, so that a worker about to wait sees it.
            let _work = self.shared.work.lock();
            self.shared.stop.store(true, Ordering::Relaxed);
        }
        self.shared.changed.notify_all();
        if let Some(worker) = self.worker.lock().take()
            && worker.join().is_err()
        {
            warn!("the indexing thread had panicked");
        }
    }
}

impl Drop for IndexHost {
    fn drop(&mut self) {
        self.close();
    }
}

impl Master {
    /// Rows that a document of the view uses.
    fn n_live(&self) -> usize {
        self.keys.iter().filter(|keys| self.row_of.contains_key(&keys.row)).count()
    }

    fn push_row(&mut self, key: u64, stored: &Stored) {
        let row = self.rows.push(&stored.pooled);
        self.late.push(stored.late.clone());
        self.row_keys.push(key);
        self.row_of.insert(key, row);
    }

    /// Document → upstream, and the middle of each upstream's vectors.
    fn centroids(&self, row_of: &[u32]) -> (Arc<[u32]>, Arc<[f32]>) {
        let dimension = self.rows.dimension();
        let mut upstream_of = Vec::with_capacity(self.view.tools.len());
        let mut centroids: Vec<f32> = Vec::new();
        let mut before = None;
        // Tools are sorted by id, so those of one upstream stand together.
        for (card, row) in self.view.tools.iter().zip(row_of) {
            if before != Some(&card.id.upstream) {
                before = Some(&card.id.upstream);
                centroids.resize(centroids.len() + dimension, 0.0);
            }
            upstream_of.push((centroids.len() / dimension.max(1)).saturating_sub(1) as u32);
            if *row != NONE {
                let start = centroids.len() - dimension;
                centroids[start..].iter_mut().zip(self.rows.vector(*row)).for_each(|(sum, x)| *sum += x);
            }
        }
        centroids.chunks_exact_mut(dimension.max(1)).for_each(toolscout_embed::normalize);
        (upstream_of.into(), centroids.into())
    }

    /// Drops the rows that no document uses, and the graph with them.
    fn compact(&mut self) {
        let mut rows = Rows::new(self.rows.dimension());
        let mut late = LateRows::default();
        let mut row_keys = Vec::new();
        let mut row_of = HashMap::new();
        for keys in self.keys.iter() {
            if let Some(&row) = self.row_of.get(&keys.row)
                && let std::collections::hash_map::Entry::Vacant(entry) = row_of.entry(keys.row)
            {
                entry.insert(rows.push(self.rows.vector(row)));
                late.push(self.late.get(row).clone());
                row_keys.push(keys.row);
            }
        }
        (self.rows, self.late, self.row_keys, self.row_of, self.graph) = (rows, late, row_keys, row_of, None);
    }
}

impl Shared {
    /// Makes the next snapshot from what there is, and swaps it in.
    fn publish(&self, master: &Master) {
        let total = master.view.tools.len();
        let row_of: Arc<[u32]> =
            master.keys.iter().map(|keys| master.row_of.get(&keys.row).copied().unwrap_or(NONE)).collect();
        let mut doc_of = vec![NONE; master.rows.len()];
        for (&row, doc) in row_of.iter().zip(0u32..).filter(|(row, _)| **row != NONE) {
            doc_of[row as usize] = doc;
        }
        let embedded = row_of.iter().filter(|row| **row != NONE).count();
        let state = match embedded {
            _ if self.vectors.is_none() => IndexState::Lexical,
            n if n == total => IndexState::Hybrid,
            0 => IndexState::Lexical,
            _ => IndexState::HybridPartial,
        };
        let reason = match state {
            IndexState::Hybrid => None,
            _ if self.vectors.is_none() => Some("no embedding model is loaded".to_owned()),
            IndexState::HybridPartial | IndexState::Lexical => {
                let working = || format!("{} of {total} tools are still to be embedded", total - embedded);
                Some(master.trouble.clone().unwrap_or_else(working))
            }
        };
        let dense = (embedded > 0).then(|| {
            let (upstream_of, centroids) = master.centroids(&row_of);
            DenseSnapshot {
                rows: master.rows.clone(),
                late: master.late.clone(),
                upstream_of,
                centroids,
                row_of,
                doc_of: doc_of.into(),
                graph: master.graph.clone(),
            }
        });
        self.current.store(Arc::new(Snapshot {
            view: master.view.clone(),
            lexical: master.lexical.clone(),
            dense,
            progress: IndexProgress { state, embedded, total, reason },
        }));
    }

    /// The background thread.
    fn work(&self) {
        let Some(vectors) = &self.vectors else { return };
        let mut first = true;
        loop {
            {
                let mut work = self.work.lock();
                work.busy = false;
                self.changed.notify_all();
                while !work.waiting && !self.stopped() {
                    self.changed.wait(&mut work);
                }
                if self.stopped() {
                    return;
                }
                (work.waiting, work.busy) = (false, true);
            }
            let ran = catch_unwind(AssertUnwindSafe(|| self.fill(vectors, std::mem::take(&mut first))));
            let trouble = match ran {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error_line(&error),
                Err(_) => "the indexing thread failed; see the log".to_owned(),
            };
            warn!(trouble, "vectors stay incomplete until the catalog changes or the service restarts");
            {
                let mut master = self.master.lock();
                master.trouble = Some(trouble);
                self.publish(&master);
            }
            self.loaded();
        }
    }

    /// Tells who waits for stored vectors that there are no more to come for this view.
    fn loaded(&self) {
        let mut work = self.work.lock();
        work.loading = work.waiting;
        self.changed.notify_all();
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether to drop what is under way: the end, or a newer view.
    fn interrupted(&self) -> bool {
        self.stopped() || self.work.lock().waiting
    }

    /// Loads what is stored, embeds what is not, sees to the graph.
    fn fill(&self, vectors: &Vectors, first: bool) -> Result<(), Error> {
        let keys = self.master.lock().keys.clone();
        if first {
            self.load_graph(vectors, &keys)?;
        }
        let missing = self.load_vectors(vectors, &keys)?;
        self.loaded();
        self.embed(vectors, missing)?;
        if self.interrupted() {
            return Ok(());
        }
        self.tend_graph(vectors)
    }

    fn wants_graph(&self, n_vectors: usize) -> bool {
        match self.options.dense {
            DenseMode::Auto => n_vectors >= self.options.hnsw_from,
            DenseMode::Hnsw => n_vectors > 0,
            DenseMode::Exact => false,
        }
    }

    /// Puts the saved graph's rows first, in its order. In doubt there is no graph, and a new one is built later.
    fn load_graph(&self, vectors: &Vectors, keys: &[CardKeys]) -> Result<(), Error> {
        let Some(at) = self.graph_dir().filter(|_| self.wants_graph(keys.len())) else { return Ok(()) };
        let model = vectors.model();
        let loaded = match Graph::load(&at, &model.sha256, model.dimension, self.options.graph) {
            Ok(Some(loaded)) => loaded,
            Ok(None) => return Ok(()),
            Err(error) => {
                warn!(error = error_line(&error), "the saved graph is not trusted and will be rebuilt");
                return Ok(());
            }
        };
        let text_of: HashMap<u64, ContentHash> = keys.iter().map(|keys| (keys.row, keys.text)).collect();
        let n_known = loaded.keys.iter().filter(|key| text_of.contains_key(key)).count();
        if is_worn(loaded.keys.len(), loaded.keys.len() - n_known, keys.len().saturating_sub(n_known)) {
            debug!(n_rows = loaded.keys.len(), n_known, "the saved graph is too far from the catalog");
            return Ok(());
        }
        let mut texts: Vec<ContentHash> = loaded.keys.iter().filter_map(|key| text_of.get(key).copied()).collect();
        texts.sort_unstable();
        texts.dedup();
        let mut stored_of = HashMap::with_capacity(texts.len());
        vectors.load_many(&texts, |at, stored| {
            stored_of.extend(stored.map(|stored| (texts[at], stored)));
            !self.stopped()
        })?;
        if self.stopped() {
            return Ok(());
        }
        let tombstone = vec![0.0; model.dimension];
        let (mut rows, mut late) = (Rows::new(model.dimension), LateRows::default());
        let none = Arc::new(LateVectors::default());
        let mut row_of = HashMap::with_capacity(loaded.keys.len());
        for &key in &loaded.keys {
            let stored = text_of.get(&key).and_then(|text| stored_of.get(text));
            let row = rows.push(stored.map_or(&tombstone, |stored| &stored.pooled));
            late.push(stored.map_or_else(|| none.clone(), |stored| stored.late.clone()));
            if stored.is_some() {
                row_of.insert(key, row);
            }
        }
        self.counts.loaded.fetch_add(row_of.len() as u64, Ordering::Relaxed);
        self.counts.graph_reused.store(true, Ordering::Relaxed);
        let mut master = self.master.lock();
        (master.rows, master.late, master.row_keys, master.row_of) = (rows, late, loaded.keys, row_of);
        master.graph = Some(Arc::new(loaded.graph));
        self.publish(&master);
        Ok(())
    }

    /// Takes from the store what it has; the documents without a vector come back.
    fn load_vectors(&self, vectors: &Vectors, keys: &[CardKeys]) -> Result<Vec<CardKeys>, Error> {
        let mut unknown: Vec<CardKeys> = {
            let master = self.master.lock();
            keys.iter().filter(|keys| !master.row_of.contains_key(&keys.row)).copied().collect()
        };
        unknown.sort_by_key(|keys| (keys.text, keys.row));
        // Equal texts stand together now, and are read once.
        let groups: Vec<&[CardKeys]> = unknown.chunk_by(|a, b| a.text == b.text).collect();
        let mut missing = Vec::new();
        let mut n_loaded = 0;
        let mut found = |group: &[CardKeys], stored: Option<Stored>| match stored {
            Some(stored) => {
                let mut master = self.master.lock();
                group.iter().for_each(|keys| master.push_row(keys.row, &stored));
                n_loaded += group.len() as u64;
            }
            None => missing.extend_from_slice(group),
        };
        let texts: Vec<ContentHash> = groups.iter().map(|group| group[0].text).collect();
        vectors.load_many(&texts, |at, stored| {
            found(groups[at], stored);
            !self.stopped()
        })?;
        if self.stopped() {
            return Ok(Vec::new());
        }
        if n_loaded > 0 {
            self.counts.loaded.fetch_add(n_loaded, Ordering::Relaxed);
            info!(n_loaded, n_missing = missing.len(), "vectors loaded");
            self.publish(&self.master.lock());
        }
        Ok(missing)
    }

    /// Embeds texts that have no vector, each different one once.
    fn embed(&self, vectors: &Vectors, missing: Vec<CardKeys>) -> Result<(), Error> {
        if missing.is_empty() {
            return Ok(());
        }
        let (view, keys_now) = {
            let master = self.master.lock();
            (master.view.clone(), master.keys.clone())
        };
        let doc_of_row: HashMap<u64, usize> = keys_now.iter().enumerate().map(|(doc, keys)| (keys.row, doc)).collect();
        // Equal texts stand together, so that their vector is made once and given to all of them.
        let mut groups: Vec<(String, Vec<CardKeys>)> = Vec::new();
        let mut group_of = HashMap::new();
        for keys in missing {
            // Between reading the keys and here a newer view may have come: then this one is dropped soon anyway.
            let Some(&doc) = doc_of_row.get(&keys.row) else { continue };
            let group = *group_of.entry(keys.text).or_insert_with(|| {
                groups.push((crate::text::card_text(&view.tools[doc]), Vec::new()));
                groups.len() - 1
            });
            groups[group].1.push(keys);
        }
        info!(n_texts = groups.len(), "embedding");
        let (mut n_unpublished, mut n_failed_in_a_row, mut n_failed) = (0usize, 0, 0usize);
        for batch in groups.chunks(EMBED_BATCH) {
            if self.interrupted() {
                break;
            }
            let texts: Vec<&str> = batch.iter().map(|(text, _)| text.as_str()).collect();
            let made: Vec<Result<Stored, String>> = match vectors.embed(&texts) {
                Ok(made) => made.into_iter().map(Ok).collect(),
                // One of them may be at fault: find out which, and keep the others.
                Err(_) => texts.iter().map(|text| vectors.embed(&[text]).map(|mut one| one.remove(0))).collect(),
            };
            let mut last_failure = None;
            let mut good = Vec::with_capacity(batch.len());
            for ((_, group), result) in batch.iter().zip(made) {
                match result {
                    Ok(stored) => {
                        n_failed_in_a_row = 0;
                        good.push((group, stored));
                    }
                    Err(failure) => {
                        n_failed_in_a_row += 1;
                        n_failed += group.len();
                        last_failure = Some(failure);
                    }
                }
            }
            vectors.store(good.iter().map(|(group, stored)| (group[0].text, stored)))?;
            self.counts.embedded.fetch_add(good.len() as u64, Ordering::Relaxed);
            // Which texts, so that a test over many processes can tell work done twice from work.
            debug!(n_texts = good.len(), keys = %text_keys(&good), "texts embedded");
            self.counts.failed.fetch_add((batch.len() - good.len()) as u64, Ordering::Relaxed);
            let mut master = self.master.lock();
            for (group, stored) in good {
                n_unpublished += group.len();
                group.iter().for_each(|keys| master.push_row(keys.row, &stored));
            }
            if let Some(failure) = last_failure {
                master.trouble = Some(format!("{n_failed} tools could not be embedded: {failure}"));
            }
            let broken = n_failed_in_a_row >= MAX_FAILURES;
            // Every eighth more: a large catalog publishes some thirty times on the way.
            if broken || n_unpublished >= MIN_PUBLISH.max(master.rows.len() / 8) {
                self.publish(&master);
                n_unpublished = 0;
            }
            if broken {
                break;
            }
        }
        vectors.rest();
        self.publish(&self.master.lock());
        Ok(())
    }

    fn graph_dir(&self) -> Option<PathBuf> {
        self.options.dir.as_ref().map(|dir| dir.join("graph-v1"))
    }

    /// Throws tombstones out when they pile up; builds a graph where one is due, publishes and saves it.
    fn tend_graph(&self, vectors: &Vectors) -> Result<(), Error> {
        let (rows, row_keys) = {
            let mut master = self.master.lock();
            let n_live = master.n_live();
            let n_dead = master.rows.len() - n_live;
            let wanted = self.wants_graph(n_live);
            let graph_len = master.graph.as_ref().map(|graph| graph.len());
            let tail = master.rows.len() - graph_len.unwrap_or(0);
            let due = wanted && graph_len.is_none_or(|len| is_worn(len, n_dead, tail));
            let unwanted = !wanted && graph_len.is_some();
            if due || unwanted || n_dead > MIN_PUBLISH.max(n_live / 4) {
                master.compact();
                self.publish(&master);
            }
            if !due {
                return Ok(());
            }
            (master.rows.clone(), master.row_keys.clone())
        };
        info!(n_rows = rows.len(), "building the graph");
        let Some(graph) = Graph::build(&rows, self.options.graph, &|| self.stopped()) else { return Ok(()) };
        let graph = Arc::new(graph);
        {
            let mut master = self.master.lock();
            master.graph = Some(graph.clone());
            self.publish(&master);
        }
        if let Some(at) = self.graph_dir() {
            let model = vectors.model();
            if let Err(error) = graph.save(&at, &model.sha256, &row_keys, model.dimension) {
                warn!(error = error_line(&error), "the graph was not saved; it will be built again at the next start");
            }
        }
        Ok(())
    }
}

/// The keys of embedded texts, for the log.
fn text_keys(embedded: &[(&Vec<CardKeys>, Stored)]) -> String {
    embedded.iter().map(|(group, _)| group[0].text.to_string()).collect::<Vec<_>>().join(" ")
}

/// Whether a graph of `len` rows serves badly: too many of them removed, or too many vectors beside it.
fn is_worn(len: usize, n_dead: usize, tail: usize) -> bool {
    n_dead > len / 5 || tail > 1_000.max(len / 10)
}

/// An error and its causes on one clean line.
fn error_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    sanitize(&line, 300).replace('\n', " ")
}
