//! How others rank, over the same tools, in process.
//!
//! Each file reproduces one peer's way from a query to an order of tools, written anew from what its sources and documents
//! say, and says in its first lines what that is and where it cannot follow. A peer sees the tools as the catalog file
//! gives them (name, description, schema), never our cards. It neither refuses nor states a confidence.
//! The two that rank by vectors are given ours (model and text), because their own cannot be had here: what is compared is
//! what they make of them.

mod agentic;
mod codex;
mod docker;
mod fastmcp;
mod mcpproxy;
mod regex;
mod terms;
mod toolhive;

use serde_json::Value;

/// One peer. See the file of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// smart-mcp-proxy/mcpproxy-go.
    McpProxy,
    /// PrefectHQ/fastmcp, `BM25SearchTransform`.
    FastMcp,
    /// openai/codex, `tool_search`.
    Codex,
    /// stacklok/toolhive, the optimizer of its virtual MCP server.
    ToolHive,
    /// agentic-community/mcp-gateway-registry.
    Agentic,
    /// docker/mcp-gateway, `mcp-find`.
    Docker,
    /// Search by regular expression, as model vendors and FastMCP offer it.
    Regex,
}

impl Peer {
    /// All of them.
    pub const ALL: &[Self] =
        &[Self::McpProxy, Self::FastMcp, Self::Codex, Self::ToolHive, Self::Agentic, Self::Docker, Self::Regex];

    /// The arm's name in commands and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::McpProxy => "peer-mcpproxy",
            Self::FastMcp => "peer-fastmcp",
            Self::Codex => "peer-codex",
            Self::ToolHive => "peer-toolhive",
            Self::Agentic => "peer-agentic",
            Self::Docker => "peer-docker",
            Self::Regex => "peer-regex",
        }
    }

    /// One line for people.
    pub fn what(self) -> &'static str {
        match self {
            Self::McpProxy => "mcpproxy: boosted full-text clauses, TF-IDF, raw schema text",
            Self::FastMcp => "FastMCP: BM25 over names, descriptions and parameters",
            Self::Codex => "Codex CLI: BM25 with English stems",
            Self::ToolHive => "ToolHive: the nearest by vector first, full-text hits behind them",
            Self::Agentic => "agentic-community: reciprocal ranks over servers, then words of their tools",
            Self::Docker => "Docker MCP gateway: words of servers, all their tools",
            Self::Regex => "the query's words as one regular expression",
        }
    }

    /// Whether it ranks by vectors.
    pub fn uses_vectors(self) -> bool {
        matches!(self, Self::ToolHive | Self::Agentic)
    }

    /// Its index over the tools.
    pub(crate) fn build(self, tools: &[PeerTool]) -> Box<dyn Ranker> {
        match self {
            Self::McpProxy => Box::new(mcpproxy::McpProxy::new(tools)),
            Self::FastMcp => Box::new(fastmcp::FastMcp::new(tools)),
            Self::Codex => Box::new(codex::Codex::new(tools)),
            Self::ToolHive => Box::new(toolhive::ToolHive::new(tools)),
            Self::Agentic => Box::new(agentic::Agentic::new(tools)),
            Self::Docker => Box::new(docker::Docker::new(tools)),
            Self::Regex => Box::new(regex::Regex::new(tools)),
        }
    }
}

/// A tool as its server describes it, in the order of the index under test.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PeerTool {
    pub(crate) server: String,
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) description: String,
    /// The input schema as JSON text; empty if there is none.
    pub(crate) schema: String,
    /// The schema's top-level properties with their descriptions.
    pub(crate) params: Vec<(String, String)>,
}

impl PeerTool {
    /// Reads a line of `tools.jsonl`.
    pub(crate) fn of(line: &Value) -> Self {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let schema = line.get("input_schema").or_else(|| line.get("inputSchema")).filter(|schema| schema.is_object());
        let properties = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
        Self {
            server: text(line, "server"),
            name: text(line, "name"),
            title: text(line, "title"),
            description: text(line, "description"),
            schema: schema.map(Value::to_string).unwrap_or_default(),
            params: properties
                .into_iter()
                .flatten()
                .map(|(name, param)| (name.clone(), text(param, "description")))
                .collect(),
        }
    }

