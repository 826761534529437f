//! Nine real servers from npm and PyPI behind one gateway.
//!
//! 1. A crawl lists all of them, 240 tools and more, and says so.
//! 2. A task in plain words finds the right tool among them, on every face: command line, HTTP and stdio, both eras.
//! 3. A call through the gateway does on the other side what it says: a file is read, a fact is remembered.
//! 4. Nothing of it outlives the gateway.

use std::process::Command;

use serde_json::{Value, json};
use toolscout_testkit::e2e::{Client, Era, Session};

use crate::kit::{Scratch, ids, real_servers, structured, text_of};

/// Tasks, and the tools of which one must be among the first five.
const TASKS: &[(&str, &[&str])] = &[
    ("read the contents of a text file", &["filesystem:read_text_file", "filesystem:read_file"]),
    ("show the commit history of a repository", &["git:git_log"]),
    ("what time is it in Tokyo", &["time:get_current_time"]),
    ("store new entities in the knowledge graph", &["memory:create_entities"]),
    ("take a screenshot of the current web page", &["playwright:browser_take_screenshot"]),
    ("create an issue in a project", &["gitlab:create_issue"]),
    ("fetch a web page and turn it into markdown", &["fetch:fetch"]),
    ("think through a problem step by step", &["sequential-thinking:sequentialthinking"]),
    ("echo back a message", &["everything:echo"]),
];

/// Least tools of each server. Exact numbers would break with every update of a pin, for no gain.
const LEAST: &[(&str, usize)] = &[
    ("everything", 10),
    ("fetch", 1),
    ("filesystem", 12),
    ("git", 10),
    ("gitlab", 100),
    ("memory", 8),
    ("playwright", 50),
    ("sequential-thinking", 1),
    ("time", 2),
];

#[test]
fn a_task_in_words_becomes_a_call_on_the_right_server_on_every_face() {
    let scratch = Scratch::new("");
    scratch.configure(&real_servers(&scratch));
    std::fs::write(scratch.path("files/poem.txt"), "Roses are red, files can be read.\n").expect("write a file");
    make_repository(&scratch);

    let crawled = scratch.ok(&["crawl"]);
    for (upstream, _) in LEAST {
        assert!(
            crawled.stdout.contains(upstream) || crawled.stderr.contains(upstream),
            "crawl hides {upstream}: {crawled}"
        );
    }
    every_server_lists_its_tools(&scratch);
    for (task, wanted) in TASKS {
        let answer = scratch.json(&["search", task, "--json"]);
        assert_found(task, wanted, &answer);
    }

    let gateway = scratch.serve();
    for era in [Era::Legacy, Era::Modern] {
        use_it(&scratch, &mut gateway.client(era), &format!("http-{era:?}"));
    }
    gateway.stop();

    for era in [Era::Legacy, Era::Modern] {
        let mut session = Session::spawn(&scratch.command(&["serve", "--stdio"]));
        let mut client = Client::stdio(&mut session, era);
        use_it(&scratch, &mut client, &format!("stdio-{era:?}"));
        drop(client);
        let status = session.wait();
        assert!(status.success(), "serve --stdio ended with {status}: {}", session.stderr());
        session.assert_empty();
    }
}

#[track_caller]
fn every_server_lists_its_tools(scratch: &Scratch) {
    let listed = scratch.json(&["tools", "list", "--json"]);
    let tools = listed.as_array().or(listed["tools"].as_array()).expect("tools list prints an array").clone();
    for (upstream, least) in LEAST {
        let prefix = format!("{upstream}:");
        let n = tools.iter().filter(|tool| tool["id"].as_str().is_some_and(|id| id.starts_with(&prefix))).count();
        assert!(n >= *least, "{upstream} has {n} tools of at least {least}");
    }
    assert!(tools.len() >= 240, "only {} tools", tools.len());
}

#[track_caller]
fn assert_found(task: &str, wanted: &[&str], answer: &Value) {
    let found = ids(answer);
    assert!(found.iter().any(|id| wanted.contains(&id.as_str())), "`{task}` found {found:?}, not one of {wanted:?}");
}

/// What an agent does: list the few tools, search, call what was found.
fn use_it(scratch: &Scratch, client: &mut Client, face: &str) {
    let names: Vec<String> =
        client.tools().iter().filter_map(|tool| tool["name"].as_str()).map(str::to_owned).collect();
    for meta in ["search_tools", "get_tool_details", "call_tool", "explain_selection"] {
        assert!(names.iter().any(|name| name == meta), "{face}: tools/list lacks {meta}: {names:?}");
    }
    assert!(names.len() < 10, "{face}: tools/list is not small: {names:?}");

    let mut selection = Value::Null;
    for (task, wanted) in TASKS {
        let result = client.call("search_tools", json!({"query": task}));
        let answer = structured(&result);
        assert_found(task, wanted, answer);
        selection = answer["selection_id"].clone();
    }
    let explained = client.call("explain_selection", json!({"selection_id": selection}));
    assert!(text_of(&explained).contains("everything"), "{face}: {explained}");

    let details = client.call("get_tool_details", json!({"ids": ["filesystem:read_text_file"]}));
    assert!(text_of(&details).contains("path"), "{face}: {details}");

    let poem = scratch.path("files/poem.txt");
    let mut says = |id: &str, arguments: Value, expected: &str| {
        let result = client.call("call_tool", json!({"id": id, "arguments": arguments}));
        assert!(result["isError"] != json!(true), "{face}: {id}: {result}");
        assert!(text_of(&result).contains(expected), "{face}: {id} does not say {expected:?}: {result}");
    };
    says("filesystem:read_text_file", json!({"path": poem}), "Roses are red");
    says("git:git_log", json!({"repo_path": scratch.path("files/repo"), "max_count": 1}), "plant the first tree");
    says("time:get_current_time", json!({"timezone": "Asia/Tokyo"}), "+09:00");
    says("everything:echo", json!({"message": face}), face);
    let entity = json!({"name": face, "entityType": "face", "observations": ["was here"]});
    says("memory:create_entities", json!({"entities": [entity]}), face);
    says("memory:search_nodes", json!({"query": face}), "was here");
    let thought = json!({"thought": "first", "thoughtNumber": 1, "totalThoughts": 1, "nextThoughtNeeded": false});
    says("sequential-thinking:sequentialthinking", thought, "thoughtNumber");

    // A mistake of the caller is an answer that helps, not a failure of anybody else.
    let wrong = client.call("call_tool", json!({"id": "filesystem:read_text_file", "arguments": {"file": "x"}}));
    assert_eq!(wrong["isError"], json!(true), "{face}: {wrong}");
    assert!(text_of(&wrong).contains("path"), "{face}: the right parameter is not named: {wrong}");
    let unknown = client.call("call_tool", json!({"id": "filesystem:read_textfile", "arguments": {}}));
    assert!(text_of(&unknown).contains("read_text_file"), "{face}: the nearest name is missing: {unknown}");
}

fn make_repository(scratch: &Scratch) {
    let repo = scratch.path("files/repo");
    std::fs::create_dir(&repo).expect("a folder");
    for args in [
        &["init", "--quiet"][..],
        &[
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            "commit",
            "--quiet",
            "--allow-empty",
            "-m",
            "plant the first tree",
        ],
    ] {
        let mut git = Command::new("git");
        scratch.surround(&mut git);
        let status = git.args(args).current_dir(&repo).status().expect("git runs");
        assert!(status.success(), "git {args:?}");
    }
}
