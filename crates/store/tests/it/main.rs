//! The store against kills and damaged files.
//!
//! 1. What was acknowledged is there after reopening; a second open of the same folder is refused by name.
//! 2. Whatever is done to the engine's files, opening succeeds, nothing is deleted, and kept trees are whole again.
//! 3. The journal: a torn last line is cut, a damaged line left out, a lost engine refilled, growth ends in compaction.
//! 4. A process killed at any moment leaves each batch whole or absent, and nothing acknowledged is lost.
//! 5. A folder written by an earlier format opens; one by a later format is left alone.

#![expect(clippy::unwrap_used, reason = "tests; clippy's exception for them does not reach their helpers")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use toolscout_store::{Batch, Damage, Error, Store, Tree, TreeName};

type Rows = BTreeMap<String, String>;

fn rows(tree: &Tree) -> Rows {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    tree.scan(b"").map(|row| row.unwrap()).map(|(key, value)| (text(key), text(value))).collect()
}

/// A store with a few hundred kept rows, some overwritten, some removed, and relaxed ones besides; what the kept tree holds.
fn fill(dir: &Path) -> Rows {
    let opened = Store::open(dir).unwrap();
    let tree = opened.store.tree(TreeName::Catalog).unwrap();
    for round in 0..30 {
        let mut batch = Batch::default();
        for i in 0..20 {
            batch.put(
                format!("key-{:03}", (round * 7 + i) % 150),
                format!("value {round} {}", "x".repeat(i * 20)).into_bytes(),
            );
        }
        batch.remove(format!("key-{:03}", round * 3));
        tree.apply(batch).unwrap();
    }
    let vectors = opened.store.tree(TreeName::Vectors).unwrap();
    // Enough for several of the engine's segments, between and behind the kept rows.
    for round in 0..20_u32 {
        let mut batch = Batch::default();
        (0..200).for_each(|i| batch.put((round * 200 + i).to_be_bytes(), vec![7; 400]));
        vectors.apply(batch).unwrap();
        tree.put(b"between", round.to_string().into_bytes()).unwrap();
    }
    vectors.flush().unwrap();
    rows(&tree)
}

fn engine_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("sled")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// Fills a store, lets `harm` loose on its folder, and expects every kept row back.
#[track_caller]
fn check(harm: impl Fn(&Path)) -> Option<Damage> {
    let dir = tempfile::tempdir().unwrap();
    let expected = fill(dir.path());
    harm(dir.path());
    let opened = Store::open(dir.path()).unwrap();
    let tree = opened.store.tree(TreeName::Catalog).unwrap();
    assert!(rows(&tree) == expected);
    tree.put(b"again", b"works".to_vec()).unwrap();
    if let Some(damage) = &opened.damage {
        assert!(damage.set_aside.exists(), "set aside, not deleted");
        assert!(damage.n_refilled > 0);
    }
    drop((tree, opened.store));
    let again = Store::open(dir.path()).unwrap();
    assert_eq!(again.damage, None, "mended once and for all");
    assert_eq!(again.store.tree(TreeName::Catalog).unwrap().get(b"again").unwrap().as_deref(), Some(&b"works"[..]));
    opened.damage
}

#[test]
fn rows_survive_reopening_and_two_never_share_a_folder() {
    assert_eq!(check(|_| {}), None);
    let dir = tempfile::tempdir().unwrap();
    let opened = Store::open(dir.path()).unwrap();
    let Err(error) = Store::open(dir.path()) else { panic!("opened twice") };
    assert!(matches!(error, Error::Busy { .. }));
    assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
    drop(opened);
    assert!(Store::open(dir.path()).is_ok());
}

#[test]
fn truncated_engine_files_are_survived() {
    for share in [0, 1, 2, 5, 9] {
        check(|dir| {
            for file in engine_files(dir) {
                let len = fs::metadata(&file).unwrap().len();
                fs::File::options().write(true).open(&file).unwrap().set_len(len * share / 10).unwrap();
            }
        });
    }
}

#[test]
fn zeroed_engine_files_are_survived() {
    let found = (0..10).filter(|tenth| {
        let damage = check(|dir| {
            let file = dir.join("sled/db");
            let mut bytes = fs::read(&file).unwrap();
            // The file is mostly padding: aim at the part that is written.
            let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            let at = written * tenth / 10;
            let end = (at + 64).min(bytes.len());
            bytes[at..end].fill(0);
            fs::write(&file, bytes).unwrap();
        });
        damage.is_some()
    });
    assert!(found.count() > 0, "no harm done, nothing shown");
}

