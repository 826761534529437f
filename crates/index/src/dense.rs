//! Meaning: which vectors point the same way as the query's?
//!
//! [`Rows`] holds the vectors, [`scan`] searches them all and is exact, [`graph`] searches a few through an HNSW graph and is
//! not. Both end with the same cosine in f32 over the same rows, so a document's score never depends on who found it.

pub(crate) mod graph;
pub(crate) mod late;
mod products;
pub(crate) mod rows;
pub(crate) mod scan;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::allow::{Allow, DocIdx};
use graph::Graph;
use late::{LateMatch, LateQuery, LateRows};
use rows::{Quantised, Rows};

/// A document near the query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DenseHit {
    /// Which one.
    pub doc: DocIdx,
    /// Its cosine with the query, −1 to 1.
    pub cosine: f32,
}

/// How vectors are searched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DenseMode {
    /// Exactly below [`crate::IndexOptions::hnsw_from`] vectors, through the graph from there on.
    #[default]
    Auto,
    /// Always exactly. For evals: the same catalog gives the same answer on every build of the index.
    Exact,
    /// Always through the graph.
    Hnsw,
}

/// Who found the nearest documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DenseKind {
    /// Every vector was looked at.
    Exact,
    /// The graph proposed, exact cosines decided.
    Hnsw,
}

impl DenseKind {
    /// The word used in evidence.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Hnsw => "hnsw",
        }
    }
}

/// The vectors of one snapshot. Rows may be more than documents: a removed tool leaves its row until the next compaction.
#[derive(Clone)]
pub(crate) struct DenseSnapshot {
    pub(crate) rows: Rows,
    /// By row too.
    pub(crate) late: LateRows,
    /// Document → upstream, by its place among the catalog's upstreams.
    pub(crate) upstream_of: Arc<[u32]>,
    /// Upstream → the mean of its tools' vectors, of length 1; one behind the other.
    pub(crate) centroids: Arc<[f32]>,
    /// Document → row, or [`NONE`] where there is no vector yet.
    pub(crate) row_of: Arc<[u32]>,
    /// Row → document, or [`NONE`] for a tombstone.
    pub(crate) doc_of: Arc<[DocIdx]>,
    /// A graph over the first `graph.len()` rows. The rows behind it are few and searched exactly.
    pub(crate) graph: Option<Arc<Graph>>,
}

pub(crate) const NONE: u32 = u32::MAX;

/// A graph is asked only where at least this share of the rows may be answered: `search_filter` and oversampling both get
/// slower than looking at the few allowed rows directly.
const MIN_SHARE_FOR_GRAPH: f64 = 0.3;

impl DenseSnapshot {
    pub(crate) fn cosine(&self, doc: DocIdx, query: &[f32]) -> Option<f32> {
        let row = *self.row_of.get(doc as usize).filter(|row| **row != NONE)?;
        (query.len() == self.rows.dimension()).then(|| rows::dot(self.rows.vector(row), query))
    }

    /// What the query's tokens find in a document, if both have token vectors.
    pub(crate) fn late(&self, doc: DocIdx, query: &LateQuery) -> Option<LateMatch> {
        let row = *self.row_of.get(doc as usize).filter(|row| **row != NONE)?;
        query.find_in(self.late.get(row))
    }

    /// The texts of a document's tokens.
    pub(crate) fn late_words(&self, doc: DocIdx) -> impl Iterator<Item = &str> {
        let row = self.row_of.get(doc as usize).filter(|row| **row != NONE);
        row.into_iter().flat_map(|row| self.late.get(*row).words())
    }

    /// The cosine of the query with the middle of a document's upstream.
    pub(crate) fn centroid_cosine(&self, doc: DocIdx, query: &[f32]) -> Option<f32> {
        let dimension = self.rows.dimension();
        let at = *self.upstream_of.get(doc as usize)? as usize * dimension;
        (query.len() == dimension).then(|| rows::dot(&self.centroids[at..at + dimension], query))
    }

    /// The `k` nearest allowed documents, nearest first, among equals by document.
    pub(crate) fn search(&self, query: &[f32], allow: &Allow, k: usize) -> (Vec<DenseHit>, DenseKind) {
        if query.len() != self.rows.dimension() || k == 0 {
            return (Vec::new(), DenseKind::Exact);
        }
        let n_allowed = allow.count(self.row_of.len());
        if let Some(graph) = &self.graph {
            let share = n_allowed as f64 / self.doc_of.len().max(1) as f64;
            if share >= MIN_SHARE_FOR_GRAPH && n_allowed > 2 * k {
                let hits = self.search_graph(graph, query, allow, k, share);
                if hits.len() == k {
                    return (hits, DenseKind::Hnsw);
                }
            }
        }
        (scan::nearest(&self.rows, 0, &self.doc_of, query, allow, k), DenseKind::Exact)
    }

    fn search_graph(&self, graph: &Graph, query: &[f32], allow: &Allow, k: usize, share: f64) -> Vec<DenseHit> {
        // Ask for so many that somewhat more than `k` remain after filtering: int8 order is not f32 order, and what is
        // allowed is not spread evenly. Each one more is time; too few all the same: the caller searches exactly.
        let n_asked = (1.25 * k as f64 / share).ceil() as usize + 32;
        let mut hits: Vec<DenseHit> = graph
            .nearest(&self.rows, &Quantised::of(query), n_asked)
            .into_iter()
            .filter_map(|row| {
                let doc = *self.doc_of.get(row as usize)?;
                let wanted = doc != NONE && allow.contains(doc);
                wanted.then(|| DenseHit { doc, cosine: rows::dot(self.rows.vector(row), query) })
            })
            .collect();
        hits.extend(scan::nearest(&self.rows, graph.len(), &self.doc_of, query, allow, k));
        scan::keep_best(&mut hits, k);
        hits
    }
}
