//! Runs over our own tiny set (`evals/tiny`), mostly with the testkit's embedder.
//!
//! 1. The set is what its page says: thirty tools, forty queries, labels that exist, paraphrases that avoid the tool's name.
//! 2. The same inputs and seed give the same bytes; only latency differs.
//! 3. The JSON has the shape that others read.
//! 4. Vectors are made once per cache folder.
//! 5. Labels that name no tool are reported and count as not found.
//! 6. Other catalogs make the set larger and change no label.
//! 7. Denied tools show nowhere, in no arm.
//! 8. With the real model, hybrid is ahead of words alone, and refuses more of the impossible than of the answerable.

mod real;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use toolscout_core::words::split_identifier;
use toolscout_embed::{Embed, EmbedOptions, Embedder, ModelSource};
use toolscout_evals::report::Report;
use toolscout_evals::{
    Arm, CompareArgs, CompareOptions, Ended, Latency, Model, RunArgs, RunOptions, compare_command, run, run_command,
};
use toolscout_testkit::embed::HashEmbedder;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The tiny set with all arms, the test embedder, few resamples and no latency.
fn tiny() -> RunOptions {
    let folder = root().join("evals/tiny");
    RunOptions {
        arms: Arm::all(),
        model: Model::Loaded(Arc::new(HashEmbedder::new())),
        resamples: 50,
        latency: Latency::LeftOut,
        ..RunOptions::new(folder.join("tools.jsonl"), folder.join("queries.jsonl"))
    }
}

fn silent(_: toolscout_evals::Progress) {}

fn value(report: &Report, arm: &str, slice: &str, metric: &str) -> f64 {
    report.metric(arm, slice, metric).unwrap_or_else(|| panic!("no {metric} of {arm} on {slice}")).value
}

#[test]
fn the_tiny_set_is_what_it_says() {
    let report = run(&RunOptions { arms: vec![Arm::Bm25], ..tiny() }, &silent).unwrap();
    assert_eq!((report.set.as_str(), report.about.n_tools, report.about.n_queries), ("tiny", 30, 40));
    assert!(report.about.unknown_relevant.is_empty() && report.about.notes.is_empty());
    let slices: Vec<(&str, usize)> = report.arms[0].slices.iter().map(|s| (s.slice.as_str(), s.n)).collect();
    let expect = [("all", 40), ("direct", 8), ("identifier", 8), ("impossible", 6), ("multi", 6), ("paraphrase", 12)];
    assert_eq!(slices, expect);
    let texts = std::fs::read_to_string(root().join("evals/tiny/queries.jsonl")).unwrap();
    for line in texts.lines() {
        let query: Value = serde_json::from_str(line).unwrap();
        let words: BTreeSet<String> = split_identifier(query["query"].as_str().unwrap()).into_iter().collect();
        let relevant = query["relevant"].as_array().unwrap();
        assert_eq!(relevant.is_empty(), query["slice"] == "impossible", "{line}");
        assert_eq!(
            query["groups"].as_array().is_some_and(|groups| groups.len() > 1),
            query["slice"] == "multi",
            "{line}"
        );
        for tool in relevant.iter().filter(|_| query["slice"] == "paraphrase") {
            let name = tool.as_str().unwrap().split_once(':').unwrap().1;
            let shared: Vec<_> = split_identifier(name).into_iter().filter(|word| words.contains(word)).collect();
            assert!(shared.is_empty(), "{line} shares {shared:?} with {name}");
        }
    }
}

#[test]
fn same_inputs_same_bytes() {
    let first = run(&tiny(), &silent).unwrap().to_json();
    for _ in 0..3 {
        assert!(run(&tiny(), &silent).unwrap().to_json() == first, "two runs differ");
    }
    let other_seed = run(&RunOptions { seed: 1, ..tiny() }, &silent).unwrap();
    assert_ne!(other_seed.to_json(), first);
    let measured = run(&RunOptions { latency: Latency::Measured, ..tiny() }, &silent).unwrap();
    let mut json: Value = serde_json::from_str(&measured.to_json()).unwrap();
    for arm in json["arms"].as_array_mut().unwrap() {
        let latency = arm.as_object_mut().unwrap().shift_remove("latency_ms").unwrap();
        let keys: Vec<&String> = latency.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["p50", "p95", "p99", "embedding_p50"]);
    }
    assert_eq!(json, serde_json::from_str::<Value>(&first).unwrap(), "nothing but latency may differ");
}

