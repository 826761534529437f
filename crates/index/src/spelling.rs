//! Which words of the catalog are spelled almost like this one?
//!
//! Asked only for words of a query that no document has. Nearness is the optimal string alignment distance: letters left
//! out, put in, replaced, and neighbours swapped, each counting one. Terms are stems, and a slip may keep the stemmer from
//! taking an ending off (`custmers` is `custmer`, `customers` is `custom`), so that a word is also tried without its ending,
//! where the ending put behind the found stem gives that stem again.
//!
//! No dictionary and no neighbour table: the terms lie side by side by length, each with a 52-bit picture of its letters,
//! and few pictures are near enough to compare letters.

use std::cmp::Reverse;

use crate::analyser::Analyser;

/// The terms of one snapshot that a slip may have been meant for.
#[derive(Default)]
pub(crate) struct Vocabulary {
    /// Shorter ones first, then by spelling.
    terms: Vec<Box<str>>,
    /// In how many places each stands, deleted documents left out.
    frequency: Vec<u32>,
    letters: Vec<u64>,
    /// Where the terms of each length begin; one more for the end.
    starts: Vec<usize>,
}

/// A term that may have been meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Near<'a> {
    pub(crate) term: &'a str,
    /// Slips between it and the word.
    pub(crate) distance: usize,
}

impl Near<'_> {
    /// The word that was meant: of the forms of the term the one nearest to what was typed, then one that is known, then the
    /// longest, since a stem is rarely a word.
    pub(crate) fn meant(&self, typed: &str, knows: &dyn Fn(&str) -> bool, analyser: &mut Analyser) -> String {
        let term = self.term;
        // With the endings that were typed, and with what the stemmer takes off or changes where there is no other.
        let stem = analyser.stem(typed);
        let rest = typed.strip_prefix(&*stem).unwrap_or_default();
        let endings = ENDINGS.into_iter().filter(|ending| typed.ends_with(ending)).chain([rest, "e"]);
        let y = term.strip_suffix('i').map(|base| format!("{base}y"));
        let mut forms: Vec<String> = endings.map(|ending| format!("{term}{ending}")).chain(y).collect();
        forms.retain(|form| analyser.stem(form) == term);
        forms.push(term.to_owned());
        let slips = |form: &str| distance(typed.as_bytes(), form.as_bytes(), MAX_LETTERS).unwrap_or(usize::MAX);
        forms.into_iter().min_by_key(|form| (slips(form), !knows(form), Reverse(form.len()))).unwrap_or_default()
    }
}

/// Fewest letters of a word that is mended: shorter ones are near everything.
pub(crate) const MIN_LETTERS: usize = 4;
/// Most letters of one.
const MAX_LETTERS: usize = 32;
/// From so many letters on two slips are forgiven.
const TWO_SLIPS_FROM: usize = 8;
/// Below so many letters the first must be right: `oslo` is not `solo`, `wage` not `page`.
const FIRST_LETTER_BELOW: usize = 6;
/// Endings that hide a stem behind a slip, longest first. The empty one is the word as typed.
const ENDINGS: [&str; 12] = ["ations", "ation", "ings", "ions", "ing", "ion", "ers", "er", "ed", "es", "s", ""];

impl Vocabulary {
    /// From terms and how often each stands somewhere; the same term may come several times. Only terms of ASCII letters
    /// are kept: numbers and identifiers with digits are right or wrong, not almost right.
    pub(crate) fn new(counted: impl IntoIterator<Item = (Box<str>, u32)>) -> Self {
        let fits = |term: &str| {
            (MIN_LETTERS - 1..=MAX_LETTERS).contains(&term.len()) && term.bytes().all(|b| b.is_ascii_lowercase())
        };
        let mut all: Vec<(Box<str>, u32)> = counted.into_iter().filter(|(term, n)| *n > 0 && fits(term)).collect();
        all.sort_unstable_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
        all.dedup_by(|(here, n), (before, sum)| {
            let same = here == before;
            if same {
                *sum += *n;
            }
            same
        });
        let starts = (0..=MAX_LETTERS + 1).map(|len| all.partition_point(|(term, _)| term.len() < len)).collect();
        let letters = all.iter().map(|(term, _)| picture(term)).collect();
        let (terms, frequency) = all.into_iter().unzip();
        Self { terms, frequency, letters, starts }
    }

