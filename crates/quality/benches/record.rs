//! What quality costs the way of a call: `cargo bench -p toolscout-quality`.

use divan::{Bencher, black_box};
use toolscout_core::{CallFault, CallerClass, Generation, Outcome, SideEffect, Timestamp, ToolId};
use toolscout_quality::{Quality, QualityOptions, book};
use toolscout_store::Store;

fn main() {
    divan::main();
    tail();
}

/// The p99 of recording, which divan does not tell. The goal is 5 µs.
#[expect(clippy::disallowed_types, clippy::print_stdout, reason = "a bench measures real time and prints it")]
fn tail() {
    let quality = open();
    let mut nanos: Vec<u128> = (0..20_000)
        .map(|n| {
            let outcome = outcome(n);
            let began = std::time::Instant::now();
            quality.record(outcome);
            began.elapsed().as_nanos()
        })
        .collect();
    nanos.sort_unstable();
    let at = |share: usize| nanos[nanos.len() * share / 1_000];
    let dropped = quality.dropped();
    println!("record: p50 {} ns, p99 {} ns, p99.9 {} ns; {dropped} dropped", at(500), at(990), at(999));
}

fn outcome(n: u64) -> Outcome {
    Outcome {
        tool: format!("upstream-{}:tool-{}", n % 7, n % 50).parse().expect("a tool id"),
        generation: Generation(1),
        selection: None,
        fault: if n.is_multiple_of(19) { CallFault::Timeout } else { CallFault::None },
        latency_ms: 5 + n % 300,
        result_bytes: 1_000,
        empty: false,
        conforms: None,
        caller: CallerClass::Agent,
        at: Timestamp(1_000_000 + n * 100),
    }
}

fn open() -> Quality {
    let store = Store::temporary().expect("a temporary folder");
    // No outcome is dropped: dropping is quicker than sending.
    let options = QualityOptions { queue: 100_000, ..QualityOptions::default() };
    Quality::open(&store, options).expect("opens an empty store")
}

/// One outcome into the queue, while the thread behind folds and writes. The sample that is slowest counts.
#[divan::bench(sample_count = 20_000, sample_size = 1)]
fn record(bencher: Bencher<'_, '_>) {
    let quality = open();
    let mut n = 0;
    bencher
        .with_inputs(|| {
            n += 1;
            outcome(n)
        })
        .bench_local_values(|outcome| quality.record(outcome));
}

/// One question whether a call goes ahead, with one tool of fifty in quarantine.
#[divan::bench]
fn admit(bencher: Bencher<'_, '_>) {
    let quality = open();
    for n in 0..5 {
        quality.record(Outcome { fault: CallFault::UpstreamError, ..outcome(50 * n) });
    }
    let tool: ToolId = "upstream-1:tool-1".parse().expect("a tool id");
    bencher.bench_local(|| black_box(quality.admit(black_box(&tool), SideEffect::Read, Timestamp(1))));
}

/// One outcome folded, the work of the thread behind.
#[divan::bench]
fn fold(bencher: Bencher<'_, '_>) {
    let (mut book, options, mut n) = (book::Book::default(), QualityOptions::default(), 0);
    bencher.bench_local(|| {
        n += 1;
        book.apply(&book::Event::Outcome(outcome(n)), &options);
    });
}
