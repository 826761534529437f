//! The real embedder: fastembed over ONNX Runtime.
//!
//! Two kinds of sessions run the same model. One stands ready for single texts and spreads each over a few threads: a
//! query answers in about a millisecond. Documents go through lanes of one thread each, opened when the first batch comes
//! and dropped by [`Embed::rest`]; they run at low priority, so that a query asked meanwhile does not wait for them.
//!
//! Documents are not packed into batches: one at a time was measured to be the fastest form on the CPUs we know (padding and
//! cache misses cost more than a batch saves), and a text alone cannot be influenced by its neighbours.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use fastembed::{InitOptionsUserDefined, TextEmbedding, TokenizerFiles, UserDefinedEmbeddingModel};
use parking_lot::{Condvar, Mutex};
use tracing::debug;

use crate::manifest::{Manifest, ModelSource};
use crate::runtime::{Runtime, runtime};
use crate::{Embed, Embedding, Error, ModelInfo, RuntimeOptions, TokenVectors, Want, normalize};

/// How to run a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedOptions {
    /// Threads that work together on one query. More than the machine has cores makes it slower.
    pub query_threads: usize,
    /// How those threads wait for each other.
    pub wait: Wait,
    /// How many documents are worked on side by side, each on one thread. Each takes some 60 MB while it lasts.
    pub document_lanes: usize,
    /// Where ONNX Runtime comes from.
    pub runtime: RuntimeOptions,
}

/// How the threads of one query wait for each other between two steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wait {
    /// Asleep: what a machine with other work to do needs. With two busy cores a query was measured at a quarter of the time
    /// that spinning takes.
    #[default]
    Asleep,
    /// Spinning until the query is answered: up to 30 % faster where the cores are idle.
    Spinning,
}

impl Wait {
    /// The value of [`SPINNING`].
    pub(crate) fn allows_spinning(self) -> &'static str {
        match self {
            Self::Asleep => "0",
            Self::Spinning => "1",
        }
    }
}

impl Default for EmbedOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            query_threads: cores.min(2),
            wait: Wait::default(),
            document_lanes: cores.min(4),
            runtime: RuntimeOptions::default(),
        }
    }
}

/// The default implementation of [`Embed`].
pub struct Embedder {
    info: ModelInfo,
    words: Words,
    manifest: Manifest,
    source: ModelSource,
    runtime: Runtime,
    query: Mutex<TextEmbedding>,
    lanes: Mutex<Lanes>,
    lane_freed: Condvar,
    max_lanes: usize,
    n_inferences: AtomicU64,
}

/// The words that are one token of the model: those that it read often enough to know them as a whole.
struct Words(HashSet<Box<str>>);

impl Words {
    fn of(session: &TextEmbedding) -> Self {
        let vocabulary = session.tokenizer.get_vocab(false);
        // Tokenizers that write the space in front of a word as a letter of it mark every word so.
        let word = |token: &str| {
            let word = token.strip_prefix(['▁', 'Ġ']).unwrap_or(token);
            (!word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase())).then(|| word.into())
        };
        Self(vocabulary.keys().filter_map(|token| word(token)).collect())
    }

    /// A vocabulary without the commonest of words is none of English words: nothing can be said of a word by it.
    fn knows(&self, word: &str) -> bool {
        self.0.contains(word) || !self.0.contains("the")
    }
}

/// The sessions for documents.
#[derive(Default)]
struct Lanes {
    idle: Vec<TextEmbedding>,
    n_open: usize,
}

impl Embedder {
    /// Checks the model's files against their manifest, loads ONNX Runtime if this process has not yet, opens the model and
    /// tries it once. Takes about a fifth of a second.
    pub fn load(source: &ModelSource, options: &EmbedOptions) -> Result<Self, Error> {
        let manifest = Manifest::read(source)?;
        let runtime = runtime(&options.runtime)?;
        let query = open(&manifest, source, &runtime, options.query_threads.max(1), options.wait)?;
        let info = ModelInfo {
            id: manifest.id.clone(),
            dimension: manifest.dimension,
            max_tokens: manifest.max_tokens,
            sha256: manifest.fingerprint(),
            late_dimension: manifest.late.as_ref().map(|late| late.dimension),
            licence: manifest.licence.clone(),
            runtime: runtime.info.clone(),
        };
        let embedder = Self {
            info,
            words: Words::of(&query),
            manifest,
            source: source.clone(),
            runtime,
            query: Mutex::new(query),
            lanes: Mutex::new(Lanes::default()),
            lane_freed: Condvar::new(),
            max_lanes: options.document_lanes.max(1),
            n_inferences: AtomicU64::new(0),
        };
        // A model of the wrong shape shows now and not in the first answer; and the first run is the slow one.
        run(&mut embedder.query.lock(), &embedder.manifest, "search the web", Want::Pooled)?;
        Ok(embedder)
    }

