//! mcpproxy's `retrieve_tools`: one boosted Bleve query.
//!
//! Reproduced: any of these clauses may match: the query as the exact name (boost 5) or exact `server:name` (4), as a
//! beginning of the name (3), anywhere in the name if it holds `_` (2.5), the query's words in all fields (1) and in the
//! text of name, `server:name`, description and raw JSON schema (1.5). Names and servers are keywords: one term, in the
//! spelling they have. Texts are words by Unicode's rules, in small letters, without English stop words, without stems.
//! Scores are Bleve's TF-IDF: √tf · idf² · boost / √length, idf = 1 + ln(N / (n + 1)), and a set of alternatives is scored by
//! the sum times the share of them that matched. Equal scores go by id.
//! Not reproduced: factors that are the same for all tools of a query; Bleve's rounding of lengths to one byte; `?` and `*`
//! inside a query as wildcards. Its default of 15 results is replaced by what the run asks for.

use std::collections::BTreeMap;

use super::terms::{Postings, best, is_stop_word, unicode_words};
use super::{PeerQuery, PeerTool, Ranker};

pub(crate) struct McpProxy {
    /// Name → tools that have it.
    names: BTreeMap<String, Vec<usize>>,
    full_names: BTreeMap<String, Vec<usize>>,
    /// Every field together.
    all: Postings,
    /// What is searched as one text.
    searchable: Postings,
}

impl McpProxy {
    pub(crate) fn new(tools: &[PeerTool]) -> Self {
        let (mut names, mut full_names) = (BTreeMap::new(), BTreeMap::new());
        for (at, tool) in tools.iter().enumerate() {
            names.entry(tool.name.clone()).or_insert_with(Vec::new).push(at);
            full_names.entry(full_name(tool)).or_insert_with(Vec::new).push(at);
        }
        let all = |tool: &PeerTool| {
            let keywords = [tool.name.clone(), full_name(tool), tool.server.clone()];
            let texts = [tool.description.as_str(), &tool.schema, &searchable(tool)].map(words).concat();
            keywords.into_iter().chain(texts).collect()
        };
        Self {
            names,
            full_names,
            all: Postings::of(tools.iter().map(all)),
            searchable: Postings::of(tools.iter().map(|tool| words(&searchable(tool)))),
        }
    }
}

fn full_name(tool: &PeerTool) -> String {
    format!("{}:{}", tool.server, tool.name)
}

fn searchable(tool: &PeerTool) -> String {
    format!("{} {} {} {}", tool.name, full_name(tool), tool.description, tool.schema)
}

fn words(text: &str) -> Vec<String> {
    unicode_words(text).into_iter().filter(|word| !is_stop_word(word)).collect()
}

fn idf(n_docs: usize, n_holding: usize) -> f64 {
    1.0 + (n_docs as f64 / (n_holding as f64 + 1.0)).ln()
}

/// A match query: any of the words, the sum times the share that matched.
fn match_any(postings: &Postings, words: &[String], boost: f64) -> Vec<f64> {
    let mut sums = vec![(0.0, 0u32); postings.n_docs()];
    for word in words {
        let list = postings.list(word);
        let idf = idf(postings.n_docs(), list.len());
        for &(doc, tf) in list {
            sums[doc].0 += tf.sqrt() / postings.length(doc).sqrt() * idf * idf * boost;
            sums[doc].1 += 1;
        }
    }
    sums.into_iter().map(|(sum, n)| sum * f64::from(n) / words.len().max(1) as f64).collect()
}

/// A query that stands for several keywords: each tool has one of them, so each gets that share of its score.
fn match_keywords(keywords: &[&Vec<usize>], n_docs: usize, boost: f64) -> Vec<f64> {
    let mut scores = vec![0.0; n_docs];
    for tools in keywords {
        let idf = idf(n_docs, tools.len());
        for &at in *tools {
            scores[at] = idf * idf * boost / keywords.len() as f64;
        }
    }
    scores
}

impl Ranker for McpProxy {
    fn rank(&self, query: &PeerQuery<'_>, limit: usize) -> Vec<(usize, f64)> {
        let (text, n_docs) = (query.text, self.all.n_docs());
        let words = words(text);
        let exact = |map: &BTreeMap<String, Vec<usize>>, boost| {
            match_keywords(&map.get(text).into_iter().collect::<Vec<_>>(), n_docs, boost)
        };
        let beginning: Vec<&Vec<usize>> = self
            .names
            .range(text.to_owned()..)
            .take_while(|(name, _)| name.starts_with(text))
            .map(|(_, tools)| tools)
            .collect();
        let mut clauses = vec![
            exact(&self.names, 5.0),
            exact(&self.full_names, 4.0),
            match_keywords(&beginning, n_docs, 3.0),
            match_any(&self.all, &words, 1.0),
            match_any(&self.searchable, &words, 1.5),
        ];
        if text.contains('_') {
            let inside: Vec<&Vec<usize>> =
                self.names.iter().filter(|(name, _)| name.contains(text)).map(|(_, tools)| tools).collect();
            clauses.push(match_keywords(&inside, n_docs, 2.5));
        }
        let score = |at: usize| {
            let n_matched = clauses.iter().filter(|clause| clause[at] > 0.0).count();
            clauses.iter().map(|clause| clause[at]).sum::<f64>() * n_matched as f64 / clauses.len() as f64
        };
        best(&(0..n_docs).map(score).collect::<Vec<_>>(), limit)
    }
}

#[cfg(test)]
mod tests {
    use crate::peers::Peer;
    use crate::peers::tests::ask;

    #[test]
    fn names_are_keywords_and_schemas_are_text() {
        assert_eq!(ask(Peer::McpProxy, "create_branch", &[], 4), [0]);
        assert_eq!(ask(Peer::McpProxy, "git:list_branches", &[], 4)[0], 1);
        assert_eq!(ask(Peer::McpProxy, "send", &[], 4)[0], 2, "a beginning");
        assert_eq!(ask(Peer::McpProxy, "_mess", &[], 4), [2, 3], "inside a name");
        assert_eq!(ask(Peer::McpProxy, "recipient", &[], 4), [2], "only the schema says it");
        // Every schema says `object` and `properties`: what raw JSON text brings.
        assert_eq!(ask(Peer::McpProxy, "object properties", &[], 4).len(), 4);
    }
}
