//! From a query to candidates with everything that is known of them.

use std::collections::BTreeSet;
use std::ops::Range;

use toolscout_embed::TokenVectors;
use toolscout_index::{Allow, DenseHit, DenseKind, DocIdx, LateQuery, LexicalHit, LexicalRun, Snapshot};

use crate::evidence::{FusionStage, TokensStage};
use crate::features::{About, Features, Group, features};
use crate::fuse::{Fused, PLAIN_DENSE, fuse, order, rank, scale, unite};
use crate::options::{Fusion, SelectorOptions};
use crate::ranker::weights;
use crate::select::Query;
use crate::steps;

/// Fewest candidates from either side, so that fusion has something to choose from.
const MIN_CANDIDATES: usize = 50;
/// Candidates from either side for one step of several.
const STEP_CANDIDATES: usize = 30;
/// The best of each step is among the first so many.
const COVER_WITHIN: usize = 5;
/// Candidates whose words are compared one by one: the best by then.
const LATE_CANDIDATES: usize = 64;

/// What came of the searches.
pub(crate) struct Gathered {
    pub(crate) run: LexicalRun,
    pub(crate) words: Vec<LexicalHit>,
    pub(crate) near: Vec<DenseHit>,
    pub(crate) by: Option<DenseKind>,
    /// Best first.
    pub(crate) fused: Vec<Fused>,
    pub(crate) fusion: FusionStage,
    pub(crate) tokens: TokensStage,
    /// The query's token vectors, if they were used.
    pub(crate) late: Option<LateQuery>,
    pub(crate) steps: Vec<Step>,
    /// What the ranker saw, for training: candidates, and the features of each in the same order.
    pub(crate) seen: (Vec<DocIdx>, Vec<Features>),
}

/// One step of a task of several.
pub(crate) struct Step {
    pub(crate) part: Range<usize>,
    /// The candidate that does it best.
    pub(crate) best: Option<DocIdx>,
}

/// The searches behind one step.
struct StepRun {
    part: Range<usize>,
    run: LexicalRun,
    vector: Option<Vec<f32>>,
}

/// Searches both sides, once for the whole query and once for each of its steps, and ranks what they propose.
pub(crate) fn gather(snapshot: &Snapshot, allow: &Allow, query: &Query, options: &SelectorOptions) -> Gathered {
    let k = options.candidates.max(MIN_CANDIDATES).max(query.limit);
    let text = if options.fusion == Fusion::Dense { "" } else { query.text.as_str() };
    let run = snapshot.lexical_run(text, allow, &options.lexical);
    let words = run.top(k);
    let vector = query.vector.as_deref().filter(|_| options.fusion != Fusion::Lexical);
    let (near, by) = vector.map_or((Vec::new(), None), |vector| {
        let (near, by) = snapshot.dense_answer(vector, allow, k);
        let by = (!near.is_empty()).then_some(by);
        (near, by)
    });
    let learned = options.fusion == Fusion::Learned;
    let tokens = query.tokens.as_deref().filter(|_| learned && by.is_some());

    let mut step_runs = Vec::new();
    let mut further = Vec::new();
    if options.steps && learned {
        step_runs = search_steps(snapshot, allow, query, tokens, options, &mut further);
    }
    let mut fused = unite(snapshot, &run, &words, &near, &further, vector);
    let mut fusion = scale(&mut fused);
    fusion.method = options.fusion;
    fuse(&mut fused, options.fusion, by.is_some());
    order(&mut fused);

    let late = tokens.filter(|_| options.tokens).and_then(LateQuery::of);
    let tokens_stage = late.as_ref().map(|late| compare_tokens(snapshot, late, &mut fused)).unwrap_or_default();
    let has_tokens = tokens_stage.n_candidates > 0;
    let plain = plain_by_step(snapshot, &step_runs, &fused);
    let best = |scores: &Vec<f64>| {
        let best = fused.iter().zip(scores).filter(|(_, score)| **score > 0.0);
        best.max_by(|a, b| a.1.total_cmp(b.1).then(b.0.doc.cmp(&a.0.doc))).map(|(one, _)| one.doc)
    };
    let steps: Vec<Step> = step_runs
        .iter()
        .zip(&plain)
        .map(|(step, scores)| Step { part: step.part.clone(), best: best(scores) })
        .collect();

    let mut seen = (Vec::new(), Vec::new());
    if learned {
        let middle = |one: &Fused| {
            let vector = vector.filter(|_| options.upstreams)?;
            snapshot.centroid_cosine(one.doc, vector).map(f64::from)
        };
        let middles: Vec<Option<f64>> = fused.iter().map(middle).collect();
        let about = About { text: &query.text, n_steps: step_runs.len(), upstreams: options.upstreams };
        let features = features(snapshot, &about, &run, &fused, &middles, &plain);
        rank(&mut fused, &features, weights(by.is_some(), has_tokens));
        seen = (fused.iter().map(|one| one.doc).collect(), features);
        order(&mut fused);
        if options.cover {
            cover(&mut fused, &steps, query.limit.min(COVER_WITHIN));
        }
    }
    Gathered { run, words, near, by, fused, fusion, tokens: tokens_stage, late, steps, seen }
}

