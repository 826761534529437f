//! Vectors that were made once are kept for ever: the embedder behind the store.

use std::sync::Arc;

use toolscout_core::ContentHash;
use toolscout_core::text::sanitize;
use toolscout_embed::{Embed, Embedding, ModelInfo, Want};
use toolscout_store::{Batch, Store, Tree, TreeName};

use crate::Error;
use crate::dense::late::LateVectors;

/// So many stored vectors are read by walking through all there are, fewer one by one.
const WORTH_A_WALK: usize = 512;

/// What is kept of an embedded text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    /// The vector of the whole text.
    pub(crate) pooled: Vec<f32>,
    /// The short vectors of its tokens; none where the model makes none.
    pub(crate) late: Arc<LateVectors>,
}

/// Stored vectors of one model, and the model itself for what is missing.
pub(crate) struct Vectors {
    tree: Tree,
    embedder: Arc<dyn Embed>,
    /// First half of every key: vectors of different models never meet.
    prefix: [u8; 16],
}

impl Vectors {
    pub(crate) fn new(store: &Store, embedder: Arc<dyn Embed>) -> Result<Self, Error> {
        let mut prefix = [0; 16];
        prefix.copy_from_slice(&ContentHash::of(embedder.model().sha256.as_bytes()).0[..16]);
        Ok(Self { tree: store.tree(TreeName::Vectors)?, embedder, prefix })
    }

    pub(crate) fn model(&self) -> &ModelInfo {
        self.embedder.model()
    }

    fn key(&self, text: &ContentHash) -> Vec<u8> {
        [&self.prefix[..], &text.0[..]].concat()
    }

    /// The stored vectors of a text. What is damaged counts as missing, and is made anew.
    pub(crate) fn load(&self, text: &ContentHash) -> Result<Option<Stored>, Error> {
        Ok(self.tree.get(&self.key(text))?.and_then(|bytes| self.decode(&bytes)))
    }

    /// The same for many texts, sorted and different. `sink(position in texts, found)` comes in their order, once for each; it
    /// says whether to go on. Where it is worth it they are read in one walk through the store, which takes a tenth of the time.
    pub(crate) fn load_many(
        &self,
        texts: &[ContentHash],
        mut sink: impl FnMut(usize, Option<Stored>) -> bool,
    ) -> Result<(), Error> {
        debug_assert!(texts.is_sorted(), "the walk goes forward only");
        if texts.len() < WORTH_A_WALK {
            for (at, text) in texts.iter().enumerate() {
                if !sink(at, self.load(text)?) {
                    break;
                }
            }
            return Ok(());
        }
        let mut at = 0;
        for row in self.tree.scan(&self.prefix) {
            let (key, value) = row?;
            let key = &key[self.prefix.len().min(key.len())..];
            while at < texts.len() && texts[at].0[..] < *key {
                at += 1;
                if !sink(at - 1, None) {
                    return Ok(());
                }
            }
            if at == texts.len() {
                return Ok(());
            }
            if texts[at].0[..] == *key {
                at += 1;
                if !sink(at - 1, self.decode(&value)) {
                    return Ok(());
                }
            }
        }
        (at..texts.len()).try_for_each(|at| sink(at, None).then_some(())).unwrap_or_default();
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Option<Stored> {
        let (pooled, late) = bytes.split_at_checked(self.model().dimension * 4)?;
        let pooled: Vec<f32> = pooled.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)).collect();
        let late = match self.model().late_dimension {
            Some(_) => LateVectors::from_bytes(late)?,
            None if late.is_empty() => LateVectors::default(),
            None => return None,
        };
        self.is_sound(&pooled).then(|| Stored { pooled, late: Arc::new(late) })
    }

    /// Keeps vectors: f32, little end first, and behind them the token vectors where the model makes some.
    pub(crate) fn store<'a>(&self, vectors: impl Iterator<Item = (ContentHash, &'a Stored)>) -> Result<(), Error> {
        let mut batch = Batch::default();
        for (text, stored) in vectors {
            let mut bytes: Vec<u8> = stored.pooled.iter().flat_map(|number| number.to_le_bytes()).collect();
            if self.model().late_dimension.is_some() {
                bytes.extend(stored.late.to_bytes());
            }
            batch.put(self.key(&text), bytes);
        }
        Ok(self.tree.apply(batch)?)
    }

    /// Vectors of these texts, all of them sound; else why not, on one line.
    pub(crate) fn embed(&self, texts: &[&str]) -> Result<Vec<Stored>, String> {
        let want = if self.model().late_dimension.is_some() { Want::Tokens } else { Want::Pooled };
        let made = self.embedder.embed(texts, want).map_err(|error| sanitize(&error.to_string(), 200))?;
        let sound = made.len() == texts.len() && made.iter().all(|one| self.is_sound(&one.pooled));
        if !sound {
            return Err("the model gave vectors that are none".to_owned());
        }
        let stored = |one: Embedding| {
            let late = one.tokens.as_ref().map(LateVectors::of_card).unwrap_or_default();
            Stored { pooled: one.pooled, late: Arc::new(late) }
        };
        Ok(made.into_iter().map(stored).collect())
    }

    /// Tells the embedder that no cards will come for a while.
    pub(crate) fn rest(&self) {
        self.embedder.rest();
    }

    /// Of the model's dimension and of length 1. An empty text may have the zero vector, near nothing.
    fn is_sound(&self, vector: &[f32]) -> bool {
        let length = vector.iter().map(|x| x * x).sum::<f32>();
        vector.len() == self.model().dimension && ((0.99..1.01).contains(&length) || length == 0.0)
    }
}
