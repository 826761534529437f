//! Every setting once: its key, how it is read, where it goes.

#[cfg(test)]
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};
use toolscout_catalog::{AutoApprove, Trust};
use toolscout_core::{Secret, SideEffect, ToolId};
use toolscout_gateway::{Exposure, JudgeOptions, MetricsOptions};
use toolscout_policy::{Effect, Glob, Policy};
use toolscout_scan::{Action, ScanOptions};

use super::dialect::read_trust;
use super::expand::{Dollar, Outside, Scope, expand};
use super::mistake::{Reader, suggest};
use super::node::{Data, Node};
use super::quality::{self, QualitySettings};

/// Everything but the upstreams, with defaults.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// Where our state lies. `None` until the user's data folder is filled in.
    pub(crate) data_dir: Option<PathBuf>,
    /// `[server]`.
    pub(crate) server: ServerSettings,
    /// `[embedding]`.
    pub(crate) embedding: EmbeddingSettings,
    /// `[index]`.
    pub(crate) index: IndexSettings,
    /// `[crawl]`.
    pub(crate) crawl: CrawlSettings,
    /// `[call]`.
    pub(crate) call: CallSettings,
    /// `[search]`.
    pub(crate) search: SearchSettings,
    /// `[ranking]`.
    pub(crate) ranking: RankingSettings,
    /// `[quality]`.
    pub(crate) quality: QualitySettings,
    /// `[metrics]`.
    pub(crate) metrics: MetricsOptions,
    /// `[scan]`.
    pub(crate) scan: ScanOptions,
    /// `[definitions]`.
    pub(crate) definitions: DefinitionSettings,
    /// `[policy]`.
    pub(crate) policy: Policy,
    /// A folder with tool cards that people wrote, laid over the crawled ones and those we ship.
    pub(crate) cards: Option<PathBuf>,
    /// `import`: client names and paths of client files.
    pub(crate) import: Vec<String>,
}

/// How we are reached.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ServerSettings {
    /// Address and port; port 0 takes a free one.
    pub(crate) bind: SocketAddr,
    /// Host names, besides the local ones, under which we may be addressed.
    pub(crate) allowed_hosts: Vec<String>,
    /// Origins of web pages, besides local ones, that may call us.
    pub(crate) allowed_origins: Vec<String>,
    /// What a caller has to send as `Authorization: Bearer …`.
    pub(crate) token: Option<Secret>,
    /// Largest request body in bytes.
    pub(crate) max_body_bytes: u64,
    /// How long calls in flight may still take at shutdown.
    pub(crate) shutdown_grace: Duration,
}

/// Which model turns text into vectors.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EmbeddingSettings {
    /// Which one.
    pub(crate) model: ModelChoice,
    /// Threads of one query's inference; 0 = chosen by the machine.
    pub(crate) threads: u64,
    /// Recent queries whose vectors are kept, within the bytes that they may take.
    pub(crate) query_cache: u64,
    /// ONNX Runtime's library, when not the one built in.
    pub(crate) runtime: Option<PathBuf>,
}

/// Where the model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModelChoice {
    /// The one in the binary.
    Builtin,
    /// None: BM25 alone.
    Off,
    /// A folder like `models/` of the repository.
    Dir(PathBuf),
}

/// How vectors are searched.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IndexSettings {
    /// Which structure.
    pub(crate) dense: DenseChoice,
    /// Tools from which `auto` takes the graph; `None` = as measured by the index.
    pub(crate) hnsw_from: Option<u64>,
}

/// Which structure searches the vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DenseChoice {
    /// Exact below the size from which the graph wins.
    Auto,
    /// Always exact.
    Exact,
    /// Always the graph.
    Hnsw,
}

/// How upstreams are listed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CrawlSettings {
    /// Age from which a listing is taken again, unless the server says otherwise.
    pub(crate) ttl: Duration,
    /// Upstreams crawled at once.
    pub(crate) concurrency: u64,
    /// Start and handshake of an upstream.
    pub(crate) connect_timeout: Duration,
    /// One whole listing.
    pub(crate) list_timeout: Duration,
}

/// How tools are called.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CallSettings {
    /// One call, unless the upstream or the caller says otherwise.
    pub(crate) timeout: Duration,
    /// Calls of tools that can do at least this want a confirmation.
    pub(crate) confirm_from: Option<SideEffect>,
    /// Largest result that is passed on whole, in bytes of JSON.
    pub(crate) max_result_bytes: u64,
}

