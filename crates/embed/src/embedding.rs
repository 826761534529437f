//! What an embedder promises, and what it hands out.

use serde::Serialize;

use crate::{Error, RuntimeInfo};

/// Something that turns texts into vectors. Implemented by [`crate::Embedder`] and by test doubles.
///
/// The contract: one [`Embedding`] per text, in the texts' order; no texts, no embeddings and no work; every pooled vector
/// has [`ModelInfo::dimension`] numbers and length 1; the same text gives the same vector whatever stands beside it.
/// Any text is fine: empty, very long (what exceeds [`ModelInfo::max_tokens`] is cut off), in any language.
/// A call may block for as long as the model needs, about 1 ms for a query and 10 ms for a card.
pub trait Embed: Send + Sync {
    /// Which model answers.
    fn model(&self) -> &ModelInfo;

    /// Embeds these texts. One text is taken for a query and goes ahead of any batch that is under way; more are taken for
    /// documents: give as many as there are at a time (dozens), since they are worked on side by side and a call ends with its
    /// slowest text. Texts of a failed call may count as inferences.
    fn embed(&self, texts: &[&str], want: Want) -> Result<Vec<Embedding>, Error>;

    /// How many texts were run through the model so far. Proves that nothing is embedded twice.
    fn inferences(&self) -> u64;

    /// Whether the model has read a word, in small letters, as a whole. In doubt, and while there is no model: yes.
    fn knows(&self, word: &str) -> bool {
        let _ = word;
        true
    }

    /// A hint that no documents will come for a while: memory held for them may go. It comes back by itself.
    fn rest(&self) {}
}

/// How much of a forward pass the caller needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// The one vector of the whole text.
    Pooled,
    /// That one, and a vector per token; with a model that has them, a short vector per token as well.
    Tokens,
}

/// Which model makes the vectors, on which runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelInfo {
    /// Its name, `minilm-tools-v1-nb8`.
    pub id: String,
    /// How many numbers a vector has.
    pub dimension: usize,
    /// Text beyond this many tokens is cut off.
    pub max_tokens: usize,
    /// 64 hex digits over everything that decides a vector: the model's and the tokenizer's bytes, the cut, the pooling.
    /// Vectors of equal fingerprints can be compared, others cannot.
    pub sha256: String,
    /// How many numbers the short vector of a token has, if the model makes them for late interaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_dimension: Option<usize>,
    /// The licence of the weights, as an SPDX expression.
    pub licence: String,
    /// What runs it.
    pub runtime: RuntimeInfo,
}

/// What one text became.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// The vector of the whole text, of length 1.
    pub pooled: Vec<f32>,
    /// The vectors of its tokens, when they were asked for.
    pub tokens: Option<TokenVectors>,
}

/// A vector per token, without the marks that a model puts around a text: an empty text has none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenVectors {
    /// The pieces of words, in the text's order.
    pub tokens: Vec<String>,
    /// Where each stands in the text: start and end in bytes.
    pub spans: Vec<(usize, usize)>,
    /// Their vectors, each of length 1, one behind the other.
    pub vectors: Vec<f32>,
    /// How many numbers one vector has.
    pub dim: usize,
    /// The short vectors, each of length 1, one behind the other; empty where the model makes none.
    pub late: Vec<f32>,
    /// How many numbers a short vector has; 0 where the model makes none.
    pub late_dim: usize,
}

impl TokenVectors {
    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether the text had none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The vector of a part of the text: the mean over its tokens, of length 1. `None` where no token lies in it whole.
    ///
    /// The part is seen in its context, and costs no further pass through the model.
    pub fn pool(&self, part: std::ops::Range<usize>) -> Option<Vec<f32>> {
        let mut sum = vec![0.0; self.dim];
        let mut n_inside = 0;
        for (row, _) in
            self.vectors.chunks_exact(self.dim.max(1)).zip(&self.spans).filter(|(_, span)| inside(span, &part))
        {
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            n_inside += 1;
        }
        normalize(&mut sum);
        (n_inside > 0).then_some(sum)
    }

    /// The tokens that lie in a part of the text, by position.
    pub fn within(&self, part: std::ops::Range<usize>) -> impl Iterator<Item = usize> {
        self.spans.iter().enumerate().filter(move |(_, span)| inside(span, &part)).map(|(at, _)| at)
    }

    /// Each token with its vector.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[f32])> {
        // `max(1)`: chunks of nothing would panic, and an empty list has no chunk anyway.
        self.tokens.iter().map(String::as_str).zip(self.vectors.chunks_exact(self.dim.max(1)))
    }
}

fn inside(span: &(usize, usize), part: &std::ops::Range<usize>) -> bool {
    part.start <= span.0 && span.1 <= part.end
}

/// The scalar product; for vectors of length 1 their cosine.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len(), "vectors of one model have one length");
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Scales a vector to length 1. One of zeros stays as it is.
pub fn normalize(vector: &mut [f32]) {
    let length = dot(vector, vector).sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
}
