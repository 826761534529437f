//! Vectors are made once:
//! 1. A text that has a vector is never embedded again: not after a restart, a re-crawl, or a removed and returned upstream.
//! 2. A vector of another model is no vector.
//! 3. Words answer while vectors are missing, and the state says how many are.
//! 4. An embedder that fails costs the texts it fails on, and says why.
//! 5. Many vectors are read in one walk, and token vectors come back with them.

use std::sync::Arc;

use toolscout_embed::{Embed, Embedding, Error, ModelInfo, Want};
use toolscout_index::{Allow, DenseMode, IndexHost, IndexState, card_text};
use toolscout_store::{Store, TreeName};
use toolscout_testkit::embed::HashEmbedder;

use crate::world::{PATIENCE, card, ids, options, small, view};

fn open(store: &Store, embedder: &Arc<HashEmbedder>) -> Arc<IndexHost> {
    IndexHost::open(options(None, DenseMode::Auto), store, Some(embedder.clone())).unwrap()
}

fn settle(host: &IndexHost) -> String {
    assert!(host.wait_settled(PATIENCE));
    let progress = host.snapshot().progress().clone();
    format!("{} {}/{}", progress.state.as_str(), progress.embedded, progress.total)
}

#[test]
fn nothing_is_embedded_twice() {
    let store = Store::temporary().unwrap();
    let embedder = Arc::new(HashEmbedder::new());
    let host = open(&store, &embedder);
    host.apply(&view(1, small())).unwrap();
    assert_eq!(settle(&host), "hybrid 6/6");
    assert_eq!(embedder.inferences(), 6);

    // The same again, with other cards in memory: a re-crawl.
    host.apply(&view(2, small())).unwrap();
    assert_eq!(settle(&host), "hybrid 6/6");

    // An upstream goes and comes back.
    host.apply(&view(3, small().into_iter().filter(|card| card.id.upstream.as_str() != "forge"))).unwrap();
    assert_eq!(settle(&host), "hybrid 3/3");
    host.apply(&view(4, small())).unwrap();
    assert_eq!(settle(&host), "hybrid 6/6");
    assert_eq!(embedder.inferences(), 6);

    // A restart.
    host.close();
    let embedder = Arc::new(HashEmbedder::new());
    let host = open(&store, &embedder);
    host.apply(&view(4, small())).unwrap();
    assert_eq!(settle(&host), "hybrid 6/6");
    assert_eq!((embedder.inferences(), host.stats().vectors_loaded), (0, 6));

    // One card changes, and one is new.
    let mut cards = small();
    cards[0].description = "Report a bug".to_owned();
    cards.push(card("bakery:eat", "Eat it"));
    host.apply(&view(5, cards)).unwrap();
    assert_eq!(settle(&host), "hybrid 7/7");
    assert_eq!(embedder.inferences(), 2);

    // Another model knows none of them.
    let other = Arc::new(HashEmbedder::new().named("other"));
    let host = open(&store, &other);
    host.apply(&view(6, small())).unwrap();
    assert_eq!(settle(&host), "hybrid 6/6");
    assert_eq!(other.inferences(), 6);
}

#[test]
fn many_vectors_come_back_in_one_walk_and_the_missing_ones_are_made() {
    let store = Store::temporary().unwrap();
    let cards = toolscout_testkit::synthetic::cards(700, 3);
    let open = || {
        let embedder = Arc::new(HashEmbedder::new().with_late());
        let host = IndexHost::open(options(None, DenseMode::Auto), &store, Some(embedder.clone())).unwrap();
        (embedder, host)
    };
    let (embedder, host) = open();
    host.apply(&view(1, cards[..650].to_vec())).unwrap();
    assert_eq!(settle(&host), "hybrid 650/650");
    assert_eq!(embedder.inferences(), 650);
    let text = card_text(&cards[7]);
    let asked = embedder.embed(&[&text], Want::Tokens).unwrap().remove(0).tokens.unwrap();
    let query = toolscout_index::LateQuery::of(&asked).unwrap();
    let late = |host: &IndexHost| {
        let snapshot = host.snapshot();
        let doc = snapshot.view().position(&cards[7].id).unwrap() as u32;
        let found = snapshot.late(doc, &query).unwrap();
        let word = snapshot.late_words(doc).nth(found.best[0].0.into()).unwrap().to_owned();
        (found, word)
    };
    let before = late(&host);
    assert!(before.0.score > 0.95, "a card is like itself");
    assert_eq!(before.1, asked.tokens[0]);
    host.close();

    let (embedder, host) = open();
    host.apply(&view(1, cards.clone())).unwrap();
    assert_eq!(settle(&host), "hybrid 700/700");
    assert_eq!((embedder.inferences(), host.stats().vectors_loaded), (50, 650));
    assert_eq!(late(&host), before);
}

#[test]
fn damaged_vectors_are_made_anew() {
    let store = Store::temporary().unwrap();
    let first = Arc::new(HashEmbedder::new());
    let host = open(&store, &first);
    host.apply(&view(1, small())).unwrap();
    settle(&host);
    let tree = store.tree(TreeName::Vectors).unwrap();
    let keys: Vec<Vec<u8>> = tree.scan(b"").map(|row| row.unwrap().0).collect();
    assert_eq!(keys.len(), 6);
    tree.put(&keys[0], vec![1, 2, 3]).unwrap();
    tree.put(&keys[1], vec![0xff; 64 * 4]).unwrap();
    let second = Arc::new(HashEmbedder::new());
    let host = open(&store, &second);
    host.apply(&view(1, small())).unwrap();
    assert_eq!(settle(&host), "hybrid 6/6");
    assert_eq!(second.inferences(), 2);
}

