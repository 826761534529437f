//! The schedule.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use toolscout_catalog::{Catalog, Origin, UpstreamState};
use toolscout_core::UpstreamId;
use toolscout_core::time::Clock;
use toolscout_upstream::{Error, UpstreamEvent};

use crate::job::{Ended, Job};
use crate::{CrawlEvent, CrawlReport, Crawled, CrawlerOptions, Outcome, ProgressFn, Reason, Source};

/// What a crawler needs.
#[derive(Clone)]
pub struct CrawlerDeps {
    /// Where listings come from; the [`Pool`](toolscout_upstream::Pool).
    pub source: Arc<dyn Source>,
    /// Where they go.
    pub catalog: Arc<Catalog>,
    /// The time that goes into the catalog's rows.
    pub clock: Clock,
    /// How to behave.
    pub options: CrawlerOptions,
    /// Told about every step, if anyone wants to know.
    pub progress: Option<ProgressFn>,
}

/// Keeps the catalog current. Cheap to clone; the schedule ends with [`Crawler::stop`] or the last clone.
#[derive(Clone)]
pub struct Crawler {
    commands: mpsc::UnboundedSender<Command>,
    stop: Arc<DropGuard>,
    /// Closed when the schedule has ended.
    ended: watch::Receiver<()>,
}

enum Command {
    Crawl { which: Option<UpstreamId>, reply: oneshot::Sender<Vec<oneshot::Receiver<Crawled>>> },
    Reconfigured,
}

/// Whether the crawler works by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Scheduled,
    OnDemand,
}

impl Crawler {
    /// Starts the schedule: every upstream is listed soon, and crawled upstreams that the configuration no longer has are
    /// forgotten. Needs a tokio runtime.
    pub fn start(deps: CrawlerDeps) -> Self {
        Self::spawn(deps, Mode::Scheduled)
    }

    /// A crawler that only works when asked, and forgets nothing: for one-shot commands. Needs a tokio runtime.
    pub fn on_demand(deps: CrawlerDeps) -> Self {
        Self::spawn(deps, Mode::OnDemand)
    }

    /// Lists one upstream, or all, now, whatever their waits; returns when each has ended. A listing that runs already is
    /// waited for and counts, unless its upstream announced a change since it began: then the next one does.
    pub async fn crawl(&self, which: Option<UpstreamId>) -> CrawlReport {
        let (reply, answer) = oneshot::channel();
        let asked = self.commands.send(Command::Crawl { which: which.clone(), reply });
        let pending = if asked.is_ok() { answer.await.unwrap_or_default() } else { Vec::new() };
        let mut upstreams = Vec::new();
        for ended in pending {
            // A schedule that ends answers everyone first, so a lost sender is a stop in the middle of asking.
            if let Ok(crawled) = ended.await {
                upstreams.push(crawled);
            }
        }
        if let (Some(upstream), true) = (which, upstreams.is_empty()) {
            upstreams.push(Crawled { upstream, took_ms: 0, outcome: Outcome::Stopped });
        }
        upstreams.sort_by(|a, b| a.upstream.cmp(&b.upstream));
        CrawlReport { upstreams }
    }

    /// The source's configuration changed: every upstream is listed soon, those that are gone are forgotten.
    pub fn reconfigured(&self) {
        // Without a schedule there is nobody left to tell.
        let _ = self.commands.send(Command::Reconfigured);
    }

    /// Stops the schedule. Listings under way are given up; one that is being written to the catalog is waited for.
    pub async fn stop(&self) {
        self.stop.token().cancel();
        let mut ended = self.ended.clone();
        // An error means that the schedule dropped its end: it is over.
        while ended.changed().await.is_ok() {}
    }

    fn spawn(deps: CrawlerDeps, mode: Mode) -> Self {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (alive, ended) = watch::channel(());
        let token = CancellationToken::new();
        let schedule = Schedule {
            events: Some(deps.source.events()),
            chance: StdRng::seed_from_u64(deps.options.seed),
            plans: BTreeMap::new(),
            jobs: JoinSet::new(),
            stop: token.clone(),
            mode,
            deps,
        };
        tokio::spawn(async move {
            schedule.run(inbox).await;
            drop(alive);
        });
        Self { commands, stop: Arc::new(token.drop_guard()), ended }
    }
}

