//! Search by meaning, exactly and through the graph:
//! 1. The exact search agrees with the naive one, whatever is allowed.
//! 2. The graph finds nearly the same, and it was the graph that answered.
//! 3. Narrow allow-sets are searched exactly, and completely.
//! 4. Removed tools are never found; when they pile up, their rows go.
//! 5. New tools are found before there is a new graph.

use std::sync::Arc;

use proptest::prelude::*;
use toolscout_core::ToolCard;
use toolscout_embed::{Embed as _, Want};
use toolscout_index::{Allow, DenseHit, DenseKind, DenseMode, DocSet, IndexHost, IndexOptions, Snapshot, card_text};
use toolscout_store::Store;
use toolscout_testkit::embed::HashEmbedder;

use crate::world::{PATIENCE, card, options, settled, view};

const TOPICS: [&str; 12] = [
    "invoice", "weather", "ticket", "deploy", "music", "photo", "river", "bread", "train", "garden", "letter", "stone",
];
const VERBS: [&str; 9] = ["create", "list", "find", "send", "remove", "paint", "measure", "copy", "open"];

/// Cards whose hashed texts cluster by topic and verb.
fn many(n: usize) -> Vec<ToolCard> {
    (0..n)
        .map(|i| {
            let (topic, verb) = (TOPICS[i % 12], VERBS[i / 12 % 9]);
            card(&format!("{topic}:{verb}_{i}"), &format!("{verb} one {topic} with number{i} and part{}", i % 31))
        })
        .collect()
}

fn naive(snapshot: &Snapshot, vector: &[f32], allow: &Allow, k: usize) -> Vec<DenseHit> {
    let docs = (0..snapshot.len() as u32).filter(|&doc| allow.contains(doc));
    let mut hits: Vec<DenseHit> =
        docs.filter_map(|doc| snapshot.cosine(doc, vector).map(|cosine| DenseHit { doc, cosine })).collect();
    hits.sort_by(|a, b| b.cosine.total_cmp(&a.cosine).then(a.doc.cmp(&b.doc)));
    hits.truncate(k);
    hits
}

fn vector(embedder: &HashEmbedder, text: &str) -> Vec<f32> {
    embedder.embed(&[text], Want::Pooled).unwrap().remove(0).pooled
}

fn queries() -> Vec<String> {
    (0..100).map(|i| format!("{} a {} part{}", VERBS[i % 9], TOPICS[i / 9 % 12], i % 31)).collect()
}

#[test]
fn the_exact_search_agrees_with_the_naive_one() {
    let embedder = Arc::new(HashEmbedder::new());
    let host = settled(&Store::temporary().unwrap(), Some(embedder.clone()), DenseMode::Exact, many(3000));
    let snapshot = host.snapshot();
    assert_eq!(snapshot.dense_kind(), DenseKind::Exact);
    proptest!(ProptestConfig::with_cases(48), |(
        words in prop::collection::vec(prop::sample::select(&TOPICS[..]), 1..4),
        every in 1u32..40,
        k in 1usize..120,
    )| {
        let vector = vector(&embedder, &words.join(" "));
        let allow = Allow::Only((0..3000u32).filter(|doc| doc % every == 0).collect());
        prop_assert_eq!(snapshot.dense(&vector, &allow, k), naive(&snapshot, &vector, &allow, k));
        prop_assert_eq!(snapshot.dense(&vector, &Allow::All, k), naive(&snapshot, &vector, &Allow::All, k));
    });
}

/// How many of the true ten nearest the snapshot finds, over all queries; and that the graph answered.
fn misses(snapshot: &Snapshot, embedder: &HashEmbedder, allow: &Allow) -> usize {
    let mut misses = 0;
    for query in queries() {
        let vector = vector(embedder, &query);
        let (hits, by) = snapshot.dense_answer(&vector, allow, 10);
        assert_eq!(by, DenseKind::Hnsw, "the path under test must be the one that ran");
        // A different document at the same cosine is as good.
        let bar = naive(snapshot, &vector, allow, 10)[9].cosine;
        misses += hits.iter().filter(|hit| hit.cosine < bar).count();
        assert!(
            hits.iter().all(|hit| allow.contains(hit.doc) && snapshot.cosine(hit.doc, &vector) == Some(hit.cosine))
        );
    }
    misses
}

