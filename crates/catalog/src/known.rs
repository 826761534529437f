//! Well-known public MCP servers that we ship configurations for.

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownUpstream {
    /// Suggested upstream id.
    pub id: String,
    /// The program.
    pub command: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Names of the environment variables that it needs.
    #[serde(default)]
    pub env: Vec<String>,
    /// Tags for its tools.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The licence of the server's package.
    pub licence: String,
    /// What it is, in a sentence of ours.
    pub note: String,
}

/// All of them, by id.
pub fn known_upstreams() -> Vec<KnownUpstream> {
    unimplemented!("lands with the next step")
}
