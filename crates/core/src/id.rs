//! Names of things: upstreams, tools, generations, selections.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hash::ContentHash;

/// Longest upstream id we accept, in bytes.
pub const MAX_UPSTREAM_ID: usize = 48;
/// Longest tool name we accept, in bytes. MCP says 128; some servers exceed it.
pub const MAX_TOOL_NAME: usize = 256;
/// Longest name any model API accepts for a tool (OpenAI, `tool_reference`).
pub const MAX_WIRE_NAME: usize = 64;
/// Names on the wire aim at this length, because clients add a prefix of their own (`mcp__gateway__`).
pub const TARGET_WIRE_NAME: usize = 48;

/// Why a string is no id. Its text is safe to show: it quotes at most 80 cleaned characters of the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The upstream id breaks `[a-z0-9-]+` or is too long: choose another in the configuration.
    #[error("upstream id `{0}` must be 1 to 48 characters of a-z, 0-9 and -")]
    Upstream(String),
    /// The tool's own name is empty, too long or holds control characters: the tool is skipped.
    #[error("tool name `{0}` must be 1 to 256 bytes without control characters")]
    Tool(String),
    /// A tool id without the `:` between upstream and tool.
    #[error("`{0}` is not a tool id; write it as upstream:tool")]
    Form(String),
}

/// The id of an upstream MCP server, from *our* configuration, never the server's own display name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamId(Arc<str>);

impl UpstreamId {
    /// Takes `[a-z0-9-]{1,48}` and nothing else.
    pub fn new(id: &str) -> Result<Self, IdError> {
        let fits = !id.is_empty()
            && id.len() <= MAX_UPSTREAM_ID
            && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits { Ok(Self(id.into())) } else { Err(IdError::Upstream(crate::text::preview(id))) }
    }

