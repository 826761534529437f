//! Which documents of a snapshot a search may touch.

/// A tool's place in the snapshot's view: its position among all tools sorted by id. Means nothing in another snapshot.
pub type DocIdx = u32;

/// The documents that a search may return. Everything else is never a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// Every document.
    All,
    /// These only.
    Only(DocSet),
}

impl Allow {
    /// Whether the search may return `doc`.
    #[inline]
    pub fn contains(&self, doc: DocIdx) -> bool {
        match self {
            Self::All => true,
            Self::Only(set) => set.contains(doc),
        }
    }

    /// How many of `total` documents are allowed.
    pub fn count(&self, total: usize) -> usize {
        match self {
            Self::All => total,
            Self::Only(set) => set.len(),
        }
    }
}

/// A set of documents, one bit each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DocSet {
    words: Vec<u64>,
    len: usize,
}

impl DocSet {
    /// All documents below `n`.
    pub fn full(n: usize) -> Self {
        let mut words = vec![u64::MAX; n / 64];
        if !n.is_multiple_of(64) {
            words.push((1 << (n % 64)) - 1);
        }
        Self { words, len: n }
    }

    /// Takes a document out.
    pub fn remove(&mut self, doc: DocIdx) {
        if let Some(word) = self.words.get_mut(doc as usize / 64) {
            let bit = 1u64 << (doc % 64);
            self.len -= usize::from(*word & bit != 0);
            *word &= !bit;
        }
    }

    /// Adds a document.
    pub fn insert(&mut self, doc: DocIdx) {
        let (word, bit) = (doc as usize / 64, 1u64 << (doc % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.len += usize::from(self.words[word] & bit == 0);
        self.words[word] |= bit;
    }

    /// Whether a document is in it.
    #[inline]
    pub fn contains(&self, doc: DocIdx) -> bool {
        self.words.get(doc as usize / 64).is_some_and(|word| word & (1 << (doc % 64)) != 0)
    }

    /// How many documents are in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The documents, ascending.
    pub fn iter(&self) -> impl Iterator<Item = DocIdx> {
        self.words.iter().enumerate().flat_map(|(i, &word)| {
            (0..64u32).filter(move |bit| word & (1 << bit) != 0).map(move |bit| i as u32 * 64 + bit)
        })
    }
}

impl FromIterator<DocIdx> for DocSet {
    fn from_iter<I: IntoIterator<Item = DocIdx>>(docs: I) -> Self {
        let mut set = Self::default();
        docs.into_iter().for_each(|doc| set.insert(doc));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn agrees_with_a_tree_set(docs in prop::collection::vec(0u32..300, 0..60)) {
            let (set, model): (DocSet, BTreeSet<u32>) = (docs.iter().copied().collect(), docs.iter().copied().collect());
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert!((0..400).all(|doc| set.contains(doc) == model.contains(&doc)));
        }

        #[test]
        fn what_is_taken_out_of_all_is_not_in_it(n in 0usize..300, out in prop::collection::vec(0u32..400, 0..60)) {
            let mut set = DocSet::full(n);
            out.iter().for_each(|doc| set.remove(*doc));
            let model: BTreeSet<u32> = (0..n as u32).filter(|doc| !out.contains(doc)).collect();
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.into_iter().collect::<Vec<_>>());
        }
    }
}
