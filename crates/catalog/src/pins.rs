//! What was approved, what waits, and how a tool that was listed is ruled on.
//!
//! A tool that is shown is pinned by the definition it is shown with. What its server lists instead waits in a row of its own
//! until it is approved: it is in no card, so it reaches no index and no agent. The pin of a tool that went away is kept, so that
//! it cannot come back as another, and neither can it under another name.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use toolscout_core::{ContentHash, Timestamp, ToolId, ToolName, UpstreamId};

use toolscout_scan::Finding;

use crate::card;
use crate::trust::{Approval, AutoApprove, How, Shape, Trust, judge, likeness, shape, stub};
use crate::{Catalog, Error, rows};

/// Pins of tools that went away that are kept of one upstream. The ones approved first stay: a server cannot push a pin out by
/// listing tools and dropping them.
pub(crate) const MAX_GONE: usize = 1_000;
/// Longest definition that the pin of a tool that went away keeps whole, in bytes of JSON. Of longer ones only the hash stays.
const MAX_KEPT: usize = 32 * 1024;
/// Pairs of tools that came and went that are compared for renames in one listing, per shape.
const MAX_PAIRS: usize = 50_000;

/// New findings of a scan that are told of one change.
const MAX_TOLD: usize = 5;

/// Why a tool's definition is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnapprovedWhat {
    /// It is another than the one that was approved, or that of a tool under another name.
    Changed,
    /// It was seen for the first time, in an upstream whose tools want an approval.
    FirstSight,
}

impl UnapprovedWhat {
    /// The word under which such tools are counted as withheld.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed_definition",
            Self::FirstSight => "not_approved",
        }
    }
}

/// A tool that is withheld until somebody approves what its server lists. Holds no word of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unapproved {
    /// Why.
    pub what: UnapprovedWhat,
    /// Since when.
    pub since: Timestamp,
    /// The hash of the definition that waits: what an approval has to name.
    pub hash: ContentHash,
    /// The tool that went away and that this one looks like.
    pub renamed_from: Option<ToolId>,
    /// The hash of all that the server lists of it.
    pub(crate) raw: ContentHash,
}

impl Unapproved {
    /// Why, in a clause of ours.
    pub fn reason(&self) -> String {
        match (self.what, &self.renamed_from) {
            (UnapprovedWhat::Changed, Some(old)) => {
                format!("it looks like `{old}` under another name; nobody has approved it yet")
            }
            (UnapprovedWhat::Changed, None) => "its definition changed; nobody has approved the new one yet".to_owned(),
            (UnapprovedWhat::FirstSight, _) => "nobody has approved its definition yet".to_owned(),
        }
    }

    /// Whether an earlier definition of the same tool was approved, and is what is shown of it.
    pub fn has_approved(&self) -> bool {
        self.what == UnapprovedWhat::Changed && self.renamed_from.is_none()
    }
}

/// `w/<tool>`: what waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WaitingRow {
    pub(crate) what: UnapprovedWhat,
    pub(crate) since: Timestamp,
    pub(crate) raw: ContentHash,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) renamed_from: Option<ToolId>,
    /// Why no rule approved it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) obstacles: Vec<String>,
    /// Whole, as it is listed.
    pub(crate) definition: Value,
}

impl WaitingRow {
    pub(crate) fn unapproved(&self) -> Unapproved {
        Unapproved {
            what: self.what,
            since: self.since,
            hash: card::definition_hash(&self.definition),
            renamed_from: self.renamed_from.clone(),
            raw: self.raw,
        }
    }
}

/// `p/<tool>`: the pin of a tool that went away, or what rules measure from where one approved something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PinRow {
    /// The definition that was approved last.
    pub(crate) hash: ContentHash,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) approval: Option<Approval>,
    /// Whole; absent while the tool is there and shown with it, and where it is too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) definition: Option<Value>,
    /// What a person or the first use approved, where a rule approved more since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) anchor: Option<Value>,
}

/// What is known in memory of a pin whose tool went away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) shape: Option<Shape>,
    pub(crate) approved_at: Timestamp,
}

impl Gone {
    pub(crate) fn of(row: &PinRow) -> Self {
        let approved_at = row.approval.as_ref().map_or_else(Timestamp::default, |approval| approval.at);
        Self { shape: row.definition.as_ref().map(shape), approved_at }
    }
}

/// The pins of tools that went away, by upstream.
pub(crate) type AllGone = BTreeMap<UpstreamId, BTreeMap<ToolName, Gone>>;

/// Of these pins, those beyond what is kept: the ones approved last.
pub(crate) fn surplus(gone: &BTreeMap<ToolName, Gone>) -> Vec<ToolName> {
    let n_over = gone.len().saturating_sub(MAX_GONE);
    if n_over == 0 {
        return Vec::new();
    }
    let mut by_age: Vec<_> = gone.iter().map(|(name, gone)| (gone.approved_at, name)).collect();
    by_age.sort_unstable();
    by_age.into_iter().rev().take(n_over).map(|(_, name)| name.clone()).collect()
}

