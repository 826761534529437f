//! Calls that try what was put aside, so that no agent has to: of tools that only read, as the operator named them.
//!
//! A listing is no such call: a server may list its tools and fail every one of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use toolscout_core::{Caller, CallerClass, SideEffect, ToolId};
use toolscout_quality::Standing;
use tracing::{debug, warn};

use crate::ops::{Conditions, call};
use crate::services::Services;
use crate::wire::CallRequest;

/// How often it is looked whose time aside is over. The time itself doubles with each failure.
const TICK: Duration = Duration::from_millis(500);
/// How long one probe may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Makes the probe of each tool whenever it, or its whole server, is to be tried. Ends with `stop`.
///
/// Each probe is a call like any other: policy is asked, arguments are checked, the outcome is judged. At most one runs at a
/// time. A tool that does more than read is never probed.
pub async fn probe(services: Arc<Services>, probes: BTreeMap<ToolId, Map<String, Value>>, stop: CancellationToken) {
    if probes.is_empty() {
        return;
    }
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut refused: Vec<ToolId> = Vec::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        for (tool, arguments) in &probes {
            let standing = services.parts.quality.view_at(services.now()).standing(tool);
            if !matches!(standing, Standing::Trial(_)) {
                continue;
            }
            let effect = services.parts.catalog.view().get(tool).map(|card| card.side_effect);
            match effect {
                Some(SideEffect::Read) => {}
                Some(_) if refused.contains(tool) => continue,
                Some(effect) => {
                    warn!(%tool, effect = effect.as_str(), "not probed: only tools that read are");
                    refused.push(tool.clone());
                    continue;
                }
                None => continue,
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = try_it(&services, tool, arguments) => {}
            }
        }
    }
}

async fn try_it(services: &Services, tool: &ToolId, arguments: &Map<String, Value>) {
    let request = CallRequest { id: tool.to_string(), arguments: arguments.clone(), ..CallRequest::default() };
    let conditions = Conditions { class: CallerClass::Operator, ..Conditions::default() };
    // Called off when the time is over, so that the upstream is told.
    let _over = conditions.cancel.clone().drop_guard();
    match timeout(DEADLINE, call(services, &Caller::local("probe"), request, conditions)).await {
        Ok(Ok(answer)) => debug!(%tool, is_error = answer.is_error, "probed"),
        Ok(Err(error)) => debug!(%tool, error = &error as &dyn std::error::Error, "probe failed"),
        Err(_) => debug!(%tool, "probe took too long"),
    }
}
