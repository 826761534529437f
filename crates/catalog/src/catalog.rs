//! Listings in, generations out.

use std::io::{BufRead, Write};
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;
use toolscout_core::{Generation, Timestamp, ToolId, UpstreamId};
use toolscout_store::Store;

use crate::view::CatalogView;
use crate::{Error, Imported, Listing, Overlays, UpstreamState};

/// The catalog. Changes go one after another; [`Catalog::view`] never waits for them.
pub struct Catalog {
    view: ArcSwap<CatalogView>,
}

/// What one step did.
#[derive(Clone)]
pub struct Change {
    /// The view after it.
    pub view: Arc<CatalogView>,
    /// The tools it touched; empty also when only an upstream's state changed.
    pub diff: Diff,
}

/// The difference between two generations, each list sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Tools that only the later one has.
    pub added: Vec<ToolId>,
    /// Tools of both whose definition or card differs.
    pub changed: Vec<ToolId>,
    /// Tools that only the earlier one has.
    pub removed: Vec<ToolId>,
}

impl Diff {
    /// Whether no tool differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Called after a generation was published, on the thread that made it. See [`Catalog::subscribe`].
pub type Subscriber = Box<dyn Fn(&Change) + Send + Sync>;

impl Catalog {
    /// Opens the catalog in a store and publishes its last generation.
    pub fn open(store: &Store, overlays: Overlays) -> Result<Self, Error> {
        let _ = (store, overlays);
        unimplemented!("lands with the next step")
    }

    /// The newest generation. Takes no lock.
    pub fn view(&self) -> Arc<CatalogView> {
        self.view.load_full()
    }

    /// Takes a listing in. A new generation comes only if a tool, or something shown of the upstream, changed.
    /// A tool is removed only because a complete listing lacks it.
    pub fn apply(&self, listing: Listing) -> Result<Change, Error> {
        let _ = listing;
        unimplemented!("lands with the next step")
    }

    /// Remembers that a crawl failed, and how. Keeps every tool. The same state again keeps its `since`.
    /// An upstream that was never listed gets a row without tools.
    pub fn mark(
        &self,
        upstream: &UpstreamId,
        state: UpstreamState,
        reason: &str,
        at: Timestamp,
    ) -> Result<Change, Error> {
        let _ = (upstream, state, reason, at);
        unimplemented!("lands with the next step")
    }

    /// Drops an upstream and its tools: it was taken out of the configuration. Unknown ids change nothing.
    pub fn forget(&self, upstream: &UpstreamId) -> Result<Change, Error> {
        let _ = upstream;
        unimplemented!("lands with the next step")
    }

    /// A tool's definition whole, as it was listed.
    pub fn raw(&self, id: &ToolId) -> Result<Option<Value>, Error> {
        let _ = id;
        unimplemented!("lands with the next step")
    }

    /// What differs between two generations of the kept history.
    pub fn diff(&self, from: Generation, to: Generation) -> Result<Diff, Error> {
        let _ = (from, to);
        unimplemented!("lands with the next step")
    }

    /// Calls `f` after each new generation, in order, on the applying thread, which waits for it.
    /// `f` must not change the catalog.
    pub fn subscribe(&self, f: Subscriber) {
        let _ = f;
        unimplemented!("lands with the next step")
    }

    /// Fills the catalog from a `tools.jsonl`: each server in it becomes an upstream whose listing is what the file has.
    pub fn import_jsonl(&self, file: impl BufRead, at: Timestamp) -> Result<Imported, Error> {
        let _ = (file, at);
        unimplemented!("lands with the next step")
    }

    /// Writes every tool as a line of `tools.jsonl`, by id. Returns how many.
    pub fn export_jsonl(&self, file: impl Write) -> Result<usize, Error> {
        let _ = file;
        unimplemented!("lands with the next step")
    }
}
