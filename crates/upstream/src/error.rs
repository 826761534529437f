//! What can go wrong with an upstream, who has to act, and what they could do.

use std::time::Duration;

use serde_json::Value;
use toolscout_core::{Fault, Retry, Untrusted, UpstreamId};

/// A cause we pass on as it is.
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What failed, and to which upstream. Texts are cleaned, bounded and free of the upstream's configured secrets.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No upstream of that id is configured: name another.
    #[error("no upstream `{upstream}` is configured")]
    UnknownUpstream {
        /// The id asked for.
        upstream: UpstreamId,
    },
    /// The configuration switches the upstream off.
    #[error("upstream `{upstream}` is disabled in the configuration")]
    Disabled {
        /// The id asked for.
        upstream: UpstreamId,
    },
    /// The configuration's tool filter leaves the tool out.
    #[error("tool `{tool}` of `{upstream}` is left out by the configuration")]
    Filtered {
        /// The upstream that owns the tool.
        upstream: UpstreamId,
        /// Its name, cleaned.
        tool: String,
    },
    /// The process could not be started: mend the command.
    #[error("start `{command}` for `{upstream}`")]
    Start {
        /// The upstream.
        upstream: UpstreamId,
        /// The program; its arguments may hold secrets.
        command: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// No connection, or no handshake over it.
    #[error("connect to `{upstream}`: {reason}")]
    Connect {
        /// The upstream.
        upstream: UpstreamId,
        /// What we saw, in a few words.
        reason: String,
        /// What the process said on standard error.
        stderr: String,
        /// The transport's own words.
        #[source]
        source: Option<Cause>,
    },
    /// It failed a moment ago and will not be tried again before the wait is over.
    #[error("`{upstream}` failed {failures} times in a row; next attempt in {}", seconds(.wait))]
    BackingOff {
        /// The upstream.
        upstream: UpstreamId,
        /// Failed attempts since it last worked.
        failures: u32,
        /// Until the next attempt.
        wait: Duration,
        /// The failure itself, as text.
        last: String,
    },
    /// The server wants credentials, or others.
    #[error("`{upstream}` refuses access with status {status}")]
    NeedsAuth {
        /// The upstream.
        upstream: UpstreamId,
        /// 401 or 403.
        status: u16,
        /// What the server's `WWW-Authenticate` asks for.
        challenge: Challenge,
    },
    /// No answer in time.
    #[error("{step} of `{upstream}` took longer than {}", seconds(.after))]
    Timeout {
        /// The upstream.
        upstream: UpstreamId,
        /// What we waited for.
        step: Step,
        /// The limit.
        after: Duration,
        /// What the process said on standard error.
        stderr: String,
    },
    /// The connection ended under a request.
    #[error("`{upstream}` closed the connection{}", .sent.clause())]
    Closed {
        /// The upstream.
        upstream: UpstreamId,
        /// Whether the request can have had an effect.
        sent: Sent,
        /// What the process said on standard error.
        stderr: String,
        /// The transport's own words.
        #[source]
        source: Option<Cause>,
    },
    /// The server answered something that is not MCP.
    #[error("`{upstream}` does not speak MCP: {what}")]
    Protocol {
        /// The upstream.
        upstream: UpstreamId,
        /// What was wrong with it.
        what: String,
    },
    /// The server sent more than we take.
    #[error("`{upstream}` sent more than {limit} {unit}")]
    Caps {
        /// The upstream.
        upstream: UpstreamId,
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// The server answered with an error of its own.
    #[error("`{upstream}` answers error {code}: {message}")]
    Rpc {
        /// The upstream.
        upstream: UpstreamId,
        /// Its JSON-RPC code.
        code: i64,
        /// Its words, cleaned and cut.
        message: String,
        /// Whatever it added.
        data: Option<Untrusted<Value>>,
    },
    /// The caller went away. The upstream has been told.
    #[error("call of `{upstream}` cancelled")]
    Cancelled {
        /// The upstream.
        upstream: UpstreamId,
    },
    /// We are closing.
    #[error("the pool is shutting down")]
    ShuttingDown,
}

/// What an upstream was doing when time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Start and handshake.
    Start,
    /// `tools/list`.
    List,
    /// `tools/call`.
    Call,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::List => "tools/list",
            Self::Call => "tools/call",
        })
    }
}

/// Whether a request that failed can have reached the server. Only what certainly has not may be sent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Certainly not.
    No,
    /// Possibly.
    Maybe,
}

impl Sent {
    fn clause(self) -> &'static str {
        match self {
            Self::No => " before the request was sent",
            Self::Maybe => "",
        }
    }
}

