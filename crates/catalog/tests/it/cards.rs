//! From definitions to cards.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Value, json};
use toolscout_catalog::{Overlay, card};
use toolscout_core::{SideEffect, card::SideEffectSource};

use crate::id;

#[track_caller]
fn check_params(schema: Value, expected: &Expect) {
    let definition = json!({"name": "t", "inputSchema": schema});
    let card = card::build(&id("a:t"), &definition, &[], None).card;
    let line = |param: &toolscout_core::Param| {
        let star = if param.required { "*" } else { "" };
        let values =
            if param.enum_values.is_empty() { String::new() } else { format!(" ={}", param.enum_values.join(",")) };
        let description =
            if param.description.is_empty() { String::new() } else { format!(" \"{}\"", param.description) };
        format!("{}{star}:{}{values}{description}", param.name, param.kind)
    };
    expected.assert_eq(&card.params.iter().map(line).collect::<Vec<_>>().join("; "));
}

#[test]
fn parameters_are_flattened_with_their_types() {
    let object = |properties: Value| json!({"type": "object", "properties": properties, "required": ["a"]});
    check_params(
        object(json!({"b": {"type": "string", "description": "what"}, "a": {"type": "integer"}})),
        &expect![[r#"b:string "what"; a*:integer"#]],
    );
    check_params(object(json!({"a": {"type": "array", "items": {"type": "string"}}})), &expect!["a*:string[]"]);
    check_params(object(json!({"a": {"type": ["string", "null"]}})), &expect!["a*:string|null"]);
    check_params(
        object(
            json!({"a": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}]}}),
        ),
        &expect!["a*:string|string[]|null"],
    );
    check_params(
        object(json!({"a": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "number"}]}}})),
        &expect!["a*:(string|number)[]"],
    );
    check_params(object(json!({"a": {"enum": ["x", "y", 3, null]}})), &expect!["a*:string|integer|null =x,y,3"]);
    check_params(object(json!({"a": {"oneOf": [{"const": "x"}, {"const": "y"}]}})), &expect!["a*:string =x,y"]);
    check_params(
        object(json!({"a": {"type": "object", "properties": {"lat": {}, "lon": {}}}})),
        &expect![[r#"a*:object "{lat, lon}""#]],
    );
    check_params(object(json!({"a": true, "b": {}, "c": null, "d": 7})), &expect!["a*:any; b:any; c:any; d:any"]);
}

#[test]
fn references_stay_in_the_document_and_end() {
    let with_defs = |a: Value| json!({"properties": {"a": a}, "$defs": {"S": {"type": "string", "description": "d", "enum": ["x"]}, "L": {"$ref": "#/$defs/L"}, "N": {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}}});
    check_params(with_defs(json!({"$ref": "#/$defs/S"})), &expect![[r#"a:string =x "d""#]]);
    check_params(with_defs(json!({"allOf": [{"$ref": "#/$defs/S"}]})), &expect!["a:string =x"]);
    check_params(with_defs(json!({"$ref": "#/$defs/L"})), &expect!["a:any"]);
    check_params(with_defs(json!({"$ref": "#/$defs/N"})), &expect![[r#"a:object "{next}""#]]);
    check_params(with_defs(json!({"$ref": "https://example.com/schema"})), &expect!["a:any"]);
    check_params(json!({"$ref": "#"}), &expect![""]);
    check_params(
        json!({"$ref": "#/$defs/P", "$defs": {"P": {"properties": {"q": {"type": "string"}}, "required": ["q"]}}}),
        &expect!["q*:string"],
    );
    check_params(
        json!({"anyOf": [{"properties": {"x": {"type": "string"}}, "required": ["x"]}, {"properties": {"y": {"type": "string"}}}]}),
        &expect!["x:string; y:string"],
    );
}

#[test]
fn missing_and_strange_schemas_are_no_parameters() {
    for schema in [json!(null), json!([]), json!("x"), json!({}), json!({"type": "object"}), json!({"properties": []})]
    {
        check_params(schema, &expect![""]);
    }
    let unions: Value = (0..12).fold(json!({"type": "string"}), |inner, _| json!({"anyOf": [inner.clone(), inner]}));
    check_params(json!({"properties": {"a": unions}}), &expect!["a:any"]);
}

#[track_caller]
fn check_effect(name: &str, annotations: Value, more: Value, effect: SideEffect, source: SideEffectSource) {
    let mut definition = json!({"name": name, "annotations": annotations});
    definition.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let card = card::build(&id(&format!("a:{name}")), &definition, &[], None).card;
    assert_eq!((card.side_effect, card.side_effect_source), (effect, source), "{name} {annotations}");
}

#[test]
fn annotations_decide_the_side_effect_where_they_speak() {
    use SideEffect::{Destructive, Read, Write};
    use SideEffectSource::{Annotated, Guessed};
    let check =
        |name: &str, annotations: Value, effect, source| check_effect(name, annotations, json!({}), effect, source);
    check("delete_all", json!({"readOnlyHint": true}), Read, Annotated);
    check("delete_all", json!({"readOnlyHint": true, "destructiveHint": true}), Read, Annotated);
    check("get", json!({"destructiveHint": true}), Destructive, Annotated);
    check("get", json!({"readOnlyHint": false, "destructiveHint": false}), Write, Annotated);
    check("frobnicate", json!({"readOnlyHint": false}), Destructive, Annotated);
    check("create_issue", json!({"readOnlyHint": false}), Write, Guessed);
    check("delete_issue", json!({"destructiveHint": false}), Write, Guessed);
    check("get_issue", json!({"destructiveHint": false}), Read, Guessed);
    check("delete_issue", json!({"readOnlyHint": "true"}), Destructive, Guessed);
    check("get_issue", json!(null), Read, Guessed);
}

#[test]
fn verbs_and_schemas_are_guessed_from_otherwise() {
    use SideEffect::{Destructive, Read, Write};
    let check =
        |name: &str, more: Value, effect| check_effect(name, json!({}), more, effect, SideEffectSource::Guessed);
    for name in ["list_issues", "searchRepos", "get_order", "issue.get", "whoami", "is_open", "browser_snapshot"] {
        check(name, json!({}), Read);
    }
    for name in
        ["create_issue", "post_message", "issue_update", "browser_click", "frobnicate", "book_flight", "run_tests"]
    {
        check(name, json!({}), Write);
    }
    for name in [
        "delete_issue",
        "drop_table",
        "repo_remove",
        "run_sql",
        "execute_command",
        "kill_process",
        "clear_cache",
        "compute_vm_delete",
        "file_share_snapshot_delete",
        "monitor_delete",
    ] {
        check(name, json!({}), Destructive);
    }
    check("weather", json!({"description": "Returns the weather of a place."}), Read);
    check("issue", json!({"description": "Deletes it."}), Destructive);
    let actions = |values: Value| json!({"inputSchema": {"properties": {"action": {"enum": values}}}});
    check("get_or_manage", actions(json!(["list", "create"])), Write);
    check("list_things", actions(json!(["list", "delete"])), Destructive);
    check("list_things", actions(json!(["asc", "desc"])), Read);
    check("run", json!({"inputSchema": {"properties": {"shellCommand": {}}}}), Destructive);
}

#[test]
fn a_card_says_what_the_definition_says() {
    let definition = json!({
        "name": "createIssue",
        "description": "Open a **new** issue\u{202e}.\n\nUse this when something is broken. Do not use for questions.",
        "annotations": {"title": "New  issue\n", "category": "Issue Tracking"},
        "tags": ["Forge", "x".repeat(100)],
        "inputSchema": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]},
    });
    let overlay = Overlay {
        hints: vec!["report a bug".to_owned()],
        tags: vec!["ours".to_owned()],
        side_effect: Some(SideEffect::Read),
        ..Overlay::default()
    };
    let card = card::build(&id("a:createIssue"), &definition, &["Config".to_owned()], Some(&overlay)).card;
    expect![[r#"
        ToolCard {
            id: a:createIssue,
            definition: 1ed5417e1fe25dfd0f3fb8f32b36270c7a23672e7618d68b8ea30a077253814f,
            title: "New issue",
            words: [
                "create",
                "issue",
            ],
            description: "Open a **new** issue.\n\nUse this when something is broken. Do not use for questions.",
            purpose: "Open a new issue.",
            when_to_use: Some(
                "Use this when something is broken.",
            ),
            when_not: Some(
                "Do not use for questions.",
            ),
            side_effect: Read,
            side_effect_source: Card,
            params: [
                Param {
                    name: "title",
                    kind: "string",
                    required: true,
                    description: "",
                    enum_values: [],
                },
            ],
            tags: [
                "config",
                "ours",
                "server/forge",
                "server/issue-tracking",
                "server/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…",
            ],
            hints: [
                "report a bug",
            ],
            backup_of: None,
        }
    "#]]
    .assert_debug_eq(&card);
}

#[test]
fn the_hash_counts_what_choosing_and_calling_depend_on() {
    let hash = |definition: Value| card::definition_hash(&definition);
    let base = hash(json!({"name": "a", "description": "b", "inputSchema": {"x": 1, "y": 2}}));
    assert_eq!(
        base,
        hash(json!({"inputSchema": {"y": 2, "x": 1}, "description": "b", "name": "a", "_meta": {"z": 1}, "icons": []}))
    );
    assert_eq!(
        base,
        hash(json!({"name": "a", "description": "b", "inputSchema": {"x": 1, "y": 2}, "annotations": null}))
    );
    for (key, value) in
        [("title", json!("t")), ("annotations", json!({})), ("outputSchema", json!({})), ("description", json!("c"))]
    {
        let mut other = json!({"name": "a", "description": "b", "inputSchema": {"x": 1, "y": 2}});
        other[key] = value;
        assert_ne!(base, hash(other), "{key}");
    }
}

/// Any JSON, with the words that schemas are made of among the keys.
fn any_json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        prop::sample::select(vec![
            "type",
            "properties",
            "items",
            "anyOf",
            "oneOf",
            "allOf",
            "enum",
            "const",
            "required",
            "$ref",
            "$defs",
            "description",
            "inputSchema",
            "annotations",
            "title",
            "name",
            "readOnlyHint",
            "category",
            "tags",
            "_meta",
            "fastmcp",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "#",
            "#/inputSchema",
            "#/properties",
            "#/$defs/x",
            "string",
            "array",
            "object",
            "Use this when x. Not for y."
        ])
        .prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 96, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_json_becomes_a_bounded_clean_card(definition in any_json(), schema in any_json(), text in any::<String>()) {
        let mut definition = definition;
        if let Value::Object(map) = &mut definition {
            map.insert("inputSchema".to_owned(), schema);
            map.insert("description".to_owned(), text.into());
        }
        let card = card::build(&id("a:t"), &definition, &[], None).card;
        prop_assert!(card.description.chars().count() <= 4_001);
        prop_assert!(card.title.chars().count() <= 121 && !card.title.contains('\n'));
        prop_assert!(card.purpose.chars().count() <= 301);
        prop_assert!(card.params.len() <= 64 && card.tags.len() <= 16);
        for param in &card.params {
            prop_assert!(param.kind.chars().count() <= 80 && !param.kind.is_empty());
            prop_assert!(param.enum_values.len() <= 32 && param.description.chars().count() <= 1_000);
        }
        let text = serde_json::to_string(&card).unwrap();
        prop_assert!(!text.chars().any(|c| c != '\n' && toolscout_core::text::is_hidden(c)));
    }
}