/// A definition that is not too long to be kept beside.
pub(crate) fn kept(definition: Value) -> Option<Value> {
    (definition.to_string().len() <= MAX_KEPT).then_some(definition)
}

/// One tool of a listing that is not what it was.
pub(crate) struct Case<'a> {
    pub(crate) id: &'a ToolId,
    pub(crate) definition: &'a Value,
    pub(crate) raw: ContentHash,
    /// The hash of the definition it is shown with, if it is there.
    pub(crate) shown: Option<ContentHash>,
    /// Whether a tool of this id went away and its pin was kept.
    pub(crate) is_back: bool,
    /// What already waits.
    pub(crate) waiting: Option<&'a Unapproved>,
    /// The tool that went away and that it looks like.
    pub(crate) renamed_from: Option<&'a ToolId>,
    pub(crate) trust: Trust,
    /// How what is taken unasked counts as approved.
    pub(crate) unasked: How,
    pub(crate) tags: &'a [String],
    pub(crate) at: Timestamp,
}

/// What becomes of it.
#[derive(Debug)]
pub(crate) enum Ruling {
    /// Nothing that counts differs from what was approved.
    Same,
    /// It waits already, and is still the same.
    Waits,
    /// It is shown from now on. The anchor is what rules go on measuring from.
    Take { approval: Approval, anchor: Option<Value> },
    /// It waits from now on; meanwhile what is shown stays, or is this.
    Hold { row: Box<WaitingRow>, shown: Option<(Value, Option<Approval>)> },
}

impl Catalog {
    /// Rules on one tool.
    pub(crate) fn rule(&self, case: &Case<'_>) -> Result<Ruling, Error> {
        let hash = card::definition_hash(case.definition);
        let pin: Option<PinRow> = match case.shown {
            // A tool that is there has a row only where a rule approved something, or where its pin was too long to show.
            Some(shown) if shown == hash && case.waiting.is_none() => None,
            None if !case.is_back => None,
            _ => self.pin(case.id)?,
        };
        let is_approved_before = case.waiting.is_none_or(Unapproved::has_approved);
        let approved = match (&pin, case.shown) {
            (Some(pin), _) => Some(pin.hash),
            (None, shown) => shown.filter(|_| is_approved_before),
        };
        if approved == Some(hash) {
            let is_shown = case.shown == Some(hash);
            return Ok(match pin {
                Some(pin) if !is_shown => {
                    Ruling::Take { approval: pin.approval.unwrap_or_else(|| first(case)), anchor: pin.anchor }
                }
                _ => Ruling::Same,
            });
        }
        let unasked = |how| Ruling::Take { approval: Approval { at: case.at, how, reasons: Vec::new() }, anchor: None };
        if case.trust == Trust::Always {
            return Ok(unasked(case.unasked));
        }
        let renamed_from = case.renamed_from.or(case.waiting.and_then(|waiting| waiting.renamed_from.as_ref()));
        let is_first = approved.is_none() && renamed_from.is_none();
        if is_first && case.trust == Trust::FirstUse {
            return Ok(unasked(How::FirstUse));
        }
        if case.waiting.is_some_and(|waiting| waiting.raw == case.raw) {
            return Ok(Ruling::Waits);
        }
        let mut obstacles = Vec::new();
        if approved.is_some() {
            let before = self.approved_definition(case, pin.as_ref())?;
            let anchor = pin.as_ref().and_then(|pin| pin.anchor.clone()).or(before);
            match self.approve_by_rule(case, anchor, &mut obstacles) {
                Some(ruling) => return Ok(ruling),
                None if obstacles.is_empty() => obstacles.push("changes are never approved by rule here".to_owned()),
                None => {}
            }
        }
        let what = if is_first { UnapprovedWhat::FirstSight } else { UnapprovedWhat::Changed };
        let row = WaitingRow {
            what,
            // Another change on top does not make it younger.
            since: case.waiting.map_or(case.at, |waiting| waiting.since),
            raw: case.raw,
            renamed_from: renamed_from.cloned(),
            obstacles,
            definition: case.definition.clone(),
        };
        let shown = case.shown.is_none().then(|| match pin {
            Some(PinRow { definition: Some(definition), approval, .. }) => (definition, approval),
            _ => (stub(case.id.name.as_str()), None),
        });
        Ok(Ruling::Hold { row: Box::new(row), shown })
    }

