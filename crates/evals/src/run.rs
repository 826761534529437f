//! From two files to a report.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use toolscout_embed::Embed;

use crate::arm::Arm;
use crate::bench::{ANSWER_TOOLS, Asked, Bench};
use crate::calibration::calibration;
use crate::error::Error;
use crate::files::{QueryLine, read_queries, read_tools};
use crate::metric::Labels;
use crate::report::{About, ArmReport, LabelReport, PolicyReport, QueryReport, Report};
use crate::score::{Sliced, metrics_at, unknown};
use crate::stats::DEFAULT_RESAMPLES;
use crate::tokens;

/// How many tools an arm is asked for, unless told otherwise: recall@10 needs ten.
pub const DEFAULT_K: usize = 10;
/// Most that can be asked for; `search_tools` gives no more either.
pub const MAX_K: usize = 50;

/// What to measure, on what, and how.
#[derive(Clone)]
pub struct RunOptions {
    /// `tools.jsonl`.
    pub catalog: PathBuf,
    /// Other catalogs, whose tools are put in the way.
    pub distractors: Vec<PathBuf>,
    /// `queries.jsonl`.
    pub queries: PathBuf,
    /// The set's name in the report. `None`: the query file's name, or its folder's where the file is `queries.jsonl`.
    pub set: Option<String>,
    /// Only queries of these slices; empty: all.
    pub slices: Vec<String>,
    /// Which arms, in the report's order.
    pub arms: Vec<Arm>,
    /// How many tools each arm is asked for, 1 to [`MAX_K`].
    pub k: usize,
    /// Seed of the intervals. Ranking has none.
    pub seed: u64,
    /// Redrawn slices behind each interval.
    pub resamples: usize,
    /// What makes the vectors.
    pub model: Model,
    /// A folder that keeps the vectors of tools from run to run; made if missing. `None`: they are made anew.
    pub cache: Option<PathBuf>,
    /// Whether the report tells how long it took.
    pub latency: Latency,
}

/// What makes the vectors of an eval.
#[derive(Clone)]
pub enum Model {
    /// The model inside the binary.
    Builtin,
    /// A model folder.
    Dir(PathBuf),
    /// This one, loaded already.
    Loaded(Arc<dyn Embed>),
    /// None: full-text search only.
    Off,
}

/// Whether the report tells how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Latency {
    /// Yes. Two runs then differ in these figures, and in these alone.
    #[default]
    Measured,
    /// No: the same inputs and seed give the same bytes.
    LeftOut,
}

impl RunOptions {
    /// The default run over two files: `hybrid`, the built-in model, ten tools.
    pub fn new(catalog: impl Into<PathBuf>, queries: impl Into<PathBuf>) -> Self {
        Self {
            catalog: catalog.into(),
            distractors: Vec::new(),
            queries: queries.into(),
            set: None,
            slices: Vec::new(),
            arms: vec![Arm::Hybrid],
            k: DEFAULT_K,
            seed: 0,
            resamples: DEFAULT_RESAMPLES,
            model: Model::Builtin,
            cache: None,
            latency: Latency::Measured,
        }
    }

    /// The set's name in the report.
    pub fn set_name(&self) -> String {
        if let Some(set) = &self.set {
            return set.clone();
        }
        let name = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let stem = name(self.queries.file_stem()).unwrap_or_default();
        let folder = self.queries.parent().and_then(|folder| name(folder.file_name()));
        if stem == "queries" { folder.unwrap_or(stem) } else { stem }
    }

    fn check(&self) -> Result<(), Error> {
        if self.arms.is_empty() {
            return Err(Error::Options("no arm to measure".into()));
        }
        if !(1..=MAX_K).contains(&self.k) {
            return Err(Error::Options(format!("k is {}, and has to be 1 to {MAX_K}", self.k)));
        }
        let repeated = self.arms.iter().enumerate().find(|(i, arm)| self.arms[..*i].contains(arm));
        if let Some((_, arm)) = repeated {
            return Err(Error::Options(format!("arm `{arm}` is named twice")));
        }
        if matches!(self.model, Model::Off)
            && let Some(arm) = self.arms.iter().find(|arm| arm.needs_vectors())
        {
            return Err(Error::NeedsModel { arm: arm.name() });
        }
        Ok(())
    }
}