/// What is planned for one upstream.
struct Plan {
    /// When it is listed next; `None`: only when asked.
    due: Option<Instant>,
    reason: Reason,
    /// Set while it is being listed.
    running: Option<CancellationToken>,
    /// It has to be listed again as soon as this listing ends.
    again: Option<Reason>,
    /// Who waits for the listing under way, and who for the next.
    waiting: Vec<oneshot::Sender<Crawled>>,
    waiting_for_next: Vec<oneshot::Sender<Crawled>>,
    failures: u32,
    /// What the last listing failed with; none when it went well.
    failing: Option<UpstreamState>,
    /// Announced changes in a row that came soon after each other. An upstream that announces all the time is
    /// listed less and less often.
    restless: u32,
    last_announced: Option<Instant>,
}

impl Plan {
    fn new(due: Option<Instant>) -> Self {
        Self {
            due,
            reason: Reason::Start,
            running: None,
            again: None,
            waiting: Vec::new(),
            waiting_for_next: Vec::new(),
            failures: 0,
            failing: None,
            restless: 0,
            last_announced: None,
        }
    }

    /// Moves the next listing forward to `due`; never back.
    fn hurry(&mut self, due: Instant, reason: Reason) {
        let sooner = self.due.is_none_or(|planned| due < planned);
        if sooner {
            (self.due, self.reason) = (Some(due), reason);
        }
    }
}

struct Schedule {
    deps: CrawlerDeps,
    mode: Mode,
    plans: BTreeMap<UpstreamId, Plan>,
    jobs: JoinSet<Ended>,
    events: Option<broadcast::Receiver<UpstreamEvent>>,
    chance: StdRng,
    stop: CancellationToken,
}

/// What wakes the schedule.
enum Wake {
    Stop,
    Command(Option<Command>),
    Event(Result<UpstreamEvent, broadcast::error::RecvError>),
    Ended(Ended),
    Due,
}

