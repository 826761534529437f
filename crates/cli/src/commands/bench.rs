//! `bench`: what indexing, starting and searching cost on this machine, beside the query embedding alone.
//!
//! Everything is measured in one run, in turns, because absolute times on shared machines mean little and ratios more.
//! Queries differ by a last character between the turns, so that no turn finds the vector of another remembered.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use toolscout_core::Caller;
use toolscout_evals::stats::percentile;
use toolscout_gateway::wire::SearchRequest;
use toolscout_gateway::{HttpOptions, Served, Services, ops, serve_http};
use toolscout_store::Store;

use crate::app::{App, Use, clock, store_dir};
use crate::args::Bench;
use crate::config::Config;
use crate::fail::{Ended, Exit};
use crate::progress::Steps;
use crate::{http, screen};

/// Longest line of a catalog or query file, in bytes.
const MAX_LINE: u64 = 16 << 20;
/// How long all vectors may take: 100,000 tools on a slow machine.
const ALL_VECTORS: Duration = Duration::from_secs(3 * 3600);
/// Largest answer of our own server.
const MAX_ANSWER: usize = 4 << 20;

/// What was measured. Times in milliseconds.
#[derive(Debug, Serialize)]
struct Figures {
    n_tools: usize,
    n_queries: usize,
    index_words_ms: f64,
    index_all_ms: f64,
    start_first_answer_ms: f64,
    start_first_answer_state: String,
    start_hybrid_ms: f64,
    resident_mb: Option<f64>,
    embedding_ms: Spread,
    search_ms: Spread,
    search_http_ms: Spread,
    /// p50 of a search in process over p50 of the embedding alone.
    search_to_embedding: f64,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Spread {
    p50: f64,
    p95: f64,
    p99: f64,
}

/// `bench --catalog FILE… --queries FILE`.
pub(crate) async fn bench(args: &Bench, config: &Config) -> Ended {
    let queries = read_queries(&args.queries, args.n)?;
    ensure!(!queries.is_empty(), "{} holds no query", args.queries.display());
    let mut config = config.clone();
    // Imported tools need no upstream, and a folder of our own keeps the user's catalog out of it.
    config.upstreams.clear();
    let folder = config.data_dir().join(format!("bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("make the folder {}", folder.display()))?;
    config.settings.data_dir = Some(folder.clone());
    let figures = measure(args, &config, &queries).await;
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        screen::say(&format!("warning: {} stays behind: {error}", folder.display()));
    }
    let figures = figures?;
    if args.output.json {
        screen::json(&figures)?;
    } else {
        table(&figures)?;
    }
    Ok(Exit::Done)
}

async fn measure(args: &Bench, config: &Config, queries: &[String]) -> anyhow::Result<Figures> {
    // From nothing.
    let steps = Steps::new(0, "indexing");
    let app = open(config, Use::Once).await?;
    let began = Instant::now();
    let lines = catalog_lines(&args.catalog)?;
    let catalog = Arc::clone(&app.catalog);
    let import = move || catalog.import_jsonl(lines.as_slice(), clock()());
    let n_tools = tokio::task::spawn_blocking(import).await.context("the import ended early")??.n_tools;
    tokio::task::block_in_place(|| app.catch_up());
    let index_words_ms = millis(began);
    let index = Arc::clone(&app.index);
    let settled = tokio::task::spawn_blocking(move || index.wait_settled(ALL_VECTORS)).await?;
    ensure!(settled, "the vectors of {n_tools} tools took more than {} s", ALL_VECTORS.as_secs());
    let index_all_ms = millis(began);
    app.close().await;
    steps.end();

    // A saved index, as a server opens it.
    let began = Instant::now();
    let app = open(config, Use::Serve).await?;
    let services = Arc::clone(&app.services);
    tokio::task::block_in_place(|| app.catch_up());
    let start_first_answer_state = search(&services, &queries[0]).await?;
    let start_first_answer_ms = millis(began);
    let wants_hybrid = services.parts.embedder.is_some();
    while wants_hybrid && search(&services, &queries[0]).await? != "hybrid" {
        ensure!(began.elapsed() < Duration::from_secs(60), "no hybrid answer within 60 s of the start");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let start_hybrid_ms = millis(began);

    // In turns: the embedding alone, a search in process, a search over HTTP.
    let shutdown = CancellationToken::new();
    let options = HttpOptions { bind: SocketAddr::from(([127, 0, 0, 1], 0)), ..HttpOptions::default() };
    let Served { addr, done } = serve_http(Arc::clone(&services), options, shutdown.clone()).await?;
    let (client, url) = (http::client(Duration::from_secs(60))?, format!("http://{addr}/v1/search"));
    let steps = Steps::new(queries.len(), "searching");
    let (mut embedding, mut in_process, mut over_http) = (Vec::new(), Vec::new(), Vec::new());
    for (i, query) in queries.iter().enumerate() {
        steps.at(i, queries.len());
        embedding.push(embed_alone(&services, format!("{query} !")).await?);
        let began = Instant::now();
        search(&services, &format!("{query} .")).await?;
        in_process.push(millis(began));
        let body = serde_json::json!({ "query": format!("{query} ?") });
        let began = Instant::now();
        let response = client.post(&url).json(&body).send().await?.error_for_status()?;
        http::read_capped(response, MAX_ANSWER).await?;
        over_http.push(millis(began));
    }
    steps.end();
    let resident_mb = resident_mb();
    shutdown.cancel();
    done.await.context("the server ended early")?;
    app.close().await;

    let (embedding_ms, search_ms) = (spread(embedding), spread(in_process));
    Ok(Figures {
        n_tools,
        n_queries: queries.len(),
        index_words_ms,
        index_all_ms,
        start_first_answer_ms,
        start_first_answer_state,
        start_hybrid_ms,
        resident_mb,
        search_http_ms: spread(over_http),
        search_to_embedding: search_ms.p50 / embedding_ms.p50.max(f64::MIN_POSITIVE),
        embedding_ms,
        search_ms,
    })
}

async fn open(config: &Config, usage: Use) -> anyhow::Result<App> {
    let config = config.clone();
    let open = move || {
        let opened = Store::open(&store_dir(config.data_dir()))?;
        App::open(opened, &config, Vec::new(), usage, None)
    };
    tokio::task::spawn_blocking(open).await.context("opening ended early")?
}

/// One search; the state of the index that it names.
async fn search(services: &Services, query: &str) -> anyhow::Result<String> {
    let request: SearchRequest = serde_json::from_value(serde_json::json!({ "query": query }))?;
    Ok(ops::search(services, &Caller::local("bench"), request).await?.index_state)
}

/// How long the model alone takes for a query, on a thread where it may block.
async fn embed_alone(services: &Services, query: String) -> anyhow::Result<f64> {
    let Some(embedder) = services.parts.embedder.clone() else { return Ok(0.0) };
    let embed = move || {
        let began = Instant::now();
        embedder.embed_query(&query).map(|_| millis(began))
    };
    Ok(tokio::task::spawn_blocking(embed).await??)
}

/// The files as one tools.jsonl. With several, each file's servers and ids get its folder's name in front: two catalogs may
/// both know a `github`, and the later would replace the earlier, or number their tools alike.
fn catalog_lines(files: &[PathBuf]) -> anyhow::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut prefixes = BTreeSet::new();
    for (nth, file) in (1..).zip(files) {
        let prefix = match files.len() {
            1 => None,
            _ => file.parent().and_then(Path::file_name).or(file.file_stem()).map(|name| name.to_string_lossy()),
        };
        let prefix = prefix.map(|name| match prefixes.insert(name.to_string()) {
            true => name.to_string(),
            false => format!("{name}-{nth}"),
        });
        for_each_line(file, |line, mut tool| {
            if let Some(prefix) = &prefix {
                let server = tool.get("server").and_then(Value::as_str).unwrap_or("tools");
                tool["server"] = format!("{prefix}-{server}").into();
                let id = tool.get("id").map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
                if let Some(id) = id {
                    tool["id"] = format!("{prefix}-{id}").into();
                }
            }
            serde_json::to_writer(&mut all, &tool).with_context(|| format!("line {line}"))?;
            all.push(b'\n');
            Ok(true)
        })?;
    }
    Ok(all)
}

fn read_queries(file: &Path, n: usize) -> anyhow::Result<Vec<String>> {
    let mut queries = Vec::new();
    for_each_line(file, |line, labelled| {
        let query = labelled.get("query").and_then(Value::as_str);
        queries.push(query.with_context(|| format!("line {line} has no `query`"))?.to_owned());
        Ok(queries.len() < n)
    })?;
    Ok(queries)
}

/// Hands every JSON object of a file on, with its line number, until told to stop.
fn for_each_line(file: &Path, mut visit: impl FnMut(usize, Value) -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let context = || format!("read {}", file.display());
    let mut reader = BufReader::new(std::fs::File::open(file).with_context(context)?);
    let mut text = String::new();
    for line in 1.. {
        text.clear();
        let mut bounded = std::io::Read::take(&mut reader, MAX_LINE);
        if bounded.read_line(&mut text).with_context(context)? == 0 {
            break;
        }
        if text.trim().is_empty() {
            continue;
        }
        let value: Value =
            serde_json::from_str(&text).with_context(|| format!("line {line} is no JSON")).with_context(context)?;
        if !visit(line, value).with_context(context)? {
            break;
        }
    }
    Ok(())
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// Nearest-rank percentiles.
fn spread(mut times: Vec<f64>) -> Spread {
    times.sort_by(f64::total_cmp);
    let at = |percent| percentile(&times, percent).unwrap_or_default();
    Spread { p50: at(50.0), p95: at(95.0), p99: at(99.0) }
}

/// Resident memory of this process, where the system tells.
fn resident_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kb: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kb / 1024.0)
}

fn table(figures: &Figures) -> anyhow::Result<()> {
    let spread = |s: &Spread| format!("p50 {:.2} ms · p95 {:.2} · p99 {:.2}", s.p50, s.p95, s.p99);
    let seconds = |ms: f64| format!("{:.2} s", ms / 1000.0);
    screen::line(&format!(
        "{}, {}",
        screen::count(figures.n_tools, "tool"),
        if figures.n_queries == 1 { "1 query".to_owned() } else { format!("{} queries", figures.n_queries) }
    ))?;
    screen::line(&format!(
        "  index from nothing     words {}, all {}",
        seconds(figures.index_words_ms),
        seconds(figures.index_all_ms)
    ))?;
    screen::line(&format!(
        "  start, saved index     first answer {:.0} ms ({}), hybrid {:.0} ms",
        figures.start_first_answer_ms, figures.start_first_answer_state, figures.start_hybrid_ms
    ))?;
    if let Some(mb) = figures.resident_mb {
        screen::line(&format!("  resident memory        {mb:.0} MB"))?;
    }
    screen::line(&format!("  query embedding alone  {}", spread(&figures.embedding_ms)))?;
    screen::line(&format!(
        "  search in process      {} · {:.2} × the embedding",
        spread(&figures.search_ms),
        figures.search_to_embedding
    ))?;
    screen::line(&format!("  search over HTTP       {}", spread(&figures.search_http_ms)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let s = spread((1..=200).rev().map(f64::from).collect());
        assert_eq!((s.p50, s.p95, s.p99), (100.0, 190.0, 198.0));
        let one = spread(vec![7.0]);
        assert_eq!((one.p50, one.p99), (7.0, 7.0));
    }

    #[test]
    fn several_catalogs_keep_their_servers_apart() {
        let dir = tempfile::tempdir().unwrap();
        let file = |folder: &str| {
            let folder = dir.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            let line = r#"{"id":7,"server":"github","name":"x","description":"","input_schema":{"type":"object"}}"#;
            std::fs::write(folder.join("tools.jsonl"), format!("{line}\n\n")).unwrap();
            folder.join("tools.jsonl")
        };
        let lines = catalog_lines(&[file("one"), file("two"), file("other/two")]).unwrap();
        let store = Store::temporary().unwrap();
        let catalog = toolscout_catalog::Catalog::open(&store, toolscout_catalog::Overlays::default()).unwrap();
        let imported = catalog.import_jsonl(lines.as_slice(), toolscout_core::Timestamp(1)).unwrap();
        assert_eq!((imported.n_tools, imported.problems.len()), (3, 0));
        let upstreams: Vec<String> = catalog.view().upstreams.keys().map(ToString::to_string).collect();
        assert_eq!(upstreams, ["one-github", "two-3-github", "two-github"]);
    }
}
