//! The real model on the real runtime.
//!
//! 1. It is all-MiniLM-L6-v2: the published similarities come out.
//! 2. The same text gives the same bits, alone, among others, in any order, on any session.
//! 3. Any text is fine: empty, 100 kB, without spaces, in any language.
//! 4. Each token that is no mark has one vector of length 1, from the same pass as the pooled one.
//! 5. The counter counts texts that ran, and only those.
//! 6. It knows the words that are one token of it.
//! 7. A wrong, missing or foreign file is refused with a message that names it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use toolscout_core::Fault;
use toolscout_embed::{
    Embed, EmbedOptions, Embedder, Embedding, Error, Manifest, ModelSource, QueryEmbedder, QueryOptions, Want, dot,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/minilm-tools-v1")
}

static EMBEDDER: LazyLock<Embedder> = LazyLock::new(load);

fn load() -> Embedder {
    Embedder::load(&ModelSource::Dir(folder()), &EmbedOptions::default()).unwrap()
}

#[track_caller]
fn embed(texts: &[&str], want: Want) -> Vec<Embedding> {
    let embeddings = EMBEDDER.embed(texts, want).unwrap();
    assert_eq!(embeddings.len(), texts.len());
    for (embedding, text) in embeddings.iter().zip(texts) {
        assert_eq!(embedding.pooled.len(), 384, "{text:.40}");
        let length = dot(&embedding.pooled, &embedding.pooled);
        assert!((length - 1.0).abs() < 1e-5, "{text:.40}: length {length}");
    }
    embeddings
}

#[test]
fn the_published_similarities_come_out() {
    let texts =
        ["That is a happy person", "That is a happy dog", "That is a very happy person", "Today is a sunny day"];
    // Of the model that the default one was made from, which stays selectable.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/all-minilm-l6-v2");
    let base = Embedder::load(&ModelSource::Dir(folder), &EmbedOptions::default()).unwrap();
    assert_eq!(base.model().late_dimension, None);
    let vectors = base.embed(&texts, Want::Pooled).unwrap();
    for (other, published) in [(1, 0.695), (2, 0.943), (3, 0.257)] {
        let cosine = dot(&vectors[0].pooled, &vectors[other].pooled);
        assert!((cosine - published).abs() < 0.005, "{}: {cosine}, published {published}", texts[other]);
    }
}

#[test]
fn the_same_text_gives_the_same_bits_whatever_stands_beside_it() {
    let long = "Search the repository for code, issues and pull requests. ".repeat(12);
    let texts = ["create_issue", "Create a new issue in a GitHub repository", &long, "", "weather", "天気を調べる"];
    let together = embed(&texts, Want::Pooled);
    let mut reversed: Vec<&str> = texts.to_vec();
    reversed.reverse();
    let mut backwards = embed(&reversed, Want::Tokens);
    backwards.reverse();
    let one_thread = EmbedOptions { query_threads: 1, document_lanes: 1, ..EmbedOptions::default() };
    let other = Embedder::load(&ModelSource::Dir(folder()), &one_thread).unwrap();
    for ((text, together), backwards) in texts.iter().zip(&together).zip(&backwards) {
        let alone = embed(&[text], Want::Pooled).remove(0);
        assert_eq!(alone.pooled, together.pooled, "{text:.40}");
        assert_eq!(alone.pooled, backwards.pooled, "{text:.40}");
        assert_eq!(alone.pooled, other.embed(&[text], Want::Pooled).unwrap()[0].pooled, "{text:.40}");
    }
}

#[test]
fn any_text_is_fine() {
    let long = "send an email to the team ".repeat(4_000);
    let unbroken = "x".repeat(100_000);
    let wide = "検索".repeat(20_000);
    let texts = ["", " \n\t", &long, &unbroken, &wide, "🎉🎉", "\u{0}\u{202e}abc", "Welche Rechnungen sind offen?"];
    let vectors = embed(&texts, Want::Tokens);
    for (text, vector) in texts.iter().zip(&vectors) {
        let tokens = vector.tokens.as_ref().unwrap();
        assert!(tokens.len() <= 254, "{text:.40}: {}", tokens.len());
    }
    // What lies beyond the cut changes nothing.
    let cut = embed(&[&long[..8_000]], Want::Pooled).remove(0);
    assert_eq!(vectors[2].pooled, cut.pooled);
}

