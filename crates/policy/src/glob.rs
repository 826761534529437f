//! Patterns over tool ids.

use std::fmt;

use serde::{Deserialize, Serialize};
use toolscout_core::ToolId;

/// A pattern over `upstream:tool`: `*` stands for any run of characters, `?` for one byte, everything else for itself.
/// A pattern without a colon speaks of the upstream: `github` is `github:*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Glob(String);

impl Glob {
    /// A pattern as the operator wrote it.
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// Whether a tool's id fits. Does not build the id's text: this runs for every tool of a catalog.
    pub fn fits_id(&self, id: &ToolId) -> bool {
        let (upstream, name) = (id.upstream.as_str().as_bytes(), id.name.as_str().as_bytes());
        if !self.0.contains(':') {
            return fits(self.0.as_bytes(), upstream.len(), |i| upstream[i]);
        }
        fits(self.0.as_bytes(), upstream.len() + 1 + name.len(), |i| match i.checked_sub(upstream.len()) {
            None => upstream[i],
            Some(0) => b':',
            Some(j) => name[j - 1],
        })
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Matches greedily and remembers only the last `*`: at most pattern × text steps, no recursion.
fn fits(pattern: &[u8], len: usize, at: impl Fn(usize) -> u8) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < len {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|&c| c == b'?' || c == at(t)) {
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
            let bytes = text.as_bytes();
            prop_assert_eq!(fits(pattern.as_bytes(), bytes.len(), |i| bytes[i]), naive(pattern.as_bytes(), bytes));
        }
    }
}
