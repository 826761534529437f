//! Search by words:
//! 1. It answers when `apply` returns, without any vector.
//! 2. Every field is searched, and the name weighs more than the description.
//! 3. The contributions of terms and fields add up to the score.
//! 4. What the allow-set leaves out is never found.
//! 5. The order is by score, then by tool id.
//! 6. Scores depend on the catalog alone, not on how it came to be.
//! 7. A word that no document has is taken for those spelled almost like it, at less weight; the answer says so.
//! 8. A query of another language is looked up in English besides; the answer says so.
//! 9. A slip never shows a caller that a word stands in tools it may not see.
//! 10. Before a query is embedded, its slips are read as the words meant, unless a tool or the model knows them.

use proptest::prelude::*;
use toolscout_core::ToolCard;
use toolscout_index::{Allow, DenseMode, DocSet, IndexHost, LexField, LexicalOptions, Snapshot, mended};
use toolscout_store::Store;

use crate::world::{card, ids, options, settled, small, view};

fn host(cards: Vec<ToolCard>) -> std::sync::Arc<IndexHost> {
    settled(&Store::temporary().unwrap(), None, DenseMode::Auto, cards)
}

#[track_caller]
fn check(query: &str, expect: &[&str]) {
    let snapshot = host(small()).snapshot();
    let hits = snapshot.lexical(query, &Allow::All, 3);
    assert_eq!(ids(&snapshot, hits.iter().map(|hit| hit.doc)), expect, "{query}");
}

#[test]
fn every_field_is_searched() {
    check("create issue", &["forge:create_issue", "forge:list_issues"]);
    check("createIssue", &["forge:create_issue", "forge:list_issues"]);
    check("order_cake", &["bakery:orderCake"]);
    check("bakery", &["bakery:bake_bread", "bakery:orderCake"]);
    check("loaf", &["bakery:bake_bread"]);
    check("labels", &["forge:create_issue"]);
    check("wish", &["forge:create_issue"]);
    check("what kind of trouble", &["forge:create_issue"]);
    check("outdoors", &["weather:get_forecast"]);
    check("pastries", &["bakery:orderCake"]);
    check("submarine", &[]);
    check("", &[]);
    check("🦀 ()", &[]);
}

#[test]
fn the_name_weighs_more_than_the_description() {
    let snapshot = host(vec![card("a:other", "export things"), card("b:export", "other things")]).snapshot();
    let hits = snapshot.lexical("export", &Allow::All, 2);
    assert_eq!(ids(&snapshot, hits.iter().map(|hit| hit.doc)), ["b:export", "a:other"]);
}

fn adds_up(snapshot: &Snapshot, query: &str) {
    let run = snapshot.lexical_run(query, &Allow::All, &LexicalOptions::default());
    let hits = run.top(100);
    let docs: Vec<u32> = hits.iter().map(|hit| hit.doc).collect();
    for (hit, details) in hits.iter().zip(run.details(&docs)) {
        let sum: f64 = details.terms.iter().map(|term| term.contribution).sum();
        assert!((sum - hit.score).abs() < 1e-9, "{query}: {sum} against {}", hit.score);
        assert_eq!(snapshot.lexical_terms(query, hit.doc), details.terms);
        assert!(details.coverage > 0.0 && details.coverage < 1.0 + 1e-9);
        let found = run.matches(&[hit.doc])[0];
        assert!((found.coverage - details.coverage).abs() < 1e-9, "two passes, one coverage");
        let named = details.terms.iter().any(|term| matches!(term.field, LexField::Name | LexField::Title));
        assert_eq!((found.n_name > 0, found.name > 0.0), (named, named));
        assert!(hit.score <= run.ceiling() + 1e-9);
        assert_eq!(run.score(hit.doc), hit.score);
    }
}

#[test]
fn contributions_add_up_to_the_score() {
    let snapshot = host(small()).snapshot();
    adds_up(&snapshot, "open a new issue with the label bug in the forge's repository");
    adds_up(&snapshot, "cake");
    adds_up(&snapshot, "Lösche bitte das ganze Repository mit den Labels, und zeig mir das Wetter");
    adds_up(&snapshot, "opne a new isue in the repositry of the bakrey");
}

