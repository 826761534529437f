//! Calling tools:
//!
//! 1. A fitting call reaches the upstream that owns the tool, with its arguments and `_meta`; the result arrives as it was sent.
//! 2. However a model writes the call, it is understood; names on the wire and bare names work too.
//! 3. Arguments that do not fit never reach the upstream; the answer names fault, place, signature and nearest values.
//! 4. A schema that cannot be used for checking refuses nothing.
//! 5. Policy is asked again: a tool that may be seen but not called is refused, without telling the rule.
//! 6. Progress and cancellation pass through.
//! 7. `input_required` passes through on the modern era, its state sealed; a forged or foreign state is refused.
//! 8. An upstream that fails gives a readable `isError`, and its quality falls; a caller's mistake leaves it.
//! 9. A result that is too long is cut, with a note.
//! 10. A tool that keeps failing is refused, with the reason and the same tool elsewhere; mistakes of callers never bring it there.

use std::time::Duration;

use rmcp::model::{CallToolRequestParams, CallToolResponse, ProgressToken, RequestMetaObject};
use serde_json::{Value, json};
use toolscout_core::SideEffect;
use toolscout_gateway::GatewayOptions;
use toolscout_policy::{Effect, Glob, Moment, Policy, Rule};
use toolscout_quality::QualityOptions;
use toolscout_upstream::{Era, Error};

use crate::fixture::{Gateway, PATIENCE, Running, Setup, ask, closed, listing, object, progress, start, text};

const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];