/// The parts of a `WWW-Authenticate` header that say what to bring. Cleaned, bounded, never a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Challenge {
    /// `Bearer`, `Basic`, …
    pub scheme: Option<String>,
    /// The scopes wanted.
    pub scope: Option<String>,
    /// Where RFC 9728 metadata lie.
    pub resource_metadata: Option<String>,
    /// `invalid_token`, `insufficient_scope`, …
    pub error: Option<String>,
}

impl Error {
    /// The upstream this is about, if it is about one.
    pub fn upstream(&self) -> Option<&UpstreamId> {
        match self {
            Self::UnknownUpstream { upstream }
            | Self::Disabled { upstream }
            | Self::Filtered { upstream, .. }
            | Self::Start { upstream, .. }
            | Self::Connect { upstream, .. }
            | Self::BackingOff { upstream, .. }
            | Self::NeedsAuth { upstream, .. }
            | Self::Timeout { upstream, .. }
            | Self::Closed { upstream, .. }
            | Self::Protocol { upstream, .. }
            | Self::Caps { upstream, .. }
            | Self::Rpc { upstream, .. }
            | Self::Cancelled { upstream } => Some(upstream),
            Self::ShuttingDown => None,
        }
    }

    /// Who has to act. A JSON-RPC error about parameters is the caller's, every other one the upstream's.
    pub fn fault(&self) -> Fault {
        match self {
            Self::UnknownUpstream { .. } | Self::Disabled { .. } | Self::Filtered { .. } | Self::Cancelled { .. } => {
                Fault::Caller
            }
            Self::Rpc { code: -32602 | -32021, .. } => Fault::Caller,
            Self::Start { .. }
            | Self::Connect { .. }
            | Self::BackingOff { .. }
            | Self::NeedsAuth { .. }
            | Self::Timeout { .. }
            | Self::Closed { .. }
            | Self::Protocol { .. }
            | Self::Caps { .. }
            | Self::Rpc { .. } => Fault::Upstream,
            Self::ShuttingDown => Fault::Ours,
        }
    }

    /// Whether the same request may go better later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Connect { .. }
            | Self::BackingOff { .. }
            | Self::Timeout { .. }
            | Self::Closed { .. }
            | Self::ShuttingDown => Retry::Later,
            Self::UnknownUpstream { .. }
            | Self::Disabled { .. }
            | Self::Filtered { .. }
            | Self::Start { .. }
            | Self::NeedsAuth { .. }
            | Self::Protocol { .. }
            | Self::Caps { .. }
            | Self::Rpc { .. }
            | Self::Cancelled { .. } => Retry::Never,
        }
    }

    /// What the one at fault could do, where we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownUpstream { .. } => Some("`toolscout upstreams list` shows the configured ones".to_owned()),
            Self::Disabled { .. } => Some("set `enabled = true` for it".to_owned()),
            Self::Filtered { .. } => Some("see `tools.allow` and `tools.block` of the upstream".to_owned()),
            Self::Start { source, command, .. } => Some(match source.kind() {
                std::io::ErrorKind::NotFound => format!("`{command}` is not installed or not in PATH"),
                std::io::ErrorKind::PermissionDenied => format!("`{command}` is not executable"),
                _ => "try the command in a shell".to_owned(),
            }),
            Self::Connect { stderr, .. } | Self::Closed { stderr, .. } | Self::Timeout { stderr, .. } => {
                let last = stderr.lines().rev().find(|line| !line.trim().is_empty())?;
                Some(format!("its last words on standard error: {last}"))
            }
            Self::BackingOff { last, .. } => Some(format!("the last attempt: {last}")),
            Self::NeedsAuth { challenge, .. } => Some(match (&challenge.scope, &challenge.resource_metadata) {
                (Some(scope), _) => format!("set `headers.Authorization` for it; scope wanted: {scope}"),
                (None, Some(at)) => format!("set `headers.Authorization` for it; how to get a token: {at}"),
                (None, None) => "set `headers.Authorization` for it".to_owned(),
            }),
            Self::Caps { .. } => Some("raise the cap for it if you trust it".to_owned()),
            Self::Protocol { .. } | Self::Rpc { .. } | Self::Cancelled { .. } | Self::ShuttingDown => None,
        }
    }

    /// What the process said on standard error before this, if it is a process and said anything.
    pub fn stderr(&self) -> Option<&str> {
        match self {
            Self::Connect { stderr, .. } | Self::Closed { stderr, .. } | Self::Timeout { stderr, .. } => {
                (!stderr.is_empty()).then_some(stderr)
            }
            _ => None,
        }
    }

    /// Message and causes, outermost first: for logs and `check`.
    pub fn chain(&self) -> Vec<String> {
        let mut chain = vec![self.to_string()];
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = toolscout_core::text::sanitize(&error.to_string(), 400);
            if chain.last() != Some(&text) {
                chain.push(text);
            }
            cause = error.source();
        }
        chain
    }
}

fn seconds(duration: &Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
