//! Opening a folder, whatever state it is in.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::engine::{Trouble, guard};
use crate::journal::{Journal, Position};
use crate::tree::{Batch, Durability, POSITION_KEY, Tree, TreeName};
use crate::{Damage, Error, row};

/// Format of the folder as a whole.
const FORMAT: u32 = 1;
/// sled's page cache. Its default is a gigabyte; our readers keep what they need in memory themselves.
const CACHE_BYTES: u64 = 32 << 20;

/// A folder of trees, open in this process alone. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// What [`Store::open`] found.
pub struct Opened {
    /// The store, ready.
    pub store: Store,
    /// Set if the files were damaged and had to be replaced.
    pub damage: Option<Damage>,
}

pub(crate) struct Inner {
    // Dropped in this order: the engine first, the lock after it, a temporary folder last.
    db: sled::Db,
    /// `None` in temporary stores.
    journal: Option<Mutex<Journal>>,
    dir: PathBuf,
    _lock: Option<File>,
    _temporary: Option<tempfile::TempDir>,
}

impl Store {
    /// Opens the store in `dir`, which is made if it is missing.
    ///
    /// Damaged engine files are renamed (`sled.damaged-1`, …), a fresh engine is opened in their place and the kept trees
    /// are refilled from the journal; [`Opened::damage`] tells. Batches that the journal has and the engine lost are redone.
    ///
    /// A folder that is held is tried again for half a second: a child process that this one just started shares its locks from
    /// fork to exec, so a store closed a moment ago may look held.
    pub fn open(dir: &Path) -> Result<Opened, Error> {
        for _ in 0..25 {
            match Self::open_now(dir) {
                Err(Error::Busy { .. }) => std::thread::sleep(Duration::from_millis(20)),
                outcome => return outcome,
            }
        }
        Self::open_now(dir)
    }