#[test]
fn the_json_has_the_promised_shape() {
    let json: Value = serde_json::from_str(&run(&tiny(), &silent).unwrap().to_json()).unwrap();
    assert_eq!((&json["set"], &json["k"]), (&"tiny".into(), &10.into()));
    let arm = &json["arms"][0];
    assert_eq!(
        (&arm["arm"], &arm["slices"][0]["slice"], &arm["slices"][0]["n"]),
        (&"hybrid".into(), &"all".into(), &40.into())
    );
    let metrics = &arm["slices"][0]["metrics"];
    let promised = [
        "recall@1",
        "recall@3",
        "recall@5",
        "recall@10",
        "hit@1",
        "hit@5",
        "hit@10",
        "mrr",
        "ndcg@5",
        "ndcg@10",
        "complete@5",
        "complete@10",
        "no_match_recall",
        "false_refusal",
        "false_confidence",
        "answer_tokens",
    ];
    for metric in promised {
        for part in ["value", "low", "high"] {
            assert!(metrics[metric][part].is_number(), "{metric}.{part}: {metrics}");
        }
    }
    let queries = json["queries"].as_array().unwrap();
    assert_eq!(queries.len(), 40 * Arm::all().len());
    for query in queries {
        assert!(query["id"].is_string() && query["arm"].is_string() && query["no_match"].is_boolean(), "{query}");
        for tool in query["top"].as_array().unwrap() {
            assert!(tool["id"].is_string() && tool["score"].is_number(), "{query}");
        }
    }
}

#[test]
fn vectors_are_made_once_per_cache() {
    let folder = tempfile::tempdir().unwrap();
    let embedder = Arc::new(HashEmbedder::new());
    let options = RunOptions {
        model: Model::Loaded(embedder.clone()),
        cache: Some(folder.path().join("vectors")),
        arms: vec![Arm::Dense],
        ..tiny()
    };
    let first = run(&options, &silent).unwrap();
    assert_eq!(embedder.inferences(), 30 + 40);
    let second = run(&options, &silent).unwrap();
    assert_eq!(embedder.inferences(), 30 + 40 + 40, "only the queries were embedded again");
    assert_eq!(first, second);
}

#[test]
fn without_a_model_hybrid_is_words_alone_and_dense_is_refused() {
    let words = RunOptions { model: Model::Off, arms: vec![Arm::Hybrid, Arm::Bm25], ..tiny() };
    let report = run(&words, &silent).unwrap();
    assert_eq!(report.about.model, None);
    let error = run(&RunOptions { arms: vec![Arm::Dense], ..words }, &silent).unwrap_err();
    assert_eq!(error.to_string(), "arm `dense` needs an embedding model");
}

/// A set of its own: these tools, these queries.
fn set(tools: &str, queries: &str) -> (tempfile::TempDir, RunOptions) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (tools_file, queries_file) = (folder.path().join("tools.jsonl"), folder.path().join("queries.jsonl"));
    std::fs::write(&tools_file, tools).expect("room for a file");
    std::fs::write(&queries_file, queries).expect("room for a file");
    let options = RunOptions { catalog: tools_file, queries: queries_file, arms: vec![Arm::Bm25], ..tiny() };
    (folder, options)
}

#[test]
fn foreign_files_are_taken_as_they_are() {
    let tools = [
        r#"{"id":"Data/Weather/now","server":null,"name":"Weather now","description":"weather","input_schema":null}"#,
        r#"{"id":"a","server":"S.1","name":"search","description":"search flights"}"#,
        r#"{"id":"b","server":"S.1","name":"search","description":"search hotels"}"#,
    ];
    let queries = [
        r#"{"id":"1","query":"weather now","relevant":["Data/Weather/now"]}"#,
        r#"{"id":"2","query":"search hotels","relevant":["b"]}"#,
        r#"{"id":"3","query":"search flights","relevant":["a","gone"]}"#,
    ];
    let (_folder, options) = set(&tools.join("\n"), &queries.join("\n"));
    let report = run(&options, &silent).unwrap();
    let first: Vec<&str> = report.queries.iter().map(|query| query.top[0].id.as_str()).collect();
    assert_eq!(first, ["Data/Weather/now", "b", "a"]);
    assert_eq!(report.about.unknown_relevant.len(), 1);
    assert_eq!(report.about.unknown_relevant[0].ids, ["gone"]);
    assert_eq!(value(&report, "bm25", "all", "recall@5"), 0.833_333, "what is not there counts as not found");
    assert!(
        toolscout_evals::table(&report).contains("do not hold")
            || toolscout_evals::table(&report).contains("does not hold")
    );
}

