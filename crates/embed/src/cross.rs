//! Two texts in, one number out: how well does this answer that?
//!
//! A cross-encoder reads query and text together, which says more than the angle between two vectors and costs a pass
//! through the model per pair: it is for the best few. Its folder has a manifest like an embedding model's, with
//! `"kind": "cross_encoder"`; the model has one output, `logits`, whose first number is the score.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fastembed::{RerankInitOptionsUserDefined, TextRerank, UserDefinedRerankingModel};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::embedder::{SPINNING, SPINNING_ENDS, cut, tokenizer_files};
use crate::manifest::Files;
use crate::runtime::runtime;
use crate::{EmbedOptions, Error, ModelSource};

/// What `kind` says in the manifest of a cross-encoder.
const KIND: &str = "cross_encoder";

/// The file `manifest.json` in a cross-encoder's folder, format 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrossManifest {
    /// 1.
    pub format: u32,
    /// `cross_encoder`.
    #[serde(default)]
    pub kind: String,
    /// The model's name.
    pub id: String,
    /// A pair beyond this many tokens is cut, the longer text first.
    pub max_tokens: usize,
    /// The token that fills up a shorter text.
    pub pad_token: String,
    /// The model's files.
    pub files: Files,
    /// The licence of the weights, as an SPDX expression.
    pub licence: String,
    /// Where the weights come from, for people.
    #[serde(default)]
    pub source: serde_json::Value,
    /// How the files were made from them, for people.
    #[serde(default)]
    pub how_made: String,
}

impl CrossManifest {
    /// Reads a folder's manifest and refuses what this program cannot do. Looks at no other file.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let source = ModelSource::Dir(folder.to_owned());
        let path = source.path("manifest.json");
        let refuse = |key, found: &str, supported| {
            let found = toolscout_core::text::preview(found);
            Err(Error::Unsupported { path: path.clone(), key, found, supported })
        };
        let bytes = source.bytes("manifest.json")?;
        let invalid = |source| Error::Manifest { path: path.clone(), source };
        // Before the rest: an embedding model's manifest lacks nothing else that would say what is wrong with it.
        let any: serde_json::Value = serde_json::from_slice(&bytes).map_err(invalid)?;
        let kind = any.get("kind").and_then(serde_json::Value::as_str).unwrap_or("an embedding model");
        if kind != KIND {
            return refuse("kind", kind, "`cross_encoder`");
        }
        let manifest: Self = serde_json::from_slice(&bytes).map_err(invalid)?;
        if manifest.format != 1 {
            return refuse("format", &manifest.format.to_string(), "1");
        }
        // Three places go to the marks around and between the two texts.
        if !(5..=65_536).contains(&manifest.max_tokens) {
            return refuse("max_tokens", &manifest.max_tokens.to_string(), "5 to 65536");
        }
        if let Some(name) = manifest.files.stray() {
            return refuse("files", name, "a plain file name");
        }
        Ok(manifest)
    }
}

/// A cross-encoder, ready.
pub struct CrossEncoder {
    manifest: CrossManifest,
    session: Mutex<TextRerank>,
}

impl CrossEncoder {
    /// Checks the folder's files against their manifest, loads ONNX Runtime if this process has not yet, opens the model and
    /// tries it once. Of the options, threads, waiting and runtime count.
    pub fn load(folder: &Path, options: &EmbedOptions) -> Result<Self, Error> {
        let manifest = CrossManifest::read(folder)?;
        let files = manifest.files.checked(&ModelSource::Dir(folder.to_owned()))?;
        let runtime = runtime(&options.runtime)?;
        let tokenizer_files = tokenizer_files(files.tokenizer.into_owned(), manifest.max_tokens, &manifest.pad_token);
        let init = RerankInitOptionsUserDefined::new()
            .with_environment(runtime.environment)
            .with_max_length(manifest.max_tokens)
            .with_intra_threads(options.query_threads.max(1))
            .with_session_config(SPINNING, options.wait.allows_spinning())
            .with_session_config(SPINNING_ENDS, "1");
        let model = UserDefinedRerankingModel::new(files.model.into_owned(), tokenizer_files);
        let refused = |source| Error::Open { model: manifest.id.clone(), source };
        let session = TextRerank::try_new_from_user_defined(model, init).map_err(|error| refused(Box::new(error)))?;
        let encoder = Self { session: Mutex::new(session), manifest: manifest.clone() };
        // fastembed panics at an output with another number of dimensions than two: that has to show now.
        let trial = || encoder.weigh("search the web", &["Search the web."], &|| true);
        match catch_unwind(AssertUnwindSafe(trial)) {
            Ok(tried) => tried.map(|_| encoder),
            Err(_) => Err(refused("its output `logits` is not one row per pair".into())),
        }
    }

    /// The manifest of the model.
    pub fn manifest(&self) -> &CrossManifest {
        &self.manifest
    }

    /// How well each text answers the query, on the model's own scale: bigger is better. Asks between two pairs whether to go
    /// on; `None` when it was told to stop. Blocks for as many passes as there are texts.
    pub fn weigh(&self, query: &str, texts: &[&str], go_on: &dyn Fn() -> bool) -> Result<Option<Vec<f32>>, Error> {
        let failed = |source| Error::Inference { model: self.manifest.id.clone(), source };
        let mut session = self.session.lock();
        let mut scores = Vec::with_capacity(texts.len());
        let query = cut(query, self.manifest.max_tokens);
        for text in texts {
            if !go_on() {
                return Ok(None);
            }
            // One by one, so that a pair's score does not depend on its neighbours.
            let text = cut(text, self.manifest.max_tokens);
            let ranked = session.rerank(query, [text], false, Some(1)).map_err(|error| failed(Box::new(error)))?;
            match ranked.first().map(|one| one.score) {
                Some(score) if score.is_finite() => scores.push(score),
                _ => return Err(failed("it gave no number that is finite".into())),
            }
        }
        Ok(Some(scores))
    }
}

impl std::fmt::Debug for CrossEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CrossEncoder").field("manifest", &self.manifest).finish_non_exhaustive()
    }
}
