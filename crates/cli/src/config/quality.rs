//! `[quality]`: how outcomes of calls become scores and decisions.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};
use toolscout_core::{IdError, ToolId};
use toolscout_quality::QualityOptions;
use toolscout_selector::SelectorOptions;

use super::mistake::Reader;
use super::node::{Data, Node};
use super::settings::to_json;

/// `[quality]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QualitySettings {
    /// Whether failing tools and servers are put aside.
    pub(crate) quarantine: bool,
    /// The largest share of its score that a failing tool loses in a search.
    pub(crate) weight: f64,
    /// The age at which an outcome counts half for the score.
    pub(crate) half_life: Duration,
    /// Failures in a row that put a tool aside.
    pub(crate) failures_in_a_row: u32,
    /// Share of failures that puts a tool aside.
    pub(crate) failed_share: f64,
    /// Share of timeouts that does.
    pub(crate) timeout_share: f64,
    /// Share of results breaking their schema that does.
    pub(crate) violating_share: f64,
    /// Share of failures from which a tool is degraded.
    pub(crate) degraded_share: f64,
    /// The first time aside.
    pub(crate) first_quarantine: Duration,
    /// The longest time aside.
    pub(crate) longest_quarantine: Duration,
    /// Unanswered calls in a row, over two tools at least, for which a whole server is left alone.
    pub(crate) unanswered_in_a_row: u32,
    /// The first time that lasts.
    pub(crate) first_outage: Duration,
    /// The longest.
    pub(crate) longest_outage: Duration,
    /// Whether a degraded server's writing tools are withheld.
    pub(crate) read_only_fallback: bool,
    /// The calls that try reading tools which were put aside: tool to arguments.
    pub(crate) probes: BTreeMap<ToolId, Map<String, Value>>,
}

impl Default for QualitySettings {
    fn default() -> Self {
        let QualityOptions { automatic, read_only_fallback, half_life_ms, quarantine, circuit, .. } =
            QualityOptions::default();
        Self {
            quarantine: automatic,
            weight: SelectorOptions::default().quality,
            half_life: Duration::from_millis(half_life_ms),
            failures_in_a_row: quarantine.in_a_row,
            failed_share: quarantine.failed_share,
            timeout_share: quarantine.timeout_share,
            violating_share: quarantine.violating_share,
            degraded_share: quarantine.degraded_share,
            first_quarantine: Duration::from_millis(quarantine.backoff_ms),
            longest_quarantine: Duration::from_millis(quarantine.backoff_cap_ms),
            unanswered_in_a_row: circuit.unanswered_in_a_row,
            first_outage: Duration::from_millis(circuit.backoff_ms),
            longest_outage: Duration::from_millis(circuit.backoff_cap_ms),
            read_only_fallback,
            probes: BTreeMap::new(),
        }
    }
}

impl QualitySettings {
    /// What `quality` makes of them.
    pub(crate) fn options(&self) -> QualityOptions {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let mut options = QualityOptions {
            automatic: self.quarantine,
            read_only_fallback: self.read_only_fallback,
            half_life_ms: millis(self.half_life),
            ..QualityOptions::default()
        };
        let quarantine = &mut options.quarantine;
        quarantine.in_a_row = self.failures_in_a_row;
        quarantine.failed_share = self.failed_share;
        quarantine.timeout_share = self.timeout_share;
        quarantine.violating_share = self.violating_share;
        quarantine.degraded_share = self.degraded_share;
        quarantine.backoff_ms = millis(self.first_quarantine);
        quarantine.backoff_cap_ms = millis(self.longest_quarantine);
        options.circuit.unanswered_in_a_row = self.unanswered_in_a_row;
        options.circuit.backoff_ms = millis(self.first_outage);
        options.circuit.backoff_cap_ms = millis(self.longest_outage);
        options
    }
}

/// A share of the whole.
pub(super) fn share(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<f64> {
    let number = match &node.data {
        Data::Number(number) => Some(*number),
        // From the environment.
        Data::Text(text) if node.line.is_none() => text.trim().parse().ok(),
        _ => None,
    };
    let share = number.filter(|number| (0.0..=1.0).contains(number));
    if share.is_none() {
        reader.wrong(node.line, key, "must be a number from 0 to 1", None);
    }
    share
}

/// How many in a row.
pub(super) fn count(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<u32> {
    reader.number(node, key, 2..=1_000).and_then(|number| u32::try_from(number).ok())
}

/// Tool ids, each with the arguments of its probe.
pub(super) fn probes(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<BTreeMap<ToolId, Map<String, Value>>> {
    const FORM: &str = "write [quality.probes] and \"upstream:tool\" = { argument = \"value\" }";
    if !matches!(node.data, Data::Table(_)) {
        reader.wrong(node.line, key, format!("must be a table, not {}", node.kind()), FORM);
        return None;
    }
    let n_before = reader.mistakes.len();
    let mut probes = BTreeMap::new();
    for (name, arguments) in node.entries() {
        let at = format!("{key}.\"{name}\"");
        let id: Result<ToolId, IdError> = name.parse();
        match (id, to_json(arguments)) {
            (Ok(id), Value::Object(arguments)) => {
                probes.insert(id, arguments);
            }
            (Ok(_), _) => reader.wrong(arguments.line, &at, "must be a table of arguments", FORM),
            (Err(error), _) => reader.wrong(arguments.line, &at, error.to_string(), FORM),
        }
    }
    (reader.mistakes.len() == n_before).then_some(probes)
}
