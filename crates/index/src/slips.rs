//! Which words of a query are slips of the keyboard, and what was meant?
//!
//! A model makes little of `lsit slakc chanels`: it never read these words. So they are mended before the query is embedded, where
//! it is safe to say what they are:
//!
//! 1. A word is mended only if no tool has it, the model does not know it, and neither knows what it is made of.
//! 2. Names, quotations, paths, numbers and words within other languages stay as they are: they are spelled so on purpose.
//! 3. It becomes the nearest word of the tools that the caller may see; what others have is not for him to learn.
//! 4. The same text over the same tools gives the same words, always.
//!
//! Whoever does not know a word in doubt leaves it alone: a wrong mend changes what was asked.

use serde::{Deserialize, Serialize};

use crate::analyser::{is_function_word, is_named};
use crate::glossary;
use crate::spelling::MIN_LETTERS;

/// A word of a query that was read as another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Slip {
    /// Where it begins in the query as typed, in bytes.
    pub start: usize,
    /// The word as typed.
    pub typed: String,
    /// What it was read as.
    pub read: String,
}

/// A query with its slips mended. Slips that do not lie in it, because they are another query's, are left out.
pub fn mended(text: &str, slips: &[Slip]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for slip in slips {
        let is_there = slip.start >= done && text.get(slip.start..).is_some_and(|rest| rest.starts_with(&slip.typed));
        if is_there {
            out.push_str(&text[done..slip.start]);
            out.push_str(&slip.read);
            done = slip.start + slip.typed.len();
        }
    }
    out.push_str(&text[done..]);
    out
}

/// Most unknown words of a query that are looked at. A text with more of them is no text with slips.
const MAX_LOOKED_AT: usize = 16;
/// From so many letters on the first one may be the slip, if it is the only one.
const ANY_LETTER_FROM: usize = 6;
/// Fewest letters that a part of a compound has.
const MIN_PART: usize = 3;
/// Endings that make a word of another, the longer first.
const ENDINGS: [&str; 18] = [
    "ments", "ness", "less", "able", "ment", "ings", "ing", "ers", "ors", "est", "ed", "er", "or", "es", "ly", "s",
    "d", "r",
];
/// What stands in front of another word.
const FRONTS: [&str; 6] = ["un", "re", "de", "non", "pre", "sub"];

/// A word of a query that nobody knows yet.
pub(crate) struct Doubtful<'a> {
    pub(crate) start: usize,
    pub(crate) word: &'a str,
    /// In small letters.
    pub(crate) lower: String,
}

impl Doubtful<'_> {
    /// Whether it is a known word without its last letter, which the stemmer takes off too: `creat`.
    pub(crate) fn lacks_e(&self, knows: &dyn Fn(&str) -> bool) -> bool {
        knows(&format!("{}e", self.lower))
    }

    /// Whether a word may have been meant that is so near.
    pub(crate) fn may_mean(&self, meant: &str, distance: usize) -> bool {
        let same_first = meant.as_bytes().first() == self.lower.as_bytes().first();
        let any_first = self.lower.len() >= ANY_LETTER_FROM && distance < 2;
        meant.len() >= MIN_LETTERS && (same_first || any_first)
    }
}

/// The words of a query that the model does not know and that are written like common words.
pub(crate) fn doubtful<'a>(text: &'a str, knows: &dyn Fn(&str) -> bool) -> Vec<Doubtful<'a>> {
    if text.chars().any(|c| c.is_alphabetic() && !c.is_ascii()) {
        return Vec::new();
    }
    let (mut found, mut begins, mut quoted) = (Vec::new(), true, false);
    for chunk in text.split_whitespace() {
        let at = chunk.as_ptr() as usize - text.as_ptr() as usize;
        let marks = chunk.matches(['"', '`']).count();
        let plain = marks == 0 && !quoted && !is_named(chunk, begins);
        quoted ^= marks % 2 == 1;
        begins = chunk.ends_with(['.', '!', '?', ':']);
        let word = chunk.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let letters =
            word.bytes().all(|b| b.is_ascii_alphabetic()) && word.bytes().skip(1).all(|b| b.is_ascii_lowercase());
        if !plain || !letters || word.len() < MIN_LETTERS {
            continue;
        }
        let lower = word.to_ascii_lowercase();
        if !is_function_word(&lower) && !is_english(&lower, knows) {
            found.push(Doubtful { start: at + chunk.find(word).unwrap_or(0), word, lower });
            if found.len() > MAX_LOOKED_AT {
                return Vec::new();
            }
        }
    }
    // Asked last: most queries have no word in doubt.
    if !found.is_empty() && glossary::read(text).is_some() {
        found.clear();
    }
    found
}