#[test]
fn the_graph_finds_nearly_the_same() {
    let embedder = Arc::new(HashEmbedder::new());
    let host = settled(&Store::temporary().unwrap(), Some(embedder.clone()), DenseMode::Hnsw, many(2000));
    let snapshot = host.snapshot();
    assert_eq!((snapshot.dense_kind(), host.stats().graph_rows), (DenseKind::Hnsw, Some(2000)));
    let n = misses(&snapshot, &embedder, &Allow::All);
    assert!(n <= 30, "{n} of 1000 missed");
    // Spread by a multiplicative hash: neighbours by id are neighbours by topic.
    let half = Allow::Only((0..2000u32).filter(|doc| doc.wrapping_mul(2_654_435_761) >> 31 == 0).collect());
    let n = misses(&snapshot, &embedder, &half);
    assert!(n <= 30, "{n} of 1000 missed with a filter");
}

#[test]
fn narrow_allow_sets_are_searched_completely() {
    let embedder = Arc::new(HashEmbedder::new());
    let host = settled(&Store::temporary().unwrap(), Some(embedder.clone()), DenseMode::Hnsw, many(1000));
    let snapshot = host.snapshot();
    let few: DocSet = (0..1000u32).filter(|doc| doc % 50 == 7).collect();
    let allow = Allow::Only(few);
    let vector = vector(&embedder, "paint a river");
    let (hits, by) = snapshot.dense_answer(&vector, &allow, 10);
    assert_eq!((hits, by), (naive(&snapshot, &vector, &allow, 10), DenseKind::Exact));
    assert_eq!(snapshot.dense(&vector, &Allow::Only(DocSet::default()), 10), []);
}

#[test]
fn removed_tools_are_never_found_and_new_ones_at_once() {
    let embedder = Arc::new(HashEmbedder::new());
    let store = Store::temporary().unwrap();
    let host = settled(&store, Some(embedder.clone()), DenseMode::Hnsw, many(2000));
    let apply = |generation, cards: Vec<ToolCard>| {
        host.apply(&view(generation, cards)).unwrap();
        assert!(host.wait_settled(PATIENCE));
        host.snapshot()
    };
    // A few go and a few come: the same graph answers.
    let mut cards: Vec<ToolCard> = many(2100).split_off(100);
    let new = card("river:swim_far", "swim far down the river");
    cards.push(new.clone());
    let snapshot = apply(2, cards.clone());
    let stats = host.stats();
    assert_eq!((stats.graph_rows, stats.rows, stats.tombstones), (Some(2000), 2101, 100));
    let found = snapshot.dense(&vector(&embedder, &card_text(&new)), &Allow::All, 1);
    assert_eq!(snapshot.card(found[0].doc).id, new.id);
    assert!(misses(&snapshot, &embedder, &Allow::All) <= 30);
    // Many go: their rows go too, and there is a new graph.
    let snapshot = apply(3, cards.split_off(1000));
    let stats = host.stats();
    assert_eq!((stats.graph_rows, stats.rows, stats.tombstones), (Some(1001), 1001, 0));
    assert!(misses(&snapshot, &embedder, &Allow::All) <= 30);
}

#[test]
fn auto_takes_the_graph_from_its_size_on() {
    let embedder = Arc::new(HashEmbedder::new());
    let store = Store::temporary().unwrap();
    let options = IndexOptions { hnsw_from: 200, ..options(None, DenseMode::Auto) };
    let host = IndexHost::open(options, &store, Some(embedder)).unwrap();
    for (generation, n, expect) in [(1, 199, DenseKind::Exact), (2, 200, DenseKind::Hnsw), (3, 150, DenseKind::Exact)] {
        host.apply(&view(generation, many(n))).unwrap();
        assert!(host.wait_settled(PATIENCE));
        assert_eq!(host.snapshot().dense_kind(), expect, "{n}");
    }
}
