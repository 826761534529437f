//! `doctor`: looks at everything that has to work, and says how to mend what does not.

use std::net::TcpListener;
use std::path::Path;

use serde::Serialize;
use toolscout_catalog::UpstreamState;
use toolscout_core::SideEffect;
use toolscout_store::Store;

use crate::app::store_dir;
use crate::backend::{Backend, Server, ServerFile, chain};
use crate::commands::models::place;
use crate::commands::serve::is_program;
use crate::config::{self, Config, Flags, Outside};
use crate::fail::{Ended, Exit};
use crate::{model, screen};

/// How one check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    /// It works.
    Ok,
    /// It works, but not as well as it could.
    Warning,
    /// It does not work.
    Broken,
}

/// One thing looked at.
#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    health: Health,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// All that was looked at.
#[derive(Debug, Default, Serialize)]
struct Findings {
    checks: Vec<Check>,
}

impl Findings {
    fn ok(&mut self, what: &'static str, found: impl Into<String>) {
        self.checks.push(Check { what, health: Health::Ok, found: found.into(), hint: None });
    }

    fn warn(&mut self, what: &'static str, found: impl Into<String>, hint: &str) {
        self.checks.push(Check { what, health: Health::Warning, found: found.into(), hint: Some(hint.to_owned()) });
    }

    fn broken(&mut self, what: &'static str, found: impl Into<String>, hint: &str) {
        self.checks.push(Check { what, health: Health::Broken, found: found.into(), hint: Some(hint.to_owned()) });
    }
}

/// `doctor`. Ends with 1 if something is broken.
pub(crate) async fn doctor(flags: &Flags, outside: &Outside, is_json: bool) -> Ended {
    let mut findings = Findings::default();
    match config::load(flags, outside) {
        Ok(config) => {
            configuration(&mut findings, &config);
            folder(&mut findings, config.data_dir());
            embedding(&mut findings, &config).await;
            second_stage(&mut findings, &config).await;
            state(&mut findings, &config).await;
            port(&mut findings, &config).await;
            programs(&mut findings, &config);
        }
        Err(mistakes) => {
            for mistake in &mistakes.0 {
                let hint =
                    mistake.hint.as_deref().unwrap_or("mend the file; `toolscout config example` shows its form");
                let shown = config::Mistake { hint: None, ..mistake.clone() };
                findings.broken("configuration", shown.to_string(), hint);
            }
        }
    }
    let is_broken = findings.checks.iter().any(|check| check.health == Health::Broken);
    if is_json {
        screen::json(&serde_json::json!({ "ok": !is_broken, "checks": findings.checks }))?;
    } else {
        print(&findings)?;
    }
    Ok(if is_broken { Exit::Failed } else { Exit::Done })
}

/// `doctor --licences`: what is inside the binary and not ours, with the notices that have to go along.
pub(crate) fn licences() -> Ended {
    screen::line("toolscout: Apache-2.0\n")?;
    screen::line(include_str!("../../../../LICENSE"))?;
    if let Ok(model) = toolscout_embed::Manifest::read(&toolscout_embed::ModelSource::Builtin) {
        screen::line(&format!("\nThe built-in embedding model {}: {}\n", model.id, model.licence))?;
    }
    match toolscout_embed::runtime::notices() {
        Some(notices) => screen::line(&format!("\nThe built-in ONNX Runtime:\n\n{notices}"))?,
        None => screen::line("\nNo ONNX Runtime is built in.")?,
    }
    screen::line(
        "\nThe Rust crates compiled in, with their licences: Cargo.lock and `cargo metadata` of this version.",
    )?;
    Ok(Exit::Done)
}

