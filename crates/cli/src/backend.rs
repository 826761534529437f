//! Who answers: this process on the opened data folder, or the server that holds it.
//!
//! Both speak the gateway's wire types, so that a command prints the same whoever answered.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toolscout_core::{Caller, CallerClass, Secret};
use toolscout_crawler::ProgressFn;
use toolscout_gateway::OpError;
use toolscout_gateway::ops::{self, ToolsQuery};
use toolscout_gateway::wire::{
    ApproveRequest, ApproveResponse, CallRequest, CallResponse, DecisionRequest, DecisionResponse, DetailsResponse,
    ExplainRequest, ExplainResponse, Problem, ProblemBody, QualityList, Readiness, RecrawlResponse, SearchRequest,
    SearchResponse, ToolDetails, ToolPage, UnknownTool, UpstreamList,
};
use toolscout_quality::Verdict;
use toolscout_store::{Opened, Store};

use crate::app::{App, Use, store_dir};
use crate::config::Config;
use crate::fail::{Exit, told};
use crate::{http, screen};

/// Largest answer we take from a server of ours: 30,000 tools in pages stay far below.
const MAX_ANSWER: usize = 64 << 20;

/// How long a command that answers once waits for the vectors in the store; some 100 ms for 30,000 tools.
const STORED_VECTORS: Duration = Duration::from_secs(10);

/// Who answers.
pub(crate) enum Backend {
    /// This process.
    Here(Box<App>),
    /// A running server.
    Server(Server),
}

impl Backend {
    /// Opens the data folder, or finds the server that has it.
    pub(crate) async fn open(config: &Config) -> anyhow::Result<Self> {
        Self::open_with(config, None).await
    }

    /// The same, with somebody who is told about every step of a crawl in this process.
    pub(crate) async fn open_with(config: &Config, progress: Option<ProgressFn>) -> anyhow::Result<Self> {
        match hold(config).await? {
            Held::Here(opened) => Ok(Self::Here(Box::new(open_here(opened, config, progress).await?))),
            Held::ByServer(server) => Ok(Self::Server(server)),
        }
    }

    /// Finds tools.
    pub(crate) async fn search(&self, request: SearchRequest) -> anyhow::Result<SearchResponse> {
        match self {
            Self::Here(app) => ops::search(&app.services, &me(), request).await.map_err(failed),
            Self::Server(server) => server.post(&["v1", "search"], &request).await,
        }
    }

    /// Says why.
    pub(crate) async fn explain(&self, request: ExplainRequest) -> anyhow::Result<ExplainResponse> {
        match self {
            Self::Here(app) => ops::explain(&app.services, &me(), request).await.map_err(failed),
            Self::Server(server) => {
                let query: Vec<_> = request.tool.iter().map(|tool| ("tool", tool.clone())).collect();
                server.get(&["v1", "selections", &request.selection_id], &query).await
            }
        }
    }

