//! ToolHive's optimizer with embeddings (`find_tool` of its virtual MCP server).
//!
//! Reproduced: full text over name and description as SQLite's FTS5 does it (runs of letters and digits, Porter stems,
//! `bm25()` with k1 1.2, b 0.75 over both columns together); every word of the query becomes a quoted term and any may match,
//! but the whole query becomes one phrase as soon as it is a single word or holds one of 23 words that are common in tool
//! metadata; half of the K places, rounded, go to the nearest by cosine (those at 0 and above), the rest to the best by full
//! text, one behind the other, doubles once, and places that stay empty are not filled from the other side.
//! Not reproduced: its model (bge-small by default) and text: vectors are ours. It asks for a description and for keywords;
//! both are the query here. K is what the run asks for (its default is 8), so that at a K of ten the first five are
//! the vector's alone.

use std::cell::RefCell;

use super::terms::{Bm25, Postings, Stems, best, runs};
use super::{PeerQuery, PeerTool, Ranker};

const BM25: Bm25 = Bm25 { k1: 1.2, b: 0.75, idf };
/// The part of the places that vectors fill.
const SEMANTIC_RATIO: f64 = 0.5;

/// Words that turn a query into a phrase.
const PROBLEMATIC: [&str; 23] = [
    "column",
    "content",
    "data",
    "description",
    "field",
    "id",
    "index",
    "input",
    "key",
    "meta",
    "name",
    "output",
    "primary",
    "properties",
    "required",
    "schema",
    "server",
    "table",
    "text",
    "title",
    "tool",
    "type",
    "value",
];

/// FTS5's, which may be negative for common words and is then held just above zero.
fn idf(n_docs: f64, n_holding: f64) -> f64 {
    ((n_docs - n_holding + 0.5) / (n_holding + 0.5)).ln().max(1e-6)
}

pub(crate) struct ToolHive {
    postings: Postings,
    /// The terms of name and description, for phrases, which do not cross from one to the other.
    columns: Vec<[Vec<String>; 2]>,
    stems: RefCell<Stems>,
}

impl ToolHive {
    pub(crate) fn new(tools: &[PeerTool]) -> Self {
        let mut stems = Stems::new(frostem::Algorithm::Porter);
        let columns: Vec<[Vec<String>; 2]> =
            tools.iter().map(|tool| [&tool.name, &tool.description].map(|text| terms(text, &mut stems))).collect();
        let postings = Postings::of(columns.iter().map(|[name, description]| [&name[..], &description[..]].concat()));
        Self { postings, columns, stems: RefCell::new(stems) }
    }

    fn full_text(&self, text: &str, limit: usize) -> Vec<(usize, f64)> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let is_phrase =
            words.len() == 1 || words.iter().any(|word| PROBLEMATIC.contains(&word.to_lowercase().as_str()));
        let phrases = if is_phrase { vec![words.join(" ")] } else { words.into_iter().map(str::to_owned).collect() };
        let mut scores = vec![0.0; self.postings.n_docs()];
        for phrase in phrases {
            let phrase = terms(&phrase, &mut self.stems.borrow_mut());
            BM25.add(&self.postings, &self.matches(&phrase), &mut scores);
        }
        best(&scores, limit)
    }

    /// The tools that hold the phrase, with how often.
    fn matches(&self, phrase: &[String]) -> Vec<(usize, f64)> {
        if let [term] = phrase {
            return self.postings.list(term).to_vec();
        }
        let Some(rarest) = phrase.iter().map(|term| self.postings.list(term)).min_by_key(|list| list.len()) else {
            return Vec::new();
        };
        let times = |doc: usize| {
            let columns = self.columns[doc].iter();
            columns.map(|terms| terms.windows(phrase.len()).filter(|window| *window == phrase).count()).sum::<usize>()
        };
        rarest.iter().map(|&(doc, _)| (doc, times(doc) as f64)).filter(|(_, n)| *n > 0.0).collect()
    }
}

fn terms(text: &str, stems: &mut Stems) -> Vec<String> {
    runs(text).iter().map(|word| stems.of(word)).collect()
}

impl Ranker for ToolHive {
    /// It gives no scores; one over the place stands for them.
    fn rank(&self, query: &PeerQuery<'_>, limit: usize) -> Vec<(usize, f64)> {
        let n_semantic = (limit as f64 * SEMANTIC_RATIO).round() as usize;
        let semantic = (query.nearest)(n_semantic).into_iter().filter(|(_, cosine)| *cosine >= 0.0);
        let mut order: Vec<usize> = semantic.map(|(at, _)| at).collect();
        for (at, _) in self.full_text(query.text, limit - n_semantic) {
            if !order.contains(&at) {
                order.push(at);
            }
        }
        order.into_iter().enumerate().map(|(place, at)| (at, 1.0 / (place + 1) as f64)).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::peers::Peer;
    use crate::peers::tests::ask;

    #[test]
    fn vectors_come_first_and_words_behind() {
        assert_eq!(ask(Peer::ToolHive, "list branches", &[(2, 0.9), (3, 0.8), (1, 0.7)], 4), [2, 3, 1, 0]);
        assert_eq!(ask(Peer::ToolHive, "list branches", &[(1, 0.9), (2, -0.1)], 4), [1, 0]);
    }

    #[test]
    fn one_problematic_word_makes_a_phrase_of_the_query() {
        assert_eq!(ask(Peer::ToolHive, "message text", &[], 4), [0; 0]);
        assert_eq!(ask(Peer::ToolHive, "send_message", &[], 4), [2]);
        assert_eq!(ask(Peer::ToolHive, "message someone", &[], 4), [2, 3]);
    }
}
