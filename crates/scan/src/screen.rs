//! The decision about every tool of one generation.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;
use toolscout_core::{ToolId, ToolName, UpstreamId};

use crate::{Action, Finding, Kind, Scan, ScanOptions, Severity};

/// What operators are told of one tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// What was found, gravest first.
    pub findings: Vec<Finding>,
    /// Whether the tool is withheld for it.
    pub is_withheld: bool,
}

impl Reported {
    /// Why it is withheld, in our own words alone, if it is.
    pub fn withheld(&self) -> Option<String> {
        self.findings.first().filter(|_| self.is_withheld).map(Finding::told)
    }
}

/// Who is withheld, and what is told, for the tools of one generation. Made once when the generation is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Screen {
    reported: BTreeMap<ToolId, Reported>,
    withheld: BTreeSet<ToolId>,
}

impl Screen {
    /// The screen over these scans. `names` are the tools of the generation: a sentence about a tool that only another upstream
    /// has is a claim about a stranger's tool.
    pub fn new<'a>(
        scans: &BTreeMap<ToolId, Arc<Scan>>,
        names: impl Iterator<Item = &'a ToolId>,
        options: &ScanOptions,
    ) -> Self {
        let mut screen = Self::default();
        if options.is_off() || scans.is_empty() {
            return screen;
        }
        let owners = owners(scans, names);
        for (id, scan) in scans {
            let mut findings = scan.findings.clone();
            let owned_elsewhere = |name: &str| {
                let owners = owners.get(name)?;
                owners.iter().find(|owner| **owner != id.upstream).filter(|_| !owners.contains(&id.upstream))
            };
            for mention in &scan.mentions {
                if let Some(owner) = owned_elsewhere(&mention.name) {
                    let severity = if mention.is_shadowing { Severity::High } else { Severity::Medium };
                    findings.push(Finding {
                        kind: Kind::CrossTool,
                        severity,
                        at: mention.at.clone(),
                        excerpt: mention.excerpt.clone(),
                        why: format!("speaks of a tool that `{owner}` has and its own server has not"),
                    });
                }
            }
            crate::definition::settle(&mut findings);
            let is_withheld = options.withholds(id, &findings).is_some();
            findings.retain(|finding| options.action(finding.severity) != Action::Off);
            if findings.is_empty() {
                continue;
            }
            if is_withheld {
                // The reason first, also where a graver severity is only warned of.
                findings.sort_by_key(|finding| options.action(finding.severity) != Action::Withhold);
                screen.withheld.insert(id.clone());
            }
            screen.reported.insert(id.clone(), Reported { findings, is_withheld });
        }
        screen
    }

    /// The screen over definitions that are in no catalog. Those without a usable name are left out.
    pub fn of_definitions<'a>(
        upstream: &UpstreamId,
        definitions: impl Iterator<Item = &'a Value>,
        options: &ScanOptions,
    ) -> Self {
        let mut scans = BTreeMap::new();
        let mut names = Vec::new();
        for definition in definitions {
            let name = definition.get("name").and_then(Value::as_str).and_then(|name| ToolName::new(name).ok());
            let Some(name) = name else { continue };
            let id = ToolId::new(upstream.clone(), name);
            let found = crate::scan(definition);
            if !found.is_empty() {
                scans.insert(id.clone(), Arc::new(found));
            }
            names.push(id);
        }
        Self::new(&scans, names.iter(), options)
    }

    /// What is told of a tool.
    pub fn of(&self, id: &ToolId) -> Option<&Reported> {
        self.reported.get(id)
    }

    /// Whether a tool is withheld.
    pub fn withholds(&self, id: &ToolId) -> bool {
        !self.withheld.is_empty() && self.withheld.contains(id)
    }

    /// Why a tool is withheld, in our own words alone, if it is.
    pub fn reason(&self, id: &ToolId) -> Option<String> {
        self.of(id).and_then(Reported::withheld)
    }

    /// Whether a tool is withheld and its very name is part of why.
    pub fn is_name_hostile(&self, id: &ToolId) -> bool {
        self.withholds(id) && self.of(id).is_some_and(|told| told.findings.iter().any(|finding| finding.at == "name"))
    }

    /// The tools that are withheld, by id. Few.
    pub fn withheld(&self) -> impl ExactSizeIterator<Item = &ToolId> {
        self.withheld.iter()
    }

    /// The tools that anything is told of, by id.
    pub fn reported(&self) -> impl ExactSizeIterator<Item = (&ToolId, &Reported)> {
        self.reported.iter()
    }

    /// How many of an upstream's tools are withheld, and of how many others something graver than unusual is told.
    pub fn counts(&self, upstream: &UpstreamId) -> (usize, usize) {
        let of_upstream = self.reported.iter().filter(|(id, _)| id.upstream == *upstream);
        let (mut withheld, mut warned) = (0, 0);
        for (_, reported) in of_upstream {
            withheld += usize::from(reported.is_withheld);
            let is_worth_a_word = reported.findings.iter().any(|finding| finding.severity > Severity::Low);
            warned += usize::from(!reported.is_withheld && is_worth_a_word);
        }
        (withheld, warned)
    }
}

/// Who has a tool of each name that any text speaks of.
fn owners<'a>(
    scans: &BTreeMap<ToolId, Arc<Scan>>,
    names: impl Iterator<Item = &'a ToolId>,
) -> HashMap<String, BTreeSet<UpstreamId>> {
    let spoken_of = scans.values().flat_map(|scan| scan.mentions.iter().map(|mention| mention.name.clone()));
    let mut owners: HashMap<String, BTreeSet<UpstreamId>> = spoken_of.map(|name| (name, BTreeSet::new())).collect();
    if owners.is_empty() {
        return owners;
    }
    for id in names {
        if let Some(known) = owners.get_mut(&id.name.as_str().to_lowercase()) {
            known.insert(id.upstream.clone());
        }
    }
    owners
}
