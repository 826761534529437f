//! An embedder without a model: equal words, near vectors.

use std::collections::HashSet;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};

use toolscout_core::{ContentHash, words::split_identifier};
use toolscout_embed::{Embed, Embedding, Error, ModelInfo, RuntimeInfo, TokenVectors, Want, normalize};

/// What a test double says of itself: its id stands for all that decides a vector.
pub(crate) fn double(id: String, dimension: usize) -> ModelInfo {
    ModelInfo {
        sha256: ContentHash::of(id.as_bytes()).to_string(),
        id,
        dimension,
        max_tokens: 512,
        late_dimension: None,
        licence: "Apache-2.0".to_owned(),
        runtime: RuntimeInfo { name: "test double".to_owned(), version: "1".to_owned(), source: "testkit".to_owned() },
    }
}

/// Words hashed to directions, a text is the sum of its words: texts that share words are near, others nearly
/// perpendicular. Deterministic on every machine, microseconds a text, and it counts like the real one.
pub struct HashEmbedder {
    model: ModelInfo,
    n_inferences: AtomicU64,
    fails_on: HashSet<String>,
    late: bool,
}

impl HashEmbedder {
    /// 64 dimensions: enough to tell some hundred words apart.
    pub fn new() -> Self {
        Self::with_dimension(64)
    }

    /// As many dimensions as a test needs.
    pub fn with_dimension(dimension: usize) -> Self {
        let model = double(format!("hash-{dimension}"), dimension);
        Self { model, n_inferences: AtomicU64::new(0), fails_on: HashSet::new(), late: false }
    }

    /// Another model as far as anybody can tell: same vectors, other name and fingerprint.
    #[must_use]
    pub fn named(mut self, id: &str) -> Self {
        self.model.id = id.to_owned();
        self.model.sha256 = ContentHash::of(id.as_bytes()).to_string();
        self
    }

    /// Makes short token vectors too: here the token vectors themselves.
    #[must_use]
    pub fn with_late(mut self) -> Self {
        self.late = true;
        self.model.late_dimension = Some(self.model.dimension);
        let id = format!("late-{}", self.model.id);
        self.named(&id)
    }

    /// Fails every call that holds this very text.
    #[must_use]
    pub fn failing_on(mut self, text: &str) -> Self {
        self.fails_on.insert(text.to_owned());
        self
    }

    fn one(&self, text: &str, want: Want) -> Embedding {
        let dim = self.model.dimension;
        let mut tokens = split_identifier(text);
        tokens.truncate(self.model.max_tokens);
        let mut vectors = Vec::with_capacity(tokens.len() * dim);
        let mut pooled = vec![0.0; dim];
        for token in &tokens {
            let direction = direction(token, dim);
            pooled.iter_mut().zip(&direction).for_each(|(sum, x)| *sum += x);
            vectors.extend(direction);
        }
        if tokens.is_empty() {
            pooled = direction("", dim);
        }
        normalize(&mut pooled);
        // Where each word stands: words of an identifier follow each other in the text, case folded.
        let folded = text.to_lowercase();
        let mut from = 0;
        let spans = tokens
            .iter()
            .map(|token| {
                let start = folded[from..].find(token.as_str()).map_or(from, |at| from + at);
                from = (start + token.len()).min(folded.len());
                (start, from)
            })
            .collect();
        let late_dim = if self.late { dim } else { 0 };
        let late = if self.late { vectors.clone() } else { Vec::new() };
        let tokens = (want == Want::Tokens).then_some(TokenVectors { tokens, spans, vectors, dim, late, late_dim });
        Embedding { pooled, tokens }
    }
}

impl Default for HashEmbedder {
    fn default() -> Self {
        Self::new()
    }
}

impl Embed for HashEmbedder {
    fn model(&self) -> &ModelInfo {
        &self.model
    }

    fn embed(&self, texts: &[&str], want: Want) -> Result<Vec<Embedding>, Error> {
        if let Some(text) = texts.iter().find(|text| self.fails_on.contains(**text)) {
            let source = format!("told to fail on `{text}`").into();
            return Err(Error::Inference { model: self.model.id.clone(), source });
        }
        self.n_inferences.fetch_add(texts.len() as u64, Ordering::Relaxed);
        Ok(texts.iter().map(|text| self.one(text, want)).collect())
    }

    fn inferences(&self) -> u64 {
        self.n_inferences.load(Ordering::Relaxed)
    }
}

/// A direction of length 1 that only depends on the word.
fn direction(word: &str, dim: usize) -> Vec<f32> {
    let mut state = Fnv(0xcbf2_9ce4_8422_2325);
    state.write(word.as_bytes());
    let mut seed = state.finish();
    let mut direction: Vec<f32> = (0..dim).map(|_| next(&mut seed)).collect();
    normalize(&mut direction);
    direction
}

/// FNV-1a: the standard library's hasher may change between versions, and test expectations must not.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The next number between -1 and 1 (SplitMix64).
fn next(seed: &mut u64) -> f32 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // 24 bits fit a f32 exactly.
    (z >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use toolscout_embed::dot;

    #[test]
    fn shared_words_are_near_and_others_are_not() {
        let embedder = HashEmbedder::new();
        let texts = ["create issue", "create an issue", "weather in paris", ""];
        let vectors = embedder.embed(&texts, Want::Tokens).unwrap();
        assert!(dot(&vectors[0].pooled, &vectors[1].pooled) > 0.7);
        assert!(dot(&vectors[0].pooled, &vectors[2].pooled) < 0.5);
        assert!((dot(&vectors[3].pooled, &vectors[3].pooled) - 1.0).abs() < 1e-5);
        let tokens = vectors[2].tokens.as_ref().unwrap();
        assert_eq!(tokens.tokens, ["weather", "in", "paris"]);
        assert_eq!(tokens.iter().count(), 3);
        assert_eq!(embedder.inferences(), 4);
    }
}
