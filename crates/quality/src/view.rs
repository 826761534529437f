//! What readers see: one immutable state of every known tool's quality.

use std::collections::BTreeMap;

use serde::Serialize;
use toolscout_core::{Timestamp, ToolId};

use crate::record::{QualityOptions, Record};

/// One tool's quality.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolQuality {
    /// Believed success rate, in (0, 1); the prior when nothing is known.
    pub score: f64,
    /// Calls judged, since ever.
    pub calls: u64,
    /// Those that failed by the upstream's fault, since ever.
    pub failures: u64,
    /// Calls that failed by the caller's fault, since ever; they do not count in `score`.
    pub caller_faults: u64,
    /// Successes without any content, since ever.
    pub empty: u64,
    /// The latency that half of the recent successes stay below, in milliseconds.
    pub p50_ms: Option<u64>,
    /// When it was last called.
    pub last_call: Option<Timestamp>,
}

/// Every known tool's quality as of one moment. A tool nobody called has the prior.
#[derive(Debug, Clone)]
pub struct QualityView {
    tools: BTreeMap<ToolId, ToolQuality>,
    unknown: ToolQuality,
}

impl Default for QualityView {
    fn default() -> Self {
        Self::new(&BTreeMap::new(), Timestamp(0), &QualityOptions::default())
    }
}

impl QualityView {
    pub(crate) fn new(records: &BTreeMap<ToolId, Record>, now: Timestamp, options: &QualityOptions) -> Self {
        let tools = records.iter().map(|(id, record)| (id.clone(), quality(record, now, options))).collect();
        Self { tools, unknown: quality(&Record::default(), now, options) }
    }

    /// What is known of one tool.
    pub fn of(&self, id: &ToolId) -> ToolQuality {
        self.tools.get(id).unwrap_or(&self.unknown).clone()
    }

    /// The score alone, without a copy.
    pub fn score(&self, id: &ToolId) -> f64 {
        self.tools.get(id).unwrap_or(&self.unknown).score
    }

    /// Every tool that was ever called, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&ToolId, &ToolQuality)> {
        self.tools.iter()
    }
}

fn quality(record: &Record, now: Timestamp, options: &QualityOptions) -> ToolQuality {
    let called = record.calls + record.caller_faults > 0;
    ToolQuality {
        score: record.score(now, options),
        calls: record.calls,
        failures: record.failures,
        caller_faults: record.caller_faults,
        empty: record.empty,
        p50_ms: record.p50_ms(),
        last_call: called.then_some(record.as_of),
    }
}