/// How searches are answered and remembered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SearchSettings {
    /// Which tools an MCP client sees listed.
    pub(crate) expose: Exposure,
    /// Tools that are always listed.
    pub(crate) pinned: Vec<ToolId>,
    /// Whether a stored selection keeps the words of its query.
    pub(crate) store_queries: bool,
    /// Selections kept for `explain`.
    pub(crate) keep: u64,
}

/// Who looks at the best candidates again. At most one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RankingSettings {
    /// The folder of a cross-encoder.
    pub(crate) cross_encoder: Option<PathBuf>,
    /// How long it may take for one search.
    pub(crate) cross_encoder_deadline: Duration,
    /// A language model behind an endpoint.
    pub(crate) judge: Option<JudgeOptions>,
}

/// How definitions of tools come to be approved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DefinitionSettings {
    /// Trust in upstreams that say nothing of it.
    pub(crate) trust: Trust,
    /// Which changes need nobody.
    pub(crate) auto_approve: AutoApprove,
}

impl Default for Settings {
    fn default() -> Self {
        let upstream = toolscout_upstream::Timeouts::default();
        Self {
            data_dir: None,
            server: ServerSettings {
                bind: SocketAddr::from(([127, 0, 0, 1], 7411)),
                allowed_hosts: Vec::new(),
                allowed_origins: Vec::new(),
                token: None,
                max_body_bytes: 4 << 20,
                shutdown_grace: Duration::from_secs(10),
            },
            embedding: EmbeddingSettings { model: ModelChoice::Builtin, threads: 0, query_cache: 1000, runtime: None },
            index: IndexSettings { dense: DenseChoice::Auto, hnsw_from: None },
            crawl: CrawlSettings {
                ttl: toolscout_crawler::CrawlerOptions::default().default_ttl,
                concurrency: 4,
                connect_timeout: upstream.start,
                list_timeout: upstream.list,
            },
            call: CallSettings { timeout: upstream.call, confirm_from: None, max_result_bytes: 4 << 20 },
            search: SearchSettings { expose: Exposure::Pinned, pinned: Vec::new(), store_queries: false, keep: 10_000 },
            ranking: RankingSettings {
                cross_encoder: None,
                cross_encoder_deadline: Duration::from_secs(1),
                judge: None,
            },
            quality: QualitySettings::default(),
            metrics: MetricsOptions::default(),
            scan: ScanOptions::default(),
            definitions: DefinitionSettings { trust: Trust::default(), auto_approve: AutoApprove::default() },
            policy: Policy::default(),
            cards: None,
            import: Vec::new(),
        }
    }
}

/// One key: where it is written, and what it does. Adding a setting is adding a line here, and one to the example file.
struct Setting {
    key: &'static str,
    read: fn(&mut Settings, &mut Reader<'_>, &Node, &str, &Base<'_>),
}

/// What paths and variables in a value refer to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base<'a> {
    /// The folder of the file; the current one for flags and environment.
    pub(crate) folder: &'a Path,
    /// Environment and home.
    pub(crate) outside: &'a Outside,
}

/// Reads a value and, if it is good, puts it where it belongs.
macro_rules! setting {
    ($key:literal, $($field:ident).+, |$reader:ident, $node:ident, $at:ident, $base:ident| $read:expr) => {
        Setting {
            key: $key,
            read: |settings, $reader, $node, $at, $base| {
                // Not every reader needs the base.
                let _ = $base;
                if let Some(value) = $read {
                    settings.$($field).+ = value;
                }
            },
        }
    };
}

