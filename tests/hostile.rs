//! Upstreams that misbehave, one behaviour each, all behind one gateway beside a good one.
//!
//! 1. A crawl ends whatever they do, and every tool that is well-formed is kept.
//! 2. What was wrong is told per upstream, with the reason; a well one stays well.
//! 3. A call ends whatever they do: with an answer or with the upstream named at fault, and the next one works.
//! 4. A tool that came is found, a server that went keeps its tools, marked.
//! 5. No process is left, no panic is logged, no secret of an upstream's environment is repeated.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use toolscout_testkit::e2e::{Client, Era, eventually};
use toolscout_testkit::upstream::{Behave, Face, Scripted};

use crate::kit::{Gateway, Scratch, ids, structured, text_of};

/// A secret in the environment of every scripted upstream; some print it.
const SECRET: &str = "hunter2-hunter2-hunter2";

/// The configuration of one scripted upstream over stdio, with deadlines for tests.
pub(crate) fn upstream(name: &str, scripted: &Scripted) -> String {
    let args = serde_json::to_string(&scripted.args()).expect("strings are JSON");
    format!(
        "[upstreams.{name}]\ncommand = {:?}\nargs = {args}\nenv = {{ SCRIPTED_SECRET = \"{SECRET}\" }}\n\
         timeout = \"3s\"\nconnect_timeout = \"20s\"\nlist_timeout = \"10s\"\n\n",
        scripted.command()
    )
}

/// As [`upstream`], for one that listens at `url`.
fn remote(name: &str, url: &str) -> String {
    format!(
        "[upstreams.{name}]\nurl = {url:?}\ntimeout = \"3s\"\nconnect_timeout = \"20s\"\nlist_timeout = \"10s\"\n\n"
    )
}

fn scripted(behave: Behave) -> Scripted {
    let scripted = Scripted::new(&[behave]).delay_ms(300).after(1);
    match behave {
        // Longer than any line that we take.
        Behave::HugeLine => scripted.size(40 << 20),
        Behave::HugeTool => scripted.size(8 << 20),
        _ => scripted,
    }
}

#[test]
fn a_crawl_of_all_misbehaviours_ends_and_keeps_every_good_tool() {
    let mut config = upstream("anchor", &Scripted::new(&[Behave::Good]).tools(20));
    for &behave in Behave::ALL {
        config.push_str(&upstream(behave.name(), &scripted(behave)));
    }
    // A server that is no server, a program that is not there, a port where nobody listens.
    config.push_str("[upstreams.cat]\ncommand = \"cat\"\nconnect_timeout = \"3s\"\n\n");
    config.push_str("[upstreams.nothing]\ncommand = \"/nonexistent/server\"\n\n");
    config.push_str(&remote("nobody", "http://127.0.0.1:9/mcp"));
    let scratch = Scratch::new(&config);

    let crawled = scratch.run(&["crawl", "--json"]);
    assert_eq!(crawled.status.code(), Some(5), "an upstream failed, so the exit code says so: {crawled}");
    no_secret(&crawled.to_string());

    let listed = scratch.json(&["tools", "list", "--json"]);
    let tools = listed.as_array().or(listed["tools"].as_array()).expect("tools list prints an array").clone();
    let of = |upstream: &str| {
        let prefix = format!("{upstream}:");
        tools.iter().filter_map(|tool| tool["id"].as_str()?.strip_prefix(&prefix)).collect::<Vec<_>>()
    };
    assert_eq!(of("anchor").len(), 23, "the good one lost tools: {:?}", of("anchor"));
    let listing_is_fine = [
        Behave::SlowStart,
        Behave::DiesOnProbe,
        Behave::SilentOnProbe,
        Behave::WedgedByProbe,
        Behave::LateProbeAnswer,
        Behave::LegacyOnly,
        Behave::ModernOnly,
        Behave::Garbage,
        Behave::Malformed,
        Behave::Duplicates,
        Behave::HugeTool,
        Behave::CrashMidCall,
        Behave::NeverAnswers,
        Behave::Grandchild,
        Behave::Stubborn,
        Behave::HiddenText,
        Behave::TurnsInvisible,
        Behave::TurnsInjected,
        Behave::Sloppy,
    ];
    for behave in listing_is_fine {
        let tools = of(behave.name());
        assert!(tools.contains(&"echo") && tools.contains(&"add"), "{} lost its good tools: {tools:?}", behave.name());
    }
    assert_eq!(of("empty-cursor"), ["first", "second", "third"]);
    assert!(of("same-cursor").len() <= 2, "{:?}", of("same-cursor"));
    assert!(!of("loops").is_empty() && of("loops").len() <= 10_000, "loops has {} tools", of("loops").len());

    let upstreams = scratch.json(&["upstreams", "list", "--json"]).to_string();
    no_secret(&upstreams);
    for gone in ["never-lists", "leaks-and-dies", "cat", "nothing", "nobody"] {
        assert!(of(gone).is_empty(), "{gone} has tools");
        assert!(upstreams.contains(gone), "{gone} is not told of: {upstreams}");
    }
}

