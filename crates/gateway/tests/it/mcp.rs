//! What an MCP client sees, in both eras:
//!
//! 1. `search_tools` finds the tool for a task, with selection id, index state, scores and signature, and never more than asked.
//! 2. `structuredContent` and the first text hold the same JSON.
//! 3. `get_tool_details` gives schemas whole; unknown ids come back with the nearest.
//! 4. `explain_selection` explains, also for one tool, also for one that is not in; what lies far behind the answer is counted.
//! 5. What policy denies does not exist: not in results, not in details, not among the nearest, not in explanations.
//! 6. Mistakes are answered with `isError` and what to do.
//! 7. What is not served says so.
//! 8. A body that is no message is a 400 with the error that JSON-RPC has for it; a wrong content type stays a 415.
//! 9. Results say that they are ours; a list that a token opens is private.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use rmcp::model::{ArgumentInfo, CompleteRequestParams, Reference};
use serde_json::{Value, json};
use toolscout_core::Secret;
use toolscout_embed::{Embed, Embedding, ModelInfo, Want};
use toolscout_gateway::{GatewayOptions, HttpOptions};
use toolscout_policy::{Glob, Policy};
use toolscout_testkit::embed::HashEmbedder;
use toolscout_upstream::Era;

use crate::fixture::{Gateway, Setup, ask, listing, read, start, text};

