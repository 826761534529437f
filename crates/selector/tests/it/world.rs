//! A catalog of sixty tools, real vectors of a double.

use std::io::Cursor;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use toolscout_catalog::{Catalog, Overlay, Overlays};
use toolscout_core::{CallFault, Caller, CallerClass, Generation, Outcome, Timestamp};
use toolscout_embed::{Embed as _, Want};
use toolscout_index::{IndexHost, IndexOptions, Snapshot};
use toolscout_policy::Policy;
use toolscout_quality::book::{Book, Event};
use toolscout_quality::{Decision, QualityOptions, QualityView, Verdict};
use toolscout_selector::{Query, Selection, SelectorOptions, select_with};
use toolscout_store::Store;
use toolscout_testkit::embed::HashEmbedder;

static EMBEDDER: LazyLock<Arc<HashEmbedder>> =
    LazyLock::new(|| Arc::new(HashEmbedder::with_dimension(512).with_late()));
static SNAPSHOT: LazyLock<Arc<Snapshot>> = LazyLock::new(|| index(&lines()));

const APPS: [&str; 6] = ["billing", "calendar", "forge", "mail", "photos", "weather"];
const THINGS: [&str; 5] = ["invoice", "meeting", "issue", "letter", "album"];
const VERBS: [&str; 2] = ["create", "delete"];

/// `tools.jsonl` of the catalog. `forge` and `mirror` both have the tool `clone_repo`: a family. The letters of `photos` are the
/// backup of those of `mail`, as a card says.
fn lines() -> String {
    let mut lines = String::new();
    let mut line = |server: &str, name: &str, description: &str, param: &str| {
        let json = serde_json::json!({
            "id": format!("{server}:{name}"), "server": server, "name": name, "description": description,
            "input_schema": {"type": "object", "properties": {param: {"type": "string"}}},
        });
        lines.push_str(&format!("{json}\n"));
    };
    for app in APPS {
        for thing in THINGS {
            for verb in VERBS {
                line(app, &format!("{verb}_{thing}"), &format!("{verb} one {thing} with {app}"), &format!("{app}_key"));
            }
        }
    }
    for mirror in ["forge", "mirror", "secret-mirror"] {
        line(mirror, "clone_repo", "Clone a repository from its address", "url");
    }
    lines
}

pub(crate) fn index(lines: &str) -> Arc<Snapshot> {
    let store = Store::temporary().unwrap();
    let backup = Overlay { backup_of: Some("mail:create_letter".parse().unwrap()), ..Overlay::default() };
    let cards = Overlays::from_iter([("photos:create_letter".parse().unwrap(), backup)]);
    let catalog = Catalog::open(&store, cards).unwrap();
    catalog.import_jsonl(Cursor::new(lines), Timestamp(1)).unwrap();
    let host = IndexHost::open(IndexOptions::default(), &store, Some(EMBEDDER.clone())).unwrap();
    host.apply(&catalog.view()).unwrap();
    assert!(host.wait_settled(Duration::from_secs(120)));
    host.snapshot()
}

pub(crate) fn snapshot() -> Arc<Snapshot> {
    SNAPSHOT.clone()
}

pub(crate) fn empty() -> Arc<Snapshot> {
    index("")
}

pub(crate) fn query(text: &str) -> Query {
    let vectors = EMBEDDER.embed(&[text], Want::Tokens).unwrap().remove(0);
    let (vector, tokens) = (Some(vectors.pooled.into()), vectors.tokens.map(Arc::new));
    Query { text: text.to_owned(), vector, tokens, ..Query::default() }
}

pub(crate) fn policy(json: &str) -> Policy {
    serde_json::from_str(json).unwrap()
}

pub(crate) fn caller() -> Caller {
    Caller::local("test")
}

pub(crate) fn pick(query: &Query, policy: &Policy) -> Selection {
    pick_with(query, policy, &SelectorOptions::default())
}

/// What is known when an operator put these tools aside.
pub(crate) fn aside(tools: &[&str]) -> QualityView {
    let mut book = Book::default();
    for (at, tool) in (1_000..).zip(tools) {
        let reason = "broken".to_owned();
        let decision =
            Decision { tool: tool.parse().unwrap(), verdict: Verdict::Quarantine, reason, at: Timestamp(at) };
        book.apply(&Event::Decision(decision), &QualityOptions::default());
    }
    QualityView::new(&book, &QualityOptions::default())
}

/// What is known after calls, each a tool and how it went, a second apart.
pub(crate) fn after(calls: &[(&str, CallFault)]) -> QualityView {
    after_with(calls, &QualityOptions::default())
}

/// The same under other options.
pub(crate) fn after_with(calls: &[(&str, CallFault)], options: &QualityOptions) -> QualityView {
    let mut book = Book::default();
    for (at, (tool, fault)) in (1_000_000..).step_by(1_000).zip(calls) {
        let outcome = Outcome {
            tool: tool.parse().unwrap(),
            generation: Generation(1),
            selection: None,
            fault: *fault,
            latency_ms: 1,
            result_bytes: 1,
            empty: false,
            conforms: None,
            caller: CallerClass::Agent,
            at: Timestamp(at),
        };
        book.apply(&Event::Outcome(outcome), options);
    }
    QualityView::new(&book, options)
}

/// The same, knowing how calls went.
pub(crate) fn pick_knowing(query: &Query, quality: &QualityView, policy: &Policy) -> Selection {
    select_with(&snapshot(), quality, policy, &caller(), query, &SelectorOptions::default())
}

pub(crate) fn pick_with(query: &Query, policy: &Policy, options: &SelectorOptions) -> Selection {
    select_with(&snapshot(), &QualityView::default(), policy, &caller(), query, options)
}

pub(crate) fn ids(selection: &Selection) -> Vec<String> {
    selection.tools.iter().map(|tool| tool.card.id.to_string()).collect()
}