impl Schedule {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        if self.mode == Mode::Scheduled {
            self.reconfigure().await;
        }
        loop {
            self.start_due();
            let due = self.next_due();
            let event = async {
                match &mut self.events {
                    Some(events) => events.recv().await,
                    None => std::future::pending().await,
                }
            };
            let wake = tokio::select! {
                biased;
                () = self.stop.cancelled() => Wake::Stop,
                Some(ended) = self.jobs.join_next() => match ended {
                    Ok(ended) => Wake::Ended(ended),
                    // Jobs catch their panics and are never aborted.
                    Err(error) => { tracing::error!(%error, "a listing broke off"); continue }
                },
                command = inbox.recv() => Wake::Command(command),
                event = event => Wake::Event(event),
                () = sleep_until(due) => Wake::Due,
            };
            match wake {
                Wake::Stop | Wake::Command(None) => break,
                Wake::Command(Some(Command::Crawl { which, reply })) => {
                    // Nobody listening any more is nobody to answer.
                    let _ = reply.send(self.demand(which));
                }
                Wake::Command(Some(Command::Reconfigured)) => self.reconfigure().await,
                Wake::Event(Ok(UpstreamEvent::ToolsChanged { upstream })) => self.announced(&upstream),
                // The next request connects anew; nothing says that the tools changed.
                Wake::Event(Ok(UpstreamEvent::Closed { .. })) | Wake::Due => {}
                Wake::Event(Err(broadcast::error::RecvError::Lagged(_))) => {
                    let all: Vec<UpstreamId> = self.plans.keys().cloned().collect();
                    all.iter().for_each(|upstream| self.announced(upstream));
                }
                Wake::Event(Err(broadcast::error::RecvError::Closed)) => self.events = None,
                Wake::Ended(ended) => self.ended(ended).await,
            }
        }
        self.wind_up(inbox).await;
    }

    /// Gives up what runs, waits for what is being written, answers everyone.
    async fn wind_up(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        self.stop.cancel();
        inbox.close();
        while let Some(ended) = self.jobs.join_next().await {
            if let Ok(ended) = ended {
                self.ended(ended).await;
            }
        }
        for (upstream, plan) in self.plans {
            for waiter in plan.waiting.into_iter().chain(plan.waiting_for_next) {
                let _ = waiter.send(Crawled { upstream: upstream.clone(), took_ms: 0, outcome: Outcome::Stopped });
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let has_room = self.jobs.len() < self.deps.options.concurrency.max(1);
        let idle = self.plans.values().filter(|plan| plan.running.is_none());
        if has_room { idle.filter_map(|plan| plan.due).min() } else { None }
    }

    /// Starts what is due, as far as there is room: who was asked for first, then by time and id.
    fn start_due(&mut self) {
        let now = Instant::now();
        let room = self.deps.options.concurrency.max(1).saturating_sub(self.jobs.len());
        let is_due = |plan: &Plan| plan.running.is_none() && plan.due.is_some_and(|due| due <= now);
        let mut due: Vec<(bool, Instant, UpstreamId)> = self
            .plans
            .iter()
            .filter(|(_, plan)| is_due(plan))
            .map(|(id, plan)| (plan.reason != Reason::Demand, plan.due.unwrap_or(now), id.clone()))
            .collect();
        due.sort();
        for (_, _, upstream) in due.into_iter().take(room) {
            let Some(plan) = self.plans.get_mut(&upstream) else { continue };
            let cancel = self.stop.child_token();
            plan.running = Some(cancel.clone());
            plan.due = None;
            plan.waiting.append(&mut plan.waiting_for_next);
            let reason = plan.reason;
            tell(self.deps.progress.as_ref(), &CrawlEvent::Started { upstream: upstream.clone(), reason });
            let job = Job {
                source: self.deps.source.clone(),
                catalog: self.deps.catalog.clone(),
                clock: self.deps.clock.clone(),
                deadline: self.deps.options.deadline,
                upstream,
                cancel,
                told: plan.failing,
            };
            self.jobs.spawn(job.run());
        }
    }

    /// Somebody asks for one upstream, or all.
    fn demand(&mut self, which: Option<UpstreamId>) -> Vec<oneshot::Receiver<Crawled>> {
        let configured = self.deps.source.ids();
        let now = Instant::now();
        let asked = which.map_or(configured.clone(), |upstream| vec![upstream]);
        let mut pending = Vec::new();
        for upstream in asked {
            let (waiter, ended) = oneshot::channel();
            pending.push(ended);
            if !configured.contains(&upstream) {
                let error = Error::UnknownUpstream { upstream: upstream.clone() };
                let (reason, hint) = (error.to_string(), error.hint());
                let state = UpstreamState::Unreachable;
                let outcome = Outcome::Failed { state, reason, hint, n_tools: 0, answered: false };
                let _ = waiter.send(Crawled { upstream, took_ms: 0, outcome });
                continue;
            }
            let plan = self.plans.entry(upstream).or_insert_with(|| Plan::new(None));
            if plan.running.is_some() && plan.again.is_none() {
                plan.waiting.push(waiter);
            } else {
                plan.waiting_for_next.push(waiter);
                (plan.due, plan.reason) = (Some(now), Reason::Demand);
            }
        }
        pending
    }

    /// An upstream says that its tools changed.
    fn announced(&mut self, upstream: &UpstreamId) {
        if self.mode == Mode::OnDemand {
            return;
        }
        let CrawlerOptions { settle, default_ttl, .. } = self.deps.options;
        let now = Instant::now();
        let Some(plan) = self.plans.get_mut(upstream) else { return };
        if plan.running.is_some() {
            plan.again = Some(Reason::Changed);
            return;
        }
        let quiet_for = plan.last_announced.map(|last| now - last);
        if quiet_for.is_none_or(|quiet| quiet > default_ttl) {
            plan.restless = 0;
        }
        plan.last_announced = Some(now);
        plan.hurry(now + doubled(settle, plan.restless, default_ttl), Reason::Changed);
    }

    async fn ended(&mut self, Ended { upstream, crawled, retry_after, ttl }: Ended) {
        let options = self.deps.options.clone();
        let now = Instant::now();
        let chance = &mut self.chance;
        let mut spread = |wait: Duration| {
            let jitter = options.jitter.clamp(0.0, 1.0);
            wait.mul_f64(1.0 - jitter + 2.0 * jitter * chance.random::<f64>())
        };
        let Some(plan) = self.plans.get_mut(&upstream) else {
            // Taken out of the configuration while it was listed.
            tell(self.deps.progress.as_ref(), &CrawlEvent::Ended(crawled));
            forget(&self.deps.catalog, upstream).await;
            return;
        };
        plan.running = None;
        let was_announced = plan.reason == Reason::Changed;
        match &crawled.outcome {
            Outcome::Listed { .. } => {
                (plan.failures, plan.failing) = (0, None);
                let wait = ttl.unwrap_or(options.default_ttl).clamp(options.min_ttl, options.max_ttl);
                (plan.due, plan.reason) = (Some(now + spread(wait)), Reason::Expired);
            }
            Outcome::Failed { state, .. } => {
                plan.failing = Some(*state);
                let wait = doubled(options.first_retry, plan.failures, options.max_retry);
                plan.failures = plan.failures.saturating_add(1);
                let wait = spread(wait).max(retry_after.unwrap_or_default());
                (plan.due, plan.reason) = (Some(now + wait), Reason::Retry);
            }
            Outcome::Stopped => plan.due = None,
        }
        if was_announced {
            plan.restless = plan.restless.saturating_add(1);
        }
        if let Some(reason) = plan.again.take() {
            plan.last_announced = Some(now);
            plan.hurry(now + doubled(options.settle, plan.restless, options.default_ttl), reason);
        }
        if self.mode == Mode::OnDemand {
            plan.due = None;
        }
        if !plan.waiting_for_next.is_empty() {
            (plan.due, plan.reason) = (Some(now), Reason::Demand);
        }
        // Who waits finds whoever is told by then.
        tell(self.deps.progress.as_ref(), &CrawlEvent::Ended(crawled.clone()));
        for waiter in plan.waiting.drain(..) {
            let _ = waiter.send(crawled.clone());
        }
    }

    /// Plans for what is configured now, no plans for what is not.
    async fn reconfigure(&mut self) {
        let configured = self.deps.source.ids();
        let now = Instant::now();
        for upstream in &configured {
            let plan = self.plans.entry(upstream.clone()).or_insert_with(|| Plan::new(Some(now)));
            match plan.running {
                Some(_) => plan.again = Some(Reason::Start),
                None => plan.hurry(now, Reason::Start),
            }
        }
        let view = self.deps.catalog.view();
        let crawled = view.upstreams.values().filter(|row| row.origin == Origin::Crawled).map(|row| row.id.clone());
        let gone: Vec<UpstreamId> =
            self.plans.keys().cloned().chain(crawled).filter(|id| !configured.contains(id)).collect();
        for upstream in gone {
            if let Some(plan) = self.plans.remove(&upstream) {
                if let Some(running) = plan.running {
                    running.cancel();
                }
                for waiter in plan.waiting.into_iter().chain(plan.waiting_for_next) {
                    let _ = waiter.send(Crawled { upstream: upstream.clone(), took_ms: 0, outcome: Outcome::Stopped });
                }
            }
            forget(&self.deps.catalog, upstream).await;
        }
    }
}

async fn forget(catalog: &Arc<Catalog>, upstream: UpstreamId) {
    let catalog = catalog.clone();
    let forgotten = crate::job::off_async(move || catalog.forget(&upstream).map(drop)).await;
    if let Some(Err(error)) = forgotten {
        tracing::warn!(%error, "an upstream could not be forgotten");
    }
}

/// `first` doubled `n` times, at most `max`.
fn doubled(first: Duration, n: u32, max: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(n.min(30))).min(max)
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn tell(progress: Option<&ProgressFn>, event: &CrawlEvent) {
    if let Some(progress) = progress {
        progress(event);
    }
}