    /// The nearest valid id to a name from a client's configuration file: `My Server_2` becomes `my-server-2`.
    /// A name without one usable character is an error.
    pub fn slug(name: &str) -> Result<Self, IdError> {
        let mut slug = String::new();
        for c in name.chars() {
            match c.to_ascii_lowercase() {
                c @ ('a'..='z' | '0'..='9') => slug.push(c),
                _ if slug.ends_with('-') || slug.is_empty() => {}
                _ => slug.push('-'),
            }
        }
        slug.truncate(MAX_UPSTREAM_ID);
        Self::new(slug.trim_end_matches('-')).map_err(|_| IdError::Upstream(crate::text::preview(name)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A tool's own name, exactly as its upstream spells it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ToolName(Arc<str>);

impl ToolName {
    /// Takes what an upstream may reasonably call a tool: not empty, bounded, no control characters.
    pub fn new(name: &str) -> Result<Self, IdError> {
        let fits = !name.is_empty() && name.len() <= MAX_TOOL_NAME && !name.chars().any(char::is_control);
        if fits { Ok(Self(name.into())) } else { Err(IdError::Tool(crate::text::preview(name))) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One tool of one upstream, `upstream:tool` in the CLI, in results and in storage.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ToolId {
    /// The upstream that owns the tool.
    pub upstream: UpstreamId,
    /// The tool's own name there.
    pub name: ToolName,
}

impl ToolId {
    /// Joins two parts that are valid already.
    pub fn new(upstream: UpstreamId, name: ToolName) -> Self {
        Self { upstream, name }
    }

    /// The name under which the tool is listed on the wire: `upstream__tool`, matching `^[a-zA-Z0-9_-]{1,64}$`.
    ///
    /// Characters outside that set become `_`. A name that had to be changed, or that is longer than
    /// [`TARGET_WIRE_NAME`], is cut there and gets eight hex digits of its id's hash, so that two tools never share
    /// one (64-character truncation did that to several clients). Deterministic; nobody parses it back: keep a map.
    pub fn wire_name(&self) -> String {
        let plain = format!("{}__{}", self.upstream.as_str(), self.name.as_str());
        let clean: String =
            plain.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect();
        if clean == plain && clean.len() <= TARGET_WIRE_NAME {
            return clean;
        }
        let digest = ContentHash::of(self.to_string().as_bytes()).to_string();
        let keep = clean.len().min(TARGET_WIRE_NAME - 9);
        format!("{}_{}", &clean[..keep], &digest[..8])
    }
}

impl FromStr for ToolId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        // An upstream id cannot hold a colon, so the first one is the border; tool names may hold more.
        let (upstream, name) = text.split_once(':').ok_or_else(|| IdError::Form(crate::text::preview(text)))?;
        Ok(Self { upstream: UpstreamId::new(upstream)?, name: ToolName::new(name)? })
    }
}

impl fmt::Display for ToolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.upstream, self.name)
    }
}

macro_rules! text_traits {
    ($($name:ty => $parse:expr),* $(,)?) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

impl fmt::Display for UpstreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_traits! {
    UpstreamId => UpstreamId::new,
    ToolName => ToolName::new,
    ToolId => ToolId::from_str,
}

/// One immutable published state of the catalog. Grows by one with each change; 0 is the empty catalog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of one answer to one query, `sel_` and 20 lower-case letters or digits. Whoever makes one brings the randomness.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SelectionId(Arc<str>);

impl SelectionId {
    /// Spells 100 of the given random bits in Crockford's base 32 (no i, l, o, u: ids get read aloud).
    pub fn from_random(bits: u128) -> Self {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let mut id = String::with_capacity(24);
        id.push_str("sel_");
        for i in 0..20 {
            id.push(char::from(ALPHABET[(bits >> (5 * i)) as usize & 31]));
        }
        Self(id.into())
    }

    /// Takes an id from outside. Anything that is not of the right form is `None`: no such selection exists.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("sel_")?;
        let fits = rest.len() == 20 && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        fits.then(|| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SelectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check_slug(name: &str, expect: Option<&str>) {
        assert_eq!(UpstreamId::slug(name).ok().as_ref().map(UpstreamId::as_str), expect, "{name:?}");
    }

    #[test]
    fn slug_is_the_nearest_valid_id() {
        check_slug("github", Some("github"));
        check_slug("My Server_2", Some("my-server-2"));
        check_slug("@scope/Package.Name", Some("scope-package-name"));
        check_slug("--x--", Some("x"));
        check_slug("***", None);
        check_slug("", None);
    }

    #[track_caller]
    fn check_wire(id: &str, expect: &str) {
        let id: ToolId = id.parse().unwrap();
        assert_eq!(id.wire_name(), expect);
    }

    #[test]
    fn wire_names_are_plain_where_they_can_be_and_hashed_where_not() {
        check_wire("github:create_issue", "github__create_issue");
        check_wire("a:files.read", "a__files_read_1d233ca7");
        let long: ToolId = format!("aws:{}", "x".repeat(90)).parse().unwrap();
        assert_eq!(long.wire_name().len(), TARGET_WIRE_NAME);
    }

    #[test]
    fn a_tool_id_splits_at_the_first_colon_only() {
        let id: ToolId = "a:b:c".parse().unwrap();
        assert_eq!((id.upstream.as_str(), id.name.as_str()), ("a", "b:c"));
        assert!("nocolon".parse::<ToolId>().is_err());
        assert!("UP:x".parse::<ToolId>().is_err());
        assert!("a:".parse::<ToolId>().is_err());
    }

    proptest! {
        #[test]
        fn every_wire_name_fits_every_model_api(name in "\\PC{1,80}") {
            prop_assume!(ToolName::new(&name).is_ok());
            let wire = ToolId::new(UpstreamId::new("up").unwrap(), ToolName::new(&name).unwrap()).wire_name();
            prop_assert!(wire.len() <= MAX_WIRE_NAME);
            prop_assert!(wire.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
        }

        #[test]
        fn ids_survive_a_round_trip_through_text(name in "[a-zA-Z0-9_.:/-]{1,60}") {
            let id = ToolId::new(UpstreamId::new("up-1").unwrap(), ToolName::new(&name).unwrap());
            prop_assert_eq!(id.to_string().parse::<ToolId>().unwrap(), id);
        }

        #[test]
        fn selection_ids_parse_back(bits in any::<u128>()) {
            let id = SelectionId::from_random(bits);
            prop_assert_eq!(SelectionId::parse(id.as_str()), Some(id));
        }
    }
}
