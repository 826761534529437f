//! What was answered and why, kept for a while.
//!
//! Every selection's evidence goes into the store under its id, so that `explain_selection` works tomorrow too. Writing
//! happens on a thread of its own behind a bounded queue: a search never waits for a disk. The newest selections are also
//! kept in memory, so one can be explained the moment it was answered. Count and age are bounded; the query's text is
//! kept only where the operator asks for it.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use toolscout_core::{Generation, Score, SelectionId, Timestamp, ToolId};
use toolscout_selector::Evidence;
use toolscout_store::{Batch, QueueOptions, Store, Tree, TreeName, WriteQueue, row};
use tracing::warn;

use crate::wire::NoMatch;

/// How much is kept.
#[derive(Debug, Clone)]
pub struct SelectionOptions {
    /// At most this many selections; the oldest go first. 10,000.
    pub max_count: usize,
    /// None older than this many milliseconds. 30 days.
    pub max_age_ms: u64,
    /// This many of the newest also stay in memory. 512.
    pub in_memory: usize,
    /// Selections that may wait for the writing thread; more are kept in memory only. 1,024.
    pub queue: usize,
}

impl Default for SelectionOptions {
    fn default() -> Self {
        Self { max_count: 10_000, max_age_ms: 30 * 24 * 60 * 60 * 1000, in_memory: 512, queue: 1_024 }
    }
}

/// One selection as it is kept. A row in the store; see [`ROW_VERSION`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    /// Its id.
    pub id: SelectionId,
    /// When it was made.
    pub at: Timestamp,
    /// For whom: nobody else gets to see it.
    pub tenant: String,
    /// The client program. For display only.
    pub client: String,
    /// The generation it saw.
    pub generation: Generation,
    /// SHA-256 of the query.
    pub query_hash: String,
    /// The query, where the operator keeps queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The index state it saw.
    pub index_state: String,
    /// The confidence it gave.
    pub confidence: f64,
    /// What was answered, best first.
    pub tools: Vec<(ToolId, Score)>,
    /// Why nothing was, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_match: Option<NoMatch>,
    /// Why it came out so.
    pub evidence: Evidence,
}

/// The newest layout of [`Kept`] on disk.
pub const ROW_VERSION: u8 = 1;

/// Rows lie under `s` + id; `t` + time + id orders them by age without reading them.
const ROWS: &[u8] = b"s";
const TIMES: &[u8] = b"t";

/// The log of selections.
pub struct SelectionLog {
    recent: Mutex<LruCache<SelectionId, Arc<Kept>>>,
    tree: Tree,
    /// None where the system gave no thread.
    queue: Option<WriteQueue<Arc<Kept>>>,
}

impl SelectionLog {
    /// Opens the log in a store and starts the writing thread.
    pub fn open(store: &Store, options: SelectionOptions) -> Result<Self, toolscout_store::Error> {
        let tree = store.tree(TreeName::Selections)?;
        let mut ages = VecDeque::new();
        for entry in tree.scan(TIMES) {
            let (key, _) = entry?;
            ages.extend(parse_time_key(&key));
        }
        let capacity = NonZeroUsize::new(options.in_memory).unwrap_or(NonZeroUsize::MIN);
        let queued = QueueOptions { capacity: options.queue, max_batch: 64 };
        let mut writer = Writer { tree: tree.clone(), ages, options };
        let queue = WriteQueue::start("selections", queued, move |kept| writer.write(&kept));
        // Without its thread the log still remembers the newest selections.
        let queue = queue.map_err(|error| warn!(%error, "selections will not be written")).ok();
        Ok(Self { recent: Mutex::new(LruCache::new(capacity)), tree, queue })
    }

    /// Keeps a selection. Never waits; what does not fit the queue stays in memory only and is counted.
    pub fn keep(&self, kept: Kept) {
        let kept = Arc::new(kept);
        self.recent.lock().put(kept.id.clone(), Arc::clone(&kept));
        if let Some(queue) = &self.queue {
            queue.send(kept);
        }
    }

