//! Wiring: store → catalog → index, pool → crawler → catalog, and the gateway's services on top.
//!
//! The two halves meet here and nowhere else: every new generation goes, on a thread of its own, from the catalog to the
//! index; a crawl on demand goes from the gateway to the crawler.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use toolscout_catalog::{Catalog, CatalogOptions, CatalogView, Origin, Overlays, Review};
use toolscout_core::time::Clock;
use toolscout_core::{Timestamp, UpstreamId};
use toolscout_crawler::{CrawlEvent, Crawled, Crawler, CrawlerDeps, CrawlerOptions, Outcome, ProgressFn};
use toolscout_embed::CrossEncoder;
use toolscout_gateway::wire::RecrawlResponse;
use toolscout_gateway::{
    CrossEncoding, Findability, GatewayOptions, Judge, Metrics, NoRecrawl, OpError, Parts, Recrawl, Reranker,
    SelectionLog, SelectionOptions, Services,
};
use toolscout_index::{DenseMode, IndexHost, IndexOptions};
use toolscout_quality::{Listing, Quality};
use toolscout_selector::SelectorOptions;
use toolscout_store::{Opened, Tree, TreeName, row};
use toolscout_upstream::{Era, EraCache, Pool, PoolOptions, UpstreamSpec};

use crate::config::Config;
use crate::config::settings::{DenseChoice, Settings};
use crate::model::{Loading, Model};
use crate::watch::Watch;

/// How a command uses what it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// It answers once: the model is loaded first, nothing is crawled by itself.
    Once,
    /// It serves: words answer at once, the model follows, upstreams are crawled on schedule.
    Serve,
}

/// Everything, open and wired.
pub(crate) struct App {
    /// For the gateway's faces and operations.
    pub(crate) services: Arc<Services>,
    /// What tools exist.
    pub(crate) catalog: Arc<Catalog>,
    /// Which are near.
    pub(crate) index: Arc<IndexHost>,
    /// The way to the upstreams.
    pub(crate) pool: Arc<Pool>,
    /// Keeps the catalog current.
    pub(crate) crawler: Crawler,
    /// Why answers rest on words alone, if a model was wanted.
    pub(crate) model_problem: Option<toolscout_embed::Error>,
    follower: Follower,
    /// Only of a server.
    watch: Option<Watch>,
    loading: Option<Loading>,
}

/// The system's clock.
pub(crate) fn clock() -> Clock {
    Arc::new(|| {
        #[expect(clippy::disallowed_methods, reason = "the one place that asks the system what time it is")]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    })
}

/// The folder of the store within the data folder.
pub(crate) fn store_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("store")
}

/// The folder of the indexes within the data folder.
pub(crate) fn index_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("index")
}

