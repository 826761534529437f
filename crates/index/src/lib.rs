//! Which cards are near this query?
//!
//! [`IndexHost::apply`] takes a view of the catalog, writes what changed into the word index, and publishes an immutable
//! [`Snapshot`]; one background thread embeds what has no vector yet and publishes fuller ones. A snapshot answers twice:
//! by words ([`lexical`], BM25F over tantivy's postings) and by meaning ([`DenseHit`], exact or through an HNSW graph), always
//! within an [`Allow`]-set, so that what a caller may not see is never a candidate.
//!
//! Everything here is derived: a folder that is lost or damaged is rebuilt, vectors come back from the store, and a text
//! that was embedded once is never embedded again. Decides no policy, and shows no type of tantivy or hnsw_rs.
//! Start at [`IndexHost`], then [`Snapshot`], then [`analyser`].
//!
//! ```no_run
//! # fn f(view: &std::sync::Arc<toolscout_catalog::CatalogView>) -> Result<(), Box<dyn std::error::Error>> {
//! use toolscout_index::{Allow, IndexHost, IndexOptions};
//! use toolscout_store::Store;
//!
//! let host = IndexHost::open(IndexOptions::default(), &Store::temporary()?, None)?;
//! host.apply(view)?;
//! let snapshot = host.snapshot();
//! for hit in snapshot.lexical("open an issue", &Allow::All, 5) {
//!     let card = snapshot.card(hit.doc);
//! }
//! # Ok(()) }
//! ```

mod allow;
pub mod analyser;
mod dense;
mod error;
pub mod glossary;
mod host;
mod keys;
pub mod lexical;
mod slips;
mod snapshot;
mod spelling;
mod text;
mod vectors;
mod words;

pub use allow::{Allow, DocIdx, DocSet};
pub use dense::graph::GraphOptions;
pub use dense::late::{LateMatch, LateQuery, whole_word};
pub use dense::{DenseHit, DenseKind, DenseMode};
pub use error::Error;
pub use host::{IndexHost, IndexOptions, IndexStats};
pub use lexical::{LexField, LexicalHit, LexicalOptions, LexicalRun, MatchDetails, TermMatch, WordMatch};
pub use slips::{Slip, mended};
pub use snapshot::{IndexProgress, IndexState, Snapshot};
pub use text::card_text;
