//! Codex CLI's `tool_search`.
//!
//! Reproduced: one text per tool of its name, its name with spaces for underscores, server, title, description and the names
//! of its parameters; words by Unicode's rules, English stop words dropped, English Snowball stems; BM25 with k1 1.2, b 0.75
//! and an idf that is never negative, over average length, as the `bm25` crate has it.
//! Not reproduced: connectors and plugins, which a catalog file does not name; folding of accents; the crate's hashing of
//! terms to 32 bits. Its default of eight results is replaced by what the run asks for.

use std::cell::RefCell;

use super::terms::{Bm25, Postings, Stems, best, idf_above_zero, is_stop_word, unicode_words};
use super::{PeerQuery, PeerTool, Ranker};

const BM25: Bm25 = Bm25 { k1: 1.2, b: 0.75, idf: idf_above_zero };

pub(crate) struct Codex {
    postings: Postings,
    stems: RefCell<Stems>,
}

impl Codex {
    pub(crate) fn new(tools: &[PeerTool]) -> Self {
        let mut stems = Stems::new(frostem::Algorithm::English);
        let postings = Postings::of(tools.iter().map(|tool| terms(&text(tool), &mut stems)));
        Self { postings, stems: RefCell::new(stems) }
    }
}

fn text(tool: &PeerTool) -> String {
    let spaced = tool.name.replace('_', " ");
    let mut parts = vec![tool.name.as_str(), &spaced, &tool.server, &tool.title, &tool.description];
    parts.extend(tool.params.iter().map(|(name, _)| name.as_str()));
    parts.join(" ")
}

fn terms(text: &str, stems: &mut Stems) -> Vec<String> {
    unicode_words(text).into_iter().filter(|word| !is_stop_word(word)).map(|word| stems.of(&word)).collect()
}

impl Ranker for Codex {
    fn rank(&self, query: &PeerQuery<'_>, limit: usize) -> Vec<(usize, f64)> {
        let terms = terms(query.text, &mut self.stems.borrow_mut());
        best(&BM25.scores(&self.postings, &terms), limit)
    }
}

#[cfg(test)]
mod tests {
    use crate::peers::Peer;
    use crate::peers::tests::ask;

    #[test]
    fn stems_and_servers_count_and_descriptions_of_parameters_do_not() {
        assert_eq!(ask(Peer::Codex, "the branching", &[], 4), [1, 0], "the shorter text first");
        assert_eq!(ask(Peer::Codex, "mail", &[], 4).len(), 2);
        assert_eq!(ask(Peer::Codex, "address", &[], 4), [0; 0]);
    }
}
