//! What the learned ranker sees, written out for training it: see `models/ranker/fit.py`.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use serde::Serialize;

use crate::bench::Bench;
use crate::error::Error;
use crate::files::{read_queries, read_tools};
use crate::run::{Progress, RunOptions};

/// One query with everything that the ranker saw of it.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    slice: Option<&'a str>,
    /// How many tools are right, found or not.
    n_relevant: usize,
    groups: &'a [Vec<String>],
    /// What confidence is judged by.
    signs: Vec<f64>,
    /// Id, whether it is right, and its features in the order of `toolscout_selector::FEATURES`.
    candidates: Vec<(String, u8, Vec<f64>)>,
}

/// Writes one line per query: its candidates with their features and labels.
pub fn write_features(options: &RunOptions, path: &Path, progress: &dyn Fn(Progress)) -> Result<(), Error> {
    let tools = read_tools(&options.catalog, &options.distractors)?;
    let queries = read_queries(&options.queries)?.lines;
    let bench = Bench::set_up(&tools, options, progress)?;
    let embedded = bench.embed_queries(&queries)?;
    let failed = |source| Error::Write { path: path.into(), source };
    let mut out = BufWriter::new(std::fs::File::create(path).map_err(failed)?);
    for (query, embedded) in queries.iter().zip(&embedded) {
        let (candidates, signs) = bench.trace(embedded);
        let round = |values: Vec<f64>| values.into_iter().map(|value| (value * 1e5).round() / 1e5).collect();
        let labelled = |(id, features): (String, Vec<f64>)| {
            let label = u8::from(query.labels.relevant.contains(&id));
            (id, label, round(features))
        };
        let line = Line {
            id: &query.id,
            slice: query.slice.as_deref(),
            n_relevant: query.labels.relevant.len(),
            groups: &query.labels.groups,
            signs: round(signs),
            candidates: candidates.into_iter().map(labelled).collect(),
        };
        serde_json::to_writer(&mut out, &line).map_err(|error| failed(error.into()))?;
        out.write_all(b"\n").map_err(failed)?;
    }
    out.flush().map_err(failed)
}
