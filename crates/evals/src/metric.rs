//! How good is one answer? Pure functions from a ranked list and the labels to a number.
//!
//! Throughout: `top` is the ranked answer without repetitions, best first; `relevant` is what the labels name, without
//! repetitions and not empty; positions count from 1. Gains are binary: a tool is labelled or it is not.
//! [`Metric`] names them for reports and says which queries each is about: those with labels, or those for which nothing
//! fits (`relevant: []`), never both mixed into one mean.

use crate::stats::Sample;

/// The share of the relevant tools that stand among the first `k`: |relevant ∩ top k| / |relevant|.
///
/// Manning, Raghavan, Schütze, "Introduction to Information Retrieval" (2008), section 8.4.
/// With more relevant tools than `k` it cannot reach 1.
pub fn recall<T: PartialEq>(top: &[T], relevant: &[T], k: usize) -> f64 {
    let n_found = first(top, k).iter().filter(|tool| relevant.contains(tool)).count();
    n_found as f64 / relevant.len() as f64
}

/// 1 if any relevant tool stands among the first `k`, else 0. Also called success@k (Craswell, Hawking, TREC 2004 web track).
pub fn hit<T: PartialEq>(top: &[T], relevant: &[T], k: usize) -> f64 {
    f64::from(u8::from(first(top, k).iter().any(|tool| relevant.contains(tool))))
}

/// 1 if every need is met among the first `k`, else 0; a need is a group of tools any of which will do.
///
/// COMP@k of Qu et al., "Towards completeness-oriented tool retrieval" (CIKM 2024), carried over from tools to groups.
pub fn complete<T: PartialEq>(top: &[T], needs: &[Vec<T>], k: usize) -> f64 {
    f64::from(u8::from(needs.iter().all(|group| hit(top, group, k) == 1.0)))
}

/// The share of needs that are met among the first `k`: subtopic recall
/// (Zhai, Cohen, Lafferty, "Beyond independent relevance", SIGIR 2003).
pub fn group_recall<T: PartialEq>(top: &[T], needs: &[Vec<T>], k: usize) -> f64 {
    needs.iter().map(|group| hit(top, group, k)).sum::<f64>() / needs.len() as f64
}

/// One over the position of the first relevant tool, 0 if there is none in the list. Its mean is MRR
/// (Voorhees, "The TREC-8 question answering track report", 1999).
pub fn reciprocal_rank<T: PartialEq>(top: &[T], relevant: &[T]) -> f64 {
    let position = top.iter().position(|tool| relevant.contains(tool));
    position.map_or(0.0, |i| 1.0 / (i + 1) as f64)
}

/// Discounted gain of the first `k` over that of the best order there could be, discount 1 / log2(1 + position).
///
/// Järvelin, Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (2002), with the discount of
/// Burges et al., "Learning to rank using gradient descent" (2005). The best order has min(k, |relevant|) relevant tools
/// in front, so that 1 can always be reached.
pub fn ndcg<T: PartialEq>(top: &[T], relevant: &[T], k: usize) -> f64 {
    let discount = |i: usize| 1.0 / ((i + 2) as f64).log2();
    let gain: f64 =
        first(top, k).iter().enumerate().filter(|(_, tool)| relevant.contains(tool)).map(|(i, _)| discount(i)).sum();
    let best: f64 = (0..relevant.len().min(k)).map(discount).sum();
    gain / best
}

/// Whether an answer is given with at least this confidence and wrong: nothing fits, or the first tool is not relevant.
pub fn is_falsely_confident<T: PartialEq>(top: &[T], relevant: &[T], confidence: f64, from: f64) -> bool {
    let is_wrong = top.first().is_some_and(|tool| !relevant.contains(tool));
    is_wrong && confidence >= from
}

fn first<T>(top: &[T], k: usize) -> &[T] {
    &top[..top.len().min(k)]
}

/// What the labels say about one query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels<T> {
    /// Tools that fit. Empty: nothing does, and refusing is the right answer.
    pub relevant: Vec<T>,
    /// The needs of a task, each met by any tool of its group. Empty: the file gives none.
    pub groups: Vec<Vec<T>>,
}

impl<T: Clone> Labels<T> {
    /// The groups, or, where the file gives none, each relevant tool as a need of its own.
    pub fn needs(&self) -> Vec<Vec<T>> {
        if self.groups.is_empty() {
            self.relevant.iter().map(|tool| vec![tool.clone()]).collect()
        } else {
            self.groups.clone()
        }
    }
}

