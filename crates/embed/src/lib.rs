//! Text in, vectors out: what does this sentence mean?
//!
//! [`Embed`] is the one trait the rest of the house knows. [`Embedder`] is the real thing: a model folder of `models/`
//! (or the copy inside the binary) is checked against its manifest, ONNX Runtime is loaded once per process, and one
//! forward pass gives the pooled vector and, on request, a vector per token. [`QueryEmbedder`] stands in front of it for
//! queries: it remembers recent ones and lets only so many callers in at once. [`CrossEncoder`] is the other kind of model:
//! two texts in, one number out.
//!
//! Knows nothing of tools, MCP or ranking. The same text gives the same vector, bit for bit, whatever else is embedded
//! with it. Every call blocks for milliseconds: keep it off the async threads.
//!
//! ```no_run
//! use toolscout_embed::{Embed, Embedder, EmbedOptions, ModelSource, Want};
//! let embedder = Embedder::load(&ModelSource::Builtin, &EmbedOptions::default())?;
//! let vectors = embedder.embed(&["pay an invoice", "send money"], Want::Pooled)?;
//! let cosine = toolscout_embed::dot(&vectors[0].pooled, &vectors[1].pooled);
//! assert!(cosine > 0.3);
//! # Ok::<(), toolscout_embed::Error>(())
//! ```

pub mod cross;
pub mod embedder;
pub mod embedding;
pub mod error;
pub mod manifest;
pub mod query;
pub mod runtime;

pub use cross::{CrossEncoder, CrossManifest};
pub use embedder::{EmbedOptions, Embedder, Wait};
pub use embedding::{Embed, Embedding, ModelInfo, TokenVectors, Want, dot, normalize};
pub use error::Error;
pub use manifest::{LateOutput, Manifest, ModelSource};
pub use query::{QueryEmbedder, QueryOptions, QueryVectors};
pub use runtime::{RuntimeInfo, RuntimeOptions, Unpack};
