//! Search by regular expression, as model vendors' and FastMCP's tool search offers it.
//!
//! Reproduced: a pattern is looked for, in any case, in names, descriptions, and the names and descriptions of parameters.
//! Not reproduced: the model that writes the pattern. The query's words without English stop words, as alternatives
//! (`create|issue|labels`), stand for it: about what a careless model writes, and worse than a careful one's. A regular
//! expression finds and does not rank; here tools with more different words come first, then by id.

use super::terms::{Substrings, best, is_stop_word, runs};
use super::{PeerQuery, PeerTool, Ranker};

pub(crate) struct Regex {
    texts: Substrings,
    n_tools: usize,
}

impl Regex {
    pub(crate) fn new(tools: &[PeerTool]) -> Self {
        let texts: Vec<String> = tools.iter().map(PeerTool::with_params).collect();
        Self { texts: Substrings::of(texts.iter().map(String::as_str)), n_tools: tools.len() }
    }
}

impl Ranker for Regex {
    fn rank(&self, query: &PeerQuery<'_>, limit: usize) -> Vec<(usize, f64)> {
        let mut scores = vec![0.0; self.n_tools];
        let mut words = runs(query.text);
        words.retain(|word| !is_stop_word(word));
        words.sort_unstable();
        words.dedup();
        for word in words {
            let holding = self.texts.holding(&word);
            scores.iter_mut().zip(holding).for_each(|(score, holds)| *score += f64::from(u8::from(holds)));
        }
        best(&scores, limit)
    }
}

#[cfg(test)]
mod tests {
    use crate::peers::Peer;
    use crate::peers::tests::ask;

    #[test]
    fn parts_of_words_match_and_more_words_come_first() {
        assert_eq!(ask(Peer::Regex, "a branch", &[], 4), [0, 1]);
        assert_eq!(ask(Peer::Regex, "list the branch", &[], 4), [1, 0]);
        assert_eq!(ask(Peer::Regex, "messages message mess", &[], 4), [3, 2]);
    }
}
