//! Second opinions.

use std::collections::BTreeSet;

use proptest::prelude::*;
use toolscout_policy::Policy;
use toolscout_selector::{Query, SecondStage, Selection, explain, settle};

use crate::pick::{any_query, sound};
use crate::world::{ids, pick, query};

const SHORTLIST: usize = 20;

fn stage(n: usize, skipped: Option<&str>) -> SecondStage {
    SecondStage {
        by: "judge".into(),
        model: "double".into(),
        n_candidates: n as u64,
        millis: 7,
        remembered: false,
        skipped: skipped.map(str::to_owned),
    }
}

fn shortlisted(query: &Query) -> Selection {
    pick(&Query { shortlist: SHORTLIST, ..query.clone() }, &Policy::default())
}

/// Weighs the shortlist by a function of place and id.
fn weighed(query: &Query, weigh: impl Fn(usize, &str) -> f64) -> Selection {
    let mut selection = shortlisted(query);
    let scores: Vec<f64> = ids(&selection).iter().enumerate().map(|(place, id)| weigh(place, id)).collect();
    settle(&mut selection, stage(scores.len(), None), Some(&scores));
    selection
}

#[test]
fn the_second_opinion_leads_and_says_what_it_added() {
    let query = Query { limit: 3, ..query("create an invoice with billing") };
    let plain = pick(&query, &Policy::default());
    let selection = weighed(&query, |_, id| f64::from(u8::from(id == "billing:delete_invoice")));
    sound(&selection);
    let expect = ["billing:delete_invoice".to_owned(), ids(&plain)[0].clone()];
    assert_eq!(ids(&selection)[..2], expect, "the others keep their order");
    assert_eq!(selection.tools.len(), 3);
    assert_eq!(selection.confidence, plain.confidence);
    let first = &selection.evidence.candidates[0];
    assert_eq!(first.rank, 1);
    let gain = first.parts.iter().find(|part| part.name == "second_opinion").unwrap().value;
    let own = plain.evidence.candidates.iter().find(|candidate| candidate.id == first.id).unwrap().score.value();
    assert!((own + gain - plain.confidence).abs() < 1e-9, "it gained {gain} over {own}");
    let text = explain(&selection.evidence, 2);
    assert!(text.contains("second      judge double, 20 candidates, 7 ms\n"), "{text}");
    assert!(text.contains(" second_opinion"), "{text}");
}

#[test]
fn a_twin_goes_where_its_representative_goes() {
    let query = Query { limit: 3, ..query("clone a repository from its address") };
    let selection = weighed(&query, |place, _| place as f64);
    sound(&selection);
    assert!(!ids(&selection).iter().any(|id| id.contains("clone_repo")), "{:?}", ids(&selection));
    let place = |id: &str| selection.evidence.candidates.iter().position(|c| c.id.to_string() == id).unwrap();
    // Which of the three stands for the others is the ranker's business.
    let twins = ["forge:clone_repo", "mirror:clone_repo", "secret-mirror:clone_repo"].map(place);
    assert!(twins.iter().all(|place| *place >= 19), "{twins:?}");
}

#[test]
fn equal_opinions_leave_the_first_order() {
    let query = Query { limit: 10, ..query("delete something with the calendar") };
    assert_eq!(ids(&weighed(&query, |_, _| 0.5)), ids(&pick(&query, &Policy::default())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_skipped_second_stage_changes_nothing(query in any_query()) {
        let plain = pick(&query, &Policy::default());
        let mut selection = shortlisted(&query);
        settle(&mut selection, stage(0, Some("no budget")), None);
        sound(&selection);
        prop_assert_eq!(ids(&selection), ids(&plain));
        prop_assert_eq!(selection.evidence.second.take(), Some(stage(0, Some("no budget"))));
        prop_assert_eq!(selection.evidence, plain.evidence);
    }

    #[test]
    fn any_opinion_only_orders_the_shortlist(query in any_query(), seed in prop::collection::vec(-9.0f64..9.0, 50)) {
        let before: BTreeSet<String> = ids(&shortlisted(&query)).into_iter().collect();
        let selection = weighed(&query, |place, _| seed[place]);
        sound(&selection);
        prop_assert!(ids(&selection).iter().all(|id| before.contains(id)));
        prop_assert_eq!(selection.tools.len(), before.len().min(query.limit));
    }
}
