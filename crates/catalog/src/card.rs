//! From a definition to a card.

use serde_json::Value;
use toolscout_core::{ContentHash, ToolCard, ToolId};

use crate::Overlay;

/// A card and what else was read off the definition.
pub struct Built {
    /// The card.
    pub card: ToolCard,
    /// Hash of the canonical input schema: what families share.
    pub input_schema: ContentHash,
}

/// Reads a definition, whatever it is, into a card: bounded, cleaned, without panics.
pub fn build(id: &ToolId, definition: &Value, tags: &[String], overlay: Option<&Overlay>) -> Built {
    let _ = (id, definition, tags, overlay);
    unimplemented!("lands with the next step")
}
