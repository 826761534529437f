//! What is on disk is derived:
//! 1. A saved index is reused, word index and graph, and answers the same.
//! 2. Lost or damaged files are rebuilt without a word from the operator, and without embedding anything.
//! 3. An index that is behind or ahead of the catalog is brought to it.

use std::path::Path;
use std::sync::Arc;

use toolscout_core::ToolCard;
use toolscout_embed::{Embed as _, Want};
use toolscout_index::{Allow, DenseHit, DenseMode, IndexHost, IndexStats};
use toolscout_store::Store;
use toolscout_testkit::embed::HashEmbedder;

use crate::world::{PATIENCE, card, options, small, view};

fn many() -> Vec<ToolCard> {
    (0..600)
        .map(|i| card(&format!("up{}:tool{i}", i % 9), &format!("number{i} of group{} and row{}", i % 17, i % 23)))
        .collect()
}

/// Opens the folder, applies the cards, settles; answers a fixed question.
fn visit(dir: &Path, store: &Store, cards: Vec<ToolCard>) -> (IndexStats, Vec<DenseHit>, u64) {
    let embedder = Arc::new(HashEmbedder::new());
    let host = IndexHost::open(options(Some(dir), DenseMode::Hnsw), store, Some(embedder.clone())).unwrap();
    host.apply(&view(1, cards)).unwrap();
    assert!(host.wait_settled(PATIENCE));
    let vector = embedder.embed(&["number5 of group3"], Want::Pooled).unwrap().remove(0).pooled;
    let snapshot = host.snapshot();
    let hits = snapshot.dense(&vector, &Allow::All, 20);
    let word =
        snapshot.lexical("number5", &Allow::All, 1).first().map(|hit| snapshot.card(hit.doc).id.name.to_string());
    assert_eq!(word.as_deref(), (snapshot.len() > 100).then_some("tool5"));
    (host.stats(), hits, embedder.inferences() - 1)
}

#[test]
fn a_saved_index_is_reused_and_answers_the_same() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Store::temporary().unwrap());
    let (stats, hits, embedded) = visit(dir.path(), &store, many());
    assert_eq!((stats.lexical_reused, stats.graph_reused, stats.lexical_written, embedded), (false, false, 600, 600));
    for _ in 0..3 {
        let (stats, again, embedded) = visit(dir.path(), &store, many());
        assert_eq!((stats.lexical_reused, stats.graph_reused, stats.lexical_written, embedded), (true, true, 0, 0));
        assert_eq!(again, hits);
    }
}

#[test]
fn who_answers_once_waits_for_stored_vectors_only() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Store::temporary().unwrap());
    visit(dir.path(), &store, many());
    let embedder = Arc::new(HashEmbedder::new());
    let host = IndexHost::open(options(Some(dir.path()), DenseMode::Exact), &store, Some(embedder.clone())).unwrap();
    host.apply(&view(1, many())).unwrap();
    assert!(host.wait_loaded(PATIENCE));
    let vector = embedder.embed(&["number5 of group3"], Want::Pooled).unwrap().remove(0).pooled;
    assert_eq!(host.snapshot().dense(&vector, &Allow::All, 600).len(), 600);
}

#[test]
fn an_index_of_another_catalog_is_brought_to_this_one() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Store::temporary().unwrap());
    visit(dir.path(), &store, many());
    let mut cards = many();
    cards.truncate(590);
    cards.push(card("new:one", "a new one"));
    let (stats, _, embedded) = visit(dir.path(), &store, cards);
    assert_eq!((stats.lexical_written, embedded, stats.graph_reused, stats.tombstones), (1, 1, true, 10));
    let (stats, _, embedded) = visit(dir.path(), &store, small());
    assert_eq!((stats.lexical_written, embedded, stats.graph_reused, stats.rows), (6, 6, false, 6));
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[test]
fn damage_to_any_file_is_mended() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Store::temporary().unwrap());
    let (_, hits, _) = visit(dir.path(), &store, many());
    let set: std::collections::BTreeSet<String> = hits.iter().map(|hit| hit.doc.to_string()).collect();
    let n_files = files(dir.path()).len();
    for at in 0..n_files {
        for harm in ["cut", "flip", "gone"] {
            // Names change with every rebuild, so they are looked up anew.
            let Some(path) = files(dir.path()).get(at).cloned() else { continue };
            let mut bytes = std::fs::read(&path).unwrap();
            match harm {
                "cut" => std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap(),
                "flip" => {
                    let middle = bytes.len() / 2;
                    bytes.iter_mut().skip(middle).take(16).for_each(|byte| *byte ^= 0x55);
                    std::fs::write(&path, bytes).unwrap();
                }
                _ => std::fs::remove_file(&path).unwrap(),
            }
            let (_, again, embedded) = visit(dir.path(), &store, many());
            assert_eq!(embedded, 0, "{harm} {}", path.display());
            let same = again.iter().filter(|hit| set.contains(&hit.doc.to_string())).count();
            assert!(same >= 18, "{harm} {}: {same} of 20", path.display());
        }
    }
    std::fs::remove_dir_all(dir.path()).unwrap();
    assert_eq!(visit(dir.path(), &store, many()).2, 0);
}

#[test]
fn leftovers_of_a_kill_do_no_harm() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Store::temporary().unwrap());
    std::fs::create_dir_all(dir.path().join("graph-v1.tmp")).unwrap();
    std::fs::write(dir.path().join("graph-v1.tmp/hnsw.hnsw.graph"), b"half a gra").unwrap();
    std::fs::create_dir_all(dir.path().join("words-v1")).unwrap();
    std::fs::write(dir.path().join("words-v1/meta.json"), b"{\"segments\":[").unwrap();
    let (stats, ..) = visit(dir.path(), &store, many());
    assert_eq!((stats.lexical_written, stats.graph_rows), (600, Some(600)));
    assert!(visit(dir.path(), &store, many()).0.graph_reused);
}