#[test]
fn other_catalogs_are_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("others.jsonl");
    let own = std::fs::read_to_string(root().join("evals/tiny/tools.jsonl")).unwrap();
    let others: String = (0..50)
        .map(|i| {
            let line = serde_json::json!({
                "id": format!("harbor:{i}"), "server": "harbor", "name": format!("track_thing_{i}"),
                "description": "Show where a parcel is.",
            });
            format!("{line}\n")
        })
        .collect();
    std::fs::write(&file, own.lines().next().unwrap().to_owned() + "\n" + &others).unwrap();
    let arms = vec![Arm::Bm25];
    let alone = run(&RunOptions { arms: arms.clone(), ..tiny() }, &silent).unwrap();
    let among = run(&RunOptions { arms, distractors: vec![file], ..tiny() }, &silent).unwrap();
    assert_eq!((alone.about.n_tools, among.about.n_tools), (30, 80));
    let taken = &among.about.distractors[0];
    assert_eq!((taken.file.as_str(), taken.n_tools, taken.n_copies), ("others.jsonl", 50, 1));
    assert_eq!((&alone.about.catalog, &alone.labels), (&among.about.catalog, &among.labels));
    assert!(among.about.unknown_relevant.is_empty());
    assert!(among.about.listing_tokens > alone.about.listing_tokens);
    assert!(among.queries.iter().any(|query| query.top.iter().any(|tool| tool.id.starts_with("distractor1/"))));
    assert!(toolscout_evals::table(&among).contains("50 of other catalogs"));
}

#[test]
fn denied_tools_show_nowhere() {
    let report = run(&tiny(), &silent).unwrap();
    for (arm, measured) in Arm::all().into_iter().zip(&report.arms) {
        let Some(policy) = measured.policy else {
            assert!(matches!(arm, Arm::Peer(_)), "{arm} is one of ours and was not asked");
            continue;
        };
        assert!((9..=15).contains(&policy.n_denied) && policy.n_queries == 40, "{arm}: {policy:?}");
        assert_eq!(policy.n_leaks, 0, "{arm}");
        let confidence = measured.confidence.as_ref().unwrap();
        assert!((0.0..=1.0).contains(&confidence.ece) && !confidence.bins.is_empty(), "{arm}");
    }
}

#[test]
fn slices_can_be_chosen() {
    let options = RunOptions { slices: vec!["direct".into()], arms: vec![Arm::Bm25], ..tiny() };
    assert_eq!(run(&options, &silent).unwrap().about.n_queries, 8);
    let error = run(&RunOptions { slices: vec!["drect".into()], ..options }, &silent).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("no query of slice `drect`; there are: direct, identifier, impossible, multi, paraphrase")
    );
}

#[test]
fn options_out_of_range_are_refused() {
    for (options, expect) in [
        (RunOptions { k: 0, ..tiny() }, "k is 0, and has to be 1 to 50"),
        (RunOptions { arms: vec![], ..tiny() }, "no arm to measure"),
        (RunOptions { arms: vec![Arm::Bm25, Arm::Bm25], ..tiny() }, "arm `bm25` is named twice"),
    ] {
        assert_eq!(run(&options, &silent).unwrap_err().to_string(), expect);
    }
}

