//! `tools/list`:
//!
//! 1. It is the four meta-tools and the pinned tools, the same bytes every time, whatever was searched before.
//! 2. With a query in `_meta` it also holds the tools that fit, privately, for this request alone.
//! 3. A change of a pinned tool is announced in both eras; other changes are not.
//! 4. `All` lists everything in pages; `Transparent` lists everything under its own name.

use std::sync::atomic::Ordering;

use rmcp::model::{
    CacheScope, CallToolRequestParams, ListToolsResult, PaginatedRequestParams, RequestMetaObject, SubscriptionFilter,
};
use serde_json::json;
use toolscout_gateway::{Exposure, GatewayOptions};
use toolscout_policy::{Glob, Policy};
use toolscout_upstream::Era;

use crate::fixture::{PATIENCE, Setup, ask, forge, listing, object, start, text};

const META: [&str; 4] = ["search_tools", "get_tool_details", "call_tool", "explain_selection"];

fn names(listed: &ListToolsResult) -> Vec<&str> {
    listed.tools.iter().map(|tool| &*tool.name).collect()
}

fn pinned(ids: &[&str]) -> Setup {
    let pinned = ids.iter().map(|id| id.parse().unwrap()).collect();
    Setup { options: GatewayOptions { pinned, ..GatewayOptions::default() }, ..Setup::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_small_and_steady() {
    for era in [Era::Legacy, Era::Modern] {
        let gateway = start(pinned(&["files:read_file", "files:not_there"])).await;
        let client = gateway.connect(era).await;
        let before = client.list_tools(None).await.unwrap();
        assert_eq!(names(&before), [&META[..], &["files__read_file"]].concat());
        ask(&client, "search_tools", json!({"query": "open an issue"})).await;
        let after = gateway.connect(era).await.list_tools(None).await.unwrap();
        assert_eq!(serde_json::to_string(&before.tools).unwrap(), serde_json::to_string(&after.tools).unwrap());
        if era == Era::Modern {
            assert_eq!((before.ttl_ms, before.cache_scope), (Some(60_000), Some(CacheScope::Public)));
        }
        let meta_tools = &before.tools[..4];
        assert!(meta_tools.iter().all(|tool| tool.meta.as_ref().unwrap()["anthropic/alwaysLoad"] == true));
        let call = meta_tools[2].annotations.clone().unwrap();
        assert_eq!(
            (call.destructive_hint, call.open_world_hint, call.read_only_hint),
            (Some(true), Some(true), Some(false))
        );
        assert_eq!(meta_tools[0].annotations.as_ref().unwrap().read_only_hint, Some(true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_callers_may_differ_the_list_is_private() {
    let policy = Policy { deny: vec![Glob::new("files:*")], ..Policy::default() };
    let gateway = start(Setup { policy, ..pinned(&["files:read_file", "forge:list_issues"]) }).await;
    let listed = gateway.connect(Era::Modern).await.list_tools(None).await.unwrap();
    assert_eq!(names(&listed), [&META[..], &["forge__list_issues"]].concat());
    assert_eq!(listed.cache_scope, Some(CacheScope::Private));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_in_meta_reranks_this_list_alone() {
    let gateway = start(Setup::default()).await;
    let client = gateway.connect(Era::Modern).await;
    let mut meta = RequestMetaObject::new();
    meta.insert("dev.toolscout/query".into(), json!("read a text file from disk"));
    meta.insert("dev.toolscout/limit".into(), json!(1));
    let mut params = PaginatedRequestParams::default();
    params.meta = Some(meta);
    let listed = client.list_tools(Some(params)).await.unwrap();
    assert_eq!(names(&listed), [&META[..], &["files__read_file"]].concat());
    assert_eq!((listed.ttl_ms, listed.cache_scope), (Some(0), Some(CacheScope::Private)));
    assert_eq!(names(&client.list_tools(None).await.unwrap()), META);
    assert_eq!(text(&ask(&client, "files__read_file", json!({"path": "a"})).await), "ok");
}

fn changed_forge() -> toolscout_catalog::Listing {
    let mut changed = forge();
    changed.tools.pop();
    changed.at = toolscout_core::Timestamp(2);
    changed
}

fn restored_forge() -> toolscout_catalog::Listing {
    toolscout_catalog::Listing { at: toolscout_core::Timestamp(3), ..forge() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_session_hears_of_changes_of_pinned_tools_only() {
    let gateway = start(pinned(&["forge:list_issues"])).await;
    let client = gateway.connect(Era::Legacy).await;
    client.list_tools(None).await.unwrap();
    let heard = || client.service().list_changes.load(Ordering::SeqCst);
    let until_heard = async |n: u64| {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while heard() < n {
            assert!(tokio::time::Instant::now() < deadline, "heard {} of {n}", heard());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    for (n, pinned_change) in (0..).zip([changed_forge(), restored_forge()]) {
        let other = json!({"name": format!("new_{n}"), "inputSchema": {"type": "object"}});
        let told_before = heard();
        let at = toolscout_core::Timestamp(n + 2);
        gateway.apply(toolscout_catalog::Listing { at, ..listing("other", vec![other]) }).await;
        // Time for the session to be told, where a mistake would tell it.
        for _ in 0..3 {
            client.list_tools(None).await.unwrap();
        }
        assert_eq!(heard(), told_before, "a change of another tool was told");
        gateway.apply(pinned_change).await;
        until_heard(n + 1).await;
        assert_eq!(heard(), n + 1);
    }
    assert_eq!(names(&client.list_tools(None).await.unwrap()).len(), META.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_listener_hears_of_changes() {
    let gateway = start(pinned(&["forge:list_issues"])).await;
    let client = gateway.connect(Era::Modern).await;
    let filter = SubscriptionFilter::builder().tools_list_changed().build();
    let mut subscription = client.listen(filter).await.unwrap();
    gateway.apply(changed_forge()).await;
    let heard = tokio::time::timeout(PATIENCE, subscription.next()).await.expect("in time");
    assert!(format!("{heard:?}").contains("ToolListChanged"), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_listed_in_pages() {
    let many = (0..450).map(|n| json!({"name": format!("tool_{n:03}"), "inputSchema": {"type": "object"}})).collect();
    let options = GatewayOptions { exposure: Exposure::All, ..GatewayOptions::default() };
    let gateway =
        start(Setup { options, embedder: None, listings: vec![listing("many", many)], ..Setup::default() }).await;
    let client = gateway.connect(Era::Modern).await;
    let listed = client.list_all_tools().await.unwrap();
    assert_eq!(listed.len(), 454);
    assert_eq!(
        (&*listed[3].name, &*listed[4].name, &*listed[453].name),
        ("explain_selection", "many__tool_000", "many__tool_449")
    );
    let mut bad = PaginatedRequestParams::default();
    bad.cursor = Some("nonsense".into());
    assert!(format!("{:?}", client.list_tools(Some(bad)).await.unwrap_err()).contains("-32602"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transparent_gateway_is_the_upstream() {
    let options = GatewayOptions { exposure: Exposure::Transparent, ..GatewayOptions::default() };
    let own = json!({
        "name": "search_tools", "title": "Theirs", "description": "Not ours.",
        "inputSchema": {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "$defs": {"a": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/a"}}},
        "outputSchema": {"type": "object"}, "_meta": {"vendor": 1}
    });
    let gateway = start(Setup { options, listings: vec![listing("one", vec![own.clone()])], ..Setup::default() }).await;
    for era in [Era::Legacy, Era::Modern] {
        let client = gateway.connect(era).await;
        let listed = client.list_tools(None).await.unwrap();
        assert_eq!(serde_json::to_value(&listed.tools).unwrap(), json!([own]));
        let params = CallToolRequestParams::new("search_tools").with_arguments(object(json!({"a": "x"})));
        assert_eq!(text(&client.call_tool(params).await.unwrap()), "ok");
        assert_eq!(gateway.fake.last().0.to_string(), "one:search_tools");
    }
}