/// What an arm said to one query.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    /// The tools, best first.
    pub top: Vec<T>,
    /// Whether the arm said that nothing fits.
    pub no_match: bool,
    /// What the answer costs a model to read, in tokens.
    pub tokens: usize,
    /// How sure the arm was; absent in reports that did not keep it.
    pub confidence: Option<f64>,
}

/// The confidence from which a wrong answer counts as [`Metric::FalseConfidence`]: "more likely right than not".
pub const CONFIDENT_FROM: f64 = 0.5;

/// Whether more of a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Recall and its kin.
    Higher,
    /// Wrong refusals, cost.
    Lower,
}

/// The metrics of a report, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// [`recall`] over answerable queries.
    Recall(usize),
    /// [`hit`] over answerable queries.
    Hit(usize),
    /// [`complete`] over answerable queries: by groups where the file gives them, else every relevant tool.
    Complete(usize),
    /// [`group_recall`] over answerable queries whose groups the file gives.
    GroupRecall(usize),
    /// Mean [`reciprocal_rank`] over answerable queries.
    Mrr,
    /// [`ndcg`] over answerable queries.
    Ndcg(usize),
    /// Of the queries refused, the share for which nothing fits.
    NoMatchPrecision,
    /// Of the queries for which nothing fits, the share refused.
    NoMatchRecall,
    /// Of the answerable queries, the share refused.
    FalseRefusal,
    /// Of the queries not answered rightly (nothing fits, or the first tool is wrong or missing), the share answered all the
    /// same with a confidence of [`CONFIDENT_FROM`] or more. An arm that states none is taken at its word.
    FalseConfidence,
    /// Mean size of the answer over all queries.
    AnswerTokens,
}

impl Metric {
    /// All of them, in the order of reports.
    pub const ALL: &[Self] = &[
        Self::Recall(1),
        Self::Recall(3),
        Self::Recall(5),
        Self::Recall(10),
        Self::Hit(1),
        Self::Hit(5),
        Self::Hit(10),
        Self::Complete(5),
        Self::Complete(10),
        Self::GroupRecall(5),
        Self::GroupRecall(10),
        Self::Mrr,
        Self::Ndcg(5),
        Self::Ndcg(10),
        Self::NoMatchPrecision,
        Self::NoMatchRecall,
        Self::FalseRefusal,
        Self::FalseConfidence,
        Self::AnswerTokens,
    ];

    /// The name in reports: `recall@5`, `no_match_recall`.
    pub fn name(self) -> String {
        match self {
            Self::Recall(k) => format!("recall@{k}"),
            Self::Hit(k) => format!("hit@{k}"),
            Self::Complete(k) => format!("complete@{k}"),
            Self::GroupRecall(k) => format!("group_recall@{k}"),
            Self::Mrr => "mrr".into(),
            Self::Ndcg(k) => format!("ndcg@{k}"),
            Self::NoMatchPrecision => "no_match_precision".into(),
            Self::NoMatchRecall => "no_match_recall".into(),
            Self::FalseRefusal => "false_refusal".into(),
            Self::FalseConfidence => "false_confidence".into(),
            Self::AnswerTokens => "answer_tokens".into(),
        }
    }

    /// How deep the list has to be for the metric to mean what its name says.
    pub fn depth(self) -> usize {
        match self {
            Self::Recall(k) | Self::Hit(k) | Self::Complete(k) | Self::GroupRecall(k) | Self::Ndcg(k) => k,
            Self::Mrr
            | Self::NoMatchPrecision
            | Self::NoMatchRecall
            | Self::FalseRefusal
            | Self::FalseConfidence
            | Self::AnswerTokens => 1,
        }
    }

    /// Which way is up.
    pub fn better(self) -> Better {
        match self {
            Self::FalseRefusal | Self::FalseConfidence | Self::AnswerTokens => Better::Lower,
            Self::Recall(_)
            | Self::Hit(_)
            | Self::Complete(_)
            | Self::GroupRecall(_)
            | Self::Mrr
            | Self::Ndcg(_)
            | Self::NoMatchPrecision
            | Self::NoMatchRecall => Better::Higher,
        }
    }

