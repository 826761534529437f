//! While a server runs: tells in the log and under `/v1/upstreams` which tools a crawl made harder to find.
//!
//! A thread of its own, behind everything: it looks when all vectors of a generation are there, at few tools, and answers nobody.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use toolscout_core::UpstreamId;
use toolscout_embed::{QueryEmbedder, QueryVectors};
use toolscout_gateway::Findability;
use toolscout_index::{IndexHost, Snapshot, glossary};

/// Tools looked at per generation. Each costs two searches, 10 to 20 ms together.
const MAX_WATCHED: usize = 32;
/// How often it looks whether to end while vectors are made.
const TICK: Duration = Duration::from_secs(1);

/// The watching thread.
pub(crate) struct Watch {
    wake: Option<Sender<()>>,
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    /// Starts it.
    pub(crate) fn start(
        index: &Arc<IndexHost>,
        embedder: Option<Arc<QueryEmbedder>>,
        told: &Arc<Findability>,
    ) -> std::io::Result<Self> {
        let (wake, woken) = mpsc::channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let (index, over, told) = (Arc::clone(index), Arc::clone(&is_over), Arc::clone(told));
        let thread = std::thread::Builder::new().name("findability".to_owned());
        let thread = thread.spawn(move || watch(&index, embedder.as_deref(), &told, &woken, &over))?;
        Ok(Self { wake: Some(wake), is_over, thread: Some(thread) })
    }

    /// What to call when a generation has come into the index.
    pub(crate) fn waker(&self) -> impl Fn() + Send + Sync + 'static {
        let wake = Mutex::new(self.wake.clone());
        move || {
            if let Some(wake) = &*wake.lock().unwrap_or_else(PoisonError::into_inner) {
                // Nobody there any more: the service is closing.
                let _ = wake.send(());
            }
        }
    }

    /// Ends it and waits: a search must not run on while the model is unloaded.
    pub(crate) fn end(mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(wake) = self.wake.take() {
            let _ = wake.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A query's vectors as a search makes them.
pub(crate) fn vectors(embedder: Option<&QueryEmbedder>, text: &str) -> Option<QueryVectors> {
    embedder?.embed_query(&glossary::with_gloss(text)).ok()
}

fn watch(
    index: &IndexHost,
    embedder: Option<&QueryEmbedder>,
    told: &Findability,
    woken: &Receiver<()>,
    is_over: &AtomicBool,
) {
    let mut last = index.snapshot();
    while woken.recv().is_ok() {
        while !is_over.load(Ordering::SeqCst) && !index.wait_settled(TICK) {}
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        // What came meanwhile is in this snapshot already.
        while woken.try_recv().is_ok() {}
        let now = index.snapshot();
        let falls = toolscout_lint::falls(&last, &now, &|text| vectors(embedder, text), MAX_WATCHED);
        told.compared(changed(&last, &now), falls.iter().map(|fall| fall.tool.clone()));
        for fall in falls {
            let (tool, before, after) = (&fall.tool, fall.before, fall.after);
            tracing::warn!(%tool, before, after, why = fall.told(), "a tool is found less well since a crawl");
        }
        last = now;
    }
}

/// The upstreams whose cards differ.
fn changed(before: &Snapshot, after: &Snapshot) -> impl Iterator<Item = UpstreamId> {
    let (old, new) = (Arc::clone(before.view()), Arc::clone(after.view()));
    let ids: Vec<UpstreamId> = old.upstreams.keys().chain(new.upstreams.keys()).cloned().collect();
    ids.into_iter().filter(move |id| {
        let (old, new) = (old.tools_of(id), new.tools_of(id));
        old.len() != new.len() || old.iter().zip(new).any(|(old, new)| !Arc::ptr_eq(old, new) && old != new)
    })
}