    /// The selection of an id, if this tenant made it and it is still kept. May read the disk.
    pub fn get(&self, id: &SelectionId, tenant: &str) -> Result<Option<Arc<Kept>>, toolscout_store::Error> {
        Ok(self.read(id)?.filter(|kept| kept.tenant == tenant))
    }

    /// Up to `limit` of a tenant's selections, newest first. Reads the disk.
    pub fn newest(&self, tenant: &str, limit: usize) -> Result<Vec<Arc<Kept>>, toolscout_store::Error> {
        self.newest_where(|kept| kept.tenant == tenant, limit)
    }

    /// The same for all tenants together: for the operator, who owns the store, and never for a caller.
    pub fn newest_of_all(&self, limit: usize) -> Result<Vec<Arc<Kept>>, toolscout_store::Error> {
        self.newest_where(|_| true, limit)
    }

    fn read(&self, id: &SelectionId) -> Result<Option<Arc<Kept>>, toolscout_store::Error> {
        let recent = self.recent.lock().get(id).cloned();
        Ok(match recent {
            Some(kept) => Some(kept),
            None => self.tree.get(&row_key(id))?.and_then(|bytes| read(&bytes)),
        })
    }

    fn newest_where(
        &self,
        is_wanted: impl Fn(&Kept) -> bool,
        limit: usize,
    ) -> Result<Vec<Arc<Kept>>, toolscout_store::Error> {
        let mut keys = Vec::new();
        for entry in self.tree.scan(TIMES) {
            keys.extend(parse_time_key(&entry?.0));
        }
        // What waits for the writing thread is in memory only.
        for (id, kept) in self.recent.lock().iter() {
            keys.push((kept.at, id.clone()));
        }
        keys.sort_unstable();
        keys.dedup();
        let mut found = Vec::new();
        for (_, id) in keys.into_iter().rev() {
            if found.len() == limit {
                break;
            }
            found.extend(self.read(&id)?.filter(|kept| is_wanted(kept)));
        }
        Ok(found)
    }

    /// Selections that were not written because the queue was full, since the start.
    pub fn dropped(&self) -> u64 {
        self.queue.as_ref().map_or(0, WriteQueue::dropped)
    }

    /// Waits until everything kept before is written; false if that took longer than `patience`. Blocks its thread.
    pub fn settle(&self, patience: Duration) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.settle(patience))
    }
}

fn read(bytes: &[u8]) -> Option<Arc<Kept>> {
    match row::decode::<Kept>(bytes, ROW_VERSION) {
        Ok(kept) => Some(Arc::new(kept)),
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "selection row cannot be read");
            None
        }
    }
}

fn row_key(id: &SelectionId) -> Vec<u8> {
    [ROWS, id.as_str().as_bytes()].concat()
}

fn time_key(at: Timestamp, id: &SelectionId) -> Vec<u8> {
    [TIMES, &at.0.to_be_bytes(), id.as_str().as_bytes()].concat()
}

fn parse_time_key(key: &[u8]) -> Option<(Timestamp, SelectionId)> {
    let (time, id) = key.strip_prefix(TIMES)?.split_first_chunk::<8>()?;
    Some((Timestamp(u64::from_be_bytes(*time)), SelectionId::parse(std::str::from_utf8(id).ok()?)?))
}

/// The state behind the thread.
struct Writer {
    tree: Tree,
    /// What is on disk, oldest first.
    ages: VecDeque<(Timestamp, SelectionId)>,
    options: SelectionOptions,
}

impl Writer {
    fn write(&mut self, kept: &[Arc<Kept>]) {
        let mut batch = Batch::default();
        for kept in kept {
            batch.put(row_key(&kept.id), row::encode(ROW_VERSION, &**kept));
            batch.put(time_key(kept.at, &kept.id), Vec::new());
            self.ages.push_back((kept.at, kept.id.clone()));
        }
        self.prune(&mut batch);
        if let Err(error) = self.tree.apply(batch) {
            warn!(error = &error as &dyn std::error::Error, "selections not written");
        }
    }

