//! The embedding model, loaded when it suits the command.
//!
//! A server answers from words while the model still loads: [`LateModel`] stands in for it. Documents wait for it on the
//! index's own thread; queries do not wait and are answered without a vector until it is there.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use toolscout_embed::manifest::Manifest;
use toolscout_embed::{
    Embed, EmbedOptions, Embedder, Embedding, Error, ModelInfo, ModelSource, QueryEmbedder, QueryOptions, RuntimeInfo,
    RuntimeOptions, Want,
};

use crate::config::Settings;
use crate::config::settings::ModelChoice;

/// What the index and the gateway get.
pub(crate) struct Model {
    /// For the index. `None`: words alone.
    pub(crate) documents: Option<Arc<dyn Embed>>,
    /// For queries.
    pub(crate) queries: Option<Arc<QueryEmbedder>>,
    /// Why there is none, if it was wanted.
    pub(crate) problem: Option<Error>,
    /// The loading that goes on behind, if it does.
    pub(crate) loading: Option<Loading>,
}

/// A model on its way.
pub(crate) struct Loading(Arc<Arrival>);

impl Loading {
    /// Waits until it has arrived or failed; loading always ends. A process that ends in the middle would take the runtime's
    /// library down under the thread that still starts it, and crash.
    pub(crate) fn wait(&self) {
        let _ = self.0.get(Patience::Endless);
    }
}

/// Where the configured model comes from; `None` when it is switched off.
pub(crate) fn source(settings: &Settings) -> Option<ModelSource> {
    match &settings.embedding.model {
        ModelChoice::Off => None,
        ModelChoice::Builtin => Some(ModelSource::Builtin),
        ModelChoice::Dir(dir) => Some(ModelSource::Dir(dir.clone())),
    }
}

/// How to run it.
pub(crate) fn options(settings: &Settings) -> EmbedOptions {
    let runtime = RuntimeOptions { library: settings.embedding.runtime.clone(), ..RuntimeOptions::default() };
    let mut options = EmbedOptions { runtime, ..EmbedOptions::default() };
    if let Ok(threads @ 1..) = usize::try_from(settings.embedding.threads) {
        options.query_threads = threads;
    }
    options
}

impl Model {
    fn off(problem: Option<Error>) -> Self {
        Self { documents: None, queries: None, problem, loading: None }
    }

    /// Loads it before going on: for commands that answer once.
    pub(crate) fn load_now(settings: &Settings) -> Self {
        let Some(source) = source(settings) else { return Self::off(None) };
        match Embedder::load(&source, &options(settings)) {
            Ok(embedder) => {
                let embedder: Arc<dyn Embed> = Arc::new(embedder);
                let queries = QueryEmbedder::new(Arc::clone(&embedder), query_options(settings));
                Self { documents: Some(embedder), queries: Some(Arc::new(queries)), problem: None, loading: None }
            }
            Err(problem) => Self::off(Some(problem)),
        }
    }

    /// Reads its manifest and loads the rest on a thread of its own: for servers.
    pub(crate) fn load_behind(settings: &Settings) -> Self {
        let Some(source) = source(settings) else { return Self::off(None) };
        let info = match Manifest::read(&source) {
            Ok(manifest) => info_of(&manifest),
            Err(problem) => return Self::off(Some(problem)),
        };
        let arrival = Arc::new(Arrival::default());
        let (options, landing) = (options(settings), Arc::clone(&arrival));
        let loading = move || landing.land(Embedder::load(&source, &options));
        if std::thread::Builder::new().name("model".to_owned()).spawn(loading).is_err() {
            // No thread to be had: then it loads here and now.
            return Self::load_now(settings);
        }
        let late = |patience| Arc::new(LateModel { info: info.clone(), arrival: Arc::clone(&arrival), patience });
        let queries = QueryEmbedder::new(late(Patience::None), query_options(settings));
        let documents = late(Patience::Endless);
        Self {
            documents: Some(documents),
            queries: Some(Arc::new(queries)),
            problem: None,
            loading: Some(Loading(arrival)),
        }
    }
}

fn query_options(settings: &Settings) -> QueryOptions {
    let remembered = usize::try_from(settings.embedding.query_cache).unwrap_or(usize::MAX);
    QueryOptions { remembered, ..QueryOptions::default() }
}

/// The facts that the loaded model will state, but for the runtime's version.
fn info_of(manifest: &Manifest) -> ModelInfo {
    ModelInfo {
        id: manifest.id.clone(),
        dimension: manifest.dimension,
        max_tokens: manifest.max_tokens,
        sha256: manifest.fingerprint(),
        late_dimension: manifest.late.as_ref().map(|late| late.dimension),
        licence: manifest.licence.clone(),
        runtime: RuntimeInfo { name: "ONNX Runtime".to_owned(), version: String::new(), source: "loading".to_owned() },
    }
}

/// Where a loading model arrives.
#[derive(Default)]
struct Arrival {
    state: Mutex<Option<Result<Arc<Embedder>, String>>>,
    arrived: Condvar,
}

impl Arrival {
    fn land(&self, loaded: Result<Embedder, Error>) {
        let loaded = loaded.map(Arc::new).map_err(|error| {
            let error = anyhow::Error::from(error);
            tracing::warn!(
                error = format!("{error:#}"),
                "the embedding model is not usable; answering from words alone"
            );
            format!("{error:#}")
        });
        if let Ok(embedder) = &loaded {
            let model = embedder.model();
            tracing::info!(model = %model.id, runtime = %model.runtime.version, "embedding model ready");
        }
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
        self.arrived.notify_all();
    }

    fn get(&self, patience: Patience) -> Option<Result<Arc<Embedder>, String>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.is_none() && patience == Patience::Endless {
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.clone()
    }
}

/// Whether to wait for a model that still loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Say at once that it still loads.
    None,
    /// Wait: loading always ends.
    Endless,
}

/// Stands in for a model until it has arrived.
struct LateModel {
    info: ModelInfo,
    arrival: Arc<Arrival>,
    patience: Patience,
}

impl Embed for LateModel {
    fn model(&self) -> &ModelInfo {
        &self.info
    }

    fn embed(&self, texts: &[&str], want: Want) -> Result<Vec<Embedding>, Error> {
        match self.arrival.get(self.patience) {
            None => Err(Error::Loading),
            Some(Ok(embedder)) => embedder.embed(texts, want),
            Some(Err(reason)) => Err(Error::Open { model: self.info.id.clone(), source: reason.into() }),
        }
    }

    fn inferences(&self) -> u64 {
        match self.arrival.get(Patience::None) {
            Some(Ok(embedder)) => embedder.inferences(),
            Some(Err(_)) | None => 0,
        }
    }

    fn knows(&self, word: &str) -> bool {
        match self.arrival.get(Patience::None) {
            Some(Ok(embedder)) => embedder.knows(word),
            Some(Err(_)) | None => true,
        }
    }

    fn rest(&self) {
        if let Some(Ok(embedder)) = self.arrival.get(Patience::None) {
            embedder.rest();
        }
    }
}