fn configuration(findings: &mut Findings, config: &Config) {
    match &config.file {
        Some(file) => findings.ok("configuration", file.display().to_string()),
        None => findings.ok("configuration", format!("no file; defaults (would be {})", config.write_to.display())),
    }
    for note in &config.notes {
        findings.warn("configuration", note.clone(), "nothing has to be done if that is meant");
    }
    let n_off = config.raw.iter().filter(|raw| !raw.enabled).count();
    let n_on = config.raw.len() - n_off;
    if n_on == 0 {
        let hint = "`toolscout upstreams add NAME -- COMMAND`, `toolscout upstreams import CLIENT`, or `serve --demo`";
        findings.warn("upstreams", "none is configured", hint);
    } else {
        findings.ok("upstreams", format!("{n_on} configured, {n_off} switched off"));
    }
}

fn folder(findings: &mut Findings, dir: &Path) {
    let probe = dir.join(format!(".probe-{}", std::process::id()));
    let written = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&probe, b"x"));
    let _ = std::fs::remove_file(&probe);
    match written {
        Ok(()) => findings.ok("data folder", dir.display().to_string()),
        Err(error) => {
            let hint = "mend its rights, or choose another with --data or TOOLSCOUT_DATA";
            findings.broken("data folder", format!("{} cannot be written: {error}", dir.display()), hint);
        }
    }
}

async fn embedding(findings: &mut Findings, config: &Config) {
    let Some(source) = model::source(&config.settings) else {
        findings.warn("model", "switched off; answers rest on words alone", "set embedding.model = \"builtin\"");
        return;
    };
    let (from, options) = (place(&source), model::options(&config.settings));
    let loaded = tokio::task::spawn_blocking(move || toolscout_embed::Embedder::load(&source, &options)).await;
    match loaded {
        Ok(Ok(embedder)) => {
            use toolscout_embed::Embed as _;
            let model = embedder.model();
            let facts = format!("{} from {from}, {} dimensions, sha256 {}", model.id, model.dimension, model.sha256);
            findings.ok("model", facts);
            let runtime = &model.runtime;
            findings.ok("runtime", format!("{} {} from {}", runtime.name, runtime.version, runtime.source));
        }
        // It still works, on words alone.
        Ok(Err(error)) => {
            let hint = error.hint().unwrap_or("`toolscout models verify` says more");
            findings.broken("model", format!("{from}: {}; answers rest on words alone", chain(&error)), hint);
        }
        Err(_) => findings.broken("model", format!("{from}: loading it panics"), "report this with `models verify`"),
    }
}

/// Says which second stage is on. A judge is not asked: that may cost money.
async fn second_stage(findings: &mut Findings, config: &Config) {
    let ranking = &config.settings.ranking;
    if let Some(judge) = &ranking.judge {
        let key = if judge.api_key.is_some() { "with a key" } else { "without a key" };
        let (url, millis) = (&judge.url, judge.deadline.as_millis());
        findings.ok(
            "second stage",
            format!(
                "judge {} at {url}, {key}; best {}, {millis} ms, {} requests an hour; not asked now",
                judge.model, judge.top, judge.budget_per_hour
            ),
        );
        return;
    }
    let Some(folder) = ranking.cross_encoder.clone() else {
        findings.ok("second stage", "off");
        return;
    };
    let (place, options) = (folder.display().to_string(), model::options(&config.settings));
    match tokio::task::spawn_blocking(move || toolscout_embed::CrossEncoder::load(&folder, &options)).await {
        Ok(Ok(encoder)) => {
            let model = encoder.manifest();
            let facts = format!("cross-encoder {} from {place}, {}", model.id, model.licence);
            findings.ok("second stage", facts);
        }
        Ok(Err(error)) => {
            let hint = error.hint().unwrap_or("name the folder of a cross-encoder, or \"off\"");
            findings.broken("second stage", format!("{place}: {}; the first order stands", chain(&error)), hint);
        }
        Err(_) => findings.broken("second stage", format!("{place}: loading it panics"), "take another model"),
    }
}

