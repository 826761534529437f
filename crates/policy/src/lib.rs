//! May this caller see it, and call it?
//!
//! A [`Policy`] is configuration: globs over tool ids, tags, the worst side effect that is tolerated. [`decide`] is the one
//! function that reads it, asked at two moments: before retrieval ([`Moment::See`]) and before a call ([`Moment::Call`]).
//! It is the only maker of [`Granted`], so code that takes a grant cannot be reached without a decision.
//! Reads no clock and no file, and knows nothing of ranking.
//!
//! ```
//! use toolscout_core::{Caller, SideEffect, ToolId};
//! use toolscout_policy::{Decision, Glob, Moment, Policy, Subject, decide};
//!
//! let policy = Policy { deny: vec![Glob::new("github:delete_*")], ..Policy::default() };
//! let (caller, id) = (Caller::local("doc"), "github:delete_repo".parse::<ToolId>().unwrap());
//! let subject = Subject { id: &id, side_effect: SideEffect::Destructive, tags: &[] };
//! let Decision::Denied(denial) = decide(&policy, &caller, &subject, Moment::See) else { panic!("granted") };
//! assert_eq!(denial.rule, "deny github:delete_*");
//! ```

mod glob;

use std::fmt;

use serde::{Deserialize, Serialize};
use toolscout_core::{Caller, SideEffect, ToolId};

pub use glob::Glob;

/// When the question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Before retrieval: may the caller know that the tool exists?
    See,
    /// Before a call is forwarded.
    Call,
}

/// What a rule does to the tools it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The tool may be seen or called, unless something denies it.
    Allow,
    /// It may not, whatever else allows it.
    Deny,
}

/// What an operator permits. The default permits everything.
///
/// Anything that denies wins over everything that allows. A tool that nothing speaks of gets [`Policy::default_effect`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// What happens to a tool that no rule covers. Left out: `allow`, but `deny` as soon as anything is listed as allowed,
    /// because a list of allowed tools that lets through all others would be a trap.
    #[serde(rename = "default", skip_serializing_if = "Option::is_none")]
    pub default: Option<Effect>,
    /// The worst side effect that any tool may have. Left out: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_side_effect: Option<SideEffect>,
    /// Tool ids that are allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Glob>,
    /// Tool ids that are denied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Glob>,
    /// Finer rules, by upstream, tag, tenant, scope or moment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// One finer rule. It covers a subject when every condition that is given holds; a condition left empty always holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it does.
    pub effect: Effect,
    /// How it is called in answers and logs. Left out: its effect and globs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Tool ids, any of which must fit: `github:*`, `*:delete_*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Glob>,
    /// Tags, any of which the tool must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// A bound on the side effect: a rule that denies then covers only tools that do more than this,
    /// a rule that allows only tools that do no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_side_effect: Option<SideEffect>,
    /// Tenants, any of which the caller must be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<String>,
    /// Scopes, any of which the caller must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The one moment it speaks of. Left out: both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moment: Option<Moment>,
}

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The tool.
    pub id: &'a ToolId,
    /// What a call of it can do.
    pub side_effect: SideEffect,
    /// Its tags.
    pub tags: &'a [String],
}

/// The answer of [`decide`].
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes, and here is the proof.
    Granted(Granted<ToolId>),
    /// No, because of this.
    Denied(Denial),
}

/// Proof that policy permits something to the caller it was asked for, at the moment it was asked about.
/// Nobody outside this crate can make one. It is not `Clone`: a grant is used for the one thing it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Granted<T> {
    subject: T,
    moment: Moment,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// The rule that decided, in the operator's own words: `deny github:delete_*`, `max_side_effect read`, `not allowed`.
    pub rule: String,
}

/// May `caller` see or call `subject`? Deny wins; then allow; then the default.
pub fn decide(policy: &Policy, caller: &Caller, subject: &Subject<'_>, moment: Moment) -> Decision {
    match denial(policy, caller, subject, moment) {
        Some(rule) => Decision::Denied(Denial { rule }),
        None => Decision::Granted(Granted { subject: subject.id.clone(), moment }),
    }
}

