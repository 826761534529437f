//! Search and change at the sizes that matter: 2,765 tools (one big company) and 27,540 (every public server we know).
//! `cargo bench -p toolscout-index`. Seeded cards and vectors; the graph against exact search is `examples/hnsw_recall.rs`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use divan::{Bencher, black_box};
use toolscout_catalog::CatalogView;
use toolscout_core::Generation;
use toolscout_index::{Allow, DenseMode, IndexHost, IndexOptions};
use toolscout_store::Store;
use toolscout_testkit::synthetic::{ClusterEmbedder, cards, query};

const SIZES: [usize; 2] = [2_765, 27_540];

static HOSTS: LazyLock<Mutex<HashMap<usize, Arc<IndexHost>>>> = LazyLock::new(Mutex::default);

fn main() {
    divan::main();
}

fn view(n: usize, generation: u64) -> Arc<CatalogView> {
    Arc::new(CatalogView::of_cards(Generation(generation), cards(n, 1)))
}

fn host(n: usize) -> Arc<IndexHost> {
    let mut hosts = HOSTS.lock().expect("no bench panics while it holds this");
    let made = hosts.entry(n).or_insert_with(|| {
        let store = Store::temporary().expect("a temporary folder");
        let options = IndexOptions { dense: DenseMode::Exact, ..IndexOptions::default() };
        let host =
            IndexHost::open(options, &store, Some(Arc::new(ClusterEmbedder::new(384)))).expect("opens in memory");
        host.apply(&view(n, 1)).expect("indexes in memory");
        assert!(host.wait_settled(Duration::from_secs(600)));
        host
    });
    made.clone()
}

#[divan::bench(args = SIZES)]
fn words_of_a_short_query(bencher: Bencher<'_, '_>, n: usize) {
    words(bencher, n, 5);
}

#[divan::bench(args = SIZES)]
fn words_of_a_long_task(bencher: Bencher<'_, '_>, n: usize) {
    words(bencher, n, 40);
}

fn words(bencher: Bencher<'_, '_>, n: usize, n_words: u64) {
    let snapshot = host(n).snapshot();
    let mut i = 0;
    bencher
        .with_inputs(|| {
            i += 1;
            query(i, n_words, 1)
        })
        .bench_local_refs(|text| black_box(snapshot.lexical(text, &Allow::All, 100).len()));
}

#[divan::bench(args = SIZES)]
fn meaning_exactly(bencher: Bencher<'_, '_>, n: usize) {
    let snapshot = host(n).snapshot();
    let embedder = ClusterEmbedder::new(384);
    let mut i = 0;
    bencher
        .with_inputs(|| {
            i += 1;
            embedder.vector(&query(i, 6, 1))
        })
        .bench_local_refs(|vector| black_box(snapshot.dense(vector, &Allow::All, 100).len()));
}

/// One card of many changes: until words answer with it.
#[divan::bench(args = SIZES, sample_count = 10)]
fn change_one_card(bencher: Bencher<'_, '_>, n: usize) {
    let host = host(n);
    let base = cards(n, 1);
    let mut generation = host.snapshot().generation().0;
    bencher
        .with_inputs(|| {
            generation += 1;
            let mut cards = base.clone();
            cards[0].description = format!("changed for the time {generation}");
            Arc::new(CatalogView::of_cards(Generation(generation), cards))
        })
        .bench_local_refs(|view| host.apply(view).expect("indexes in memory"));
}

/// A saved index opens and words answer.
#[divan::bench(args = SIZES, sample_count = 10)]
fn open_a_saved_index(bencher: Bencher<'_, '_>, n: usize) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = Store::temporary().expect("a temporary folder");
    let options = IndexOptions { dir: Some(dir.path().to_owned()), ..IndexOptions::default() };
    let view = view(n, 1);
    IndexHost::open(options.clone(), &store, None).expect("opens").apply(&view).expect("indexes");
    bencher.bench(|| {
        let host = IndexHost::open(options.clone(), &store, None).expect("opens");
        host.apply(&view).expect("indexes");
        assert_eq!(host.stats().lexical_written, 0);
        host.snapshot().lexical("create", &Allow::All, 5).len()
    });
}