#[test]
fn a_call_ends_whatever_the_upstream_does() {
    let misbehave = [
        Behave::CrashMidCall,
        Behave::NeverAnswers,
        Behave::RpcErrors,
        Behave::ErrorResults,
        Behave::ExitsAfter,
        Behave::Garbage,
        Behave::SlowCall,
        Behave::Stubborn,
        Behave::Grandchild,
    ];
    let mut config = upstream("anchor", &Scripted::new(&[Behave::Good]));
    for behave in misbehave {
        config.push_str(&upstream(behave.name(), &scripted(behave)));
    }
    // Every call is to reach them; what is put aside is not called.
    config.push_str("[quality]\nquarantine = false\n");
    let scratch = Scratch::new(&config);
    scratch.ok(&["crawl"]);
    let gateway = scratch.serve();
    for era in [Era::Legacy, Era::Modern] {
        let mut client = gateway.client(era);
        for round in 0..3 {
            for behave in [Behave::Good].iter().chain(&misbehave) {
                let name = if *behave == Behave::Good { "anchor" } else { behave.name() };
                check_call(&mut client, *behave, name, &format!("{era:?} {round}"));
            }
        }
    }
    // The good one never noticed, and is still found.
    let found =
        gateway.client(Era::Modern).call("search_tools", json!({"query": "say what I say", "upstreams": ["anchor"]}));
    assert_eq!(ids(structured(&found)).first().map(String::as_str), Some("anchor:echo"), "{found}");
    no_secret(&gateway.session.stderr());
    gateway.stop();
}

#[track_caller]
fn check_call(client: &mut Client, behave: Behave, name: &str, round: &str) {
    let began = Instant::now();
    let result = client.call("call_tool", json!({"id": format!("{name}:echo"), "arguments": {"text": "still here"}}));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(60), "{round}: a call of {name} took {took:?}");
    let failed = result["isError"] == json!(true);
    let must_fail =
        [Behave::CrashMidCall, Behave::NeverAnswers, Behave::RpcErrors, Behave::ErrorResults].contains(&behave);
    assert_eq!(failed, must_fail, "{round}: a call of {name} gave {result}");
    if !must_fail {
        assert!(text_of(&result).contains("still here"), "{round}: {name}: {result}");
    }
    no_secret(&result.to_string());
}

#[test]
fn many_callers_of_slow_and_dying_upstreams_do_not_hold_up_each_other() {
    let mut config = upstream("anchor", &Scripted::new(&[Behave::Good]));
    for behave in [Behave::NeverAnswers, Behave::CrashMidCall] {
        config.push_str(&upstream(behave.name(), &scripted(behave)));
    }
    let scratch = Scratch::new(&config);
    scratch.ok(&["crawl"]);
    let gateway = scratch.serve();
    let addr = gateway.addr;
    std::thread::scope(|scope| {
        for n in 0..24 {
            scope.spawn(move || {
                let mut client = Client::http(addr, if n % 2 == 0 { Era::Legacy } else { Era::Modern });
                let (behave, name) = match n % 3 {
                    0 => (Behave::NeverAnswers, "never-answers"),
                    1 => (Behave::CrashMidCall, "crash-mid-call"),
                    _ => (Behave::Good, "anchor"),
                };
                check_call(&mut client, behave, name, &format!("caller {n}"));
            });
        }
    });
    gateway.stop();
}