impl App {
    /// Opens everything on a store that was opened already. Blocks; call off the async threads, within a runtime.
    pub(crate) fn open(
        opened: Opened,
        config: &Config,
        specs: Vec<UpstreamSpec>,
        usage: Use,
        progress: Option<ProgressFn>,
    ) -> anyhow::Result<Self> {
        let settings = &config.settings;
        let Opened { store, damage } = opened;
        let clock = clock();
        // The model takes a fifth of a second and needs nothing of the rest.
        let load = || match usage {
            Use::Once => Model::load_now(settings),
            Use::Serve => Model::load_behind(settings),
        };
        let (catalog, model, second) = std::thread::scope(|scope| {
            let model = scope.spawn(load);
            let second = scope.spawn(|| second_stage(settings));
            let catalog = overlays(config)
                .and_then(|overlays| Ok(Catalog::open_with(&store, overlays, catalog_options(config))?));
            (catalog, model.join(), second.join())
        });
        let catalog = Arc::new(catalog.context("open the catalog")?);
        let model = model.map_err(|_| anyhow::anyhow!("loading the embedding model ended in a panic"))?;
        let second = second.map_err(|_| anyhow::anyhow!("setting up the second stage ended in a panic"))??;
        let index = IndexHost::open(index_options(config), &store, model.documents).context("open the index")?;
        let findability = Arc::<Findability>::default();
        let watch = match usage {
            Use::Once => None,
            Use::Serve => {
                Some(Watch::start(&index, model.queries.clone(), &findability).context("start the watching thread")?)
            }
        };
        let follower = Follower::start(&catalog, &index, watch.as_ref().map(Watch::waker))?;

        let eras = store.tree(TreeName::Eras).ok().map(|tree| Arc::new(Eras(tree)) as Arc<dyn EraCache>);
        let concurrency = usize::try_from(settings.crawl.concurrency).unwrap_or(4).max(1);
        // Any seed will do, as long as two servers on one machine do not knock at the same doors together.
        let seed = u64::from(std::process::id()) ^ clock().0;
        let pool = Pool::new(PoolOptions { eras, max_starts: concurrency, seed, ..PoolOptions::default() });
        pool.configure(specs);
        let options =
            CrawlerOptions { concurrency, default_ttl: settings.crawl.ttl, seed, ..CrawlerOptions::default() };
        let deps = CrawlerDeps {
            source: Arc::clone(&pool) as Arc<dyn toolscout_crawler::Source>,
            catalog: Arc::clone(&catalog),
            clock: Arc::clone(&clock),
            options,
            progress,
        };
        let metrics = Arc::new(Metrics::new(settings.metrics));
        let quality = Arc::new(Quality::open(&store, settings.quality.options()).context("open the quality rows")?);
        let progress = hearing(&quality, &clock, counting(&metrics, deps.progress.clone()));
        let deps = CrawlerDeps { progress: Some(progress), ..deps };
        let crawler = match usage {
            Use::Once => Crawler::on_demand(deps),
            Use::Serve => Crawler::start(deps),
        };
        let recrawl: Arc<dyn Recrawl> = match config.upstreams.is_empty() && usage == Use::Once {
            true => Arc::new(NoRecrawl),
            false => Arc::new(OnDemand {
                crawler: crawler.clone(),
                source: Arc::clone(&pool) as Arc<dyn toolscout_crawler::Source>,
                catalog: Arc::clone(&catalog),
            }),
        };
        let services = Services::new(Parts {
            catalog: Arc::clone(&catalog),
            index: Arc::clone(&index),
            embedder: model.queries,
            forward: Arc::clone(&pool) as Arc<dyn toolscout_gateway::Forward>,
            policy: Arc::new(settings.policy.clone()),
            quality,
            selections: Arc::new(
                SelectionLog::open(&store, selection_options(settings)).context("open the selections")?,
            ),
            clock,
            recrawl,
            damage: damage.as_ref().map(|damage| damage.reason.clone()),
            selector: SelectorOptions { quality: settings.quality.weight, ..SelectorOptions::default() },
            second,
            metrics,
            findability,
            options: gateway_options(settings),
        });
        let (model_problem, loading) = (model.problem, model.loading);
        Ok(Self { services, catalog, index, pool, crawler, model_problem, follower, watch, loading })
    }

    /// Drops upstreams from the catalog that are no longer configured. Imported ones were never configured and stay.
    pub(crate) fn forget_removed(&self, config: &Config, specs: &[UpstreamSpec]) -> anyhow::Result<Vec<UpstreamId>> {
        let is_known =
            |id: &UpstreamId| config.raw.iter().any(|raw| raw.id == *id) || specs.iter().any(|spec| spec.id == *id);
        let mut gone = Vec::new();
        for (id, row) in &self.catalog.view().upstreams {
            if row.origin == Origin::Crawled && !is_known(id) {
                self.catalog.forget(id)?;
                gone.push(id.clone());
            }
        }
        Ok(gone)
    }

    /// Waits until searches see the newest generation's words. Blocks.
    pub(crate) fn catch_up(&self) {
        self.follower.catch_up();
    }

