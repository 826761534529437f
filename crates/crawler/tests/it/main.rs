//! The schedule against a scripted source, on a paused clock.
//!
//! 1. Every upstream is listed at the start, a bounded number at once.
//! 2. A listing grows old after its server's time to live, within our bounds, and is taken again.
//! 3. An announced change is listed after it settled; a server that announces all the time is listed less and less.
//! 4. A failure keeps every tool, marks the upstream with state, since-when and why, and is tried again ever later; the log has it once.
//! 5. One listing per upstream at a time; who asks meanwhile gets that one's answer.
//! 6. Stopping gives up what runs and answers everyone.
//! 7. An upstream that the configuration lost is forgotten, an imported one is not.

#![expect(clippy::unwrap_used, reason = "tests; clippy's exception for them does not reach their helpers")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::json;
use tokio::sync::broadcast;
use tokio::time::Instant;
use toolscout_catalog::{Catalog, Overlays, UpstreamState};
use toolscout_core::{Timestamp, Untrusted, UpstreamId};
use toolscout_crawler::{CrawlEvent, Crawler, CrawlerDeps, CrawlerOptions, Outcome, Reason, Source};
use toolscout_store::Store;
use toolscout_upstream::{Challenge, Era, Error, ServerFacts, ToolListing, UpstreamEvent};

/// What a scripted upstream does when it is listed.
#[derive(Clone)]
enum Act {
    /// These tools.
    Tools(Vec<&'static str>),
    /// A time to live besides.
    ToolsFor(Vec<&'static str>, u64),
    NeedsAuth,
    Broken,
    Garbage,
    Never,
    Panic,
    BackingOff(Duration),
}

struct Script {
    begun: Instant,
    acts: Mutex<BTreeMap<UpstreamId, Act>>,
    /// When which upstream was listed, in milliseconds.
    log: Mutex<Vec<(UpstreamId, u128)>>,
    running: AtomicUsize,
    most_running: AtomicUsize,
    takes: Duration,
    events: broadcast::Sender<UpstreamEvent>,
}

fn id(name: &str) -> UpstreamId {
    UpstreamId::new(name).unwrap()
}

impl Script {
    fn new(takes: Duration, acts: &[(&str, Act)]) -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            acts: Mutex::new(acts.iter().map(|(name, act)| (id(name), act.clone())).collect()),
            log: Mutex::default(),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
            takes,
            events: broadcast::channel(64).0,
        })
    }

    fn set(&self, name: &str, act: Option<Act>) {
        let mut acts = self.acts.lock().unwrap();
        match act {
            Some(act) => acts.insert(id(name), act),
            None => acts.remove(&id(name)),
        };
    }

    fn times(&self, name: &str) -> Vec<u128> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|(upstream, _)| *upstream == id(name)).map(|(_, at)| *at).collect()
    }

    fn announce(&self, name: &str) {
        self.events.send(UpstreamEvent::ToolsChanged { upstream: id(name) }).unwrap();
    }
}

impl Source for Script {
    fn ids(&self) -> Vec<UpstreamId> {
        self.acts.lock().unwrap().keys().cloned().collect()
    }

    fn tags(&self, _: &UpstreamId) -> Vec<String> {
        vec!["scripted".to_owned()]
    }

    fn list<'a>(&'a self, upstream: &'a UpstreamId) -> BoxFuture<'a, Result<ToolListing, Error>> {
        Box::pin(async move {
            self.log.lock().unwrap().push((upstream.clone(), self.begun.elapsed().as_millis()));
            let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_running.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(self.takes).await;
            self.running.fetch_sub(1, Ordering::SeqCst);
            let act = self.acts.lock().unwrap().get(upstream).cloned();
            let upstream = upstream.clone();
            let (names, ttl_ms) = match act {
                Some(Act::Tools(names)) => (names, None),
                Some(Act::ToolsFor(names, ttl)) => (names, Some(ttl)),
                Some(Act::NeedsAuth) => {
                    return Err(Error::NeedsAuth { upstream, status: 401, challenge: Challenge::default() });
                }
                Some(Act::Garbage) => return Err(Error::Protocol { upstream, what: "no JSON".to_owned() }),
                Some(Act::BackingOff(wait)) => {
                    return Err(Error::BackingOff { upstream, failures: 3, wait, last: "boom".to_owned() });
                }
                Some(Act::Never) => std::future::pending().await,
                Some(Act::Panic) => panic!("scripted"),
                Some(Act::Broken) | None => {
                    let (reason, stderr) = ("exit 1".to_owned(), "no such module".to_owned());
                    return Err(Error::Connect { upstream, reason, stderr, source: None });
                }
            };
            let tool = |name: &&str| Untrusted::new(json!({"name": name, "inputSchema": {"type": "object"}}));
            Ok(ToolListing {
                server: ServerFacts {
                    name: "scripted".to_owned(),
                    version: "1".to_owned(),
                    title: None,
                    protocol_version: "2025-11-25".to_owned(),
                    era: Era::Legacy,
                    instructions: None,
                    tools_list_changed: true,
                },
                tools: names.iter().map(tool).collect(),
                skipped: Vec::new(),
                truncated: None,
                ttl_ms,
                cache_scope: None,
            })
        })
    }