#[test]
fn missing_engine_files_are_survived() {
    check(|dir| {
        for file in engine_files(dir) {
            if file.file_name().unwrap().to_string_lossy().starts_with("snap") {
                fs::remove_file(file).unwrap();
            }
        }
    });
    check(|dir| fs::remove_file(dir.join("sled/db")).unwrap());
    check(|dir| fs::remove_file(dir.join("sled/conf")).unwrap());
    check(|dir| fs::remove_dir_all(dir.join("sled")).unwrap());
    check(|dir| {
        for file in engine_files(dir) {
            fs::write(file, b"not what was here").unwrap();
        }
    });
}

#[test]
fn damage_found_in_use_is_acted_on_at_the_next_open() {
    let damage = check(|dir| fs::write(dir.join("damaged"), "found while reading").unwrap());
    assert_eq!(damage.unwrap().reason, "found while reading");
}

#[test]
fn a_torn_or_lost_journal_costs_nothing_while_the_engine_is_whole() {
    check(|dir| fs::remove_file(dir.join("journal.jsonl")).unwrap());
    check(|dir| fs::write(dir.join("journal.jsonl"), b"garbage").unwrap());
    check(|dir| {
        let mut file = fs::File::options().append(true).open(dir.join("journal.jsonl")).unwrap();
        file.write_all(b"{\"sum\":\"0123").unwrap();
    });
}

#[test]
fn a_damaged_journal_line_loses_that_batch_alone() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = Store::open(dir.path()).unwrap().store;
        let tree = store.tree(TreeName::Meta).unwrap();
        for key in ["one", "two", "three"] {
            tree.put(key.as_bytes(), b"here".to_vec()).unwrap();
        }
    }
    let journal = dir.path().join("journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap().replace("\"two\"", "\"TWO\"");
    fs::write(&journal, text).unwrap();
    fs::write(dir.path().join("damaged"), "scripted").unwrap();
    let opened = Store::open(dir.path()).unwrap();
    let damage = opened.damage.unwrap();
    assert_eq!((damage.n_refilled, damage.n_bad_lines), (2, 1));
    let kept: Vec<String> = rows(&opened.store.tree(TreeName::Meta).unwrap()).into_keys().collect();
    assert_eq!(kept, ["one", "three"]);
}

#[test]
fn a_journal_that_lost_its_file_after_damage_still_follows_the_engine() {
    // The engine is at batch 30; a journal that starts anew must not count from 1, or its lines would look old.
    let dir = tempfile::tempdir().unwrap();
    let mut expected = fill(dir.path());
    fs::remove_file(dir.path().join("journal.jsonl")).unwrap();
    {
        let store = Store::open(dir.path()).unwrap().store;
        store.tree(TreeName::Catalog).unwrap().put(b"later", b"x".to_vec()).unwrap();
        expected.insert("later".to_owned(), "x".to_owned());
    }
    fs::write(dir.path().join("damaged"), "scripted").unwrap();
    let store = Store::open(dir.path()).unwrap().store;
    assert!(rows(&store.tree(TreeName::Catalog).unwrap()) == expected);
}

#[test]
fn the_journal_is_compacted_when_it_has_grown_and_refills_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let expected = {
        let store = Store::open(dir.path()).unwrap().store;
        let tree = store.tree(TreeName::Catalog).unwrap();
        for round in 0..60_u32 {
            tree.put(format!("key-{}", round % 7).as_bytes(), format!("{round}").repeat(300_000).into_bytes()).unwrap();
        }
        store.tree(TreeName::Quality).unwrap().put(&[0, 159, 146, 150], vec![255, 0, 1]).unwrap();
        assert!(fs::metadata(dir.path().join("journal.jsonl")).unwrap().len() < 25_000_000, "of 33 MB written");
        rows(&tree)
    };
    assert!(!dir.path().join("journal.jsonl.new").exists());
    fs::write(dir.path().join("damaged"), "scripted").unwrap();
    let store = Store::open(dir.path()).unwrap().store;
    assert!(rows(&store.tree(TreeName::Catalog).unwrap()) == expected);
    let odd = store.tree(TreeName::Quality).unwrap().get(&[0, 159, 146, 150]).unwrap();
    assert_eq!(odd, Some(vec![255, 0, 1]), "bytes that are no text survive the journal too");
}

