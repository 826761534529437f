//! `/v1` and what stands around it:
//!
//! 1. Every route of the document answers, and the document names what product.md promises.
//! 2. `/v1/select` gives definitions in three formats, within a token budget, for a query or a conversation.
//! 3. Failures are `{"error": {code, message, hint, id}}` with the right status.
//! 4. Foreign hosts, foreign origins and wrong tokens get nothing but health.
//! 5. Too large, too many and malformed are refused at once.
//! 6. An answer without a tool names the upstreams that nobody could list, if the caller may know of them.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Value, json};
use toolscout_catalog::UpstreamState;
use toolscout_core::{Caller, Secret, Timestamp, UpstreamId};
use toolscout_gateway::wire::{RecrawlResponse, SearchRequest};
use toolscout_gateway::{HttpOptions, OpError, Recrawl, ops};
use toolscout_policy::{Glob, Policy};
use toolscout_testkit::e2e::http;

use crate::fixture::{Gateway, Setup, files, forge, issue_tool, listing, mirror, read, start};

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_route_answers() {
    let gateway = start(Setup::default()).await;
    let (status, document) = gateway.get("/openapi.json").await;
    assert_eq!(status, 200);
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            routes.push(format!("{} {path}", method.to_uppercase()));
        }
    }
    routes.sort();
    let promised = [
        "GET /healthz",
        "GET /metrics",
        "GET /readyz",
        "GET /v1/quality",
        "GET /v1/selections",
        "GET /v1/selections/{id}",
        "GET /v1/tools",
        "GET /v1/tools/{id}",
        "GET /v1/upstreams",
        "POST /v1/search",
        "POST /v1/select",
        "POST /v1/tools/{id}/approve",
        "POST /v1/tools/{id}/call",
        "POST /v1/tools/{id}/quarantine",
        "POST /v1/tools/{id}/release",
        "POST /v1/upstreams/{id}/crawl",
    ];
    assert_eq!(routes, promised);
    for route in routes {
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.replace("{id}", "files:read_file");
        let (_, body) = match method {
            "GET" => gateway.get(&path).await,
            _ => gateway.post(&path, json!({})).await,
        };
        assert_ne!(body["error"]["code"], "no_route", "{route}");
    }
    let note = json!({"arguments": {"path": "a"}, "selection_id": "selection 5"});
    let (status, answer) = gateway.post("/v1/tools/files:read_file/call", note).await;
    assert_eq!((status, answer["notes"][0].as_str().unwrap().contains("selection 5")), (200, true), "{answer}");
    let (status, body) = gateway.get("/v1/nothing").await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("no_route")));
    // Every schema that is referred to is there.
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn search_tools_selections_and_quality() {
    let gateway = start(Setup::default()).await;
    let (status, found) = gateway.post("/v1/search", json!({"query": "read a text file", "limit": 1})).await;
    assert_eq!((status, &found["tools"][0]["id"]), (200, &json!("files:read_file")));
    let id = found["selection_id"].as_str().unwrap();
    let (status, why) = gateway.get(&format!("/v1/selections/{id}")).await;
    assert_eq!((status, why["evidence"].is_object()), (200, true));
    let (status, why) = gateway.get(&format!("/v1/selections/{id}?tool=forge:list_issues")).await;
    assert_eq!((status, &why["why"]["id"]), (200, &json!("forge:list_issues")));
    let (_, why) = gateway.get(&format!("/v1/selections/{id}?tool=forge:list_issue")).await;
    let expect = "there is no tool `forge:list_issue` that this caller may see; nearest by name: forge:list_issues";
    assert!(why["text"].as_str().unwrap().starts_with(expect), "{why}");
    let (_, listed) = gateway.get("/v1/selections").await;
    assert_eq!(listed["selections"][0]["selection_id"], id);

    let (_, page) = gateway.get("/v1/tools?limit=2").await;
    assert_eq!((&page["total"], page["tools"].as_array().unwrap().len()), (&json!(6), 2));
    let next = page["next"].as_str().unwrap();
    let (_, rest) = gateway.get(&format!("/v1/tools?after={next}")).await;
    assert_eq!(rest["tools"].as_array().unwrap().len(), 4);
    let (_, of_files) = gateway.get("/v1/tools?upstream=files").await;
    assert_eq!(of_files["total"], 2);
    let (status, tool) = gateway.get("/v1/tools/files:read_file").await;
    assert_eq!((status, &tool["input_schema"]["required"]), (200, &json!(["path"])));

    let call = json!({"arguments": {"path": "a"}, "selection_id": id});
    let (status, answer) = gateway.post("/v1/tools/files:read_file/call", call).await;
    assert_eq!(
        (status, &answer["result"]["content"][0]["text"], &answer["is_error"]),
        (200, &json!("ok"), &json!(false))
    );
    let quality = Arc::clone(&gateway.services.parts.quality);
    assert!(tokio::task::spawn_blocking(move || quality.settle(Duration::from_secs(30))).await.unwrap());
    let (_, quality) = gateway.get("/v1/quality").await;
    assert_eq!(
        (&quality["tools"][0]["id"], &quality["tools"][0]["quality"]["calls"]),
        (&json!("files:read_file"), &json!(1))
    );
    let (_, upstreams) = gateway.get("/v1/upstreams").await;
    assert_eq!(
        (&upstreams["upstreams"][1]["id"], &upstreams["upstreams"][1]["state"]),
        (&json!("forge"), &json!("ready"))
    );
    assert_eq!(gateway.get("/healthz").await.0, 200);
    let (status, ready) = gateway.get("/readyz").await;
    assert_eq!((status, &ready["index_state"], &ready["n_tools"]), (200, &json!("hybrid"), &json!(6)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_cut_and_trimmed_whoever_asks() {
    let gateway = start(Setup::default()).await;
    let asked = format!("  read a text file {}", "and so on ".repeat(1_000));
    let (_, found) = gateway.post("/v1/search", json!({"query": asked})).await;
    let request = SearchRequest { query: asked, ..SearchRequest::default() };
    let here = ops::search(&gateway.services, &Caller::local(""), request).await.unwrap();
    let (_, before) = gateway.get(&format!("/v1/selections/{}", found["selection_id"].as_str().unwrap())).await;
    let (_, after) = gateway.get(&format!("/v1/selections/{}", here.selection_id)).await;
    assert_eq!((&before["query_hash"], &before["tools"]), (&after["query_hash"], &after["tools"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_puts_a_tool_aside_and_takes_it_back() {
    let gateway = start(Setup::default()).await;
    let call = json!({"arguments": {"path": "a"}});
    let (status, answer) =
        gateway.post("/v1/tools/files:read_file/quarantine", json!({"reason": "eats \u{202e}disks"})).await;
    assert_eq!((status, &answer["quality"]["state"]), (200, &json!("quarantined")), "{answer}");
    let (status, refused) = gateway.post("/v1/tools/files:read_file/call", call.clone()).await;
    assert_eq!((status, &refused["error"]["code"]), (503, &json!("quarantined")));
    assert!(
        refused["error"]["message"].as_str().unwrap().contains("put aside by the operator: eats disks"),
        "{refused}"
    );
    let (_, found) = gateway.post("/v1/search", json!({"query": "read a text file from disk"})).await;
    assert_eq!((&found["withheld"]["count"], &found["withheld"]["reasons"]), (&json!(1), &json!({"quarantined": 1})));
    assert_eq!(found["withheld"]["tools"][0]["id"], "files:read_file", "it would have fitted: {found}");
    assert!(!found["tools"].to_string().contains("read_file"));
    let why = format!("/v1/selections/{}?tool=files:read_file", found["selection_id"].as_str().unwrap());
    let (_, why) = gateway.get(&why).await;
    assert_eq!(why["why"]["stage"], "withheld", "{why}");
    let (_, page) = gateway.get("/v1/tools?upstream=files").await;
    assert_eq!(page["tools"][1]["state"], "quarantined");
    let (_, tool) = gateway.get("/v1/tools/files:read_file").await;
    assert_eq!(tool["withheld"], found["withheld"]["tools"][0]["reason"], "the same words everywhere");

    let (status, answer) = gateway.post("/v1/tools/files:read_file/release", json!({})).await;
    assert_eq!((status, &answer["quality"]["state"]), (200, &json!("healthy")));
    assert_eq!(gateway.post("/v1/tools/files:read_file/call", call).await.0, 200);
    let (status, _) = gateway.post("/v1/tools/files:nothing/quarantine", json!({})).await;
    assert_eq!(status, 404);
    let (status, _) = gateway.post("/v1/tools/files:read_file/quarantine", json!({"reason": 5})).await;
    assert_eq!(status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_compared_with_the_one_of_its_family_that_works() {
    let listings = vec![forge(), mirror(), listing("spare", vec![issue_tool()])];
    let gateway = start(Setup { listings, ..Setup::default() }).await;
    let broken = json!({"isError": true, "content": [{"type": "text", "text": "Internal server error"}]});
    gateway.fake.answers("forge:create_issue", broken);
    let family = async || {
        let quality = Arc::clone(&gateway.services.parts.quality);
        assert!(tokio::task::spawn_blocking(move || quality.settle(Duration::from_secs(30))).await.unwrap());
        let (_, quality) = gateway.get("/v1/quality").await;
        let rows = quality["tools"].as_array().unwrap();
        rows.iter().find(|row| row["id"] == "forge:create_issue").unwrap()["quality"]["family"].clone()
    };
    let call = json!({"arguments": {"repo": "a/b", "title": "x"}});
    gateway.post("/v1/tools/forge:create_issue/call", call.clone()).await;
    assert_eq!(family().await, json!({"best": "mirror:create_issue", "score": 0.9, "goes_before": false}));
    for _ in 0..4 {
        gateway.post("/v1/tools/forge:create_issue/call", call.clone()).await;
    }
    assert_eq!(family().await, json!({"best": "mirror:create_issue", "score": 0.9, "goes_before": true}));
    // Its score is the best still, and nobody gets it.
    gateway.post("/v1/tools/mirror:create_issue/quarantine", json!({})).await;
    assert_eq!(family().await, json!({"best": "spare:create_issue", "score": 0.9, "goes_before": true}));
    gateway.post("/v1/tools/spare:create_issue/quarantine", json!({})).await;
    assert_eq!(family().await["goes_before"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_come_ready_for_a_model() {
    let gateway = start(Setup::default()).await;
    let ask = async |more: Value| {
        let mut body = json!({"query": "read a text file from disk", "limit": 3});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, answer) = gateway.post("/v1/select", body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let mcp = ask(json!({"format": "mcp"})).await;
    assert_eq!(
        (&mcp["tools"][0]["name"], &mcp["tools"][0]["inputSchema"]["type"]),
        (&json!("files__read_file"), &json!("object"))
    );
    assert_eq!(mcp["names"][0]["id"], "files:read_file");
    let openai = ask(json!({"format": "openai"})).await;
    assert_eq!(
        (&openai["tools"][0]["type"], &openai["tools"][0]["function"]["name"]),
        (&json!("function"), &json!("files__read_file"))
    );
    let anthropic = ask(json!({"format": "anthropic"})).await;
    assert_eq!(anthropic["tools"][0]["input_schema"]["required"], json!(["path"]));
    let tight = ask(json!({"format": "openai", "token_budget": 1})).await;
    assert_eq!(tight["tools"].as_array().unwrap().len(), 1, "the first tool always fits");
    // What the budget left out is in the evidence, and in no list of what was given.
    let found = &mcp["names"][1]["id"];
    let path = format!("/v1/selections/{}", tight["selection_id"].as_str().unwrap());
    let (_, kept) = gateway.get(&path).await;
    assert_eq!(kept["tools"], json!(["files:read_file"]));
    assert_eq!(kept["evidence"]["budget"], json!({"tokens": 1, "used": tight["tokens"]}));
    let (_, why) = gateway.get(&format!("{path}?tool={}", found.as_str().unwrap())).await;
    assert_eq!(why["why"]["stage"], "over_budget", "{why}");
    let messages =
        json!([{"role": "user", "content": [{"type": "text", "text": "please read the text file on my disk"}]}]);
    let (_, said) = gateway.post("/v1/select", json!({"messages": messages})).await;
    assert_eq!(said["names"][0]["id"], "files:read_file");
    let (status, refused) =
        gateway.post("/v1/select", json!({"messages": [{"role": "assistant", "content": "x"}]})).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("bad_request")));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_have_a_code_a_hint_and_an_id() {
    let gateway = start(Setup::default()).await;
    let check = async |path: &str, body: Option<Value>, status: u16, code: &str| {
        let (got, problem) = match body {
            Some(body) => gateway.post(path, body).await,
            None => gateway.get(path).await,
        };
        assert_eq!((got, problem["error"]["code"].as_str()), (status, Some(code)), "{path} {problem}");
        assert!(problem["error"]["id"].as_str().unwrap().starts_with("err_"));
        assert!(problem["error"]["message"].is_string());
        problem
    };
    check("/v1/search", Some(json!({})), 400, "bad_request").await;
    check("/v1/search", Some(json!([1])), 400, "bad_request").await;
    let unknown = check("/v1/tools/files:read_fil", None, 404, "unknown_tool").await;
    assert_eq!(unknown["error"]["details"]["nearest"][0], "files:read_file");
    check("/v1/selections/sel_x", None, 404, "unknown_selection").await;
    check("/v1/tools?upstream=fils", None, 404, "unknown_upstream").await;
    check("/v1/tools?limit=many", None, 400, "bad_request").await;
    for path in ["/v1/tools/%ff", "/v1/selections/%ff"] {
        check(path, None, 400, "bad_request").await;
    }
    for path in ["/v1/tools/%ff/call", "/v1/upstreams/%ff/crawl"] {
        check(path, Some(json!({})), 400, "bad_request").await;
    }
    check("/v1/search", None, 405, "wrong_method").await;
    check("/healthz", Some(json!({})), 405, "wrong_method").await;
    let unfit = check("/v1/tools/files:read_file/call", Some(json!({"arguments": {}})), 422, "invalid_arguments").await;
    assert_eq!(unfit["error"]["details"]["signature"], "read_file(path*)");
    gateway.fake.script("files:read_file", async |_| Err(crate::fixture::closed()));
    check("/v1/tools/files:read_file/call", Some(json!({"arguments": {"path": "a"}})), 502, "upstream_failed").await;
}

struct Counting;

impl Recrawl for Counting {
    fn recrawl(&self, upstream: UpstreamId) -> BoxFuture<'_, Result<RecrawlResponse, OpError>> {
        let id = upstream.to_string();
        let (added, changed, removed, state) = (1, 0, 0, "ready".to_owned());
        let (waiting, hostile, suspicious, problem) = (Vec::new(), 0, 0, None);
        Box::pin(async move {
            Ok(RecrawlResponse {
                id,
                n_tools: 3,
                added,
                changed,
                removed,
                waiting,
                hostile,
                suspicious,
                state,
                problem,
            })
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crawl_can_be_asked_for() {
    let gateway = start(Setup { recrawl: Arc::new(Counting), ..Setup::default() }).await;
    let (status, answer) = gateway.post("/v1/upstreams/forge/crawl", json!({})).await;
    assert_eq!((status, &answer["id"], &answer["added"]), (200, &json!("forge"), &json!(1)));
}

async fn raw(
    gateway: &Gateway,
    method: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
) -> http::Reply {
    let addr = gateway.addr;
    tokio::task::spawn_blocking(move || http::request(addr, method, path, headers, b"{}")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_nothing() {
    let gateway = start(Setup::default()).await;
    for path in ["/v1/tools", "/mcp", "/openapi.json"] {
        let (status, body) =
            read(reqwest::Client::new().get(gateway.url(path)).header("host", "evil.example").send().await.unwrap())
                .await;
        assert_eq!((status, &body["error"]["code"]), (403, &json!("forbidden")), "{path}");
        let (status, _) = read(
            reqwest::Client::new()
                .get(gateway.url(path))
                .header("origin", "https://evil.example")
                .send()
                .await
                .unwrap(),
        )
        .await;
        assert_eq!(status, 403, "{path}");
    }
    let known = raw(&gateway, "GET", "/v1/tools", &[("origin", "http://localhost:5173")]).await;
    assert_eq!((known.status, known.header("access-control-allow-origin")), (200, Some("http://localhost:5173")));
    let preflight: &[(&str, &str)] = &[
        ("origin", "http://localhost:5173"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "mcp-session-id"),
    ];
    let preflight = raw(&gateway, "OPTIONS", "/mcp", preflight).await;
    assert_eq!(
        (preflight.status, preflight.header("access-control-allow-origin")),
        (200, Some("http://localhost:5173"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_and_nothing_else_does() {
    let http = HttpOptions { token: Some(Secret::new("hunter2")), ..Setup::default().http };
    let gateway = start(Setup { http, ..Setup::default() }).await;
    let get = async |token: Option<&str>, path: &str| {
        let request = reqwest::Client::new().get(gateway.url(path));
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(get(None, "/v1/tools").await, 401);
    assert_eq!(get(Some("hunter3"), "/v1/tools").await, 401);
    assert_eq!(get(None, "/mcp").await, 401);
    assert_eq!(get(Some("hunter2"), "/v1/tools").await, 200);
    assert_eq!(get(None, "/healthz").await, 200);
    // Health answers everybody, but tells strangers nothing of the catalog.
    let (_, seen) = read(reqwest::Client::new().get(gateway.url("/readyz")).send().await.unwrap()).await;
    assert_eq!((&seen["ready"], seen.get("n_tools"), seen.get("upstreams_not_ready")), (&json!(true), None, None));
    let known = reqwest::Client::new().get(gateway.url("/readyz")).bearer_auth("hunter2");
    assert_eq!(read(known.send().await.unwrap()).await.1["n_tools"], 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_without_a_visible_tool_are_not_named() {
    let policy = Policy { deny: vec![Glob::new("forge:*")], ..Policy::default() };
    let gateway = start(Setup { policy, recrawl: Arc::new(Counting), ..Setup::default() }).await;
    let (_, listed) = gateway.get("/v1/upstreams").await;
    let ids: Vec<&str> =
        listed["upstreams"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"files") && !ids.contains(&"forge"), "{ids:?}");
    assert_eq!(gateway.get("/readyz").await.1["n_tools"], 3);
    for path in ["/v1/tools?upstream=frge", "/v1/tools?upstream=forge", "/v1/quality"] {
        let (_, mut answer) = gateway.get(path).await;
        answer["error"]["message"] = json!("what was asked for may be repeated");
        assert!(!answer.to_string().contains("forge"), "{path} {answer}");
    }
    let (status, answer) = gateway.post("/v1/upstreams/forge/crawl", json!({})).await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("unknown_upstream")));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_finds_nothing_is_told_whose_tools_nobody_knows() {
    let policy = Policy { deny: vec![Glob::new("attic:*"), Glob::new("files:odd")], ..Policy::default() };
    let gateway = start(Setup { policy, listings: vec![files()], ..Setup::default() }).await;
    let at = Timestamp(9);
    for (id, state) in [
        ("vault", UpstreamState::NeedsAuth),
        ("attic", UpstreamState::NeedsAuth),
        ("shed", UpstreamState::Unreachable),
        // Its tools are known and were searched.
        ("files", UpstreamState::NeedsAuth),
    ] {
        gateway.catalog.mark(&UpstreamId::new(id).unwrap(), state, "401", at).unwrap();
    }
    gateway.index.apply(&gateway.catalog.view()).unwrap();
    let search = async |body| gateway.post("/v1/search", body).await.1;
    let nothing = json!({"query": "zebra", "tags": ["none"]});
    let expect =
        "no tool passes the filters; not searched, as they list no tools: shed (unreachable), vault (needs_auth)";
    assert_eq!(search(nothing).await["no_match"]["reason"], expect);
    let here = search(json!({"query": "zebra", "tags": ["none"], "upstreams": ["files"]})).await;
    assert_eq!(here["no_match"]["reason"], "no tool passes the filters");
    let there = search(json!({"query": "read a secret", "upstreams": ["vault"]})).await;
    assert_eq!(
        there["no_match"]["reason"],
        "no tool passes the filters; not searched, as they list no tools: vault (needs_auth)"
    );
    assert!(search(json!({"query": "read a text file"})).await.get("no_match").is_none());
    for n in 0..5 {
        let id = UpstreamId::new(&format!("barn-{n}")).unwrap();
        gateway.catalog.mark(&id, UpstreamState::Unreachable, "gone", at).unwrap();
    }
    let reason = search(json!({"query": "zebra", "tags": ["none"]})).await["no_match"]["reason"].to_string();
    assert!(reason.ends_with("barn-2 (unreachable), and 4 more\""), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_sessions_are_bounded() {
    let http = HttpOptions { max_sessions: 1, ..Setup::default().http };
    let gateway = start(Setup { http, ..Setup::default() }).await;
    let client = gateway.connect(toolscout_upstream::Era::Legacy).await;
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let request = reqwest::Client::new().post(gateway.url("/mcp")).header("content-type", "application/json");
    let request = request.header("accept", "application/json, text/event-stream").body(hello.to_string());
    let (status, body) = read(request.send().await.unwrap()).await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("busy")));
    assert!(!client.list_tools(None).await.unwrap().tools.is_empty(), "the one that is open goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_and_too_slow_are_refused() {
    let http = HttpOptions { max_body: 2_000, header_timeout: Duration::from_millis(300), ..Setup::default().http };
    let gateway = start(Setup { http, ..Setup::default() }).await;
    let (status, body) = gateway.post("/v1/search", json!({"query": "x".repeat(5_000)})).await;
    assert_eq!((status, &body["error"]["code"]), (413, &json!("too_large")));
    // A client that never ends its headers is let go.
    let addr = gateway.addr;
    let silence = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(b"GET /v1/tools HTTP/1.1\r\nhost: localhost\r\n").unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).is_ok()
    });
    assert!(silence.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_at_once_are_told_to_come_back() {
    let http = HttpOptions { max_requests: 1, ..Setup::default().http };
    let gateway = start(Setup { http, ..Setup::default() }).await;
    let (begun, mut has_begun) = tokio::sync::mpsc::channel(1);
    let (end, ends) = tokio::sync::watch::channel(false);
    gateway.fake.script("files:read_file", move |_| {
        let (begun, mut ends) = (begun.clone(), ends.clone());
        async move {
            begun.send(()).await.unwrap();
            ends.wait_for(|over| *over).await.unwrap();
            Ok(json!({"content": []}))
        }
    });
    let url = gateway.url("/v1/tools/files:read_file/call");
    let first = tokio::spawn(async move {
        reqwest::Client::new().post(url).body(r#"{"arguments":{"path":"a"}}"#).send().await.unwrap().status()
    });
    has_begun.recv().await.unwrap();
    let (status, body) = gateway.get("/v1/tools").await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("busy")));
    assert_eq!(gateway.get("/healthz").await.0, 200);
    end.send(true).unwrap();
    assert_eq!(first.await.unwrap(), 200);
}
