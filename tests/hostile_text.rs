//! Servers over stdio that begin to speak to the model, or to hide a text from people, while they are in use.
//!
//! 1. What they say reaches no model by any way: search, select, details, lists, a call, an explanation.
//! 2. The tool is withheld, counted and named as such; a call is refused with the reason, by the command line with exit code 4.
//! 3. Operators see what was found and where; they can have it shown, or let one tool through.
//! 4. Other tools of the same server and how reliable the tool is stay as they were.

use serde_json::{Value, json};
use toolscout_testkit::e2e::{Client, Era, eventually, request};
use toolscout_testkit::upstream::{Behave, ORDER, Scripted};

use crate::hostile::upstream;
use crate::kit::{Gateway, Scratch, ids, structured, text_of};

const ECHO: &str = "restless:echo";

/// A gateway whose upstream has turned, as `catalog` of the running server sees it.
fn turned(behave: Behave, scan: &str) -> (Scratch, Gateway) {
    // Whatever it lists is taken, or the change itself would be withheld before anybody reads what it says.
    let trust = "[definitions]\ntrust = \"always\"\n\n";
    let scratch = Scratch::new(&format!("{scan}{trust}{}", upstream("restless", &Scripted::new(&[behave]))));
    scratch.ok(&["crawl"]);
    let gateway = scratch.serve();
    let mut client = gateway.client(Era::Modern);
    let found = client.call("search_tools", json!({"query": "say what I say"}));
    assert_eq!(ids(structured(&found)).first().map(String::as_str), Some(ECHO), "{found}");
    let said = client.call("call_tool", json!({"id": ECHO, "arguments": {"text": "hello"}}));
    assert!(text_of(&said).contains("hello"), "{said}");
    eventually("the turned definition to be crawled", || {
        let shown = gateway.get(&format!("/v1/tools/{ECHO}")).json();
        shown.get("findings").is_some().then_some(())
    });
    (scratch, gateway)
}

/// Neither the order nor a character that hides one is in it.
#[track_caller]
fn clean(answer: &Value) {
    let text = answer.to_string();
    assert!(!text.contains(ORDER), "{text}");
    assert!(!text.chars().any(|c| ('\u{E0000}'..='\u{E007F}').contains(&c)), "{text:?}");
}

fn post(gateway: &Gateway, path: &str, body: &Value) -> Value {
    let headers = [("content-type", "application/json")];
    request(gateway.addr, "POST", path, &headers, body.to_string().as_bytes()).json()
}

/// Everything that an agent can ask about it.
fn ask_everything(client: &mut Client, gateway: &Gateway) -> Value {
    let found = client.call("search_tools", json!({"query": "say what I say", "detail": "schema", "limit": 50}));
    clean(&found);
    let selection = structured(&found)["selection_id"].clone();
    for (tool, arguments) in [
        ("get_tool_details", json!({"ids": [ECHO, "restless:ech"]})),
        ("call_tool", json!({"id": ECHO, "arguments": {"text": "hello"}})),
        ("call_tool", json!({"id": ECHO, "arguments": {"wrong": 1}})),
        ("explain_selection", json!({"selection_id": selection, "tool": ECHO})),
        ("explain_selection", json!({"selection_id": selection})),
        ("restless__echo", json!({"text": "hello"})),
    ] {
        clean(&client.call(tool, arguments));
    }
    let query = json!({"_meta": {"dev.toolscout/query": "say what I say"}});
    clean(&client.request("tools/list", query).expect("a list"));
    client.tools().iter().for_each(clean);
    for format in ["mcp", "openai", "anthropic"] {
        clean(&post(gateway, "/v1/select", &json!({"query": "say what I say", "format": format})));
    }
    structured(&found).clone()
}

