//! What does a vector cost?
//!
//! Measured: one query alone with 1 and 2 threads (these asleep or spinning while they wait), 64 cards of typical length (79 tokens is the mean of real ones) with 1 and 2
//! lanes, a remembered query, and loading. One query is the floor of every search: read search times beside it.

use std::path::Path;
use std::sync::Arc;

use toolscout_embed::{Embed, EmbedOptions, Embedder, ModelSource, QueryEmbedder, QueryOptions, Wait, Want};

fn main() {
    divan::main();
}

fn load(query_threads: usize, wait: Wait, document_lanes: usize) -> Embedder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/minilm-tools-v1");
    let options = EmbedOptions { query_threads, wait, document_lanes, ..EmbedOptions::default() };
    Embedder::load(&ModelSource::Dir(folder), &options).expect("the model of this repository loads")
}

#[divan::bench(args = [(1, Wait::Asleep), (2, Wait::Asleep), (2, Wait::Spinning)], sample_count = 400)]
fn query(bencher: divan::Bencher<'_, '_>, (n_threads, wait): (usize, Wait)) {
    let embedder = load(n_threads, wait, 1);
    bencher.bench_local(|| embedder.embed(&["create an issue about the crash in the parser"], Want::Pooled));
}

#[divan::bench]
fn remembered_query(bencher: divan::Bencher<'_, '_>) {
    let queries = QueryEmbedder::new(Arc::new(load(1, Wait::Asleep, 1)), QueryOptions::default());
    bencher.bench_local(|| queries.embed_query("create an issue about the crash in the parser"));
}

#[divan::bench(args = [1, 2], sample_count = 5)]
fn cards_64(bencher: divan::Bencher<'_, '_>, n_lanes: usize) {
    let embedder = load(1, Wait::Asleep, n_lanes);
    let cards: Vec<String> = (0..64).map(card).collect();
    let cards: Vec<&str> = cards.iter().map(String::as_str).collect();
    bencher.counter(divan::counter::ItemsCount::new(cards.len())).bench_local(|| embedder.embed(&cards, Want::Pooled));
}

#[divan::bench(sample_count = 10)]
fn load_model() -> Embedder {
    load(2, Wait::Asleep, 1)
}

/// A card of about 30 to 130 tokens.
fn card(i: usize) -> String {
    let sentence = "Search issues and pull requests in a repository by label, state and author. ";
    format!("tracker search_issues_{i}: {}Parameters: owner, repo, labels, state", sentence.repeat(1 + i % 8))
}
