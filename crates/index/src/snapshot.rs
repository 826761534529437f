//! One published state of both indexes over one generation of the catalog.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toolscout_catalog::CatalogView;
use toolscout_core::{Generation, ToolCard};

use crate::allow::{Allow, DocIdx};
use crate::dense::late::{LateMatch, LateQuery};
use crate::dense::{DenseHit, DenseKind, DenseSnapshot};
use crate::lexical::{LexicalHit, LexicalOptions, LexicalRun, LexicalSnapshot, TermMatch};
use crate::slips::Slip;

/// What an answer from this snapshot rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexState {
    /// Words and meaning, for every tool.
    Hybrid,
    /// Words for every tool, meaning for some: the rest is being embedded, or could not be.
    HybridPartial,
    /// Words alone.
    Lexical,
}

impl IndexState {
    /// The word used in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hybrid => "hybrid",
            Self::HybridPartial => "hybrid_partial",
            Self::Lexical => "lexical",
        }
    }
}

/// How far embedding has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexProgress {
    /// What answers rest on.
    pub state: IndexState,
    /// Tools with a vector.
    pub embedded: usize,
    /// Tools.
    pub total: usize,
    /// Why it is not all of them, in words, unless it is.
    pub reason: Option<String>,
}

/// An immutable state of the index. Cheap to hold; answers from any thread.
pub struct Snapshot {
    pub(crate) view: Arc<CatalogView>,
    pub(crate) lexical: Option<Arc<LexicalSnapshot>>,
    pub(crate) dense: Option<DenseSnapshot>,
    pub(crate) progress: IndexProgress,
}

impl Snapshot {
    /// The snapshot of an empty catalog.
    pub(crate) fn empty() -> Self {
        let progress = IndexProgress { state: IndexState::Lexical, embedded: 0, total: 0, reason: None };
        Self { view: Arc::default(), lexical: None, dense: None, progress }
    }

    /// Which generation of the catalog it speaks of.
    pub fn generation(&self) -> Generation {
        self.view.generation
    }

    /// What answers rest on.
    pub fn state(&self) -> IndexState {
        self.progress.state
    }

    /// The same with counts and the reason.
    pub fn progress(&self) -> &IndexProgress {
        &self.progress
    }

    /// The catalog's view that it was made from.
    pub fn view(&self) -> &Arc<CatalogView> {
        &self.view
    }

    /// How many documents there are: tools.
    pub fn len(&self) -> usize {
        self.view.tools.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.view.tools.is_empty()
    }

    /// A document's card. Panics beyond [`Snapshot::len`].
    pub fn card(&self, doc: DocIdx) -> &Arc<ToolCard> {
        &self.view.tools[doc as usize]
    }

    /// The `k` allowed documents that share most with the text's words, best first.
    pub fn lexical(&self, text: &str, allow: &Allow, k: usize) -> Vec<LexicalHit> {
        self.lexical_run(text, allow, &LexicalOptions::default()).top(k)
    }

    /// The whole outcome of a word search: scores of all documents, and why.
    pub fn lexical_run(&self, text: &str, allow: &Allow, options: &LexicalOptions) -> LexicalRun {
        self.lexical.as_ref().map_or_else(LexicalRun::empty, |lexical| lexical.run(text, allow, options))
    }

    /// The slips of the keyboard in a query, and what was meant, as the front page of `slips` says. `knows`: whether the model
    /// knows a word, in small letters. `allow` is asked only if a word is in doubt.
    pub fn slips(&self, text: &str, knows: &dyn Fn(&str) -> bool, allow: impl FnOnce() -> Allow) -> Vec<Slip> {
        self.lexical.as_ref().map_or_else(Vec::new, |lexical| lexical.slips(text, knows, allow))
    }

    /// What each term in each field adds to a document's score in [`Snapshot::lexical`]. Adds up to that score.
    pub fn lexical_terms(&self, text: &str, doc: DocIdx) -> Vec<TermMatch> {
        let run = self.lexical_run(text, &Allow::All, &LexicalOptions::default());
        run.details(&[doc]).pop().unwrap_or_default().terms
    }

    /// The `k` allowed documents whose vectors are nearest, nearest first. None while there are no vectors, or when the
    /// query's has another dimension.
    pub fn dense(&self, vector: &[f32], allow: &Allow, k: usize) -> Vec<DenseHit> {
        self.dense_answer(vector, allow, k).0
    }

    /// The same, and who found them.
    pub fn dense_answer(&self, vector: &[f32], allow: &Allow, k: usize) -> (Vec<DenseHit>, DenseKind) {
        self.dense.as_ref().map_or((Vec::new(), DenseKind::Exact), |dense| dense.search(vector, allow, k))
    }

    /// The exact cosine of one document's vector, if it has one.
    pub fn cosine(&self, doc: DocIdx, vector: &[f32]) -> Option<f32> {
        self.dense.as_ref()?.cosine(doc, vector)
    }

    /// What the query's tokens find in one document, if both have token vectors.
    pub fn late(&self, doc: DocIdx, query: &LateQuery) -> Option<LateMatch> {
        self.dense.as_ref()?.late(doc, query)
    }

    /// The texts of a document's tokens, in the order that [`LateMatch::best`] names them by.
    pub fn late_words(&self, doc: DocIdx) -> impl Iterator<Item = &str> {
        self.dense.iter().flat_map(move |dense| dense.late_words(doc))
    }

    /// The cosine of the query with the mean of all tools of this document's upstream.
    pub fn centroid_cosine(&self, doc: DocIdx, vector: &[f32]) -> Option<f32> {
        self.dense.as_ref()?.centroid_cosine(doc, vector)
    }

    /// Who is asked for near vectors: see [`DenseKind`]. Narrow allow-sets are searched exactly even where it says `hnsw`.
    pub fn dense_kind(&self) -> DenseKind {
        let graph = self.dense.as_ref().and_then(|dense| dense.graph.as_ref());
        if graph.is_some() { DenseKind::Hnsw } else { DenseKind::Exact }
    }
}
