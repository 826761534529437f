//! Where ONNX Runtime comes from. A process has one, so each case is a process of its own: this test binary again.
//!
//! 1. The built-in library can also be unpacked to a folder, and leaves nothing behind there.
//! 2. `ORT_DYLIB_PATH` wins over the built-in library, and is reported.
//! 3. A library that is none is refused with its path and a hint; nothing else is taken in its stead.

use std::path::Path;
use std::process::Command;

use toolscout_embed::{Embed, EmbedOptions, Embedder, ModelSource, RuntimeOptions, Unpack, Want};

/// What the child process is told to do: the folder to unpack to, or `-`.
const CHILD: &str = "TOOLSCOUT_TEST_UNPACK";

/// Not a case: the child of the cases below. Prints one line that starts with `child: `.
#[test]
fn child() {
    let Some(unpack) = std::env::var_os(CHILD) else { return };
    let unpack = if unpack == "-" { Unpack::Memory } else { Unpack::Folder(unpack.into()) };
    let options = EmbedOptions { runtime: RuntimeOptions { library: None, unpack }, ..EmbedOptions::default() };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/minilm-tools-v1");
    let line = match Embedder::load(&ModelSource::Dir(folder), &options) {
        Ok(embedder) => {
            let n_numbers = embedder.embed(&["list files"], Want::Pooled).unwrap()[0].pooled.len();
            format!("{} with {n_numbers} numbers", embedder.model().runtime.source)
        }
        Err(error) => format!("{error}; {}", error.hint().unwrap()),
    };
    println!("\nchild: {line}");
}

#[track_caller]
fn check(unpack: &Path, library: Option<&Path>, expect: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "runtime::child", "--nocapture"]).env(CHILD, unpack).env_remove("ORT_DYLIB_PATH");
    if let Some(library) = library {
        command.env("ORT_DYLIB_PATH", library);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("child: "));
    assert!(line.is_some_and(|line| line.contains(expect)), "{expect}: {text}");
}

#[test]
fn the_library_inside_comes_with_its_licence_and_notices() {
    let inside = option_env!("TOOLSCOUT_ORT_LIBRARY").is_some();
    let notices = toolscout_embed::runtime::notices();
    assert_eq!(notices.is_some(), inside);
    let says = |text| notices.is_none_or(|notices| notices.contains(text));
    assert!(says("MIT License") && says("THIRD PARTY SOFTWARE NOTICES"));
}

#[test]
fn the_library_inside_can_be_unpacked_and_leaves_nothing_behind() {
    if option_env!("TOOLSCOUT_ORT_LIBRARY").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let unpack = folder.path().join("made/if/missing");
    check(&unpack, None, "built in (unpacked) with 384 numbers");
    assert_eq!(std::fs::read_dir(unpack).unwrap().count(), 0);
}

#[test]
fn a_library_that_is_told_wins_over_the_one_inside() {
    // None on platforms that build.rs has no library for.
    let Some(library) = option_env!("TOOLSCOUT_ORT_LIBRARY").map(Path::new) else { return };
    check(Path::new("-"), Some(library), &format!("{} with 384 numbers", library.display()));
}

#[test]
fn a_library_that_is_none_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libonnxruntime.so");
    check(Path::new("-"), Some(&library), &format!("load ONNX Runtime from {}", library.display()));
    std::fs::write(&library, "not a library").unwrap();
    check(Path::new("-"), Some(&library), &format!("load ONNX Runtime from {}", library.display()));
    check(Path::new("-"), Some(&library), "set ORT_DYLIB_PATH to a libonnxruntime of version 1.24 or newer");
}
