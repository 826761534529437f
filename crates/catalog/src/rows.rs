//! What lies on disk, all in the tree `catalog`, every row versioned:
//!
//! | key | row |
//! |---|---|
//! | `meta` | [`MetaRow`] |
//! | `u/<upstream>` | [`UpstreamRow`](crate::UpstreamRow) |
//! | `t/<upstream>:<tool>` | [`ToolRow`]: a current tool |
//! | `d/<hash>` | a definition whole, under the hash of all of it |
//! | `g/<generation>/<part>` | [`GenerationRow`]: which tools a generation touched |
//! | `w/<upstream>:<tool>` | [`WaitingRow`](crate::pins::WaitingRow): a definition that waits for an approval |
//! | `p/<upstream>:<tool>` | [`PinRow`](crate::pins::PinRow): what was approved of a tool that went away |

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toolscout_core::text::preview;
use toolscout_core::{ContentHash, Generation, Timestamp, ToolId, UpstreamId};
use toolscout_store::row;

use crate::Error;
use crate::trust::Approval;

/// The version of every row that this program writes.
pub(crate) const VERSION: u8 = 1;
pub(crate) const META_KEY: &[u8] = b"meta";
/// Touched tools per part of a generation, so that no row grows out of bounds.
pub(crate) const PART: usize = 1_000;

/// The catalog as a whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MetaRow {
    /// The newest generation.
    pub(crate) generation: Generation,
    /// The oldest from which differences are known.
    pub(crate) oldest: Generation,
    /// Hash of what cards are made with: our code's version and the overlays.
    pub(crate) cards: ContentHash,
}

impl MetaRow {
    /// Of a catalog that nothing was put into.
    pub(crate) fn empty(cards: ContentHash) -> Self {
        Self { generation: Generation(0), oldest: Generation(0), cards }
    }
}

/// A current tool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ToolRow {
    /// Hash of its whole definition: the key of the `d/` row.
    pub(crate) raw: ContentHash,
    /// How an imported file calls it, if not by its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
    /// When and how its definition was approved. Absent where nobody wrote that down yet (it counts as first use), and where
    /// nothing of it was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) approval: Option<Approval>,
}

/// A part of what one generation touched. Generations that touched no tool have no row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GenerationRow {
    /// When it was made.
    pub(crate) at: Timestamp,
    /// Whether all cards were made anew, because the code or the overlays changed.
    #[serde(default)]
    pub(crate) renewed: bool,
    pub(crate) touched: Vec<Touch>,
}

/// One tool's step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Touch {
    pub(crate) id: ToolId,
    /// Hash of the whole definition before; absent: the tool was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<ContentHash>,
    /// And after; absent: it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<ContentHash>,
}

pub(crate) fn upstream_key(id: &UpstreamId) -> String {
    format!("u/{id}")
}

pub(crate) fn tool_key(id: &ToolId) -> String {
    format!("t/{id}")
}

pub(crate) fn definition_key(raw: &ContentHash) -> String {
    format!("d/{raw}")
}

pub(crate) fn waiting_key(id: &ToolId) -> String {
    format!("w/{id}")
}

pub(crate) fn pin_key(id: &ToolId) -> String {
    format!("p/{id}")
}

pub(crate) fn generation_key(generation: Generation, part: usize) -> String {
    format!("g/{:020}/{part:06}", generation.0)
}

/// The tool in a key of [`tool_key`], [`waiting_key`] or [`pin_key`].
pub(crate) fn parse_tool_key(key: &[u8]) -> Option<ToolId> {
    std::str::from_utf8(key.get(2..)?).ok()?.parse().ok()
}

/// The generation in a key of [`generation_key`].
pub(crate) fn parse_generation_key(key: &[u8]) -> Option<Generation> {
    std::str::from_utf8(key.get(2..22)?).ok()?.parse().ok().map(Generation)
}

pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, Error> {
    row::decode(bytes, VERSION).map_err(|source| Error::Row { key: preview(&String::from_utf8_lossy(key)), source })
}

pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    row::encode(VERSION, value)
}
