//! Trees and batches.

use std::sync::Arc;

use crate::Error;
use crate::engine::guard;
use crate::store::Inner;

/// The trees there are. Each has one owner, who alone knows its keys and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TreeName {
    /// `catalog`: definitions, tools, upstreams, generations.
    Catalog,
    /// `index`: embeddings by model and content hash.
    Vectors,
    /// `gateway`: evidence by selection id.
    Selections,
    /// `quality`: outcomes, decisions, and what the older ones came to.
    Quality,
    /// `cli` for `upstream`: which protocol era an upstream speaks.
    Eras,
    /// Small facts about the store itself and about who used it.
    Meta,
}

impl TreeName {
    pub(crate) const ALL: [Self; 6] =
        [Self::Catalog, Self::Vectors, Self::Selections, Self::Quality, Self::Eras, Self::Meta];

    /// The name on disk. Never changes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::Vectors => "vectors",
            Self::Selections => "selections",
            Self::Quality => "quality",
            Self::Eras => "eras",
            Self::Meta => "meta",
        }
    }

    /// What a tree promises.
    pub fn durability(self) -> Durability {
        match self {
            Self::Catalog | Self::Quality | Self::Meta => Durability::Kept,
            Self::Vectors | Self::Selections | Self::Eras => Durability::Relaxed,
        }
    }
}

/// What an acknowledged write is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It is in the synced journal: it survives kill, power loss and damaged engine files. Costs one sync per batch.
    Kept,
    /// It survives a kill once half a second has passed, in the order of writing; a damaged store loses it.
    Relaxed,
}

/// Writes that happen together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Key and new value; `None` removes. Later entries win.
    pub(crate) writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// Sets a row.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: Vec<u8>) {
        self.writes.push((key.into(), Some(value)));
    }

    /// Removes a row, if it is there.
    pub fn remove(&mut self, key: impl Into<Vec<u8>>) {
        self.writes.push((key.into(), None));
    }

    /// How many writes are in it.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// The key under which a kept tree remembers how far into the journal it is. Hidden from everyone.
pub(crate) const POSITION_KEY: &[u8] = b"\0journal";

/// One named tree of a store. Cheap to clone; reads and writes may come from any thread. Calls block on the disk.
#[derive(Clone)]
pub struct Tree {
    pub(crate) name: TreeName,
    pub(crate) tree: sled::Tree,
    pub(crate) inner: Arc<Inner>,
}

impl Tree {
    /// Which tree this is.
    pub fn name(&self) -> TreeName {
        self.name
    }

    /// The row under this key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if key == POSITION_KEY {
            return Ok(None);
        }
        let found = guard(|| self.tree.get(key)).map_err(|trouble| self.inner.error("read", trouble))?;
        Ok(found.map(|bytes| bytes.to_vec()))
    }

    /// Sets one row.
    pub fn put(&self, key: &[u8], value: Vec<u8>) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.put(key, value);
        self.apply(batch)
    }

    /// Removes one row, if it is there.
    pub fn remove(&self, key: &[u8]) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.remove(key);
        self.apply(batch)
    }

    /// Writes a batch whole or not at all. What the tree's [`Durability`] promises holds when this returns.
    pub fn apply(&self, batch: Batch) -> Result<(), Error> {
        debug_assert!(batch.writes.iter().all(|(key, _)| key != POSITION_KEY), "the position key is the store's own");
        if batch.is_empty() {
            return Ok(());
        }
        self.inner.apply(self.name, &self.tree, batch)
    }

    /// Every row whose key starts with `prefix`, by key. Rows written meanwhile may or may not be seen.
    pub fn scan(&self, prefix: &[u8]) -> Scan {
        Scan { rows: self.tree.scan_prefix(prefix), inner: self.inner.clone(), failed: false }
    }

    /// How many rows there are. Counts them one by one.
    pub fn len(&self) -> Result<usize, Error> {
        self.scan(b"").try_fold(0, |n, row| row.map(|_| n + 1))
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> Result<bool, Error> {
        self.scan(b"").next().transpose().map(|row| row.is_none())
    }

    /// Waits until everything written so far is with the operating system.
    pub fn flush(&self) -> Result<(), Error> {
        guard(|| self.tree.flush()).map_err(|trouble| self.inner.error("flush", trouble))?;
        Ok(())
    }
}

/// The iterator of [`Tree::scan`]. Ends after the first error.
pub struct Scan {
    rows: sled::Iter,
    inner: Arc<Inner>,
    failed: bool,
}

impl Iterator for Scan {
    type Item = Result<(Vec<u8>, Vec<u8>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        loop {
            match guard(|| self.rows.next().transpose()) {
                Ok(Some((key, _))) if key.as_ref() == POSITION_KEY => {}
                Ok(Some((key, value))) => return Some(Ok((key.to_vec(), value.to_vec()))),
                Ok(None) => return None,
                Err(trouble) => {
                    self.failed = true;
                    return Some(Err(self.inner.error("scan", trouble)));
                }
            }
        }
    }
}