    /// Stops crawling, closes connections, writes what waits. At most some seconds.
    pub(crate) async fn close(self) {
        self.crawler.stop().await;
        self.pool.shutdown().await;
        let finish = move || {
            self.follower.end();
            if let Some(watch) = self.watch {
                watch.end();
            }
            self.services.parts.selections.settle(Duration::from_secs(2));
            self.services.parts.quality.settle(Duration::from_secs(2));
            self.index.close();
            if let Some(loading) = self.loading {
                loading.wait();
            }
        };
        if tokio::task::spawn_blocking(finish).await.is_err() {
            tracing::warn!("closing ended early");
        }
    }
}

/// Counts what becomes of listings, on their way to whoever shows progress.
fn counting(metrics: &Arc<Metrics>, shown: Option<ProgressFn>) -> ProgressFn {
    let metrics = Arc::clone(metrics);
    Arc::new(move |event| {
        if let CrawlEvent::Ended(crawled) = event {
            let outcome = match &crawled.outcome {
                Outcome::Listed { .. } => "listed",
                Outcome::Failed { .. } => "failed",
                Outcome::Stopped => "stopped",
            };
            metrics.crawled(&crawled.upstream, outcome);
        }
        if let Some(shown) = &shown {
            shown(event);
        }
    })
}

/// Tells quality whether servers answered when they were listed, whoever asked: before anybody hears that the listing ended.
fn hearing(quality: &Arc<Quality>, clock: &Clock, next: ProgressFn) -> ProgressFn {
    let (quality, clock) = (Arc::clone(quality), Arc::clone(clock));
    Arc::new(move |event| {
        if let CrawlEvent::Ended(crawled) = event {
            let answered = match &crawled.outcome {
                Outcome::Listed { .. } => Some(true),
                Outcome::Failed { answered, .. } => Some(*answered),
                Outcome::Stopped => None,
            };
            if let Some(answered) = answered {
                let (upstream, took_ms, at) = (crawled.upstream.clone(), crawled.took_ms, clock());
                quality.listed(Listing { upstream, answered, took_ms, at });
            }
        }
        next(event);
    })
}

fn index_options(config: &Config) -> IndexOptions {
    let settings = &config.settings.index;
    let mut options = IndexOptions { dir: Some(index_dir(config.data_dir())), ..IndexOptions::default() };
    options.dense = match settings.dense {
        DenseChoice::Auto => DenseMode::Auto,
        DenseChoice::Exact => DenseMode::Exact,
        DenseChoice::Hnsw => DenseMode::Hnsw,
    };
    if let Some(n_tools) = settings.hnsw_from.and_then(|n| usize::try_from(n).ok()) {
        options.hnsw_from = n_tools;
    }
    options
}

fn selection_options(settings: &Settings) -> SelectionOptions {
    let max_count = usize::try_from(settings.search.keep).unwrap_or(usize::MAX);
    SelectionOptions { max_count, ..SelectionOptions::default() }
}

/// What becomes of hostile text, and how definitions come to be approved.
fn catalog_options(config: &Config) -> CatalogOptions {
    let settings = &config.settings.definitions;
    let own = config.raw.iter().filter_map(|raw| Some((raw.id.clone(), raw.trust?)));
    let (trust, by_upstream) = (settings.trust, own.collect());
    let review = Review { trust, by_upstream, auto_approve: settings.auto_approve };
    CatalogOptions { screening: config.settings.scan.clone(), review }
}

fn gateway_options(settings: &Settings) -> GatewayOptions {
    GatewayOptions {
        exposure: settings.search.expose,
        pinned: settings.search.pinned.clone(),
        keep_queries: settings.search.store_queries,
        confirm_from: settings.call.confirm_from,
        max_result_bytes: usize::try_from(settings.call.max_result_bytes).unwrap_or(usize::MAX),
        ..GatewayOptions::default()
    }
}