    /// The terms that a word may have been meant for, best first: nearest, then with the same first letter, then the most
    /// frequent, then by spelling. Only those of the smallest distance found. `word` is as typed in small letters, `stem`
    /// its term.
    pub(crate) fn near(&self, word: &str, stem: &str, analyser: &mut Analyser) -> Vec<Near<'_>> {
        let mendable =
            (MIN_LETTERS..=MAX_LETTERS).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase());
        if !mendable {
            return Vec::new();
        }
        let most = if word.len() < TWO_SLIPS_FROM { 1 } else { 2 };
        let strict = word.len() < FIRST_LETTER_BELOW;
        let first = word.as_bytes()[0];
        let mut found: Vec<(usize, usize)> = Vec::new();
        let starts_right = |at: usize| self.terms[at].as_bytes()[0] == first;
        self.each_near(stem, most, |at, distance| found.push((distance, at)));
        for ending in ENDINGS {
            let Some(base) = word.strip_suffix(ending).filter(|base| *base != stem && base.len() >= MIN_LETTERS) else {
                continue;
            };
            self.each_near(base, most, |at, distance| {
                let meant = format!("{}{ending}", self.terms[at]);
                if analyser.stem(&meant) == *self.terms[at] {
                    found.push((distance, at));
                }
            });
        }
        found.retain(|&(_, at)| !strict || starts_right(at));
        let nearest = found.iter().map(|(distance, _)| *distance).min().unwrap_or_default();
        found.retain(|(distance, _)| *distance == nearest);
        found.sort_by_key(|&(_, at)| (!starts_right(at), Reverse(self.frequency[at]), at));
        found.dedup();
        found.into_iter().map(|(distance, at)| Near { term: &self.terms[at], distance }).collect()
    }

    fn each_near(&self, word: &str, most: usize, mut sink: impl FnMut(usize, usize)) {
        let picture = picture(word);
        let lengths = word.len().saturating_sub(most)..(word.len() + most + 1).min(MAX_LETTERS + 1);
        let Some((from, to)) = self.starts.get(lengths.start).zip(self.starts.get(lengths.end)) else { return };
        for at in *from..*to {
            // A slip takes at most one letter away and brings at most one.
            let other = self.letters[at];
            if few(picture & !other, most) && few(other & !picture, most) {
                let distance = distance(word.as_bytes(), self.terms[at].as_bytes(), most);
                if let Some(distance) = distance {
                    sink(at, distance);
                }
            }
        }
    }
}

/// Whether at most so many bits are set: `most` is 1 or 2, for which this is quicker than counting without an instruction for
/// it.
fn few(bits: u64, most: usize) -> bool {
    (0..most).fold(bits, |bits, _| bits & bits.wrapping_sub(1)) == 0
}

/// Two bits a letter: whether it is there, whether it is there again.
fn picture(word: &str) -> u64 {
    word.bytes().fold(0, |picture, b| {
        let once = 1u64 << (2 * (b.wrapping_sub(b'a') % 26));
        picture | if picture & once == 0 { once } else { once << 1 }
    })
}

