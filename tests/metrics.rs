//! What a monitor scrapes.
//!
//! 1. Searches, calls, crawls, states, drops and hits are there, in Prometheus' text format, and count what was done.
//! 2. The token that opens everything else opens it, and nothing else does.
//! 3. No tool, no query and no text of a server is in it, unless the configuration asks for tools.

use serde_json::json;
use toolscout_testkit::e2e::{Reply, eventually, request};
use toolscout_testkit::upstream::{Behave, Scripted};

use crate::hostile::upstream;
use crate::kit::{Gateway, Scratch};

const TOKEN: &str = "scrape-me-7";

fn ask(gateway: &Gateway, method: &str, path: &str, body: &str) -> Reply {
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    request(gateway.addr, method, path, &headers, body.as_bytes())
}

/// The value of a series, its labels in any order.
fn value(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let fits = |line: &&str| {
        let rest = line.strip_prefix(name)?;
        let is_whole = rest.starts_with(['{', ' ']);
        (is_whole && labels.iter().all(|label| rest.contains(label))).then_some(())
    };
    let line = text.lines().find(|line| fits(line).is_some())?;
    line.rsplit(' ').next()?.parse().ok()
}

fn field(with_tools: bool) -> (Scratch, Gateway) {
    let scratch = Scratch::new("");
    let scripted = Scripted::new(&[Behave::Good]).tools(2).moods(&scratch.path("moods"));
    let config = format!(
        "[server]\ntoken = {TOKEN:?}\n\n[metrics]\ntools = {with_tools}\n\n{}{}",
        upstream("well", &scripted),
        "[upstreams.gone]\ncommand = \"/nonexistent/server\"\n"
    );
    scratch.configure(&config);
    std::fs::write(scratch.path("moods"), json!({"tool_1": "error"}).to_string()).expect("write the moods");
    scratch.run(&["crawl"]);
    let gateway = scratch.serve();
    (scratch, gateway)
}

#[test]
fn what_was_done_is_counted() {
    let (_scratch, gateway) = field(false);
    assert_eq!(gateway.get("/metrics").status, 401, "no token, no figures");
    let scrape = || ask(&gateway, "GET", "/metrics", "").text();
    eventually("both were crawled", || {
        let crawled = |upstream, outcome| value(&scrape(), "toolscout_crawls_total", &[upstream, outcome]);
        crawled("upstream=\"well\"", "outcome=\"listed\"").zip(crawled("upstream=\"gone\"", "outcome=\"failed\""))
    });
    let mut n_searches = 0.0;
    eventually("the model is there and a query is remembered", || {
        let found = ask(&gateway, "POST", "/v1/search", &json!({"query": "does tool 0"}).to_string());
        assert_eq!(found.status, 200, "{}", found.text());
        n_searches += 1.0;
        value(&scrape(), "toolscout_query_cache_hits_total", &[]).filter(|hits| *hits > 0.0)
    });
    let call = |tool: &str| ask(&gateway, "POST", &format!("/v1/tools/well:{tool}/call"), "{}").status;
    assert_eq!([call("tool_0"), call("tool_0")], [200, 200]);
    let n_failed = 5.0;
    assert_eq!([(); 5].map(|()| call("tool_1")), [200; 5], "the fifth failure in a row is the last");
    // Outcomes are folded behind the calls.
    eventually("the tool is put aside", || {
        value(&scrape(), "toolscout_tools", &["state=\"quarantined\""]).filter(|n_tools| *n_tools > 0.0)
    });
    assert_ne!(call("tool_1"), 200);
    let reply = ask(&gateway, "GET", "/metrics", "");
    assert!(reply.header("content-type").is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4")));
    let text = reply.text();
    let check = |name: &str, labels: &[&str], expect: f64| {
        assert_eq!(value(&text, name, labels), Some(expect), "{name} {labels:?} in\n{text}");
    };
    assert!(value(&text, "toolscout_searches_total", &["index=\"hybrid\""]).is_some_and(|n| n >= 1.0), "{text}");
    check("toolscout_search_seconds_count", &[], n_searches);
    check("toolscout_selection_seconds_count", &[], n_searches);
    check("toolscout_calls_total", &["upstream=\"well\"", "fault=\"none\""], 2.0);
    check("toolscout_calls_total", &["upstream=\"well\"", "fault=\"upstream_error\""], n_failed);
    check("toolscout_calls_refused_total", &["upstream=\"well\"", "reason=\"quarantined\""], 1.0);
    check("toolscout_call_seconds_count", &["upstream=\"well\""], 2.0 + n_failed);
    check("toolscout_upstream_state", &["upstream=\"well\"", "state=\"ready\""], 1.0);
    check("toolscout_upstream_state", &["upstream=\"gone\"", "state=\"unreachable\""], 1.0);
    check("toolscout_upstream_circuit", &["upstream=\"well\""], 0.0);
    check("toolscout_tools", &["state=\"quarantined\""], 1.0);
    check("toolscout_outcomes_dropped_total", &[], 0.0);
    for secret in ["tool_0", "tool_1", "what you say", TOKEN, "backend"] {
        assert!(!text.contains(secret), "{secret} is in\n{text}");
    }
    // What is withheld shows with the next search.
    ask(&gateway, "POST", "/v1/search", &json!({"query": "does tool 1"}).to_string());
    assert_eq!(value(&scrape(), "toolscout_withheld_tools_total", &["reason=\"quarantined\""]), Some(1.0));
    gateway.stop();
}

#[test]
fn tools_are_named_where_the_configuration_says_so() {
    let (_scratch, gateway) = field(true);
    ask(&gateway, "POST", "/v1/tools/well:tool_0/call", "{}");
    let text = ask(&gateway, "GET", "/metrics", "").text();
    let labels = ["upstream=\"well\"", "tool=\"tool_0\"", "fault=\"none\""];
    assert_eq!(value(&text, "toolscout_calls_total", &labels), Some(1.0), "{text}");
    gateway.stop();
}
