//! Text in, terms out: the one rule for cards and queries.
//!
//! What holds of every text (each is a test below):
//! 1. Identifiers fall apart at camelCase humps, `_`, `-`, `.`, `/`, `:` and letter/digit borders.
//! 2. The whole identifier stays as a term of its own, whatever its spelling: `create_issue`, `createIssue` and
//!    `create-issue` share `createissu`.
//! 3. Letters glued to digits stay findable together: `S3` in `listS3Buckets` gives `s3`.
//! 4. Case and accents do not count: `Größe` is `grosse`, `Résumé` is `resume`.
//! 5. Words of ASCII letters are stemmed (Snowball English); words of other alphabets stay as they are.
//! 6. Scripts without spaces between words give single characters and pairs.
//! 7. No term is longer than [`MAX_TERM`] bytes, and a query has no more than [`MAX_QUERY_TERMS`] of them, all different.
//! 8. English function words are dropped from queries (never from cards), unless nothing else is there.
//! 9. Analysing never panics, and is the same for the same text, always.

use std::collections::{HashMap, HashSet};

use frostem::{Algorithm, Stemmer};
use toolscout_core::words::split_identifier;
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::canonical_combining_class;

/// Longest term kept, in bytes. Longer ones are hashes and keys that nobody searches for.
pub const MAX_TERM: usize = 64;
/// Most terms of one query that are looked up. Tasks of several sentences stay below it.
pub const MAX_QUERY_TERMS: usize = 64;
/// An identifier of more words than this is a path or an address: its whole is no term.
const MAX_WORDS_OF_WHOLE: usize = 8;
/// Stems remembered before starting over. A catalog of 30,000 tools has some 40,000 different words.
const MAX_STEMS: usize = 50_000;

/// Turns text into terms. Remembers stems, so keep one per thread.
pub struct Analyser {
    stemmer: Stemmer,
    stems: HashMap<String, Box<str>>,
    folded: String,
}

impl Default for Analyser {
    fn default() -> Self {
        Self { stemmer: Stemmer::new(Algorithm::English), stems: HashMap::new(), folded: String::new() }
    }
}

impl Clone for Analyser {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Analyser {
    /// The terms of a card's text, in order, repeated where the text repeats them.
    pub fn terms(&mut self, text: &str) -> Vec<String> {
        let mut terms = Vec::new();
        self.each_term(text, |_, term| terms.push(term));
        terms
    }

    /// The terms of a query: different ones, in order of first mention, without function words.
    pub fn query_terms(&mut self, text: &str) -> Vec<String> {
        self.query_words(text).into_iter().map(|word| word.term).collect()
    }

    /// The same, with what was typed.
    pub(crate) fn query_words(&mut self, text: &str) -> Vec<QueryWord> {
        let (mut words, mut fillers) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        let mut begins = true;
        for chunk in text.split_whitespace() {
            let named = is_named(chunk, begins);
            begins = chunk.ends_with(['.', '!', '?', ':']);
            self.each_term(chunk, |word, term| {
                if words.len() >= MAX_QUERY_TERMS || !seen.insert(term.clone()) {
                    return;
                }
                let filler = is_function_word(word);
                let word = QueryWord { term, word: word.to_owned(), named };
                if filler { fillers.push(word) } else { words.push(word) }
            });
        }
        if words.is_empty() {
            fillers.truncate(MAX_QUERY_TERMS);
            return fillers;
        }
        words
    }

    /// The term of one word in small ASCII letters.
    pub(crate) fn stem(&mut self, word: &str) -> String {
        let mut stem = String::new();
        self.emit(word, &mut |_, term| stem = term);
        stem
    }

    /// Calls `sink(word as written in small letters, term)` for every term.
    fn each_term(&mut self, text: &str, mut sink: impl FnMut(&str, String)) {
        let mut folded = std::mem::take(&mut self.folded);
        for chunk in text.split_whitespace() {
            fold_into(chunk, &mut folded);
            self.chunk_terms(&folded, &mut sink);
        }
        self.folded = folded;
    }

    /// One run of text without spaces: `create_issue`, `(owner/repo)`, `naïve`, `東京タワー`.
    fn chunk_terms(&mut self, chunk: &str, sink: &mut impl FnMut(&str, String)) {
        let (mut n_segments, mut n_words) = (0, 0);
        let mut whole = String::new();
        for segment in chunk.split(|c: char| !c.is_alphanumeric()).filter(|segment| !segment.is_empty()) {
            for (dense, run) in script_runs(segment) {
                if dense {
                    ngrams(run, sink);
                    continue;
                }
                n_segments += 1;
                n_words += self.segment_terms(run, sink);
                if whole.len() <= MAX_TERM {
                    whole.extend(run.chars().flat_map(char::to_lowercase));
                }
            }
        }
        if n_segments > 1 && n_words <= MAX_WORDS_OF_WHOLE {
            self.emit(&whole, sink);
        }
    }

