//! MCP Inspector's command line, a client that is not ours, lists, searches and calls through the gateway:
//! over stdio and HTTP, in both eras.

use std::process::Command;

use serde_json::{Value, json};
use toolscout_testkit::upstream::{Behave, Scripted};

use crate::hostile::upstream;
use crate::kit::{Gateway, Scratch, binary, ids, run, structured, text_of, third_party};

#[test]
fn inspector_lists_searches_and_calls_over_stdio_and_http_in_both_eras() {
    let scratch = Scratch::new(&upstream("good", &Scripted::new(&[Behave::Good])));
    scratch.ok(&["crawl"]);
    let environment = json!({
        "TOOLSCOUT_DATA": scratch.path("data"), "TOOLSCOUT_CONFIG": scratch.path("toolscout.toml"),
    });
    for era in ["legacy", "modern"] {
        let stdio = json!({
            "type": "stdio", "command": binary(), "args": ["serve", "--stdio"], "env": environment, "protocolEra": era,
        });
        use_it(&scratch, &stdio, &format!("stdio, {era}"));
    }
    let gateway: Gateway = scratch.serve();
    for era in ["legacy", "modern"] {
        let http =
            json!({"type": "streamable-http", "url": format!("http://{}/mcp", gateway.addr), "protocolEra": era});
        use_it(&scratch, &http, &format!("http, {era}"));
    }
    gateway.stop();
}

fn use_it(scratch: &Scratch, entry: &Value, face: &str) {
    let config = scratch.path("inspector.json");
    std::fs::write(&config, json!({"mcpServers": {"gateway": entry}}).to_string())
        .expect("write Inspector's configuration");
    let ask = |args: &[&str]| {
        let tools = third_party();
        let mut command = Command::new(tools.join("bin/node22"));
        scratch.surround(&mut command);
        command.arg(tools.join("tools/node_modules/.bin/mcp-inspector")).arg("--cli");
        command.arg("--config").arg(&config).args(["--server", "gateway", "--format", "json"]).args(args);
        let ran = run(&command);
        assert!(ran.status.success(), "{face}: {args:?}: {ran}");
        let at = ran.stdout.find('{').unwrap_or_else(|| panic!("{face}: no JSON: {ran}"));
        let whole: Value =
            serde_json::from_str(&ran.stdout[at..]).unwrap_or_else(|error| panic!("{face}: {error}: {ran}"));
        whole["result"].clone()
    };
    let call = |tool: &str, arguments: Value| {
        let arguments = arguments.to_string();
        ask(&["--method", "tools/call", "--tool-name", tool, "--tool-args-json", &arguments])
    };

    let listed = ask(&["--method", "tools/list"]);
    let names: Vec<&str> =
        listed["tools"].as_array().expect("tools").iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert!(names.contains(&"search_tools") && names.contains(&"call_tool"), "{face}: {names:?}");

    let found = call("search_tools", json!({"query": "say what I say"}));
    assert_eq!(ids(structured(&found)).first().map(String::as_str), Some("good:echo"), "{face}: {found}");

    let said = call("call_tool", json!({"id": "good:echo", "arguments": {"text": "hello from Inspector"}}));
    assert!(text_of(&said).contains("hello from Inspector"), "{face}: {said}");
}