    fn events(&self) -> broadcast::Receiver<UpstreamEvent> {
        self.events.subscribe()
    }
}

/// No jitter, so that moments are exact.
fn options() -> CrawlerOptions {
    CrawlerOptions { jitter: 0.0, ..CrawlerOptions::default() }
}

fn deps(source: &Arc<Script>, options: CrawlerOptions) -> CrawlerDeps {
    let catalog = Catalog::open(&Store::temporary().unwrap(), Overlays::default()).unwrap();
    let begun = Instant::now();
    let clock = Arc::new(move || Timestamp(u64::try_from(begun.elapsed().as_millis()).unwrap()));
    CrawlerDeps { source: source.clone(), catalog: Arc::new(catalog), clock, options, progress: None }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn every_upstream_is_listed_at_the_start_and_a_bounded_number_at_once() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let script = Script::new(100 * MS, &names.map(|name| (name, Act::Tools(vec!["x"]))));
    let deps = deps(&script, CrawlerOptions { concurrency: 3, ..options() });
    let crawler = Crawler::start(deps.clone());
    pass(1).await;
    assert_eq!(deps.catalog.view().len(), 9);
    assert_eq!(script.most_running.load(Ordering::SeqCst), 3);
    assert_eq!(deps.catalog.view().tools[0].tags, ["scripted"]);
    crawler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_taken_again_when_it_has_grown_old() {
    let acts = [
        ("silent", Act::Tools(vec!["x"])),
        ("eager", Act::ToolsFor(vec!["x"], 0)),
        ("hourly", Act::ToolsFor(vec!["x"], 3_600_000)),
        ("eternal", Act::ToolsFor(vec!["x"], u64::MAX)),
    ];
    let script = Script::new(Duration::ZERO, &acts);
    let crawler = Crawler::start(deps(&script, options()));
    pass(3_601).await;
    assert_eq!(script.times("silent").len(), 1 + 12, "every five minutes");
    assert_eq!(script.times("eager").len(), 1 + 120, "no sooner than every thirty seconds");
    assert_eq!(script.times("hourly").len(), 2);
    pass(24 * 3_600).await;
    assert_eq!(script.times("eternal").len(), 2, "at least once a day");
    crawler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn jitter_spreads_upstreams_and_comes_from_the_seed() {
    let script = Script::new(Duration::ZERO, &["a", "b", "c", "d"].map(|name| (name, Act::Tools(vec![]))));
    let crawler = Crawler::start(deps(&script, CrawlerOptions { jitter: 0.1, seed: 7, ..options() }));
    pass(400).await;
    let second: Vec<u128> = ["a", "b", "c", "d"].iter().map(|name| script.times(name)[1]).collect();
    assert!(second.iter().all(|at| (270_000..=330_000).contains(at)), "{second:?}");
    let mut distinct = second.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 4, "{second:?}");
    crawler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_announced_change_is_listed_once_it_settled() {
    let script = Script::new(Duration::ZERO, &[("a", Act::Tools(vec!["x"]))]);
    let deps = deps(&script, options());
    let crawler = Crawler::start(deps.clone());
    pass(10).await;
    script.set("a", Some(Act::Tools(vec!["x", "y"])));
    for _ in 0..20 {
        script.announce("a");
        tokio::time::sleep(10 * MS).await;
    }
    pass(1).await;
    assert_eq!(script.times("a").len(), 2, "twenty announcements, one listing");
    assert_eq!(deps.catalog.view().len(), 2);
    crawler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_announces_all_the_time_is_listed_less_and_less() {
    let script = Script::new(Duration::ZERO, &[("a", Act::Tools(vec!["x"]))]);
    let crawler = Crawler::start(deps(&script, options()));
    for _ in 0..6_000 {
        script.announce("a");
        tokio::time::sleep(100 * MS).await;
    }
    let times = script.times("a");
    assert!((6..=14).contains(&times.len()), "ten minutes of noise: {times:?}");
    crawler.stop().await;
}

thread_local! {
    /// Warnings logged on this thread, which is this test's.
    static N_WARNINGS: Cell<usize> = const { Cell::new(0) };
}

/// Counts what is logged as a warning or worse. For the whole process: of a subscriber of one thread, what another thread logs
/// first keeps nothing.
struct Warnings;

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn event(&self, _event: &tracing::Event<'_>) {
        N_WARNINGS.with(|n| n.set(n.get() + 1));
    }

    fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _span: &tracing::span::Id, _follows: &tracing::span::Id) {}
    fn enter(&self, _span: &tracing::span::Id) {}
    fn exit(&self, _span: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_said_once() {
    tracing::subscriber::set_global_default(Warnings).unwrap();
    let n_said = |what: &str, expect: usize| assert_eq!(N_WARNINGS.replace(0), expect, "{what}");
    let script = Script::new(Duration::ZERO, &[("a", Act::Tools(vec!["x"]))]);
    let crawler = Crawler::start(deps(&script, options()));
    pass(10).await;
    n_said("all is well", 0);
    script.set("a", Some(Act::Broken));
    pass(24 * 3_600).await;
    assert!(script.times("a").len() > 10, "it is tried again and again");
    n_said("it is down", 1);
    script.set("a", Some(Act::NeedsAuth));
    pass(24 * 3_600).await;
    n_said("it is another failure", 1);
    script.set("a", Some(Act::Tools(vec!["x"])));
    pass(24 * 3_600).await;
    n_said("it is back", 0);
    script.set("a", Some(Act::Broken));
    pass(24 * 3_600).await;
    n_said("it is down again", 1);
    crawler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_keeps_the_tools_and_says_what_happened() {
    let script = Script::new(Duration::ZERO, &[("a", Act::ToolsFor(vec!["x"], 60_000)), ("b", Act::NeedsAuth)]);
    let deps = deps(&script, options());
    let crawler = Crawler::start(deps.clone());
    pass(1).await;
    let state =
        |name: &str| deps.catalog.view().upstream(&id(name)).map(|row| (row.state, row.since.0 / 1_000, row.n_tools));
    assert_eq!(state("a"), Some((UpstreamState::Ready, 0, 1)));
    assert_eq!(state("b"), Some((UpstreamState::NeedsAuth, 0, 0)));
    script.set("a", Some(Act::Broken));
    pass(60).await;
    assert_eq!(state("a"), Some((UpstreamState::Unreachable, 60, 1)));
    assert!(deps.catalog.view().upstream(&id("a")).unwrap().reason.contains("exit 1"));
    script.set("a", Some(Act::Garbage));
    pass(600).await;
    let (state_now, since, n_tools) = state("a").unwrap();
    assert_eq!((state_now, n_tools), (UpstreamState::Stale, 1), "it answers, only not with a listing");
    assert!(since < 100, "the second failure was noticed within the first retries");
    script.set("a", Some(Act::Tools(vec!["x", "y"])));
    pass(900).await;
    assert_eq!(state("a").map(|state| (state.0, state.2)), Some((UpstreamState::Ready, 2)));
    crawler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_ever_later() {
    let script = Script::new(Duration::ZERO, &[("a", Act::Broken), ("p", Act::Panic)]);
    let crawler = Crawler::start(deps(&script, options()));
    pass(3_600).await;
    let times = script.times("a");
    let waits: Vec<u128> = times.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000).collect();
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
    assert_eq!(script.times("p").len(), times.len(), "a panic under a listing is a failure like others");
    crawler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_backs_off_is_not_asked_sooner() {
    let script = Script::new(Duration::ZERO, &[("a", Act::BackingOff(Duration::from_secs(100)))]);
    let crawler = Crawler::start(deps(&script, options()));
    pass(150).await;
    assert_eq!(script.times("a"), [0, 100_000]);
    crawler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_while_it_runs_gets_that_listing() {
    let script = Script::new(Duration::from_secs(5), &[("a", Act::Tools(vec!["x"])), ("b", Act::Broken)]);
    let deps = deps(&script, options());
    let crawler = Crawler::on_demand(deps.clone());
    let (first, second) = tokio::join!(crawler.crawl(Some(id("a"))), async {
        pass(1).await;
        crawler.crawl(Some(id("a"))).await
    });
    assert_eq!(first, second);
    assert_eq!(script.times("a").len(), 1);
    let all = crawler.crawl(None).await;
    let outcomes: Vec<bool> = all.upstreams.iter().map(|one| matches!(one.outcome, Outcome::Listed { .. })).collect();
    assert_eq!(outcomes, [true, false]);
    assert!(!all.is_ok());
    let unknown = crawler.crawl(Some(id("nobody"))).await;
    assert!(matches!(&unknown.upstreams[0].outcome, Outcome::Failed { reason, .. } if reason.contains("nobody")));
    pass(3_600).await;
    assert_eq!(script.times("a").len(), 2, "on demand means only on demand");
    crawler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_never_answers_meets_the_deadline() {
    let script = Script::new(Duration::ZERO, &[("a", Act::Never)]);
    let crawler = Crawler::on_demand(deps(&script, CrawlerOptions { deadline: Duration::from_secs(7), ..options() }));
    let report = crawler.crawl(None).await;
    assert_eq!(report.upstreams[0].took_ms, 7_000);
    assert!(matches!(report.upstreams[0].outcome, Outcome::Failed { state: UpstreamState::Unreachable, .. }));
    crawler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn stopping_gives_up_and_answers_everyone() {
    let script = Script::new(Duration::ZERO, &[("a", Act::Never), ("b", Act::Tools(vec!["x"]))]);
    let crawler = Crawler::start(deps(&script, options()));
    let asking = tokio::spawn({
        let crawler = crawler.clone();
        async move { crawler.crawl(None).await }
    });
    pass(1).await;
    crawler.stop().await;
    let report = asking.await.unwrap();
    assert_eq!(report.upstreams[0].outcome, Outcome::Stopped);
    assert_eq!(crawler.crawl(Some(id("b"))).await.upstreams[0].outcome, Outcome::Stopped);
    crawler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_configuration_lost_is_forgotten_and_imports_stay() {
    let script = Script::new(Duration::from_secs(1), &[("a", Act::Tools(vec!["x"])), ("b", Act::Tools(vec!["y"]))]);
    let deps = deps(&script, options());
    let line = br#"{"id":"i","server":"imported","name":"z","description":""}"#;
    deps.catalog.import_jsonl(&line[..], Timestamp(0)).unwrap();
    let crawler = Crawler::start(deps.clone());
    pass(2).await;
    assert_eq!(deps.catalog.view().len(), 3);
    script.set("a", None);
    script.set("c", Some(Act::Tools(vec!["w"])));
    crawler.reconfigured();
    pass(2).await;
    let ids: Vec<String> = deps.catalog.view().tools.iter().map(|card| card.id.to_string()).collect();
    assert_eq!(ids, ["b:y", "c:w", "imported:z"]);
    // Taken out in the middle of its listing, it does not come back.
    crawler.reconfigured();
    tokio::time::sleep(500 * MS).await;
    script.set("c", None);
    crawler.reconfigured();
    pass(5).await;
    assert!(deps.catalog.view().upstream(&id("c")).is_none());
    crawler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn progress_tells_each_start_and_end() {
    let script = Script::new(Duration::ZERO, &[("a", Act::Tools(vec!["x"]))]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let progress = {
        let told = told.clone();
        Arc::new(move |event: &CrawlEvent| told.lock().unwrap().push(event.clone()))
    };
    let crawler = Crawler::on_demand(CrawlerDeps { progress: Some(progress), ..deps(&script, options()) });
    let report = crawler.crawl(None).await;
    let expected = [
        CrawlEvent::Started { upstream: id("a"), reason: Reason::Demand },
        CrawlEvent::Ended(report.upstreams[0].clone()),
    ];
    assert_eq!(*told.lock().unwrap(), expected);
    crawler.stop().await;
}