#[test]
fn a_folder_of_a_later_format_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    fs::write(dir.path().join("format"), "2\n").unwrap();
    let Err(error) = Store::open(dir.path()) else { panic!("opened") };
    assert!(matches!(error, Error::Newer { newest: 1, .. }));
}

/// Kept for ever: what version 1 wrote. The engine's own files are left out, they are half a megabyte of padding; the
/// journal holds every kept row.
#[test]
fn a_journal_of_format_1_still_opens() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/format-1");
    for name in ["format", "journal.jsonl"] {
        fs::copy(fixture.join(name), dir.path().join(name)).unwrap();
    }
    let store = Store::open(dir.path()).unwrap().store;
    let found = rows(&store.tree(TreeName::Catalog).unwrap());
    let expected: Rows =
        [("plain", "row"), ("quoted \"key\"", "line\nbreak")].map(|(k, v)| (k.into(), v.into())).into();
    assert_eq!(found, expected);
    assert_eq!(store.tree(TreeName::Meta).unwrap().get(&[255]).unwrap(), Some(vec![0, 254]));
}

/// Child of the test below: writes batches for ever and says after each that it is done.
#[test]
fn write_until_killed() {
    let Ok(dir) = std::env::var("TOOLSCOUT_STORE_TEST_DIR") else { return };
    let store = Store::open(Path::new(&dir)).unwrap().store;
    let tree = store.tree(TreeName::Catalog).unwrap();
    let from = tree.get(b"row-0").unwrap().map_or(0, |value| String::from_utf8(value).unwrap().parse::<u64>().unwrap());
    for n in from + 1.. {
        let mut batch = Batch::default();
        (0..50).for_each(|i| batch.put(format!("row-{i}"), n.to_string().into_bytes()));
        tree.apply(batch).unwrap();
        println!("done {n}");
    }
}

#[test]
fn a_kill_at_any_moment_leaves_whole_batches_and_everything_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for lines in [1, 3, 8, 20, 2, 40] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "write_until_killed", "--nocapture"])
            .env("TOOLSCOUT_STORE_TEST_DIR", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let done =
            output.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("done ")?.parse::<u64>().ok());
        acknowledged = done.take(lines).last().unwrap_or(acknowledged);
        child.kill().unwrap();
        child.wait().unwrap();
        let opened = Store::open(dir.path()).unwrap();
        assert_eq!(opened.damage, None);
        let found = rows(&opened.store.tree(TreeName::Catalog).unwrap());
        let values: std::collections::BTreeSet<&String> = found.values().collect();
        assert_eq!((found.len(), values.len()), (50, 1), "a torn batch: {values:?}");
        let value: u64 = values.first().unwrap().parse().unwrap();
        assert!(value >= acknowledged, "{value} < {acknowledged}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Generated batches against a `BTreeMap`, with reopening and losing the engine in between.
    #[test]
    fn a_tree_is_a_map(steps in prop::collection::vec((prop::collection::vec((0..20_u8, prop::option::of("\\PC{0,8}")), 1..6), 0..6_u8), 1..12)) {
        let dir = tempfile::tempdir().unwrap();
        let mut model = Rows::new();
        let mut store = Some(Store::open(dir.path()).unwrap().store);
        for (writes, what) in steps {
            let tree = store.as_ref().unwrap().tree(TreeName::Quality).unwrap();
            let mut batch = Batch::default();
            for (key, value) in writes {
                let key = format!("k{key}");
                match value {
                    Some(value) => { batch.put(key.clone(), value.clone().into_bytes()); model.insert(key, value); }
                    None => { batch.remove(key.clone()); model.remove(&key); }
                }
            }
            tree.apply(batch).unwrap();
            drop(tree);
            if what < 2 {
                drop(store.take());
                if what == 1 {
                    fs::remove_dir_all(dir.path().join("sled")).unwrap();
                }
                store = Some(Store::open(dir.path()).unwrap().store);
            }
            prop_assert_eq!(&rows(&store.as_ref().unwrap().tree(TreeName::Quality).unwrap()), &model);
        }
    }
}