    /// Everything about some tools.
    pub(crate) async fn details(&self, ids: &[String]) -> anyhow::Result<DetailsResponse> {
        let mut answer = DetailsResponse { tools: Vec::new(), unknown: Vec::new() };
        for id in ids {
            match self.tool(id).await {
                Ok(tool) => answer.tools.push(tool),
                Err(error) => match error.downcast_ref::<Refused>() {
                    Some(refused) if refused.problem.code == "unknown_tool" => {
                        answer.unknown.push(refused.unknown_tool(id));
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(answer)
    }

    /// Everything about one tool, also what waits for an approval.
    pub(crate) async fn tool(&self, id: &str) -> anyhow::Result<ToolDetails> {
        match self {
            Self::Here(app) => ops::tool(&app.services, &me(), id).await.map_err(failed),
            Self::Server(server) => server.get(&["v1", "tools", id], &[]).await,
        }
    }

    /// Approves the definition that waits of a tool, if it is the one that was looked at.
    pub(crate) async fn approve(&self, id: &str, hash: &str) -> anyhow::Result<ApproveResponse> {
        let request = ApproveRequest { hash: hash.to_owned() };
        match self {
            Self::Here(app) => ops::approve(&app.services, &me(), id, request).await.map_err(failed),
            Self::Server(server) => server.post(&["v1", "tools", id, "approve"], &request).await,
        }
    }

    /// Calls a tool.
    pub(crate) async fn call(&self, request: CallRequest) -> anyhow::Result<CallResponse> {
        match self {
            Self::Here(app) => ops::call(&app.services, &me(), request, by_hand()).await.map_err(failed),
            Self::Server(server) => server.post(&["v1", "tools", &request.id, "call"], &request).await,
        }
    }

    /// One page of the tools.
    pub(crate) async fn tools(&self, query: &ToolsQuery) -> anyhow::Result<ToolPage> {
        match self {
            Self::Here(app) => ops::tools(&app.services, &me(), query).map_err(failed),
            Self::Server(server) => {
                let mut pairs = Vec::new();
                pairs.extend(query.upstream.clone().map(|upstream| ("upstream", upstream)));
                pairs.extend(query.after.clone().map(|after| ("after", after)));
                pairs.extend(query.limit.map(|limit| ("limit", limit.to_string())));
                pairs.extend(query.waiting.map(|waiting| ("waiting", waiting.to_string())));
                server.get(&["v1", "tools"], &pairs).await
            }
        }
    }

    /// The state of every upstream.
    pub(crate) async fn upstreams(&self) -> anyhow::Result<UpstreamList> {
        match self {
            Self::Here(app) => Ok(ops::upstreams(&app.services, &me())),
            Self::Server(server) => server.get(&["v1", "upstreams"], &[]).await,
        }
    }

    /// How calls went.
    pub(crate) async fn quality(&self) -> anyhow::Result<QualityList> {
        match self {
            Self::Here(app) => Ok(ops::quality(&app.services, &me())),
            Self::Server(server) => server.get(&["v1", "quality"], &[]).await,
        }
    }

    /// Puts a tool aside, or takes it back.
    pub(crate) async fn decide(
        &self,
        id: &str,
        verdict: Verdict,
        request: DecisionRequest,
    ) -> anyhow::Result<DecisionResponse> {
        match self {
            Self::Here(app) => ops::decide_quality(&app.services, &me(), id, verdict, request).await.map_err(failed),
            Self::Server(server) => {
                let verb = match verdict {
                    Verdict::Quarantine => "quarantine",
                    Verdict::Release => "release",
                };
                server.post(&["v1", "tools", id, verb], &request).await
            }
        }
    }

    /// Whether it can answer, and how well.
    pub(crate) async fn readiness(&self) -> anyhow::Result<Readiness> {
        match self {
            Self::Here(app) => Ok(ops::readiness(&app.services, Some(&me()))),
            Self::Server(server) => server.get(&["readyz"], &[]).await,
        }
    }

    /// Closes what was opened.
    pub(crate) async fn close(self) {
        match self {
            Self::Here(app) => app.close().await,
            Self::Server(_) => {}
        }
    }
}

/// Makes a data folder that is not there yet for its owner alone: what people searched for is nobody else's business.
/// When it fails, opening the store says so better.
fn make_private(dir: &Path) {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    if !dir.exists() {
        let _ = builder.create(dir);
    }
}

/// Who holds the store.
pub(crate) enum Held {
    /// We do, from now on.
    Here(Opened),
    /// A server that answers.
    ByServer(Server),
}

/// How long a store that nobody answers for is waited for: another command of ours ends soon, and so does a server that
/// was told to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes the store, or finds the server that has it.
pub(crate) async fn hold(config: &Config) -> anyhow::Result<Held> {
    let dir = store_dir(config.data_dir());
    make_private(config.data_dir());
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let busy = match Store::open(&dir) {
            Ok(opened) => return Ok(Held::Here(opened)),
            Err(busy @ toolscout_store::Error::Busy { .. }) => busy,
            Err(error) => return Err(error.into()),
        };
        match Server::find(config).await {
            Ok(server) => return Ok(Held::ByServer(server)),
            Err(error) if tokio::time::Instant::now() >= until => return Err(error.context(busy)),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn open_here(opened: Opened, config: &Config, progress: Option<ProgressFn>) -> anyhow::Result<App> {
    if let Some(damage) = &opened.damage {
        screen::say(&format!("warning: the store was damaged ({}); see `toolscout doctor`", damage.reason));
    }
    let config = config.clone();
    // Opening reads the disk and the model; the pool wants the runtime around it, which blocking threads have.
    let open = move || {
        let specs = config.upstreams.clone();
        let app = App::open(opened, &config, specs, Use::Once, progress)?;
        app.catch_up();
        app.index.wait_loaded(STORED_VECTORS);
        anyhow::Ok(app)
    };
    let app = tokio::task::spawn_blocking(open).await.context("opening ended early")??;
    if let Some(problem) = &app.model_problem {
        screen::say(&format!("warning: answering from words alone: {}", chain(problem)));
    }
    Ok(app)
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

fn by_hand() -> ops::Conditions {
    ops::Conditions { class: CallerClass::Operator, ..ops::Conditions::default() }
}

fn me() -> Caller {
    Caller::local("toolscout")
}

/// A gateway's refusal, as the person at the terminal gets it.
fn failed(error: OpError) -> anyhow::Error {
    let problem = error.problem("").error;
    Refused { problem, source: Some(Box::new(error)) }.into()
}

/// What a gateway refused, here or over HTTP, with the exit code that fits.
#[derive(Debug, thiserror::Error)]
#[error("{}", problem.message)]
pub(crate) struct Refused {
    /// What it said.
    pub(crate) problem: ProblemBody,
    /// The error itself, when it happened in this process.
    #[source]
    source: Option<Box<OpError>>,
}

impl Refused {
    /// The exit code that fits.
    pub(crate) fn exit(&self) -> Exit {
        match self.problem.code.as_str() {
            "bad_request" | "invalid_arguments" | "bad_request_state" => Exit::Usage,
            "unknown_tool" | "unknown_selection" | "unknown_upstream" => Exit::NoMatch,
            "not_permitted" | "needs_confirmation" | "unauthorized" | "forbidden" => Exit::NotPermitted,
            "quarantined" | "read_only" | "hostile_text" | "changed_definition" | "not_approved" => Exit::NotPermitted,
            code if code.starts_with("upstream_") => Exit::Upstream,
            _ => Exit::Failed,
        }
    }

    /// What to do.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = self.problem.hint.as_deref()?;
        // The gateway speaks to models; people have commands.
        let hint =
            hint.replace("the operator can approve the definition", "`toolscout tools approve` shows what waits");
        Some(hint.replace("search_tools", "`toolscout search`").replace("\"confirm\": true", "--confirm"))
    }

    /// Lines of details: argument faults, mistakes in fields.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Some(details) = &self.problem.details else { return Vec::new() };
        let mut lines = Vec::new();
        for list in ["faults", "mistakes"].iter().filter_map(|key| details.get(key)?.as_array()) {
            for fault in list {
                let text = |key: &str| fault.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
                let place = if text("path").is_empty() { text("field") } else { text("path") };
                let colon = if place.is_empty() { "" } else { ": " };
                lines.push(screen::clip(&format!("{place}{colon}{}", text("message")), 300));
            }
        }
        lines
    }

    fn unknown_tool(&self, id: &str) -> UnknownTool {
        let nearest = self.problem.details.as_ref().and_then(|details| details.get("nearest"));
        let nearest = nearest.and_then(|nearest| Vec::deserialize(nearest).ok()).unwrap_or_default();
        UnknownTool { id: id.to_owned(), nearest }
    }
}

/// The file that says where the server of a data folder listens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServerFile {
    /// Its address, `http://127.0.0.1:7411`.
    pub(crate) url: String,
    /// Its process.
    pub(crate) pid: u32,
    /// Its version.
    pub(crate) version: String,
    /// A token made for this run, which only the file's owner can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
}

impl ServerFile {
    /// Where it lies.
    pub(crate) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("server.json")
    }

    /// Reads it.
    pub(crate) fn read(data_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path(data_dir)).ok()?).ok()
    }
}

/// A running server of ours.
pub(crate) struct Server {
    client: reqwest::Client,
    base: reqwest::Url,
    token: Option<Secret>,
}

impl Server {
    /// The server that holds this data folder, if it answers.
    pub(crate) async fn find(config: &Config) -> anyhow::Result<Self> {
        let path = ServerFile::path(config.data_dir());
        let hint = "wait until the other toolscout command has ended, or choose another folder with --data";
        let Some(file) = ServerFile::read(config.data_dir()) else {
            let message = format!("no server tells its address in {}", path.display());
            return Err(told(Exit::Failed, message, Some(hint.to_owned())));
        };
        let base = file.url.parse().with_context(|| format!("read {}", path.display()))?;
        let token = file.token.map(Secret::new).or_else(|| config.settings.server.token.clone());
        let server = Self { client: http::client(Duration::from_secs(600))?, base, token };
        match tokio::time::timeout(Duration::from_secs(5), server.is_ours()).await {
            Ok(true) => Ok(server),
            // The file outlived its server, and somebody else may have the port by now.
            Ok(false) => {
                Err(told(Exit::Failed, format!("no server of ours answers at {}", file.url), Some(hint.to_owned())))
            }
            Err(_) => Err(told(Exit::Failed, format!("the server at {} does not answer", file.url), None)),
        }
    }