#[test]
fn an_order_in_a_definition_reaches_no_model() {
    for (behave, kind) in [(Behave::TurnsInvisible, "hidden_unicode"), (Behave::TurnsInjected, "instructions")] {
        let (scratch, gateway) = turned(behave, "[search]\npinned = [\"restless:echo\"]\n\n");
        let mut client = gateway.client(Era::Modern);
        let quality = gateway.get("/v1/quality").json()["tools"][0]["quality"]["score"].clone();
        eventually("the index to have it", || {
            let found = client.call("search_tools", json!({"query": "say what I say"}));
            (structured(&found)["withheld"]["reasons"]["hostile_text"] == 1).then_some(())
        });
        let answer = ask_everything(&mut client, &gateway);
        assert!(!ids(&answer).contains(&ECHO.to_owned()), "{answer}");
        assert_eq!(
            (&answer["withheld"]["count"], &answer["withheld"]["reasons"]),
            (&json!(1), &json!({"hostile_text": 1}))
        );
        let others = client.call("search_tools", json!({"query": "add"}));
        assert!(ids(structured(&others)).contains(&"restless:add".to_owned()), "{others}");

        let refused = client.call("call_tool", json!({"id": ECHO, "arguments": {"text": "hello"}}));
        assert_eq!(refused["isError"], true, "{refused}");
        assert!(text_of(&refused).contains("withheld for hostile text"), "{refused}");
        assert_eq!(refused["_meta"]["dev.toolscout/error"]["code"], "hostile_text");
        let by_hand = scratch.run(&["tools", "call", ECHO, "--arg", "text=hello"]);
        assert_eq!(by_hand.status.code(), Some(4), "{by_hand}");
        assert!(by_hand.stderr.contains("withheld for hostile text"), "{by_hand}");
        let asked = scratch.run(&["search", "say what I say", "--tool", ECHO]);
        assert!(asked.stdout.contains("hostile_text"), "{asked}");

        // The operator's side.
        let shown = gateway.get(&format!("/v1/tools/{ECHO}")).json();
        assert!(shown["withheld"].is_string(), "{shown}");
        let kinds: Vec<&str> =
            shown["findings"].as_array().unwrap().iter().filter_map(|one| one["kind"].as_str()).collect();
        assert!(kinds.contains(&kind), "{shown}");
        let printed = scratch.ok(&["tools", "show", ECHO]).stdout;
        assert!(printed.contains("withheld as hostile_text") && printed.contains(kind), "{printed}");
        // A server that was just started is still honest.
        let checked = scratch.json(&["upstreams", "check", "--json"]);
        assert_eq!((&checked["upstreams"][0]["hostile"], &checked["upstreams"][0]["n_tools"]), (&json!(0), &json!(3)));
        let crawled = scratch.ok(&["crawl"]).stdout;
        assert!(crawled.contains("1 withheld for hostile text"), "{crawled}");
        // Quality has nothing to do with it: neither the text nor the refusals moved its score.
        let now = gateway.get("/v1/quality").json()["tools"][0]["quality"]["score"].clone();
        assert!((now.as_f64().unwrap() - quality.as_f64().unwrap()).abs() < 1e-3, "{quality} became {now}");
        gateway.stop();
    }
}

#[test]
fn an_operator_can_have_it_shown() {
    for scan in ["[scan]\nhigh = \"warn\"\n\n", "[scan]\nallow = [\"restless:echo\"]\n\n"] {
        let (scratch, gateway) = turned(Behave::TurnsInjected, scan);
        let mut client = gateway.client(Era::Modern);
        let shown = gateway.get(&format!("/v1/tools/{ECHO}")).json();
        assert!(shown.get("withheld").is_none() && shown["findings"][0]["severity"] == "high", "{shown}");
        let found = client.call("search_tools", json!({"query": "say what I say"}));
        assert!(ids(structured(&found)).contains(&ECHO.to_owned()), "{found}");
        assert_eq!(structured(&found)["withheld"]["count"], 0);
        let said = client.call("call_tool", json!({"id": ECHO, "arguments": {"text": "hello"}}));
        assert!(text_of(&said).contains("hello"), "{said}");
        assert_eq!(said["_meta"]["dev.toolscout/untrusted"]["upstream"], "restless", "results are marked: {said}");
        let crawled = scratch.ok(&["crawl"]).stdout;
        assert!(crawled.contains("1 with suspicious text, shown"), "{crawled}");
        gateway.stop();
    }
}

#[test]
fn a_long_result_is_cut_where_the_setting_says() {
    let scratch = Scratch::new(&format!(
        "[call]\nmax_result_bytes = 2048\n\n{}",
        upstream("anchor", &Scripted::new(&[Behave::Good]))
    ));
    scratch.ok(&["crawl"]);
    let gateway = scratch.serve();
    let mut client = gateway.client(Era::Modern);
    let said = client.call("call_tool", json!({"id": "anchor:echo", "arguments": {"text": "x".repeat(50_000)}}));
    assert!(said.to_string().len() < 4096, "{} bytes", said.to_string().len());
    assert!(text_of(&said).contains("cut by the gateway") && said.get("structuredContent").is_none(), "{said}");
    assert_eq!(said["_meta"]["dev.toolscout/untrusted"]["upstream"], "anchor");
    gateway.stop();
}
