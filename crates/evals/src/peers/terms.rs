//! Words, postings and BM25 for the peers: small, exact, in memory.

use std::collections::HashMap;

use frostem::Stemmer;

/// Lists of the documents that hold a term, with how often.
#[derive(Debug, Default)]
pub(crate) struct Postings {
    ids: HashMap<String, usize>,
    lists: Vec<Vec<(usize, f64)>>,
    lengths: Vec<f64>,
}

impl Postings {
    /// Of documents as term lists, in order.
    pub(crate) fn of(documents: impl Iterator<Item = Vec<String>>) -> Self {
        let mut postings = Self::default();
        for (doc, terms) in documents.enumerate() {
            postings.lengths.push(terms.len() as f64);
            for term in terms {
                let id = match postings.ids.get(&term) {
                    Some(id) => *id,
                    None => {
                        postings.lists.push(Vec::new());
                        postings.ids.insert(term, postings.lists.len() - 1);
                        postings.lists.len() - 1
                    }
                };
                match postings.lists[id].last_mut() {
                    Some((last, n)) if *last == doc => *n += 1.0,
                    Some(_) | None => postings.lists[id].push((doc, 1.0)),
                }
            }
        }
        postings
    }

    /// How many documents there are.
    pub(crate) fn n_docs(&self) -> usize {
        self.lengths.len()
    }

    /// How many terms a document has, repetitions counted.
    pub(crate) fn length(&self, doc: usize) -> f64 {
        self.lengths[doc]
    }

    /// The documents that hold a term, with how often, in order.
    pub(crate) fn list(&self, term: &str) -> &[(usize, f64)] {
        self.ids.get(term).map_or(&[], |id| &self.lists[*id])
    }

    /// All different terms, in the order of their first mention.
    pub(crate) fn terms(&self) -> Vec<&str> {
        let mut terms = vec![""; self.lists.len()];
        #[expect(clippy::iter_over_hash_type, reason = "each goes to the place of its number: the order is undone")]
        for (term, id) in &self.ids {
            terms[*id] = term;
        }
        terms
    }
}

/// BM25's constants, and how rare a term is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bm25 {
    /// How much repetition counts.
    pub(crate) k1: f64,
    /// How much length counts against a document.
    pub(crate) b: f64,
    /// From the number of documents and of those that hold the term.
    pub(crate) idf: fn(f64, f64) -> f64,
}

/// Never negative: ln(1 + (N - n + ½) / (n + ½)), as Lucene has it.
pub(crate) fn idf_above_zero(n_docs: f64, n_holding: f64) -> f64 {
    (1.0 + (n_docs - n_holding + 0.5) / (n_holding + 0.5)).ln()
}

impl Bm25 {
    /// Adds what one list of matches gives each document: idf · tf (k1 + 1) / (tf + k1 (1 - b + b · length / average)),
    /// Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009).
    pub(crate) fn add(&self, postings: &Postings, matches: &[(usize, f64)], scores: &mut [f64]) {
        if matches.is_empty() {
            return;
        }
        let n_docs = postings.n_docs() as f64;
        let average = postings.lengths.iter().sum::<f64>() / n_docs;
        let idf = (self.idf)(n_docs, matches.len() as f64);
        for &(doc, tf) in matches {
            let length = postings.length(doc) / average;
            scores[doc] += idf * tf * (self.k1 + 1.0) / (tf + self.k1 * (1.0 - self.b + self.b * length));
        }
    }

    /// Every document's score for the terms, repeated terms counted as often as they are said.
    pub(crate) fn scores(&self, postings: &Postings, terms: &[String]) -> Vec<f64> {
        let mut scores = vec![0.0; postings.n_docs()];
        for term in terms {
            self.add(postings, postings.list(term), &mut scores);
        }
        scores
    }
}

/// The best of those that have any score, equals in order of position.
pub(crate) fn best(scores: &[f64], limit: usize) -> Vec<(usize, f64)> {
    let mut found: Vec<(usize, f64)> = scores.iter().copied().enumerate().filter(|(_, score)| *score > 0.0).collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    found.truncate(limit);
    found
}

/// Which documents hold a word anywhere, also inside another word.
///
/// Texts are kept as their different words, each between line ends: a word without separators lies inside a text exactly if
/// it lies inside one of the text's words. A vocabulary of 50,000 words is looked through in a fraction of a millisecond,
/// the texts of 30,000 tools in tens of them.
#[derive(Debug)]
pub(crate) struct Substrings {
    postings: Postings,
    vocabulary: String,
}

impl Substrings {
    /// Of texts, in order.
    pub(crate) fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let postings = Postings::of(texts.map(runs));
        let vocabulary = postings.terms().join("\n");
        Self { postings, vocabulary }
    }

    /// For each document whether it holds the word, which is one of [`runs`].
    pub(crate) fn holding(&self, word: &str) -> Vec<bool> {
        let mut holding = vec![false; self.postings.n_docs()];
        let mut from = 0;
        while let Some(at) = self.vocabulary[from..].find(word).map(|at| at + from) {
            let start = self.vocabulary[..at].rfind('\n').map_or(0, |at| at + 1);
            let end = self.vocabulary[at..].find('\n').map_or(self.vocabulary.len(), |n| at + n);
            for (doc, _) in self.postings.list(&self.vocabulary[start..end]) {
                holding[*doc] = true;
            }
            from = end;
        }
        holding
    }
}

/// Runs of ASCII letters and digits, in small letters, of at least `min` characters.
pub(crate) fn ascii_runs(text: &str, min: usize) -> Vec<String> {
    let text = text.to_lowercase();
    let runs = text.split(|c: char| !c.is_ascii_alphanumeric());
    runs.filter(|run| run.len() >= min && !run.is_empty()).map(str::to_owned).collect()
}

