//! Does a denied tool ever show?
//!
//! Tools are drawn by lot and denied, queries are asked again, and every string of the answer and of its evidence is compared
//! with the ids of the denied tools. What is denied is worked out here, from names, and not by asking the policy.

use std::collections::BTreeSet;

use serde_json::Value;
use toolscout_core::ToolId;
use toolscout_policy::{Glob, Policy};

use crate::stats::SplitMix;

/// The part of the tools that is denied, about.
const SHARE: f64 = 0.3;
/// At most so many rules: each is asked for every tool of the catalog and every query.
const MAX_RULES: usize = 64;
/// A rule that would deny more than this part of a large catalog gets a longer beginning of a name.
const MAX_PER_RULE: f64 = 0.1;
/// Catalogs up to this size are denied tool by tool.
const SMALL: usize = 150;
/// Queries that are asked again, evenly spread: the question is whether a way for leaks exists.
pub(crate) const MAX_QUERIES: usize = 100;

/// A policy, and what it denies.
pub(crate) struct Lot {
    pub(crate) policy: Policy,
    pub(crate) denied: BTreeSet<String>,
}

/// Draws tools to deny. The same seed and tools give the same lot.
pub(crate) fn draw(tools: &[&ToolId], seed: u64) -> Lot {
    let mut lot = Lot { policy: Policy::default(), denied: BTreeSet::new() };
    let mut rng = SplitMix::for_name(seed, "policy");
    for _ in 0..tools.len().min(4 * MAX_RULES) {
        let is_enough = lot.denied.len() as f64 >= SHARE * tools.len() as f64;
        if is_enough || lot.policy.deny.len() >= MAX_RULES {
            break;
        }
        let tool = tools[rng.below(tools.len())];
        let name = tool.name.as_str();
        // These would be wildcards.
        if name.contains(['*', '?']) || lot.denied.contains(&tool.to_string()) {
            continue;
        }
        if tools.len() <= SMALL {
            lot.policy.deny.push(Glob::new(&tool.to_string()));
            lot.denied.insert(tool.to_string());
            continue;
        }
        let starting = |start: &str| tools.iter().filter(|id| id.name.as_str().starts_with(start)).count();
        let ends = name.char_indices().map(|(at, c)| at + c.len_utf8()).skip(2);
        let few =
            ends.map(|end| &name[..end]).find(|start| starting(start) as f64 <= MAX_PER_RULE * tools.len() as f64);
        let Some(start) = few else { continue };
        lot.policy.deny.push(Glob::new(&format!("*:{start}*")));
        lot.denied.extend(tools.iter().filter(|id| id.name.as_str().starts_with(start)).map(ToString::to_string));
    }
    lot
}

/// Whether any string in it, keys included, is one of the ids.
pub(crate) fn names_any(value: &Value, ids: &BTreeSet<String>) -> bool {
    match value {
        Value::String(text) => ids.contains(text),
        Value::Array(items) => items.iter().any(|item| names_any(item, ids)),
        Value::Object(fields) => fields.iter().any(|(key, field)| ids.contains(key) || names_any(field, ids)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use toolscout_core::{Caller, SideEffect};
    use toolscout_policy::{Decision, Moment, Subject, decide};

    /// What is said to be denied is what the policy denies, and about a third.
    #[track_caller]
    fn check(n_tools: usize, seed: u64) {
        let verbs = ["get", "list", "create", "delete", "update", "search", "send", "read", "write", "export"];
        let tools: Vec<ToolId> = (0..n_tools)
            .map(|i| format!("s{}:{}_{}", i % 7, verbs[i % 10], i * 7919 % 1000).parse().unwrap())
            .collect();
        let tools: Vec<&ToolId> = tools.iter().collect();
        let lot = draw(&tools, seed);
        for &id in &tools {
            let subject = Subject { id, side_effect: SideEffect::Read, tags: &[] };
            let decision = decide(&lot.policy, &Caller::local("test"), &subject, Moment::See);
            assert_eq!(matches!(decision, Decision::Denied(_)), lot.denied.contains(&id.to_string()), "{id}");
        }
        let share = lot.denied.len() as f64 / tools.len() as f64;
        assert!((0.25..0.45).contains(&share), "{share} of {n_tools}");
        assert_eq!(draw(&tools, seed).denied, lot.denied);
    }

    #[test]
    fn the_lot_is_what_the_policy_denies() {
        for seed in 0..5 {
            check(30, seed);
            check(3_000, seed);
        }
    }

    #[test]
    fn ids_are_found_wherever_they_hide() {
        let ids: BTreeSet<String> = ["a:b".to_owned()].into();
        for (value, expect) in [
            (serde_json::json!({"x": [{"y": "a:b"}]}), true),
            (serde_json::json!({"x": {"a:b": 1}}), true),
            (serde_json::json!({"x": "a:bc", "y": [1, null, "a"]}), false),
        ] {
            assert_eq!(names_any(&value, &ids), expect, "{value}");
        }
    }
}
