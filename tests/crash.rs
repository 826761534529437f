//! `kill -9` at seeded moments: while a catalog is imported, indexed and saved, and while upstreams are crawled.
//!
//! 1. Every restart comes up by itself, sets nothing aside as damaged, and finds a generation that is whole:
//!    of each upstream all tools of one listing, never of two.
//! 2. What was embedded is not embedded again, except what a killed process embedded in its last moments.
//! 3. The upstreams that a killed process had started go as well.
//!
//! `TOOLSCOUT_CRASH_ROUNDS` and `TOOLSCOUT_CRASH_SEED` change the number of kills and their moments.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use toolscout_testkit::e2e::Session;
use toolscout_testkit::upstream::{Behave, Scripted};

use crate::hostile::upstream;
use crate::kit::{Ran, Scratch, run};

/// Tools in each imported file: enough that a round is spent mostly on embedding them.
const TOOLS: usize = 60;

/// The store syncs twice a second; what a killed process embedded since may be lost, and a busy machine may be late.
const AT_RISK: Duration = Duration::from_millis(1500);

#[test]
fn fifty_kills_lose_at_most_what_was_being_written() {
    let rounds = setting("TOOLSCOUT_CRASH_ROUNDS").unwrap_or(50);
    let mut moments = Moments(setting("TOOLSCOUT_CRASH_SEED").unwrap_or(7));
    let scratch = Scratch::new("");
    let mut embedded = Embedded::default();

    // How long a round takes when nobody disturbs it.
    prepare(&scratch, 0);
    let began = Instant::now();
    let calm = import(&scratch);
    let whole = began.elapsed();
    assert!(calm.status.success(), "{calm}");
    embedded.heard(&calm.stderr, End::Own);
    assert!(embedded.texts >= TOOLS as u64, "the log tells of only {} embedded texts: {calm}", embedded.texts);
    let mut n_struck = 0;
    for round in 1..=rounds {
        prepare(&scratch, round);
        let is_import = round % 2 == 1;
        let args: &[&str] = if is_import { &["catalog", "import", "tools.jsonl"] } else { &["serve"] };
        let mut session = Session::spawn(&logged(&scratch, args));
        let moment = moments.below(whole);
        std::thread::sleep(moment);
        session.kill();
        session.assert_empty();
        n_struck += u64::from(embedded.heard(&session.stderr(), End::Kill));
        let what = format!("round {round}, {args:?} killed after {moment:?}");
        check_restart(&scratch, round, &what, &mut embedded);
    }

    // In peace, everything comes to its end; then nothing is left to embed.
    prepare(&scratch, rounds + 1);
    for args in [&["catalog", "import", "tools.jsonl"][..], &["crawl"]] {
        let ran = run(&logged(&scratch, args));
        assert!(ran.status.success(), "{args:?} after the last kill: {ran}");
        embedded.heard(&ran.stderr, End::Own);
    }
    assert!(n_struck >= rounds / 10, "only {n_struck} of {rounds} kills came while something was being embedded");
    assert!(embedded.again.is_empty(), "embedded again though they were safe on disk: {:?}", embedded.again);
    let before = embedded.texts;
    embedded.heard(&import(&scratch).stderr, End::Own);
    assert_eq!(embedded.texts, before, "a restart in peace embedded something again");
    let found = scratch.json(&["search", "water the orchids in greenhouse 7", "--json"]);
    assert_eq!(found["index_state"], json!("hybrid"), "{found}");
}

/// Sets the world of a round: a file to import and two upstreams, all different from the round before.
fn prepare(scratch: &Scratch, round: u64) {
    let lines: String = (0..TOOLS)
        .map(|n| {
            let server = if n % 2 == 0 { "garden" } else { "harbour" };
            let verb = ["water", "weigh", "paint", "count", "repair"][n % 5];
            let noun = ["orchids", "barges", "benches", "lanterns", "ropes", "maps", "kites"][n % 7];
            let line = json!({
                "id": format!("{server}:{verb}_{noun}_{n}"), "server": server, "name": format!("{verb}_{noun}_{n}"),
                "description": format!("Edition {round}. Will {verb} the {noun} in greenhouse {n}."),
                "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
            });
            format!("{line}\n")
        })
        .collect();
    std::fs::write(scratch.path("tools.jsonl"), lines).expect("write tools.jsonl");
    let extra = usize::try_from(round).expect("few rounds");
    let first = Scripted::new(&[Behave::Good]).tools(10 + extra);
    let second = Scripted::new(&[Behave::LegacyOnly]).tools(5 + extra);
    scratch.configure(&(upstream("first", &first) + &upstream("second", &second)));
}

