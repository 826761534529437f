//! `eval run` over a suite file, with scripted servers.
//!
//! 1. The servers are set up and asked once; a second run of the same suite starts nobody.
//! 2. A label that no tool has ends the run before anything is measured, and so does a server that does not answer.

use toolscout_testkit::upstream::{Behave, Scripted};

use crate::kit::Scratch;

/// A suite of one scripted server, set up by a script that notes that it ran.
fn suite(scratch: &Scratch, command: &str, args: &[String], queries: &str) -> String {
    let args = serde_json::to_string(args).expect("strings are JSON");
    let setup = "#!/bin/sh\necho setting up >>\"$(dirname \"$0\")/ran\"\n";
    let suite = format!(
        "title = \"small\"\nqueries = \"queries.jsonl\"\nfolder = \"kept\"\nsetup = [\"sh\", \"{}\"]\n\
         [[server]]\nid = \"scripted\"\npackage = \"npm:scripted@1.2.3\"\ncommand = {command:?}\nargs = {args}\n",
        scratch.path("setup.sh").display()
    );
    for (name, text) in [("setup.sh", setup), ("suite.toml", &suite), ("queries.jsonl", queries)] {
        std::fs::write(scratch.path(name), text).expect("write a file");
    }
    scratch.path("suite.toml").display().to_string()
}

const GOOD: &str = r#"{"id":"1","query":"say what I say","relevant":["scripted:echo"],"slice":"direct"}"#;

#[test]
fn servers_are_asked_once_for_the_tools_that_queries_are_about() {
    let scratch = Scratch::new("");
    let server = Scripted::new(&[Behave::Good]).tools(20);
    let path = suite(&scratch, &server.command(), &server.args(), GOOD);
    for _ in 0..2 {
        let ran = scratch.ok(&["eval", "run", &path, "--arms", "bm25"]);
        assert!(ran.stdout.contains("set small: ") && ran.stdout.contains("1 queries"), "{ran}");
    }
    let ran = std::fs::read_to_string(scratch.path("ran")).expect("the setup ran");
    assert_eq!(ran, "setting up\n", "the second run needs no setup");
    let kept = std::fs::read_to_string(scratch.path("kept/suite-small/tools.jsonl")).expect("the catalog is kept");
    assert!(kept.lines().count() > 20, "{kept}");

    // Another edition of the suite file asks again.
    let path = suite(&scratch, &server.command(), &Scripted::new(&[Behave::Good]).tools(30).args(), GOOD);
    scratch.ok(&["eval", "run", &path, "--arms", "bm25"]);
    let again = std::fs::read_to_string(scratch.path("kept/suite-small/tools.jsonl")).expect("the catalog is kept");
    assert_eq!(again.lines().count(), kept.lines().count() + 10);
}

#[test]
fn a_label_or_a_server_that_fails_ends_the_run() {
    let scratch = Scratch::new("");
    let server = Scripted::new(&[Behave::Good]);
    let path = suite(&scratch, &server.command(), &server.args(), &GOOD.replace("echo", "eco"));
    let ran = scratch.run(&["eval", "run", &path, "--arms", "bm25"]);
    assert!(ran.status.code() == Some(1) && ran.stderr.contains("query `1`: no tool `scripted:eco`"), "{ran}");
    assert!(ran.stdout.is_empty(), "{ran}");

    let path = suite(&scratch, "/nonexistent/server", &[], GOOD);
    let ran = scratch.run(&["eval", "run", &path, "--arms", "bm25"]);
    assert!(ran.status.code() == Some(5) && ran.stderr.contains("1 server could not be asked"), "{ran}");
    assert!(!ran.stderr.contains("is kept in"), "{ran}");
}