#[test]
fn non_english_words_still_mean_something() {
    let texts = ["restaurant in Paris", "un restaurant à Paris", "delete a database table"];
    let vectors = embed(&texts, Want::Pooled);
    assert!(dot(&vectors[0].pooled, &vectors[1].pooled) > dot(&vectors[0].pooled, &vectors[2].pooled) + 0.2);
}

#[test]
fn every_token_but_the_marks_has_a_vector_of_length_one() {
    let vectors = embed(&["create a GitHub issue", "", "unaffable 東京"], Want::Tokens);
    let tokens = |idx: usize| vectors[idx].tokens.as_ref().unwrap();
    assert_eq!(tokens(0).tokens, ["create", "a", "gi", "##th", "##ub", "issue"]);
    assert!(tokens(1).is_empty());
    assert_eq!(tokens(2).tokens, ["una", "##ffa", "##ble", "東", "京"]);
    for tokens in vectors.iter().map(|vector| vector.tokens.as_ref().unwrap()) {
        assert_eq!(tokens.vectors.len(), tokens.len() * 384);
        assert_eq!((tokens.late_dim, tokens.late.len()), (64, tokens.len() * 64));
        assert_eq!(tokens.spans.len(), tokens.len());
        assert_eq!(tokens.iter().count(), tokens.len());
        for short in tokens.late.chunks_exact(64) {
            assert!((dot(short, short) - 1.0).abs() < 1e-5);
        }
        for (token, vector) in tokens.iter() {
            assert!((dot(vector, vector) - 1.0).abs() < 1e-5, "{token}");
        }
    }
    let text = "create a GitHub issue";
    let spans: Vec<&str> = tokens(0).spans.iter().map(|(start, end)| &text[*start..*end]).collect();
    assert_eq!(spans, ["create", "a", "Gi", "tH", "ub", "issue"]);
    assert_eq!(tokens(0).within(9..15).count(), 3);
    let part = tokens(0).pool(0..15).unwrap();
    assert!((dot(&part, &part) - 1.0).abs() < 1e-5);
    assert_eq!(tokens(0).pool(2..5), None);
    let pooled = embed(&["create a GitHub issue"], Want::Pooled).remove(0);
    assert_eq!(pooled.tokens, None);
    assert_eq!(pooled.pooled, vectors[0].pooled);
}

#[test]
fn it_knows_common_words_and_no_slips() {
    let queries = QueryEmbedder::new(Arc::new(load()), QueryOptions::default());
    for (word, expect) in
        [("create", true), ("calendar", true), ("lsit", false), ("slakc", false), ("##ing", false), ("", false)]
    {
        assert_eq!((EMBEDDER.knows(word), queries.knows(word)), (expect, expect), "{word}");
    }
}

#[test]
fn the_counter_counts_texts_and_remembered_queries_are_none() {
    let embedder: Arc<dyn Embed> = Arc::new(load());
    assert_eq!(embedder.inferences(), 0, "the trial run at the start is no inference");
    embedder.embed(&[], Want::Pooled).unwrap();
    embedder.embed(&["one"], Want::Pooled).unwrap();
    embedder.embed(&["one", "two", "three"], Want::Tokens).unwrap();
    assert_eq!(embedder.inferences(), 4);
    embedder.rest();
    embedder.embed(&["one", "two"], Want::Pooled).unwrap();
    assert_eq!(embedder.inferences(), 6);

    let queries = QueryEmbedder::new(embedder.clone(), QueryOptions::default());
    let first = queries.embed_query("open a ticket").unwrap();
    let again = queries.embed_query(" open a ticket\n").unwrap();
    assert_eq!(embedder.inferences(), 7);
    assert_eq!(first, again);
    assert_eq!(first.pooled[..], embedder.embed(&["open a ticket"], Want::Pooled).unwrap()[0].pooled);
}

