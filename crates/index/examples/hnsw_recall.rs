//! How much does the graph miss, and from which size on is it faster?
//!
//! `cargo run --release -p toolscout-index --example hnsw_recall [SIZE…] [--links N] [--ef-build N] [--ef N]` makes seeded,
//! clustered vectors of 384 dimensions.
//! `… hnsw_recall --catalog tools.jsonl --model models/minilm-tools-v1` takes a real catalog and a real model (embedding
//! 27,540 tools takes some minutes), and half of the tools' purposes as queries.
//! Prints, per size: time to build, memory of the vectors, p50 of exact search and of the graph when
//! asked for the hundred that a selection takes, and which share of the true 10 and 100 nearest is among the graph's hundred.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a program that measures real time and prints a table"
)]

use std::io::BufReader;
use std::sync::Arc;
use std::time::{Duration, Instant};

use toolscout_catalog::{Catalog, CatalogView, Overlays};
use toolscout_core::{Generation, Timestamp};
use toolscout_embed::{Embed, EmbedOptions, Embedder, ModelSource, Want};
use toolscout_index::{Allow, DenseKind, DenseMode, GraphOptions, IndexHost, IndexOptions, Snapshot};
use toolscout_store::Store;
use toolscout_testkit::synthetic::{ClusterEmbedder, cards, query};

const N_QUERIES: usize = 200;
const PATIENCE: Duration = Duration::from_secs(3_600);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| args.iter().position(|arg| arg == flag).and_then(|at| args.get(at + 1));
    println!(
        "{:>8} {:>9} {:>9} {:>10} {:>10} {:>10} {:>11}",
        "vectors", "build s", "rows MB", "exact µs", "graph µs", "recall@10", "recall@100"
    );
    let number = |flag: &str, default: usize| value(flag).and_then(|n| n.parse().ok()).unwrap_or(default);
    let usual = GraphOptions::default();
    let knit = GraphOptions {
        links: number("--links", usual.links),
        ef_build: number("--ef-build", usual.ef_build),
        ef_search: number("--ef", usual.ef_search),
    };
    if let (Some(catalog), Some(model)) = (value("--catalog"), value("--model")) {
        let embedder = Arc::new(Embedder::load(&ModelSource::Dir(model.into()), &EmbedOptions::default())?);
        let store = Store::temporary()?;
        let imported = Catalog::open(&store, Overlays::default())?;
        imported.import_jsonl(BufReader::new(std::fs::File::open(catalog)?), Timestamp(1))?;
        let view = imported.view();
        let step = (view.len() / N_QUERIES).max(1);
        let queries: Vec<String> = view.tools.iter().step_by(step).map(|card| card.purpose.clone()).collect();
        return line(&store, embedder, &view, &queries, knit);
    }
    let is_size = |at: usize| at == 0 || !args[at - 1].starts_with("--");
    let sizes: Vec<usize> =
        args.iter().enumerate().filter(|(at, _)| is_size(*at)).filter_map(|(_, arg)| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1_000, 10_000, 27_540, 50_000, 100_000] } else { sizes };
    for n in sizes {
        let view = Arc::new(CatalogView::of_cards(Generation(1), cards(n, 1)));
        let queries: Vec<String> = (0..N_QUERIES as u64).map(|i| query(i, 6, 1)).collect();
        line(&Store::temporary()?, Arc::new(ClusterEmbedder::new(384)), &view, &queries, knit)?;
    }
    Ok(())
}

fn line(
    store: &Store,
    embedder: Arc<dyn Embed>,
    view: &Arc<CatalogView>,
    queries: &[String],
    knit: GraphOptions,
) -> Result<(), Box<dyn std::error::Error>> {
    let vectors = queries
        .iter()
        .map(|text| Ok(embedder.embed(&[text], Want::Pooled)?.remove(0).pooled))
        .collect::<Result<Vec<_>, toolscout_embed::Error>>()?;
    let open = |dense| {
        let options = IndexOptions { dense, graph: knit, ..IndexOptions::default() };
        let host = IndexHost::open(options, store, Some(embedder.clone()))?;
        host.apply(view)?;
        host.wait_settled(PATIENCE);
        Ok::<_, toolscout_index::Error>(host)
    };
    let exact = open(DenseMode::Exact)?;
    // The vectors are stored now: what the second takes longer than a third would is the graph.
    let started = Instant::now();
    drop(open(DenseMode::Exact)?);
    let without = started.elapsed();
    let started = Instant::now();
    let graph = open(DenseMode::Hnsw)?;
    let build = started.elapsed().saturating_sub(without);

    let (truth, exact_us) = ask(&exact.snapshot(), &vectors, DenseKind::Exact);
    let (found, graph_us) = ask(&graph.snapshot(), &vectors, DenseKind::Hnsw);
    println!(
        "{:>8} {:>9.1} {:>9.1} {:>10.0} {:>10.0} {:>10.4} {:>11.4}",
        view.len(),
        build.as_secs_f64(),
        exact.stats().vector_bytes as f64 / 1e6,
        exact_us,
        graph_us,
        recall(&truth, &found, 10),
        recall(&truth, &found, 100)
    );
    Ok(())
}

/// The hundred nearest of each, as many as a selection takes, and the median time in µs of asking for them.
fn ask(snapshot: &Snapshot, vectors: &[Vec<f32>], expect: DenseKind) -> (Vec<Vec<u32>>, f64) {
    let mut times = Vec::new();
    let mut found = Vec::new();
    for vector in vectors {
        let started = Instant::now();
        let (hits, by) = snapshot.dense_answer(vector, &Allow::All, 100);
        times.push(started.elapsed().as_secs_f64() * 1e6);
        assert_eq!(by, expect, "the path that is measured must be the one that ran");
        found.push(hits.iter().map(|hit| hit.doc).collect());
    }
    times.sort_by(f64::total_cmp);
    (found, times[times.len() / 2])
}

/// The share of the true `k` nearest that is among what was found.
fn recall(truth: &[Vec<u32>], found: &[Vec<u32>], k: usize) -> f64 {
    let pairs = truth.iter().zip(found).flat_map(|(t, f)| t.iter().take(k).map(move |doc| f.contains(doc)));
    let (n, hits) = pairs.fold((0, 0), |(n, hits), hit| (n + 1, hits + usize::from(hit)));
    f64::from(hits as u32) / f64::from(n.max(1))
}
