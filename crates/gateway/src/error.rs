//! What can go wrong with a request, and the one table that says how it looks outside.
//!
//! Over MCP nearly everything is a tool result with `isError`, because models see those and learn from them; over HTTP it is
//! a status and `{"error": {"code", "message", "hint", "id"}}`. Outside sees a short message and an id, the log has the chain.

use http::StatusCode;
use serde_json::{Value, json};
use toolscout_catalog::Unapproved;
use toolscout_core::{CallFault, ContentHash, Fault, Retry, SideEffect, ToolId};
use toolscout_quality::{Held, HeldWhat};

use crate::lenient::Mistake;
use crate::seal::SealError;
use crate::validate::ArgumentFault;
use crate::wire::{Problem, ProblemBody, UnknownTool};

/// Why an operation gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// The request cannot be understood: mend the fields named.
    #[error("the request cannot be understood")]
    BadRequest {
        /// What is wrong, field by field.
        mistakes: Vec<Mistake>,
    },
    /// No such tool, or none that this caller may see: take one of the nearest.
    #[error("there is no tool `{}`", .0.id)]
    UnknownTool(UnknownTool),
    /// No such selection, not any more, or not this caller's: search again.
    #[error("there is no selection `{id}`")]
    UnknownSelection {
        /// What was asked for, cleaned.
        id: String,
    },
    /// No such upstream: name another.
    #[error("there is no upstream `{id}`")]
    UnknownUpstream {
        /// What was asked for, cleaned.
        id: String,
        /// The upstreams that are most like it.
        nearest: Vec<String>,
    },
    /// The arguments do not fit the tool's schema: mend them.
    #[error("the arguments do not fit `{tool}`")]
    Arguments {
        /// The tool.
        tool: ToolId,
        /// Its compact signature.
        signature: String,
        /// What is wrong.
        faults: Vec<ArgumentFault>,
    },
    /// Policy forbids the call: only the operator can change that.
    #[error("calling `{tool}` is not permitted")]
    Denied {
        /// The tool.
        tool: ToolId,
        /// The operator's rule, for the log: what rules there are is nothing for callers.
        rule: String,
    },
    /// The operator wants such calls confirmed: repeat with `confirm: true` once the person agrees.
    #[error("calling `{tool}` needs a confirmation: its effect is {}", .side_effect.as_str())]
    NeedsConfirmation {
        /// The tool.
        tool: ToolId,
        /// What it can do.
        side_effect: SideEffect,
    },
    /// A multi-round-trip state that cannot be used: start the call again without it.
    #[error("the call of `{tool}` cannot be continued")]
    State {
        /// The tool.
        tool: ToolId,
        /// Why.
        #[source]
        source: SealError,
    },
    /// The upstream failed.
    #[error("calling `{tool}` failed: {source}")]
    Upstream {
        /// The tool.
        tool: ToolId,
        /// How. Boxed: it is large, and most answers are none.
        source: Box<toolscout_upstream::Error>,
    },
    /// The tool, or its whole server, fails too often to be called now: take another, or wait until it is tried again.
    #[error("`{tool}` is {} since {}: {}", told(.held.what), .held.since.rfc3339(), .held.reason)]
    Quarantined {
        /// The tool.
        tool: ToolId,
        /// Why, since when, and until when.
        held: Box<Held>,
        /// The same tool on other upstreams and its backups, as far as they work and the caller may see them.
        siblings: Vec<String>,
    },
    /// The tool's definition holds a text that speaks to the model: only the operator can let it through.
    #[error("`{tool}` is withheld for hostile text: {reason}")]
    HostileText {
        /// The tool.
        tool: ToolId,
        /// What was found, in our own words: none of the server's.
        reason: String,
        /// The same tool on other upstreams, as far as it works and the caller may see it.
        siblings: Vec<String>,
    },
    /// Nobody approved what the upstream lists of this tool now: take another, or ask the operator.
    #[error("`{tool}` is withheld since {}: {}", .waits.since.rfc3339(), .waits.reason())]
    Unapproved {
        /// The tool.
        tool: ToolId,
        /// Why, and since when.
        waits: Box<Unapproved>,
        /// The same tool on other upstreams, as far as it works and the caller may see it.
        siblings: Vec<String>,
    },
    /// An approval of what no longer waits: there is nothing left to do.
    #[error("nothing of `{tool}` waits for an approval")]
    NothingWaits {
        /// The tool.
        tool: ToolId,
    },
    /// An approval of another definition than the one that waits: look at that one.
    #[error("the definition of `{tool}` that waits is another by now")]
    OtherWaits {
        /// The tool.
        tool: ToolId,
        /// What waits.
        waits: ContentHash,
    },
    /// Credentials are missing or wrong.
    #[error("a valid bearer token is required")]
    Unauthorized,
    /// The `Host` or `Origin` header is not on the operator's list.
    #[error("this {header} is not allowed")]
    Forbidden {
        /// Which header.
        header: &'static str,
    },
    /// The body is larger than we take.
    #[error("the request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// Too many requests at once: try again in a moment.
    #[error("too many requests at once")]
    Busy,
    /// The server is going down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The request took longer than it may.
    #[error("the request took longer than {seconds} s")]
    TooSlow {
        /// The limit.
        seconds: u64,
    },
    /// No route of that name.
    #[error("there is nothing at this address")]
    NoRoute,
    /// The route is there, for other methods.
    #[error("this address takes other methods")]
    WrongMethod,
    /// A bug or a broken disk on our side. The log has it under the id.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What to do instead of calling a tool that is withheld.
