//! The Docker MCP gateway's `mcp-find`.
//!
//! Reproduced: servers are found, not tools: BM25 over one text per server that repeats its name four times, its title
//! three times, the names of its tools twice, and descriptions once, without stems; the agent then adds a server and gets all
//! of its tools.
//! Not reproduced: servers' own titles and descriptions, which a catalog file does not hold; the descriptions of their tools
//! stand in. Its constants are not known here: k1 1.2, b 0.75. Tools have no order within a server there; here they stand in
//! the order of their ids, the first server's before the second's. A set of one server is not ranked at all that way.

use super::terms::{Bm25, Postings, best, idf_above_zero, runs};
use super::{PeerQuery, PeerTool, Ranker, by_server};

const BM25: Bm25 = Bm25 { k1: 1.2, b: 0.75, idf: idf_above_zero };

pub(crate) struct Docker {
    postings: Postings,
    servers: Vec<Vec<usize>>,
}

impl Docker {
    pub(crate) fn new(tools: &[PeerTool]) -> Self {
        let servers = by_server(tools);
        let terms = |(name, members): &(&str, Vec<usize>)| {
            let mut terms = vec![runs(name); 4 + 3].concat();
            for tool in members.iter().map(|at| &tools[*at]) {
                terms.extend(vec![runs(&tool.name); 2].concat());
                terms.extend(runs(&tool.description));
            }
            terms
        };
        let postings = Postings::of(servers.iter().map(terms));
        Self { postings, servers: servers.into_iter().map(|(_, members)| members).collect() }
    }
}

impl Ranker for Docker {
    fn rank(&self, query: &PeerQuery<'_>, limit: usize) -> Vec<(usize, f64)> {
        let found = best(&BM25.scores(&self.postings, &runs(query.text)), limit);
        let tools =
            found.into_iter().flat_map(|(server, score)| self.servers[server].iter().map(move |at| (*at, score)));
        tools.take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::peers::Peer;
    use crate::peers::tests::ask;

    #[test]
    fn the_right_server_brings_all_its_tools_in_no_order() {
        assert_eq!(ask(Peer::Docker, "search the mailbox", &[], 4), [2, 3, 0, 1]);
        assert_eq!(ask(Peer::Docker, "git", &[], 4), [0, 1]);
    }
}
