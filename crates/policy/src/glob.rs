//! Patterns over tool ids.

use std::fmt;

use serde::{Deserialize, Serialize};
use toolscout_core::ToolId;

/// A pattern over `upstream:tool`: `*` stands for any run of characters, `?` for one byte, everything else for itself.
/// What stands before the first colon speaks of the upstream, what stands behind it of the tool's own name.
/// A pattern without a colon speaks of the upstream alone: `github` is `github:*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Glob {
    text: String,
    /// Where the first colon is.
    colon: Option<usize>,
}

impl Glob {
    /// A pattern as the operator wrote it.
    pub fn new(pattern: &str) -> Self {
        pattern.to_owned().into()
    }

    /// Whether a tool's id fits. Does not build the id's text: this runs for every tool of a catalog.
    pub fn fits_id(&self, id: &ToolId) -> bool {
        let (upstream, name) = match self.colon {
            Some(colon) => (&self.text[..colon], &self.text[colon + 1..]),
            None => (self.text.as_str(), "*"),
        };
        fits(upstream.as_bytes(), id.upstream.as_str().as_bytes()) && fits(name.as_bytes(), id.name.as_str().as_bytes())
    }
}

impl From<String> for Glob {
    fn from(text: String) -> Self {
        Self { colon: text.find(':'), text }
    }
}

impl From<Glob> for String {
    fn from(glob: Glob) -> Self {
        glob.text
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Matches greedily and remembers only the last `*`: at most pattern × text steps, no recursion.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    if pattern == b"*" {
        return true;
    }
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|&c| c == b'?' || c == text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((star_p, star_t)) = star {
            star = Some((star_p, star_t + 1));
            (p, t) = (star_p + 1, star_t + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(pattern: &str, id: &str, expect: bool) {
        assert_eq!(Glob::new(pattern).fits_id(&id.parse().unwrap()), expect, "{pattern} on {id}");
    }

    #[test]
    fn globs_fit_ids() {
        check("github:create_issue", "github:create_issue", true);
        check("github:create_issue", "github:create_issues", false);
        check("github:*", "github:create_issue", true);
        check("github:*", "github-2:create_issue", false);
        check("github", "github:create_issue", true);
        check("git*", "github:create_issue", true);
        check("git", "github:create_issue", false);
        check("*:delete_*", "fs:delete_file", true);
        check("*:delete_*", "fs:undelete_file", false);
        check("*:*file*", "fs:read_file_now", true);
        check("*", "fs:read", true);
        check("fs:rea?", "fs:read", true);
        check("fs:rea?", "fs:rea", false);
        check("", "fs:read", false);
        check("a:b:*", "a:b:c", true);
        check("*:c", "a:b:c", false);
        check("*:*:c", "a:b:c", true);
    }

    /// The definition, word for word.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|i| naive(rest, &text[i..])),
            Some((&c, rest)) => text.split_first().is_some_and(|(&t, tail)| (c == b'?' || c == t) && naive(rest, tail)),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{0,7}", text in "[ab]{0,9}") {
            prop_assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), naive(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
