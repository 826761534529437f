//! Calling.
//!
//! 1. A result comes out whole; what the caller adds goes in whole, but for what belongs to the connection.
//! 2. Every call ends: by an answer, a deadline, a cancellation or the end of the connection, each told apart.
//! 3. A call is sent at most once, unless it certainly was not sent.

use super::*;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use toolscout_core::{Fault, Retry};
use toolscout_upstream::{Sent, Step, UpstreamEvent};

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_kept_whole_in_both_eras() {
    for (behave, era) in [(Behave::ModernOnly, Era::Modern), (Behave::LegacyOnly, Era::Legacy)] {
        let world = World::stdio(&[behave]);
        let reply = world.call("echo", echo()).await.unwrap();
        let result = reply.result.raw();
        assert_eq!(reply.era, era);
        assert_eq!(result["content"], json!([{"type": "text", "text": "hello", "extra": 1}]));
        assert_eq!((&result["vendor"], &result["isError"]), (&json!({"kept": true}), &json!(false)));
        assert_eq!(result.get("resultType").is_some(), era == Era::Modern);
        assert_eq!(result["structuredContent"]["params"]["arguments"], echo());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn meta_goes_through_but_for_what_belongs_to_the_connection() {
    let world = World::stdio(&[Behave::Good]);
    let meta = json!({
        "traceparent": "00-aa-bb-01", "org.example/x": {"y": [1]}, "progressToken": "theirs",
        "io.modelcontextprotocol/clientInfo": {"name": "spoof", "version": "0"},
        "io.modelcontextprotocol/protocolVersion": "1999-01-01",
        "io.modelcontextprotocol/clientCapabilities": {"sampling": {}},
    });
    let mut call = request("echo", echo());
    call.meta = serde_json::from_value(meta).unwrap();
    let reply = world.pool.call(&up(), call, CallContext::default()).await.unwrap();
    let seen = &reply.result.raw()["structuredContent"]["params"]["_meta"];
    assert_eq!((&seen["traceparent"], &seen["org.example/x"]), (&json!("00-aa-bb-01"), &json!({"y": [1]})));
    assert_ne!(seen["progressToken"], "theirs");
    assert_eq!(seen["io.modelcontextprotocol/clientInfo"]["name"], "toolscout");
    assert_eq!(seen["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(seen["io.modelcontextprotocol/clientCapabilities"], json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_11_input_required_goes_out_and_its_answers_go_in() {
    let world = World::stdio(&[Behave::NeedsInput]);
    let capabilities: Map<String, Value> = serde_json::from_value(json!({"elicitation": {"form": {}}})).unwrap();
    let context = CallContext { client_capabilities: Some(capabilities.clone()), ..CallContext::default() };
    let first = world.call_in("echo", echo(), context.clone()).await.unwrap();
    let result = first.result.raw();
    assert_eq!((&result["resultType"], &result["requestState"]), (&json!("input_required"), &json!("state-1")));
    assert!(result["inputRequests"]["who"].is_object());
    assert_eq!(result["sawCapabilities"], Value::Object(capabilities));
    let mut second = request("echo", echo());
    let answers = json!({"who": {"action": "accept", "content": {}, "vendor": 1}});
    second.input_responses = Some(answers.clone());
    second.request_state = Some("state-1".to_owned());
    let reply = world.pool.call(&up(), second, context).await.unwrap();
    let params = &reply.result.raw()["structuredContent"]["params"];
    assert_eq!((&params["inputResponses"], &params["requestState"]), (&answers, &json!("state-1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_declared_that_cannot_be_served() {
    for behave in [Behave::ModernOnly, Behave::LegacyOnly] {
        let world = World::stdio(&[behave]);
        world.list().await.unwrap();
        let seen = world.logged("got ").join("\n");
        assert!(!seen.contains("sampling") && !seen.contains("elicitation") && !seen.contains("roots"), "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_tool_and_of_the_server_are_told_apart() {
    let world = World::stdio(&[Behave::ErrorResults]);
    assert_eq!(world.call("echo", echo()).await.unwrap().result.raw()["isError"], true);
    let world = World::stdio(&[Behave::RpcErrors]);
    let error = world.call("echo", echo()).await.unwrap_err();
    let Error::Rpc { code, message, data, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*code, message.as_str()), (-32000, "backend refuses ***"));
    assert_eq!(data.as_ref().map(|data| data.raw().clone()), Some(json!({"why": [1, 2]})));
    assert_eq!((error.fault(), error.retry()), (Fault::Upstream, Retry::Never));
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_10_progress_reaches_its_own_caller_and_keeps_the_call_alive() {
    for behave in [Behave::ModernOnly, Behave::LegacyOnly] {
        // Five steps of 500 ms against a deadline of 2 s: each step starts it anew.
        let world = World::of(Scripted::new(&[Behave::SlowCall, behave]).delay_ms(500), |_| {}, PoolOptions::default());
        let call = |n: usize| {
            let world = &world;
            async move {
                let (sender, mut receiver) = mpsc::channel(16);
                let deadline = Some(Duration::from_secs(2));
                let context = CallContext { progress: Some(sender), deadline, ..CallContext::default() };
                world.call_in("echo", json!({"text": n.to_string()}), context).await.unwrap();
                let mut steps = Vec::new();
                while let Ok(report) = receiver.try_recv() {
                    steps.push((report.progress, report.total, report.message.unwrap_or_default()));
                }
                steps
            }
        };
        for steps in futures::future::join_all((0..3).map(call)).await {
            let expect: Vec<_> = (1..=5_u8).map(|n| (f64::from(n), Some(5.0), format!("step {n}"))).collect();
            assert_eq!(steps, expect);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_does_not_extend_a_call_for_ever() {
    let change = |spec: &mut UpstreamSpec| spec.timeouts.call_max = Duration::from_millis(500);
    let world = World::of(Scripted::new(&[Behave::SlowCall]).delay_ms(200), change, PoolOptions::default());
    let context = CallContext { deadline: Some(Duration::from_millis(400)), ..CallContext::default() };
    let error = world.call_in("echo", echo(), context).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { step: Step::Call, .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_never_answered_runs_into_its_deadline_and_the_server_is_told() {
    let world = World::stdio(&[Behave::NeverAnswers]);
    let context = CallContext { deadline: Some(Duration::from_millis(200)), ..CallContext::default() };
    let error = world.call_in("echo", echo(), context).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { step: Step::Call, .. }), "{error:?}");
    assert_eq!((error.fault(), error.retry()), (Fault::Upstream, Retry::Later));
    world.until_logged("got notifications/cancelled").await;
    // The connection still serves others.
    world.list().await.unwrap();
    assert_eq!(world.logged("start").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fell_silent_is_given_up_and_replaced() {
    for behave in [Behave::ModernOnly, Behave::LegacyOnly] {
        let change = |spec: &mut UpstreamSpec| {
            spec.timeouts.probe = Duration::from_millis(800);
            spec.timeouts.close = Duration::from_millis(200);
        };
        let world = World::of(Scripted::new(&[Behave::WedgedByCall, behave]), change, PoolOptions::default());
        let mut events = world.pool.subscribe();
        let context = CallContext { deadline: Some(Duration::from_millis(200)), ..CallContext::default() };
        let error = world.call_in("echo", echo(), context).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { step: Step::Call, .. }), "{error:?}");
        let UpstreamEvent::Closed { reason, .. } = events.recv().await.unwrap() else { panic!("not closed") };
        assert_eq!(reason, "it stopped answering");
        until_gone(&world.pids("start")).await;
        world.list().await.unwrap();
        assert_eq!(world.logged("got tools/call").len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_ends_at_once_and_the_server_stops() {
    let world = World::of(Scripted::new(&[Behave::SlowCall]).delay_ms(100), |_| {}, PoolOptions::default());
    let cancel = CancellationToken::new();
    let context = CallContext { cancel: cancel.clone(), ..CallContext::default() };
    let stop = async {
        world.until_logged("got tools/call").await;
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(world.call_in("echo", echo(), context), stop);
    assert!(matches!(outcome, Err(Error::Cancelled { .. })), "{outcome:?}");
    world.until_logged("stopped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_future_is_dropped_is_withdrawn() {
    let world = World::of(Scripted::new(&[Behave::SlowCall]).delay_ms(100), |_| {}, PoolOptions::default());
    world.list().await.unwrap();
    let dropped = tokio::time::timeout(Duration::from_millis(250), world.call("echo", echo())).await;
    assert!(dropped.is_err());
    world.until_logged("stopped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_of_a_call_is_told_at_once_and_the_call_is_not_repeated() {
    let world = World::stdio(&[Behave::CrashMidCall]);
    let error = world.call("echo", echo()).await.unwrap_err();
    assert!(matches!(error, Error::Closed { sent: Sent::Maybe, .. }), "{error:?}");
    assert_eq!(error.retry(), Retry::Later);
    assert_eq!(world.logged("got tools/call").len(), 1);
    // The next request finds a new process.
    world.list().await.unwrap();
    assert_eq!(world.logged("start").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_13_a_connection_that_died_idle_is_replaced_without_the_caller_noticing() {
    let world = World::of(Scripted::new(&[Behave::ExitsAfter]).after(1), |_| {}, PoolOptions::default());
    let mut events = world.pool.subscribe();
    for n in 1..=2 {
        world.call("echo", echo()).await.unwrap();
        events.recv().await.unwrap();
        assert_eq!(world.logged("got tools/call").len(), n);
    }
    assert_eq!(world.logged("start").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_dying_is_left_alone_for_a_while() {
    let world = World::stdio(&[Behave::CrashMidCall]);
    let mut last = None;
    for _ in 0..20 {
        last = world.call("echo", echo()).await.err();
        if matches!(last, Some(Error::BackingOff { .. })) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never backed off: {last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_get_their_own_answers() {
    let change = |spec: &mut UpstreamSpec| spec.caps.in_flight = 8;
    let world = World::of(Scripted::new(&[Behave::Good]), change, PoolOptions::default());
    let calls = (0..100).map(|n| {
        let world = &world;
        async move { (n, world.call("echo", json!({"text": n.to_string()})).await.unwrap()) }
    });
    for (n, reply) in futures::future::join_all(calls).await {
        assert_eq!(reply.result.raw()["content"][0]["text"], n.to_string());
    }
}