const SETTINGS: [Setting; 51] = [
    setting!("data_dir", data_dir, |r, n, at, base| path(r, n, at, base).map(Some)),
    setting!("cards", cards, |r, n, at, base| path(r, n, at, base).map(Some)),
    setting!("import", import, |r, n, at, base| r.texts(n, at)),
    setting!("server.bind", server.bind, |r, n, at, base| address(r, n, at)),
    setting!("server.allowed_hosts", server.allowed_hosts, |r, n, at, base| r.texts(n, at)),
    setting!("server.allowed_origins", server.allowed_origins, |r, n, at, base| r.texts(n, at)),
    setting!("server.token", server.token, |r, n, at, base| {
        secret(r, n, at, base, "leave it out to allow everyone at this machine").map(Some)
    }),
    setting!("server.max_body_bytes", server.max_body_bytes, |r, n, at, base| r.number(n, at, 1024..=1 << 30)),
    setting!("server.shutdown_grace", server.shutdown_grace, |r, n, at, base| r.duration(n, at)),
    setting!("embedding.model", embedding.model, |r, n, at, base| model(r, n, at, base)),
    setting!("embedding.threads", embedding.threads, |r, n, at, base| r.number(n, at, 0..=256)),
    setting!("embedding.query_cache", embedding.query_cache, |r, n, at, base| r.number(n, at, 0..=1_000_000)),
    setting!("embedding.runtime", embedding.runtime, |r, n, at, base| path(r, n, at, base).map(Some)),
    setting!("index.dense", index.dense, |r, n, at, base| dense(r, n, at)),
    setting!("index.hnsw_from", index.hnsw_from, |r, n, at, base| r.number(n, at, 0..=100_000_000).map(Some)),
    setting!("crawl.ttl", crawl.ttl, |r, n, at, base| positive(r, n, at)),
    setting!("crawl.concurrency", crawl.concurrency, |r, n, at, base| r.number(n, at, 1..=256)),
    setting!("crawl.connect_timeout", crawl.connect_timeout, |r, n, at, base| positive(r, n, at)),
    setting!("crawl.list_timeout", crawl.list_timeout, |r, n, at, base| positive(r, n, at)),
    setting!("call.timeout", call.timeout, |r, n, at, base| positive(r, n, at)),
    setting!("call.confirm_from", call.confirm_from, |r, n, at, base| effect(r, n, at).map(Some)),
    setting!("call.max_result_bytes", call.max_result_bytes, |r, n, at, base| r.number(n, at, 1024..=1 << 30)),
    setting!("metrics.tools", metrics.tools, |r, n, at, base| r.flag(n, at)),
    setting!("scan.high", scan.high, |r, n, at, base| action(r, n, at)),
    setting!("scan.medium", scan.medium, |r, n, at, base| action(r, n, at)),
    setting!("scan.low", scan.low, |r, n, at, base| action(r, n, at)),
    setting!("scan.allow", scan.allow, |r, n, at, base| tool_ids(r, n, at).map(|ids| ids.into_iter().collect())),
    setting!("search.expose", search.expose, |r, n, at, base| exposure(r, n, at)),
    setting!("search.pinned", search.pinned, |r, n, at, base| tool_ids(r, n, at)),
    setting!("search.store_queries", search.store_queries, |r, n, at, base| r.flag(n, at)),
    setting!("search.keep", search.keep, |r, n, at, base| r.number(n, at, 1..=10_000_000)),
    setting!("ranking.cross_encoder", ranking.cross_encoder, |r, n, at, base| cross_encoder(r, n, at, base)),
    setting!("ranking.cross_encoder_deadline", ranking.cross_encoder_deadline, |r, n, at, base| positive(r, n, at)),
    setting!("ranking.judge", ranking.judge, |r, n, at, base| judge(r, n, at, base)),
    setting!("quality.quarantine", quality.quarantine, |r, n, at, base| r.flag(n, at)),
    setting!("quality.weight", quality.weight, |r, n, at, base| quality::share(r, n, at)),
    setting!("quality.half_life", quality.half_life, |r, n, at, base| positive(r, n, at)),
    setting!("quality.failures_in_a_row", quality.failures_in_a_row, |r, n, at, base| quality::count(r, n, at)),
    setting!("quality.failed_share", quality.failed_share, |r, n, at, base| quality::share(r, n, at)),
    setting!("quality.timeout_share", quality.timeout_share, |r, n, at, base| quality::share(r, n, at)),
    setting!("quality.violating_share", quality.violating_share, |r, n, at, base| quality::share(r, n, at)),
    setting!("quality.degraded_share", quality.degraded_share, |r, n, at, base| quality::share(r, n, at)),
    setting!("quality.first_quarantine", quality.first_quarantine, |r, n, at, base| positive(r, n, at)),
    setting!("quality.longest_quarantine", quality.longest_quarantine, |r, n, at, base| positive(r, n, at)),
    setting!("quality.unanswered_in_a_row", quality.unanswered_in_a_row, |r, n, at, base| quality::count(r, n, at)),
    setting!("quality.first_outage", quality.first_outage, |r, n, at, base| positive(r, n, at)),
    setting!("quality.longest_outage", quality.longest_outage, |r, n, at, base| positive(r, n, at)),
    setting!("quality.read_only_fallback", quality.read_only_fallback, |r, n, at, base| r.flag(n, at)),
    setting!("quality.probes", quality.probes, |r, n, at, base| quality::probes(r, n, at)),
    setting!("definitions.trust", definitions.trust, |r, n, at, base| read_trust(r, n, at)),
    setting!("definitions.auto_approve", definitions.auto_approve, |r, n, at, base| auto_approve(r, n, at)),
];

