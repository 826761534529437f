//! A cross-encoder on the real runtime: the model of `fixtures/overlap` counts the words that two texts have in common.
//!
//! 1. The score is the model's, the same alone and among others, in the order of the texts.
//! 2. Any text is fine.
//! 3. It stops between two pairs when it is told to.
//! 4. A wrong, missing or foreign file is refused with a message that names it.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use toolscout_embed::{CrossEncoder, CrossManifest, EmbedOptions, Error};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/overlap")
}

fn load(folder: &Path) -> Result<CrossEncoder, Error> {
    CrossEncoder::load(folder, &EmbedOptions::default())
}

#[test]
fn scores_are_the_models_whatever_stands_beside() {
    let encoder = load(&folder()).unwrap();
    assert_eq!((encoder.manifest().id.as_str(), encoder.manifest().licence.as_str()), ("overlap", "Apache-2.0"));
    let texts = ["Search the web", "Send an email to the web", "", "SEND an email letter to mail"];
    let query = "send an email letter";
    let scores = encoder.weigh(query, &texts, &|| true).unwrap().unwrap();
    assert_eq!(scores, [0.0, 3.0, 0.0, 4.0]);
    for (text, score) in texts.iter().zip(&scores) {
        assert_eq!(encoder.weigh(query, &[text], &|| true).unwrap().unwrap(), [*score], "{text}");
    }
    assert_eq!(encoder.weigh(query, &[], &|| true).unwrap().unwrap(), [] as [f32; 0]);
}

#[test]
fn any_text_is_fine() {
    let encoder = load(&folder()).unwrap();
    let long = "read the file ".repeat(20_000);
    let texts = [long.as_str(), "検索🎉\u{0}", " \n"];
    assert_eq!(encoder.weigh("read a file", &texts, &|| true).unwrap().unwrap(), [2.0, 0.0, 0.0]);
    assert_eq!(encoder.weigh(&long, &["the web"], &|| true).unwrap().unwrap(), [1.0]);
}

#[test]
fn it_stops_when_told() {
    let encoder = load(&folder()).unwrap();
    let n_left = Cell::new(2);
    let go_on = || n_left.replace(n_left.get().max(1) - 1) > 0;
    assert_eq!(encoder.weigh("mail", &["mail", "web", "file", "issue"], &go_on).unwrap(), None);
}

/// A copy of the folder with one thing changed.
#[track_caller]
fn check(spoil: impl FnOnce(&Path), expect: &str) {
    let copy = tempfile::tempdir().unwrap();
    for name in ["manifest.json", "model.onnx", "tokenizer.json"] {
        std::fs::copy(folder().join(name), copy.path().join(name)).unwrap();
    }
    spoil(copy.path());
    let error = load(copy.path()).unwrap_err();
    assert!(error.to_string().contains(expect), "{error}");
    assert!(error.hint().is_some(), "{error}");
}

#[track_caller]
fn check_edited(from: &str, to: &str, expect: &str) {
    let edit = |folder: &Path| {
        let path = folder.join("manifest.json");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    };
    check(edit, expect);
}

#[test]
fn what_is_not_what_it_claims_is_refused() {
    check(|folder| std::fs::write(folder.join("model.onnx"), b"other").unwrap(), "model.onnx` has sha256");
    check(|folder| std::fs::remove_file(folder.join("tokenizer.json")).unwrap(), "tokenizer.json`");
    check(|folder| std::fs::write(folder.join("manifest.json"), b"{").unwrap(), "is not valid");
    check_edited("\"format\": 1", "\"format\": 2", "has `format` = `2`");
    check_edited("\"max_tokens\": 64", "\"max_tokens\": 4", "has `max_tokens` = `4`");
    check_edited("\"name\": \"model.onnx\"", "\"name\": \"../model.onnx\"", "has `files` = `../model.onnx`");
    // What is a model, but no cross-encoder.
    let embedding = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/minilm-tools-v1");
    let error = CrossManifest::read(&embedding).unwrap_err();
    assert!(error.to_string().contains("has `kind` = `an embedding model`, but only `cross_encoder` works"), "{error}");
}
