//! What quality does to an answer.
//!
//! 1. With nothing known the answer is the same to the last bit, whatever the weight.
//! 2. A tool loses at most the stated share of its score, and a good one gains nothing: no irrelevant tool rises.
//! 3. The reliable member of a family has its place; the other is its variant.
//! 4. A tool out of order that fits is named, with the sibling or backup that works; what policy hides never is, nor what is on trial.
//! 5. A failing server's writing tools are withheld where the operator wants it so.
//! 6. Confidence is about the match alone.
//! 7. A tool whose arguments callers often get wrong says so, and loses nothing.

use proptest::prelude::*;
use toolscout_core::CallFault;
use toolscout_policy::Policy;
use toolscout_quality::{QualityOptions, QualityView, Standing};
use toolscout_selector::{Query, Selection, SelectorOptions, explain, select_with};

use crate::pick::{any_query, sound};
use crate::world::{after, after_with, aside, caller, ids, pick, pick_knowing, pick_with, policy, query, snapshot};

const CLONE: &str = "clone a repository from its address";

fn calls<'a>(tool: &'a str, script: &str) -> Vec<(&'a str, CallFault)> {
    let fault = |c| if c == 'x' { CallFault::UpstreamError } else { CallFault::None };
    script.chars().map(|c| (tool, fault(c))).collect()
}

fn part(selection: &Selection, id: &str) -> f64 {
    let candidate = selection.evidence.candidates.iter().find(|one| one.id.to_string() == id).unwrap();
    candidate.parts.iter().filter(|part| part.name == "quality").map(|part| part.value).sum()
}

#[test]
fn a_failing_tool_loses_a_little_and_says_so() {
    let query = query("create an invoice with billing");
    let known = after(&calls("billing:create_invoice", "x.xx"));
    let (plain, selection) = (pick(&query, &Policy::default()), pick_knowing(&query, &known, &Policy::default()));
    sound(&selection);
    assert_eq!(ids(&selection)[0], "billing:create_invoice", "what fits far better stays first");
    let loss = part(&selection, "billing:create_invoice");
    assert!(loss < 0.0, "{loss}");
    assert_eq!(selection.confidence, plain.confidence);
    let text = explain(&selection.evidence, 1);
    assert!(text.contains("a tool that fails loses up to 10 %") && text.contains("quality"), "{text}");
}

#[test]
fn the_reliable_member_has_the_familys_place() {
    let plain = pick(&query(CLONE), &Policy::default());
    let first = ids(&plain)[0].clone();
    let place = |quality: &QualityView| {
        let selection = pick_knowing(&query(CLONE), quality, &Policy::default());
        sound(&selection);
        (ids(&selection)[0].clone(), selection)
    };
    let degraded = after(&calls(&first, &"...x".repeat(8)));
    let (instead, selection) = place(&degraded);
    assert!(instead != first && instead.ends_with(":clone_repo"), "{instead}");
    assert!(selection.tools[0].variants.iter().any(|id| id.to_string() == first));
    assert!((selection.tools[0].score.value() - selection.confidence).abs() < 1e-9);
    // One failure in many is no reason.
    assert_eq!(place(&after(&calls(&first, &"........x".repeat(8)))).0, first);
    // Nor is a sibling's success where it works itself.
    let mut all = calls(&instead, &".".repeat(40));
    all.extend(calls(&first, &".".repeat(40)));
    assert_eq!(place(&after(&all)).0, first);
}

