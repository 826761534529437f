//! Why not this tool?

use toolscout_core::SideEffect;
use toolscout_policy::Policy;
use toolscout_selector::{Asked, BudgetStage, Query, WhyStage, explain, why_not};

use crate::world::{caller, pick, policy, query, snapshot};

#[track_caller]
fn check(query: &Query, rules: &str, id: &str, stage: WhyStage, expect: &str) {
    let policy: Policy = policy(rules);
    let selection = pick(query, &policy);
    let (snapshot, caller) = (snapshot(), caller());
    let asked = Asked { snapshot: &snapshot, policy: &policy, caller: &caller, query: Some(query) };
    let why = why_not(&selection.evidence, &asked, &id.parse().unwrap());
    assert_eq!(why.stage, stage, "{}", why.reason);
    assert!(why.reason.contains(expect), "{expect:?} is missing in {}", why.reason);
    assert_eq!(
        why.candidate.is_some(),
        matches!(stage, WhyStage::Selected | WhyStage::BelowLimit | WhyStage::Family | WhyStage::NothingFits)
    );
}

#[test]
fn every_stage_can_be_named() {
    let invoice = || Query { limit: 2, ..query("create an invoice with billing") };
    check(&invoice(), "{}", "billing:create_invoice", WhyStage::Selected, "at rank 1");
    check(&invoice(), "{}", "weather:delete_album", WhyStage::BelowLimit, "2 were asked for");
    check(&invoice(), "{}", "billing:create_nothing", WhyStage::Unknown, "no tool `billing:create_nothing`");
    let reader = Query { max_side_effect: Some(SideEffect::Read), ..invoice() };
    check(&reader, "{}", "billing:create_invoice", WhyStage::Filtered, "limited to `read`");
    let tagged = Query { tags: vec!["blue".into()], ..invoice() };
    check(&tagged, "{}", "billing:create_invoice", WhyStage::Filtered, "none of the tags asked for: blue");
    let elsewhere = Query { upstreams: vec!["mail".parse_id()], ..invoice() };
    check(&elsewhere, "{}", "billing:create_invoice", WhyStage::Filtered, "other upstreams than `billing`");
    check(
        &query("forge: clone repository address"),
        "{}",
        "mirror:clone_repo",
        WhyStage::Family,
        "same tool as `forge:clone_repo`",
    );
    check(&query("zebra"), "{}", "mail:create_letter", WhyStage::NothingFits, "nothing fits");
    let words = Query { vector: None, ..query("invoice") };
    check(&words, "{}", "mail:create_letter", WhyStage::NotACandidate, "neither words");
}

#[test]
fn what_a_budget_left_out_is_told_with_its_price() {
    let (policy, caller, snapshot) = (Policy::default(), caller(), snapshot());
    let query = Query { limit: 2, ..query("forge: clone repository address") };
    let mut selection = pick(&query, &policy);
    let tools: Vec<_> = selection.tools.iter().map(|tool| tool.card.id.clone()).collect();
    let twin = selection.tools[0].variants[0].clone();
    let why = |selection: &toolscout_selector::Selection, id| {
        let asked = Asked { snapshot: &snapshot, policy: &policy, caller: &caller, query: Some(&query) };
        let why = why_not(&selection.evidence, &asked, id);
        (why.stage, why.reason)
    };
    assert_eq!((why(&selection, &tools[1]).0, why(&selection, &twin).0), (WhyStage::Selected, WhyStage::Family));
    let budget = BudgetStage { tokens: 100, used: 70 };
    selection.evidence.cut(budget, &[(tools[0].clone(), 120)].into());
    let (stage, reason) = why(&selection, &tools[0]);
    assert_eq!(stage, WhyStage::OverBudget);
    let rest = "and its 120 tokens are more than the budget had left: the definitions given take 70 of 100";
    assert!(reason.ends_with(rest), "{reason}");
    let left_out = format!("it is the same tool as `{}`, which the token budget left out", tools[0]);
    assert_eq!(why(&selection, &twin), (WhyStage::OverBudget, left_out));
    assert_eq!(why(&selection, &tools[1]).0, WhyStage::Selected);
    let text = explain(&selection.evidence, 2);
    for expect in ["budget      70 of 100 tokens for definitions\n", "(over the budget, with 120 tokens)"] {
        assert!(text.contains(expect), "{text}");
    }
}

#[test]
fn a_hidden_tool_is_answered_like_a_missing_one() {
    let rules = r#"{"deny":["billing:create_invoice"]}"#;
    let (policy, snapshot, caller) = (policy(rules), snapshot(), caller());
    let query = query("create an invoice with billing");
    let selection = pick(&query, &policy);
    let asked = Asked { snapshot: &snapshot, policy: &policy, caller: &caller, query: Some(&query) };
    let hidden = why_not(&selection.evidence, &asked, &"billing:create_invoice".parse().unwrap());
    let missing = why_not(&selection.evidence, &asked, &"billing:create_invoices".parse().unwrap());
    assert_eq!((hidden.stage, missing.stage), (WhyStage::Unknown, WhyStage::Unknown));
    assert_eq!(hidden.reason.replace("create_invoice", "X"), missing.reason.replace("create_invoices", "X"));
    assert!(!hidden.nearest.iter().chain(&missing.nearest).any(|id| id.to_string() == "billing:create_invoice"));
}

trait ParseId {
    fn parse_id(&self) -> toolscout_core::UpstreamId;
}

impl ParseId for str {
    fn parse_id(&self) -> toolscout_core::UpstreamId {
        toolscout_core::UpstreamId::new(self).unwrap()
    }
}