    /// What one query contributes, or `None` if the metric is not about this query.
    pub fn sample<T: PartialEq + Clone>(self, labels: &Labels<T>, answer: &Answer<T>) -> Option<Sample> {
        let (top, relevant) = (&answer.top, &labels.relevant);
        let answerable = !relevant.is_empty();
        match self {
            Self::Recall(k) => answerable.then(|| Sample::of(recall(top, relevant, k))),
            Self::Hit(k) => answerable.then(|| Sample::of(hit(top, relevant, k))),
            Self::Complete(k) => answerable.then(|| Sample::of(complete(top, &labels.needs(), k))),
            Self::GroupRecall(k) => {
                let grouped = answerable && !labels.groups.is_empty();
                grouped.then(|| Sample::of(group_recall(top, &labels.groups, k)))
            }
            Self::Mrr => answerable.then(|| Sample::of(reciprocal_rank(top, relevant))),
            Self::Ndcg(k) => answerable.then(|| Sample::of(ndcg(top, relevant, k))),
            Self::NoMatchPrecision => Sample::ratio(!answerable, answer.no_match),
            Self::NoMatchRecall => Sample::ratio(answer.no_match, !answerable),
            Self::FalseRefusal => Sample::ratio(answer.no_match, answerable),
            Self::FalseConfidence => {
                let is_right = top.first().is_some_and(|tool| relevant.contains(tool)) && !answer.no_match;
                let confidence = answer.confidence?;
                let is_confident = !answer.no_match && is_falsely_confident(top, relevant, confidence, CONFIDENT_FROM);
                Sample::ratio(is_confident, !is_right)
            }
            Self::AnswerTokens => Some(Sample::of(answer.tokens as f64)),
        }
    }
}

#[cfg(test)]
mod tests {
    //! Tools are letters, answers are strings of them. Every figure was worked out by hand, the working stands beside it.
    use super::*;
    use proptest::prelude::*;