fn elsewhere(siblings: &[String]) -> String {
    match siblings {
        [] => "find another tool with search_tools".to_owned(),
        siblings => format!("call instead: {}", siblings.join(", ")),
    }
}

fn told(what: HeldWhat) -> &'static str {
    match what {
        HeldWhat::Tool => "in quarantine",
        HeldWhat::Upstream => "out of reach",
        HeldWhat::Writing => "withheld because it writes,",
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outside {
    /// The stable word for programs.
    pub code: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// Who has to act.
    pub fault: Fault,
}

impl OpError {
    /// The one table: how each failure looks outside.
    pub fn outside(&self) -> Outside {
        use toolscout_upstream::Error as Up;
        let row = |code, status, fault| Outside { code, status, fault };
        match self {
            Self::BadRequest { .. } => row("bad_request", StatusCode::BAD_REQUEST, Fault::Caller),
            Self::UnknownTool(_) => row("unknown_tool", StatusCode::NOT_FOUND, Fault::Caller),
            Self::UnknownSelection { .. } => row("unknown_selection", StatusCode::NOT_FOUND, Fault::Caller),
            Self::UnknownUpstream { .. } => row("unknown_upstream", StatusCode::NOT_FOUND, Fault::Caller),
            Self::Arguments { .. } => row("invalid_arguments", StatusCode::UNPROCESSABLE_ENTITY, Fault::Caller),
            Self::Denied { .. } => row("not_permitted", StatusCode::FORBIDDEN, Fault::Caller),
            Self::NeedsConfirmation { .. } => row("needs_confirmation", StatusCode::CONFLICT, Fault::Caller),
            Self::State { .. } => row("bad_request_state", StatusCode::BAD_REQUEST, Fault::Caller),
            Self::Upstream { source, .. } => match &**source {
                Up::Timeout { .. } => row("upstream_timeout", StatusCode::GATEWAY_TIMEOUT, Fault::Upstream),
                Up::NeedsAuth { .. } => row("upstream_needs_auth", StatusCode::BAD_GATEWAY, Fault::Upstream),
                Up::BackingOff { .. } => row("upstream_down", StatusCode::SERVICE_UNAVAILABLE, Fault::Upstream),
                Up::Cancelled { .. } => row("cancelled", StatusCode::BAD_REQUEST, Fault::Caller),
                Up::UnknownUpstream { .. } | Up::Disabled { .. } | Up::Filtered { .. } => {
                    row("upstream_not_configured", StatusCode::NOT_FOUND, Fault::Caller)
                }
                Up::Rpc { .. } => row("upstream_error", StatusCode::BAD_GATEWAY, source.fault()),
                Up::ShuttingDown => row("shutting_down", StatusCode::SERVICE_UNAVAILABLE, Fault::Ours),
                Up::Start { .. } | Up::Connect { .. } | Up::Closed { .. } | Up::Protocol { .. } | Up::Caps { .. } => {
                    row("upstream_failed", StatusCode::BAD_GATEWAY, Fault::Upstream)
                }
            },
            Self::Quarantined { held, .. } => row(held.what.as_str(), StatusCode::SERVICE_UNAVAILABLE, Fault::Upstream),
            Self::HostileText { .. } => row("hostile_text", StatusCode::FORBIDDEN, Fault::Upstream),
            Self::Unapproved { waits, .. } => row(waits.what.as_str(), StatusCode::FORBIDDEN, Fault::Caller),
            Self::NothingWaits { .. } => row("nothing_waits", StatusCode::CONFLICT, Fault::Caller),
            Self::OtherWaits { .. } => row("definition_changed", StatusCode::CONFLICT, Fault::Caller),
            Self::Unauthorized => row("unauthorized", StatusCode::UNAUTHORIZED, Fault::Caller),
            Self::Forbidden { .. } => row("forbidden", StatusCode::FORBIDDEN, Fault::Caller),
            Self::TooLarge { .. } => row("too_large", StatusCode::PAYLOAD_TOO_LARGE, Fault::Caller),
            Self::Busy => row("busy", StatusCode::SERVICE_UNAVAILABLE, Fault::Ours),
            Self::ShuttingDown => row("shutting_down", StatusCode::SERVICE_UNAVAILABLE, Fault::Ours),
            Self::TooSlow { .. } => row("too_slow", StatusCode::GATEWAY_TIMEOUT, Fault::Ours),
            Self::NoRoute => row("no_route", StatusCode::NOT_FOUND, Fault::Caller),
            Self::WrongMethod => row("wrong_method", StatusCode::METHOD_NOT_ALLOWED, Fault::Caller),
            Self::Internal(_) => row("internal", StatusCode::INTERNAL_SERVER_ERROR, Fault::Ours),
        }
    }

    /// Something of ours that should not fail did.
    pub fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal(Box::new(error))
    }

    /// Whose mistake it is.
    pub fn fault(&self) -> Fault {
        self.outside().fault
    }

    /// Whether the same request may go better later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Upstream { source, .. } => source.retry(),
            Self::Quarantined { held, .. } if held.until.is_none() => Retry::Never,
            Self::Busy | Self::ShuttingDown | Self::TooSlow { .. } | Self::Quarantined { .. } => Retry::Later,
            Self::BadRequest { .. }
            | Self::UnknownTool(_)
            | Self::UnknownSelection { .. }
            | Self::UnknownUpstream { .. }
            | Self::Arguments { .. }
            | Self::Denied { .. }
            | Self::NeedsConfirmation { .. }
            | Self::State { .. }
            | Self::HostileText { .. }
            | Self::Unapproved { .. }
            | Self::NothingWaits { .. }
            | Self::OtherWaits { .. }
            | Self::Unauthorized
            | Self::Forbidden { .. }
            | Self::TooLarge { .. }
            | Self::NoRoute
            | Self::WrongMethod
            | Self::Internal(_) => Retry::Never,
        }
    }

    /// What the one who asked could do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::BadRequest { .. } => Some("mend these fields and ask again".to_owned()),
            Self::UnknownTool(unknown) if unknown.nearest.is_empty() => {
                Some("find the right id with search_tools".to_owned())
            }
            Self::UnknownTool(unknown) => {
                Some(format!("nearest: {}; or find the right id with search_tools", unknown.nearest.join(", ")))
            }
            Self::UnknownSelection { .. } => {
                Some("selections are kept for a while only; search again for a new one".to_owned())
            }
            Self::UnknownUpstream { nearest, .. } if nearest.is_empty() => {
                Some("the part of a tool's id before the colon is its upstream".to_owned())
            }
            Self::UnknownUpstream { nearest, .. } => Some(format!("nearest: {}", nearest.join(", "))),
            Self::Arguments { signature, .. } => Some(format!("call it as {signature}; * is required, [] is a list")),
            Self::Denied { .. } => {
                Some("the operator's policy forbids it; find another tool with search_tools".to_owned())
            }
            Self::NeedsConfirmation { .. } => {
                Some("ask the person, then repeat the call with \"confirm\": true".to_owned())
            }
            Self::State { .. } => Some("start the call again without requestState".to_owned()),
            Self::Upstream { source, .. } => match (source.hint(), source.retry()) {
                (Some(hint), _) => Some(hint),
                (None, Retry::Later) => Some("try again later, or find another tool with search_tools".to_owned()),
                (None, Retry::Never) => None,
            },
            Self::Unapproved { siblings, .. } => {
                Some(format!("{}; the operator can approve the definition", elsewhere(siblings)))
            }
            Self::OtherWaits { .. } => Some("look at what waits now, and approve that hash".to_owned()),
            Self::Quarantined { held, siblings, .. } => {
                let instead = elsewhere(siblings);
                let until = held.until.map(|until| format!("; it is tried again from {}", until.rfc3339()));
                Some(format!("{instead}{}", until.unwrap_or_default()))
            }
            Self::HostileText { siblings, .. } => {
                Some(format!("{}; the operator can let it through (scan.allow)", elsewhere(siblings)))
            }
            Self::Unauthorized => Some("send `Authorization: Bearer …`".to_owned()),
            Self::Forbidden { .. } => Some("the operator can add it to the allowed hosts or origins".to_owned()),
            Self::Busy | Self::TooSlow { .. } => Some("try again in a moment".to_owned()),
            Self::NoRoute | Self::WrongMethod => Some("/openapi.json lists what there is".to_owned()),
            Self::NothingWaits { .. } | Self::TooLarge { .. } | Self::ShuttingDown | Self::Internal(_) => None,
        }
    }

    /// More for programs.
    pub fn details(&self) -> Option<Value> {
        match self {
            Self::BadRequest { mistakes } => Some(json!({ "mistakes": mistakes })),
            Self::UnknownTool(unknown) => Some(json!({ "nearest": unknown.nearest })),
            Self::UnknownUpstream { nearest, .. } => Some(json!({ "nearest": nearest })),
            Self::Arguments { tool, signature, faults } => {
                Some(json!({ "tool": tool, "signature": signature, "faults": faults }))
            }
            Self::Quarantined { tool, held, siblings } => Some(json!({
                "tool": tool, "state": held.what.as_str(), "since": held.since.rfc3339(), "reason": held.reason,
                "until": held.until.map(|until| until.rfc3339()), "siblings": siblings,
            })),
            Self::HostileText { tool, reason, siblings } => {
                Some(json!({ "tool": tool, "state": "hostile_text", "reason": reason, "siblings": siblings }))
            }
            Self::Unapproved { tool, waits, siblings } => Some(json!({
                "tool": tool, "state": waits.what.as_str(), "since": waits.since.rfc3339(), "reason": waits.reason(),
                "siblings": siblings,
            })),
            Self::OtherWaits { waits, .. } => Some(json!({ "hash": waits })),
            _ => None,
        }
    }

    /// How the failed call counts for the tool's quality; `None` when no call of a known tool was judged.
    pub fn call_fault(&self) -> Option<CallFault> {
        use toolscout_upstream::Error as Up;
        match self {
            Self::Arguments { .. } | Self::State { .. } => Some(CallFault::InvalidArguments),
            Self::Denied { .. } | Self::NeedsConfirmation { .. } => Some(CallFault::UnsafeAttempt),
            Self::Upstream { source, .. } => Some(match &**source {
                Up::Cancelled { .. } | Up::ShuttingDown => CallFault::Cancelled,
                Up::Timeout { .. } => CallFault::Timeout,
                Up::Rpc { .. } if source.fault() == Fault::Caller => CallFault::InvalidArguments,
                Up::Rpc { .. } | Up::Protocol { .. } | Up::Caps { .. } => CallFault::UpstreamError,
                Up::UnknownUpstream { .. } | Up::Disabled { .. } | Up::Filtered { .. } => return None,
                Up::Start { .. }
                | Up::Connect { .. }
                | Up::BackingOff { .. }
                | Up::NeedsAuth { .. }
                | Up::Closed { .. } => CallFault::Transport,
            }),
            _ => None,
        }
    }

    /// The text that a model reads: what happened, every detail it can act on, and what to do.
    pub fn for_model(&self) -> String {
        let mut text = format!("{self}.");
        match self {
            Self::BadRequest { mistakes } => {
                for mistake in mistakes {
                    text.push_str(&format!("\n- {} {}", mistake.field, mistake.message));
                }
            }
            Self::Arguments { faults, .. } => {
                for fault in faults {
                    let place = if fault.path.is_empty() { "arguments" } else { &fault.path };
                    text.push_str(&format!("\n- {place}: {}", fault.message));
                    if !fault.suggestions.is_empty() {
                        text.push_str(&format!("; valid: {}", fault.suggestions.join(", ")));
                    }
                }
            }
            Self::State { source, .. } => text.push_str(&format!("\n- {source}")),
            _ => {}
        }
        if let Some(hint) = self.hint() {
            text.push_str(&format!("\nHint: {hint}"));
        }
        text
    }

    /// The body of an HTTP answer. `id` finds it in the log.
    pub fn problem(&self, id: &str) -> Problem {
        Problem {
            error: ProblemBody {
                code: self.outside().code.to_owned(),
                message: self.to_string(),
                hint: self.hint(),
                id: id.to_owned(),
                details: self.details(),
            },
        }
    }

    /// Writes the whole chain to the log under an id: our own faults loudly, an upstream's as a warning, a caller's quietly.
    pub fn log(&self, id: &str, operation: &str) {
        let code = self.outside().code;
        let mut chain = vec![self.to_string()];
        if let Self::Denied { rule, .. } = self {
            chain.push(rule.clone());
        }
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            chain.push(toolscout_core::text::sanitize(&error.to_string(), 400));
            cause = error.source();
        }
        let chain = chain.join(": ");
        match self.fault() {
            Fault::Ours => tracing::error!(id, operation, code, chain, "request failed"),
            Fault::Upstream => tracing::warn!(id, operation, code, chain, "request failed"),
            Fault::Caller => tracing::debug!(id, operation, code, chain, "request refused"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_reads_fault_place_and_remedy() {
        let error = OpError::Arguments {
            tool: "github:list_issues".parse().unwrap(),
            signature: "list_issues(owner*, repo*, state)".into(),
            faults: vec![ArgumentFault {
                path: "/state".into(),
                message: "\"close\" is not one of the allowed values".into(),
                suggestions: vec!["closed".into(), "open".into()],
            }],
        };
        expect_test::expect![[r#"
            the arguments do not fit `github:list_issues`.
            - /state: "close" is not one of the allowed values; valid: closed, open
            Hint: call it as list_issues(owner*, repo*, state); * is required, [] is a list"#]]
        .assert_eq(&error.for_model());
        assert_eq!(error.outside().status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(error.call_fault(), Some(CallFault::InvalidArguments));
    }

    #[test]
    fn an_internal_error_keeps_its_cause_to_itself() {
        let error = OpError::internal(std::io::Error::other("secret path"));
        let problem = serde_json::to_string(&error.problem("req_1")).unwrap();
        assert!(!problem.contains("secret") && !error.for_model().contains("secret"), "{problem}");
        assert!(problem.contains("req_1"));
    }
}