async fn both_eras(setup: impl Fn() -> Setup, check: impl AsyncFn(&Gateway, Era)) {
    for era in [Era::Legacy, Era::Modern] {
        let gateway = start(setup()).await;
        check(&gateway, era).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn search_finds_the_tool_and_says_how_to_call_it() {
    both_eras(Setup::default, async |gateway, era| {
        let client = gateway.connect(era).await;
        let result = ask(&client, "search_tools", json!({"query": "read a text file from disk", "limit": "2"})).await;
        assert_ne!(result.is_error, Some(true), "{}", text(&result));
        let found = result.structured_content.clone().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text(&result)).unwrap(), found);
        assert_eq!(found["tools"][0]["id"], "files:read_file", "{found}");
        assert_eq!(found["tools"][0]["signature"], "read_file(path*)");
        assert_eq!(found["tools"][0]["side_effect"], "read");
        assert_eq!(found["index_state"], "hybrid");
        assert!(found["tools"].as_array().unwrap().len() <= 2);
        assert!(found["selection_id"].as_str().unwrap().starts_with("sel_"));
        assert_eq!(found["withheld"]["count"], 0);
        assert!(found["tools"][0].get("input_schema").is_none());

        let result = ask(&client, "search_tools", json!({"query": "read a file", "detail": "schema"})).await;
        let found = result.structured_content.unwrap();
        assert_eq!(found["tools"][0]["input_schema"]["required"], json!(["path"]), "{found}");
        assert!(found["tools"][0].get("signature").is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_words_answer_and_the_answer_says_so() {
    let gateway = start(Setup { embedder: None, ..Setup::default() }).await;
    let client = gateway.connect(Era::Modern).await;
    let found = ask(&client, "search_tools", json!({"query": "read a text file"})).await.structured_content.unwrap();
    assert_eq!(found["index_state"], "lexical");
    assert_eq!(found["tools"][0]["id"], "files:read_file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_cannot_be_embedded_is_answered_from_words() {
    let embedder = HashEmbedder::new().failing_on("read a text file");
    let gateway = start(Setup { embedder: Some(Arc::new(embedder)), ..Setup::default() }).await;
    let client = gateway.connect(Era::Modern).await;
    let found = ask(&client, "search_tools", json!({"query": "read a text file"})).await.structured_content.unwrap();
    assert_eq!((&found["index_state"], &found["tools"][0]["id"]), (&json!("lexical"), &json!("files:read_file")));
    let found = ask(&client, "search_tools", json!({"query": "read some text file"})).await.structured_content.unwrap();
    assert_eq!(found["index_state"], "hybrid");
}

/// Embeds one query never, or not before it is let go on.
struct Stuck {
    embedder: HashEmbedder,
    /// Whether it panics instead.
    panics: bool,
    let_go: Barrier,
}

const STUCK: &str = "read a text file";

impl Embed for Stuck {
    fn model(&self) -> &ModelInfo {
        self.embedder.model()
    }

    fn embed(&self, texts: &[&str], want: Want) -> Result<Vec<Embedding>, toolscout_embed::Error> {
        if texts == [STUCK] {
            assert!(!self.panics, "told to panic");
            self.let_go.wait();
        }
        self.embedder.embed(texts, want)
    }

    fn inferences(&self) -> u64 {
        self.embedder.inferences()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_whose_embedding_takes_too_long_or_panics_is_answered_from_words() {
    for panics in [false, true] {
        let stuck = Arc::new(Stuck { embedder: HashEmbedder::new(), panics, let_go: Barrier::new(2) });
        let patience = if panics { Duration::from_secs(3600) } else { Duration::ZERO };
        let options = GatewayOptions { embed_patience: patience, workers: 2, ..GatewayOptions::default() };
        let gateway = start(Setup { embedder: Some(stuck.clone()), options, ..Setup::default() }).await;
        let client = gateway.connect(Era::Modern).await;
        let found = ask(&client, "search_tools", json!({"query": STUCK})).await.structured_content.unwrap();
        assert_eq!((&found["index_state"], &found["tools"][0]["id"]), (&json!("lexical"), &json!("files:read_file")));
        if !panics {
            stuck.let_go.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn details_are_whole_and_unknown_ids_get_the_nearest() {
    both_eras(Setup::default, async |gateway, era| {
        let client = gateway.connect(era).await;
        let asked = json!({"ids": ["forge:create_issue", "files__read_file", "forge:create_isue"]});
        let details = ask(&client, "get_tool_details", asked).await.structured_content.unwrap();
        let first = &details["tools"][0];
        assert_eq!(first["input_schema"]["properties"]["state"]["enum"], json!(["open", "closed"]));
        assert_eq!(first["wire_name"], "forge__create_issue");
        assert_eq!(first["family"], json!(["mirror:create_issue"]));
        assert_eq!(first["upstream_state"], "ready");
        assert_eq!(details["tools"][1]["id"], "files:read_file");
        assert_eq!(details["unknown"][0]["id"], "forge:create_isue");
        assert_eq!(details["unknown"][0]["nearest"][0], "forge:create_issue", "{details}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selection_is_explained_and_so_is_an_absence() {
    both_eras(Setup::default, async |gateway, era| {
        let client = gateway.connect(era).await;
        let found = ask(&client, "search_tools", json!({"query": "open an issue", "limit": 1})).await;
        let id = found.structured_content.unwrap()["selection_id"].clone();
        let why = ask(&client, "explain_selection", json!({"selection_id": id})).await.structured_content.unwrap();
        assert!(!why["text"].as_str().unwrap().is_empty());
        assert!(why["evidence"]["candidates"].as_array().is_some_and(|all| !all.is_empty()), "{why}");
        assert!(why.get("query").is_none(), "queries are not kept by default");
        assert_eq!(why["query_hash"].as_str().unwrap().len(), 64);
        let asked = json!({"selection_id": id, "tool": "files:read_file"});
        let why_not = ask(&client, "explain_selection", asked).await.structured_content.unwrap();
        assert_eq!(why_not["why"]["id"], "files:read_file");
        assert!(why_not["why"]["stage"].is_string(), "{why_not}");
        let unknown = ask(&client, "explain_selection", json!({"selection_id": "sel_00000000000000000000"})).await;
        assert_eq!(unknown.is_error, Some(true));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_told_the_evidence_around_the_answer_and_operators_all_of_it() {
    let tool = |n: usize| {
        json!({"name": format!("read_file_{n}"), "description": "Read a text file from disk.",
        "inputSchema": {"type": "object", "properties": {format!("p{n}"): {}}}})
    };
    let listings = vec![listing("many", (0..40).map(tool).collect())];
    let gateway = start(Setup { listings, ..Setup::default() }).await;
    let client = gateway.connect(Era::Modern).await;
    let found = ask(&client, "search_tools", json!({"query": "read a text file", "limit": 2})).await;
    let id = found.structured_content.unwrap()["selection_id"].clone();
    let told = ask(&client, "explain_selection", json!({"selection_id": id})).await;
    let (_, whole) = gateway.get(&format!("/v1/selections/{}", id.as_str().unwrap())).await;
    let [told, whole] = [&told.structured_content.unwrap()["evidence"], &whole["evidence"]];
    let n = |evidence: &Value| evidence["candidates"].as_array().unwrap().len() as u64;
    assert_eq!((n(told), n(whole)), (7, 40), "{told}");
    assert_eq!(told["n_more_candidates"], n(whole) - n(told) + whole["n_more_candidates"].as_u64().unwrap());
    for (brief, full) in told["candidates"].as_array().unwrap().iter().zip(whole["candidates"].as_array().unwrap()) {
        let [told, whole] = [brief, full].map(|candidate| candidate["score"].as_f64().unwrap());
        assert_eq!((&brief["id"], told), (&full["id"], (whole * 1_000.0).round() / 1_000.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_kept_only_when_asked_for() {
    let options = GatewayOptions { keep_queries: true, ..GatewayOptions::default() };
    let gateway = start(Setup { options, ..Setup::default() }).await;
    let client = gateway.connect(Era::Modern).await;
    let found = ask(&client, "search_tools", json!({"query": "open an issue"})).await.structured_content.unwrap();
    let why = ask(&client, "explain_selection", json!({"selection_id": found["selection_id"]})).await;
    assert_eq!(why.structured_content.unwrap()["query"], "open an issue");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policy_denies_does_not_exist() {
    let policy = || Policy { deny: vec![Glob::new("forge:*")], ..Policy::default() };
    both_eras(
        || Setup { policy: policy(), ..Setup::default() },
        async |gateway, era| {
            let client = gateway.connect(era).await;
            let found = ask(&client, "search_tools", json!({"query": "delete a repository, list its issues"})).await;
            let why = json!({"selection_id": found.structured_content.as_ref().unwrap()["selection_id"]});
            let answers = [
                found,
                ask(&client, "get_tool_details", json!({"ids": ["forge:list_issues", "forge:delete_repositor"]})).await,
                ask(&client, "call_tool", json!({"id": "forge:delete_repo", "arguments": {}})).await,
                ask(&client, "explain_selection", why).await,
                ask(&client, "search_tools", json!({"query": "x", "filters": {"upstreams": ["frge"]}})).await,
            ];
            for answer in answers {
                let mut said = format!("{} {:?}", text(&answer), answer.meta);
                // What was asked for may be repeated.
                for asked in ["forge:list_issues", "forge:delete_repositor", "forge:delete_repo"] {
                    said = said.replace(asked, "");
                }
                assert!(!said.contains("forge"), "{said}");
            }
            let instructions = client.peer_info().and_then(|info| info.instructions.clone()).unwrap_or_default();
            assert!(!instructions.contains("forge"), "{instructions}");
            assert!(gateway.fake.seen.lock().is_empty());
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_answered_with_what_to_do() {
    both_eras(Setup::default, async |gateway, era| {
        let client = gateway.connect(era).await;
        let check = async |tool, arguments, expect: &str| {
            let result = ask(&client, tool, arguments).await;
            assert_eq!(result.is_error, Some(true), "{}", text(&result));
            assert!(text(&result).contains(expect), "{} lacks {expect}", text(&result));
            assert!(result.meta.unwrap()["dev.toolscout/error"]["code"].is_string());
        };
        check("search_tools", json!({}), "query is required").await;
        check("search_tools", json!({"query": "x", "upstreams": ["forg"]}), "nearest: forge").await;
        check("get_tool_details", json!({"ids": []}), "ids is required").await;
        check("call_tool", json!({"arguments": {}}), "id is required").await;
        check("call_tool", json!({"id": "forge:create_isue"}), "forge:create_issue").await;
        check("explain_selection", json!({"selection_id": "nonsense"}), "there is no selection").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_says_so() {
    both_eras(Setup::default, async |gateway, era| {
        let client = gateway.connect(era).await;
        let info = client.peer_info().unwrap();
        assert_eq!(info.server_info.as_ref().map(|server| server.name.as_str()), Some("toolscout"));
        assert!(info.capabilities.tools.is_some() && info.capabilities.prompts.is_none());
        let instructions = info.instructions.clone().unwrap();
        assert!(instructions.contains("search_tools") && instructions.len() <= 2_000, "{instructions}");
        assert!(instructions.contains("forge"), "the digest names what there is: {instructions}");
        let completion = CompleteRequestParams::new(Reference::for_prompt("p"), ArgumentInfo::new("a", ""));
        for error in [
            client.list_prompts(None).await.map(|_| ()).unwrap_err(),
            client.list_resources(None).await.map(|_| ()).unwrap_err(),
            client.list_resource_templates(None).await.map(|_| ()).unwrap_err(),
            client.complete(completion.clone()).await.map(|_| ()).unwrap_err(),
        ] {
            assert!(error.to_string().contains("-32601") || format!("{error:?}").contains("32601"), "{error:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_message_is_answered_as_json_rpc_says() {
    let http = HttpOptions { max_body: 2_000, ..Setup::default().http };
    let gateway = start(Setup { http, ..Setup::default() }).await;
    let post = async |kind: &str, body: String| {
        let request = reqwest::Client::new().post(gateway.url("/mcp")).header("content-type", kind);
        read(request.header("accept", "application/json, text/event-stream").body(body).send().await.unwrap()).await
    };
    let check = async |body: &str, status: u16, code: i64, id: Value| {
        let (got, answer) = post("application/json; charset=utf-8", body.to_owned()).await;
        let told = (got, &answer["jsonrpc"], &answer["error"]["code"], &answer["id"]);
        assert_eq!(told, (status, &json!("2.0"), &json!(code), &id), "{body} {answer}");
    };
    check("{nope", 400, -32700, Value::Null).await;
    check("", 400, -32700, Value::Null).await;
    check("\u{feff}{nope", 400, -32700, Value::Null).await;
    check("[]", 400, -32600, Value::Null).await;
    check(r#"{"jsonrpc":"2.0","id":7}"#, 400, -32600, json!(7)).await;
    check(&format!("\"{}\"", "x".repeat(5_000)), 413, -32600, Value::Null).await;
    let (status, answer) = post("text/plain", "{}".to_owned()).await;
    assert_eq!(status, 415, "{answer}");
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let (status, answer) = post("application/json", format!("\u{feff}{hello}")).await;
    assert!(status == 200 && answer.to_string().contains("toolscout"), "a byte order mark does no harm: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_say_whose_they_are() {
    let key = "io.modelcontextprotocol/serverInfo";
    let gateway = start(Setup::default()).await;
    let theirs = json!({"content": [], "_meta": {key: {"name": "somebody else", "version": "1"}, "vendor/x": 1}});
    gateway.fake.answers("files:read_file", theirs);
    let call = json!({"id": "files:read_file", "arguments": {"path": "a"}});
    let client = gateway.connect(Era::Modern).await;
    let listed = client.list_tools(None).await.unwrap();
    assert_eq!(listed.meta.unwrap()[key]["name"], "toolscout");
    for result in
        [ask(&client, "search_tools", json!({"query": "x"})).await, ask(&client, "call_tool", json!({})).await]
    {
        assert_eq!(result.meta.unwrap()[key]["name"], "toolscout");
    }
    let called = ask(&client, "call_tool", call.clone()).await.meta.unwrap();
    assert_eq!((&called[key]["name"], &called["vendor/x"]), (&json!("toolscout"), &json!(1)));
    let called = ask(&gateway.connect(Era::Legacy).await, "call_tool", call).await.meta.unwrap();
    assert_eq!((called.get(key), &called["vendor/x"]), (None, &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_opens_is_kept_by_nobody_else() {
    let http = HttpOptions { token: Some(Secret::new("hunter2")), ..Setup::default().http };
    let gateway = start(Setup { http, ..Setup::default() }).await;
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}});
    for method in ["tools/list", "server/discover"] {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta}});
        let request = reqwest::Client::new().post(gateway.url("/mcp")).bearer_auth("hunter2");
        let request = request.header("content-type", "application/json").header("mcp-method", method);
        let request = request.header("mcp-protocol-version", "2026-07-28");
        let request = request.header("accept", "application/json, text/event-stream").body(body.to_string());
        let (status, answer) = read(request.send().await.unwrap()).await;
        assert_eq!(status, 200, "{answer}");
        assert!(answer.to_string().contains(r#"cacheScope\":\"private"#), "{answer}");
    }
}