    /// Name, description, parameters' names and descriptions, in one text.
    pub(crate) fn with_params(&self) -> String {
        let params = self.params.iter().flat_map(|(name, text)| [name.as_str(), text.as_str()]);
        let parts = [self.name.as_str(), self.description.as_str()].into_iter().chain(params);
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// Positions of tools of one server, servers by name.
fn by_server(tools: &[PeerTool]) -> Vec<(&str, Vec<usize>)> {
    let mut servers: std::collections::BTreeMap<&str, Vec<usize>> = std::collections::BTreeMap::new();
    for (at, tool) in tools.iter().enumerate() {
        servers.entry(&tool.server).or_default().push(at);
    }
    servers.into_iter().collect()
}

/// What a peer is asked.
pub(crate) struct PeerQuery<'a> {
    pub(crate) text: &'a str,
    /// The `k` nearest tools by vector with their cosine, nearest first.
    pub(crate) nearest: &'a dyn Fn(usize) -> Vec<(usize, f64)>,
}

/// Puts tools in an order.
pub(crate) trait Ranker {
    /// At most `limit` tools by position, best first. The same query gives the same order.
    fn rank(&self, query: &PeerQuery<'_>, limit: usize) -> Vec<(usize, f64)>;
}

#[cfg(test)]
pub(crate) mod tests {
    //! 1. Every peer finds the tool that a query names word for word, and says nothing about a query of unknown words
    //!    where it has no vectors.
    //! 2. Orders are bounded by the limit, without repetitions, best score first, and repeat themselves.
    use super::*;

    /// Four tools of two servers.
    pub(crate) fn tools() -> Vec<PeerTool> {
        let tool = |server: &str, name: &str, description: &str, params: &[(&str, &str)]| PeerTool {
            server: server.into(),
            name: name.into(),
            description: description.into(),
            params: params.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
            schema: serde_json::json!({
                "type": "object",
                "properties": params.iter().map(|(n, d)| ((*n).to_owned(), serde_json::json!({"description": d})))
                    .collect::<serde_json::Map<_, _>>(),
            })
            .to_string(),
            ..PeerTool::default()
        };
        vec![
            tool("git", "create_branch", "Create a new branch from a commit.", &[("commit", "where it starts")]),
            tool("git", "list_branches", "List the branches of a repository.", &[]),
            tool("mail", "send_message", "Send a message to someone.", &[("recipient", "an address")]),
            tool("mail", "search_messages", "Search messages in the mailbox.", &[("query", "words to look for")]),
        ]
    }

    /// Asks a peer; `near` is what its vectors would say.
    pub(crate) fn ask(peer: Peer, text: &str, near: &[(usize, f64)], limit: usize) -> Vec<usize> {
        let tools = tools();
        let nearest = |k: usize| near.iter().copied().take(k).collect::<Vec<_>>();
        let query = PeerQuery { text, nearest: &nearest };
        let ranker = peer.build(&tools);
        let ranked = ranker.rank(&query, limit);
        assert!(ranked.windows(2).all(|pair| pair[0].1 >= pair[1].1), "{peer:?}: best first: {ranked:?}");
        assert_eq!(ranked, ranker.rank(&query, limit), "{peer:?}: the same order again");
        let order: Vec<usize> = ranked.into_iter().map(|(at, _)| at).collect();
        let different: std::collections::BTreeSet<&usize> = order.iter().collect();
        assert!(order.len() <= limit && different.len() == order.len(), "{peer:?}: {order:?}");
        order
    }

    #[test]
    fn a_tool_named_word_for_word_is_found() {
        for &peer in Peer::ALL {
            let order = ask(peer, "search messages mailbox", &[(3, 0.9), (2, 0.5), (0, 0.1)], 4);
            assert!(order.iter().take(2).any(|at| *at == 3), "{peer:?}: {order:?}");
        }
    }

    #[test]
    fn words_that_nobody_uses_find_nothing() {
        for &peer in Peer::ALL {
            assert_eq!(ask(peer, "xylophone zeppelin", &[], 4), [0; 0], "{peer:?}");
        }
    }

    #[test]
    fn limits_hold() {
        for &peer in Peer::ALL {
            for limit in 1..4 {
                ask(peer, "list branches, send message", &[(1, 0.9), (2, 0.8), (3, 0.2)], limit);
            }
        }
    }

    #[test]
    fn lines_become_tools() {
        let line = serde_json::json!({
            "id": "1", "server": "s", "name": "n", "description": "d",
            "input_schema": {"type": "object", "properties": {"a": {"description": "b"}, "c": true}},
        });
        let tool = PeerTool::of(&line);
        assert_eq!(tool.params, [("a".to_owned(), "b".to_owned()), ("c".to_owned(), String::new())]);
        assert_eq!(tool.with_params(), "n d a b c");
        assert_eq!(PeerTool::of(&serde_json::json!({"name": "n", "input_schema": null})).schema, "");
    }
}
