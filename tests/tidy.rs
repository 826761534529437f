//! The house keeps its own rules.
//!
//! 1. A crate depends only on crates in rows above its own, and the table in ARCHITECTURE.md is the real one.
//! 2. Every crate takes the workspace's lints and opens with a front page that asks the question it answers.
//! 3. A third-party engine is used by its one crate: sled by `store`, tantivy and hnsw_rs by `index`, fastembed and ort by
//!    `embed`, rmcp by `upstream` and `gateway`.
//! 4. Links and paths in the documents lead somewhere, and every test that ARCHITECTURE.md names exists.
//! 5. The top level holds what it should and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace's root")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()))
}

/// `crate → row` as ARCHITECTURE.md's table says; `dev` is a row of its own below all.
fn rows() -> BTreeMap<String, u8> {
    let table = read(&root().join("ARCHITECTURE.md"));
    let rows: BTreeMap<String, u8> = table
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let row = cells.next()?;
            let row = if row == "dev" { 99 } else { row.parse().ok()? };
            Some((cells.next()?.trim_matches('`').to_owned(), row))
        })
        .collect();
    assert!(rows.len() > 10, "ARCHITECTURE.md's table of crates was not found");
    rows
}

fn crates() -> Vec<(String, PathBuf)> {
    let mut crates: Vec<_> = fs::read_dir(root().join("crates"))
        .expect("the folder crates")
        .map(|entry| entry.expect("an entry of crates").path())
        .filter(|path| path.join("Cargo.toml").exists())
        .map(|path| (path.file_name().expect("an entry has a name").to_string_lossy().into_owned(), path))
        .collect();
    crates.sort();
    crates
}

fn dependencies(manifest: &toml::Table, kind: &str) -> BTreeSet<String> {
    manifest.get(kind).and_then(toml::Value::as_table).map(|t| t.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn crates_use_only_rows_above_their_own() {
    let rows = rows();
    let mut wrong = Vec::new();
    for (name, path) in crates() {
        let Some(&row) = rows.get(&name) else {
            wrong.push(format!("crates/{name} is not in ARCHITECTURE.md's table"));
            continue;
        };
        let manifest: toml::Table = read(&path.join("Cargo.toml")).parse().unwrap();
        for dep in dependencies(&manifest, "dependencies") {
            let Some(dep) = dep.strip_prefix("toolscout-") else { continue };
            if rows.get(dep).is_none_or(|&dep_row| dep_row >= row) {
                wrong.push(format!("crates/{name} (row {row}) must not depend on `{dep}`"));
            }
        }
    }
    let on_disk: BTreeSet<String> = crates().into_iter().map(|(name, _)| name).collect();
    wrong.extend(
        rows.keys()
            .filter(|name| !on_disk.contains(*name))
            .map(|name| format!("the table lists `{name}`, which is not there")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn engines_stay_behind_their_one_crate() {
    let homes: [(&str, &[&str]); 7] = [
        ("sled", &["store"]),
        ("tantivy", &["index"]),
        ("hnsw_rs", &["index"]),
        ("fastembed", &["embed"]),
        ("ort", &["embed"]),
        ("jsonschema", &["gateway"]),
        ("rmcp", &["upstream", "gateway", "testkit"]),
    ];
    let mut wrong = Vec::new();
    for (name, path) in crates() {
        let manifest: toml::Table = read(&path.join("Cargo.toml")).parse().unwrap();
        let deps = dependencies(&manifest, "dependencies");
        for (engine, allowed) in homes {
            if deps.contains(engine) && !allowed.contains(&name.as_str()) {
                wrong.push(format!("crates/{name} uses {engine}, which belongs to {allowed:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_crate_takes_the_lints_and_has_a_front_page() {
    let mut wrong = Vec::new();
    for (name, path) in crates() {
        let manifest: toml::Table = read(&path.join("Cargo.toml")).parse().unwrap();
        let lints = manifest.get("lints").and_then(|l| l.get("workspace")).and_then(toml::Value::as_bool);
        if lints != Some(true) {
            wrong.push(format!("crates/{name}/Cargo.toml lacks `[lints] workspace = true`"));
        }
        let described = manifest["package"].get("description").and_then(toml::Value::as_str).unwrap_or_default();
        if described.len() < 20 {
            wrong.push(format!("crates/{name}/Cargo.toml lacks a description"));
        }
        let page = [path.join("src/lib.rs"), path.join("src/main.rs")]
            .into_iter()
            .find(|p| p.exists())
            .expect("a crate has code");
        let front: Vec<String> = read(&page).lines().take_while(|l| l.starts_with("//!")).map(str::to_owned).collect();
        if front.len() < 3 || (name != "cli" && name != "testkit" && !front[0].contains('?') && !front[1].contains('?'))
        {
            wrong.push(format!(
                "{} must open with a page whose first lines ask the question the crate answers",
                page.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The documents a newcomer reads.
fn documents() -> Vec<PathBuf> {
    let root = root();
    let mut found: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "STYLE.md", "CHANGELOG.md"].iter().map(|f| root.join(f)).collect();
    for folder in ["models", "evals", "catalog", "tests"] {
        walk(&root.join(folder), &mut |path| {
            if path.extension().is_some_and(|e| e == "md") {
                found.push(path.to_owned());
            }
        });
    }
    found
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        let skipped = name.starts_with('.') || matches!(name.as_str(), "target" | "node_modules");
        if path.is_dir() && !skipped {
            walk(&path, visit);
        } else if path.is_file() {
            visit(&path);
        }
    }
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = read(&document);
        let folder = document.parent().unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            let is_outside = target.contains("://") || target.starts_with("mailto:");
            if !target.is_empty() && !is_outside && !folder.join(target).exists() {
                wrong.push(format!("{}: link to {target} leads nowhere", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_test_that_architecture_names_exists() {
    let mut code = String::new();
    for folder in ["crates", "tests"] {
        walk(&root().join(folder), &mut |path| {
            if path.extension().is_some_and(|e| e == "rs") {
                code.push_str(&read(path));
            }
        });
    }
    let text = read(&root().join("ARCHITECTURE.md"));
    let invariants = text.split("## Invariants").nth(1).expect("ARCHITECTURE.md has a chapter Invariants");
    let invariants = invariants.split("\n## ").next().unwrap();
    let named: Vec<&str> = invariants.split("test `").skip(1).filter_map(|rest| rest.split('`').next()).collect();
    assert!(named.len() >= 10, "each invariant names its test, found {}", named.len());
    let missing: Vec<&&str> =
        named.iter().filter(|name| !code.contains(&format!("fn {}(", name.rsplit("::").next().unwrap()))).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names tests that are not there: {missing:?}");
}

#[test]
fn the_top_level_holds_what_it_should() {
    let expected = BTreeSet::from([
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "Makefile",
        "README.md",
        "STYLE.md",
        "catalog",
        "clippy.toml",
        "crates",
        "deny.toml",
        "evals",
        "models",
        "rustfmt.toml",
        "tests",
    ]);
    let found: BTreeSet<String> = fs::read_dir(root())
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && name != "target")
        .collect();
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, expected);
}