/// Who looks at the best candidates again, if anybody. A cross-encoder that cannot be loaded is named in the evidence, and
/// searches go on without it.
fn second_stage(settings: &Settings) -> anyhow::Result<Option<Arc<dyn Reranker>>> {
    if let Some(judge) = &settings.ranking.judge {
        return Ok(Some(Arc::new(Judge::new(judge.clone()).context("set up the judge's HTTP client")?)));
    }
    let Some(folder) = &settings.ranking.cross_encoder else { return Ok(None) };
    Ok(Some(match CrossEncoder::load(folder, &crate::model::options(settings)) {
        Ok(encoder) => Arc::new(CrossEncoding::new(encoder, settings.ranking.cross_encoder_deadline)),
        Err(error) => {
            let error = anyhow::Error::from(error);
            tracing::warn!(error = format!("{error:#}"), "the cross-encoder is not usable; the first order stands");
            let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            Arc::new(CrossEncoding::unusable(name))
        }
    }))
}

/// The cards that we ship, and those of the user's folder over them.
fn overlays(config: &Config) -> anyhow::Result<Overlays> {
    let builtin = Overlays::builtin();
    let Some(dir) = &config.settings.cards else { return Ok(builtin) };
    match Overlays::load(dir) {
        Ok(own) => Ok(builtin.merged(own)),
        Err(mistakes) => {
            let lines = mistakes.0.iter().map(|mistake| crate::config::Mistake {
                place: dir.join(&mistake.file).display().to_string(),
                line: None,
                key: mistake.key.clone(),
                what: mistake.problem.clone(),
                hint: None,
                is_unset: false,
            });
            Err(crate::config::Mistakes(lines.collect()).into())
        }
    }
}

/// Carries each new generation from the catalog to the index. Only the newest counts: a crawl of forty upstreams publishes
/// forty generations, and the index need not see each.
struct Follower {
    wanted: Arc<Wanted>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Wanted {
    state: Mutex<Wish>,
    changed: Condvar,
}

#[derive(Default)]
struct Wish {
    next: Option<Arc<CatalogView>>,
    is_busy: bool,
    is_over: bool,
}

impl Wanted {
    fn lock(&self) -> std::sync::MutexGuard<'_, Wish> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, wish: std::sync::MutexGuard<'a, Wish>) -> std::sync::MutexGuard<'a, Wish> {
        self.changed.wait(wish).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// `applied` is called after each generation that the index has taken.
    fn start(
        catalog: &Catalog,
        index: &Arc<IndexHost>,
        applied: Option<impl Fn() + Send + 'static>,
    ) -> anyhow::Result<Self> {
        let wanted = Arc::new(Wanted::default());
        let wisher = Arc::clone(&wanted);
        catalog.subscribe(Box::new(move |change| {
            wisher.lock().next = Some(Arc::clone(&change.view));
            wisher.changed.notify_all();
        }));
        // Subscribed first: a generation that comes now is not lost.
        wanted.lock().next.get_or_insert_with(|| catalog.view());
        let (work, index) = (Arc::clone(&wanted), Arc::clone(index));
        let thread = std::thread::Builder::new().name("follower".to_owned());
        let thread = thread.spawn(move || follow(&work, &index, applied)).context("start the indexing thread")?;
        Ok(Self { wanted, thread: Some(thread) })
    }

    fn catch_up(&self) {
        let mut wish = self.wanted.lock();
        while (wish.next.is_some() || wish.is_busy) && !wish.is_over {
            wish = self.wanted.wait(wish);
        }
    }

