//! Tools whose definitions nobody approved.

use std::sync::Arc;

use serde_json::json;
use toolscout_catalog::{Catalog, CatalogOptions, Listing, Overlays, Review, Trust};
use toolscout_core::{Timestamp, Untrusted, UpstreamId};
use toolscout_index::{IndexHost, IndexOptions, Snapshot};
use toolscout_policy::Policy;
use toolscout_quality::QualityView;
use toolscout_selector::{Asked, NoMatchReason, Query, Selection, WhyStage, explain, select, why_not};
use toolscout_store::Store;

use crate::pick::sound;
use crate::world::{caller, ids, policy};

/// Of three tools of `new` one is approved; the one of `old` is from before.
fn snapshot(n_approved: usize) -> Arc<Snapshot> {
    let store = Store::temporary().unwrap();
    let mut review = Review::default();
    review.by_upstream.insert(UpstreamId::new("new").unwrap(), Trust::Approve);
    let catalog =
        Catalog::open_with(&store, Overlays::default(), CatalogOptions { review, ..CatalogOptions::default() })
            .unwrap();
    let listing = |upstream: &str, names: &[&str]| {
        let mut listing = Listing::new(UpstreamId::new(upstream).unwrap(), Timestamp(7));
        let tool = |name: &&str| Untrusted::new(json!({"name": name, "description": "Create one invoice."}));
        listing.tools = names.iter().map(tool).collect();
        listing
    };
    catalog.apply(listing("old", &["create_letter"])).unwrap();
    catalog.apply(listing("new", &["create_invoice", "draft_invoice", "send_invoice"])).unwrap();
    let waits: Vec<_> = catalog.view().all_unapproved().map(|(id, waits)| (id.clone(), waits.hash)).collect();
    for (id, hash) in waits.into_iter().take(n_approved) {
        catalog.approve(&id, hash, Timestamp(8)).unwrap();
    }
    let host = IndexHost::open(IndexOptions::default(), &store, None).unwrap();
    host.apply(&catalog.view()).unwrap();
    host.snapshot()
}

fn pick(snapshot: &Snapshot, query: &Query, policy: &Policy) -> Selection {
    let selection = select(snapshot, &QualityView::default(), policy, &caller(), query);
    sound(&selection);
    selection
}

fn invoice() -> Query {
    Query { text: "create an invoice".to_owned(), limit: 50, ..Query::default() }
}

#[test]
fn unapproved_tools_are_never_candidates() {
    let snapshot = snapshot(1);
    let selection = pick(&snapshot, &invoice(), &Policy::default());
    assert_eq!(ids(&selection), ["new:create_invoice", "old:create_letter"]);
    assert_eq!(selection.withheld.reasons, [("not_approved".to_owned(), 2)].into());
    let names: Vec<_> = selection.evidence.access.held.iter().map(|held| (held.id.to_string(), held.since)).collect();
    let since = Some(Timestamp(7));
    assert_eq!(names, [("new:draft_invoice".to_owned(), since), ("new:send_invoice".to_owned(), since)]);
    assert!(explain(&selection.evidence, 5).contains("not_approved"), "{}", explain(&selection.evidence, 5));
    let (policy, caller) = (Policy::default(), caller());
    let asked = Asked { snapshot: &snapshot, policy: &policy, caller: &caller, query: None };
    let why = why_not(&selection.evidence, &asked, &"new:send_invoice".parse().unwrap());
    assert_eq!(why.stage, WhyStage::Withheld);
    assert!(why.reason.starts_with("not_approved since 1970"), "{}", why.reason);
}

#[test]
fn what_policy_hides_is_hidden_and_nothing_else() {
    let snapshot = snapshot(0);
    let selection = pick(&snapshot, &invoice(), &policy(r#"{"deny":["*:send_*"]}"#));
    assert_eq!(selection.withheld.reasons, [("not_approved".to_owned(), 2), ("policy".to_owned(), 1)].into());
    assert!(!serde_json::to_string(&selection.evidence).unwrap().contains("send_invoice"));
}

#[test]
fn when_all_wait_the_answer_says_so() {
    let query = Query { upstreams: vec![UpstreamId::new("new").unwrap()], ..invoice() };
    let selection = pick(&snapshot(0), &query, &Policy::default());
    let none = selection.no_match.unwrap();
    assert_eq!((none.reason, none.nearest.len()), (NoMatchReason::NothingWorks, 0));
}
