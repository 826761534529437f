//! The catalog of a suite: its servers, set up and asked for their tools, and what they said kept for the next run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use toolscout_core::text::sanitize;
use toolscout_core::{Secret, UpstreamId};
use toolscout_evals::files::{read_queries, read_tools};
use toolscout_evals::suite::SuiteServer;
use toolscout_evals::{Error, RunOptions, Suite};
use toolscout_upstream::{Pool, PoolOptions, ToolListing, Transport, UpstreamSpec};

use crate::fail::{Exit, told};
use crate::progress::Steps;
use crate::screen;

/// Servers that start at the same time. They are many and heavy, and the listing waits for the slowest anyway.
const STARTS: usize = 3;
/// How long a server may take to start, and how long to list: Python servers that were just installed compile themselves.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a run over the suite in `path` measures, once its catalog is there and its labels hold.
pub(crate) async fn options(path: &Path) -> anyhow::Result<RunOptions> {
    let suite = Suite::read(path)?;
    let queries = read_queries(&suite.queries)?.lines;
    let refuse = |faults: Vec<String>| match faults.is_empty() {
        true => Ok(()),
        false => Err(Error::Suite { path: suite.queries.clone(), faults }),
    };
    // Before the long part: what needs no server.
    refuse(suite.faults(&queries))?;
    let catalog = catalog(&suite).await?;
    refuse(suite.faults_among(&queries, &read_tools(&catalog, &[])?))?;
    Ok(RunOptions { set: Some(suite.title.clone()), ..RunOptions::new(catalog, &suite.queries) })
}

/// `tools.jsonl` of the suite: the one kept from an earlier run of the same suite file, else asked from the servers now.
async fn catalog(suite: &Suite) -> anyhow::Result<PathBuf> {
    let folder = suite.folder.join(format!("suite-{}", suite.title));
    let (file, edition) = (folder.join("tools.jsonl"), folder.join("edition"));
    let made_for = suite.sha256.to_string();
    if file.exists() && std::fs::read_to_string(&edition).is_ok_and(|kept| kept == made_for) {
        return Ok(file);
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("make the folder {}", folder.display()))?;
    set_up(suite).await?;
    let text = ask(suite, &folder).await?;
    // The edition is written last, so that a catalog cut short is never taken for whole.
    for (path, text) in [(&file, &text), (&edition, &made_for)] {
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    screen::say(&format!("the catalog is kept in {}", file.display()));
    Ok(file)
}

async fn set_up(suite: &Suite) -> anyhow::Result<()> {
    let Some((program, args)) = suite.setup.split_first() else { return Ok(()) };
    screen::say(&format!("setting up {}", screen::count(suite.servers.len(), "server")));
    let mut command = tokio::process::Command::new(program);
    // Standard output is for the report.
    command.args(args).stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    let status = command.status().await.with_context(|| format!("start {program}"))?;
    if status.success() {
        return Ok(());
    }
    let hint = "see what it says above; a set over a part of its servers would measure something else";
    Err(told(Exit::Failed, format!("{program} ended with {status}"), hint.to_owned()))
}

/// The tools of all servers, in the suite's order, or what each server failed with.
async fn ask(suite: &Suite, folder: &Path) -> anyhow::Result<String> {
    let specs: Vec<UpstreamSpec> = suite.servers.iter().map(|server| spec(server, folder)).collect::<Result<_, _>>()?;
    let pool = Pool::new(PoolOptions { max_starts: STARTS, ..PoolOptions::default() });
    pool.configure(specs.clone());
    let steps = Steps::new(specs.len(), "asking for tools");
    let mut tasks = tokio::task::JoinSet::new();
    for spec in specs {
        let pool = Arc::clone(&pool);
        tasks.spawn(async move {
            let listing = pool.list(&spec.id).await;
            (spec.id, listing)
        });
    }
    let (mut listings, mut failed) = (BTreeMap::new(), Vec::new());
    while let Some(asked) = tasks.join_next().await {
        let (id, listing) = asked.context("a task ended early")?;
        steps.done(id.as_str());
        match listing {
            Ok(ToolListing { truncated: Some(why), .. }) => failed.push(format!("{id}: its list is not whole: {why}")),
            Ok(listing) => drop(listings.insert(id.to_string(), listing)),
            Err(error) => failed.push(format!("{:#}", anyhow::Error::new(error).context(id.to_string()))),
        }
    }
    steps.end();
    pool.shutdown().await;
    if !failed.is_empty() {
        failed.sort();
        let message =
            format!("{} could not be asked:\n  {}", screen::count(failed.len(), "server"), failed.join("\n  "));
        return Err(told(Exit::Upstream, message, None));
    }
    let mut text = String::new();
    for server in &suite.servers {
        let tools = listings.remove(&server.id).map(|listing| listing.tools).unwrap_or_default();
        for tool in tools {
            text.push_str(&line(&server.id, &tool.into_raw()).to_string());
            text.push('\n');
        }
    }
    Ok(text)
}

fn spec(server: &SuiteServer, folder: &Path) -> anyhow::Result<UpstreamSpec> {
    let id = UpstreamId::new(&server.id).with_context(|| format!("the server `{}`", sanitize(&server.id, 80)))?;
    let mut env: BTreeMap<String, Secret> =
        server.env.iter().map(|(name, value)| (name.clone(), Secret::new(value.as_str()))).collect();
    // Ours stays as it is: no half-compiled files in it when a run is ended.
    env.entry("PYTHONDONTWRITEBYTECODE".into()).or_insert_with(|| Secret::new("1"));
    let mut spec = UpstreamSpec::stdio(id, &server.command, server.args.iter().cloned());
    if let Transport::Stdio { env: of_spec, cwd, .. } = &mut spec.transport {
        (*of_spec, *cwd) = (env, Some(folder.to_owned()));
    }
    (spec.timeouts.start, spec.timeouts.list) = (PATIENCE, PATIENCE);
    Ok(spec)
}

/// A definition as `tools.jsonl` has it. What is in it stays a stranger's text; the import cleans it.
fn line(server: &str, tool: &Value) -> Value {
    let name = tool.get("name").and_then(Value::as_str).unwrap_or_default();
    let mut line = Map::new();
    line.insert("id".into(), json!(format!("{server}:{name}")));
    line.insert("server".into(), json!(server));
    for (ours, theirs) in [
        ("name", "name"),
        ("title", "title"),
        ("description", "description"),
        ("input_schema", "inputSchema"),
        ("annotations", "annotations"),
    ] {
        if let Some(value) = tool.get(theirs) {
            line.insert(ours.into(), value.clone());
        }
    }
    Value::Object(line)
}
