//! A whole selection without the query's embedding: `cargo bench -p toolscout-selector`. Seeded cards and vectors.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use divan::{Bencher, black_box};
use toolscout_catalog::CatalogView;
use toolscout_core::{Caller, Generation, Timestamp};
use toolscout_index::{IndexHost, IndexOptions, Snapshot};
use toolscout_policy::{Glob, Policy};
use toolscout_quality::book::{Book, Event};
use toolscout_quality::{Decision, QualityOptions, QualityView, Verdict};
use toolscout_selector::{Query, explain, select};
use toolscout_store::Store;
use toolscout_testkit::synthetic::{ClusterEmbedder, cards, query};

const SIZES: [usize; 2] = [2_765, 27_540];

static SNAPSHOTS: LazyLock<Mutex<HashMap<usize, Arc<Snapshot>>>> = LazyLock::new(Mutex::default);

fn main() {
    divan::main();
}

fn snapshot(n: usize) -> Arc<Snapshot> {
    let mut snapshots = SNAPSHOTS.lock().expect("no bench panics while it holds this");
    let made = snapshots.entry(n).or_insert_with(|| {
        let store = Store::temporary().expect("a temporary folder");
        let embedder = Arc::new(ClusterEmbedder::new(384));
        let host = IndexHost::open(IndexOptions::default(), &store, Some(embedder)).expect("opens in memory");
        host.apply(&Arc::new(CatalogView::of_cards(Generation(1), cards(n, 1)))).expect("indexes in memory");
        assert!(host.wait_settled(Duration::from_secs(600)));
        host.snapshot()
    });
    made.clone()
}

fn selections(bencher: Bencher<'_, '_>, n: usize, n_words: u64, policy: &Policy) {
    selections_knowing(bencher, n, n_words, policy, &QualityView::default());
}

fn selections_knowing(bencher: Bencher<'_, '_>, n: usize, n_words: u64, policy: &Policy, quality: &QualityView) {
    let snapshot = snapshot(n);
    let embedder = ClusterEmbedder::new(384);
    let caller = Caller::local("bench");
    let mut i = 0;
    let ask = || {
        i += 1;
        let text = query(i, n_words, 1);
        Query { vector: Some(embedder.vector(&text).into()), text, ..Query::default() }
    };
    bencher
        .with_inputs(ask)
        .bench_local_refs(|query| black_box(select(&snapshot, quality, policy, &caller, query).tools.len()));
}

#[divan::bench(args = SIZES)]
fn short_query(bencher: Bencher<'_, '_>, n: usize) {
    selections(bencher, n, 6, &Policy::default());
}

#[divan::bench(args = SIZES)]
fn long_task(bencher: Bencher<'_, '_>, n: usize) {
    selections(bencher, n, 40, &Policy::default());
}

#[divan::bench(args = SIZES)]
fn with_three_rules(bencher: Bencher<'_, '_>, n: usize) {
    let deny = ["*:delete_*", "baba-*", "*:*secret*"].map(Glob::new).to_vec();
    selections(bencher, n, 6, &Policy { deny, ..Policy::default() });
}

/// One tool in quarantine: what keeping it out costs every search. Beside `short_query`.
#[divan::bench(args = SIZES)]
fn with_one_aside(bencher: Bencher<'_, '_>, n: usize) {
    let tool = snapshot(n).view().tools[n / 2].id.clone();
    let decision = Decision { tool, verdict: Verdict::Quarantine, reason: String::new(), at: Timestamp(1) };
    let (mut book, options) = (Book::default(), QualityOptions::default());
    book.apply(&Event::Decision(decision), &options);
    selections_knowing(bencher, n, 6, &Policy::default(), &QualityView::new(&book, &options));
}

#[divan::bench]
fn explain_one(bencher: Bencher<'_, '_>) {
    let text = query(1, 6, 1);
    let query = Query { vector: Some(ClusterEmbedder::new(384).vector(&text).into()), text, ..Query::default() };
    let selection =
        select(&snapshot(2_765), &QualityView::default(), &Policy::default(), &Caller::local("bench"), &query);
    bencher.bench(|| explain(&selection.evidence, 5).len());
}