/// What the environment may set of `[policy]`. In files its shape belongs to `policy`; rules are tables, which no variable holds.
const POLICY: [Setting; 4] = [
    setting!("policy.default", policy.default, |r, n, at, base| policy_effect(r, n, at).map(Some)),
    setting!("policy.max_side_effect", policy.max_side_effect, |r, n, at, base| effect(r, n, at).map(Some)),
    setting!("policy.allow", policy.allow, |r, n, at, base| globs(r, n, at)),
    setting!("policy.deny", policy.deny, |r, n, at, base| globs(r, n, at)),
];

/// Tables that are not made of settings.
const OTHER_TABLES: [&str; 2] = ["upstreams", "policy"];

/// The environment variable of a setting: `TOOLSCOUT_SERVER_BIND`. `data_dir` is `TOOLSCOUT_DATA`, short like its flag;
/// [`apply_env`] takes it by its full name too.
fn variable_of(key: &str) -> String {
    match key {
        "data_dir" => "TOOLSCOUT_DATA".to_owned(),
        key => format!("TOOLSCOUT_{}", key.replace('.', "_").to_ascii_uppercase()),
    }
}

/// Applies a file over what is there.
pub(crate) fn apply_file(settings: &mut Settings, reader: &mut Reader<'_>, root: &Node, base: &Base<'_>) {
    let sections = || SETTINGS.iter().filter_map(|setting| setting.key.split_once('.').map(|(section, _)| section));
    for (name, node) in root.entries() {
        let is_section = sections().any(|section| section == name);
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == name) {
            (setting.read)(settings, reader, node, setting.key, base);
        } else if OTHER_TABLES.contains(&name.as_str()) || is_section {
            if !matches!(node.data, Data::Table(_)) {
                reader.wrong(
                    node.line,
                    name,
                    format!("must be a table, not {}", node.kind()),
                    format!("write [{name}]"),
                );
            } else if is_section {
                apply_section(settings, reader, name, node, base);
            }
        } else {
            let mut known: Vec<&str> = sections().chain(OTHER_TABLES).collect();
            known.extend(SETTINGS.iter().map(|setting| setting.key).filter(|key| !key.contains('.')));
            known.sort_unstable();
            known.dedup();
            reader.wrong(node.line, name, "is not a known key", suggest(name, known));
        }
    }
    if let Some(policy) = root.get("policy").filter(|node| matches!(node.data, Data::Table(_))) {
        settings.policy = read_policy(reader, policy);
    }
}

fn apply_section(settings: &mut Settings, reader: &mut Reader<'_>, section: &str, table: &Node, base: &Base<'_>) {
    for (name, node) in table.entries() {
        let key = format!("{section}.{name}");
        match SETTINGS.iter().find(|setting| setting.key == key) {
            Some(setting) => (setting.read)(settings, reader, node, setting.key, base),
            None => {
                let siblings =
                    SETTINGS.iter().filter_map(|setting| setting.key.strip_prefix(section)?.strip_prefix('.'));
                reader.wrong(node.line, &key, "is not a known key", suggest(name, siblings));
            }
        }
    }
}

/// Applies `TOOLSCOUT_…` variables over what is there. Returns those that name no setting: they may be a user's own, for
/// `${…}`, and are only worth a warning.
pub(crate) fn apply_env(settings: &mut Settings, reader: &mut Reader<'_>, base: &Base<'_>) -> Vec<String> {
    const ELSEWHERE: [&str; 2] = ["TOOLSCOUT_CONFIG", "TOOLSCOUT_LOG_FORMAT"];
    let mut unknown = Vec::new();
    for (name, value) in base.outside.env.range("TOOLSCOUT_".to_owned()..) {
        if !name.starts_with("TOOLSCOUT_") {
            break;
        }
        let means = |setting: &&Setting| {
            variable_of(setting.key) == *name || (setting.key == "data_dir" && name == "TOOLSCOUT_DATA_DIR")
        };
        match SETTINGS.iter().chain(&POLICY).find(means) {
            Some(setting) => (setting.read)(settings, reader, &Node::text(value), name, base),
            None if ELSEWHERE.contains(&name.as_str()) => {}
            // A bound that does not hold is worse than none: whoever set it relies on it.
            None if name.starts_with("TOOLSCOUT_POLICY_") => {
                reader.wrong(
                    None,
                    name,
                    "is nothing that a variable can say",
                    "write it in [policy] of toolscout.toml",
                );
            }
            None => unknown.push(name.clone()),
        }
    }
    unknown
}

