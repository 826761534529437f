//! `toolscout lint` on a scripted server, on a file and on the catalog.
//!
//! 1. A server that is not configured is started, linted and ended; nothing of it stays in the data folder.
//! 2. The exit code says whether anything is as bad as was asked about; JSON says the same as the table.
//! 3. A crawl whose changes make a tool harder to find says which, and behind whom; a running server logs it.

use serde_json::{Value, json};
use toolscout_testkit::e2e::{Era, eventually};
use toolscout_testkit::upstream::{Behave, Scripted};

use crate::hostile::upstream;
use crate::kit::{Scratch, root};

fn rules_of(report: &Value, tool: &str) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap_or_else(|| panic!("no findings in {report}"));
    let of_tool = findings.iter().filter(|finding| finding["tool"] == tool);
    of_tool.filter_map(|finding| finding["rule"].as_str()).map(str::to_owned).collect()
}

#[test]
fn a_server_that_is_not_configured_is_linted() {
    let scratch = Scratch::new("");
    let server = Scripted::new(&[Behave::Good]);
    let mut line = vec!["--".to_owned(), server.command()];
    line.extend(server.args());
    let command: Vec<&str> = line.iter().map(String::as_str).collect();
    let with = |flags: &[&'static str]| [&["lint"], flags, command.as_slice()].concat();

    // One of its tools has no description, which is an error.
    let ran = scratch.run(&with(&["--json"]));
    assert_eq!(ran.status.code(), Some(1), "{ran}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"));
    assert_eq!((&report["n_tools"], &report["index_state"]), (&json!(3), &json!("hybrid")), "{report}");
    assert!(rules_of(&report, "server:untyped").contains(&"missing-description".to_owned()), "{report}");
    assert!(rules_of(&report, "server:echo").contains(&"undescribed-parameter".to_owned()), "{report}");
    assert!(!rules_of(&report, "server:echo").contains(&"side-effect-undeclared".to_owned()), "{report}");
    let echo = report["tools"].as_array().unwrap().iter().find(|tool| tool["id"] == "server:echo").unwrap();
    assert!(echo["places"].as_array().unwrap().iter().any(|place| place["kind"] == "name" && place["rank"] == 1));

    let printed = scratch.run(&with(&[]));
    assert!(printed.stdout.contains("missing-description") && printed.stdout.contains("How to mend it"), "{printed}");
    assert_eq!(scratch.run(&with(&["--deny", "twin-description"])).status.code(), Some(0));
    assert_eq!(scratch.run(&with(&["--deny", "undescribed-parameter"])).status.code(), Some(1));
    let slip = scratch.run(&with(&["--deny", "twin-descriptions"]));
    assert!(slip.status.code() == Some(2) && slip.stderr.contains("twin-description"), "{slip}");
    let left: Vec<_> = std::fs::read_dir(scratch.path("data")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(scratch.run(&["lint", "--", "/nonexistent/server"]).status.code(), Some(5));
}

#[test]
fn a_file_and_the_catalog_are_linted() {
    let scratch = Scratch::new(&upstream("anchor", &Scripted::new(&[Behave::Good])));
    assert_eq!(scratch.run(&["lint"]).status.code(), Some(3), "there is nothing to lint yet");
    scratch.ok(&["crawl"]);
    let ran = scratch.run(&["lint", "anchor", "--json"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"));
    assert_eq!(report["n_tools"], 3);
    assert_eq!(scratch.run(&["lint", "ancor"]).status.code(), Some(2));
    let file = root().join("evals/tiny/tools.jsonl");
    let ran = scratch.run(&["lint", "--catalog", &file.to_string_lossy(), "--json", "--max", "5"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"));
    assert_eq!(report["n_searched"], 5, "{report}");
    assert!(report["n_tools"].as_u64().unwrap() > 5, "{report}");
}

#[test]
fn a_crawl_that_makes_a_tool_harder_to_find_says_so() {
    let scratch = Scratch::new(&upstream("anchor", &Scripted::new(&[Behave::Good])));
    scratch.ok(&["crawl"]);
    assert_eq!(scratch.json(&["crawl", "--json"])["found_less_well"], json!([]), "nothing changed");
    // The same server in a later version: another tool says what `echo` says, and louder.
    scratch.configure(&upstream("anchor", &Scripted::new(&[Behave::Good, Behave::Shouts])));
    let crawled = scratch.json(&["crawl", "--json"]);
    let fall = &crawled["found_less_well"][0];
    assert_eq!((&fall["tool"], &fall["before"]), (&json!("anchor:echo"), &json!(1)), "{crawled}");
    assert_eq!((&fall["behind"], &fall["by_itself"]), (&json!("anchor:say_what_you_say"), &json!(false)), "{crawled}");
}

#[test]
fn a_running_server_logs_it() {
    let scratch = Scratch::new(&upstream("restless", &Scripted::new(&[Behave::ChangesTools, Behave::Shouts])));
    scratch.ok(&["crawl"]);
    let gateway = scratch.serve();
    let mut client = gateway.client(Era::Modern);
    // Once it answers from vectors it has something to compare with.
    eventually("a hybrid answer", || {
        let found = client.call("search_tools", json!({"query": "say what I say"}));
        (found["structuredContent"]["index_state"] == "hybrid").then_some(())
    });
    let said = client.call("call_tool", json!({"id": "restless:echo", "arguments": {"text": "hello"}}));
    assert_ne!(said["isError"], true, "{said}");
    let said = eventually("the log to say it", || {
        let said = gateway.session.stderr();
        said.contains("a tool is found less well since a crawl").then_some(said)
    });
    assert!(said.contains("restless:echo fell from place 1"), "{said}");
    let told = gateway.get("/v1/upstreams").json();
    assert_eq!(told["upstreams"][0]["found_less_well"], json!(["restless:echo"]), "{told}");
    let listed = scratch.ok(&["upstreams", "list"]);
    assert!(listed.stderr.contains("1 tool found less well since a crawl of `restless`: restless:echo"), "{listed}");
    gateway.stop();
}
