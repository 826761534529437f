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
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use toolscout_core::{CallFault, Caller, CallerClass, SideEffect, Timestamp, ToolId};
use toolscout_quality::Standing;
use tracing::{debug, warn};

use crate::ops::{Conditions, call};
use crate::services::Services;
use crate::wire::CallRequest;

/// How often it is looked whose time aside is over. The time itself doubles with each failure.
const TICK: Duration = Duration::from_millis(500);
/// How long one probe may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// When a probe decided nothing (its arguments do not fit, a limit said "later"), it is made again after so long, and after twice
/// as long each further time: it would decide as little half a second later.
const AGAIN: Duration = Duration::from_secs(30);
/// The longest of these.
const AGAIN_CAP: Duration = Duration::from_secs(60 * 60);
/// How long a listing may keep agents' calls from trying a server.
const LISTING_DEADLINE: Duration = Duration::from_secs(60);

/// Makes the probe of each tool whenever it, or its whole server, is to be tried. Ends with `stop`.
///
/// Each probe is a call like any other: policy is asked, arguments are checked, the outcome is judged. At most one runs at a
/// time, and one that decides nothing is not repeated at once. A tool that does more than read is never probed.
pub async fn probe(services: Arc<Services>, probes: BTreeMap<ToolId, Map<String, Value>>, stop: CancellationToken) {
    if probes.is_empty() {
        return;
    }
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut refused: Vec<ToolId> = Vec::new();
    let mut made: BTreeMap<&ToolId, Made> = BTreeMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        for (tool, arguments) in &probes {
            let Standing::Trial(held) = services.parts.quality.view_at(services.now()).standing(tool) else { continue };
            let before = made.get(tool).filter(|made| made.since == held.since);
            if before.is_some_and(|made| Instant::now() < made.again) {
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
            let wait = before.map_or(AGAIN, |made| (made.wait * 2).min(AGAIN_CAP));
            tokio::select! {
                () = stop.cancelled() => return,
                () = try_it(&services, tool, arguments) => {}
            }
            made.insert(tool, Made { since: held.since, again: Instant::now() + wait, wait });
        }
    }
}

/// The last probe of a tool.
struct Made {
    /// Since when what it tried was held: another time is another matter.
    since: Timestamp,
    /// Not before then again.
    again: Instant,
    /// How long that is.
    wait: Duration,
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
        Ok(Err(error)) if error.call_fault().is_some_and(CallFault::is_upstreams) => {
            debug!(%tool, error = &error as &dyn std::error::Error, "probe failed");
        }
        // The operator's to mend: as it is, an agent's call has to try the tool after all.
        Ok(Err(error)) => {
            warn!(%tool, error = &error as &dyn std::error::Error, "this probe cannot be made");
        }
        Err(_) => debug!(%tool, "probe took too long"),
    }
}