#[test]
fn meaning_finds_what_it_should_and_nothing_that_is_not_allowed() {
    let store = Store::temporary().unwrap();
    let embedder = Arc::new(HashEmbedder::with_dimension(256));
    let host = open(&store, &embedder);
    host.apply(&view(1, small())).unwrap();
    settle(&host);
    let snapshot = host.snapshot();
    let cake = snapshot.view().position(&"bakery:orderCake".parse().unwrap()).unwrap() as u32;
    let vector = embedder.embed(&[&card_text(snapshot.card(cake))], Want::Pooled).unwrap().remove(0).pooled;
    let hits = snapshot.dense(&vector, &Allow::All, 2);
    assert_eq!(hits[0].doc, cake);
    assert!(hits[0].cosine > 0.999 && hits[1].cosine < 0.999);
    assert_eq!(snapshot.cosine(cake, &vector), Some(hits[0].cosine));
    let others = Allow::Only((0..snapshot.len() as u32).filter(|&doc| doc != cake).collect());
    let hits = snapshot.dense(&vector, &others, 10);
    assert_eq!(hits.len(), 5);
    assert!(!ids(&snapshot, hits.iter().map(|hit| hit.doc)).contains(&"bakery:orderCake".to_owned()));
    // A vector of another model's length finds nothing instead of panicking.
    assert!(snapshot.dense(&[1.0], &Allow::All, 3).is_empty());
    assert_eq!(snapshot.cosine(cake, &[1.0]), None);
}

#[test]
fn a_text_that_cannot_be_embedded_costs_itself_only() {
    let store = Store::temporary().unwrap();
    let cards = small();
    let embedder = Arc::new(HashEmbedder::new().failing_on(&card_text(&cards[0])));
    let host = open(&store, &embedder);
    host.apply(&view(1, cards)).unwrap();
    assert_eq!(settle(&host), "hybrid_partial 5/6");
    let reason = host.snapshot().progress().reason.clone().unwrap();
    assert!(reason.starts_with("1 tools could not be embedded: "), "{reason}");
    assert_eq!(host.snapshot().lexical("create issue", &Allow::All, 1).len(), 1);
}

/// Fails, or panics, whatever it is asked.
struct Broken {
    model: ModelInfo,
    panics: bool,
}

impl Embed for Broken {
    fn model(&self) -> &ModelInfo {
        &self.model
    }

    fn embed(&self, texts: &[&str], _want: Want) -> Result<Vec<Embedding>, Error> {
        assert!(!self.panics, "a bug of the embedder");
        // No vector at all for what was asked: against the contract, and caught.
        Ok(texts.iter().map(|_| Embedding { pooled: vec![f32::NAN; 64], tokens: None }).collect())
    }

    fn inferences(&self) -> u64 {
        0
    }
}

#[test]
fn a_broken_embedder_leaves_words_and_a_reason() {
    for panics in [false, true] {
        let model = HashEmbedder::new().model().clone();
        let store = Store::temporary().unwrap();
        let embedder = Arc::new(Broken { model, panics });
        let host = IndexHost::open(options(None, DenseMode::Auto), &store, Some(embedder)).unwrap();
        host.apply(&view(1, small())).unwrap();
        assert_eq!(settle(&host), "lexical 0/6");
        let snapshot = host.snapshot();
        assert_eq!(snapshot.state(), IndexState::Lexical);
        let reason = snapshot.progress().reason.clone().unwrap();
        let expect = if panics { "the indexing thread failed" } else { "could not be embedded" };
        assert!(reason.contains(expect), "{reason}");
        assert_eq!(snapshot.lexical("cake", &Allow::All, 1).len(), 1);
        // The next view is tried again: the thread lives.
        host.apply(&view(2, small())).unwrap();
        assert_eq!(settle(&host), "lexical 0/6");
    }
}

#[test]
fn an_older_view_does_not_undo_a_newer_one() {
    let store = Store::temporary().unwrap();
    let host = open(&store, &Arc::new(HashEmbedder::new()));
    host.apply(&view(7, small())).unwrap();
    host.apply(&view(6, Vec::new())).unwrap();
    assert_eq!((host.snapshot().generation().0, host.snapshot().len()), (7, 6));
}

#[test]
fn closing_in_the_middle_loses_nothing_that_was_made() {
    let store = Store::temporary().unwrap();
    let cards: Vec<_> = (0..2000).map(|i| card(&format!("up:tool{i}"), &format!("number {i}"))).collect();
    let embedder = Arc::new(HashEmbedder::new());
    let host = open(&store, &embedder);
    host.apply(&view(1, cards.clone())).unwrap();
    host.close();
    let made = embedder.inferences();
    let again = Arc::new(HashEmbedder::new());
    let host = open(&store, &again);
    host.apply(&view(1, cards)).unwrap();
    assert_eq!(settle(&host), "hybrid 2000/2000");
    assert_eq!(made + again.inferences(), 2000);
}