async fn state(findings: &mut Findings, config: &Config) {
    let dir = store_dir(config.data_dir());
    if !dir.exists() {
        findings.warn("store", "empty: nothing was crawled yet", "`toolscout crawl`");
        return;
    }
    let damage = set_aside(&dir);
    match Store::open(&dir) {
        Ok(opened) => {
            if let Some(found) = &opened.damage {
                let text = format!("was damaged: {}; set aside in {}", found.reason, found.set_aside.display());
                findings.broken(
                    "store",
                    text,
                    "the catalog was refilled from its journal; `toolscout crawl` brings the rest",
                );
            }
            // The backend opens it anew.
            drop(opened);
        }
        Err(toolscout_store::Error::Busy { .. }) => match Server::find(config).await {
            Ok(server) => findings.ok("server", format!("running at {}", server.url())),
            Err(error) => {
                let hint = "wait for the other command, or end the process that holds it";
                findings.broken("store", format!("in use, and nobody answers: {error:#}"), hint);
                return;
            }
        },
        Err(error) => {
            let hint = error.hint().unwrap_or("choose another folder with --data");
            findings.broken("store", chain(&error), hint);
            return;
        }
    }
    for old in damage {
        findings.warn("store", format!("an earlier one was set aside in {old}"), "delete it once nothing is missed");
    }
    let backend = match Backend::open(config).await {
        Ok(backend) => backend,
        Err(error) => {
            findings.broken("store", format!("{error:#}"), "`toolscout -vv doctor` says more");
            return;
        }
    };
    let looked = async {
        known(findings, &backend).await?;
        probes(findings, config, &backend).await
    };
    if let Err(error) = looked.await {
        findings.broken("server", format!("{error:#}"), "restart it");
    }
    backend.close().await;
}

/// What was damaged once and set aside.
fn set_aside(store_dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(store_dir).into_iter().flatten().flatten();
    let mut old: Vec<String> = entries
        .filter(|entry| entry.file_name().to_string_lossy().contains(".damaged-"))
        .map(|entry| entry.path().display().to_string())
        .collect();
    old.sort();
    old
}