/// Runs of letters and digits of any script, in small letters.
pub(crate) fn runs(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    text.split(|c: char| !c.is_alphanumeric()).filter(|run| !run.is_empty()).map(str::to_owned).collect()
}

/// Words by Unicode's rules (UAX 29), in small letters: `create_issue` and `don't` are one word each.
pub(crate) fn unicode_words(text: &str) -> Vec<String> {
    use unicode_segmentation::UnicodeSegmentation as _;
    text.to_lowercase().unicode_words().map(str::to_owned).collect()
}

/// Remembers the stems of one build: half of a catalog's words are repetitions.
pub(crate) struct Stems {
    stemmer: Stemmer,
    known: HashMap<String, String>,
}

impl Stems {
    pub(crate) fn new(algorithm: frostem::Algorithm) -> Self {
        Self { stemmer: Stemmer::new(algorithm), known: HashMap::new() }
    }

    pub(crate) fn of(&mut self, word: &str) -> String {
        if let Some(stem) = self.known.get(word) {
            return stem.clone();
        }
        let stem = self.stemmer.stem(word).into_owned();
        self.known.insert(word.to_owned(), stem.clone());
        stem
    }
}

/// Whether a word is an English function word, which analysers drop.
pub(crate) fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.binary_search(&word).is_ok()
}

/// English function words, sorted. The lists of the libraries differ in a few rare ones.
const STOP_WORDS: &[&str] = &[
    "a",
    "about",
    "above",
    "after",
    "again",
    "against",
    "all",
    "am",
    "an",
    "and",
    "any",
    "are",
    "as",
    "at",
    "be",
    "because",
    "been",
    "before",
    "being",
    "below",
    "between",
    "both",
    "but",
    "by",
    "can",
    "could",
    "did",
    "do",
    "does",
    "doing",
    "don't",
    "down",
    "during",
    "each",
    "few",
    "for",
    "from",
    "further",
    "had",
    "has",
    "have",
    "having",
    "he",
    "her",
    "here",
    "hers",
    "herself",
    "him",
    "himself",
    "his",
    "how",
    "i",
    "i'm",
    "if",
    "in",
    "into",
    "is",
    "isn't",
    "it",
    "it's",
    "its",
    "itself",
    "let's",
    "me",
    "more",
    "most",
    "my",
    "myself",
    "no",
    "nor",
    "not",
    "of",
    "off",
    "on",
    "once",
    "only",
    "or",
    "other",
    "ought",
    "our",
    "ours",
    "ourselves",
    "out",
    "over",
    "own",
    "same",
    "she",
    "should",
    "so",
    "some",
    "such",
    "than",
    "that",
    "that's",
    "the",
    "their",
    "theirs",
    "them",
    "themselves",
    "then",
    "there",
    "these",
    "they",
    "this",
    "those",
    "through",
    "to",
    "too",
    "under",
    "until",
    "up",
    "very",
    "was",
    "we",
    "were",
    "what",
    "what's",
    "when",
    "where",
    "which",
    "while",
    "who",
    "whom",
    "why",
    "will",
    "with",
    "would",
    "you",
    "your",
    "yours",
    "yourself",
    "yourselves",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn postings(documents: &[&str]) -> Postings {
        Postings::of(documents.iter().map(|text| runs(text)))
    }

    #[test]
    fn postings_count() {
        let postings = postings(&["a b a", "b c", ""]);
        assert_eq!(postings.list("a"), [(0, 2.0)]);
        assert_eq!(postings.list("b"), [(0, 1.0), (1, 1.0)]);
        assert_eq!(postings.list("z"), []);
        assert_eq!((postings.n_docs(), postings.length(0), postings.length(2)), (3, 3.0, 0.0));
        assert_eq!(postings.terms(), ["a", "b", "c"]);
    }

    #[test]
    fn bm25_worked_by_hand() {
        // Two documents of 2 and 4 terms, average 3; `a` once in the first alone: idf = ln(1 + 1.5 / 1.5) = ln 2.
        // tf part at k1 = 1.5, b = .75: 1 · 2.5 / (1 + 1.5 (.25 + .75 · 2/3)) = 2.5 / 2.125.
        let postings = postings(&["a b", "b c d e"]);
        let bm25 = Bm25 { k1: 1.5, b: 0.75, idf: idf_above_zero };
        let scores = bm25.scores(&postings, &["a".to_owned(), "z".to_owned()]);
        assert!((scores[0] - 2f64.ln() * 2.5 / 2.125).abs() < 1e-12 && scores[1] == 0.0, "{scores:?}");
        assert_eq!(best(&scores, 5).len(), 1);
    }

    #[test]
    fn substrings_are_those_of_the_texts() {
        let texts = ["create_issue issues", "list, rissue", "über Größen"];
        let found = Substrings::of(texts.into_iter());
        for word in ["issue", "ssu", "create", "s", "größe", "zz", "createissue"] {
            let expect: Vec<bool> = texts.iter().map(|text| text.to_lowercase().contains(word)).collect();
            assert_eq!(found.holding(word), expect, "{word}");
        }
    }

    #[test]
    fn words() {
        assert_eq!(ascii_runs("Create_issue, a B2B größe", 2), ["create", "issue", "b2b", "gr"]);
        assert_eq!(runs("Create_issue Größe"), ["create", "issue", "größe"]);
        assert_eq!(unicode_words("create_issue {\"a\":\"don't\"}"), ["create_issue", "a", "don't"]);
        assert!(STOP_WORDS.is_sorted() && is_stop_word("the") && !is_stop_word("issue"));
        let mut stems = Stems::new(frostem::Algorithm::Porter);
        assert_eq!([stems.of("branches"), stems.of("branches")], ["branch", "branch"]);
    }
}
