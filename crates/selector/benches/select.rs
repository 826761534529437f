//! A whole selection without the query's embedding: `cargo bench -p toolscout-selector`. Seeded cards and vectors.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use divan::{Bencher, black_box};
use toolscout_catalog::CatalogView;
use toolscout_core::{CallFault, Caller, CallerClass, Generation, Outcome, Timestamp, ToolId};
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
    price_of_quality();
}

/// What quality costs a search, as a ratio: the same queries in turn with nothing known, with calls of every tenth tool known,
/// and with one tool aside besides. Medians, in one process: machines differ less from themselves than benches do. The goal is
/// 1.03.
#[expect(clippy::disallowed_types, clippy::print_stdout, reason = "a bench measures real time and prints it")]
fn price_of_quality() {
    for n in SIZES {
        let snapshot = snapshot(n);
        let tools: Vec<ToolId> = snapshot.view().tools.iter().step_by(10).map(|card| card.id.clone()).collect();
        let (mut book, options) = (Book::default(), QualityOptions::default());
        for (at, tool) in (1_000_000..).step_by(10).zip(tools.iter().cycle().take(tools.len() * 5)) {
            // One in seven fails, now and then the same tool's: some lie below what is believed of the unknown.
            let fault = if at % 70 == 0 { CallFault::UpstreamError } else { CallFault::None };
            book.apply(&Event::Outcome(outcome(tool.clone(), fault, at)), &options);
        }
        let known = QualityView::new(&book, &options);
        let at = Timestamp(book.now.0 + 1);
        let aside = Decision { tool: tools[0].clone(), verdict: Verdict::Quarantine, reason: String::new(), at };
        book.apply(&Event::Decision(aside), &options);
        let views = [QualityView::default(), known, QualityView::new(&book, &options)];
        let (embedder, caller, policy) = (ClusterEmbedder::new(384), Caller::local("bench"), Policy::default());
        let mut nanos: [Vec<u128>; 3] = Default::default();
        for i in 0..2_000 {
            let text = query(i % 500, 6, 1);
            let query = Query { vector: Some(embedder.vector(&text).into()), text, ..Query::default() };
            // Each goes first as often as the others: the first one warms the caches.
            for turn in 0..views.len() {
                let which = (turn + i as usize) % views.len();
                let began = std::time::Instant::now();
                black_box(select(&snapshot, &views[which], &policy, &caller, &query).tools.len());
                nanos[which].push(began.elapsed().as_nanos());
            }
        }
        let median = |nanos: &mut Vec<u128>| {
            nanos.sort_unstable();
            nanos[nanos.len() / 2] as f64
        };
        let [none, known, aside] = nanos.each_mut().map(median);
        println!(
            "{n} tools: search {:.3} ms; × {:.3} with {} tools known, × {:.3} with one aside besides",
            none / 1e6,
            known / none,
            tools.len(),
            aside / none
        );
    }
}

fn outcome(tool: ToolId, fault: CallFault, at: u64) -> Outcome {
    Outcome {
        tool,
        generation: Generation(1),
        selection: None,
        fault,
        latency_ms: 5,
        result_bytes: 100,
        empty: false,
        conforms: None,
        caller: CallerClass::Agent,
        at: Timestamp(at),
    }
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
