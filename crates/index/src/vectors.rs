//! Vectors that were made once are kept for ever: the embedder behind the store.

use std::sync::Arc;

use toolscout_core::ContentHash;
use toolscout_core::text::sanitize;
use toolscout_embed::{Embed, ModelInfo, Want};
use toolscout_store::{Batch, Store, Tree, TreeName};

use crate::Error;

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

    /// The stored vector of a text. One that is damaged counts as missing, and is made anew.
    pub(crate) fn load(&self, text: &ContentHash) -> Result<Option<Vec<f32>>, Error> {
        let Some(bytes) = self.tree.get(&self.key(text))? else { return Ok(None) };
        let (numbers, rest) = bytes.as_chunks::<4>();
        let vector: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
        Ok((rest.is_empty() && self.is_sound(&vector)).then_some(vector))
    }

    /// Keeps vectors: f32, little end first, nothing else.
    pub(crate) fn store<'a>(&self, vectors: impl Iterator<Item = (ContentHash, &'a [f32])>) -> Result<(), Error> {
        let mut batch = Batch::default();
        for (text, vector) in vectors {
            batch.put(self.key(&text), vector.iter().flat_map(|number| number.to_le_bytes()).collect());
        }
        Ok(self.tree.apply(batch)?)
    }

    /// Vectors of these texts, all of them sound; else why not, on one line.
    pub(crate) fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, String> {
        let made = self.embedder.embed(texts, Want::Pooled).map_err(|error| sanitize(&error.to_string(), 200))?;
        let sound = made.len() == texts.len() && made.iter().all(|one| self.is_sound(&one.pooled));
        if !sound {
            return Err("the model gave vectors that are none".to_owned());
        }
        Ok(made.into_iter().map(|one| one.pooled).collect())
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
