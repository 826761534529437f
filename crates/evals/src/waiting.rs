//! How long to wait for the vectors of a catalog: as long as there is progress, however slow the machine.

use std::time::Duration;

use toolscout_embed::Embed;
use toolscout_index::IndexHost;

/// When to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often to look.
    pub tick: Duration,
    /// Looks in a row that see no progress, and then it is stuck. Looks are counted, not seconds: a machine that hardly gets to
    /// run hardly looks, too.
    pub looks: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { tick: Duration::from_millis(100), looks: 3_000 }
    }
}

/// Waits until every tool has its vector, or until not one text went through the model for all the looks there are. Whether it
/// came to that. `progress` hears how many tools have a vector, and how many there are.
///
/// The index publishes vectors by the hundreds or thousands, so what is published says too little of whether work goes on.
pub fn wait_for_vectors(
    index: &IndexHost,
    model: &dyn Embed,
    patience: Patience,
    progress: &dyn Fn(usize, usize),
) -> bool {
    let (mut last, mut n_still) = (None, 0);
    loop {
        let is_settled = index.wait_settled(patience.tick);
        let (embedded, total) = embedded_of(index);
        progress(embedded, total);
        if is_settled {
            return true;
        }
        let done = Some((embedded, model.inferences()));
        n_still = if done == last { n_still + 1 } else { 0 };
        last = done;
        if n_still >= patience.looks {
            return false;
        }
    }
}

/// How many tools have a vector, of how many.
pub(crate) fn embedded_of(index: &IndexHost) -> (usize, usize) {
    let snapshot = index.snapshot();
    let progress = snapshot.progress();
    (progress.embedded, progress.total)
}

#[cfg(test)]
mod tests {
    //! 1. Texts that go through the model are progress, though none of their vectors is published yet.
    //! 2. Where nothing goes through the model, waiting ends.
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Condvar, Mutex};

    use toolscout_catalog::{Catalog, Overlays};
    use toolscout_core::Timestamp;
    use toolscout_embed::{Embedding, Error, ModelInfo, Want};
    use toolscout_index::IndexOptions;
    use toolscout_store::Store;
    use toolscout_testkit::embed::HashEmbedder;

    use super::*;

    /// Holds its texts back. If it moves, whoever looks is told that one more went through, and the fortieth look lets them go.
    struct Slow {
        model: HashEmbedder,
        n_looks: AtomicU64,
        moves: bool,
        is_open: Mutex<bool>,
        opened: Condvar,
    }

    impl Slow {
        fn open(&self) {
            *self.is_open.lock().expect("nobody panics with it") = true;
            self.opened.notify_all();
        }
    }

    impl Embed for Slow {
        fn model(&self) -> &ModelInfo {
            self.model.model()
        }

        fn embed(&self, texts: &[&str], want: Want) -> Result<Vec<Embedding>, Error> {
            let is_open = self.is_open.lock().expect("nobody panics with it");
            drop(self.opened.wait_while(is_open, |is_open| !*is_open).expect("nobody panics with it"));
            self.model.embed(texts, want)
        }

        fn inferences(&self) -> u64 {
            let n_looks = self.n_looks.fetch_add(1, Ordering::SeqCst);
            if self.moves && n_looks == 40 {
                self.open();
            }
            if self.moves { n_looks } else { 0 }
        }
    }

    /// Whether waiting came to its end, before a model that moves or does not.
    #[track_caller]
    fn check(moves: bool, expect: bool) {
        let (is_open, opened) = (Mutex::new(false), Condvar::new());
        let model = Arc::new(Slow { model: HashEmbedder::new(), n_looks: AtomicU64::new(0), moves, is_open, opened });
        let store = Store::temporary().expect("a temporary store");
        let catalog = Catalog::open(&store, Overlays::default()).expect("an empty catalog");
        let line = br#"{"id":"1","server":"s","name":"pay","description":"Pay a bill."}"#;
        let imported = catalog.import_jsonl(line.as_slice(), Timestamp(1)).expect("one tool");
        let index = IndexHost::open(IndexOptions::default(), &store, Some(model.clone())).expect("an empty index");
        index.apply(&imported.change.view).expect("one tool is indexed");
        let patience = Patience { tick: Duration::from_millis(1), looks: 3 };
        let came = wait_for_vectors(&index, &*model, patience, &|embedded, total| assert!(embedded <= total));
        assert_eq!((came, embedded_of(&index)), (expect, (usize::from(expect), 1)));
        model.open();
    }

    #[test]
    fn slow_is_not_stuck() {
        check(true, true);
    }

    #[test]
    fn stuck_is_not_waited_for() {
        check(false, false);
    }
}
