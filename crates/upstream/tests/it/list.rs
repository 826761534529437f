//! Listing.
//!
//! 1. Definitions come out whole, unknown fields included, in order.
//! 2. What cannot be used is reported; everything else is kept.
//! 3. Every listing ends: pages, tools, bytes, time and repeated cursors are bounded, and a cut listing says so.

use super::*;

async fn listed(script: Scripted, change: impl FnOnce(&mut UpstreamSpec)) -> ToolListing {
    let world = World::of(script, change, PoolOptions::default());
    let listing = world.list().await.unwrap();
    world.pool.shutdown().await;
    listing
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_4_definitions_come_out_whole_in_both_eras() {
    for behaves in [&[Behave::ModernOnly][..], &[Behave::LegacyOnly]] {
        let listing = listed(Scripted::new(behaves), |_| {}).await;
        let echo = listing.tools[0].raw();
        assert_eq!(echo["execution"], json!({"taskSupport": "optional"}));
        assert_eq!(echo["humanReadableDescription"], "A vendor's own key.");
        assert_eq!(echo["annotations"]["category"], "speech");
        assert_eq!(names(&listing), ["echo", "add", "untyped"]);
        assert_eq!((listing.ttl_ms, listing.cache_scope.as_deref()), (Some(60_000), Some("public")));
        assert_eq!((listing.truncated, listing.skipped.len()), (None, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_3_malformed_tools_are_reported_and_the_rest_is_kept() {
    let listing = listed(Scripted::new(&[Behave::Malformed]), |_| {}).await;
    // A wrong annotation or icon is a blemish: it costs the hint, not the tool.
    assert_eq!(names(&listing), ["echo", "bad_annotations", "bad_icon", "add", "untyped"]);
    let skipped: Vec<_> =
        listing.skipped.iter().map(|s| (s.position, s.name.as_deref().unwrap_or("-"), s.reason.as_str())).collect();
    assert_eq!(
        skipped,
        [
            (1, "no_schema", "no inputSchema"),
            (2, "null_schema", "no inputSchema"),
            (3, "text_schema", "its inputSchema takes no object"),
            (4, "-", "no name"),
            (5, "-", "not an object"),
        ]
    );
    assert_eq!(listing.truncated, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_tools_of_one_name_the_first_is_kept() {
    let listing = listed(Scripted::new(&[Behave::Duplicates]), |_| {}).await;
    assert_eq!(names(&listing), ["echo", "add", "untyped"]);
    assert_eq!(listing.tools[1].raw()["description"], "Does add.");
    assert_eq!(listing.skipped[0].reason, "a tool of this name came before");
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_5_an_endless_listing_ends_at_the_cap_on_pages_or_tools() {
    let listing = listed(Scripted::new(&[Behave::Loops]), |spec| spec.caps.pages = 7).await;
    assert_eq!((listing.tools.len(), listing.truncated.as_deref()), (7, Some("more than 7 pages")));
    let listing = listed(Scripted::new(&[Behave::Loops]), |spec| spec.caps.tools = 5).await;
    assert_eq!((listing.tools.len(), listing.truncated.as_deref()), (5, Some("more than 5 tools")));
    let listing = listed(Scripted::new(&[Behave::Loops]), |spec| spec.caps.listing_bytes = 1_000).await;
    assert!(listing.tools.len() < 10);
    assert_eq!(listing.truncated.as_deref(), Some("more than 1000 bytes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_5_a_repeated_cursor_ends_the_listing() {
    let listing = listed(Scripted::new(&[Behave::SameCursor]), |_| {}).await;
    assert_eq!(names(&listing), ["first", "second"]);
    assert_eq!(listing.truncated.as_deref(), Some("cursor `again` came twice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_5_the_empty_string_is_a_cursor() {
    let listing = listed(Scripted::new(&[Behave::EmptyCursor]), |_| {}).await;
    assert_eq!(names(&listing), ["first", "second", "third"]);
    assert_eq!(listing.truncated, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_page_costs_only_what_follows_it() {
    let listing = listed(Scripted::new(&[Behave::BrokenPage]), |_| {}).await;
    assert_eq!(names(&listing), ["page_0", "page_1"]);
    assert!(listing.truncated.is_some_and(|why| why.starts_with("page 3 failed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_of_several_pages_are_joined_to_the_strictest() {
    let listing = listed(Scripted::new(&[Behave::Hints]), |_| {}).await;
    assert_eq!((listing.ttl_ms, listing.cache_scope.as_deref()), (Some(5_000), Some("private")));
    assert_eq!(listing.tools.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_huge_tool_is_left_out() {
    let script = Scripted::new(&[Behave::HugeTool]).size(300_000);
    let listing = listed(script, |spec| spec.caps.tool_bytes = 200_000).await;
    assert_eq!(names(&listing), ["echo", "add", "untyped"]);
    assert_eq!(listing.skipped[0].reason, "larger than 200000 bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_13_a_huge_line_ends_its_request_at_once_and_not_the_connection() {
    let script = Scripted::new(&[Behave::HugeLine]).size(3 << 20);
    let world = World::of(script, |spec| spec.caps.message_bytes = 1 << 20, PoolOptions::default());
    let error = world.list().await.unwrap_err();
    assert!(matches!(error, Error::Caps { .. }), "{error:?}");
    world.call("echo", echo()).await.unwrap();
    assert_eq!(world.logged("start").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_never_comes_runs_into_its_deadline() {
    let change = |spec: &mut UpstreamSpec| spec.timeouts.list = Duration::from_millis(200);
    let world = World::of(Scripted::new(&[Behave::NeverLists]), change, PoolOptions::default());
    let error = world.list().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    world.until_logged("got notifications/cancelled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_decides_which_tools_exist() {
    let change = |spec: &mut UpstreamSpec| {
        spec.tools.allow = vec!["tool_*".to_owned(), "echo".to_owned()];
        spec.tools.block = vec!["*_1".to_owned()];
    };
    let world = World::of(Scripted::new(&[Behave::Good]).tools(3), change, PoolOptions::default());
    let listing = world.list().await.unwrap();
    assert_eq!((names(&listing), listing.skipped.len()), (vec!["echo", "tool_0", "tool_2"], 0));
    assert!(matches!(world.call("add", json!({})).await, Err(Error::Filtered { .. })));
    world.call("tool_0", json!({})).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_8_a_dead_upstream_does_not_look_alive() {
    let world = World::of(Scripted::new(&[Behave::ExitsAfter]).after(1), |_| {}, PoolOptions::default());
    let mut events = world.pool.subscribe();
    world.list().await.unwrap();
    world.call("echo", echo()).await.unwrap();
    events.recv().await.unwrap();
    world.list().await.unwrap();
    assert_eq!(world.logged("start").len(), 2, "the second listing came from a new process, not from a cache");
}