#[test]
fn the_commands_write_what_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let args = |json: &str, arm, baseline: Option<&str>| RunArgs {
        options: RunOptions { arms: vec![arm], ..tiny() },
        json: Some(at(json)),
        html: Some(at("page.html")),
        baseline: baseline.map(at),
    };
    let mut out = Vec::new();
    assert_eq!(run_command(&args("a.json", Arm::Bm25, None), &mut out, &silent).unwrap(), Ended::Done);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("bm25") && text.contains("paraphrase") && text.contains("set tiny: 30 tools"), "{text}");
    assert!(text.contains("off by: how far the confidence said is from"), "{text}");
    let page = std::fs::read_to_string(at("page.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("<svg") && !page.contains("http"), "{page}");

    let mut out = Vec::new();
    let ended = run_command(&args("b.json", Arm::Bm25, Some("a.json")), &mut out, &silent).unwrap();
    assert_eq!(ended, Ended::Done, "the same run is no regression");
    assert_eq!(std::fs::read(at("a.json")).unwrap(), std::fs::read(at("b.json")).unwrap());

    run_command(&args("c.json", Arm::Dense, None), &mut Vec::new(), &silent).unwrap();
    let options = CompareOptions { arms: Some(("bm25".into(), "dense".into())), ..CompareOptions::default() };
    let compare = |options| CompareArgs {
        before: at("a.json"),
        after: at("c.json"),
        options,
        json: Some(at("d.json")),
        n_moved: 3,
    };
    let comparison = compare_command(&compare(options), &mut Vec::new()).unwrap();
    assert_eq!(comparison.pairs.len(), 1);
    let error = compare_command(&compare(CompareOptions::default()), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().ends_with("no arms to compare: bm25 there, dense here"), "{error}");
}

#[test]
fn a_baseline_that_says_nothing_of_the_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (_set, other) =
        set(r#"{"id":"a","server":"s","name":"pay"}"#, r#"{"id":"direct-1","query":"pay","relevant":["a"]}"#);
    let args = |options: RunOptions, json: &str, baseline: Option<&str>| RunArgs {
        options,
        json: Some(at(json)),
        html: None,
        baseline: baseline.map(at),
    };
    let measure = |args: &RunArgs| run_command(args, &mut Vec::new(), &silent);
    measure(&args(RunOptions { set: Some("other".into()), ..other }, "other.json", None)).unwrap();
    let tiny = |arm| RunOptions { arms: vec![arm], ..tiny() };
    let error = measure(&args(tiny(Arm::Bm25), "tiny.json", Some("other.json"))).unwrap_err().to_string();
    let expect = "other.json: no query to compare: `other` and `tiny` have none in common, labelled alike";
    assert!(error.ends_with(expect), "{error}");
    let options = CompareOptions::default();
    let compare = CompareArgs { before: at("other.json"), after: at("tiny.json"), options, json: None, n_moved: 3 };
    let error = compare_command(&compare, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("no query to compare"), "{error}");
    // Known without measuring, so told before it.
    let asked = |_| panic!("nothing is measured for this");
    for (args, expect) in [
        (args(tiny(Arm::Dense), "x.json", Some("tiny.json")), "no arms to compare: bm25 there, dense here"),
        (args(tiny(Arm::Bm25), "missing/x.json", None), "missing/x.json"),
        (args(tiny(Arm::Bm25), "", None), "write"),
    ] {
        let error = run_command(&args, &mut Vec::new(), &asked).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }
    assert!(!at("x.json").exists());
}

/// The figures that this set must not fall below. They are what the default selection reaches, less a query or two.
#[test]
fn with_the_real_model_hybrid_leads() {
    let source = ModelSource::Dir(root().join("models/minilm-tools-v1"));
    // Without ONNX Runtime in the build or the environment there is nothing to test here; the workspace's own test run,
    // which builds the binary, has it.
    let Ok(embedder) = Embedder::load(&source, &EmbedOptions::default()) else {
        println!("skipped: no ONNX Runtime in this build");
        return;
    };
    let report = run(&RunOptions { model: Model::Loaded(Arc::new(embedder)), ..tiny() }, &silent).unwrap();
    let table = toolscout_evals::table(&report);
    let at = |arm, slice, metric| value(&report, arm, slice, metric);
    assert!(at("hybrid", "all", "recall@5") > at("bm25", "all", "recall@5"), "{table}");
    assert!(at("hybrid", "paraphrase", "recall@5") > at("bm25", "paraphrase", "recall@5"), "{table}");
    assert!(at("hybrid", "direct", "hit@1") == 1.0, "{table}");
    // Four of 34, bare identifiers and paraphrases: among thirty tools little is sure.
    assert!(at("hybrid", "all", "false_refusal") <= 0.12, "{table}");
    assert!(at("hybrid", "impossible", "no_match_recall") > at("hybrid", "all", "false_refusal"), "{table}");
}