async fn known(findings: &mut Findings, backend: &Backend) -> anyhow::Result<()> {
    let readiness = backend.readiness().await?;
    let generation = readiness.catalog_generation;
    findings.ok(
        "catalog",
        format!("{} in generation {generation}", screen::count(readiness.n_tools.unwrap_or_default(), "tool")),
    );
    if let Some(damage) = &readiness.damage {
        findings.broken(
            "store",
            format!("was found damaged: {damage}"),
            "`toolscout crawl` brings back what is missing",
        );
    }
    let behind = if readiness.index_generation == generation { "" } else { ", catching up" };
    let facts = match backend {
        Backend::Here(app) => {
            let stats = app.index.stats();
            let (progress, kind) = (&stats.progress, app.index.snapshot().dense_kind());
            let kind = serde_json::to_value(kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
            let kind = kind.unwrap_or_default();
            format!(
                "{}{behind}, {} of {} tools with a vector, {kind} search",
                readiness.index_state, progress.embedded, progress.total
            )
        }
        Backend::Server(_) => format!("{}{behind}", readiness.index_state),
    };
    match &readiness.index_reason {
        Some(reason) => findings.warn(
            "index",
            format!("{facts}: {reason}"),
            "it mends itself while a server runs, or with `toolscout crawl`",
        ),
        None => findings.ok("index", facts),
    }
    for upstream in backend.upstreams().await?.upstreams {
        let facts = format!("{}: {} since {}", upstream.id, upstream.state, upstream.since);
        let tools = screen::count(upstream.n_tools, "tool");
        if upstream.state == UpstreamState::Ready.as_str() {
            findings.ok("upstream", format!("{}: ready, {tools}", upstream.id));
        } else {
            let hint = format!("`toolscout upstreams check {}` says more", upstream.id);
            findings.warn("upstream", format!("{facts}, {tools} kept: {}", screen::clip(&upstream.reason, 200)), &hint);
        }
    }
    Ok(())
}

/// The probes that never try anything, as the catalog is now: when their tool is aside is a bad moment to find out.
async fn probes(findings: &mut Findings, config: &Config, backend: &Backend) -> anyhow::Result<()> {
    let named = &config.settings.quality.probes;
    let ids: Vec<String> = named.keys().map(ToString::to_string).collect();
    let known = backend.details(&ids).await?;
    let tool = |id: &str| known.tools.iter().find(|tool| tool.id == id);
    for ((_, arguments), id) in named.iter().zip(&ids) {
        let Some(tool) = tool(id) else {
            findings.warn("probe", format!("there is no tool `{id}`"), "name another in quality.probes, or crawl");
            continue;
        };
        let required = tool.input_schema.get("required").and_then(serde_json::Value::as_array);
        let required = required.into_iter().flatten().filter_map(serde_json::Value::as_str);
        let missing: Vec<String> =
            required.filter(|name| !arguments.contains_key(*name)).map(|name| screen::clip(name, 60)).collect();
        if tool.side_effect != SideEffect::Read.as_str() {
            let found = format!("`{id}` is never tried so: its effect is {}", tool.side_effect);
            findings.warn("probe", found, "take it out of quality.probes; an agent's call tries it");
        } else if missing.is_empty() {
            findings.ok("probe", id.clone());
        } else {
            let found = format!("`{id}` cannot be tried so: {} is missing", missing.join(", "));
            findings.warn("probe", found, "complete its arguments in quality.probes");
        }
    }
    Ok(())
}

async fn port(findings: &mut Findings, config: &Config) {
    let bind = config.settings.server.bind;
    match TcpListener::bind(bind) {
        Ok(_) => findings.ok("port", format!("{bind} is free")),
        Err(error) => {
            let is_ours = ServerFile::read(config.data_dir())
                .is_some_and(|file| file.url.ends_with(&format!(":{}", bind.port())));
            if is_ours && Server::find(config).await.is_ok() {
                findings.ok("port", format!("{bind} is ours: a server runs"));
            } else {
                let hint = "stop who has it, or choose another address: server.bind, or --bind 127.0.0.1:0";
                findings.broken("port", format!("{bind} cannot be had: {error}"), hint);
            }
        }
    }
}

fn programs(findings: &mut Findings, config: &Config) {
    use toolscout_upstream::Transport;
    let hints = [
        ("node", "servers from npm need it: install Node.js 20 or newer"),
        ("npx", "servers from npm need it: it comes with Node.js"),
        ("uvx", "servers from PyPI need it: install uv"),
    ];
    for (program, hint) in hints {
        match is_program(program) {
            true => findings.ok("program", format!("{program} is there")),
            false => findings.warn("program", format!("{program} is not installed"), hint),
        }
    }
    for spec in config.upstreams.iter().filter(|spec| spec.enabled) {
        if let Transport::Stdio { command, .. } = &spec.transport
            && !is_program(command)
            && !hints.iter().any(|(program, _)| program == command)
        {
            let found = format!("{command} of `{}` is not installed", spec.id);
            findings.broken("program", found, "install it, or write its whole path in the configuration");
        }
    }
}

fn print(findings: &Findings) -> std::io::Result<()> {
    for check in &findings.checks {
        let mark = match check.health {
            Health::Ok => "ok     ",
            Health::Warning => "warning",
            Health::Broken => "BROKEN ",
        };
        screen::line(&format!("{mark}  {:<14} {}", check.what, check.found))?;
        if let Some(hint) = &check.hint {
            screen::line(&format!("{:25}→ {hint}", ""))?;
        }
    }
    let count = |health| findings.checks.iter().filter(|check| check.health == health).count();
    let (n_broken, n_warnings) = (count(Health::Broken), count(Health::Warning));
    let verdict = match (n_broken, n_warnings) {
        (0, 0) => "everything works".to_owned(),
        (0, n) => format!("everything works; {}", screen::count(n, "warning")),
        (n, _) => format!("{} broken", screen::count(n, "thing")),
    };
    screen::line(&format!("\n{verdict}"))
}
