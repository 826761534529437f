//! What a card is known by in the indexes: hashes of what is indexed, so that nothing has to be remembered beside them.

use std::sync::Arc;

use toolscout_catalog::CatalogView;
use toolscout_core::{ContentHash, ToolCard};

use crate::lexical::each_text;
use crate::text::card_text;

/// The keys of one card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CardKeys {
    /// Of its document in the word index: id and every indexed text.
    pub(crate) document: u64,
    /// Of the text that is embedded.
    pub(crate) text: ContentHash,
    /// Of its row among the vectors: id and embedded text. Two tools of one text have two rows.
    pub(crate) row: u64,
}

/// Goes into every document key: change it when terms change for the same text.
const FORMAT: u8 = 1;

impl CardKeys {
    pub(crate) fn of(card: &ToolCard, buffer: &mut Vec<u8>) -> Self {
        buffer.clear();
        buffer.push(FORMAT);
        each_text(card, |field, text| {
            // Lengths make the concatenation unambiguous.
            buffer.push(field as u8);
            buffer.extend((text.len() as u32).to_le_bytes());
            buffer.extend(text.as_bytes());
        });
        let document = short(ContentHash::of(buffer));
        let text = ContentHash::of(card_text(card).as_bytes());
        buffer.clear();
        buffer.extend(text.0);
        buffer.extend(card.id.upstream.as_str().as_bytes());
        buffer.push(b':');
        buffer.extend(card.id.name.as_str().as_bytes());
        Self { document, text, row: short(ContentHash::of(buffer)) }
    }
}

fn short(hash: ContentHash) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.0[..8]);
    u64::from_le_bytes(bytes)
}

/// The keys of a view's cards, by document. Cards shared with the view before keep theirs.
pub(crate) fn keys_of_view(view: &CatalogView, before: &CatalogView, keys_before: &[CardKeys]) -> Vec<CardKeys> {
    let mut buffer = Vec::new();
    let mut old = before.tools.iter().zip(keys_before).peekable();
    let mut keys = Vec::with_capacity(view.tools.len());
    for card in &view.tools {
        while old.next_if(|(old, _)| old.id < card.id).is_some() {}
        let same = old.peek().filter(|(old, _)| Arc::ptr_eq(old, card)).map(|(_, keys)| **keys);
        keys.push(same.unwrap_or_else(|| CardKeys::of(card, &mut buffer)));
    }
    keys
}