    /// The manifest of the model.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn documents(&self, texts: &[&str], want: Want) -> Result<Vec<Embedding>, Error> {
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::with_capacity(texts.len()));
        let work = || {
            give_way();
            let mut lane = self.take_lane()?;
            while let Some(text_idx) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|idx| *idx < texts.len()) {
                let embedding = run(lane.session(), &self.manifest, texts[text_idx], want)?;
                self.n_inferences.fetch_add(1, Ordering::Relaxed);
                results.lock().push((text_idx, embedding));
            }
            Ok::<(), Error>(())
        };
        let n_workers = self.max_lanes.min(texts.len());
        // Also with one worker on a thread of its own: the caller's priority is not ours to lower.
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..n_workers).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        let mut results = results.into_inner();
        results.sort_unstable_by_key(|(text_idx, _)| *text_idx);
        Ok(results.into_iter().map(|(_, embedding)| embedding).collect())
    }

    /// A session of our own for a while: an idle one, a new one, or the next that somebody gives back.
    fn take_lane(&self) -> Result<Lane<'_>, Error> {
        let mut lanes = self.lanes.lock();
        let session = loop {
            if let Some(session) = lanes.idle.pop() {
                break Some(session);
            }
            if lanes.n_open < self.max_lanes {
                lanes.n_open += 1;
                break None;
            }
            self.lane_freed.wait(&mut lanes);
        };
        drop(lanes);
        let mut lane = Lane { embedder: self, session };
        if lane.session.is_none() {
            lane.session = Some(open(&self.manifest, &self.source, &self.runtime, 1, Wait::Asleep)?);
            debug!(model = %self.info.id, "document lane opened");
        }
        Ok(lane)
    }
}

impl Embed for Embedder {
    fn model(&self) -> &ModelInfo {
        &self.info
    }

    fn embed(&self, texts: &[&str], want: Want) -> Result<Vec<Embedding>, Error> {
        match texts {
            [] => Ok(Vec::new()),
            [text] => {
                let embedding = run(&mut self.query.lock(), &self.manifest, text, want)?;
                self.n_inferences.fetch_add(1, Ordering::Relaxed);
                Ok(vec![embedding])
            }
            texts => self.documents(texts, want),
        }
    }

    fn inferences(&self) -> u64 {
        self.n_inferences.load(Ordering::Relaxed)
    }

    fn knows(&self, word: &str) -> bool {
        self.words.knows(word)
    }

    fn rest(&self) {
        let mut lanes = self.lanes.lock();
        lanes.n_open -= lanes.idle.len();
        lanes.idle.clear();
    }
}

impl std::fmt::Debug for Embedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedder").field("model", &self.info).finish_non_exhaustive()
    }
}

/// A document session in use; goes back to the idle ones on drop. One that never opened gives its place back.
struct Lane<'a> {
    embedder: &'a Embedder,
    session: Option<TextEmbedding>,
}

impl Lane<'_> {
    fn session(&mut self) -> &mut TextEmbedding {
        self.session.as_mut().expect("take_lane hands out lanes with a session only")
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        let mut lanes = self.embedder.lanes.lock();
        match self.session.take() {
            Some(session) => lanes.idle.push(session),
            None => lanes.n_open -= 1,
        }
        drop(lanes);
        self.embedder.lane_freed.notify_one();
    }
}

fn open(
    manifest: &Manifest,
    source: &ModelSource,
    runtime: &Runtime,
    n_threads: usize,
    wait: Wait,
) -> Result<TextEmbedding, Error> {
    let files = manifest.files(source)?;
    let tokenizer_files = tokenizer_files(files.tokenizer.into_owned(), manifest.max_tokens, &manifest.pad_token);
    let options = InitOptionsUserDefined::new()
        .with_environment(runtime.environment.clone())
        .with_max_length(manifest.max_tokens)
        .with_intra_threads(n_threads)
        .with_session_config(SPINNING, wait.allows_spinning())
        .with_session_config(SPINNING_ENDS, "1");
    let model = UserDefinedEmbeddingModel::new(files.model.into_owned(), tokenizer_files);
    TextEmbedding::try_new_from_user_defined(model, options)
        .map_err(|source| Error::Open { model: manifest.id.clone(), source: Box::new(source) })
}

/// The files as fastembed wants them: the four of a Hugging Face folder. All that it reads from the other three is in our
/// manifests.
pub(crate) fn tokenizer_files(tokenizer: Vec<u8>, max_tokens: usize, pad_token: &str) -> TokenizerFiles {
    let tokenizer_config = serde_json::json!({ "model_max_length": max_tokens, "pad_token": pad_token });
    TokenizerFiles {
        tokenizer_file: tokenizer,
        config_file: b"{}".to_vec(),
        special_tokens_map_file: b"{}".to_vec(),
        tokenizer_config_file: tokenizer_config.to_string().into_bytes(),
    }
}

