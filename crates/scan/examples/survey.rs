//! What the scan finds in catalogs of real tools: `survey TOOLS.jsonl… [--show KIND|SEVERITY]`. The figures in ARCHITECTURE.md
//! are made with it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::sync::Arc;

use serde_json::{Value, json};
use toolscout_core::{ToolId, ToolName, UpstreamId};
use toolscout_scan::{Scan, ScanOptions, Screen, scan};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let show = args.iter().position(|arg| arg == "--show").map(|at| args.drain(at..).nth(1).unwrap_or_default());
    let (mut ids, mut scans): (Vec<ToolId>, BTreeMap<ToolId, Arc<Scan>>) = Default::default();
    let mut definitions = Vec::new();
    for file in &args {
        for line in std::io::BufReader::new(std::fs::File::open(file)?).lines() {
            let tool: Value = serde_json::from_str(&line?)?;
            let (Some(server), Some(name)) = (tool["server"].as_str(), tool["name"].as_str()) else { continue };
            let (Ok(upstream), Ok(name)) = (UpstreamId::slug(server), ToolName::new(name)) else { continue };
            let mut definition =
                json!({"name": tool["name"], "description": tool["description"], "inputSchema": tool["input_schema"]});
            for key in ["title", "annotations"] {
                definition[key] = tool[key].clone();
            }
            definitions.push((ToolId::new(upstream, name), definition));
        }
    }
    #[expect(clippy::disallowed_types, reason = "measures the real machine")]
    let began = std::time::Instant::now();
    for (id, definition) in definitions {
        let found = scan(&definition);
        if !found.is_empty() {
            scans.insert(id.clone(), Arc::new(found));
        }
        ids.push(id);
    }
    let took = began.elapsed();
    let screen = Screen::new(&scans, ids.iter(), &ScanOptions::default());
    let mut tally: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut out = std::io::stdout().lock();
    for (id, reported) in screen.reported() {
        for finding in &reported.findings {
            let (kind, severity) = (finding.kind.as_str(), finding.severity.as_str());
            *tally.entry((severity.to_owned(), kind.to_owned())).or_default() += 1;
            if show.as_deref().is_some_and(|show| show == kind || show == severity) {
                writeln!(out, "{severity} {kind} {id} {}: {} | {}", finding.at, finding.why, finding.excerpt)?;
            }
        }
    }
    let share = |n: usize| 100.0 * n as f64 / ids.len() as f64;
    for ((severity, kind), n) in &tally {
        writeln!(out, "{severity:<8} {kind:<16} {n:>5} findings")?;
    }
    let worst = |severity| {
        screen
            .reported()
            .filter(|(_, reported)| {
                reported
                    .findings
                    .iter()
                    .map(|f| f.severity.as_str())
                    .max_by_key(|s| ["low", "medium", "high"].iter().position(|x| x == s))
                    == Some(severity)
            })
            .count()
    };
    for severity in ["high", "medium", "low"] {
        writeln!(out, "{severity:<8} gravest of {:>5} tools, {:.3} %", worst(severity), share(worst(severity)))?;
    }
    writeln!(
        out,
        "{} tools scanned in {:.0} ms; {} withheld, {:.3} %",
        ids.len(),
        took.as_secs_f64() * 1e3,
        screen.withheld().len(),
        share(screen.withheld().len())
    )?;
    Ok(())
}
