//! Queries: remembered, and let in a few at a time.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lru::LruCache;
use parking_lot::{Condvar, Mutex};

use crate::{Embed, Error, ModelInfo, TokenVectors, Want};

/// Bounds of a [`QueryEmbedder`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryOptions {
    /// How many recent queries keep their vectors, at most.
    pub remembered: usize,
    /// How many bytes these vectors may take together: a query's are about 2 KB, and as much again per token, so that a count
    /// alone would let long ones take a hundred times what short ones do.
    pub remembered_bytes: usize,
    /// How many queries are in the model at once. The default, 1, gives the fastest single answer: they share its threads.
    pub workers: usize,
    /// How many callers may wait for a worker; the next one gets [`Error::Busy`].
    pub waiting: usize,
    /// Queries are cut to this many characters first. Far more than any model reads, and no more than we care to keep.
    pub max_chars: usize,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self { remembered: 1024, remembered_bytes: 16 << 20, workers: 1, waiting: 256, max_chars: 4096 }
    }
}

/// What the model made of a query. Clones share it.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryVectors {
    /// The vector of the whole query, of length 1.
    pub pooled: Arc<[f32]>,
    /// The vectors of its tokens, from the same pass.
    pub tokens: Arc<TokenVectors>,
}

/// Gives queries their vectors. Clones share one memory.
#[derive(Clone)]
pub struct QueryEmbedder {
    shared: Arc<Shared>,
}

struct Shared {
    embed: Arc<dyn Embed>,
    options: QueryOptions,
    recent: Mutex<Recent>,
    door: Mutex<Door>,
    opened: Condvar,
    n_remembered: AtomicU64,
}

/// The recent queries, bounded by count and bytes.
struct Recent {
    vectors: LruCache<String, QueryVectors>,
    bytes: usize,
    max_bytes: usize,
}

/// Who is inside and who waits.
#[derive(Default)]
struct Door {
    n_inside: usize,
    n_waiting: usize,
}

impl QueryEmbedder {
    /// Stands in front of an embedder.
    pub fn new(embed: Arc<dyn Embed>, options: QueryOptions) -> Self {
        let capacity = NonZeroUsize::new(options.remembered).unwrap_or(NonZeroUsize::MIN);
        let recent = Recent { vectors: LruCache::new(capacity), bytes: 0, max_bytes: options.remembered_bytes };
        let shared = Shared {
            embed,
            options,
            recent: Mutex::new(recent),
            door: Mutex::new(Door::default()),
            opened: Condvar::new(),
            n_remembered: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The vectors of a query: remembered, or from the model. Blocks; async callers go through their one way off the async
    /// threads.
    pub fn embed_query(&self, query: &str) -> Result<QueryVectors, Error> {
        let shared = &*self.shared;
        let query = cut(query.trim(), shared.options.max_chars);
        if let Some(vectors) = shared.recall(query) {
            return Ok(vectors);
        }
        let _inside = shared.enter()?;
        // Somebody who stood in front of us may have asked the same.
        if let Some(vectors) = shared.recall(query) {
            return Ok(vectors);
        }
        let made = shared.embed.embed(&[query], Want::Tokens)?.pop();
        let (pooled, tokens) = made.map(|one| (one.pooled, one.tokens.unwrap_or_default())).unwrap_or_default();
        let vectors = QueryVectors { pooled: pooled.into(), tokens: Arc::new(tokens) };
        shared.recent.lock().keep(query, &vectors);
        Ok(vectors)
    }

    /// Which model answers.
    pub fn model(&self) -> &ModelInfo {
        self.shared.embed.model()
    }

    /// Whether the model has read a word, in small letters, as a whole. In doubt: yes.
    pub fn knows(&self, word: &str) -> bool {
        self.shared.embed.knows(word)
    }

    /// The embedder behind.
    pub fn embedder(&self) -> &Arc<dyn Embed> {
        &self.shared.embed
    }

    /// How many queries were answered from memory so far.
    pub fn remembered(&self) -> u64 {
        self.shared.n_remembered.load(Ordering::Relaxed)
    }

    /// How many bytes the remembered queries take, about.
    pub fn remembered_bytes(&self) -> usize {
        self.shared.recent.lock().bytes
    }

    /// How many callers wait for a worker right now.
    pub fn waiting(&self) -> usize {
        self.shared.door.lock().n_waiting
    }
}

impl Recent {
    /// Keeps one more, and forgets the least recent ones for it as far as it takes. One that is larger than everything that
    /// may be kept drives nobody out.
    fn keep(&mut self, query: &str, vectors: &QueryVectors) {
        let bytes = bytes_of(query, vectors);
        if bytes > self.max_bytes {
            return;
        }
        // The one put out for it: its own older entry, or the least recent of a full house.
        if let Some((query, vectors)) = self.vectors.push(query.to_owned(), vectors.clone()) {
            self.bytes -= bytes_of(&query, &vectors);
        }
        self.bytes += bytes;
        while self.bytes > self.max_bytes {
            let (query, vectors) = self.vectors.pop_lru().expect("bytes are those of entries");
            self.bytes -= bytes_of(&query, &vectors);
        }
    }
}

/// What an entry takes, about: its numbers and letters, and what stands around them.
fn bytes_of(query: &str, vectors: &QueryVectors) -> usize {
    let QueryVectors { pooled, tokens } = vectors;
    let numbers = pooled.len() + tokens.vectors.len() + tokens.late.len();
    let letters = query.len() + tokens.tokens.iter().map(String::len).sum::<usize>();
    numbers * size_of::<f32>() + letters + tokens.len() * BYTES_AROUND_TOKEN + BYTES_AROUND_QUERY
}

/// A token's string and span, without its letters.
const BYTES_AROUND_TOKEN: usize = size_of::<String>() + size_of::<(usize, usize)>();
/// A query's place in the map, its key and the heads of its vectors.
const BYTES_AROUND_QUERY: usize = 256;

impl Shared {
    fn recall(&self, query: &str) -> Option<QueryVectors> {
        let vectors = self.recent.lock().vectors.get(query).cloned()?;
        self.n_remembered.fetch_add(1, Ordering::Relaxed);
        Some(vectors)
    }

    fn enter(&self) -> Result<Inside<'_>, Error> {
        let workers = self.options.workers.max(1);
        let mut door = self.door.lock();
        if door.n_inside >= workers {
            if door.n_waiting >= self.options.waiting {
                return Err(Error::Busy { waiting: door.n_waiting });
            }
            door.n_waiting += 1;
            self.opened.wait_while(&mut door, |door| door.n_inside >= workers);
            door.n_waiting -= 1;
        }
        door.n_inside += 1;
        Ok(Inside { shared: self })
    }
}

/// A place in the model, given back on drop, also when the model panics.
struct Inside<'a> {
    shared: &'a Shared,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.shared.door.lock().n_inside -= 1;
        self.shared.opened.notify_one();
    }
}

/// The first `max_chars` characters.
fn cut(text: &str, max_chars: usize) -> &str {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}