    /// Whether a toolscout answers there. Asked without the token: it is not for a stranger.
    async fn is_ours(&self) -> bool {
        let Ok(url) = self.base.join("/healthz") else { return false };
        let Ok(response) = self.client.get(url).send().await else { return false };
        let Ok(body) = http::read_capped(response, 4096).await else { return false };
        serde_json::from_slice::<serde_json::Value>(&body).is_ok_and(|health| health["status"] == "ok")
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> anyhow::Result<T> {
        let body = self.send(Method::GET, path, query, None).await?;
        serde_json::from_slice(&body).context("the server's answer is not what this version expects")
    }

    async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> anyhow::Result<T> {
        let body = self.send(Method::POST, path, &[], Some(serde_json::to_vec(body)?)).await?;
        serde_json::from_slice(&body).context("the server's answer is not what this version expects")
    }

    /// Crawls one upstream.
    pub(crate) async fn crawl(&self, upstream: &str) -> anyhow::Result<RecrawlResponse> {
        let empty = serde_json::Map::new();
        self.post(&["v1", "upstreams", upstream, "crawl"], &empty).await
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<Vec<u8>>,
    ) -> anyhow::Result<Vec<u8>> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(path);
        }
        for (name, value) in query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut request = self.client.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await.map_err(reqwest::Error::without_url).context("ask the running server")?;
        let status = response.status();
        let body = http::read_capped(response, MAX_ANSWER).await?;
        // A server that is not ready says so in its body, and is there all the same.
        if status.is_success() || path == ["readyz"] {
            return Ok(body);
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(Refused { problem: problem.error, source: None }.into()),
            Err(_) => Err(anyhow::anyhow!("the running server answers {status}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use toolscout_quality::HeldWhat;

    use super::*;

    #[track_caller]
    fn check(code: &str, expect: Exit) {
        let problem =
            ProblemBody { code: code.to_owned(), message: String::new(), hint: None, id: String::new(), details: None };
        assert_eq!(Refused { problem, source: None }.exit(), expect, "{code}");
    }

    #[test]
    fn what_was_refused_has_the_exit_code_that_fits() {
        check("invalid_arguments", Exit::Usage);
        check("unknown_tool", Exit::NoMatch);
        check("needs_confirmation", Exit::NotPermitted);
        // Withheld is 4, whatever for; only where the upstream itself is out of reach does it count as that.
        check(HeldWhat::Tool.as_str(), Exit::NotPermitted);
        check(HeldWhat::Writing.as_str(), Exit::NotPermitted);
        check("changed_definition", Exit::NotPermitted);
        check(HeldWhat::Upstream.as_str(), Exit::Upstream);
        check("upstream_timeout", Exit::Upstream);
        check("internal", Exit::Failed);
    }
}