/// ONNX Runtime's key for whether threads spin while they wait: see [`Wait::allows_spinning`].
pub(crate) const SPINNING: &str = "session.intra_op.allow_spinning";
/// Its key for that they stop with the answer also when they spin: a sidecar that idles must not burn the agent's CPU.
pub(crate) const SPINNING_ENDS: &str = "session.force_spinning_stop";

/// One text through the model.
fn run(session: &mut TextEmbedding, manifest: &Manifest, text: &str, want: Want) -> Result<Embedding, Error> {
    let failed =
        |source: Box<dyn std::error::Error + Send + Sync>| Error::Inference { model: manifest.id.clone(), source };
    let text = cut(text, manifest.max_tokens);
    let batches = session.transform([text], Some(1)).map_err(|error| failed(Box::new(error)))?.into_raw();
    // The rows of one output, a token each.
    let rows = |output: &str, dim: usize| {
        let found = batches.first().and_then(|batch| batch.outputs.iter().find(|(name, _)| *name == output));
        let Some((_, found)) = found else {
            return Err(failed(format!("it has no output `{output}`").into()));
        };
        let (shape, numbers) = found.try_extract_tensor::<f32>().map_err(|error| failed(Box::new(error)))?;
        let shape: Vec<usize> = shape.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect();
        match shape[..] {
            [1, n_tokens, found] if found == dim && n_tokens > 0 => Ok(numbers),
            _ => Err(Error::Dimension { model: manifest.id.clone(), expected: dim, found: shape }),
        }
    };
    let dim = manifest.dimension;
    let numbers = rows(&manifest.output, dim)?;
    let pooled = mean(numbers, dim);
    if !pooled.iter().all(|x| x.is_finite()) {
        return Err(failed("it gave numbers that are not finite".into()));
    }
    let tokens = match want {
        Want::Pooled => None,
        Want::Tokens => {
            let late = manifest.late.as_ref().map(|late| Ok((rows(&late.output, late.dimension)?, late.dimension)));
            Some(token_vectors(session, text, (numbers, dim), late.transpose()?).map_err(failed)?)
        }
    };
    Ok(Embedding { pooled, tokens })
}

/// A bound on what the tokenizer has to read. No text of words comes near 32 bytes a token; a text without spaces, which the
/// tokenizer makes one unknown word of, is cut here, as long as it may be.
pub(crate) fn cut(text: &str, max_tokens: usize) -> &str {
    let end = text.floor_char_boundary(max_tokens * 32);
    &text[..end]
}

/// The mean of all token vectors, marks included (as the model was trained), scaled to length 1.
fn mean(numbers: &[f32], dim: usize) -> Vec<f32> {
    let mut sum = vec![0.0; dim];
    for row in numbers.chunks_exact(dim) {
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    // No division by the number of rows: scaling follows.
    normalize(&mut sum);
    sum
}

/// `whole` and `late`: one row per token, marks included, and the length of a row.
fn token_vectors(
    session: &TextEmbedding,
    text: &str,
    whole: (&[f32], usize),
    late: Option<(&[f32], usize)>,
) -> Result<TokenVectors, Box<dyn std::error::Error + Send + Sync>> {
    let encoding = session.tokenizer.encode(text, true)?;
    let is_mark = encoding.get_special_tokens_mask();
    let late = late.unwrap_or((&[], 0));
    let mut result = TokenVectors { dim: whole.1, late_dim: late.1, ..TokenVectors::default() };
    for (numbers, dim) in [whole, late] {
        if is_mark.len() * dim != numbers.len() {
            return Err(format!("{} tokens, but {} numbers came out", is_mark.len(), numbers.len()).into());
        }
    }
    for (at, (token, span)) in encoding.get_tokens().iter().zip(encoding.get_offsets()).enumerate() {
        if is_mark[at] == 0 {
            result.tokens.push(token.clone());
            result.spans.push(*span);
            push_unit(&mut result.vectors, whole, at);
            push_unit(&mut result.late, late, at);
        }
    }
    Ok(result)
}

/// Adds row `at` of a matrix, scaled to length 1.
fn push_unit(to: &mut Vec<f32>, (numbers, dim): (&[f32], usize), at: usize) {
    let start = to.len();
    to.extend_from_slice(&numbers[at * dim..(at + 1) * dim]);
    normalize(&mut to[start..]);
}

/// Lets queries go first. On Linux the nice value belongs to the thread; elsewhere it would be the whole process's.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(10) {
        debug!(%error, "cannot lower the priority of document threads");
    }
}