#[track_caller]
fn check_terms(query: &str, expect: &str) {
    let snapshot = host(small()).snapshot();
    let run = snapshot.lexical_run(query, &Allow::All, &LexicalOptions::default());
    let shown: Vec<&str> = run.query_terms().map(|(term, _)| &**term).collect();
    assert_eq!(shown.join(" "), expect, "{query}");
}

#[test]
fn slips_are_taken_for_the_words_meant() {
    check("delte the repositry", &["forge:delete_repo", "forge:create_issue", "forge:list_issues"]);
    check("creat_isue", &["forge:create_issue", "forge:list_issues"]);
    check_terms("brithday caek", "brithday~birthday caek~cake");
    check_terms("bake cakes", "bake cake");
    check_terms("a cady for the pary", "cadi pari~parti");
    // Written as names, quotations, addresses: meant as they are.
    check_terms("Caek for Caek", "caek~cake");
    check_terms("for Caek", "caek");
    check_terms("for \"caek\" caek2 a@caek.org", "caek 2 caek2 org acaekorg");
}

#[test]
fn other_languages_find_english_tools() {
    check("Lösche bitte das Repository", &["forge:delete_repo", "forge:create_issue", "forge:list_issues"]);
    check("天气预报", &["weather:get_forecast"]);
    check_terms("Lösche bitte das Repository", "repositori losche→delete");
    check_terms("列出仓库里的问题", "列出→list 仓库→repository 问题→issue|ticket");
    check_terms("delete the repository", "delet repositori");
}

#[test]
fn a_slip_counts_less_than_the_word_and_says_what_it_was_taken_for() {
    let snapshot = host(small()).snapshot();
    let run = |query: &str| snapshot.lexical_run(query, &Allow::All, &LexicalOptions::default());
    let (right, wrong, nothing) = (run("order a cake"), run("order a caek"), run("order a xyzzy"));
    let doc = right.top(1)[0].doc;
    assert!(right.score(doc) > wrong.score(doc) && wrong.score(doc) > nothing.score(doc));
    assert!(right.unknown() < wrong.unknown() && wrong.unknown() < nothing.unknown());
    assert!(wrong.details(&[doc])[0].terms.iter().any(|found| &*found.term == "cake"));
}

#[test]
fn slips_do_not_show_words_of_hidden_tools() {
    let snapshot = host(small()).snapshot();
    let hidden = snapshot.view().position(&"bakery:orderCake".parse().unwrap()).unwrap() as u32;
    let allowed: DocSet = (0..snapshot.len() as u32).filter(|doc| *doc != hidden).collect();
    let run = snapshot.lexical_run("brithday bred", &Allow::Only(allowed), &LexicalOptions::default());
    assert_eq!(run.query_terms().map(|(term, _)| term.to_string()).collect::<Vec<_>>(), ["brithday", "bred~bread"]);
}

#[track_caller]
fn check_read(query: &str, allow: Allow, expect: &str) {
    let knows = |word: &str| ["bread", "brad", "candy"].contains(&word);
    let slips = host(small()).snapshot().slips(query, &knows, || allow);
    assert_eq!(mended(query, &slips), expect, "{query}");
}

#[test]
fn slips_are_read_as_the_words_meant() {
    check_read("Delte the repositry", Allow::All, "delete the repository");
    check_read("two brithday caeks, plaese", Allow::All, "two birthday cakes, plaese");
    // The model knows them, so that they were meant, though no tool has them.
    check_read("brad bakes candys", Allow::All, "brad bakes candys");
    // A tool has it, whatever the model knows.
    check_read("forecast outdoors", Allow::All, "forecast outdoors");
    check_read("tell Caek about \"brithday\"", Allow::All, "tell Caek about \"brithday\"");
}

#[test]
fn slips_are_not_read_as_words_of_hidden_tools() {
    let snapshot = host(small()).snapshot();
    let hidden = snapshot.view().position(&"bakery:orderCake".parse().unwrap()).unwrap() as u32;
    let allowed: DocSet = (0..snapshot.len() as u32).filter(|doc| *doc != hidden).collect();
    check_read("brithday loafs", Allow::All, "birthday loafs");
    check_read("brithday bred", Allow::Only(allowed), "brithday bread");
}