    /// One run of letters and digits: its words, letters with the digits beside them, and the whole.
    fn segment_terms(&mut self, segment: &str, sink: &mut impl FnMut(&str, String)) -> usize {
        let words = split_identifier(segment);
        let several = words.len() > 1;
        for word in &words {
            // `s` of `S3` or `k` of `k8s` says nothing by itself.
            let scrap = several && word.len() == 1 && word.as_bytes()[0].is_ascii_alphabetic();
            if !scrap {
                self.emit(word, sink);
            }
        }
        if several {
            let is_number = |word: &String| word.starts_with(char::is_numeric);
            if words.len() > 2 {
                for pair in words.windows(2).filter(|pair| is_number(&pair[0]) != is_number(&pair[1])) {
                    self.emit(&pair.concat(), sink);
                }
            }
            if words.len() <= MAX_WORDS_OF_WHOLE {
                self.emit(&words.concat(), sink);
            }
        }
        words.len()
    }

    fn emit(&mut self, word: &str, sink: &mut impl FnMut(&str, String)) {
        if word.len() > MAX_TERM {
            return;
        }
        let stemmable =
            word.bytes().all(|b| b.is_ascii_alphanumeric()) && word.bytes().any(|b| b.is_ascii_alphabetic());
        if !stemmable {
            sink(word, word.to_owned());
            return;
        }
        if let Some(stem) = self.stems.get(word) {
            sink(word, stem.to_string());
            return;
        }
        let stem = self.stemmer.stem(word).into_owned();
        if self.stems.len() >= MAX_STEMS {
            self.stems.clear();
        }
        self.stems.insert(word.to_owned(), stem.clone().into());
        sink(word, stem);
    }
}

/// Whether a word, in small letters, is one of those that queries are searched without.
pub(crate) fn is_function_word(word: &str) -> bool {
    STOP_WORDS.binary_search(&word).is_ok()
}

/// A term of a query.
pub(crate) struct QueryWord {
    /// What is looked up.
    pub(crate) term: String,
    /// What it was made from, in small letters.
    pub(crate) word: String,
    /// Written like a name, a quotation, an address or a path: spelled so on purpose.
    pub(crate) named: bool,
}

/// Whether a run of text without spaces is written like a name, a quotation, an address or a path. `begins`: it stands at
/// the head of a sentence, where a capital says nothing.
pub(crate) fn is_named(chunk: &str, begins: bool) -> bool {
    let quoted = chunk.starts_with(['"', '\'', '`', '“', '„', '‘', '«', '#', '@', '/', '<', '$']);
    let inner = chunk.trim_matches(|c: char| !c.is_alphanumeric());
    let capital = !begins && inner.starts_with(char::is_uppercase);
    let joined = |c: char| c.is_alphabetic() || matches!(c, '_' | '-' | '\'' | '’');
    quoted || capital || !inner.chars().all(joined)
}

/// Copies `chunk` with accents, points, apostrophes and compatibility forms resolved, case kept (humps are still needed).
fn fold_into(chunk: &str, out: &mut String) {
    out.clear();
    let chunk = chunk.trim_end_matches(|c: char| !c.is_alphanumeric());
    let chunk = ["'s", "’s", "'S", "’S"].iter().find_map(|end| chunk.strip_suffix(end)).unwrap_or(chunk);
    if chunk.is_ascii() {
        out.extend(chunk.chars().filter(|&c| c != '\''));
        return;
    }
    for c in chunk.chars() {
        if is_spaceless(c) {
            // Composed on purpose: decomposing would tear Hangul syllables and voiced kana apart.
            out.extend(std::iter::once(c).nfkc());
            continue;
        }
        for c in std::iter::once(c).nfkd() {
            match c {
                '\'' | '’' | 'ʼ' => {}
                'ß' | 'ẞ' => out.push_str("ss"),
                'æ' | 'Æ' => out.push_str("ae"),
                'œ' | 'Œ' => out.push_str("oe"),
                'ø' => out.push('o'),
                'Ø' => out.push('O'),
                'ł' => out.push('l'),
                'Ł' => out.push('L'),
                'đ' | 'ð' => out.push('d'),
                'Đ' | 'Ð' => out.push('D'),
                'ı' => out.push('i'),
                c if is_point(c) => {}
                c => out.push(c),
            }
        }
    }
}

/// Accents of Latin, Greek and Cyrillic, vowel points of Arabic and Hebrew, and viramas (class 9), which would otherwise
/// split words. Vowel signs of Indic scripts stay: they are letters.
fn is_point(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36F}' | '\u{591}'..='\u{5C7}' | '\u{64B}'..='\u{65F}' | '\u{670}')
        || canonical_combining_class(c) == 9
}

/// Scripts written without spaces between words, and Hangul, whose words carry particles.
fn is_spaceless(c: char) -> bool {
    matches!(c,
        '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}'
        | '\u{3040}'..='\u{30FF}' | '\u{31F0}'..='\u{31FF}' | '\u{FF66}'..='\u{FF9F}'
        | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3134F}'
        | '\u{AC00}'..='\u{D7AF}')
}

