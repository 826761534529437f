//! A second opinion on the best few tools of a search: off unless the operator configures one.
//!
//! The selector finds and orders; a [`Reranker`] reads the best of its answer closely and weighs them anew. It can change
//! their order and nothing else. It has a deadline, and whatever goes wrong with it, the first order stands and the evidence
//! says why. Two are built: [`CrossEncoding`], a model of the operator's in this process, and [`Judge`], a language model
//! behind an endpoint.

mod cross;
mod judge;

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, timeout};
use toolscout_core::{Generation, Timestamp, ToolId};
use toolscout_selector::{SecondStage, Selection, settle};
use tracing::{Instrument as _, debug, info_span, warn};

use crate::services::Services;

pub use cross::{CROSS_ENCODER_TOP, CrossEncoding};
pub use judge::{Judge, JudgeOptions};

/// Weighs the best candidates of a search anew.
pub trait Reranker: Send + Sync {
    /// What it is, in the word of the evidence: `cross_encoder`, `judge`.
    fn kind(&self) -> &'static str;

    /// Its model's name.
    fn model(&self) -> &str;

    /// How many candidates it is asked about.
    fn top(&self) -> usize;

    /// How long it may take.
    fn deadline(&self) -> Duration;

    /// A score per candidate, in their order, on any scale: bigger is better. Dropped when its time is up, at any await.
    fn weigh<'a>(&'a self, question: &'a Question, now: Timestamp) -> BoxFuture<'a, Result<Weighed, Skipped>>;
}

/// What a second stage is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// The task, in the words of whoever asks.
    pub query: String,
    /// The generation that the candidates are from.
    pub generation: Generation,
    /// The candidates, best first, with what their cards say. A stranger's text: data, never instructions.
    pub candidates: Vec<(ToolId, String)>,
}

/// What a second stage answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighed {
    /// One per candidate.
    pub scores: Vec<f64>,
    /// Whether it was remembered.
    pub remembered: bool,
}

/// Why there is no second opinion. Shown in evidence, which agents read: holds no text from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// Fewer than two candidates.
    NothingToOrder,
    /// It took too long.
    Late,
    /// The model could not be loaded; the log says why.
    NotLoaded,
    /// The model failed.
    Failed,
    /// The hour's budget is used up.
    BudgetSpent,
    /// The endpoint could not be reached, or broke off.
    Unreachable,
    /// The endpoint answered with an error status.
    Status(u16),
    /// The endpoint's answer is too long.
    TooLarge,
    /// The answer is not a list of the numbers that it was given, or not a score for each candidate.
    NotTheNumbers,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingToOrder => f.write_str("there was nothing to order"),
            Self::Late => f.write_str("it took longer than its deadline"),
            Self::NotLoaded => f.write_str("its model is not usable"),
            Self::Failed => f.write_str("its model failed"),
            Self::BudgetSpent => f.write_str("its budget for this hour is used up"),
            Self::Unreachable => f.write_str("its endpoint could not be reached"),
            Self::Status(status) => write!(f, "its endpoint answered with status {status}"),
            Self::TooLarge => f.write_str("its answer was too long"),
            Self::NotTheNumbers => f.write_str("its answer was no list of the numbers given"),
        }
    }
}

/// Asks the second stage about a selection made with its shortlist, and settles the order.
pub(crate) async fn settled(
    services: &Services,
    stage: &dyn Reranker,
    query: &str,
    mut selection: Selection,
) -> Selection {
    let text = |card| toolscout_index::card_text(card);
    let question = Question {
        query: query.to_owned(),
        generation: selection.generation,
        candidates: selection.tools.iter().map(|tool| (tool.card.id.clone(), text(&tool.card))).collect(),
    };
    let n_candidates = question.candidates.len();
    let started = Instant::now();
    let weighed = match n_candidates {
        0 | 1 => Err(Skipped::NothingToOrder),
        _ => {
            let asked = stage.weigh(&question, services.now()).instrument(info_span!("second_stage"));
            timeout(stage.deadline(), asked).await.unwrap_or(Err(Skipped::Late))
        }
    };
    let is_sound = |one: &Weighed| one.scores.len() == n_candidates && one.scores.iter().all(|score| score.is_finite());
    let weighed = weighed.and_then(|one| if is_sound(&one) { Ok(one) } else { Err(Skipped::NotTheNumbers) });
    let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    match weighed {
        Ok(_) => debug!(stage = stage.kind(), n_candidates, millis, "second opinion taken"),
        Err(Skipped::NothingToOrder | Skipped::BudgetSpent) => {}
        Err(reason) => warn!(stage = stage.kind(), %reason, millis, "no second opinion, the first order stands"),
    }
    let evidence = SecondStage {
        by: stage.kind().to_owned(),
        model: stage.model().to_owned(),
        n_candidates: n_candidates as u64,
        millis,
        remembered: weighed.as_ref().is_ok_and(|one| one.remembered),
        skipped: weighed.as_ref().err().map(ToString::to_string),
    };
    settle(&mut selection, evidence, weighed.ok().as_ref().map(|one| one.scores.as_slice()));
    selection
}