    fn tools(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    fn groups(text: &str) -> Vec<Vec<char>> {
        text.split_whitespace().map(tools).collect()
    }

    /// `metric` of the answer `top` where `relevant` was asked for; groups stand behind a `/`.
    #[track_caller]
    fn check(metric: Metric, top: &str, relevant: &str, expect: Option<f64>) {
        let (relevant, grouped) = relevant.split_once('/').unwrap_or((relevant, ""));
        let labels = Labels { relevant: tools(relevant), groups: groups(grouped) };
        let no_match = top.starts_with('!');
        let answer = Answer { top: tools(top.trim_start_matches('!')), no_match, tokens: 40, confidence: None };
        let sample = metric.sample(&labels, &answer);
        match (sample, expect) {
            (None, None) => {}
            (Some(sample), Some(expect)) => {
                assert!((sample.num / sample.den - expect).abs() < 1e-4, "{metric:?}: {sample:?}, not {expect}");
            }
            other => panic!("{metric:?} of {top:?} for {relevant:?}: {other:?}"),
        }
    }

    #[test]
    fn recall_counts_what_was_found_of_what_there_is() {
        check(Metric::Recall(1), "abc", "a", Some(1.0));
        check(Metric::Recall(1), "abc", "b", Some(0.0));
        check(Metric::Recall(3), "abc", "b", Some(1.0));
        // Two of three.
        check(Metric::Recall(5), "axbyz", "abc", Some(2.0 / 3.0));
        // One place cannot hold two tools.
        check(Metric::Recall(1), "ab", "ab", Some(0.5));
        // A list shorter than k.
        check(Metric::Recall(10), "ab", "b", Some(1.0));
        check(Metric::Recall(5), "", "b", Some(0.0));
        // Nothing fits: not a matter of recall.
        check(Metric::Recall(5), "abc", "", None);
    }

    #[test]
    fn hit_asks_for_one() {
        check(Metric::Hit(1), "xa", "ab", Some(0.0));
        check(Metric::Hit(5), "xa", "ab", Some(1.0));
        check(Metric::Hit(5), "xyzuva", "a", Some(0.0));
        check(Metric::Hit(10), "xyzuva", "a", Some(1.0));
        check(Metric::Hit(5), "x", "", None);
    }

    #[test]
    fn complete_asks_for_all() {
        check(Metric::Complete(5), "axb", "ab", Some(1.0));
        check(Metric::Complete(5), "axc", "ab", Some(0.0));
        check(Metric::Complete(5), "axyzub", "ab", Some(0.0));
        check(Metric::Complete(10), "axyzub", "ab", Some(1.0));
        // a or b will do for the first need, c or d for the second.
        check(Metric::Complete(5), "bxc", "abcd/ab cd", Some(1.0));
        check(Metric::Complete(5), "abx", "abcd/ab cd", Some(0.0));
    }

    #[test]
    fn group_recall_counts_needs() {
        check(Metric::GroupRecall(5), "abx", "abcd/ab cd", Some(0.5));
        check(Metric::GroupRecall(5), "dxb", "abcd/ab cd", Some(1.0));
        check(Metric::GroupRecall(5), "xyz", "abcd/ab cd", Some(0.0));
        check(Metric::GroupRecall(5), "ab", "ab", None);
    }

    #[test]
    fn the_first_relevant_tool_makes_the_reciprocal_rank() {
        check(Metric::Mrr, "abc", "a", Some(1.0));
        check(Metric::Mrr, "xyab", "ab", Some(1.0 / 3.0));
        check(Metric::Mrr, "xyz", "a", Some(0.0));
        check(Metric::Mrr, "xyz", "", None);
    }

    #[test]
    fn ndcg_discounts_by_position() {
        // Discounts: 1, 1/log2(3) = .63093, 1/log2(4) = .5, 1/log2(5) = .43068.
        check(Metric::Ndcg(5), "axx", "a", Some(1.0));
        check(Metric::Ndcg(5), "xa", "a", Some(0.63093));
        // (1 + .5) / (1 + .63093) = .91972
        check(Metric::Ndcg(5), "axb", "ab", Some(0.91972));
        // (.63093 + .43068) / (1 + .63093 + .5) = .49819
        check(Metric::Ndcg(10), "xaxb", "abc", Some(0.49819));
        // Best order at k = 1 has one relevant tool in front.
        check(Metric::Ndcg(1), "ax", "ab", Some(1.0));
        check(Metric::Ndcg(5), "xyzuva", "a", Some(0.0));
        check(Metric::Ndcg(5), "x", "", None);
    }

    #[test]
    fn refusals() {
        check(Metric::NoMatchRecall, "!", "", Some(1.0));
        check(Metric::NoMatchRecall, "ab", "", Some(0.0));
        check(Metric::NoMatchRecall, "!", "a", None);
        check(Metric::NoMatchPrecision, "!", "", Some(1.0));
        check(Metric::NoMatchPrecision, "!", "a", Some(0.0));
        check(Metric::NoMatchPrecision, "ab", "", None);
        check(Metric::FalseRefusal, "!ab", "a", Some(1.0));
        check(Metric::FalseRefusal, "ab", "a", Some(0.0));
        check(Metric::FalseRefusal, "!", "", None);
        check(Metric::AnswerTokens, "ab", "", Some(40.0));
    }

    /// The same for an answer of this confidence.
    #[track_caller]
    fn check_confidence(confidence: f64, top: &str, relevant: &str, expect: Option<f64>) {
        let labels = Labels { relevant: tools(relevant), groups: Vec::new() };
        let no_match = top.starts_with('!');
        let answer =
            Answer { top: tools(top.trim_start_matches('!')), no_match, tokens: 40, confidence: Some(confidence) };
        let sample = Metric::FalseConfidence.sample(&labels, &answer);
        assert_eq!(sample.map(|sample| sample.num / sample.den), expect, "{confidence} {top:?} {relevant:?}");
    }

    #[test]
    fn false_confidence_is_about_wrong_answers() {
        check_confidence(0.9, "ab", "a", None);
        check_confidence(0.9, "xa", "a", Some(1.0));
        check_confidence(0.4, "xa", "a", Some(0.0));
        check_confidence(0.5, "x", "", Some(1.0));
        check_confidence(0.1, "!", "", Some(0.0));
        check_confidence(0.1, "!", "a", Some(0.0));
        // No answer at all is no confident one, whatever was said.
        check_confidence(1.0, "", "a", Some(0.0));
        check(Metric::FalseConfidence, "xa", "a", None);
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<String> = Metric::ALL.iter().map(|m| m.name()).collect();
        assert_eq!(names.len(), Metric::ALL.len());
    }

    proptest! {
        #[test]
        fn shares_stay_between_0_and_1_and_grow_with_k(
            top in Just(tools("abcdefghij")).prop_shuffle(),
            relevant in proptest::sample::subsequence(tools("abcdefghijklmno"), 1..15),
            k in 1usize..10,
        ) {
            for (now, deeper) in [
                (recall(&top, &relevant, k), recall(&top, &relevant, k + 1)),
                (hit(&top, &relevant, k), hit(&top, &relevant, k + 1)),
            ] {
                prop_assert!((0.0..=1.0).contains(&now) && now <= deeper);
            }
            prop_assert!((0.0..=1.0 + 1e-12).contains(&ndcg(&top, &relevant, k)));
        }

        #[test]
        fn relevant_tools_in_front_are_perfect(relevant in proptest::sample::subsequence(tools("abcdefghij"), 1..10)) {
            let mut top = relevant.clone();
            top.extend(tools("xyz"));
            prop_assert!((ndcg(&top, &relevant, 10) - 1.0).abs() < 1e-12);
            prop_assert_eq!(recall(&top, &relevant, 10), 1.0);
            prop_assert_eq!(reciprocal_rank(&top, &relevant), 1.0);
        }
    }
}
