//! `lint`: what makes tools hard to find or easy to misuse.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::Value;
use toolscout_core::{ToolId, UpstreamId};
use toolscout_crawler::Outcome;
use toolscout_lint::{Bench, Deny, LintOptions, ParaphraseKind, Report, Rule};
use toolscout_scan::Action;
use toolscout_store::Store;
use toolscout_upstream::UpstreamSpec;

use crate::app::{App, Use, clock, store_dir};
use crate::args::Lint;
use crate::backend::Backend;
use crate::commands::crawl::settle;
use crate::config::Config;
use crate::config::mistake::suggest;
use crate::fail::{Ended, Exit, told, usage};
use crate::progress::Steps;
use crate::screen;

/// The upstream id of a server that is not configured.
const UNNAMED: &str = "server";

/// `lint [UPSTREAM…]`, `lint --catalog FILE`, `lint -- COMMAND`.
pub(crate) async fn lint(args: &Lint, config: &Config) -> Ended {
    let deny = deny(&args.deny)?;
    let report = if args.catalog.is_some() || !args.command.is_empty() {
        elsewhere(args, config).await?
    } else {
        let Backend::Here(app) = Backend::open(config).await? else {
            let hint = "stop it, or lint the server's command: toolscout lint -- COMMAND".to_owned();
            return Err(told(Exit::Failed, "a running server holds the data folder", Some(hint)));
        };
        let report = run(&app, args).await;
        app.close().await;
        report?
    };
    if args.output.json {
        screen::json(&report)?;
    } else {
        print(&report)?;
    }
    Ok(match report {
        report if report.n_tools == 0 => Exit::NoMatch,
        report if report.is_denied(&deny) => Exit::Failed,
        _ => Exit::Done,
    })
}

fn deny(words: &[String]) -> anyhow::Result<Vec<Deny>> {
    if words.is_empty() {
        return Ok(vec![Deny::From(toolscout_lint::Severity::Error)]);
    }
    let read = |word: &String| {
        word.parse().map_err(|problem: String| {
            let known = Rule::ALL.iter().map(|rule| rule.id()).chain(["error", "warning", "note"]);
            let hint = suggest(word, known).unwrap_or_else(|| "error, warning, note, or the id of a rule".to_owned());
            usage(problem, &hint)
        })
    };
    words.iter().map(read).collect()
}

