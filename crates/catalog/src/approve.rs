//! What an operator sees of a definition that waits, and the approval.

use std::collections::BTreeMap;
use std::sync::Arc;

use toolscout_core::{ContentHash, Timestamp, ToolId};
use toolscout_scan::Finding;

use crate::catalog::{Change, Diff, Entry, NewRows, NewTool, Step, family_key};
use crate::definition::{Edits, edits};
use crate::trust::{Approval, How};
use crate::{Catalog, Error, Unapproved, card};

/// A definition that waits, beside the one that was approved.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// Why it waits, since when, and the hash that an approval has to name.
    pub unapproved: Unapproved,
    /// Why no rule approved it. Holds names that the server chose.
    pub obstacles: Vec<String>,
    /// What a scan finds in it, gravest first.
    pub findings: Vec<Finding>,
    /// What differs from the approved definition; from the old tool's if it looks renamed; everything if nothing was approved.
    /// The server's words, hidden characters spelt out: for people, never for models.
    pub edits: Edits,
}

impl Catalog {
    /// What waits for an approval of this tool, if anything does. Like every question, it waits for no change under way.
    pub fn proposal(&self, id: &ToolId) -> Result<Option<Proposal>, Error> {
        let Some(row) = self.waiting_row(id)? else { return Ok(None) };
        let unapproved = row.unapproved();
        let before = match &unapproved.renamed_from {
            Some(old) => match self.pin(old)?.and_then(|pin| pin.definition) {
                Some(definition) => Some(definition),
                None => self.raw(old)?,
            },
            None if unapproved.has_approved() => self.raw(id)?,
            None => None,
        };
        let edits = edits(before.as_ref(), &row.definition);
        let findings = self.scan(&row.definition).findings;
        Ok(Some(Proposal { unapproved, obstacles: row.obstacles, findings, edits }))
    }

    /// When and how the definition that is shown of a tool was approved. `None` where that was not written down: it counts as
    /// first use; and where nothing of it was approved.
    pub fn approval(&self, id: &ToolId) -> Result<Option<Approval>, Error> {
        Ok(self.tool_row(id)?.and_then(|row| row.approval))
    }

    /// Approves what waits of a tool: it is shown from now on, and further changes are measured from it. `hash` names what was looked
    /// at; if another waits by now, nothing happens. Approving again what is shown already changes nothing.
    pub fn approve(&self, id: &ToolId, hash: ContentHash, at: Timestamp) -> Result<Change, Error> {
        self.change(|writer| {
            let view = self.view();
            let Some(waits) = view.unapproved(id) else {
                let is_shown = view.get(id).is_some_and(|card| card.definition == hash);
                let nothing = Change { view: view.clone(), diff: Diff::default(), reviewed: Vec::new() };
                return if is_shown { Ok(nothing) } else { Err(Error::NothingWaits(id.clone())) };
            };
            if waits.hash != hash {
                return Err(Error::OtherWaits { tool: id.clone(), waits: waits.hash });
            }
            let (Some(row), Some(upstream)) = (self.waiting_row(id)?, view.upstream(&id.upstream)) else {
                return Err(Error::NothingWaits(id.clone()));
            };
            let label = writer.entry(id).and_then(|entry| entry.label.clone());
            let mut rows = NewRows::new();
            let definition = self.as_stored(row.raw, row.definition, &mut rows)?;
            let built = card::build(id, &definition, &upstream.tags, self.overlay(id));
            let entry = Entry { raw: row.raw, family: family_key(&built), label };
            let approval = Some(Approval { at, how: How::ByHand, reasons: Vec::new() });
            let (card, scan) = (Arc::new(built.card), self.scan(&definition));
            let tool = NewTool { card, scan, entry, approval };
            let mut step = Step::new(id.upstream.clone(), Some(upstream.as_ref().clone()));
            step.tools = BTreeMap::from([(id.name.clone(), Some(tool))]);
            step.waiting = BTreeMap::from([(id.name.clone(), None)]);
            step.pins = BTreeMap::from([(id.name.clone(), None)]);
            self.commit(writer, vec![step], rows, at)
        })
    }
}