fn logged(scratch: &Scratch, args: &[&str]) -> std::process::Command {
    let mut command = scratch.command(args);
    command.args(["--log-format", "json"]).env("RUST_LOG", "info,toolscout_index=debug");
    command
}

#[track_caller]
fn import(scratch: &Scratch) -> Ran {
    run(&logged(scratch, &["catalog", "import", "tools.jsonl"]))
}

/// The next start after a kill: by itself, undamaged, whole.
#[track_caller]
fn check_restart(scratch: &Scratch, round: u64, what: &str, embedded: &mut Embedded) {
    let exported = run(&logged(scratch, &["catalog", "export"]));
    assert!(exported.status.success(), "{what}: {exported}");
    assert!(!exported.stderr.contains("damaged"), "{what}: {exported}");
    embedded.heard(&exported.stderr, End::Own);

    let mut editions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for line in exported.stdout.lines() {
        let tool: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{what}: {error}: {line}"));
        let server = tool["server"].as_str().expect("a server").to_owned();
        let description = tool["description"].as_str().unwrap_or_default();
        if let Some(edition) = description.strip_prefix("Edition ").and_then(|rest| rest.split('.').next()) {
            let garden = if server == "garden" { "garden" } else { "harbour" };
            editions.entry(garden).or_default().insert(edition.to_owned());
        }
        *counts.entry(server).or_default() += 1;
    }
    for (server, editions) in &editions {
        assert_eq!(editions.len(), 1, "{what}: {server} has tools of editions {editions:?}");
        assert_eq!(counts[*server], TOOLS as u64 / 2, "{what}: {server} is not whole");
    }
    for (server, least) in [("first", 13), ("second", 8)] {
        let n = counts.get(server).copied().unwrap_or(least);
        assert!((least..=least + round).contains(&n), "{what}: {server} has {n} tools");
    }
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// By itself: what it embedded is on disk.
    Own,
    /// By `kill -9`: what it embedded in its last moments may be lost.
    Kill,
}

/// What the index said of its work, over all processes.
#[derive(Default)]
struct Embedded {
    /// Texts run through the model.
    texts: u64,
    /// Keys of texts that must never be embedded again.
    safe: BTreeSet<String>,
    /// Such keys that were, with the moment in their process's log.
    again: Vec<(String, String)>,
}

impl Embedded {
    /// Takes one process's log; says whether that process had more to embed when it ended.
    fn heard(&mut self, stderr: &str, end: End) -> bool {
        let mut announced = 0;
        let mut made: Vec<(f64, String)> = Vec::new();
        let mut last = 0.0;
        for line in stderr.lines() {
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            let at = event["timestamp"].as_str().unwrap_or_default().to_owned();
            last = seconds(&at);
            let fields = event.get("fields").unwrap_or(&event);
            let n_texts = fields["n_texts"].as_u64().unwrap_or_default();
            match fields["message"].as_str() {
                Some("embedding") => announced += n_texts,
                Some("texts embedded") => {
                    announced = announced.saturating_sub(n_texts);
                    self.texts += n_texts;
                    let keys = fields["keys"].as_str().unwrap_or_default();
                    for key in keys.split(' ').filter(|key| !key.is_empty()) {
                        if self.safe.contains(key) {
                            self.again.push((key.to_owned(), at.clone()));
                        }
                        made.push((last, key.to_owned()));
                    }
                }
                _ => {}
            }
        }
        // The kill came at the last line or later, so whatever is older than this by then was synced.
        let is_safe = |at: f64| end == End::Own || (last - at).rem_euclid(DAY) > AT_RISK.as_secs_f64();
        self.safe.extend(made.into_iter().filter(|(at, _)| is_safe(*at)).map(|(_, key)| key));
        announced > 0
    }
}

const DAY: f64 = 86_400.0;

/// The time of day of a log line, in seconds.
#[track_caller]
fn seconds(timestamp: &str) -> f64 {
    let time = timestamp.split_once('T').map(|(_, time)| time.trim_end_matches('Z'));
    let parts: Option<Vec<f64>> = time.and_then(|time| time.split(':').map(|part| part.parse().ok()).collect());
    match parts.as_deref() {
        Some([hours, minutes, seconds]) => hours * 3_600.0 + minutes * 60.0 + seconds,
        _ => panic!("no time of day in `{timestamp}`"),
    }
}

/// A repeatable series of moments (splitmix64).
struct Moments(u64);

impl Moments {
    fn below(&mut self, limit: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        limit.mul_f64(mixed as f64 / u64::MAX as f64)
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}
