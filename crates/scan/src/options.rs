//! What becomes of findings.

use std::collections::BTreeSet;

use toolscout_core::ToolId;

use crate::{Finding, Severity};

/// What becomes of a tool with a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is neither found nor called, and its text goes to no model.
    Withhold,
    /// It is used like any other; operators see what was found.
    Warn,
    /// Nobody is told.
    Off,
}

impl Action {
    /// The word in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Withhold => "withhold",
            Self::Warn => "warn",
            Self::Off => "off",
        }
    }
}

/// What an operator wants done about hostile text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanOptions {
    /// About grave findings. Withheld.
    pub high: Action,
    /// About findings that honest servers have too. Warned of.
    pub medium: Action,
    /// About what is merely unusual. Warned of.
    pub low: Action,
    /// Tools that are shown whatever is found in them. What is found is still told.
    pub allow: BTreeSet<ToolId>,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self { high: Action::Withhold, medium: Action::Warn, low: Action::Warn, allow: BTreeSet::new() }
    }
}

impl ScanOptions {
    /// Nothing is scanned, told or withheld: for evals, which measure ranking over whole catalogs.
    pub fn off() -> Self {
        Self { high: Action::Off, medium: Action::Off, low: Action::Off, allow: BTreeSet::new() }
    }

    /// Whether nothing has to be scanned.
    pub fn is_off(&self) -> bool {
        [self.high, self.medium, self.low] == [Action::Off; 3]
    }

    /// What is done about a severity.
    pub fn action(&self, severity: Severity) -> Action {
        match severity {
            Severity::High => self.high,
            Severity::Medium => self.medium,
            Severity::Low => self.low,
        }
    }

    /// The gravest finding for which a tool is withheld, if it is. Findings come gravest first.
    pub(crate) fn withholds<'a>(&self, id: &ToolId, findings: &'a [Finding]) -> Option<&'a Finding> {
        let grave = findings.iter().find(|finding| self.action(finding.severity) == Action::Withhold);
        grave.filter(|_| !self.allow.contains(id))
    }
}