/// Over tools that are not the catalog's, in a folder of their own that goes afterwards.
async fn elsewhere(args: &Lint, config: &Config) -> anyhow::Result<Report> {
    let mut config = config.clone();
    config.upstreams.clear();
    if let [command, rest @ ..] = args.command.as_slice() {
        let id = UpstreamId::new(UNNAMED).context("name the server")?;
        config.upstreams.push(UpstreamSpec::stdio(id, command, rest.iter().cloned()));
    }
    // Somebody who asks what is wrong with a tool wants it looked at, whatever its text says.
    let scan = &mut config.settings.scan;
    (scan.high, scan.medium, scan.low) = (Action::Warn, Action::Warn, Action::Warn);
    let folder = config.data_dir().join(format!("lint-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("make the folder {}", folder.display()))?;
    config.settings.data_dir = Some(folder.clone());
    let report = filled(args, &config).await;
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        screen::say(&format!("warning: {} stays behind: {error}", folder.display()));
    }
    report
}

async fn filled(args: &Lint, config: &Config) -> anyhow::Result<Report> {
    let opened = Store::open(&store_dir(config.data_dir()))?;
    let (for_app, specs) = (config.clone(), config.upstreams.clone());
    let open = move || App::open(opened, &for_app, specs, Use::Once, None);
    let app = tokio::task::spawn_blocking(open).await.context("opening ended early")??;
    let filled = match &args.catalog {
        Some(file) => import(&app, file).await,
        None => ask(&app).await,
    };
    let report = match filled {
        Ok(()) => {
            settle(&app).await;
            run(&app, args).await
        }
        Err(error) => Err(error),
    };
    app.close().await;
    report
}

async fn import(app: &App, file: &Path) -> anyhow::Result<()> {
    let reader = std::fs::File::open(file).with_context(|| format!("read {}", file.display()))?;
    let catalog = Arc::clone(&app.catalog);
    let import = move || catalog.import_jsonl(std::io::BufReader::new(reader), clock()());
    let imported = tokio::task::spawn_blocking(import).await.context("the import ended early")??;
    for problem in imported.problems.iter().take(5) {
        screen::say(&format!("note: line {}: {}", problem.line, problem.reason));
    }
    Ok(())
}

/// Asks the one server that there is for its tools.
async fn ask(app: &App) -> anyhow::Result<()> {
    let crawled = app.crawler.crawl(None).await.upstreams.into_iter().next().context("the server was not asked")?;
    match crawled.outcome {
        Outcome::Listed { skipped, .. } => {
            for skipped in skipped.iter().take(5) {
                let name = skipped.name.as_deref().unwrap_or("without a name");
                screen::say(&format!("note: tool {name} is unusable: {}", skipped.reason));
            }
            Ok(())
        }
        Outcome::Failed { reason, hint, .. } => Err(told(Exit::Upstream, reason, hint)),
        Outcome::Stopped => Err(told(Exit::Failed, "the crawl was stopped", None)),
    }
}

async fn run(app: &App, args: &Lint) -> anyhow::Result<Report> {
    let snapshot = app.index.snapshot();
    let options = LintOptions { upstreams: upstreams(&snapshot, &args.upstreams)?, max_searched: args.max };
    let (catalog, services) = (Arc::clone(&app.catalog), Arc::clone(&app.services));
    let lint = move || {
        let steps = Steps::new(snapshot.len().min(options.max_searched), "searching");
        let raw = |id: &ToolId| -> Option<Value> { catalog.raw(id).ok().flatten() };
        let embedder = services.parts.embedder.as_deref();
        let bench = Bench {
            snapshot: &snapshot,
            raw: &raw,
            vectors: &|text| crate::watch::vectors(embedder, text),
            progress: &|done, total| steps.at(done, total),
        };
        let report = toolscout_lint::lint(&bench, &options);
        steps.end();
        report
    };
    tokio::task::spawn_blocking(lint).await.context("linting ended early")
}

/// The upstreams named, as the catalog knows them.
fn upstreams(snapshot: &toolscout_index::Snapshot, names: &[String]) -> anyhow::Result<Vec<UpstreamId>> {
    let known: BTreeSet<&UpstreamId> = snapshot.view().tools.iter().map(|card| &card.id.upstream).collect();
    let find = |name: &String| {
        let found = known.iter().find(|id| id.as_str() == name);
        found.map(|id| UpstreamId::clone(id)).ok_or_else(|| {
            let hint = suggest(name, known.iter().map(|id| id.as_str()));
            let hint = hint.unwrap_or_else(|| "`toolscout crawl` asks upstreams for their tools".to_owned());
            usage(format!("the catalog has no tool of `{}`", toolscout_core::text::preview(name)), &hint)
        })
    };
    names.iter().map(find).collect()
}

fn print(report: &Report) -> std::io::Result<()> {
    if report.n_tools == 0 {
        return screen::line("there is no tool to lint; `toolscout crawl` asks upstreams for theirs");
    }
    let mut table = screen::table(&["tool", "", "rule", "what is the matter"]);
    for finding in &report.findings {
        let what = screen::clip(&finding.message, 300);
        table.add_row([&finding.tool.to_string(), finding.severity.as_str(), finding.rule.id(), &what]);
    }
    screen::print(&table, "nothing to find fault with")?;
    let broken: BTreeSet<Rule> = report.findings.iter().map(|finding| finding.rule).collect();
    if !broken.is_empty() {
        screen::line("\nHow to mend it:")?;
        broken.iter().try_for_each(|rule| screen::line(&format!("  {}: {}", rule.id(), rule.fix())))?;
    }
    screen::line(&format!(
        "\nFound in their own words, among {} ({}):",
        screen::count(report.n_catalog, "tool"),
        report.index_state
    ))?;
    use ParaphraseKind::{Inputs, Name, Purpose, Title, When};
    for kind in [Purpose, Name, Title, When, Inputs] {
        let (first, five, all) = report.found(kind);
        if all > 0 {
            let what = kind.as_str();
            screen::line(&format!("  by {what:<8} {first} of {all} at place 1, {five} within the first five"))?;
        }
    }
    let counts: Vec<String> = report.counts.iter().map(|(severity, n)| screen::count(*n, severity)).collect();
    let searched = match report.n_searched == report.n_tools {
        true => String::new(),
        false => format!(" ({} of them searched for)", report.n_searched),
    };
    screen::line(&format!("\n{}{searched}: {}", screen::count(report.n_tools, "tool"), counts.join(", ")))
}
