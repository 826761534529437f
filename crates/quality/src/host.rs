//! The one thread that folds outcomes, and the door through which they come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use toolscout_core::{Fault, Outcome, Retry, Timestamp, ToolId};
use toolscout_store::{Batch, QueueOptions, Store, Tree, TreeName, WriteQueue, row};
use tracing::warn;

use crate::record::{QualityOptions, ROW_VERSION, Record};
use crate::view::QualityView;

/// Outcomes folded before the view is published and the rows are written.
const MAX_BATCH: usize = 256;

/// What can go wrong at the start. Afterwards nothing is reported to callers: a failed write is logged and tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not give up its quality rows. Quality can be left out: the service works without history.
    #[error("read the quality rows")]
    Store(#[source] toolscout_store::Error),
    /// The system gave no thread.
    #[error("start the quality thread")]
    Thread(#[source] std::io::Error),
}

impl Error {
    /// Whose mistake it is.
    pub fn fault(&self) -> Fault {
        Fault::Ours
    }

    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        Retry::Later
    }
}

/// Takes outcomes, gives out the current view. Dropping it folds and writes what is still queued.
pub struct Quality {
    view: Arc<ArcSwap<QualityView>>,
    queue: WriteQueue<Outcome>,
}

impl Quality {
    /// Reads what is remembered and starts the folding thread.
    ///
    /// A row that cannot be read is logged and left out: its tool starts at the prior, and its next outcome replaces the row.
    pub fn open(store: &Store, options: QualityOptions) -> Result<Self, Error> {
        let tree = store.tree(TreeName::Quality).map_err(Error::Store)?;
        let records = read_all(&tree)?;
        let now = records.values().map(|record| record.as_of).max().unwrap_or_default();
        let view = Arc::new(ArcSwap::from_pointee(QualityView::new(&records, now, &options)));
        let queued = QueueOptions { capacity: options.queue, max_batch: MAX_BATCH };
        let mut folder = Folder { records, now, unsaved: BTreeSet::new(), tree, options, view: Arc::clone(&view) };
        let queue = WriteQueue::start("quality", queued, move |outcomes| folder.fold_all(outcomes));
        Ok(Self { view, queue: queue.map_err(Error::Thread)? })
    }

    /// Takes one outcome. Never waits: when the queue is full the outcome is dropped and counted.
    pub fn record(&self, outcome: Outcome) {
        self.queue.send(outcome);
    }

    /// The current state of every tool. Lock-free.
    pub fn view(&self) -> Arc<QualityView> {
        self.view.load_full()
    }

    /// Outcomes that did not fit the queue, since the start.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Waits until every outcome recorded before is in the view and in the store; false if that took longer than `patience`.
    /// Blocks its thread: for shutdown and tests.
    pub fn settle(&self, patience: Duration) -> bool {
        self.queue.settle(patience)
    }
}

fn read_all(tree: &Tree) -> Result<BTreeMap<ToolId, Record>, Error> {
    let mut records = BTreeMap::new();
    for entry in tree.scan(&[]) {
        let (key, bytes) = entry.map_err(Error::Store)?;
        let id = std::str::from_utf8(&key).ok().and_then(|text| text.parse::<ToolId>().ok());
        match (id, row::decode::<Record>(&bytes, ROW_VERSION)) {
            (Some(id), Ok(record)) => {
                records.insert(id, record);
            }
            (id, decoded) => warn!(tool = ?id, readable = decoded.is_ok(), "quality row left out"),
        }
    }
    Ok(records)
}

/// The state behind the thread.
struct Folder {
    records: BTreeMap<ToolId, Record>,
    now: Timestamp,
    unsaved: BTreeSet<ToolId>,
    tree: Tree,
    options: QualityOptions,
    view: Arc<ArcSwap<QualityView>>,
}

impl Folder {
    fn fold_all(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            self.fold(outcome);
        }
        self.view.store(Arc::new(QualityView::new(&self.records, self.now, &self.options)));
        self.save();
    }

    fn fold(&mut self, outcome: Outcome) {
        self.now = self.now.max(outcome.at);
        let record = self.records.remove(&outcome.tool).unwrap_or_default().after(&outcome, &self.options);
        self.records.insert(outcome.tool.clone(), record);
        self.unsaved.insert(outcome.tool);
    }

    /// Writes the changed rows at once. On failure they stay marked and go with the next batch.
    fn save(&mut self) {
        let mut batch = Batch::default();
        for id in &self.unsaved {
            if let Some(record) = self.records.get(id) {
                batch.put(id.to_string().as_bytes(), row::encode(ROW_VERSION, record));
            }
        }
        match self.tree.apply(batch) {
            Ok(()) => self.unsaved.clear(),
            Err(error) => warn!(error = &error as &dyn std::error::Error, "quality rows not written"),
        }
    }
}

#[cfg(test)]
mod tests {
    //! 1. What was recorded is in the view after settling, and still there after a restart.
    //! 2. A full queue drops and counts; it never waits.
    //! 3. An unreadable row costs its own tool's history only.

    use toolscout_core::{CallFault, Generation};

    use super::*;

    fn outcome(tool: &str, fault: CallFault, at: u64) -> Outcome {
        Outcome {
            tool: tool.parse().unwrap(),
            generation: Generation(1),
            selection: None,
            fault,
            latency_ms: 7,
            result_bytes: 1,
            empty: false,
            at: Timestamp(at),
        }
    }

    fn calls(quality: &Quality, tool: &str) -> (u64, u64) {
        let seen = quality.view().of(&tool.parse().unwrap());
        (seen.calls, seen.failures)
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn outcomes_reach_the_view_and_survive_a_restart() {
        let store = Store::temporary().unwrap();
        let quality = Quality::open(&store, QualityOptions::default()).unwrap();
        for at in 0..1_000 {
            let fault = if at % 4 == 0 { CallFault::Timeout } else { CallFault::None };
            quality.record(outcome("a:b", fault, at));
        }
        assert!(quality.settle(PATIENCE));
        assert_eq!(quality.dropped(), 0);
        assert_eq!(calls(&quality, "a:b"), (1_000, 250));
        let before = quality.view().of(&"a:b".parse().unwrap());
        drop(quality);
        let quality = Quality::open(&store, QualityOptions::default()).unwrap();
        assert_eq!(quality.view().of(&"a:b".parse().unwrap()), before);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let store = Store::temporary().unwrap();
        let quality = Quality::open(&store, QualityOptions { queue: 1, ..QualityOptions::default() }).unwrap();
        let n_sent = 20_000;
        for at in 0..n_sent {
            quality.record(outcome("a:b", CallFault::None, at));
        }
        assert!(quality.settle(PATIENCE));
        assert!(quality.dropped() > 0);
        assert_eq!(calls(&quality, "a:b").0 + quality.dropped(), n_sent);
    }

    #[test]
    fn an_unreadable_row_costs_one_tool_its_history() {
        let store = Store::temporary().unwrap();
        let quality = Quality::open(&store, QualityOptions::default()).unwrap();
        quality.record(outcome("a:good", CallFault::None, 1));
        quality.record(outcome("a:bad", CallFault::None, 1));
        drop(quality);
        store.tree(TreeName::Quality).unwrap().put(b"a:bad", b"\x01not json".to_vec()).unwrap();
        let quality = Quality::open(&store, QualityOptions::default()).unwrap();
        assert_eq!((calls(&quality, "a:good").0, calls(&quality, "a:bad").0), (1, 0));
    }
}