fn denial(policy: &Policy, caller: &Caller, subject: &Subject<'_>, moment: Moment) -> Option<String> {
    if let Some(max) = policy.max_side_effect.filter(|max| subject.side_effect > *max) {
        return Some(format!("max_side_effect {}", max.as_str()));
    }
    if let Some(glob) = policy.deny.iter().find(|glob| glob.fits_id(subject.id)) {
        return Some(format!("deny {glob}"));
    }
    let covers = |rule: &&Rule| rule.covers(caller, subject, moment);
    if let Some(rule) = policy.rules.iter().filter(|rule| rule.effect == Effect::Deny).find(covers) {
        return Some(rule.to_string());
    }
    let allowed = policy.default_effect() == Effect::Allow
        || policy.allow.iter().any(|glob| glob.fits_id(subject.id))
        || policy.rules.iter().filter(|rule| rule.effect == Effect::Allow).any(|rule| covers(&rule));
    (!allowed).then(|| "not allowed".to_owned())
}

impl Policy {
    /// What happens to a tool that no rule covers: see [`Policy::default`].
    pub fn default_effect(&self) -> Effect {
        let lists_allowed = !self.allow.is_empty() || self.rules.iter().any(|rule| rule.effect == Effect::Allow);
        self.default.unwrap_or(if lists_allowed { Effect::Deny } else { Effect::Allow })
    }

    /// Whether it permits everything to everyone: then nobody needs to ask tool by tool.
    pub fn permits_all(&self) -> bool {
        let Self { default: _, max_side_effect, allow: _, deny, rules } = self;
        self.default_effect() == Effect::Allow
            && max_side_effect.is_none_or(|max| max == SideEffect::Destructive)
            && deny.is_empty()
            && rules.iter().all(|rule| rule.effect == Effect::Allow)
    }
}

impl Rule {
    /// A rule without conditions: it covers everything.
    pub fn all(effect: Effect) -> Self {
        Self {
            effect,
            name: None,
            tools: Vec::new(),
            tags: Vec::new(),
            max_side_effect: None,
            tenants: Vec::new(),
            scopes: Vec::new(),
            moment: None,
        }
    }

    fn covers(&self, caller: &Caller, subject: &Subject<'_>, moment: Moment) -> bool {
        let bounded = self.max_side_effect.is_none_or(|max| match self.effect {
            Effect::Deny => subject.side_effect > max,
            Effect::Allow => subject.side_effect <= max,
        });
        bounded
            && self.moment.is_none_or(|own| own == moment)
            && (self.tools.is_empty() || self.tools.iter().any(|glob| glob.fits_id(subject.id)))
            && (self.tags.is_empty() || self.tags.iter().any(|tag| subject.tags.contains(tag)))
            && (self.tenants.is_empty() || self.tenants.contains(&caller.tenant))
            && (self.scopes.is_empty() || self.scopes.iter().any(|scope| caller.scopes.contains(scope)))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            return f.write_str(name);
        }
        f.write_str(match self.effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        })?;
        self.tools.iter().try_for_each(|glob| write!(f, " {glob}"))?;
        self.tags.iter().try_for_each(|tag| write!(f, " tag {tag}"))?;
        self.max_side_effect.map_or(Ok(()), |max| write!(f, " max_side_effect {}", max.as_str()))
    }
}

impl<T> Granted<T> {
    /// What was permitted.
    pub fn get(&self) -> &T {
        &self.subject
    }

    /// What was permitted, the proof spent.
    pub fn into_inner(self) -> T {
        self.subject
    }

    /// What it was permitted for. A grant to see is none to call.
    pub fn moment(&self) -> Moment {
        self.moment
    }
}

#[cfg(test)]
mod tests;