    fn open_now(dir: &Path) -> Result<Opened, Error> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { doing, path, source }
        };
        std::fs::create_dir_all(dir).map_err(io("make folder", dir))?;
        let lock = lock(dir)?;
        check_format(dir)?;
        let engine_dir = dir.join("sled");
        let marker = dir.join(MARKER);
        let mut damage = None;
        let marked = std::fs::read_to_string(&marker).ok();
        let opened = match marked {
            Some(reason) => Err(Trouble::Damaged(toolscout_core::text::preview(&reason))),
            None => open_engine(&engine_dir),
        };
        let db = match opened {
            Ok(db) => db,
            Err(Trouble::Busy) => return Err(Error::Busy { dir: dir.to_owned() }),
            Err(Trouble::Io(source)) => return Err(Error::Io { doing: "open", path: engine_dir, source }),
            Err(Trouble::Damaged(reason)) => {
                let set_aside = free_name(&engine_dir, "damaged");
                if engine_dir.exists() {
                    std::fs::rename(&engine_dir, &set_aside).map_err(io("set aside", &engine_dir))?;
                }
                let _ = std::fs::remove_file(&marker);
                tracing::error!(set_aside = %set_aside.display(), reason, "damaged store set aside");
                damage = Some(Damage { set_aside, reason, n_refilled: 0, n_bad_lines: 0 });
                open_engine(&engine_dir).map_err(|trouble| trouble_to_error(trouble, dir, "open"))?
            }
        };
        let journal_path = dir.join("journal.jsonl");
        let mut journal = Journal::open(&journal_path).map_err(io("open", &journal_path))?;
        let Redone { n_rows: n_refilled, n_bad_lines, is_behind } = redo(&db, &mut journal, dir, &journal_path)?;
        if let Some(damage) = &mut damage {
            damage.n_refilled = n_refilled;
            damage.n_bad_lines = n_bad_lines;
        } else if n_refilled > 0 {
            tracing::info!(n_rows = n_refilled, "rows redone from the journal");
        }
        let journal = Some(Mutex::new(journal));
        let inner = Inner { db, journal, dir: dir.to_owned(), _lock: Some(lock), _temporary: None };
        if let Some(journal) = inner.journal.as_ref().filter(|_| is_behind) {
            inner.compact(&mut lock_journal(journal));
        }
        Ok(Opened { store: Self { inner: Arc::new(inner) }, damage })
    }

    /// A store in a folder of its own that vanishes with the last clone. Nothing is synced: for evals and tests.
    pub fn temporary() -> Result<Self, Error> {
        let io = |source| Error::Io { doing: "make a temporary folder in", path: std::env::temp_dir(), source };
        let temporary = tempfile::Builder::new().prefix("toolscout-").tempdir().map_err(io)?;
        let dir = temporary.path().to_owned();
        let db = guard(|| config(&dir.join("sled")).flush_every_ms(None).open())
            .map_err(|trouble| trouble_to_error(trouble, &dir, "open"))?;
        let inner = Inner { db, journal: None, dir, _lock: None, _temporary: Some(temporary) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// One of its trees.
    pub fn tree(&self, name: TreeName) -> Result<Tree, Error> {
        let tree = self.inner.open_tree(name)?;
        Ok(Tree { name, tree, inner: self.inner.clone() })
    }

    /// Bytes on disk: engine files and journal.
    pub fn size_on_disk(&self) -> Result<u64, Error> {
        let engine = guard(|| self.inner.db.size_on_disk()).map_err(|trouble| self.inner.error("measure", trouble))?;
        let journal = self.inner.journal.as_ref().map_or(0, |journal| lock_journal(journal).position().offset);
        Ok(engine + journal)
    }
}

/// A file of this name says that the engine's files were found damaged in use.
const MARKER: &str = "damaged";

impl Inner {
    /// An error of ours for trouble in use. Damage leaves a marker, so that the next open acts on it.
    pub(crate) fn error(&self, doing: &'static str, trouble: Trouble) -> Error {
        if let Trouble::Damaged(reason) = &trouble {
            let _ = std::fs::write(self.dir.join(MARKER), reason);
            tracing::error!(dir = %self.dir.display(), reason, "the store is damaged");
        }
        trouble_to_error(trouble, &self.dir, doing)
    }

    fn open_tree(&self, name: TreeName) -> Result<sled::Tree, Error> {
        guard(|| self.db.open_tree(name.as_str())).map_err(|trouble| self.error("open a tree of", trouble))
    }

    /// Journal first, engine second, both under the journal's lock: so the engine is never ahead, and the last position
    /// that it knows has everything before it.
    pub(crate) fn apply(&self, name: TreeName, tree: &sled::Tree, batch: Batch) -> Result<(), Error> {
        let kept = name.durability() == Durability::Kept;
        let Some(journal) = self.journal.as_ref().filter(|_| kept) else {
            return guard(|| tree.apply_batch(engine_batch(batch, None)))
                .map_err(|trouble| self.error("write", trouble));
        };
        let mut journal = lock_journal(journal);
        let before = journal.position();
        let position = journal.append(name, &batch).map_err(|source| self.journal_error(source))?;
        if let Err(trouble) = guard(|| tree.apply_batch(engine_batch(batch, Some(position)))) {
            // Said to have failed, it must not come back at the next open.
            let _ = journal.undo(before);
            return Err(self.error("write", trouble));
        }
        if journal.is_bloated() {
            self.compact(&mut journal);
        }
        Ok(())
    }

    /// Rewrites the journal from the trees. Failing is not the writer's concern: the old journal stays good.
    fn compact(&self, journal: &mut Journal) {
        // The new journal knows no removals, so they must be on disk before the old one goes: else a kill within the engine's
        // half second would bring removed rows back.
        if let Err(trouble) = guard(|| self.db.flush()) {
            let error = self.error("flush", trouble);
            tracing::warn!(%error, "journal not compacted");
            return;
        }
        let state =
            TreeName::ALL.into_iter().filter(|name| name.durability() == Durability::Kept).flat_map(|name| match self
                .open_tree(name)
            {
                Ok(tree) => Parts { name, rows: Some(tree.iter()) },
                Err(_) => Parts { name, rows: None },
            });
        match journal.compact(state) {
            Ok(position) => {
                let remember = self.open_tree(TreeName::Meta).and_then(|meta| {
                    guard(|| meta.insert(POSITION_KEY, row::encode(1, &position)))
                        .map_err(|trouble| self.error("write", trouble))
                });
                if let Err(error) = remember {
                    tracing::warn!(%error, "journal compacted; its position could not be remembered");
                }
            }
            Err(error) => tracing::warn!(%error, "journal not compacted"),
        }
    }

    fn journal_error(&self, source: io::Error) -> Error {
        Error::Io { doing: "append to", path: self.dir.join("journal.jsonl"), source }
    }
}

/// The rows of one tree as batches of bounded size.
struct Parts {
    name: TreeName,
    /// `None` if the tree could not be opened.
    rows: Option<sled::Iter>,
}

impl Iterator for Parts {
    type Item = io::Result<(TreeName, Batch)>;

    fn next(&mut self) -> Option<Self::Item> {
        const PART_BYTES: usize = 1 << 20;
        let Some(rows) = &mut self.rows else {
            self.rows = None;
            return None;
        };
        let mut batch = Batch::default();
        let mut n_bytes = 0;
        while n_bytes < PART_BYTES {
            match guard(|| rows.next().transpose()) {
                Ok(Some((key, _))) if key.as_ref() == POSITION_KEY => {}
                Ok(Some((key, value))) => {
                    n_bytes += key.len() + value.len();
                    batch.put(key.to_vec(), value.to_vec());
                }
                Ok(None) => break,
                Err(trouble) => return Some(Err(io::Error::other(format!("{trouble:?}")))),
            }
        }
        (!batch.is_empty()).then_some(Ok((self.name, batch)))
    }
}

fn engine_batch(batch: Batch, position: Option<Position>) -> sled::Batch {
    let mut engine = sled::Batch::default();
    for (key, value) in batch.writes {
        match value {
            Some(value) => engine.insert(key, value),
            None => engine.remove(key),
        }
    }
    if let Some(position) = position {
        engine.insert(POSITION_KEY, row::encode(1, &position));
    }
    engine
}

fn lock_journal(journal: &Mutex<Journal>) -> MutexGuard<'_, Journal> {
    // Nothing between lock and unlock leaves the journal half changed, so a panicking thread did no harm.
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

fn trouble_to_error(trouble: Trouble, dir: &Path, doing: &'static str) -> Error {
    let dir = dir.to_owned();
    match trouble {
        Trouble::Busy => Error::Busy { dir },
        Trouble::Io(source) => Error::Io { doing, path: dir, source },
        Trouble::Damaged(reason) => Error::Damaged { dir, reason },
    }
}

/// The lock is ours, besides sled's: it also covers setting aside and the journal.
fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|source| Error::Io { doing: "open", path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Busy { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(Error::Io { doing: "lock", path, source }),
    }
}

fn check_format(dir: &Path) -> Result<(), Error> {
    let path = dir.join("format");
    match std::fs::read_to_string(&path) {
        Ok(found) => {
            let known = found.trim().parse::<u32>().is_ok_and(|found| found <= FORMAT);
            let newer =
                Error::Newer { dir: dir.to_owned(), found: toolscout_core::text::preview(&found), newest: FORMAT };
            if known { Ok(()) } else { Err(newer) }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::write(&path, format!("{FORMAT}\n")).map_err(|source| Error::Io { doing: "write", path, source })
        }
        Err(source) => Err(Error::Io { doing: "read", path, source }),
    }
}

fn config(engine_dir: &Path) -> sled::Config {
    sled::Config::new().path(engine_dir).cache_capacity(CACHE_BYTES)
}

/// Opens sled and reads the kept trees once: damage shows now, when it can be mended, and not in the middle of work.
fn open_engine(engine_dir: &Path) -> Result<sled::Db, Trouble> {
    guard(|| {
        let db = config(engine_dir).open()?;
        for name in TreeName::ALL {
            let tree = db.open_tree(name.as_str())?;
            if name.durability() == Durability::Kept {
                tree.iter().try_for_each(|row| row.map(drop))?;
            }
        }
        Ok(db)
    })
}

/// What [`redo`] found and did.
struct Redone {
    /// Rows written.
    n_rows: u64,
    /// Journal lines left out.
    n_bad_lines: u64,
    /// The journal lacks what the engine has.
    is_behind: bool,
}

/// Applies what the journal has beyond the engine.
fn redo(db: &sled::Db, journal: &mut Journal, dir: &Path, journal_path: &Path) -> Result<Redone, Error> {
    let in_engine = |trouble| trouble_to_error(trouble, dir, "refill");
    let mut seen: Option<Position> = None;
    for name in TreeName::ALL {
        let found = guard(|| db.open_tree(name.as_str())?.get(POSITION_KEY)).map_err(in_engine)?;
        let position = found.and_then(|bytes| row::decode::<Position>(&bytes, 1).ok());
        seen = seen.max(position);
    }
    let tail = journal.tail(seen);
    let tail = tail.map_err(|source| Error::Io { doing: "read", path: journal_path.to_owned(), source })?;
    let mut n_rows = 0;
    for (position, name, batch) in tail.entries {
        n_rows += batch.len() as u64;
        guard(|| db.open_tree(name.as_str())?.apply_batch(engine_batch(batch, Some(position)))).map_err(in_engine)?;
    }
    Ok(Redone { n_rows, n_bad_lines: tail.n_bad_lines, is_behind: tail.is_behind })
}

/// `path` with `.reason-N` behind it, N the first that is free.
pub(crate) fn free_name(path: &Path, reason: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let candidates = (1u32..).map(|n| path.with_file_name(format!("{name}.{reason}-{n}")));
    candidates.into_iter().find(|path| !path.exists()).expect("some number is free")
}