/// Whether a word, or what it is made of, is known.
fn is_english(word: &str, knows: &dyn Fn(&str) -> bool) -> bool {
    let part = |part: &str| part.len() >= MIN_PART && knows(part);
    let base = |base: &str| {
        let doubled = || {
            let bytes = base.as_bytes();
            let n = bytes.len();
            n > MIN_PART && bytes[n - 1] == bytes[n - 2] && part(&base[..n - 1])
        };
        let y = || base.strip_suffix('i').is_some_and(|base| part(&format!("{base}y")));
        part(base) || part(&format!("{base}e")) || doubled() || y()
    };
    knows(word)
        || ENDINGS.iter().filter_map(|ending| word.strip_suffix(ending)).any(base)
        || FRONTS.iter().filter_map(|front| word.strip_prefix(front)).any(|rest| rest.len() > MIN_PART && part(rest))
        || (MIN_PART..word.len().saturating_sub(MIN_PART - 1)).any(|k| {
            // Two short halves are found in half of all words.
            (k > MIN_PART || word.len() - k > MIN_PART) && part(&word[..k]) && part(&word[k..])
        })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use proptest::prelude::*;

    const KNOWN: &str =
        "list the all create file pull change trend friend cache local host mark price happy fact people";

    fn knows(word: &str) -> bool {
        KNOWN.split(' ').any(|known| known == word)
    }

    /// The words in doubt, with a bar between them.
    #[track_caller]
    fn check(text: &str, expect: &str) {
        let found = doubtful(text, &knows);
        for one in &found {
            assert_eq!(&text[one.start..one.start + one.word.len()], one.word, "{text}");
        }
        assert_eq!(found.iter().map(|one| one.word).collect::<Vec<_>>().join("|"), expect, "{text}");
    }

    #[test]
    fn words_that_nobody_knows_are_in_doubt() {
        check("lsit slakc chanels", "lsit|slakc|chanels");
        check("Lsit all the chanels, plese!", "Lsit|chanels|plese");
        check("list all", "");
        check("", "");
    }

    #[test]
    fn forms_of_known_words_are_none() {
        check("the caches, changed files and trending happier friends", "");
        check("recreate happiness on localhost unmark factless", "");
        check("the happiest friendly creator", "");
        // Halves that are too short are in every word.
        check("thelsit", "thelsit");
    }

    #[test]
    fn what_is_spelled_so_on_purpose_is_none() {
        check("ask Jhon about foo_brnach in src/brnach at #brnach", "");
        check("create the file \"my brnach is lsot\" brnach", "brnach");
        check("run `gti stauts` lsit", "lsit");
        check("ab12cd rev2x CamelCsae ABCD don't x86", "");
        check("lösche den brnach", "");
        check("Zeig mir alle offnen Aufgaben und lösch die Datei", "");
        check("Borra el archivo y crea una rama nueva", "");
        check("a b c xyz", "");
    }

    #[test]
    fn a_text_full_of_unknown_words_is_no_text_with_slips() {
        let words = ["qwerx", "asdfg", "zxcvb", "poiuy", "lkjhg", "mnbvc"];
        let text =
            |n: usize| (0..n).map(|i| format!("{}{}", words[i % 6], &words[(i / 6) % 6][..2])).collect::<Vec<_>>();
        check(&text(MAX_LOOKED_AT).join(" "), &text(MAX_LOOKED_AT).join("|"));
        check(&text(MAX_LOOKED_AT + 1).join(" "), "");
    }

    fn slip(start: usize, typed: &str, read: &str) -> Slip {
        Slip { start, typed: typed.to_owned(), read: read.to_owned() }
    }

    #[test]
    fn slips_are_mended_where_they_stand() {
        let slips = [slip(0, "Lsit", "list"), slip(9, "slakc", "slack")];
        assert_eq!(mended("Lsit all slakc chanels", &slips), "list all slack chanels");
        assert_eq!(mended("Lsit all", &[]), "Lsit all");
        // Those of another query: out of place, out of order, beyond the end, within a letter.
        assert_eq!(mended("list Lsit", &slips), "list Lsit");
        assert_eq!(mended("ab", &[slip(1, "b", "c"), slip(0, "a", "x"), slip(7, "q", "r")]), "ac");
        assert_eq!(mended("öb", &[slip(1, "b", "c")]), "öb");
    }

    proptest! {
        #[test]
        fn whatever_is_typed_is_looked_at_without_a_fall(text in "\\PC{0,80}") {
            let found = doubtful(&text, &knows);
            let places: HashSet<usize> = found.iter().map(|one| one.start).collect();
            prop_assert_eq!(places.len(), found.len());
            for one in found {
                prop_assert_eq!(&text[one.start..one.start + one.word.len()], one.word);
            }
        }

        #[test]
        fn only_slips_change(words in prop::collection::vec("[a-z]{1,6}", 1..8), at in 0..8usize) {
            let at = at % words.len();
            let start = words[..at].iter().map(|word| word.len() + 1).sum();
            let text = words.join(" ");
            let mut expect = words.clone();
            expect[at] = "READ".to_owned();
            prop_assert_eq!(mended(&text, &[slip(start, &words[at], "READ")]), expect.join(" "));
        }
    }
}