/// Notes what each setting alone cannot know.
pub(crate) fn check_together(settings: &Settings, reader: &mut Reader<'_>) {
    if settings.ranking.cross_encoder.is_some() && settings.ranking.judge.is_some() {
        let hint = "switch one of them off: ranking.cross_encoder = \"off\", or ranking.judge = \"off\"";
        reader.wrong(None, "ranking", "has a cross-encoder and a judge; there is one second stage", hint);
    }
}

/// Applies one flag's value, given as text.
pub(crate) fn apply_flag(settings: &mut Settings, reader: &mut Reader<'_>, key: &str, value: &str, base: &Base<'_>) {
    let setting = SETTINGS.iter().find(|setting| setting.key == key);
    debug_assert!(setting.is_some(), "a flag for the setting {key}, which does not exist");
    if let Some(setting) = setting {
        (setting.read)(settings, reader, &Node::text(value), key, base);
    }
}

fn address(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<SocketAddr> {
    let text = reader.text(node, key)?;
    let text = text.strip_prefix("localhost:").map_or(text.clone(), |port| format!("127.0.0.1:{port}"));
    let address = text.parse().ok();
    if address.is_none() {
        reader.wrong(node.line, key, "is not an address with a port", "write 127.0.0.1:7411");
    }
    address
}

/// A path. In a file, variables are replaced: a folder called `${HOME}` is what nobody means.
fn path(reader: &mut Reader<'_>, node: &Node, key: &str, base: &Base<'_>) -> Option<PathBuf> {
    let text = reader.text(node, key)?;
    if node.line.is_none() {
        return Some(base.outside.path(&text, base.folder));
    }
    let scope = Scope { workspace: base.folder.to_owned(), dollar: Dollar::Braced };
    match expand(&text, &scope, base.outside) {
        Ok(text) => Some(base.outside.path(&text, base.folder)),
        Err(error) => {
            reader.unexpandable(node.line, key, &error);
            None
        }
    }
}

fn secret(reader: &mut Reader<'_>, node: &Node, key: &str, base: &Base<'_>, hint: &str) -> Option<Secret> {
    let text = reader.text(node, key)?;
    // A value from the environment is the secret itself.
    if node.line.is_none() {
        return Some(Secret::new(text));
    }
    let scope = Scope { workspace: base.folder.to_owned(), dollar: Dollar::Braced };
    match expand(&text, &scope, base.outside) {
        Ok(text) if text.is_empty() => {
            reader.wrong(node.line, key, "is empty", hint);
            None
        }
        Ok(text) => Some(Secret::new(text)),
        Err(error) => {
            reader.unexpandable(node.line, key, &error);
            None
        }
    }
}

fn model(reader: &mut Reader<'_>, node: &Node, key: &str, base: &Base<'_>) -> Option<ModelChoice> {
    let text = reader.text(node, key)?;
    match text.as_str() {
        "builtin" => Some(ModelChoice::Builtin),
        "off" => Some(ModelChoice::Off),
        folder if folder.contains(['/', '\\', '.', '$']) => path(reader, node, key, base).map(ModelChoice::Dir),
        _ => {
            reader.wrong(node.line, key, "is not a model", "write builtin, off, or the path of a model's folder");
            None
        }
    }
}

fn cross_encoder(reader: &mut Reader<'_>, node: &Node, key: &str, base: &Base<'_>) -> Option<Option<PathBuf>> {
    match reader.text(node, key)?.as_str() {
        "off" => Some(None),
        "" => {
            reader.wrong(node.line, key, "is empty", "write off, or the path of a cross-encoder's folder");
            None
        }
        _ => path(reader, node, key, base).map(Some),
    }
}

/// The keys of `ranking.judge`.
const JUDGE_KEYS: [&str; 6] = ["url", "model", "api_key", "deadline_ms", "budget_per_hour", "top"];

fn judge(reader: &mut Reader<'_>, node: &Node, at: &str, base: &Base<'_>) -> Option<Option<JudgeOptions>> {
    const FORM: &str = "write off, or { url = \"https://api.example.org/v1\", model = \"…\", api_key = \"${VAR}\" }";
    match &node.data {
        Data::Text(text) if text == "off" => return Some(None),
        Data::Table(_) => {}
        _ => {
            reader.wrong(node.line, at, format!("must be a table, not {}", node.kind()), FORM);
            return None;
        }
    }
    let n_before = reader.mistakes.len();
    let key = |name: &str| format!("{at}.{name}");
    for (name, entry) in node.entries() {
        if !JUDGE_KEYS.contains(&name.as_str()) {
            reader.wrong(entry.line, &key(name), "is not a known key", suggest(name, JUDGE_KEYS));
        }
    }
    for name in ["url", "model"] {
        if node.get(name).is_none() {
            reader.wrong(node.line, at, format!("has no {name}"), FORM);
        }
    }
    let url = node.get("url").and_then(|entry| endpoint(reader, entry, &key("url")));
    let model = node.get("model").and_then(|entry| reader.text(entry, &key("model")));
    if model.as_ref().is_some_and(|model| model.trim().is_empty()) {
        reader.wrong(node.line, &key("model"), "is empty", None);
    }
    let hint = "leave it out where the endpoint wants none";
    let api_key = node.get("api_key").and_then(|entry| secret(reader, entry, &key("api_key"), base, hint));
    // A key with a line break in it is no header; that shows here and not in each answer.
    if api_key.as_ref().is_some_and(|secret| secret.expose().chars().any(char::is_control)) {
        reader.wrong(node.line, &key("api_key"), "holds a line break or another control character", None);
    }
    let is_open = url.as_ref().is_some_and(|url| url.scheme() == "http" && !is_local(url));
    if api_key.is_some() && is_open {
        reader.wrong(node.line, &key("url"), "would send the key unencrypted", "write https://");
    }
    let mut number = |name: &str, bounds: std::ops::RangeInclusive<u64>, default: u64| match node.get(name) {
        Some(entry) => reader.number(entry, &key(name), bounds),
        None => Some(default),
    };
    let deadline = number("deadline_ms", 1..=60_000, 2_000).map(Duration::from_millis);
    let budget_per_hour = number("budget_per_hour", 0..=1_000_000, 100);
    let top = number("top", 2..=50, 20);
    if reader.mistakes.len() > n_before {
        return None;
    }
    Some(Some(JudgeOptions {
        url: url?,
        model: model?,
        api_key,
        deadline: deadline?,
        budget_per_hour: u32::try_from(budget_per_hour?).ok()?,
        top: usize::try_from(top?).ok()?,
    }))
}

/// The base of an interface on the web.
fn endpoint(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<reqwest::Url> {
    let text = reader.text(node, key)?;
    let url = reqwest::Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(url) = url else {
        reader.wrong(node.line, key, "must start with http:// or https://", None);
        return None;
    };
    // It is shown by `doctor`, and the rest goes behind it.
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        reader.wrong(node.line, key, "must hold no user, password, query or fragment", "give the key as api_key");
        return None;
    }
    Some(url)
}

fn is_local(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn dense(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<DenseChoice> {
    let text = reader.text(node, key)?;
    match text.as_str() {
        "auto" => Some(DenseChoice::Auto),
        "exact" => Some(DenseChoice::Exact),
        "hnsw" => Some(DenseChoice::Hnsw),
        other => {
            reader.wrong(node.line, key, "is not a way to search vectors", suggest(other, ["auto", "exact", "hnsw"]));
            None
        }
    }
}

fn effect(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<SideEffect> {
    let text = reader.text(node, key)?;
    let known = [SideEffect::Read, SideEffect::Write, SideEffect::Destructive];
    let found = known.into_iter().find(|effect| effect.as_str() == text);
    if found.is_none() {
        reader.wrong(node.line, key, "is not a side effect", suggest(&text, known.map(SideEffect::as_str)));
    }
    found
}

fn policy_effect(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<Effect> {
    match reader.text(node, key)?.as_str() {
        "allow" => Some(Effect::Allow),
        "deny" => Some(Effect::Deny),
        other => {
            reader.wrong(node.line, key, "is neither allow nor deny", suggest(other, ["allow", "deny"]));
            None
        }
    }
}

fn globs(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<Vec<Glob>> {
    Some(reader.texts(node, key)?.iter().map(|text| Glob::new(text)).collect())
}

fn action(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<Action> {
    let text = reader.text(node, key)?;
    let known = [Action::Withhold, Action::Warn, Action::Off];
    let found = known.into_iter().find(|action| action.as_str() == text);
    if found.is_none() {
        reader.wrong(node.line, key, "is nothing to do about a text", suggest(&text, known.map(Action::as_str)));
    }
    found
}

fn auto_approve(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<AutoApprove> {
    let text = reader.text(node, key)?;
    match text.as_str() {
        "harmless" => Some(AutoApprove::Harmless),
        "never" => Some(AutoApprove::Never),
        other => {
            let hint = suggest(other, ["harmless", "never"]);
            reader.wrong(node.line, key, "is not a kind of change that can be approved by rule", hint);
            None
        }
    }
}

fn exposure(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<Exposure> {
    let text = reader.text(node, key)?;
    match text.as_str() {
        "pinned" => Some(Exposure::Pinned),
        "all" => Some(Exposure::All),
        "transparent" => Some(Exposure::Transparent),
        other => {
            let hint = suggest(other, ["pinned", "all", "transparent"]);
            reader.wrong(node.line, key, "is not a way to list tools", hint);
            None
        }
    }
}

fn positive(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<Duration> {
    let duration = reader.duration(node, key)?;
    if duration.is_zero() {
        reader.wrong(node.line, key, "must be longer than nothing", None);
        return None;
    }
    Some(duration)
}

fn tool_ids(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<Vec<ToolId>> {
    let texts = reader.texts(node, key)?;
    let mut ids = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        match text.parse() {
            Ok(id) => ids.push(id),
            Err(error) => {
                let error: toolscout_core::IdError = error;
                reader.wrong(node.line, &format!("{key}[{i}]"), error.to_string(), None);
            }
        }
    }
    (ids.len() == texts.len()).then_some(ids)
}

/// The policy's shape belongs to `policy`. Keys and rules are tried one by one, so that each mistake gets its own line.
fn read_policy(reader: &mut Reader<'_>, table: &Node) -> Policy {
    let n_before = reader.mistakes.len();
    let mut whole = Map::new();
    for (name, node) in table.entries() {
        let key = format!("policy.{name}");
        match &node.data {
            Data::List(rules) if name == "rules" => {
                for (i, rule) in rules.iter().enumerate() {
                    try_policy(reader, name, &Value::Array(vec![to_json(rule)]), rule.line, &format!("{key}[{i}]"));
                }
            }
            _ => try_policy(reader, name, &to_json(node), node.line, &key),
        }
        whole.insert(name.clone(), to_json(node));
    }
    if reader.mistakes.len() > n_before {
        return Policy::default();
    }
    serde_json::from_value(Value::Object(whole)).unwrap_or_else(|error| {
        reader.wrong(table.line, "policy", error.to_string(), None);
        Policy::default()
    })
}

fn try_policy(reader: &mut Reader<'_>, name: &str, value: &Value, line: Option<usize>, key: &str) {
    let alone = Map::from_iter([(name.to_owned(), value.clone())]);
    if let Err(error) = serde_json::from_value::<Policy>(Value::Object(alone)) {
        reader.wrong(line, key, error.to_string(), None);
    }
}

pub(super) fn to_json(node: &Node) -> Value {
    match &node.data {
        Data::Null => Value::Null,
        Data::Bool(flag) => Value::Bool(*flag),
        Data::Number(number) => serde_json::Number::from_f64(*number).map_or(Value::Null, Value::Number),
        Data::Text(text) => Value::String(text.clone()),
        Data::List(items) => Value::Array(items.iter().map(to_json).collect()),
        Data::Table(entries) => {
            Value::Object(entries.iter().map(|(name, node)| (name.clone(), to_json(node))).collect())
        }
    }
}

/// Every setting's key with its environment variable, for the example file's test.
#[cfg(test)]
pub(crate) fn keys() -> BTreeMap<&'static str, String> {
    SETTINGS.iter().map(|setting| (setting.key, variable_of(setting.key))).collect()
}