/// Cuts a run of letters where its script starts or stops to be a spaceless one: `東京API` is two runs.
fn script_runs(segment: &str) -> impl Iterator<Item = (bool, &str)> {
    let mut rest = segment;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let dense = is_spaceless(first);
        let end = rest.char_indices().find(|&(_, c)| is_spaceless(c) != dense).map_or(rest.len(), |(i, _)| i);
        let (run, tail) = rest.split_at(end);
        rest = tail;
        Some((dense, run))
    })
}

fn ngrams(run: &str, sink: &mut impl FnMut(&str, String)) {
    let mut before: Option<char> = None;
    for c in run.chars() {
        sink("", c.to_string());
        if let Some(before) = before {
            sink("", [before, c].iter().collect());
        }
        before = Some(c);
    }
}

/// A word in small letters, with accents resolved as in terms.
pub(crate) fn folded(word: &str) -> String {
    let mut out = String::new();
    fold_into(word, &mut out);
    out.to_lowercase()
}

/// English function words and the padding of polite requests, sorted. Verbs that name actions (`get`, `find`) are not here.
#[rustfmt::skip]
const STOP_WORDS: &[&str] = &[
    "a", "about", "all", "also", "am", "an", "and", "any", "anyone", "are", "as", "at", "be", "because", "been", "before",
    "being", "but", "by", "can", "cannot", "cant", "could", "did", "do", "does", "doing", "dont", "each", "for", "from",
    "had", "has", "have", "having", "he", "hello", "her", "here", "hers", "hi", "him", "his", "how", "i", "id", "if", "ill",
    "im", "in", "into", "is", "it", "its", "ive", "just", "kindly", "lets", "like", "may", "me", "might", "mine", "must", "my", "need", "of",
    "on", "one", "or", "our", "ours", "please", "shall", "she", "should", "so", "some", "than", "that", "the", "their", "them", "then",
    "there", "these", "they", "this", "those", "to", "too", "us", "very", "want", "was", "we", "were", "what",
    "when", "where", "which", "while", "who", "whose", "why", "will", "with", "would", "you", "your", "yours",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        assert_eq!(Analyser::default().terms(text).join(" "), expect, "{text:?}");
    }

    #[track_caller]
    fn check_query(text: &str, expect: &str) {
        assert_eq!(Analyser::default().query_terms(text).join(" "), expect, "{text:?}");
    }

    #[test]
    fn identifiers_fall_apart_and_stay_whole() {
        check("create_issue", "creat issu createissu");
        check("createIssue", "creat issu createissu");
        check("create-issue", "creat issu createissu");
        check("Create Issue", "creat issu");
        check("files.read", "file read filesread");
        check("(owner/repo),", "owner repo ownerrepo");
        check("parseHTTPRequest", "pars http request parsehttprequest");
    }

    #[test]
    fn letters_and_digits_stay_findable_together() {
        check("S3", "3 s3");
        check("listS3Buckets", "list 3 bucket s3 3bucket lists3bucket");
        check("k8s", "8 k8 8s k8s");
        check("oauth2", "oauth 2 oauth2");
    }

    #[test]
    fn case_accents_and_apostrophes_do_not_count() {
        check("Größe", "gross");
        check("Résumé RESUME", "resum resum");
        check("user's don’t", "user dont");
        check("ﬁle Ｆｕｌｌ", "file full");
        check("йод", "иод");
    }

    #[test]
    fn other_scripts_work() {
        check("東京タワー", "東 京 東京 タ 京タ ワ タワ ー ワー");
        check("検索API", "検 索 検索 api");
        check("파일 검색", "파 일 파일 검 색 검색");
        check("поиск файлов", "поиск фаилов");
        check("हिन्दी", "हिनदी");
    }

    #[test]
    fn queries_drop_function_words_unless_nothing_else_is_there() {
        check_query("Can you please create the issues for an issue?", "creat issu");
        check_query("how to", "how to");
        check_query("what is this?", "what is this");
        check_query("", "");
        check_query("get-it", "get getit");
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn bounds_hold() {
        check(&"x".repeat(65), "");
        check(&"x".repeat(64), &"x".repeat(64));
        let long: String = (0..500).map(|i| format!("word{i}x ")).collect();
        assert_eq!(Analyser::default().query_terms(&long).len(), MAX_QUERY_TERMS);
    }

    proptest! {
        #[test]
        fn terms_are_bounded_and_repeatable(text in "\\PC{0,120}") {
            let mut analyser = Analyser::default();
            let terms = analyser.terms(&text);
            prop_assert!(terms.iter().all(|term| !term.is_empty() && term.len() <= MAX_TERM));
            prop_assert_eq!(&analyser.terms(&text), &terms);
            let query = analyser.query_terms(&text);
            prop_assert!(query.iter().all(|term| terms.contains(term)));
        }

        #[test]
        fn spelling_of_an_identifier_does_not_matter(words in prop::collection::vec("[a-z]{2,8}", 2..5)) {
            let mut analyser = Analyser::default();
            let mut whole = |text: &str| analyser.terms(text).last().cloned();
            let camel: String = words.iter().map(|w| w[..1].to_uppercase() + &w[1..]).collect();
            let snake = whole(&words.join("_"));
            prop_assert_eq!(whole(&words.join("-")), snake.clone());
            prop_assert_eq!(whole(&camel), snake);
        }
    }
}
