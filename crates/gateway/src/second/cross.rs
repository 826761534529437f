//! The operator's cross-encoder, one question at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use toolscout_core::Timestamp;
use toolscout_embed::CrossEncoder;
use tracing::warn;

use super::{Question, Reranker, Skipped, Weighed};

/// How many candidates a cross-encoder is asked about: each takes a pass through its model.
pub const CROSS_ENCODER_TOP: usize = 20;

/// A cross-encoder as a second stage.
pub struct CrossEncoding {
    name: String,
    encoder: Option<Arc<CrossEncoder>>,
    deadline: Duration,
    /// Its passes share one session, so there is nothing to gain from asking twice at once.
    free: Arc<Semaphore>,
}

impl CrossEncoding {
    /// A second stage that may take so long.
    pub fn new(encoder: CrossEncoder, deadline: Duration) -> Self {
        let name = encoder.manifest().id.clone();
        Self { name, encoder: Some(Arc::new(encoder)), deadline, free: Arc::new(Semaphore::new(1)) }
    }

    /// One whose model could not be loaded: it is named in the evidence and always skipped.
    pub fn unusable(name: String) -> Self {
        Self { name, encoder: None, deadline: Duration::ZERO, free: Arc::new(Semaphore::new(1)) }
    }
}

impl Reranker for CrossEncoding {
    fn kind(&self) -> &'static str {
        "cross_encoder"
    }

    fn model(&self) -> &str {
        &self.name
    }

    fn top(&self) -> usize {
        CROSS_ENCODER_TOP
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn weigh<'a>(&'a self, question: &'a Question, _now: Timestamp) -> BoxFuture<'a, Result<Weighed, Skipped>> {
        Box::pin(async move {
            let encoder = Arc::clone(self.encoder.as_ref().ok_or(Skipped::NotLoaded)?);
            let turn = Arc::clone(&self.free).acquire_owned().await.map_err(|_| Skipped::Failed)?;
            let waiting = Waiting::default();
            let (asked, question) = (Arc::clone(&waiting.0), question.clone());
            let work = move || {
                // Kept by the work, not by the waiter: a pass that nobody waits for any more still takes the turn.
                let _turn = turn;
                let texts: Vec<&str> = question.candidates.iter().map(|(_, text)| text.as_str()).collect();
                encoder.weigh(&question.query, &texts, &|| asked.load(Ordering::Relaxed))
            };
            // Not among the gateway's searches: those are over in milliseconds, and must not queue behind this.
            match tokio::task::spawn_blocking(work).await {
                Ok(Ok(Some(scores))) => {
                    Ok(Weighed { scores: scores.into_iter().map(f64::from).collect(), remembered: false })
                }
                Ok(Ok(None)) => Err(Skipped::Late),
                Ok(Err(error)) => {
                    warn!(error = &error as &dyn std::error::Error, "cross-encoder failed");
                    Err(Skipped::Failed)
                }
                Err(_) => Err(Skipped::Failed),
            }
        })
    }
}

/// True as long as somebody waits.
struct Waiting(Arc<AtomicBool>);

impl Default for Waiting {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
