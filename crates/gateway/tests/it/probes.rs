//! Calls that try what was put aside.
//!
//! 1. A probe that decides nothing is made a few times an hour, not twice a second, and one that decides is not kept waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use toolscout_core::{CallFault, CallerClass, Generation, Outcome, ToolId};
use toolscout_gateway::probes::probe;
use toolscout_quality::{QualityOptions, QuarantineOptions, Standing};

use crate::fixture::{Gateway, PATIENCE, Setup, object, start};

const TOOL: &str = "files:read_file";

/// Five failures, and the time aside is over.
fn put_on_trial(gateway: &Gateway) {
    let (tool, parts): (ToolId, _) = (TOOL.parse().unwrap(), &gateway.services.parts);
    for _ in 0..5 {
        parts.quality.record(Outcome {
            tool: tool.clone(),
            generation: Generation(1),
            selection: None,
            fault: CallFault::UpstreamError,
            latency_ms: 0,
            result_bytes: 1,
            empty: false,
            conforms: None,
            caller: CallerClass::Agent,
            at: (parts.clock)(),
        });
    }
    assert!(parts.quality.settle(PATIENCE));
    let on_trial =
        (0..50).any(|_| matches!(parts.quality.view_at((parts.clock)()).standing(&tool), Standing::Trial(_)));
    assert!(on_trial, "it is tried");
}

/// Probes for an hour, and tells how many calls reached the upstream.
async fn probed_for_an_hour(gateway: &Gateway) -> usize {
    let stop = CancellationToken::new();
    let probes = BTreeMap::from([(TOOL.parse().unwrap(), object(json!({"path": "."})))]);
    let probing = tokio::spawn(probe(Arc::clone(&gateway.services), probes, stop.clone()));
    for _ in 0..7_200 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        // Outcomes are folded by a thread, which a paused clock does not wait for.
        assert!(gateway.services.parts.quality.settle(PATIENCE));
    }
    stop.cancel();
    probing.await.unwrap();
    gateway.fake.seen.lock().len()
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_decides_nothing_is_not_repeated_at_once() {
    let quarantine = QuarantineOptions { backoff_ms: 10, ..QuarantineOptions::default() };
    let quality = || QualityOptions { quarantine: quarantine.clone(), ..QualityOptions::default() };
    let gateway = start(Setup { quality: quality(), ..Setup::default() }).await;
    let said = json!({"isError": true, "content": [{"type": "text", "text": "no such folder"}]});
    gateway.fake.answers(TOOL, said);
    put_on_trial(&gateway);
    let n_made = probed_for_an_hour(&gateway).await;
    assert!((3..=12).contains(&n_made), "{n_made}");

    let gateway = start(Setup { quality: quality(), ..Setup::default() }).await;
    put_on_trial(&gateway);
    assert_eq!(probed_for_an_hour(&gateway).await, 1, "the first heals");
    assert!(gateway.services.parts.quality.settle(PATIENCE));
    let healed = gateway.services.parts.quality.view().of(&TOOL.parse().unwrap());
    assert_eq!(healed.state.as_str(), "healthy");
}