#[test]
fn a_tool_that_came_is_found_and_a_server_that_went_keeps_its_tools() {
    for era in [Behave::LegacyOnly, Behave::ModernOnly] {
        let changes = Scripted::new(&[Behave::ChangesTools, era]);
        let scratch = Scratch::new(&upstream("restless", &changes));
        scratch.ok(&["crawl"]);
        let gateway = scratch.serve();
        let mut client = gateway.client(Era::Modern);
        assert!(!listed(&gateway).contains(&"restless:newcomer".to_owned()));
        let said = client.call("call_tool", json!({"id": "restless:echo", "arguments": {"text": "change"}}));
        assert!(text_of(&said).contains("change"), "{said}");
        eventually("the new tool to be crawled after list_changed", || {
            listed(&gateway).contains(&"restless:newcomer".to_owned()).then_some(())
        });
        eventually("the new tool to be found", || {
            let found = client.call("search_tools", json!({"query": "newcomer"}));
            (ids(structured(&found)).first().map(String::as_str) == Some("restless:newcomer")).then_some(())
        });
        gateway.stop();

        // The server is no more: its tools stay, and it is said to be unreachable.
        scratch.configure("[upstreams.restless]\ncommand = \"/nonexistent/server\"\n");
        let crawled = scratch.run(&["crawl"]);
        assert_eq!(crawled.status.code(), Some(5), "{crawled}");
        let tools = scratch.ok(&["tools", "list", "--json"]).stdout;
        assert!(tools.contains("restless:newcomer") && tools.contains("restless:echo"), "{tools}");
        let upstreams = scratch.json(&["upstreams", "list", "--json"]).to_string();
        assert!(upstreams.contains("unreachable"), "{upstreams}");
    }
}

#[test]
fn servers_over_http_of_every_kind_are_crawled_and_called() {
    let streamable = Scripted::new(&[Behave::Good]).serve(Face::Streamable);
    let legacy = Scripted::new(&[Behave::LegacyOnly]).serve(Face::Streamable);
    let sse = Scripted::new(&[Behave::Good]).serve(Face::Sse);
    let evil = Scripted::new(&[Behave::EvilEndpoint]).serve(Face::Sse);
    let locked = Scripted::new(&[Behave::Unauthorized]).serve(Face::Streamable);
    let servers =
        [("streamable", &streamable), ("legacy", &legacy), ("sse", &sse), ("evil", &evil), ("locked", &locked)];
    let config: String = servers.iter().map(|(name, serving)| remote(name, &serving.url)).collect();
    let scratch = Scratch::new(&config);
    let crawled = scratch.run(&["crawl"]);
    assert_eq!(crawled.status.code(), Some(5), "{crawled}");
    let gateway = scratch.serve();
    let mut client = gateway.client(Era::Modern);
    for name in ["streamable", "legacy", "sse"] {
        let said = client.call("call_tool", json!({"id": format!("{name}:echo"), "arguments": {"text": name}}));
        assert!(text_of(&said).contains(name), "{name}: {said}");
    }
    let upstreams = gateway.get("/v1/upstreams").json().to_string();
    assert!(upstreams.contains("needs_auth"), "the locked one needs a login, and it is not said: {upstreams}");
    assert!(!listed(&gateway).iter().any(|id| id.starts_with("evil:")), "the endpoint led elsewhere");
    gateway.stop();
}

fn listed(gateway: &Gateway) -> Vec<String> {
    let listed = gateway.get("/v1/tools?limit=1000").json();
    let tools =
        listed.as_array().or(listed["tools"].as_array()).unwrap_or_else(|| panic!("no tools in {listed}")).clone();
    tools.iter().filter_map(|tool| tool["id"].as_str()).map(str::to_owned).collect::<Vec<String>>()
}

#[track_caller]
fn no_secret(text: &str) {
    assert!(!text.contains(SECRET), "a secret got out: {text}");
}