    fn end(mut self) {
        self.wanted.lock().is_over = true;
        self.wanted.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn follow(wanted: &Wanted, index: &IndexHost, heard: Option<impl Fn()>) {
    loop {
        let mut wish = wanted.lock();
        wish.is_busy = false;
        wanted.changed.notify_all();
        let view = loop {
            if wish.is_over {
                return;
            }
            if let Some(view) = wish.next.take() {
                break view;
            }
            wish = wanted.wait(wish);
        };
        wish.is_busy = true;
        drop(wish);
        let generation = view.generation;
        // The index is derived: what fails now is made good by the next generation or the next start.
        let applied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| index.apply(&view)));
        // A panic must not leave commands waiting for this thread for ever.
        let Ok(applied) = applied else {
            tracing::error!(generation = generation.0, "generation not indexed: indexing panicked");
            continue;
        };
        match applied {
            Ok(()) => {
                tracing::debug!(generation = generation.0, n_tools = view.len(), "generation indexed");
                if let Some(heard) = &heard {
                    heard();
                }
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::error!(error = format!("{error:#}"), generation = generation.0, "generation not indexed");
            }
        }
    }
}

/// Remembers in the store which era a server speaks.
struct Eras(Tree);

const ERA_VERSION: u8 = 1;

impl EraCache for Eras {
    fn get(&self, key: &str) -> Option<Era> {
        row::decode(&self.0.get(key.as_bytes()).ok()??, ERA_VERSION).ok()
    }

    fn put(&self, key: &str, era: Era) {
        if let Err(error) = self.0.put(key.as_bytes(), row::encode(ERA_VERSION, &era)) {
            tracing::debug!(%error, "era not remembered");
        }
    }
}

/// Crawls when the gateway asks.
struct OnDemand {
    crawler: Crawler,
    source: Arc<dyn toolscout_crawler::Source>,
    catalog: Arc<Catalog>,
}

impl Recrawl for OnDemand {
    fn recrawl(
        &self,
        upstream: UpstreamId,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<RecrawlResponse, OpError>> + Send + '_>> {
        Box::pin(async move {
            // The crawler would call one that is not configured unreachable.
            let crawled = match self.source.ids().contains(&upstream) {
                true => {
                    let report = self.crawler.crawl(Some(upstream.clone())).await;
                    report.upstreams.into_iter().find(|crawled| crawled.upstream == upstream)
                }
                false => None,
            };
            let Some(crawled) = crawled else {
                let view = self.catalog.view();
                let nearest = view.upstreams.keys().map(ToString::to_string).take(5).collect();
                return Err(OpError::UnknownUpstream { id: upstream.to_string(), nearest });
            };
            Ok(recrawl_response(crawled))
        })
    }
}

/// A crawl's end as the gateway tells it.
pub(crate) fn recrawl_response(crawled: Crawled) -> RecrawlResponse {
    let id = crawled.upstream.to_string();
    match crawled.outcome {
        Outcome::Listed {
            n_tools, added, changed, removed, waiting, skipped, truncated, hostile, suspicious, ..
        } => {
            let waiting = waiting.iter().map(ToString::to_string).collect();
            let unusable = (!skipped.is_empty()).then(|| format!("{} tools could not be taken", skipped.len()));
            let problem = truncated.or(unusable);
            let state = "ready".to_owned();
            RecrawlResponse { id, n_tools, added, changed, removed, waiting, hostile, suspicious, state, problem }
        }
        Outcome::Failed { state, reason, hint, n_tools, .. } => {
            let problem = Some(hint.map_or(reason.clone(), |hint| format!("{reason} ({hint})")));
            let (added, changed, removed, waiting, hostile, suspicious) = (0, 0, 0, Vec::new(), 0, 0);
            let state = state.as_str().to_owned();
            RecrawlResponse { id, n_tools, added, changed, removed, waiting, hostile, suspicious, state, problem }
        }
        Outcome::Stopped => RecrawlResponse {
            id,
            n_tools: 0,
            added: 0,
            changed: 0,
            removed: 0,
            hostile: 0,
            suspicious: 0,
            waiting: Vec::new(),
            state: "stale".to_owned(),
            problem: Some("the crawler was stopped".to_owned()),
        },
    }
}