    /// Takes what is too old or too many out of the store. "Now" is the newest selection: the log reads no clock.
    fn prune(&mut self, batch: &mut Batch) {
        let now = self.ages.back().map(|(at, _)| *at).unwrap_or_default();
        while let Some((at, id)) = self.ages.front() {
            let too_many = self.ages.len() > self.options.max_count;
            let too_old = now.since(*at) > self.options.max_age_ms;
            if !too_many && !too_old {
                break;
            }
            batch.remove(row_key(id));
            batch.remove(time_key(*at, id));
            self.ages.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    //! 1. A selection can be read at once, and after a restart.
    //! 2. Another tenant's selection does not exist.
    //! 3. Count and age are bounded, the oldest go first.

    use super::*;

    fn id(n: u128) -> SelectionId {
        SelectionId::from_random(n)
    }

    fn kept(n: u128, tenant: &str) -> Kept {
        Kept {
            id: id(n),
            at: Timestamp(n as u64 * 1_000),
            tenant: tenant.to_owned(),
            client: "test".to_owned(),
            generation: Generation(1),
            query_hash: String::new(),
            query: None,
            index_state: "lexical".to_owned(),
            confidence: 0.5,
            tools: vec![("a:b".parse().unwrap(), Score::new(0.5))],
            no_match: None,
            evidence: evidence(),
        }
    }

    fn evidence() -> Evidence {
        use toolscout_index::{IndexProgress, IndexState};
        use toolscout_selector::{ConfidenceStage, DenseStage, Fusion, FusionStage, LexicalStage};
        Evidence {
            generation: Generation(1),
            index: IndexProgress { state: IndexState::Lexical, embedded: 0, total: 1, reason: None },
            access: <_>::default(),
            slips: Vec::new(),
            lexical: LexicalStage::default(),
            dense: DenseStage::default(),
            tokens: <_>::default(),
            steps: Vec::new(),
            fusion: FusionStage {
                method: Fusion::default(),
                n_candidates: 0,
                lexical_high: 0.0,
                cosine_low: 0.0,
                cosine_high: 0.0,
                scale: 0.0,
                quality: 0.0,
            },
            confidence: ConfidenceStage::default(),
            second: None,
            limit: 5,
            budget: None,
            candidates: Vec::new(),
            n_more_candidates: 0,
        }
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_selection_is_there_at_once_and_after_a_restart_for_its_tenant_only() {
        let store = Store::temporary().unwrap();
        let log = SelectionLog::open(&store, SelectionOptions::default()).unwrap();
        log.keep(kept(1, "local"));
        assert!(log.get(&id(1), "local").unwrap().is_some());
        assert!(log.get(&id(1), "other").unwrap().is_none());
        assert!(log.get(&id(2), "local").unwrap().is_none());
        assert_eq!(log.newest("other", 10).unwrap().len(), 0);
        assert_eq!(log.newest_of_all(10).unwrap().len(), 1, "the operator's view");
        drop(log);
        let log = SelectionLog::open(&store, SelectionOptions::default()).unwrap();
        assert_eq!(log.get(&id(1), "local").unwrap().unwrap().confidence, 0.5);
        assert!(log.get(&id(1), "other").unwrap().is_none());
    }

    #[test]
    fn the_oldest_go_first() {
        let store = Store::temporary().unwrap();
        let options = SelectionOptions { max_count: 3, in_memory: 1, ..SelectionOptions::default() };
        let log = SelectionLog::open(&store, options.clone()).unwrap();
        (1..=5).for_each(|n| log.keep(kept(n, "local")));
        assert!(log.settle(PATIENCE));
        let newest: Vec<_> = log.newest("local", 10).unwrap().iter().map(|kept| kept.id.clone()).collect();
        assert_eq!(newest, [id(5), id(4), id(3)]);
        drop(log);
        let log = SelectionLog::open(&store, SelectionOptions { max_age_ms: 1_500, ..options }).unwrap();
        log.keep(kept(6, "local"));
        assert!(log.settle(PATIENCE));
        assert_eq!(log.newest("local", 10).unwrap().len(), 2);
        assert_eq!(store.tree(TreeName::Selections).unwrap().len().unwrap(), 4);
    }
}
