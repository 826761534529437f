//! Streamable HTTP and legacy HTTP+SSE.
//!
//! 1. Both eras and both transports list, call, report progress and hear changes; `Auto` finds the right one.
//! 2. A server that wants credentials is told apart from one that is down.
//! 3. Configured headers go to the configured origin only, and never into an error.

use super::*;
use toolscout_core::Fault;
use toolscout_testkit::upstream::{Face, Serving};
use toolscout_upstream::{CheckStatus, HttpKind, UpstreamEvent};

fn over(face: Face, kind: HttpKind, script: Scripted, change: impl FnOnce(&mut UpstreamSpec)) -> (World, Serving) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let serving = script.log(log.path()).serve(face);
    let headers = env(&[("Authorization", &format!("Bearer {SECRET}"))]);
    let mut spec = UpstreamSpec::new(up(), Transport::Http { url: serving.url.clone(), headers, kind });
    spec.timeouts.probe = Duration::from_secs(2);
    change(&mut spec);
    (World::around(spec, log, PoolOptions::default()), serving)
}

async fn check(face: Face, kind: HttpKind, behave: Behave, era: Era) {
    let (world, _serving) = over(face, kind, Scripted::new(&[behave, Behave::ChangesTools]), |_| {});
    let mut events = world.pool.subscribe();
    let listing = world.list().await.unwrap();
    assert_eq!((names(&listing), listing.server.era), (vec!["echo", "add", "untyped"], era));
    assert_eq!(listing.tools[0].raw()["execution"], json!({"taskSupport": "optional"}));
    if era == Era::Modern {
        world.until_logged("got subscriptions/listen").await;
    }
    let reply = world.call("echo", echo()).await.unwrap();
    assert_eq!(reply.result.raw()["vendor"], json!({"kept": true}));
    let event = tokio::time::timeout(Duration::from_secs(10), events.recv()).await.unwrap().unwrap();
    assert_eq!(event, UpstreamEvent::ToolsChanged { upstream: up() });
    world.pool.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streamable_http_works_in_both_eras() {
    check(Face::Streamable, HttpKind::Auto, Behave::ModernOnly, Era::Modern).await;
    check(Face::Streamable, HttpKind::Streamable, Behave::LegacyOnly, Era::Legacy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_6_legacy_sse_works_named_or_found() {
    check(Face::Sse, HttpKind::Sse, Behave::LegacyOnly, Era::Legacy).await;
    check(Face::Sse, HttpKind::Auto, Behave::LegacyOnly, Era::Legacy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_6_an_sse_endpoint_on_another_origin_is_refused() {
    let (world, _serving) = over(Face::Sse, HttpKind::Sse, Scripted::new(&[Behave::EvilEndpoint]), |_| {});
    let error = world.list().await.unwrap_err();
    assert!(error.to_string().contains("another origin"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_credentials_is_told_apart_and_no_token_shows() {
    for (face, kind) in [(Face::Streamable, HttpKind::Auto), (Face::Sse, HttpKind::Sse)] {
        let (world, _serving) = over(face, kind, Scripted::new(&[Behave::Unauthorized]), |_| {});
        for _ in 0..2 {
            let error = world.list().await.unwrap_err();
            let Error::NeedsAuth { status: 401, challenge, .. } = &error else { panic!("{error:?}") };
            assert_eq!(challenge.scope.as_deref(), Some("tools:read"));
            assert!(challenge.resource_metadata.as_deref().is_some_and(|url| url.starts_with("https://auth.example/")));
            assert!(error.hint().is_some_and(|hint| hint.contains("tools:read")));
            assert!(!format!("{error:?} {:?}", error.chain()).contains(SECRET));
        }
        assert_eq!(world.pool.check(&up()).await.status, CheckStatus::NeedsAuth);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_said_at_once() {
    let pool = Pool::new(PoolOptions::default());
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    pool.configure(vec![UpstreamSpec::http(up(), &format!("http://127.0.0.1:{port}/mcp?key={SECRET}"))]);
    let error = pool.list(&up()).await.unwrap_err();
    assert!(error.to_string().contains("no connection"), "{error}");
    assert_eq!(error.fault(), Fault::Upstream);
    assert!(!format!("{error:?} {:?}", error.chain()).contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_12_header_parameters_are_sent_and_invalid_ones_cost_their_tool() {
    let (world, _serving) = over(Face::Streamable, HttpKind::Auto, Scripted::new(&[Behave::HeaderTool]), |_| {});
    // Called first: the connection lists by itself, or it could not know the header.
    world.call("regional", json!({"region": "eu-west"})).await.unwrap();
    let listing = world.list().await.unwrap();
    assert!(names(&listing).contains(&"regional"));
    assert_eq!(listing.skipped[0].name.as_deref(), Some("bad_header"));
    // On stdio there are no headers, so nothing is wrong with it.
    let world = World::stdio(&[Behave::HeaderTool]);
    assert!(names(&world.list().await.unwrap()).contains(&"bad_header"));
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_12_a_call_refused_for_its_headers_is_sent_once_more_after_listing() {
    let script = Scripted::new(&[Behave::HeaderTool, Behave::ChangesTools]);
    let (world, _serving) = over(Face::Streamable, HttpKind::Streamable, script, |_| {});
    let counts = || [world.logged("got tools/call").len(), world.logged("got tools/list").len()];
    world.call("regional", json!({"region": "eu-west"})).await.unwrap();
    assert_eq!(counts(), [1, 1]);
    // The header has another name by now; what this connection knows of it is old.
    world.call("regional", json!({"region": "eu-west"})).await.unwrap();
    assert_eq!(counts(), [3, 2], "refused, listed, sent again");
    // A refusal that listing does not mend is told, after one more try.
    let error = world.call("regional", json!({"region": 7})).await.unwrap_err();
    assert!(matches!(error, Error::Rpc { code: -32020, .. }), "{error:?}");
    assert_eq!(counts(), [5, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_3_malformed_tools_over_http_are_reported_and_the_rest_is_kept() {
    let (world, _serving) = over(Face::Streamable, HttpKind::Auto, Scripted::new(&[Behave::Malformed]), |_| {});
    let listing = world.list().await.unwrap();
    assert_eq!(names(&listing), ["echo", "bad_annotations", "bad_icon", "add", "untyped"]);
    assert_eq!(listing.skipped.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_over_the_cap_ends_its_request() {
    for (face, behave) in [(Face::Streamable, Behave::ModernOnly), (Face::Streamable, Behave::LegacyOnly)] {
        let script = Scripted::new(&[Behave::HugeLine, behave]).size(3 << 20);
        let change = |spec: &mut UpstreamSpec| {
            spec.caps.message_bytes = 1 << 20;
            spec.timeouts.list = Duration::from_secs(5);
        };
        let (world, _serving) = over(face, HttpKind::Auto, script, change);
        let error = world.list().await.unwrap_err();
        assert!(matches!(error, Error::Caps { .. } | Error::Closed { .. } | Error::Timeout { .. }), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_stops_at_the_server_over_http() {
    for behave in [Behave::ModernOnly, Behave::LegacyOnly] {
        let script = Scripted::new(&[Behave::SlowCall, behave]).delay_ms(200);
        let (world, _serving) = over(Face::Streamable, HttpKind::Auto, script, |_| {});
        let context = CallContext::default();
        let cancel = context.cancel.clone();
        let stop = async {
            world.until_logged("got tools/call").await;
            cancel.cancel();
        };
        let (outcome, ()) = tokio::join!(world.call_in("echo", echo(), context), stop);
        assert!(matches!(outcome, Err(Error::Cancelled { .. })), "{outcome:?}");
        world.until_logged("stopped").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_13_a_forgotten_session_is_renewed_and_the_refused_call_sent_again() {
    let script = Scripted::new(&[Behave::ForgetsSessions, Behave::LegacyOnly]);
    let (world, _serving) = over(Face::Streamable, HttpKind::Streamable, script, |_| {});
    for n in 1..=3 {
        world.call("echo", echo()).await.unwrap();
        assert_eq!(world.logged("got tools/call").len(), n, "a refused call was not looked at");
    }
}
