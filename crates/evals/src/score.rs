//! From answers to figures: every metric, on every slice, with its interval.

use std::collections::{BTreeMap, BTreeSet};

use crate::metric::{Answer, Labels, Metric};
use crate::report::{MetricReport, SliceReport, rounded};
use crate::stats::{Draws, Sample, SplitMix};

/// The slice that holds every query.
pub(crate) const ALL: &str = "all";

/// A set's queries as scoring sees them: labels, and which positions each slice holds.
#[derive(Debug)]
pub(crate) struct Sliced<'a> {
    labels: &'a [Labels<String>],
    slices: Vec<Slice>,
}

#[derive(Debug)]
struct Slice {
    name: String,
    positions: Vec<usize>,
    draws: Draws,
}

impl<'a> Sliced<'a> {
    /// Draws the redrawn slices once, for all arms and metrics: `all` first, then by name.
    pub(crate) fn new(labels: &'a [Labels<String>], names: &[Option<String>], seed: u64, n_resamples: usize) -> Self {
        debug_assert_eq!(labels.len(), names.len(), "a slice name or none for each query");
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, name) in names.iter().enumerate() {
            if let Some(name) = name {
                by_name.entry(name).or_default().push(i);
            }
        }
        let whole = (ALL, (0..labels.len()).collect());
        let slices = std::iter::once(whole).chain(by_name).map(|(name, positions)| {
            let draws = Draws::new(&mut SplitMix::for_name(seed, name), positions.len(), n_resamples);
            Slice { name: name.to_owned(), positions, draws }
        });
        Self { labels, slices: slices.collect() }
    }

    /// One arm's figures, from its answers in query order.
    pub(crate) fn score(&self, answers: &[Answer<String>], metrics: &[Metric]) -> Vec<SliceReport> {
        let samples: Vec<Vec<Option<Sample>>> = metrics.iter().map(|m| self.samples(*m, answers)).collect();
        let report = |slice: &Slice| {
            let metrics = metrics.iter().zip(&samples).filter_map(|(metric, samples)| {
                let estimate = slice.draws.estimate(&pick(samples, &slice.positions))?;
                let report = MetricReport {
                    value: rounded(estimate.value),
                    low: rounded(estimate.low),
                    high: rounded(estimate.high),
                    n: estimate.n,
                };
                Some((metric.name(), report))
            });
            SliceReport { slice: slice.name.clone(), n: slice.positions.len(), metrics: metrics.collect() }
        };
        self.slices.iter().map(report).collect()
    }

    /// Per slice: its name, its number of queries, and what `compare` makes of each metric there.
    pub(crate) fn compare<T>(
        &self,
        before: &[Answer<String>],
        after: &[Answer<String>],
        metrics: &[Metric],
        mut judge: impl FnMut(&str, usize, Metric, &Draws, &[Option<Sample>], &[Option<Sample>]) -> Option<T>,
    ) -> Vec<T> {
        let both: Vec<_> = metrics.iter().map(|m| (*m, self.samples(*m, before), self.samples(*m, after))).collect();
        let mut judged = Vec::new();
        for slice in &self.slices {
            for (metric, before, after) in &both {
                let (before, after) = (pick(before, &slice.positions), pick(after, &slice.positions));
                judged.extend(judge(&slice.name, slice.positions.len(), *metric, &slice.draws, &before, &after));
            }
        }
        judged
    }

    fn samples(&self, metric: Metric, answers: &[Answer<String>]) -> Vec<Option<Sample>> {
        debug_assert_eq!(answers.len(), self.labels.len(), "an answer for each query");
        self.labels.iter().zip(answers).map(|(labels, answer)| metric.sample(labels, answer)).collect()
    }
}

fn pick(samples: &[Option<Sample>], positions: &[usize]) -> Vec<Option<Sample>> {
    positions.iter().map(|&i| samples[i]).collect()
}

/// The metrics that a list of `k` tools can answer: recall@10 of five tools would be recall@5 under a wrong name.
pub(crate) fn metrics_at(k: usize) -> Vec<Metric> {
    Metric::ALL.iter().copied().filter(|metric| metric.depth() <= k).collect()
}

/// Ids named by labels that are not in the catalog, per query.
pub(crate) fn unknown<'a>(
    labels: impl Iterator<Item = (&'a str, &'a Labels<String>)>,
    known: &BTreeSet<&str>,
) -> Vec<crate::report::UnknownRelevant> {
    labels
        .filter_map(|(query, labels)| {
            let ids: Vec<String> = labels.relevant.iter().filter(|id| !known.contains(id.as_str())).cloned().collect();
            (!ids.is_empty()).then(|| crate::report::UnknownRelevant { query: query.to_owned(), ids })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(relevant: &[&str]) -> Labels<String> {
        Labels { relevant: relevant.iter().map(|&t| t.to_owned()).collect(), groups: Vec::new() }
    }

    fn answer(top: &[&str], no_match: bool) -> Answer<String> {
        Answer { top: top.iter().map(|&t| t.to_owned()).collect(), no_match, tokens: 10, confidence: None }
    }

    type Set = (Vec<Labels<String>>, Vec<Option<String>>, Vec<Answer<String>>);

    /// Two answerable queries in slice `x`, one impossible in `y`, one answerable in none.
    fn set() -> Set {
        let labels = vec![labels(&["a"]), labels(&["b"]), labels(&[]), labels(&["c"])];
        let names = vec![Some("x".to_owned()), Some("x".to_owned()), Some("y".to_owned()), None];
        let answers = vec![answer(&["a"], false), answer(&["q", "b"], false), answer(&[], true), answer(&[], true)];
        (labels, names, answers)
    }

    #[test]
    fn slices_hold_their_own_queries_and_all_holds_every_one() {
        let (labels, names, answers) = set();
        let reports = Sliced::new(&labels, &names, 1, 100).score(&answers, Metric::ALL);
        let value = |slice: usize, metric: &str| reports[slice].metrics.get(metric).map(|m| m.value);
        assert_eq!(
            reports.iter().map(|s| (s.slice.as_str(), s.n)).collect::<Vec<_>>(),
            [("all", 4), ("x", 2), ("y", 1)]
        );
        assert_eq!(value(0, "recall@5"), Some(0.666_667));
        assert_eq!(value(1, "recall@1"), Some(0.5));
        assert_eq!(value(2, "recall@5"), None, "nothing fits in y: recall says nothing there");
        assert_eq!(value(2, "no_match_recall"), Some(1.0));
        assert_eq!(value(0, "no_match_precision"), Some(0.5));
        assert_eq!(value(0, "false_refusal"), Some(0.333_333));
        assert_eq!(value(1, "group_recall@5"), None, "no groups given");
        assert_eq!(reports[0].metrics["recall@5"].n, 3);
    }

    #[test]
    fn a_slice_more_does_not_move_the_others() {
        let (labels, mut names, answers) = set();
        let before = Sliced::new(&labels, &names, 1, 100).score(&answers, Metric::ALL);
        names[3] = Some("a-new-one".into());
        let after = Sliced::new(&labels, &names, 1, 100).score(&answers, Metric::ALL);
        assert_eq!(before[1], after[2]);
        assert_eq!(before[0], after[0]);
    }

    #[test]
    fn metrics_deeper_than_the_list_are_left_out() {
        let names: Vec<String> = metrics_at(5).iter().map(|m| m.name()).collect();
        assert!(names.contains(&"recall@5".to_owned()) && !names.contains(&"recall@10".to_owned()));
    }
}
