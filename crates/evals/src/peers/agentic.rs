//! The hybrid search of agentic-community's MCP gateway and registry.
//!
//! Reproduced: the unit is the server. Servers are ranked by cosine and, apart from that, by words (of three letters and
//! more, no stop words, anywhere in the text): 5 if one is in the path, 3 in the name, 1 for each tool that has one. The two
//! orders become one by reciprocal rank (k 60), scaled between the worst and the best; what lies below 20 % is dropped. The
//! tools of the servers that are left are scored by words: .5 for one in the name, .3 for one only in the description, at most
//! 1, of which 70 % count, and 30 % of the share of words found; tools without any are left out.
//! Not reproduced: server descriptions, tags and metadata (2, 1.5 and 1), which a catalog file does not hold; its vector of a
//! whole server, for which its nearest tool stands, by our vectors; agents and skills; the cap on tools per answer. Equal
//! tools follow their servers. A set of one server is ranked by words alone that way.

use super::terms::{Substrings, is_stop_word, runs};
use super::{PeerQuery, PeerTool, Ranker, by_server};

const RRF_K: f64 = 60.0;
/// Servers below this share of the best score are dropped.
const FLOOR: f64 = 0.2;
/// Servers an answer may hold.
const MAX_SERVERS: usize = 10;
/// Vector candidates.
const MIN_CANDIDATES: usize = 50;

struct Server {
    name: String,
    members: Vec<usize>,
}

pub(crate) struct Agentic {
    servers: Vec<Server>,
    server_of: Vec<usize>,
    names: Substrings,
    descriptions: Substrings,
}

impl Agentic {
    pub(crate) fn new(tools: &[PeerTool]) -> Self {
        let mut server_of = vec![0; tools.len()];
        let servers: Vec<Server> = by_server(tools)
            .into_iter()
            .enumerate()
            .map(|(i, (name, members))| {
                for at in &members {
                    server_of[*at] = i;
                }
                Server { name: name.to_lowercase(), members }
            })
            .collect();
        let names = Substrings::of(tools.iter().map(|tool| tool.name.as_str()));
        let descriptions = Substrings::of(tools.iter().map(|tool| tool.description.as_str()));
        Self { servers, server_of, names, descriptions }
    }

    /// Servers by their nearest tool.
    fn by_vector(&self, query: &PeerQuery<'_>) -> Vec<usize> {
        let mut order = Vec::new();
        // Many of the nearest tools may be one server's: ask until there are enough servers, or no more tools.
        let mut k = MIN_CANDIDATES;
        loop {
            order.clear();
            let nearest = (query.nearest)(k);
            for (at, _) in &nearest {
                let server = self.server_of[*at];
                if !order.contains(&server) {
                    order.push(server);
                }
            }
            if order.len() >= MIN_CANDIDATES || nearest.len() < k {
                order.truncate(MIN_CANDIDATES);
                return order;
            }
            k *= 8;
        }
    }

    /// Servers by words.
    fn by_words(&self, words: &[Word]) -> Vec<usize> {
        let boost = |server: &Server| {
            let is_named = words.iter().any(|word| server.name.contains(&word.text));
            let named = if is_named { 5.0 + 3.0 } else { 0.0 };
            let says = |at: &&usize| words.iter().any(|word| word.in_name[**at] || word.in_description[**at]);
            named + server.members.iter().filter(says).count() as f64
        };
        let mut found: Vec<(usize, f64)> =
            self.servers.iter().map(boost).enumerate().filter(|(_, boost)| *boost > 0.0).collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.into_iter().map(|(server, _)| server).collect()
    }

    /// The servers of an answer, best first.
    fn servers(&self, query: &PeerQuery<'_>, words: &[Word]) -> Vec<usize> {
        let mut scores = vec![0.0; self.servers.len()];
        for order in [self.by_vector(query), self.by_words(words)] {
            for (server, rank) in order.into_iter().zip(1u32..) {
                scores[server] += 1.0 / (RRF_K + f64::from(rank));
            }
        }
        let mut found: Vec<(usize, f64)> = scores.into_iter().enumerate().filter(|(_, score)| *score > 0.0).collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(MAX_SERVERS);
        let (Some(high), Some(low)) = (found.first().map(|f| f.1), found.last().map(|f| f.1)) else {
            return Vec::new();
        };
        let is_near = |score: f64| high <= low || (score - low) / (high - low) >= FLOOR;
        found.into_iter().filter(|(_, score)| is_near(*score)).map(|(server, _)| server).collect()
    }
}

/// A word of the query, and which tools say it.
struct Word {
    text: String,
    in_name: Vec<bool>,
    in_description: Vec<bool>,
}

/// How well a tool's own words fit.
fn score(at: usize, words: &[Word]) -> f64 {
    let (mut raw, mut n_found) = (0.0_f64, 0u32);
    for word in words {
        raw += match (word.in_name[at], word.in_description[at]) {
            (true, _) => 0.5,
            (false, true) => 0.3,
            (false, false) => continue,
        };
        n_found += 1;
    }
    raw.min(1.0) * 0.7 + f64::from(n_found) / words.len().max(1) as f64 * 0.3
}

impl Ranker for Agentic {
    fn rank(&self, query: &PeerQuery<'_>, limit: usize) -> Vec<(usize, f64)> {
        let mut words: Vec<Word> = Vec::new();
        for text in runs(query.text) {
            if text.chars().count() > 2 && !is_stop_word(&text) && words.iter().all(|word| word.text != text) {
                let (in_name, in_description) = (self.names.holding(&text), self.descriptions.holding(&text));
                words.push(Word { text, in_name, in_description });
            }
        }
        let servers = self.servers(query, &words);
        let mut tools: Vec<(usize, f64)> = servers
            .iter()
            .flat_map(|server| &self.servers[*server].members)
            .map(|at| (*at, score(*at, &words)))
            .filter(|(_, score)| *score > 0.0)
            .collect();
        // Stable: equals stay in the order of their servers.
        tools.sort_by(|a, b| b.1.total_cmp(&a.1));
        tools.truncate(limit);
        tools
    }
}

#[cfg(test)]
mod tests {
    use crate::peers::Peer;
    use crate::peers::tests::ask;

    #[test]
    fn tools_without_a_word_in_common_are_left_out() {
        assert_eq!(ask(Peer::Agentic, "mailbox search", &[(0, 0.9)], 4), [3]);
        assert_eq!(ask(Peer::Agentic, "write to a friend", &[(2, 0.9)], 4), [0; 0], "nearest by vector, and not given");
        assert_eq!(ask(Peer::Agentic, "new branch", &[(0, 0.9)], 4), [0, 1]);
    }
}