#[test]
fn many_threads_may_ask_at_once() {
    let expect = embed(&["list files", "list folders", "list users"], Want::Pooled);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                assert_eq!(embed(&["list files", "list folders", "list users"], Want::Pooled), expect);
                assert_eq!(embed(&["list users"], Want::Pooled)[0], expect[2]);
            });
        }
    });
}

#[test]
fn doctor_can_tell_model_and_runtime() {
    let info = EMBEDDER.model();
    assert_eq!((info.id.as_str(), info.dimension, info.max_tokens), ("minilm-tools-v1-nb8", 384, 256));
    assert_eq!((info.licence.as_str(), info.sha256.len()), ("Apache-2.0", 64));
    assert_eq!(info.runtime.name, "ONNX Runtime");
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        assert_eq!((info.runtime.version.as_str(), info.runtime.source.as_str()), ("1.31.1", "built in (memory)"));
    }
}

#[test]
#[cfg(feature = "bundled-model")]
fn the_model_inside_is_the_one_in_the_folder() {
    let builtin = Manifest::read(&ModelSource::Builtin).unwrap();
    builtin.verify(&ModelSource::Builtin).unwrap();
    assert_eq!(builtin, Manifest::read(&ModelSource::Dir(folder())).unwrap());
}

/// A copy of the model folder with one thing changed.
fn spoilt(spoil: impl FnOnce(&Path)) -> (tempfile::TempDir, Error) {
    let copy = tempfile::tempdir().unwrap();
    for name in ["manifest.json", "model.onnx", "tokenizer.json"] {
        std::fs::copy(folder().join(name), copy.path().join(name)).unwrap();
    }
    spoil(copy.path());
    let error = Embedder::load(&ModelSource::Dir(copy.path().to_owned()), &EmbedOptions::default()).unwrap_err();
    assert_eq!(error.fault(), Fault::Ours);
    assert!(error.hint().is_some(), "{error}");
    (copy, error)
}

#[track_caller]
fn check_edited(from: &str, to: &str, expect: &str) {
    let (_copy, error) = spoilt(|folder| {
        let path = folder.join("manifest.json");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    });
    assert!(error.to_string().contains(expect), "{error}");
}

#[test]
fn a_changed_file_is_refused_by_its_checksum() {
    for name in ["model.onnx", "tokenizer.json"] {
        let (_copy, error) = spoilt(|folder| {
            let mut bytes = std::fs::read(folder.join(name)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(folder.join(name), bytes).unwrap();
        });
        assert!(
            matches!(&error, Error::Checksum { path, expected, found } if path.ends_with(name) && expected != found)
        );
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    for name in ["manifest.json", "model.onnx", "tokenizer.json"] {
        let (copy, error) = spoilt(|folder| std::fs::remove_file(folder.join(name)).unwrap());
        assert_eq!(error.to_string(), format!("read model file `{}`", copy.path().join(name).display()));
    }
}

#[test]
fn a_manifest_that_promises_something_else_is_refused() {
    check_edited("\"format\": 1", "\"format\": 2", "has `format` = `2`");
    check_edited("\"pooling\": \"mean\"", "\"pooling\": \"cls\"", "has `pooling` = `cls`");
    check_edited("\"normalize\": true", "\"normalize\": false", "has `normalize` = `false`");
    check_edited("\"dimension\": 384", "\"dimension\": 512", "shape [1, 5, 384], but its manifest says dimension 512");
    check_edited("\"name\": \"model.onnx\"", "\"name\": \"../model.onnx\"", "has `files` = `../model.onnx`");
    check_edited("\"id\"", "\"no_id\"", "is not valid");
    check_edited("last_hidden_state", "pooler_output", "run model `minilm-tools-v1-nb8`");
}
