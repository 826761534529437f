//! The index as a service: takes views of the catalog, publishes snapshots.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use toolscout_catalog::CatalogView;
use toolscout_embed::Embed;
use toolscout_store::Store;

use crate::dense::DenseMode;
use crate::dense::graph::GraphOptions;
use crate::{Error, IndexProgress, Snapshot};

/// Where and how to index.
#[derive(Debug, Clone)]
pub struct IndexOptions {
    /// The folder for the word index and the graph. Left out: memory alone, for tests and evals.
    pub dir: Option<PathBuf>,
    /// How vectors are searched.
    pub dense: DenseMode,
    /// With [`DenseMode::Auto`]: the number of vectors from which the graph is used. See `benches/dense.rs` for the measure.
    pub hnsw_from: usize,
    /// How the graph is knit.
    pub graph: GraphOptions,
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self { dir: None, dense: DenseMode::Auto, hnsw_from: 40_000, graph: GraphOptions::default() }
    }
}

/// Figures about the index, for `doctor`, `/readyz` and tests.
#[derive(Debug, Clone, Serialize)]
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
pub struct IndexHost {}

impl IndexHost {
    /// Opens the index in its folder, or makes one. Without an embedder answers rest on words alone.
    pub fn open(options: IndexOptions, store: &Store, embedder: Option<Arc<dyn Embed>>) -> Result<Arc<Self>, Error> {
        let _ = (options, store, embedder);
        unimplemented!("lands next")
    }

    /// Brings the index to this view. When it returns, words answer from the new generation; vectors that are there already
    /// are kept, missing ones follow from a background thread, each fuller state published as a new snapshot. Blocks for the
    /// time the changed cards take to index: keep it off the async threads.
    pub fn apply(&self, view: &Arc<CatalogView>) -> Result<(), Error> {
        let _ = view;
        unimplemented!("lands next")
    }

    /// The newest state. Lock-free.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        unimplemented!("lands next")
    }

    /// Waits until nothing is left to embed, build or save, at most so long; whether it came to that.
    pub fn wait_settled(&self, at_most: Duration) -> bool {
        let _ = at_most;
        unimplemented!("lands next")
    }

    /// Figures.
    pub fn stats(&self) -> IndexStats {
        unimplemented!("lands next")
    }

    /// Stops the background thread after the batch at hand. Snapshots stay valid; what was embedded is kept.
    pub fn close(&self) {}
}
