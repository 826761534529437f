//! `crawl`: lists upstreams now and waits until the index has caught up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use toolscout_crawler::{CrawlEvent, CrawlReport, Crawled, Outcome, ProgressFn};
use toolscout_gateway::wire::RecrawlResponse;

use crate::app::{App, recrawl_response};
use crate::backend::{Backend, Server};
use crate::commands::upstreams::chosen;
use crate::config::Config;
use crate::fail::{Ended, Exit};
use crate::progress::Steps;
use crate::screen;

/// Tools that are searched for before and after a crawl, at most. Each costs two searches.
const MAX_COMPARED: usize = 64;

/// `crawl [UPSTREAM…]`.
pub(crate) async fn crawl(config: &Config, which: &[String], is_json: bool) -> Ended {
    let specs = chosen(config, which)?;
    let n_enabled = specs.iter().filter(|spec| spec.enabled).count();
    let steps = Arc::new(Mutex::new(None::<Steps>));
    let told = Arc::clone(&steps);
    let progress: ProgressFn = Arc::new(move |event| {
        let steps = told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(steps) = &*steps {
            show(steps, event);
        }
    });
    let backend = Backend::open_with(config, Some(progress)).await?;
    *steps.lock().unwrap_or_else(PoisonError::into_inner) = Some(Steps::new(n_enabled, "crawling"));
    let ids: Vec<String> = specs.iter().filter(|spec| spec.enabled).map(|spec| spec.id.to_string()).collect();
    let before = match &backend {
        Backend::Here(app) => Some(app.index.snapshot()),
        // The server tells in its log.
        Backend::Server(_) => None,
    };
    let crawled = match &backend {
        Backend::Here(app) => here(app, config, which, &specs).await,
        Backend::Server(server) => there(server, &ids, &steps).await,
    };
    if let Some(steps) = steps.lock().unwrap_or_else(PoisonError::into_inner).take() {
        steps.end();
    }
    let crawled = match crawled {
        Ok(crawled) => crawled,
        Err(error) => {
            backend.close().await;
            return Err(error);
        }
    };
    let mut falls = Vec::new();
    if let (Backend::Here(app), Some(before)) = (&backend, before) {
        settle(app).await;
        let (after, services) = (app.index.snapshot(), Arc::clone(&app.services));
        let compare = move || {
            let embedder = services.parts.embedder.as_deref();
            toolscout_lint::falls(&before, &after, &|text| crate::watch::vectors(embedder, text), MAX_COMPARED)
        };
        falls = tokio::task::spawn_blocking(compare).await.context("comparing ended early")?;
    }
    let readiness = backend.readiness().await?;
    backend.close().await;

    let all_well = crawled.iter().all(|crawled| crawled.state == "ready");
    if is_json {
        screen::json(&serde_json::json!({
            "ok": all_well, "upstreams": crawled, "index": readiness, "found_less_well": falls
        }))?;
    } else {
        print(&crawled)?;
        let n_tools = screen::count(readiness.n_tools.unwrap_or_default(), "tool");
        screen::line(&format!(
            "\n{n_tools} in generation {} · index {}",
            readiness.index_generation, readiness.index_state
        ))?;
        tell_waiting(&crawled);
        if let Some(reason) = &readiness.index_reason {
            screen::say(&format!("note: {reason}"));
        }
        for fall in &falls {
            screen::line(&format!("found less well: {}", screen::clip(&fall.told(), 400)))?;
        }
    }
    Ok(if all_well { Exit::Done } else { Exit::Upstream })
}

async fn here(
    app: &App,
    config: &Config,
    which: &[String],
    specs: &[toolscout_upstream::UpstreamSpec],
) -> anyhow::Result<Vec<RecrawlResponse>> {
    if which.is_empty() {
        for gone in app.forget_removed(config, &[])? {
            screen::say(&format!("`{gone}` is no longer configured; its tools are gone"));
        }
        let report = app.crawler.crawl(None).await;
        return Ok(report.upstreams.into_iter().map(recrawl_response).collect());
    }
    let mut tasks = tokio::task::JoinSet::new();
    for spec in specs {
        let (crawler, id) = (app.crawler.clone(), spec.id.clone());
        tasks.spawn(async move { crawler.crawl(Some(id)).await });
    }
    let mut crawled: Vec<Crawled> = Vec::new();
    while let Some(report) = tasks.join_next().await {
        let CrawlReport { upstreams } = report.context("a crawl ended early")?;
        crawled.extend(upstreams);
    }
    crawled.sort_by(|a, b| a.upstream.cmp(&b.upstream));
    Ok(crawled.into_iter().map(recrawl_response).collect())
}