    fn approve_by_rule(&self, case: &Case<'_>, anchor: Option<Value>, obstacles: &mut Vec<String>) -> Option<Ruling> {
        if self.review().auto_approve == AutoApprove::Never {
            return None;
        }
        let Some(anchor) = anchor.and_then(kept) else {
            obstacles.push("the approved definition is too long to compare".to_owned());
            return None;
        };
        let judgement = judge(&anchor, case.definition);
        obstacles.extend(judgement.obstacles);
        let effect =
            |definition: &Value| card::build(case.id, definition, case.tags, self.overlay(case.id)).card.side_effect;
        // Where a server does not say what a tool does, its texts are guessed from.
        if effect(&anchor) != effect(case.definition) {
            obstacles.push("what it may do looks different".to_owned());
        }
        // Whatever else it is, what a scan finds is no light word.
        let known = self.scan(&anchor).findings;
        let is_new = |finding: &&Finding| !known.iter().any(|old| old.kind == finding.kind);
        let found = self.scan(case.definition).findings;
        obstacles.extend(found.iter().filter(is_new).take(MAX_TOLD).map(Finding::told));
        let approval = Approval { at: case.at, how: How::ByRule, reasons: judgement.reasons };
        obstacles.is_empty().then_some(Ruling::Take { approval, anchor: Some(anchor) })
    }

    /// The definition of a tool that was approved last, as far as it was kept.
    fn approved_definition(&self, case: &Case<'_>, pin: Option<&PinRow>) -> Result<Option<Value>, Error> {
        if let Some(definition) = pin.and_then(|pin| pin.definition.clone()) {
            return Ok(Some(definition));
        }
        let is_shown = case.shown.is_some() && pin.is_none_or(|pin| Some(pin.hash) == case.shown);
        if is_shown { self.raw(case.id) } else { Ok(None) }
    }

    pub(crate) fn pin(&self, id: &ToolId) -> Result<Option<PinRow>, Error> {
        self.read(rows::pin_key(id))
    }

    pub(crate) fn waiting_row(&self, id: &ToolId) -> Result<Option<WaitingRow>, Error> {
        self.read(rows::waiting_key(id))
    }

    /// The pin that stays of a tool that goes; `None` if nothing of it was ever approved, or if its row says it already.
    pub(crate) fn pin_of_gone(&self, id: &ToolId, waiting: Option<&Unapproved>) -> Result<Option<PinRow>, Error> {
        if waiting.is_some_and(|waiting| !waiting.has_approved()) {
            return Ok(None);
        }
        let old = self.pin(id)?;
        let Some(row) = self.tool_row(id)? else { return Ok(old) };
        let Some(definition) = self.definition(&row.raw)? else { return Ok(old) };
        let hash = card::definition_hash(&definition);
        match old {
            // What is shown only stands in for what was too long to keep.
            Some(old) if old.hash != hash => Ok(Some(old)),
            old => {
                let anchor = old.and_then(|old| old.anchor);
                Ok(Some(PinRow { hash, approval: row.approval, definition: kept(definition), anchor }))
            }
        }
    }

    /// For tools that are new in a listing: which of those that went away each looks like.
    ///
    /// A new name with an old tool's parameters and about its words would count as first sight, and so be trusted with whatever
    /// else it says. So it counts as a change of the old tool, whatever is trusted at first sight.
    pub(crate) fn renames(
        &self,
        upstream: &UpstreamId,
        new: &[(&ToolName, &Value)],
        gone: &BTreeMap<ToolName, Option<Shape>>,
    ) -> Result<HashMap<ToolName, ToolId>, Error> {
        let mut by_shape: HashMap<Shape, Vec<(ToolId, Value)>> = HashMap::new();
        if new.is_empty() || gone.is_empty() {
            return Ok(HashMap::new());
        }
        let wanted: HashSet<Shape> = new.iter().map(|(_, definition)| shape(definition)).collect();
        let may_match = |shape: &Option<Shape>| shape.is_none_or(|shape| wanted.contains(&shape));
        for name in gone.iter().filter(|(_, shape)| may_match(shape)).map(|(name, _)| name) {
            let id = ToolId::new(upstream.clone(), name.clone());
            let pinned = self.pin(&id)?.and_then(|pin| pin.definition);
            let definition = if pinned.is_some() { pinned } else { self.raw(&id)? };
            let Some(definition) = definition else { continue };
            let shape = shape(&definition);
            if wanted.contains(&shape) {
                by_shape.entry(shape).or_default().push((id, definition));
            }
        }
        let mut n_pairs: HashMap<Shape, usize> = HashMap::new();
        let mut found = HashMap::new();
        for (name, definition) in new {
            let shape = shape(definition);
            let Some(olds) = by_shape.get(&shape) else { continue };
            let n = n_pairs.entry(shape).or_default();
            *n += olds.len();
            // More than can be compared came and went at once: whoever does that is asked about all of it.
            let best = if *n > MAX_PAIRS {
                olds.first().map(|(id, _)| id)
            } else {
                let likely = olds.iter().filter_map(|(id, old)| Some((likeness(old, definition)?, id)));
                likely.max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1))).map(|(_, id)| id)
            };
            if let Some(id) = best {
                found.insert((*name).clone(), id.clone());
            }
        }
        Ok(found)
    }
}

fn first(case: &Case<'_>) -> Approval {
    Approval { at: case.at, how: How::FirstUse, reasons: Vec::new() }
}