/// Gives the best tool of every step a place among the first `n`, behind those that are there by themselves: it gets so many
/// points for its step that it stands there by its score.
fn cover(fused: &mut [Fused], steps: &[Step], n: usize) {
    let best: BTreeSet<DocIdx> = steps.iter().filter_map(|step| step.best).collect();
    if n >= fused.len() || best.len() > n {
        return;
    }
    let outside = |n_kept: usize| best.iter().filter(|doc| fused[..n_kept].iter().all(|one| one.doc != **doc)).count();
    // As many as can keep their places while all that are missing find one behind them.
    let Some(n_kept) = (n - best.len()..=n).rev().find(|n_kept| outside(*n_kept) <= n - n_kept) else { return };
    let lifted: Vec<usize> = (n_kept..fused.len()).filter(|at| best.contains(&fused[*at].doc)).collect();
    if lifted.iter().all(|at| *at < n) {
        return;
    }
    let below = fused[n_kept].score();
    let target = match n_kept.checked_sub(1) {
        Some(last) => (fused[last].score() + below) / 2.0,
        None => below + STEP_LEAD,
    };
    for at in lifted {
        let one = &mut fused[at];
        one.parts[Group::Steps as usize] += (target - one.score()).max(0.0);
    }
    order(fused);
}

/// How far the tools of the steps stand before all others where there is room for them alone.
const STEP_LEAD: f64 = 1e-3;

/// Searches for each step by itself. What it finds joins the candidates. No steps: the task is one.
fn search_steps(
    snapshot: &Snapshot,
    allow: &Allow,
    query: &Query,
    tokens: Option<&TokenVectors>,
    options: &SelectorOptions,
    further: &mut Vec<DocIdx>,
) -> Vec<StepRun> {
    let parts = steps::split(&query.text);
    if parts.len() < 2 {
        return Vec::new();
    }
    let search = |part: Range<usize>| {
        let run = snapshot.lexical_run(&query.text[part.clone()], allow, &options.lexical);
        further.extend(run.top(STEP_CANDIDATES).iter().map(|hit| hit.doc));
        // No second pass through the model: the step's own words in the query's vectors.
        let vector = tokens.and_then(|tokens| tokens.pool(part.clone()));
        if let Some(vector) = &vector {
            further.extend(snapshot.dense(vector, allow, STEP_CANDIDATES).iter().map(|hit| hit.doc));
        }
        StepRun { part, run, vector }
    };
    parts.into_iter().map(search).collect()
}

/// For each step, how well each candidate does it by the plain sum.
fn plain_by_step(snapshot: &Snapshot, steps: &[StepRun], fused: &[Fused]) -> Vec<Vec<f64>> {
    let one = |step: &StepRun| -> Vec<f64> {
        let words: Vec<f64> = fused.iter().map(|one| step.run.score(one.doc)).collect();
        let words_high = words.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let Some(vector) = &step.vector else { return words.iter().map(|words| words / words_high).collect() };
        let cosines: Vec<f64> =
            fused.iter().map(|one| snapshot.cosine(one.doc, vector).map_or(0.0, f64::from)).collect();
        let low = cosines.iter().copied().fold(f64::INFINITY, f64::min);
        let span = cosines.iter().copied().fold(f64::NEG_INFINITY, f64::max) - low;
        let meaning = |cosine: f64| if span > 0.0 { (cosine - low) / span } else { 0.0 };
        words
            .iter()
            .zip(&cosines)
            .map(|(words, cosine)| PLAIN_DENSE * meaning(*cosine) + (1.0 - PLAIN_DENSE) * words / words_high)
            .collect()
    };
    steps.iter().map(one).collect()
}

/// Late interaction for the best so far.
fn compare_tokens(snapshot: &Snapshot, late: &LateQuery, fused: &mut [Fused]) -> TokensStage {
    let mut stage = TokensStage { low: f64::INFINITY, high: f64::NEG_INFINITY, n_candidates: 0 };
    for one in fused.iter_mut().take(LATE_CANDIDATES) {
        one.late = snapshot.late(one.doc, late);
        if let Some(score) = one.tokens() {
            stage.n_candidates += 1;
            (stage.low, stage.high) = (stage.low.min(score), stage.high.max(score));
        }
    }
    if stage.n_candidates == 0 { TokensStage::default() } else { stage }
}