#[test]
fn equal_scores_stand_in_the_order_of_ids_every_time() {
    let twins = || ["d", "b", "a", "c"].map(|up| card(&format!("{up}:same"), "the very same words"));
    let snapshot = host(twins().to_vec()).snapshot();
    for _ in 0..50 {
        // One-letter upstream ids are terms too, so the query must not hold one.
        let hits = snapshot.lexical("very same words", &Allow::All, 3);
        assert_eq!(ids(&snapshot, hits.iter().map(|hit| hit.doc)), ["a:same", "b:same", "c:same"]);
    }
}

#[test]
fn without_a_model_the_state_says_so() {
    let progress = host(small()).snapshot().progress().clone();
    assert_eq!(progress.state.as_str(), "lexical");
    assert_eq!(progress.reason.as_deref(), Some("no embedding model is loaded"));
}

#[test]
fn many_cards_are_found_one_by_one() {
    let cards: Vec<_> = (0..1500).map(|i| card(&format!("up{}:tool_n{i}n", i % 7), "one of many")).collect();
    let host = host(cards);
    let snapshot = host.snapshot();
    for i in [0, 1, 511, 512, 1499] {
        let hits = snapshot.lexical(&format!("tool_n{i}n"), &Allow::All, 1);
        assert_eq!(ids(&snapshot, hits.iter().map(|hit| hit.doc)), [format!("up{}:tool_n{i}n", i % 7)]);
    }
    assert_eq!(snapshot.lexical("many", &Allow::All, 5000).len(), 1500);
}

const WORDS: [&str; 8] = ["alpha", "beta", "gamma", "delta", "omega", "sigma", "kappa", "theta"];

fn any_cards() -> impl Strategy<Value = Vec<ToolCard>> {
    let text = prop::collection::vec(prop::sample::select(&WORDS[..]), 1..8);
    let one = (0..12u8, text.clone(), text).prop_map(|(i, name, text)| {
        let name = name.into_iter().take(2).collect::<Vec<_>>().join("_");
        card(&format!("up{}:{name}_{i}", i % 3), &text.join(" "))
    });
    prop::collection::vec(one, 0..10)
}

/// Everything a query says, scores included.
fn answer(snapshot: &Snapshot, query: &str, allow: &Allow) -> Vec<(String, f64)> {
    let hits = snapshot.lexical(query, allow, 100);
    hits.iter().map(|hit| (snapshot.card(hit.doc).id.to_string(), hit.score)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn history_does_not_matter(states in prop::collection::vec(any_cards(), 1..5)) {
        let store = Store::temporary().unwrap();
        let travelled = IndexHost::open(options(None, DenseMode::Auto), &store, None).unwrap();
        for (generation, cards) in (1u64..).zip(&states) {
            travelled.apply(&view(generation, cards.clone())).unwrap();
        }
        let fresh = host(states.last().unwrap().clone());
        let (a, b) = (travelled.snapshot(), fresh.snapshot());
        for query in ["alpha", "beta gamma", "up1 omega delta kappa", "theta_1 sigma", "alhpa thetta", "gama betta"] {
            prop_assert_eq!(answer(&a, query, &Allow::All), answer(&b, query, &Allow::All), "{}", query);
            adds_up(&a, query);
        }
    }

    #[test]
    fn the_allow_set_filters_and_changes_nothing_else(cards in any_cards(), bits in any::<u16>()) {
        let snapshot = host(cards).snapshot();
        let allowed: DocSet = (0..snapshot.len() as u32).filter(|doc| bits & (1 << doc) != 0).collect();
        let all = answer(&snapshot, "alpha beta gamma", &Allow::All);
        let inside = |id: &str| {
            let doc = snapshot.view().position(&id.parse().unwrap()).unwrap();
            allowed.contains(doc as u32)
        };
        let expect: Vec<_> = all.into_iter().filter(|(id, _)| inside(id)).collect();
        prop_assert_eq!(answer(&snapshot, "alpha beta gamma", &Allow::Only(allowed.clone())), expect);
    }
}
