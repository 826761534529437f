//! `catalog import|export`.

use std::io::{BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::app::clock;
use crate::backend::Backend;
use crate::commands::crawl::settle;
use crate::config::Config;
use crate::fail::{Ended, Exit, told};
use crate::screen;

/// Lines left out that are shown.
const N_SHOWN: usize = 10;

/// `catalog import FILE`: fills the catalog without any server.
pub(crate) async fn import(config: &Config, file: &Path, is_json: bool) -> Ended {
    let context = || format!("read {}", file.display());
    let reader: Box<dyn std::io::BufRead + Send> = match file.as_os_str() == "-" {
        true => Box::new(BufReader::new(std::io::stdin())),
        false => Box::new(BufReader::new(std::fs::File::open(file).with_context(context)?)),
    };
    let backend = Backend::open(config).await?;
    let Backend::Here(app) = &backend else { return Err(held()) };
    let catalog = Arc::clone(&app.catalog);
    let import = move || catalog.import_jsonl(reader, clock()());
    let imported = tokio::task::spawn_blocking(import).await.context("the import ended early")?;
    let imported = imported.with_context(context)?;
    settle(app).await;
    let readiness = backend.readiness().await?;
    backend.close().await;

    let diff = &imported.change.diff;
    let problems: Vec<_> =
        imported.problems.iter().map(|p| serde_json::json!({ "line": p.line, "reason": p.reason })).collect();
    if is_json {
        screen::json(&serde_json::json!({
            "n_tools": imported.n_tools, "added": diff.added.len(), "changed": diff.changed.len(),
            "removed": diff.removed.len(), "problems": problems, "index": readiness,
        }))?;
    } else {
        let (added, changed, removed) = (diff.added.len(), diff.changed.len(), diff.removed.len());
        let n_tools = screen::count(imported.n_tools, "tool");
        screen::line(&format!(
            "{n_tools} taken: {added} new, {changed} changed, {removed} gone · index {}",
            readiness.index_state
        ))?;
        for problem in imported.problems.iter().take(N_SHOWN) {
            screen::say(&format!("line {} left out: {}", problem.line, problem.reason));
        }
        if imported.problems.len() > N_SHOWN {
            screen::say(&format!("and {} more lines", imported.problems.len() - N_SHOWN));
        }
    }
    if imported.n_tools == 0 {
        screen::say(&format!("error: no tool in {}", file.display()));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

/// `catalog export [FILE]`.
pub(crate) async fn export(config: &Config, file: Option<&Path>) -> Ended {
    let backend = Backend::open(config).await?;
    let Backend::Here(app) = &backend else { return Err(held()) };
    let catalog = Arc::clone(&app.catalog);
    let to = file.map(Path::to_owned);
    let export = move || -> anyhow::Result<usize> {
        let Some(path) = to else {
            let mut out = BufWriter::new(std::io::stdout());
            let n_tools = catalog.export_jsonl(&mut out)?;
            out.flush()?;
            return Ok(n_tools);
        };
        let context = || format!("write {}", path.display());
        let mut out = BufWriter::new(std::fs::File::create(&path).with_context(context)?);
        let n_tools = catalog.export_jsonl(&mut out)?;
        out.flush().with_context(context)?;
        Ok(n_tools)
    };
    let n_tools = tokio::task::spawn_blocking(export).await.context("the export ended early")?;
    backend.close().await;
    let n_tools = n_tools?;
    if let Some(path) = file {
        screen::say(&format!("{} written to {}", screen::count(n_tools, "tool"), path.display()));
    }
    Ok(Exit::Done)
}

fn held() -> anyhow::Error {
    let hint = "stop the server first, or work on another folder with --data";
    told(Exit::Failed, "a running server holds the catalog", Some(hint.to_owned()))
}