/// The optimal string alignment distance, if it is `most` or less. Words longer than [`MAX_LETTERS`] are near nothing.
fn distance(a: &[u8], b: &[u8], most: usize) -> Option<usize> {
    if a.len() > MAX_LETTERS || b.len() > MAX_LETTERS || a.len().abs_diff(b.len()) > most {
        return None;
    }
    let mut before = [0u8; MAX_LETTERS + 1];
    let mut last = [0u8; MAX_LETTERS + 1];
    (0u8..).zip(&mut last).for_each(|(i, cell)| *cell = i);
    let mut row = last;
    for i in 1..=a.len() {
        row[0] = i as u8;
        let mut low = row[0];
        for j in 1..=b.len() {
            let differs = u8::from(a[i - 1] != b[j - 1]);
            let mut cell = (last[j - 1] + differs).min(last[j] + 1).min(row[j - 1] + 1);
            let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if swapped {
                cell = cell.min(before[j - 2] + 1);
            }
            row[j] = cell;
            low = low.min(cell);
        }
        // A swap reaches back two rows, and its cost there is one less than here at least.
        if usize::from(low) > most + 1 {
            return None;
        }
        (before, last) = (last, row);
    }
    let found = usize::from(last[b.len()]);
    (found <= most).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vocabulary(words: &[&str]) -> Vocabulary {
        let mut analyser = Analyser::default();
        let terms: Vec<_> = words.iter().flat_map(|word| analyser.terms(word)).collect();
        Vocabulary::new(terms.into_iter().map(|term| (term.into(), 1)))
    }

    #[track_caller]
    fn check(word: &str, words: &[&str], expect: &str) {
        let mut analyser = Analyser::default();
        let stem = analyser.stem(word);
        let vocabulary = vocabulary(words);
        let found = vocabulary.near(word, &stem, &mut analyser);
        let knows = |word: &str| word == "open";
        let meant = |near: &Near<'_>| {
            format!("{} {} {}", near.term, near.meant(word, &knows, &mut Analyser::default()), near.distance)
        };
        let found: Vec<String> = found.iter().map(meant).collect();
        assert_eq!(found.join(", "), expect, "{word}");
    }

    #[test]
    fn slips_of_every_kind_are_found() {
        check("brnach", &["branch", "bench"], "branch branch 1");
        check("isue", &["issues"], "issu issue 1");
        check("messsage", &["message"], "messag message 1");
        check("calandar", &["calendar"], "calendar calendar 1");
        check("retreeve", &["retrieve", "receive"], "retriev retrieve 1");
        check("kuberentes", &["kubernetes"], "kubernet kubernetes 1");
        check("conflnuece", &["confluence"], "confluenc confluence 2");
    }

    #[test]
    fn endings_that_hide_the_stem_do_not_matter() {
        check("custmers", &["customer"], "custom customers 1");
        check("chnaged", &["change"], "chang changed 1");
        check("stirpe", &["stripe"], "stripe stripe 1");
        check("opne", &["open"], "open open 1");
        check("delte", &["delete"], "delet delete 1");
        check("airtabel", &["airtable"], "airtabl airtable 1");
        check("repositry", &["repository"], "repositori repository 1");
        check("atachments", &["attachment"], "attach attachments 1");
        check("biling", &["billing"], "bill billing 1");
    }

    #[test]
    fn the_likely_stand_first_and_the_unlikely_are_left_out() {
        check("fiel", &["file", "field", "fire", "file"], "file file 1, field field 1");
        check("oslo", &["solo", "slot"], "");
        check("wage", &["page"], "");
        check("eport", &["report"], "");
        check("xeport", &["report", "export"], "export export 1, report report 1");
        check("brxxch", &["branch"], "");
        check("abc", &["abcd"], "");
        check("größe", &["grosse"], "");
        check("", &["list"], "");
    }

    /// The definition, as a recursion.
    fn naive(a: &[u8], b: &[u8]) -> usize {
        let ([.., x], [.., y]) = (a, b) else { return a.len().max(b.len()) };
        let (a1, b1) = (&a[..a.len() - 1], &b[..b.len() - 1]);
        let mut best = (naive(a1, b1) + usize::from(x != y)).min(naive(a1, b) + 1).min(naive(a, b1) + 1);
        if let ([a2 @ .., p, _], [b2 @ .., q, _]) = (a, b)
            && (p, x) == (y, q)
        {
            best = best.min(naive(a2, b2) + 1);
        }
        best
    }

    proptest! {
        #[test]
        fn distances_are_those_of_the_definition(a in "[abc]{0,7}", b in "[abc]{0,7}", most in 0..3usize) {
            let expect = naive(a.as_bytes(), b.as_bytes());
            prop_assert_eq!(distance(a.as_bytes(), b.as_bytes(), most), (expect <= most).then_some(expect));
        }

        #[test]
        fn the_scan_misses_nothing(words in prop::collection::vec("[abcd]{3,9}", 0..60), word in "[abcd]{3,9}", most in 1..3usize) {
            let counted = words.iter().map(|word| (word.as_str().into(), 1));
            let vocabulary = Vocabulary::new(counted);
            let mut found = Vec::new();
            vocabulary.each_near(&word, most, |at, distance| found.push((vocabulary.terms[at].to_string(), distance)));
            found.sort();
            let near = |other: &String| (other.clone(), naive(word.as_bytes(), other.as_bytes()));
            let mut expect: Vec<_> = words.iter().map(near).filter(|(_, distance)| *distance <= most).collect();
            expect.sort();
            expect.dedup();
            prop_assert_eq!(found, expect);
        }
    }
}
