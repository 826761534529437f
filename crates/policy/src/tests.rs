//! What holds of every decision:
//! 1. Without configuration everything is granted.
//! 2. Whatever denies wins over whatever allows, in any order of the rules.
//! 3. Naming what is allowed forbids the rest, unless the default says otherwise.
//! 4. A rule covers a subject only if all its conditions hold.
//! 5. A denial names the rule that decided.

use super::*;
use proptest::prelude::*;

fn policy(json: &str) -> Policy {
    serde_json::from_str(json).unwrap()
}

fn caller() -> Caller {
    Caller { tenant: "acme".into(), client: "t".into(), scopes: vec!["admin".into()] }
}

/// Asks about `id` with tag `blue`, at both moments; `""` stands for granted.
#[track_caller]
fn check(json: &str, id: &str, side_effect: SideEffect, see: &str, call: &str) {
    let id: ToolId = id.parse().unwrap();
    for (moment, expect) in [(Moment::See, see), (Moment::Call, call)] {
        let subject = Subject { id: &id, side_effect, tags: &["blue".to_owned()] };
        let said = match decide(&policy(json), &caller(), &subject, moment) {
            Decision::Granted(grant) => {
                assert_eq!((grant.get(), grant.moment()), (&id, moment));
                String::new()
            }
            Decision::Denied(denial) => denial.rule,
        };
        assert_eq!(said, expect, "{json} {id} {moment:?}");
    }
}

#[test]
fn rules_decide() {
    use SideEffect::{Destructive, Read, Write};
    check("{}", "a:b", Destructive, "", "");
    check(r#"{"max_side_effect":"read"}"#, "a:b", Write, "max_side_effect read", "max_side_effect read");
    check(r#"{"max_side_effect":"read"}"#, "a:b", Read, "", "");
    check(r#"{"deny":["a:*"],"allow":["a:b"]}"#, "a:b", Read, "deny a:*", "deny a:*");
    check(r#"{"allow":["a:b"]}"#, "a:b", Read, "", "");
    check(r#"{"allow":["a:b"]}"#, "a:c", Read, "not allowed", "not allowed");
    check(r#"{"allow":["a:b"],"default":"allow"}"#, "a:c", Read, "", "");
    check(r#"{"default":"deny"}"#, "a:c", Read, "not allowed", "not allowed");
    check(r#"{"rules":[{"effect":"deny","tags":["blue"]}]}"#, "a:c", Read, "deny tag blue", "deny tag blue");
    check(r#"{"rules":[{"effect":"deny","tags":["red"]}]}"#, "a:c", Read, "", "");
    check(r#"{"rules":[{"effect":"deny","moment":"call","name":"look only"}]}"#, "a:c", Read, "", "look only");
    check(
        r#"{"rules":[{"effect":"deny","tools":["a"],"max_side_effect":"write"}]}"#,
        "a:c",
        Destructive,
        "deny a max_side_effect write",
        "deny a max_side_effect write",
    );
    check(r#"{"rules":[{"effect":"deny","tools":["a"],"max_side_effect":"write"}]}"#, "a:c", Write, "", "");
    check(r#"{"rules":[{"effect":"allow","max_side_effect":"read"}]}"#, "a:c", Read, "", "");
    check(r#"{"rules":[{"effect":"allow","max_side_effect":"read"}]}"#, "a:c", Write, "not allowed", "not allowed");
    check(r#"{"rules":[{"effect":"deny","tenants":["other"]}]}"#, "a:c", Read, "", "");
    check(r#"{"rules":[{"effect":"deny","tenants":["acme"],"scopes":["admin"],"name":"x"}]}"#, "a:c", Read, "x", "x");
    check(r#"{"rules":[{"effect":"deny","tenants":["acme"],"scopes":["none"],"name":"x"}]}"#, "a:c", Read, "", "");
}

#[test]
fn a_misspelt_key_is_an_error_and_not_a_hole() {
    assert!(serde_json::from_str::<Policy>(r#"{"denny":["a:*"]}"#).is_err());
    assert!(serde_json::from_str::<Policy>(r#"{"rules":[{"effect":"deny","tool":["a:*"]}]}"#).is_err());
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let effect = prop_oneof![Just(Effect::Allow), Just(Effect::Deny)];
    let glob = prop::collection::vec(prop_oneof![Just("a"), Just("b:*"), Just("*:x"), Just("a:x")], 0..2);
    let max = prop::option::of(prop_oneof![Just(SideEffect::Read), Just(SideEffect::Write)]);
    let moment = prop::option::of(prop_oneof![Just(Moment::See), Just(Moment::Call)]);
    (effect, glob, max, moment).prop_map(|(effect, globs, max_side_effect, moment)| Rule {
        tools: globs.into_iter().map(Glob::new).collect(),
        max_side_effect,
        moment,
        ..Rule::all(effect)
    })
}

proptest! {
    #[test]
    fn order_of_rules_does_not_matter_and_one_more_denial_never_grants(
        rules in prop::collection::vec(any_rule(), 0..5),
        more in any_rule(),
        id in prop_oneof![Just("a:x"), Just("a:y"), Just("b:x"), Just("c:z")],
        moment in prop_oneof![Just(Moment::See), Just(Moment::Call)],
    ) {
        let id: ToolId = id.parse().unwrap();
        let granted = |rules: Vec<Rule>| {
            let policy = Policy { rules, ..Policy::default() };
            let subject = Subject { id: &id, side_effect: SideEffect::Write, tags: &[] };
            let granted = matches!(decide(&policy, &caller(), &subject, moment), Decision::Granted(_));
            assert!(granted || !policy.permits_all());
            granted
        };
        let plain = granted(rules.clone());
        prop_assert_eq!(granted(rules.iter().rev().cloned().collect()), plain);
        let with_denial = [rules, vec![Rule { effect: Effect::Deny, ..more }]].concat();
        prop_assert!(plain || !granted(with_denial));
    }
}
