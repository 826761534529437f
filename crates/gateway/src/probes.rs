//! What tries what was put aside, so that no agent has to: listings of servers that did not answer, and calls of tools that only
//! read, as the operator named them.
//!
//! A listing cannot heal: a server may list its tools and fail every one of them. But one that does not even list answers no call,
//! and that is found out without one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::task::JoinSet;
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
/// How long a listing may keep agents' calls from trying a server.
const LISTING_DEADLINE: Duration = Duration::from_secs(60);

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

/// Lists the tools of each server that left calls unanswered, shortly before a call would try it. Ends with `stop`. What comes of
/// a listing is heard by quality from whoever crawls, see [`Recrawl`](crate::Recrawl).
pub async fn relist(services: Arc<Services>, stop: CancellationToken) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        while running.try_join_next().is_some() {}
        for (upstream, trial) in services.parts.quality.to_be_listed(services.now()) {
            let services = Arc::clone(&services);
            running.spawn(async move {
                // Whoever crawls has a deadline of its own; without an end the right to try it comes free all the same.
                match timeout(LISTING_DEADLINE, services.parts.recrawl.recrawl(upstream.clone())).await {
                    Ok(Ok(listed)) => {
                        debug!(%upstream, state = listed.state, "listed to see whether it answers");
                        trial.recorded();
                    }
                    // Nobody crawls it: an agent's call has to try it.
                    Ok(Err(error)) => debug!(%upstream, error = &error as &dyn std::error::Error, "not listed"),
                    Err(_) => debug!(%upstream, "listing took too long"),
                }
            });
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
