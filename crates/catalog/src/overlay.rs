//! Cards that people write, laid over the crawled ones.

use std::collections::BTreeMap;
use std::path::Path;

use toolscout_core::{SideEffect, ToolId};

/// What a person wrote about one tool. What is absent stays as crawled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    /// The title.
    pub title: Option<String>,
    /// What it is for, in a sentence.
    pub purpose: Option<String>,
    /// When to use it.
    pub when_to_use: Option<String>,
    /// When not to.
    pub when_not: Option<String>,
    /// Ways people ask for it.
    pub hints: Vec<String>,
    /// Tags besides the crawled ones.
    pub tags: Vec<String>,
    /// What a call can do; outweighs what the server says.
    pub side_effect: Option<SideEffect>,
    /// The tool it can stand in for.
    pub backup_of: Option<ToolId>,
}

/// All overlays, by tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlays {
    pub(crate) by_tool: BTreeMap<ToolId, Overlay>,
}

/// One mistake in a card file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file's name.
    pub file: String,
    /// The key in it, such as `tools.read_file.side_effect`; empty when the file as a whole is wrong.
    pub key: String,
    /// What is wrong.
    pub problem: String,
}

/// Every mistake in a folder of cards, at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} in the tool cards", if .0.len() == 1 { "a mistake" } else { "mistakes" })]
pub struct Mistakes(pub Vec<Mistake>);

impl Overlays {
    /// The cards that we ship.
    pub fn builtin() -> Self {
        unimplemented!("lands with the next step")
    }

    /// Every `*.toml` in a folder.
    pub fn load(dir: &Path) -> Result<Self, Mistakes> {
        let _ = dir;
        unimplemented!("lands with the next step")
    }

    /// These and `others`; where both speak of a tool, `others` replaces.
    #[must_use]
    pub fn merged(mut self, others: Self) -> Self {
        self.by_tool.extend(others.by_tool);
        self
    }

    /// What people wrote about a tool.
    pub fn get(&self, id: &ToolId) -> Option<&Overlay> {
        self.by_tool.get(id)
    }
}
