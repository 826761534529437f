//! How to reach an upstream, and how much of it we stand.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toolscout_core::{ContentHash, Secret, UpstreamId};

/// One upstream as the configuration describes it, everything expanded.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamSpec {
    /// Our name for it.
    pub id: UpstreamId,
    /// How to reach it.
    pub transport: Transport,
    /// Tags that all its tools get.
    pub tags: Vec<String>,
    /// Whether it is used at all. A disabled upstream is never started.
    pub enabled: bool,
    /// How long we wait for it.
    pub timeouts: Timeouts,
    /// How much we take from it.
    pub caps: Caps,
    /// Which of its tools exist for us.
    pub tools: ToolFilter,
}

impl UpstreamSpec {
    /// An enabled upstream with default limits and every tool.
    pub fn new(id: UpstreamId, transport: Transport) -> Self {
        Self {
            id,
            transport,
            tags: Vec::new(),
            enabled: true,
            timeouts: Timeouts::default(),
            caps: Caps::default(),
            tools: ToolFilter::default(),
        }
    }

    /// A child process that speaks MCP on stdin and stdout.
    pub fn stdio<A: Into<String>>(id: UpstreamId, command: &str, args: impl IntoIterator<Item = A>) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        Self::new(id, Transport::Stdio { command: command.to_owned(), args, env: BTreeMap::new(), cwd: None })
    }

    /// A server at a URL; Streamable HTTP is tried first, then legacy SSE.
    pub fn http(id: UpstreamId, url: &str) -> Self {
        Self::new(id, Transport::Http { url: url.to_owned(), headers: BTreeMap::new(), kind: HttpKind::Auto })
    }

    /// The key under which the era of this server is remembered: the same command line or URL has the same key.
    /// A hash, because arguments and URLs may hold secrets.
    pub fn era_key(&self) -> String {
        let mut text = String::new();
        match &self.transport {
            Transport::Stdio { command, args, .. } => {
                text.push_str("stdio\0");
                text.push_str(command);
                for arg in args {
                    text.push('\0');
                    text.push_str(arg);
                }
            }
            Transport::Http { url, kind, .. } => {
                text.push_str(match kind {
                    HttpKind::Auto => "http\0",
                    HttpKind::Streamable => "streamable\0",
                    HttpKind::Sse => "sse\0",
                });
                text.push_str(url);
            }
        }
        ContentHash::of(text.as_bytes()).to_string()
    }
}

/// The way to an upstream.
#[derive(Debug, Clone, PartialEq)]
pub enum Transport {
    /// A child process. It starts in a process group of its own, which ends as a whole.
    Stdio {
        /// The program, looked up in `PATH`.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Variables added to our own environment.
        env: BTreeMap<String, Secret>,
        /// Where it runs; ours by default.
        cwd: Option<PathBuf>,
    },
    /// A server at a URL.
    Http {
        /// `http://` or `https://`.
        url: String,
        /// Headers of every request, `Authorization` among them.
        headers: BTreeMap<String, Secret>,
        /// Which of the two HTTP transports.
        kind: HttpKind,
    },
}

/// Which HTTP transport a server speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpKind {
    /// Streamable HTTP, and where that fails legacy SSE.
    #[default]
    Auto,
    /// Streamable HTTP only.
    Streamable,
    /// HTTP+SSE of 2024-11-05 only.
    Sse,
}

/// How long we wait for an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From starting it to the end of the handshake, for one attempt. 60 s: `npx` and `uvx` fetch packages first,
    /// and Python servers took 33 s on a busy machine.
    pub start: Duration,
    /// How much of `start` an unanswered `server/discover` may take before the server is started again in the legacy
    /// era. 15 s. Only met by servers whose era is not yet known.
    pub probe: Duration,
    /// A whole listing, all pages. 60 s.
    pub list: Duration,
    /// One call without progress, when the caller names no deadline. 120 s.
    pub call: Duration,
    /// One call in all, however much progress it reports. 15 min.
    pub call_max: Duration,
    /// From closing to killing. 3 s.
    pub close: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(60),
            probe: Duration::from_secs(15),
            list: Duration::from_secs(60),
            call: Duration::from_secs(120),
            call_max: Duration::from_secs(15 * 60),
            close: Duration::from_secs(3),
        }
    }
}