#[test]
fn a_tool_out_of_order_is_named_with_what_can_stand_in() {
    let selection =
        pick_knowing(&query(CLONE), &aside(&["mirror:clone_repo", "mail:create_letter"]), &Policy::default());
    let named: Vec<String> = selection.withheld.tools.iter().map(|held| held.id.to_string()).collect();
    assert_eq!((selection.withheld.count, named), (2, vec!["mirror:clone_repo".to_owned()]));
    let instead =
        |selection: &Selection| selection.withheld.tools[0].instead.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(instead(&selection), ["forge:clone_repo", "secret-mirror:clone_repo"]);
    let hidden = policy(r#"{"deny":["secret-mirror"]}"#);
    let selection = pick_knowing(&query(CLONE), &aside(&["mirror:clone_repo"]), &hidden);
    assert_eq!(instead(&selection), ["forge:clone_repo"]);
    let selection = pick_knowing(&query("mail create letter"), &aside(&["mail:create_letter"]), &Policy::default());
    assert_eq!(instead(&selection), ["photos:create_letter"], "its backup");
    // Nothing works: the one that would have fitted is named all the same.
    let upstreams = vec!["mirror".parse_upstream()];
    let only = Query { upstreams, ..query(CLONE) };
    let selection = pick_knowing(&only, &aside(&["mirror:clone_repo"]), &Policy::default());
    assert!(selection.no_match.is_some());
    assert_eq!(selection.withheld.tools[0].id.to_string(), "mirror:clone_repo");
}

#[test]
fn nobody_is_sent_to_a_tool_on_trial() {
    let mut known = calls("forge:clone_repo", "xxxxx");
    known.extend(calls("photos:create_letter", &".".repeat(40)));
    known.extend(calls("mirror:clone_repo", "xxxxx"));
    let known = after(&known);
    assert!(matches!(known.standing(&"forge:clone_repo".parse().unwrap()), Standing::Trial(_)));
    let selection = pick_knowing(&query(CLONE), &known, &Policy::default());
    let instead: Vec<String> = selection.withheld.tools[0].instead.iter().map(ToString::to_string).collect();
    assert_eq!(instead, ["secret-mirror:clone_repo"]);
}

#[test]
fn a_tool_that_callers_get_wrong_says_so_and_keeps_its_place() {
    let query = query("create an invoice with billing");
    let wrong = vec![("billing:create_invoice", CallFault::InvalidArguments); 20];
    let (plain, selection) =
        (pick(&query, &Policy::default()), pick_knowing(&query, &after(&wrong), &Policy::default()));
    let places = |selection: &Selection| -> Vec<_> {
        selection.tools.iter().map(|tool| (tool.card.id.clone(), tool.score)).collect()
    };
    assert_eq!(places(&selection), places(&plain));
    let misled = |selection: &Selection| selection.tools.iter().filter(|tool| tool.misleads).count();
    assert_eq!((misled(&plain), misled(&selection), selection.tools[0].misleads), (0, 1, true));
    let said = |selection: &Selection| explain(&selection.evidence, 1).contains("its description may mislead");
    assert_eq!((said(&plain), said(&selection)), (false, true));
}

#[test]
fn a_failing_servers_writing_tools_are_withheld_where_that_is_wanted() {
    let mut known = calls("billing:create_invoice", "..x..x..x..x");
    known.extend(calls("billing:delete_invoice", "..x..x..x..x"));
    let query = Query { limit: 50, ..query("create an invoice with billing") };
    let n_withheld = |read_only_fallback| {
        let options = QualityOptions { read_only_fallback, ..QualityOptions::default() };
        let selection = pick_knowing(&query, &after_with(&known, &options), &Policy::default());
        sound(&selection);
        selection.withheld.reasons.get("read_only").copied().unwrap_or_default()
    };
    // All ten tools of the upstream write or destroy; none of any other's is touched.
    assert_eq!((n_withheld(true), n_withheld(false)), (10, 0));
}

trait ParseUpstream {
    fn parse_upstream(&self) -> toolscout_core::UpstreamId;
}

impl ParseUpstream for str {
    fn parse_upstream(&self) -> toolscout_core::UpstreamId {
        toolscout_core::UpstreamId::new(self).unwrap()
    }
}

fn any_calls() -> impl Strategy<Value = Vec<(usize, bool)>> {
    prop::collection::vec((0usize..63, any::<bool>()), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn with_nothing_known_nothing_changes(query in any_query(), weight in 0.0f64..=1.0) {
        let options = SelectorOptions { quality: weight, ..SelectorOptions::default() };
        let (with, without) = (pick_with(&query, &Policy::default(), &options), pick(&query, &Policy::default()));
        prop_assert_eq!(&with.evidence, &without.evidence);
        prop_assert_eq!(ids(&with), ids(&without));
    }

    #[test]
    fn no_tool_passes_one_that_fits_much_better(query in any_query(), known in any_calls()) {
        let query = Query { limit: 50, ..query };
        let all = &snapshot().view().tools.clone();
        let names: Vec<String> = all.iter().map(|card| card.id.to_string()).collect();
        let mut calls: Vec<(&str, CallFault)> = Vec::new();
        for (n, fails) in &known {
            calls.push((&names[*n], if *fails { CallFault::UpstreamError } else { CallFault::None }));
        }
        let quality = after(&calls);
        let options = SelectorOptions::default();
        let plain = pick(&query, &Policy::default());
        let weighed = select_with(&snapshot(), &quality, &Policy::default(), &caller(), &query, &options);
        sound(&weighed);
        if weighed.evidence.access.held.is_empty() {
            prop_assert_eq!(weighed.confidence.to_bits(), plain.confidence.to_bits());
        }
        // Its score without the part: what it fits by.
        let fitness = |candidate: &toolscout_selector::Candidate| {
            candidate.parts.iter().filter(|part| part.name != "quality").map(|part| part.value).sum::<f64>()
        };
        let in_family = |id: &toolscout_core::ToolId| snapshot().view().family_of(id).is_some();
        let ranked: Vec<_> = weighed.evidence.candidates.iter().filter(|one| !in_family(&one.id)).collect();
        for (at, better) in ranked.iter().enumerate() {
            for behind in &ranked[at + 1..] {
                prop_assert!(fitness(better) >= 0.9 * fitness(behind) - 1e-9, "{} before {}", better.id, behind.id);
            }
        }
        for candidate in &ranked {
            let part: f64 = candidate.parts.iter().filter(|part| part.name == "quality").map(|part| part.value).sum();
            prop_assert!(part <= 0.0 && part >= -0.1 * fitness(candidate) - 1e-9, "{candidate:?}");
        }
    }
}
