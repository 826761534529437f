//! `tools.jsonl`: a catalog as a file.

use std::collections::BTreeMap;

use toolscout_core::ToolId;

use crate::Change;

/// What an import did.
pub struct Imported {
    /// The catalog after it.
    pub change: Change,
    /// Each line's `id`, as label files spell it, to the tool it became.
    pub ids: BTreeMap<String, ToolId>,
    /// Lines that were left out, by line number.
    pub problems: Vec<LineProblem>,
    /// How many tools were taken.
    pub n_tools: usize,
}

/// A line that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineProblem {
    /// Its number, from 1.
    pub line: usize,
    /// Why.
    pub reason: String,
}