/// How much we take from an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    /// Pages of one listing. 200.
    pub pages: usize,
    /// Tools of one listing. 10,000.
    pub tools: usize,
    /// Bytes of JSON of one listing. 64 MiB.
    pub listing_bytes: usize,
    /// Bytes of JSON of one tool; a larger one is skipped. 1 MiB: the largest of 2,765 real ones has 89,001.
    pub tool_bytes: usize,
    /// Bytes of one message: a line on stdio, a body or event on HTTP. 32 MiB. A longer stdio line is dropped, a longer
    /// body ends its request.
    pub message_bytes: usize,
    /// Bytes of standard error kept for error reports. 16 KiB.
    pub stderr_bytes: usize,
    /// Requests in flight at once. 64; further ones wait within their own deadline.
    pub in_flight: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            pages: 200,
            tools: 10_000,
            listing_bytes: 64 << 20,
            tool_bytes: 1 << 20,
            message_bytes: 32 << 20,
            stderr_bytes: 16 << 10,
            in_flight: 64,
        }
    }
}

/// Which tools of an upstream exist for us. Patterns match whole names; `*` stands for any run of characters, `?` for one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolFilter {
    /// Only these, if there is any pattern.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Never these. Wins over `allow`.
    #[serde(default)]
    pub block: Vec<String>,
}

impl ToolFilter {
    /// Whether a tool of this name exists for us.
    pub fn admits(&self, name: &str) -> bool {
        let blocked = self.block.iter().any(|pattern| glob(pattern, name));
        let allowed = self.allow.is_empty() || self.allow.iter().any(|pattern| glob(pattern, name));
        allowed && !blocked
    }
}

/// Wildcard match in linear space and at most quadratic time: on a mismatch only the last `*` takes one character more.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star_p, star_t)) = star else { return false };
                star = Some((star_p, star_t + 1));
                p = star_p + 1;
                t = star_t + 1;
            }
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(allow: &[&str], block: &[&str], name: &str, expect: bool) {
        let owned = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect();
        let filter = ToolFilter { allow: owned(allow), block: owned(block) };
        assert_eq!(filter.admits(name), expect, "{filter:?} {name}");
    }

    #[test]
    fn a_filter_admits_what_is_allowed_and_not_blocked() {
        check(&[], &[], "anything", true);
        check(&["read_*"], &[], "read_file", true);
        check(&["read_*"], &[], "write_file", false);
        check(&["*"], &["delete*"], "delete_all", false);
        check(&[], &["*_?"], "a_b", false);
        check(&[], &["*_?"], "a_bc", true);
        check(&["*a*b*c"], &[], "xxaxxbxxbxc", true);
        check(&["*a*b*c"], &[], "xxaxxbxxbxcd", false);
        check(&["schön"], &[], "schön", true);
        check(&[""], &[], "x", false);
    }

    #[test]
    fn the_era_is_remembered_per_command_line_or_url() {
        let id = |text| UpstreamId::new(text).unwrap();
        let a = UpstreamSpec::stdio(id("a"), "npx", ["-y", "server"]);
        let b = UpstreamSpec::stdio(id("b"), "npx", ["-y", "server"]);
        let c = UpstreamSpec::stdio(id("a"), "npx", ["-y server"]);
        assert_eq!(a.era_key(), b.era_key());
        assert_ne!(a.era_key(), c.era_key());
        assert!(!UpstreamSpec::http(id("h"), "http://x/?token=hunter2").era_key().contains("hunter2"));
    }
}
