//! Text that strangers wrote.

use serde::{Deserialize, Serialize};

/// A value that came from outside and was neither bounded nor cleaned. It has no `Display`: it cannot slip into a log line,
/// a path or an answer. [`sanitize`] is the way out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Untrusted<T>(T);

impl<T> Untrusted<T> {
    /// Marks a value as a stranger's.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The raw value, for code that treats it as bytes: hashing, storing whole, parsing with bounds.
    pub fn raw(&self) -> &T {
        &self.0
    }

    /// Gives the raw value away. Same care as [`Untrusted::raw`].
    pub fn into_raw(self) -> T {
        self.0
    }
}

impl<T> std::fmt::Debug for Untrusted<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Untrusted(…)")
    }
}

impl Untrusted<String> {
    /// The text, cleaned and bounded: see [`sanitize`].
    pub fn sanitized(&self, max_chars: usize) -> String {
        sanitize(&self.0, max_chars)
    }
}

/// Cleans text for showing and indexing: control characters (but newline and tab), bidirectional overrides, zero-width and
/// tag characters are dropped, every run of spaces becomes one, at most `max_chars` characters stay (then `…`).
pub fn sanitize(text: &str, max_chars: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(max_chars * 2));
    let mut n_chars = 0;
    let mut gap = false;
    for c in text.chars() {
        if is_hidden(c) {
            continue;
        }
        if c == ' ' || c == '\t' || (c.is_whitespace() && c != '\n') {
            gap = true;
            continue;
        }
        let space = gap && !clean.is_empty() && !clean.ends_with('\n') && c != '\n';
        gap = false;
        if n_chars + usize::from(space) >= max_chars {
            clean.push('…');
            return clean;
        }
        if space {
            clean.push(' ');
            n_chars += 1;
        }
        clean.push(c);
        n_chars += 1;
    }
    let end = clean.trim_end().len();
    clean.truncate(end);
    clean
}

/// Whether a character shows nothing of itself but may steer how a model or a terminal reads its neighbours.
pub fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180E}'
            | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FE00}'..='\u{FE0F}'
            | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
}

/// At most 80 clean characters of a stranger's text on one line, to quote in an error.
pub fn preview(text: &str) -> String {
    sanitize(text, 80).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, max: usize, expect: &str) {
        assert_eq!(sanitize(text, max), expect, "{text:?}");
    }

    #[test]
    fn cleans_and_bounds() {
        check("plain", 10, "plain");
        check("  two   spaces\t here ", 40, "two spaces here");
        check("line\n  next", 40, "line\nnext");
        check("bell\u{7}\u{1b}[31mred", 40, "bell[31mred");
        check("zero\u{200b}width \u{202e}flipped", 40, "zerowidth flipped");
        check("tags\u{E0041}\u{E0042}", 40, "tags");
        check("abcdef", 3, "abc…");
        check("a b c", 3, "a b…");
        check("", 3, "");
    }

    proptest! {
        #[test]
        fn never_longer_than_asked_and_idempotent(text in "\\PC{0,200}", max in 1usize..100) {
            let once = sanitize(&text, max);
            prop_assert!(once.chars().count() <= max + 1);
            prop_assert!(!once.chars().any(is_hidden));
            if !once.ends_with('…') {
                prop_assert_eq!(sanitize(&once, max), once);
            }
        }
    }
}
