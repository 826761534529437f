//! FastMCP's `BM25SearchTransform` (3.1 and later).
//!
//! Reproduced: one text per tool of its name, description, and the names and descriptions of its parameters; runs of ASCII
//! letters and digits of two characters and more, in small letters, no stems and no stop words; BM25 with k1 1.5, b 0.75 and
//! an idf that is never negative; tools without a score are not given.
//! Not reproduced: nothing that orders tools. Its default of five results is replaced by what the run asks for.

use super::terms::{Bm25, Postings, ascii_runs, best, idf_above_zero};
use super::{PeerQuery, PeerTool, Ranker};

const BM25: Bm25 = Bm25 { k1: 1.5, b: 0.75, idf: idf_above_zero };

pub(crate) struct FastMcp(Postings);

impl FastMcp {
    pub(crate) fn new(tools: &[PeerTool]) -> Self {
        Self(Postings::of(tools.iter().map(|tool| ascii_runs(&tool.with_params(), 2))))
    }
}

impl Ranker for FastMcp {
    fn rank(&self, query: &PeerQuery<'_>, limit: usize) -> Vec<(usize, f64)> {
        best(&BM25.scores(&self.0, &ascii_runs(query.text, 2)), limit)
    }
}

#[cfg(test)]
mod tests {
    use crate::peers::Peer;
    use crate::peers::tests::ask;

    #[test]
    fn parameters_count_and_stems_do_not() {
        assert_eq!(ask(Peer::FastMcp, "recipient address", &[], 4), [2]);
        assert_eq!(ask(Peer::FastMcp, "branches", &[], 4), [1]);
    }
}
