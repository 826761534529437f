//! Through the real pool to a real process: what the fake upstream cannot show.
//!
//! 1. A call reaches a stdio server of either era and comes back; progress passes through.
//! 2. A server that crashes in a call, or never answers, gives a readable failure; nothing hangs.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{CallToolRequestParams, NumberOrString, ProgressToken, RequestMetaObject};
use serde_json::json;
use toolscout_catalog::Listing;
use toolscout_core::{Timestamp, UpstreamId};
use toolscout_gateway::GatewayOptions;
use toolscout_testkit::upstream::{Behave, Scripted};
use toolscout_upstream::{Era, Pool, PoolOptions, UpstreamSpec};

use crate::fixture::{Gateway, PATIENCE, Setup, ask, object, start, text};

async fn over(behaves: &[Behave], deadline: Option<Duration>) -> (Gateway, Arc<Pool>) {
    let id = UpstreamId::new("scripted").unwrap();
    let scripted = Scripted::new(behaves).delay_ms(20);
    let pool = Pool::new(PoolOptions::default());
    pool.configure(vec![UpstreamSpec::stdio(id.clone(), &scripted.command(), scripted.args())]);
    let listed = pool.list(&id).await.unwrap();
    let mut listing = Listing::new(id, Timestamp(1));
    listing.tools = listed.tools;
    let forward: Arc<dyn toolscout_gateway::Forward> = pool.clone();
    let options = GatewayOptions { call_deadline: deadline, ..GatewayOptions::default() };
    let setup = Setup { forward: Some(forward), listings: vec![listing], options, ..Setup::default() };
    (start(setup).await, pool)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_all_the_way_with_progress() {
    for behaves in [&[Behave::Good, Behave::SlowCall][..], &[Behave::LegacyOnly, Behave::SlowCall]] {
        let (gateway, pool) = over(behaves, None).await;
        for era in [Era::Legacy, Era::Modern] {
            let client = gateway.connect(era).await;
            let mut params = CallToolRequestParams::new("call_tool").with_arguments(object(
                json!({"id": "scripted:echo", "arguments": {"text": "hello", "message": "hello"}}),
            ));
            params.meta = Some(RequestMetaObject::with_progress_token(ProgressToken(NumberOrString::Number(5))));
            let answer = tokio::time::timeout(PATIENCE, client.call_tool(params)).await.expect("in time").unwrap();
            assert_ne!(answer.is_error, Some(true), "{}", text(&answer));
            let heard = crate::call::heard_progress(&client, 5).await;
            assert!(heard.windows(2).all(|pair| pair[0] < pair[1]), "{heard:?}");
        }
        pool.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_upstream_gives_a_readable_failure() {
    for (behave, expect) in [(Behave::CrashMidCall, "closed the connection"), (Behave::NeverAnswers, "longer than")] {
        let (gateway, pool) = over(&[behave], Some(Duration::from_secs(2))).await;
        let client = gateway.connect(Era::Modern).await;
        let call = json!({"id": "scripted:echo", "arguments": {"text": "hello", "message": "hello"}});
        let answer = ask(&client, "call_tool", call).await;
        assert_eq!(answer.is_error, Some(true));
        assert!(text(&answer).contains(expect), "{behave:?}: {}", text(&answer));
        pool.shutdown().await;
    }
}
