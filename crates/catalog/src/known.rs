//! Well-known public MCP servers that we ship configurations for: `catalog/upstreams.toml`.

use serde::Deserialize;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownUpstream {
    /// Suggested upstream id.
    pub id: String,
    /// The program.
    pub command: String,
    /// Its arguments. `{dir}` stands for a folder that the user names.
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

const FILE: &str = include_str!("../../../catalog/upstreams.toml");

/// All of them, by id.
pub fn known_upstreams() -> Vec<KnownUpstream> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        upstream: Vec<KnownUpstream>,
    }
    let file: File = toml::from_str(FILE).expect("a test reads the shipped file");
    let mut known = file.upstream;
    known.sort_by(|a, b| a.id.cmp(&b.id));
    known
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use toolscout_core::UpstreamId;

    #[test]
    fn the_shipped_configurations_are_usable() {
        let known = known_upstreams();
        assert!(known.len() >= 20, "{}", known.len());
        let ids: BTreeSet<&str> = known.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids.len(), known.len(), "ids are unique");
        for one in &known {
            assert!(UpstreamId::new(&one.id).is_ok(), "{}", one.id);
            assert!(["npx", "uvx", "docker"].contains(&one.command.as_str()), "{}", one.id);
            assert!(!one.args.is_empty() && !one.note.is_empty() && !one.licence.is_empty(), "{}", one.id);
            let is_name =
                |name: &String| name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            assert!(one.env.iter().all(is_name), "{}: names only, never values", one.id);
        }
    }
}
