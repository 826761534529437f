//! Figures on real catalogs: `TOOLSCOUT_CATALOGS=a/tools.jsonl:b/tools.jsonl cargo test --release -p toolscout-catalog
//! --test it -- --ignored --nocapture measure`. Asserts nothing about time.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use serde_json::json;
use toolscout_catalog::Catalog;
use toolscout_core::Timestamp;
use toolscout_store::Store;

use crate::{listing, open};

/// Resident memory of this process in MB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap_or(0.0) / 1024.0
}

/// CPU time of this process in ms, all threads: what a busy machine does not blur as much.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> =
        stat.rsplit(')').next().unwrap_or_default().split(' ').filter_map(|n| n.parse().ok()).collect();
    // User and system time, fields 14 and 15 of proc(5), in hundredths of a second; the state before them is no number.
    fields.get(10..12).map_or(0.0, |ticks| ticks.iter().sum::<f64>() * 10.0)
}

#[expect(clippy::disallowed_types, clippy::print_stdout, reason = "a measurement reads the real clock and says so")]
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (begun, cpu_before) = (std::time::Instant::now(), cpu());
    let result = work();
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    println!("{what}: {took:.1} ms, {:.0} ms CPU, {:.0} MB resident", cpu() - cpu_before, resident());
    result
}

/// A catalog that `measure` left in TOOLSCOUT_CATALOG_DIR, in a process that did nothing else.
#[test]
#[ignore = "prints figures, needs TOOLSCOUT_CATALOG_DIR"]
fn measure_open() {
    let dir = PathBuf::from(std::env::var("TOOLSCOUT_CATALOG_DIR").unwrap());
    println!("at the start: {:.0} MB resident", resident());
    let store = timed("open the store", || Store::open(&dir).unwrap().store);
    let catalog = timed("open the catalog", || open(&store));
    let view = catalog.view();
    let n_bytes: usize = view.tools.iter().map(|card| serde_json::to_string(card).unwrap().len()).sum();
    println!("{} tools; their cards as JSON have {:.1} MB", view.len(), n_bytes as f64 / 1e6);
    one_tool(&catalog);
}

#[test]
#[ignore = "prints figures, needs TOOLSCOUT_CATALOGS"]
fn measure() {
    let paths = std::env::var("TOOLSCOUT_CATALOGS").unwrap();
    let files: Vec<PathBuf> = paths.split(':').map(PathBuf::from).collect();
    let temporary = tempfile::tempdir().unwrap();
    let dir = std::env::var("TOOLSCOUT_CATALOG_DIR").map_or(temporary.path().to_owned(), PathBuf::from);
    println!("at the start: {:.0} MB resident", resident());
    {
        let store = Store::open(&dir).unwrap().store;
        let catalog = open(&store);
        for file in &files {
            let reader = BufReader::new(File::open(file).unwrap());
            let imported =
                timed(&format!("import {}", file.display()), || catalog.import_jsonl(reader, Timestamp(1)).unwrap());
            println!(
                "  {} tools of {} upstreams, {} problems",
                imported.n_tools,
                imported.change.view.upstreams.len(),
                imported.problems.len()
            );
            for problem in imported.problems.iter().take(3) {
                println!("  line {}: {}", problem.line, problem.reason);
            }
        }
        println!("{} tools, {} families", catalog.view().len(), catalog.view().families().len());
        let reader = BufReader::new(File::open(&files[0]).unwrap());
        timed("import the first again, unchanged", || catalog.import_jsonl(reader, Timestamp(2)).unwrap());
        one_tool(&catalog);
        println!("{:.1} MB on disk", store.size_on_disk().unwrap() as f64 / 1e6);
    }
    let store = timed("open the store", || Store::open(&dir).unwrap().store);
    let catalog = timed("open the catalog", || open(&store));
    one_tool(&catalog);
    let view = catalog.view();
    for typed in ["github:creat_isue", "serch_repositorys", "zzzzzz"] {
        let found = timed(&format!("nearest {typed}"), || view.nearest(typed, 3));
        println!("  {found:?}");
    }
    let last = &view.tools[view.len() - 1].id;
    timed("wire name, first", || view.by_wire_name(&last.wire_name()).unwrap().id.clone());
    timed("wire name, then", || view.by_wire_name(&last.wire_name()).unwrap().id.clone());
    println!("{}", timed("digest", || view.digest()));
    timed("export", || catalog.export_jsonl(std::io::sink()).unwrap());
}

fn one_tool(catalog: &Catalog) {
    for round in 0..3 {
        let tool = json!({"name": "one", "description": format!("round {round}"), "inputSchema": {"type": "object"}});
        timed("apply a change of one tool", || catalog.apply(listing("measured", round, [tool])).unwrap());
    }
}