/// Where a run stands, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Files are read, the catalog and the full-text index are built.
    Indexing {
        /// Tools in the catalog.
        n_tools: usize,
    },
    /// Tools are embedded.
    Embedding {
        /// So many have a vector.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// Queries are asked.
    Asking {
        /// The arm.
        arm: Arm,
        /// So many are answered.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// Figures and intervals are worked out.
    Scoring,
}

/// Measures. Needs no server, no network and no earlier state; writes nothing but the vector cache, if one is asked for.
pub fn run(options: &RunOptions, progress: &dyn Fn(Progress)) -> Result<Report, Error> {
    options.check()?;
    let tools = read_tools(&options.catalog, &options.distractors)?;
    let mut queries = read_queries(&options.queries)?;
    if !options.slices.is_empty() {
        keep_slices(&mut queries.lines, options)?;
    }
    let bench = Bench::set_up(&tools, options, progress)?;
    let embedded = bench.embed_queries(&queries.lines)?;

    let mut arms = Vec::with_capacity(options.arms.len());
    for &arm in &options.arms {
        let asked = bench.ask(arm, &queries.lines, &embedded, options.k, progress)?;
        let policy = bench.ask_denied(arm, &embedded, options.k, options.seed);
        arms.push((arm, asked, policy));
    }

    progress(Progress::Scoring);
    let labels: Vec<Labels<String>> = queries.lines.iter().map(|query| query.labels.clone()).collect();
    let slices: Vec<Option<String>> = queries.lines.iter().map(|query| query.slice.clone()).collect();
    let sliced = Sliced::new(&labels, &slices, options.seed, options.resamples);
    let metrics = metrics_at(options.k);
    let known: BTreeSet<&str> = bench.known().collect();
    let about = About {
        toolscout: env!("CARGO_PKG_VERSION").to_owned(),
        n_tools: known.len(),
        distractors: tools.distractors.clone(),
        n_queries: queries.lines.len(),
        catalog: tools.sha256.to_string(),
        queries: queries.sha256.to_string(),
        model: bench.model(),
        seed: options.seed,
        resamples: options.resamples,
        answer_tokens: format!(
            "{} of the answer, {ANSWER_TOOLS} tools at most: ours as compact JSON in search_tools' summary form, \
             peers' as the full definitions that they give",
            tokens::METHOD
        ),
        listing_tokens: tools.listing_tokens(),
        unknown_relevant: unknown(queries.lines.iter().map(|query| (query.id.as_str(), &query.labels)), &known),
        notes: tools.notes.iter().chain(bench.notes()).cloned().collect(),
    };
    let report = |(arm, asked, policy): &(Arm, Asked, Option<PolicyReport>)| {
        let answers: Vec<_> = asked.queries.iter().map(QueryReport::answer).collect();
        let latency_ms = (options.latency == Latency::Measured).then(|| asked.latency(*arm, &embedded));
        let confidence = arm.options().and_then(|_| calibration(&labels, &answers));
        let slices = sliced.score(&answers, &metrics);
        ArmReport { arm: arm.name().to_owned(), slices, latency_ms, confidence, policy: *policy }
    };
    let arm_reports = arms.iter().map(report).collect();
    let label_report = |query: QueryLine| LabelReport {
        id: query.id,
        slice: query.slice,
        relevant: query.labels.relevant,
        groups: query.labels.groups,
    };
    Ok(Report {
        set: options.set_name(),
        k: options.k,
        about,
        arms: arm_reports,
        queries: arms.into_iter().flat_map(|(_, asked, _)| asked.queries).collect(),
        labels: queries.lines.into_iter().map(label_report).collect(),
    })
}

fn keep_slices(queries: &mut Vec<QueryLine>, options: &RunOptions) -> Result<(), Error> {
    let there: BTreeSet<&str> = queries.iter().filter_map(|query| query.slice.as_deref()).collect();
    if let Some(missing) = options.slices.iter().find(|slice| !there.contains(slice.as_str())) {
        let there: Vec<&str> = there.into_iter().collect();
        let file = options.queries.display();
        let reason = format!("{file}: no query of slice `{missing}`; there are: {}", there.join(", "));
        return Err(Error::Options(reason));
    }
    queries.retain(|query| query.slice.as_ref().is_some_and(|slice| options.slices.contains(slice)));
    Ok(())
}
