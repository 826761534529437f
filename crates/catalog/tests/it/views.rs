//! What a view answers.

use expect_test::{Expect, expect};
use serde_json::json;
use toolscout_store::Store;

use crate::{id, listing, open, tool, upstream};

#[test]
fn families_are_same_name_and_schema_on_several_upstreams() {
    let catalog = open(&Store::temporary().unwrap());
    let other =
        json!({"name": "search", "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}}});
    catalog.apply(listing("a", 1, [tool("search", "one way"), tool("alone", "")])).unwrap();
    assert!(catalog.view().families().is_empty());
    catalog.apply(listing("b", 1, [tool("search", "another way")])).unwrap();
    catalog.apply(listing("c", 1, [other.clone()])).unwrap();
    let view = catalog.view();
    let family = view.family_of(&id("a:search")).unwrap();
    assert_eq!((family.name.as_str(), &family.tools), ("search", &vec![id("a:search"), id("b:search")]));
    assert_eq!(view.families().len(), 1);
    assert!(view.family_of(&id("c:search")).is_none());
    catalog.apply(listing("c", 2, [tool("search", "like them")])).unwrap();
    assert_eq!(catalog.view().family_of(&id("b:search")).unwrap().tools.len(), 3);
    catalog.apply(listing("a", 2, [])).unwrap();
    assert_eq!(catalog.view().family_of(&id("b:search")).unwrap().tools, [id("b:search"), id("c:search")]);
    catalog.apply(listing("c", 3, [other])).unwrap();
    assert!(catalog.view().families().is_empty());
    assert_eq!(view.family_of(&id("a:search")).unwrap().tools.len(), 2, "an old view does not change");
}

#[test]
fn unchanged_cards_are_shared_between_generations() {
    let catalog = open(&Store::temporary().unwrap());
    let before = catalog.apply(listing("a", 1, [tool("x", "1"), tool("y", "1")])).unwrap().view;
    let after = catalog.apply(listing("a", 2, [tool("x", "1"), tool("y", "2")])).unwrap().view;
    assert!(std::sync::Arc::ptr_eq(&before.tools[0], &after.tools[0]));
    assert!(!std::sync::Arc::ptr_eq(&before.tools[1], &after.tools[1]));
}

#[test]
fn tools_are_found_by_id_wire_name_and_upstream() {
    let catalog = open(&Store::temporary().unwrap());
    catalog.apply(listing("a", 1, [tool("files.read", ""), tool("x__y", "")])).unwrap();
    catalog.apply(listing("a-b", 1, [tool("x", "")])).unwrap();
    let view = catalog.view();
    for card in &view.tools {
        assert_eq!(view.by_wire_name(&card.id.wire_name()).unwrap().id, card.id);
        assert_eq!(view.tools[view.position(&card.id).unwrap()].id, card.id);
    }
    assert!(view.by_wire_name("a__nothing").is_none());
    assert_eq!(view.tools_of(&upstream("a")).len(), 2);
    assert_eq!(view.tools_of(&upstream("a-b")).len(), 1);
    assert!(view.tools_of(&upstream("b")).is_empty());
}

#[track_caller]
fn check_nearest(typed: &str, expected: &Expect) {
    let catalog = open(&Store::temporary().unwrap());
    let names = ["create_issue", "create_pull_request", "list_issues", "get_issue", "searchRepositories"];
    catalog.apply(listing("github", 1, names.map(|name| tool(name, "")))).unwrap();
    catalog.apply(listing("gitlab", 1, names.map(|name| tool(name, "")))).unwrap();
    let found: Vec<String> = catalog.view().nearest(typed, 3).iter().map(ToString::to_string).collect();
    expected.assert_eq(&found.join(" "));
}

#[test]
fn slips_of_the_pen_find_what_was_meant() {
    check_nearest("github:create_isue", &expect!["github:create_issue gitlab:create_issue github:get_issue"]);
    check_nearest("gitlab:create_isue", &expect!["gitlab:create_issue github:create_issue gitlab:get_issue"]);
    check_nearest("gtihub:create_issue", &expect!["github:create_issue gitlab:create_issue github:get_issue"]);
    check_nearest("create-issue", &expect!["github:create_issue gitlab:create_issue github:get_issue"]);
    check_nearest("github__create_issue", &expect!["github:create_issue gitlab:create_issue github:get_issue"]);
    check_nearest("CREATE_ISSUES", &expect!["github:create_issue gitlab:create_issue github:list_issues"]);
    check_nearest("search_repositories", &expect!["github:searchRepositories gitlab:searchRepositories"]);
    check_nearest("zzzz", &expect![[""]]);
    check_nearest("", &expect![[""]]);
}

#[test]
fn the_digest_names_the_largest_first_and_stays_bounded() {
    let catalog = open(&Store::temporary().unwrap());
    expect![["No tools yet."]].assert_eq(&catalog.view().digest());
    catalog
        .apply(listing("forge", 1, ["create_issue", "list_issue", "get_commit"].map(|name| tool(name, ""))))
        .unwrap();
    catalog.apply(listing("clock", 1, [tool("get_time", "")])).unwrap();
    expect!["4 tools of 2 servers: forge (3), clock (1); about issue, commit, time."]
        .assert_eq(&catalog.view().digest());
    for i in 0..200 {
        catalog
            .apply(listing(&format!("some-rather-long-upstream-name-{i}"), 1, [tool(&format!("word{i}_thing"), "")]))
            .unwrap();
    }
    let digest = catalog.view().digest();
    assert!(digest.chars().count() <= 601, "{digest}");
    assert!(digest.starts_with("204 tools of 202 servers: forge (3), clock (1), "), "{digest}");
    assert!(digest.contains(" more; about thing"), "{digest}");
}