/// The server crawls; what it holds is what it was started with.
async fn there(server: &Server, ids: &[String], steps: &Mutex<Option<Steps>>) -> anyhow::Result<Vec<RecrawlResponse>> {
    screen::say(&format!("the server at {} crawls", server.url()));
    let each = ids.iter().map(|id| async move {
        let crawled = server.crawl(id).await;
        if let Some(steps) = &*steps.lock().unwrap_or_else(PoisonError::into_inner) {
            steps.done(id);
        }
        crawled
    });
    let mut crawled = futures::future::join_all(each).await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    crawled.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(crawled)
}

fn show(steps: &Steps, event: &CrawlEvent) {
    match event {
        CrawlEvent::Started { upstream, .. } => steps.began(upstream.as_str()),
        CrawlEvent::Ended(crawled) => {
            let id = crawled.upstream.as_str();
            let seconds = Duration::from_millis(crawled.took_ms).as_secs_f64();
            match &crawled.outcome {
                Outcome::Listed { n_tools, .. } => {
                    steps.told(id, &format!("  {id}: {} in {seconds:.1} s", screen::count(*n_tools, "tool")));
                }
                Outcome::Failed { reason, .. } => {
                    steps.told(id, &format!("  {id}: failed after {seconds:.1} s: {}", screen::clip(reason, 160)));
                }
                Outcome::Stopped => steps.done(id),
            }
        }
    }
}

/// Waits until every tool has its vector, with a bar.
pub(crate) async fn settle(app: &App) {
    let catch_up = {
        let index = Arc::clone(&app.index);
        move || index.wait_settled(Duration::from_millis(150))
    };
    tokio::task::block_in_place(|| app.catch_up());
    let progress = app.index.snapshot().progress().clone();
    let steps = Steps::new(progress.total, "embedding");
    loop {
        let wait = catch_up.clone();
        let is_settled = tokio::task::spawn_blocking(wait).await.unwrap_or(true);
        let progress = app.index.snapshot().progress().clone();
        steps.at(progress.embedded, progress.total);
        if is_settled {
            break;
        }
    }
    steps.end();
}

/// Tools named; the others are counted.
const N_NAMED: usize = 5;

/// Says which definitions wait for an approval, if any do.
fn tell_waiting(crawled: &[RecrawlResponse]) {
    let waiting: Vec<&str> = crawled.iter().flat_map(|one| one.waiting.iter().map(String::as_str)).collect();
    let Some(n_more) = waiting.len().checked_sub(1).map(|_| waiting.len().saturating_sub(N_NAMED)) else { return };
    let named = waiting.iter().take(N_NAMED).map(|id| screen::clip(id, 100)).collect::<Vec<_>>().join(", ");
    let more = if n_more > 0 { format!(" and {n_more} more") } else { String::new() };
    let (definitions, wait) = match waiting.len() {
        1 => ("1 definition", "waits"),
        _ => (&*screen::count(waiting.len(), "definition"), "wait"),
    };
    screen::say(&format!(
        "{definitions} {wait} for approval: {named}{more}; `toolscout tools approve` shows what changed"
    ));
}

fn print(crawled: &[RecrawlResponse]) -> std::io::Result<()> {
    let mut table = screen::table(&["upstream", "state", "tools", "new", "changed", "gone", ""]);
    let told = |one: &RecrawlResponse| {
        let withheld = (one.hostile > 0).then(|| format!("{} withheld for hostile text", one.hostile));
        let shown = (one.suspicious > 0).then(|| format!("{} with suspicious text, shown", one.suspicious));
        let parts = one.problem.iter().map(|problem| screen::clip(problem, 300)).chain(withheld).chain(shown);
        parts.collect::<Vec<_>>().join("; ")
    };
    for one in crawled {
        let numbers = [one.n_tools, one.added, one.changed, one.removed].map(|n| n.to_string());
        let mut cells = vec![one.id.clone(), one.state.clone()];
        cells.extend(numbers);
        cells.push(told(one));
        table.add_row(cells);
    }
    screen::print(&table, "no upstream is configured; `toolscout upstreams add NAME -- COMMAND` adds one")
}