async fn quality(gateway: &Gateway, tool: &str) -> (u64, u64, u64) {
    let quality = std::sync::Arc::clone(&gateway.services.parts.quality);
    let id = tool.parse().unwrap();
    let of = tokio::task::spawn_blocking(move || {
        assert!(quality.settle(PATIENCE));
        quality.view().of(&id)
    });
    let of = of.await.unwrap();
    (of.calls, of.failures, of.caller_faults)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_arrives_as_it_was_sent() {
    let sent = json!({
        "content": [
            {"type": "text", "text": "done", "annotations": {"priority": 1.0}},
            {"type": "resource_link", "uri": "file:///a", "name": "a"}
        ],
        "structuredContent": {"number": 7},
        "isError": false,
        "_meta": {"vendor/key": [1]}
    });
    for era in ERAS {
        let gateway = start(Setup::default()).await;
        gateway.fake.answers("forge:create_issue", sent.clone());
        let client = gateway.connect(era).await;
        let arguments = json!({"repo": "a/b", "title": "x", "labels": ["bug"]});
        let result = ask(&client, "call_tool", json!({"id": "forge:create_issue", "arguments": arguments})).await;
        let mut got = serde_json::to_value(&result).unwrap();
        got.as_object_mut().unwrap().remove("resultType");
        let meta = got["_meta"].as_object_mut().unwrap();
        meta.retain(|key, _| !key.starts_with("io.modelcontextprotocol/"));
        let mark = meta.remove("dev.toolscout/untrusted");
        assert_eq!(mark, Some(json!({"upstream": "forge"})), "marked as a stranger's, and nothing else added");
        assert_eq!(got, sent, "{era}");
        let (tool, request) = gateway.fake.last();
        assert_eq!((tool.to_string().as_str(), request.name.as_str()), ("forge:create_issue", "create_issue"));
        assert_eq!(Value::Object(request.arguments), arguments);
        assert_eq!(quality(&gateway, "forge:create_issue").await, (1, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_understood_however_it_is_written() {
    let gateway = start(Setup::default()).await;
    let client = gateway.connect(Era::Modern).await;
    for call in [
        json!({"id": "files:read_file", "arguments": {"path": "a"}}),
        json!({"name": "files__read_file", "arguments": "{\"path\": \"a\"}"}),
        json!({"arguments": {"tool_name": "read_file", "path": "a"}}),
        json!({"arguments": {"name": "files:read_file", "arguments": {"path": "a"}}}),
        json!({"id": "files:read_file", "arguments": {"path": "a"}, "selection_id": "sel_not_real"}),
    ] {
        let result = ask(&client, "call_tool", call.clone()).await;
        assert_eq!(text(&result), "ok", "{call}");
        let (tool, request) = gateway.fake.last();
        assert_eq!(
            (tool.to_string().as_str(), Value::Object(request.arguments)),
            ("files:read_file", json!({"path": "a"}))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlisted_tool_can_be_called_by_its_wire_name() {
    for era in ERAS {
        let gateway = start(Setup::default()).await;
        let client = gateway.connect(era).await;
        assert_eq!(text(&ask(&client, "files__read_file", json!({"path": "a"})).await), "ok");
        let missing = ask(&client, "files__read_file", json!({})).await;
        assert_eq!(missing.is_error, Some(true));
        let params = CallToolRequestParams::new("files__read_fil");
        let error = client.call_tool(params).await.unwrap_err();
        assert!(format!("{error:?}").contains("-32602") && error.to_string().contains("files:read_file"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_do_not_fit_stay_here() {
    let gateway = start(Setup::default()).await;
    let client = gateway.connect(Era::Modern).await;
    let arguments = json!({"repo": "a/b", "state": "close", "lables": []});
    let result = ask(&client, "call_tool", json!({"id": "forge:create_issue", "arguments": arguments})).await;
    assert_eq!(result.is_error, Some(true));
    for expect in ["\"title\" is required", "/state", "closed", "lables", "valid: labels", "create_issue(repo*, title*"]
    {
        assert!(text(&result).contains(expect), "{} lacks {expect}", text(&result));
    }
    assert!(gateway.fake.seen.lock().is_empty());
    assert_eq!(quality(&gateway, "forge:create_issue").await, (0, 0, 1));

    // `null` for "nothing to say" is left out where that says the same.
    let arguments = json!({"repo": "a/b", "title": "x", "count": null});
    let result = ask(&client, "call_tool", json!({"id": "forge:create_issue", "arguments": arguments})).await;
    assert_eq!(text(&result), "ok");
    assert_eq!(Value::Object(gateway.fake.last().1.arguments), json!({"repo": "a/b", "title": "x"}));
    let notes = result.meta.unwrap()["dev.toolscout/notes"].to_string();
    assert!(notes.contains("count"), "{notes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_nobody_can_compile_refuses_nothing() {
    let gateway = start(Setup::default()).await;
    let client = gateway.connect(Era::Modern).await;
    let result = ask(&client, "call_tool", json!({"id": "files:odd", "arguments": {"x": 7}})).await;
    assert_eq!(text(&result), "ok");
    assert!(result.meta.unwrap()["dev.toolscout/notes"].to_string().contains("not checked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_is_asked_again_before_the_call() {
    let see_only = Rule {
        tools: vec![Glob::new("forge:delete_*")],
        moment: Some(Moment::Call),
        name: Some("deletions are done by hand".into()),
        ..Rule::all(Effect::Deny)
    };
    let policy = Policy { rules: vec![see_only], ..Policy::default() };
    let gateway = start(Setup { policy, ..Setup::default() }).await;
    let client = gateway.connect(Era::Modern).await;
    let found = ask(&client, "search_tools", json!({"query": "delete a repository"})).await;
    assert!(text(&found).contains("forge:delete_repository"));
    for (tool, arguments) in [
        ("call_tool", json!({"id": "forge:delete_repository", "arguments": {"repo": "a"}, "confirm": true})),
        ("forge__delete_repository", json!({"repo": "a"})),
    ] {
        let result = ask(&client, tool, arguments).await;
        assert_eq!(result.is_error, Some(true));
        assert!(text(&result).contains("not permitted"), "{}", text(&result));
        assert!(!text(&result).contains("deletions are done by hand"), "{}", text(&result));
    }
    assert!(gateway.fake.seen.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_is_wanted_where_the_operator_says_so() {
    let options = GatewayOptions { confirm_from: Some(SideEffect::Destructive), ..GatewayOptions::default() };
    let gateway = start(Setup { options, ..Setup::default() }).await;
    let client = gateway.connect(Era::Modern).await;
    let call = |confirm: bool| json!({"id": "forge:delete_repository", "arguments": {"repo": "a"}, "confirm": confirm});
    let result = ask(&client, "call_tool", call(false)).await;
    assert!(result.is_error == Some(true) && text(&result).contains("\"confirm\": true"), "{}", text(&result));
    assert!(gateway.fake.seen.lock().is_empty());
    assert_eq!(text(&ask(&client, "call_tool", call(true)).await), "ok");
    assert_eq!(
        text(&ask(&client, "call_tool", json!({"id": "files:read_file", "arguments": {"path": "a"}})).await),
        "ok"
    );
}

async fn with_progress(client: &Running, tool: &'static str, arguments: Value) -> CallToolResponse {
    let mut params = CallToolRequestParams::new(tool).with_arguments(object(arguments));
    params.meta = Some(RequestMetaObject::with_progress_token(ProgressToken(rmcp::model::NumberOrString::Number(77))));
    client.call_tool_once(params).await.unwrap()
}

/// What the client heard, in order. Its library handles each report in a task of its own: some run after the result is there.
pub(crate) async fn heard_progress(client: &Running, n: usize) -> Vec<f64> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mut heard = client.service().progress.lock().clone();
        if heard.len() >= n {
            heard.sort_by(f64::total_cmp);
            return heard;
        }
        assert!(tokio::time::Instant::now() < deadline, "heard only {heard:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_passes_through() {
    for era in ERAS {
        let gateway = start(Setup::default()).await;
        gateway.fake.script("files:read_file", async |call| {
            for step in 1..=3 {
                call.context.progress.as_ref().unwrap().send(progress(f64::from(step))).await.unwrap();
            }
            Ok(json!({"content": [{"type": "text", "text": "done"}]}))
        });
        let client = gateway.connect(era).await;
        with_progress(&client, "call_tool", json!({"id": "files:read_file", "arguments": {"path": "a"}})).await;
        assert_eq!(heard_progress(&client, 3).await, [1.0, 2.0, 3.0], "{era}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_its_call() {
    for era in ERAS {
        let gateway = start(Setup::default()).await;
        let (told, mut heard) = tokio::sync::mpsc::channel(2);
        gateway.fake.script("files:read_file", move |call| {
            let told = told.clone();
            async move {
                told.send("begun").await.unwrap();
                call.context.cancel.cancelled().await;
                told.send("cancelled").await.unwrap();
                Err(Error::Cancelled { upstream: call.tool.upstream })
            }
        });
        let client = gateway.connect(era).await;
        let params = CallToolRequestParams::new("files__read_file").with_arguments(object(json!({"path": "a"})));
        {
            let mut call = std::pin::pin!(client.call_tool_once(params));
            tokio::select! {
                answer = &mut call => panic!("{answer:?}"),
                begun = heard.recv() => assert_eq!(begun, Some("begun")),
            }
        }
        let cancelled = tokio::time::timeout(PATIENCE, heard.recv()).await.expect("the upstream hears of it");
        assert_eq!(cancelled, Some("cancelled"), "{era}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_several_rounds_passes_through_sealed() {
    let gateway = start(Setup::default()).await;
    gateway.fake.script("files:read_file", async |call| match call.request.request_state.as_deref() {
        None => Ok(json!({
            "resultType": "input_required",
            "inputRequests": {"who": {"method": "elicitation/create", "params": {"mode": "form", "message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}}},
            "requestState": "upstream secret"
        })),
        Some(state) => {
            let answers = call.request.input_responses.unwrap();
            Ok(json!({"content": [{"type": "text", "text": format!("{state} {}", answers["who"]["action"])}]}))
        }
    });
    let client = gateway.connect(Era::Modern).await;
    for (tool, arguments) in [
        ("files__read_file", json!({"path": "a"})),
        ("call_tool", json!({"id": "files:read_file", "arguments": {"path": "a"}})),
    ] {
        let params = CallToolRequestParams::new(tool).with_arguments(object(arguments));
        let CallToolResponse::InputRequired(asked) = client.call_tool_once(params.clone()).await.unwrap() else {
            panic!("input is required");
        };
        let state = asked.request_state.unwrap();
        assert!(!state.contains("upstream secret"));
        assert!(asked.input_requests.unwrap().contains_key("who"));
        let answers = [("who".to_owned(), json!({"action": "accept", "content": {}}))].into();
        let retry = params.clone().with_input_responses(answers).with_request_state(state.clone());
        let CallToolResponse::Complete(result) = client.call_tool_once(retry).await.unwrap() else {
            panic!("complete")
        };
        assert_eq!(text(&result), "upstream secret \"accept\"");

        // What was altered, or belongs to another call, is an error of the protocol: no model can mend it.
        let forged = params.with_request_state(format!("{state}x"));
        let refused = client.call_tool_once(forged).await.unwrap_err().to_string();
        assert!(refused.contains("cannot be continued"), "{refused}");

        let foreign = CallToolRequestParams::new("forge__list_issues").with_request_state(state);
        let refused = client.call_tool_once(foreign).await.unwrap_err().to_string();
        assert!(refused.contains("belongs to another call"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_fails_is_told_readably_and_counts() {
    for era in ERAS {
        let gateway = start(Setup::default()).await;
        gateway.fake.script("files:read_file", async |_| Err(closed()));
        let client = gateway.connect(era).await;
        let result = ask(&client, "call_tool", json!({"id": "files:read_file", "arguments": {"path": "a"}})).await;
        assert_eq!(result.is_error, Some(true));
        assert!(
            text(&result).contains("closed the connection") && text(&result).contains("out of memory"),
            "{}",
            text(&result)
        );
        let error = &result.meta.unwrap()["dev.toolscout/error"];
        assert_eq!((&error["code"], &error["fault"]), (&json!("upstream_failed"), &json!("upstream")));
        assert_eq!(quality(&gateway, "files:read_file").await, (1, 1, 0));
        gateway.fake.answers(
            "files:read_file",
            json!({"isError": true, "content": [{"type": "text", "text": "no such file"}]}),
        );
        let result = ask(&client, "call_tool", json!({"id": "files:read_file", "arguments": {"path": "a"}})).await;
        assert_eq!((result.is_error, text(&result)), (Some(true), "no such file"));
        assert_eq!(quality(&gateway, "files:read_file").await, (1, 1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_keeps_failing_is_put_aside() {
    let gateway = start(Setup::default()).await;
    let client = gateway.connect(Era::Modern).await;
    let call = json!({"id": "forge:create_issue", "arguments": {"repo": "a/b", "title": "x"}});
    let answers = |text: &str| {
        let result = json!({"isError": true, "content": [{"type": "text", "text": text}]});
        gateway.fake.answers("forge:create_issue", result);
    };
    answers("no such repository");
    for _ in 0..20 {
        ask(&client, "call_tool", call.clone()).await;
    }
    assert_eq!(quality(&gateway, "forge:create_issue").await, (0, 0, 20));
    let found = ask(&client, "search_tools", json!({"query": "open an issue", "upstreams": ["forge"]})).await;
    let found = found.structured_content.unwrap();
    let cautions: Vec<_> =
        found["tools"].as_array().unwrap().iter().map(|tool| (&tool["id"], &tool["caution"])).collect();
    for (id, caution) in cautions {
        let is_warned = caution.as_str().is_some_and(|caution| caution.contains("often wrong"));
        assert_eq!(is_warned, id == "forge:create_issue", "{found}");
    }
    assert!(found["tools"].to_string().contains("create_issue"), "{found}");
    answers("Internal server error");
    for _ in 0..5 {
        assert!(text(&ask(&client, "call_tool", call.clone()).await).contains("Internal server error"));
    }
    assert_eq!(quality(&gateway, "forge:create_issue").await, (5, 5, 20));
    let n_forwarded = gateway.fake.seen.lock().len();
    let refused = ask(&client, "call_tool", call.clone()).await;
    assert_eq!(refused.is_error, Some(true));
    for expect in ["in quarantine since", "5 failures in a row", "mirror:create_issue", "tried again from"] {
        assert!(text(&refused).contains(expect), "{}", text(&refused));
    }
    assert_eq!(refused.meta.unwrap()["dev.toolscout/error"]["code"], "quarantined");
    assert_eq!(gateway.fake.seen.lock().len(), n_forwarded, "nothing was forwarded");
    // Being refused is no outcome, and its siblings are not touched.
    assert_eq!(quality(&gateway, "forge:create_issue").await, (5, 5, 20));
    let elsewhere = json!({"id": "mirror:create_issue", "arguments": {"repo": "a/b", "title": "x"}});
    assert_eq!(text(&ask(&client, "call_tool", elsewhere).await), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_for_writing_stands_in_for_nothing() {
    for (read_only_fallback, stands_in) in [(false, true), (true, false)] {
        let quality = QualityOptions { read_only_fallback, ..QualityOptions::default() };
        // A family of two that write, and two tools beside the second that fail now and then.
        let write = |name: &str| {
            json!({
                "name": name, "description": "Write a note down.", "annotations": {"readOnlyHint": false},
                "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}}
            })
        };
        let shaky = |name: &str| json!({"name": name, "description": "Look.", "annotations": {"readOnlyHint": true}});
        let listings = vec![
            listing("forge", vec![write("note")]),
            listing("mirror", vec![write("note"), shaky("one"), shaky("two")]),
        ];
        let gateway = start(Setup { listings, quality, ..Setup::default() }).await;
        let client = gateway.connect(Era::Modern).await;
        let broken = json!({"isError": true, "content": [{"type": "text", "text": "Internal server error"}]});
        let call = async |id: &str| ask(&client, "call_tool", json!({"id": id, "arguments": {}})).await;
        for n in 0..24 {
            let id = ["mirror:one", "mirror:two"][n % 2];
            let fine = json!({"content": [{"type": "text", "text": "ok"}]});
            gateway.fake.answers(id, if n % 3 == 0 { broken.clone() } else { fine });
            call(id).await;
        }
        gateway.fake.answers("forge:note", broken);
        for _ in 0..5 {
            call("forge:note").await;
        }
        assert_eq!(quality_of_upstream(&gateway, "mirror")["degraded"], true);
        let refused = call("forge:note").await;
        assert!(text(&refused).contains("in quarantine"), "{}", text(&refused));
        assert_eq!(text(&refused).contains("mirror:note"), stands_in, "{}", text(&refused));
    }
}

fn quality_of_upstream(gateway: &Gateway, id: &str) -> Value {
    assert!(gateway.services.parts.quality.settle(PATIENCE));
    let view = gateway.services.parts.quality.view();
    let of = view.upstreams().find(|(upstream, _)| upstream.as_str() == id).expect("it was called").1;
    serde_json::to_value(of).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_break_their_own_schema_put_a_tool_aside() {
    let number = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let tool = |name: &str| json!({"name": name, "description": "Counts.", "inputSchema": {"type": "object"}, "outputSchema": number});
    let listings = vec![listing("count", vec![tool("right"), tool("wrong")])];
    let gateway = start(Setup { listings, ..Setup::default() }).await;
    gateway.fake.answers("count:right", json!({"content": [], "structuredContent": {"n": 1}}));
    gateway.fake.answers("count:wrong", json!({"content": [], "structuredContent": {"n": "one"}}));
    let client = gateway.connect(Era::Modern).await;
    for (wire_name, id) in [("count__right", "count:right"), ("count__wrong", "count:wrong")] {
        for _ in 0..5 {
            assert_ne!(ask(&client, wire_name, json!({})).await.is_error, Some(true));
        }
        assert_eq!(quality(&gateway, id).await, (5, 0, 0));
    }
    assert_ne!(ask(&client, "count__right", json!({})).await.is_error, Some(true));
    let refused = ask(&client, "count__wrong", json!({})).await;
    assert!(text(&refused).contains("broke its own output schema"), "{}", text(&refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_error_of_the_upstream_stays_one_when_called_directly() {
    let gateway = start(Setup::default()).await;
    gateway.fake.script("files:read_file", async |call| {
        Err(Error::Rpc { upstream: call.tool.upstream, code: -32021, message: "needs elicitation".into(), data: None })
    });
    let client = gateway.connect(Era::Modern).await;
    let params = CallToolRequestParams::new("files__read_file").with_arguments(object(json!({"path": "a"})));
    let error = client.call_tool_once(params).await.unwrap_err();
    assert!(format!("{error:?}").contains("-32021") && error.to_string().contains("needs elicitation"), "{error:?}");
    let result = ask(&client, "call_tool", json!({"id": "files:read_file", "arguments": {"path": "a"}})).await;
    assert!(result.is_error == Some(true) && text(&result).contains("needs elicitation"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_too_long_is_cut() {
    let options = GatewayOptions { max_result_bytes: 10_000, ..GatewayOptions::default() };
    let gateway = start(Setup { options, ..Setup::default() }).await;
    gateway.fake.answers("files:read_file", json!({"content": [{"type": "text", "text": "x".repeat(100_000)}]}));
    let client = gateway.connect(Era::Modern).await;
    let result = ask(&client, "call_tool", json!({"id": "files:read_file", "arguments": {"path": "a"}})).await;
    assert_ne!(result.is_error, Some(true));
    let whole = serde_json::to_string(&result).unwrap();
    assert!(whole.len() < 11_000 && whole.contains("cut by the gateway"), "{}", whole.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_has_a_deadline_for_the_pool() {
    let options = GatewayOptions { call_deadline: Some(Duration::from_secs(9)), ..GatewayOptions::default() };
    let gateway = start(Setup { options, ..Setup::default() }).await;
    gateway.fake.script("files:read_file", async |call| {
        Ok(json!({"content": [{"type": "text", "text": format!("{:?}", call.context.deadline)}]}))
    });
    let client = gateway.connect(Era::Legacy).await;
    let result = ask(&client, "call_tool", json!({"id": "files:read_file", "arguments": {"path": "a"}})).await;
    assert_eq!(text(&result), "Some(9s)");
}
