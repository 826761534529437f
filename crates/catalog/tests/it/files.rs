//! `tools.jsonl` in and out.

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use toolscout_catalog::{Catalog, Imported, Origin};
use toolscout_core::Timestamp;
use toolscout_store::Store;

use crate::{id, listing, open, tool, upstream};

fn import(catalog: &Catalog, lines: &[&str]) -> Imported {
    catalog.import_jsonl(lines.join("\n").as_bytes(), Timestamp(5)).unwrap()
}

fn export(catalog: &Catalog) -> String {
    let mut out = Vec::new();
    catalog.export_jsonl(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[track_caller]
fn check(lines: &[&str], expected: &Expect) {
    let catalog = open(&Store::temporary().unwrap());
    let imported = import(&catalog, lines);
    assert_eq!(imported.n_tools, catalog.view().len());
    let mut shown: Vec<String> = imported.ids.iter().map(|(label, id)| format!("{label} -> {id}")).collect();
    shown.extend(imported.problems.iter().map(|problem| format!("line {}: {}", problem.line, problem.reason)));
    expected.assert_eq(&shown.join("\n"));
}

#[test]
fn good_lines_become_tools_and_bad_ones_are_told() {
    check(
        &[
            r#"{"id":"one","server":"My Server","name":"x","description":"d"}"#,
            "",
            r#"{"id":2,"server":"my_server","name":"x","description":"d"}"#,
            r#"{"id":"three","server":"My Server","name":"x"}"#,
            r#"{"id":"one","server":"My Server","name":"y"}"#,
            r#"{"id":"four","server":"高德地图","name":"x"}"#,
            r#"{"id":"five","server":"s","name":""}"#,
            r#"{"id":"six","name":"x"}"#,
            r#"{"id":"seven","server":null,"name":"y"}"#,
            r#"{"id":"eight","server":8,"name":"y"}"#,
            r#"{"id":"","server":"s","name":"x"}"#,
            "[1]",
            "{",
        ],
        &expect![[r#"
            2 -> my-server-ddc1744a:x
            four -> server-1ecb3ba1:x
            one -> my-server:x
            seven -> tools:y
            six -> tools:x
            line 4: the same server and name as line 1
            line 5: the same id as line 1
            line 7: tool name `` must be 1 to 256 bytes without control characters
            line 10: `server` is not a string
            line 11: `id` must have 1 to 512 bytes
            line 12: not a JSON object
            line 13: not JSON: EOF while parsing an object at line 1 column 1"#]],
    );
    check(&[], &expect![""]);
}

#[test]
fn what_was_imported_comes_back_out_and_in_again() {
    let lines = [
        r#"{"id":"label 1","server":"My Server","name":"x","title":"T","description":"d","input_schema":{"type":"object"},"annotations":{"readOnlyHint":true}}"#,
        r#"{"id":"s:y","server":"s","name":"y","description":"","output_schema":{"type":"object"}}"#,
    ];
    let catalog = open(&Store::temporary().unwrap());
    import(&catalog, &lines);
    let out = export(&catalog);
    assert_eq!(out.lines().collect::<Vec<_>>(), lines);
    let view = catalog.view();
    assert_eq!(view.upstream(&upstream("my-server")).unwrap().origin, Origin::Imported);
    let again = import(&catalog, &out.lines().collect::<Vec<_>>());
    assert!(again.change.diff.is_empty());
    assert_eq!(again.change.view.generation, view.generation);
    // A label alone can change, too.
    let renamed = out.replace("label 1", "label 2");
    assert_eq!(import(&catalog, &renamed.lines().collect::<Vec<_>>()).ids["label 2"], id("my-server:x"));
    assert_eq!(export(&catalog), renamed);
}

#[test]
fn crawled_tools_are_exported_by_their_ids() {
    let catalog = open(&Store::temporary().unwrap());
    let mut crawled = listing("files", 1, [tool("read", "Reads."), json!({"name": "bare"})]);
    crawled.server.name = "Some Other Name".to_owned();
    catalog.apply(crawled).unwrap();
    let lines: Vec<Value> = export(&catalog).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], json!({"id": "files:bare", "server": "files", "name": "bare", "description": ""}));
    assert_eq!((&lines[1]["id"], &lines[1]["server"]), (&json!("files:read"), &json!("files")));
}

#[test]
fn a_line_without_end_is_left_out_and_the_next_one_read() {
    let long = format!(r#"{{"id":"a","server":"s","name":"x","description":"{}"}}"#, "y".repeat(5 << 20));
    let catalog = open(&Store::temporary().unwrap());
    let imported = import(&catalog, &[&long, r#"{"id":"b","server":"s","name":"z"}"#]);
    assert_eq!((imported.n_tools, imported.problems[0].line), (1, 1));
}
