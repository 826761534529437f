//! Is B better than A? Paired over the queries that both answered.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::bench::ANSWER_TOOLS;
use crate::metric::{Answer, Better, Labels, Metric, ndcg};
use crate::report::{QueryReport, Report, rounded};
use crate::score::{ALL, Sliced, metrics_at};
use crate::stats::DEFAULT_RESAMPLES;

/// How to compare.
#[derive(Debug, Clone)]
pub struct CompareOptions {
    /// Which arm of the first report against which of the second. `None`: every arm that both have.
    pub arms: Option<(String, String)>,
    /// Seed of the intervals.
    pub seed: u64,
    /// Redrawn slices behind each interval.
    pub resamples: usize,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self { arms: None, seed: 0, resamples: DEFAULT_RESAMPLES }
    }
}

/// What changed from one report to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// One entry per pair of arms.
    pub pairs: Vec<PairReport>,
    /// Queries that both hold, with the same labels.
    pub n_paired: usize,
    /// Queries that only one report holds, or that the two label differently: they are left out.
    pub not_paired: Vec<String>,
}

/// One arm against another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairReport {
    /// The arm of the first report.
    pub before: String,
    /// The arm of the second report.
    pub after: String,
    /// One entry per slice and metric.
    pub changes: Vec<Change>,
    /// The queries whose first relevant tool stands elsewhere, or that are newly refused or answered: the largest gains
    /// of ndcg first, the largest losses last.
    pub moved: Vec<Moved>,
}

/// How one metric changed on one slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The slice.
    pub slice: String,
    /// Queries paired in it.
    pub n: usize,
    /// The metric.
    pub metric: String,
    /// After minus before.
    pub difference: f64,
    /// Lower end of the difference's 95 % interval.
    pub low: f64,
    /// Upper end of the difference's 95 % interval.
    pub high: f64,
    /// How often chance alone would show a change this large, about. Not corrected for looking at many metrics at once.
    pub p: f64,
    /// What to make of it.
    pub verdict: Verdict,
}

/// What to make of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The interval lies wholly on the good side of zero.
    Better,
    /// The interval lies wholly on the bad side of zero.
    Worse,
    /// The interval holds zero.
    Unclear,
}

/// A query that went differently.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// The query.
    pub id: String,
    /// Its slice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// Where the first relevant tool stood; absent if nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank_before: Option<usize>,
    /// Where it stands now; absent if nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank_after: Option<usize>,
    /// Whether it was refused.
    pub refused_before: bool,
    /// Whether it is refused now.
    pub refused_after: bool,
    /// Change of ndcg@10; 0 where nothing fits.
    pub ndcg: f64,
}

/// Compares two reports. Pairs queries by id, and only where both reports label them alike.
///
/// Without common arms the result has no pairs; which arms there are is in the reports.
pub fn compare(before: &Report, after: &Report, options: &CompareOptions) -> Comparison {
    let old_labels: BTreeMap<&str, _> = before.labels.iter().map(|label| (label.id.as_str(), label)).collect();
    let new_ids: std::collections::BTreeSet<&str> = after.labels.iter().map(|label| label.id.as_str()).collect();
    let (mut paired, mut not_paired) = (Vec::new(), Vec::new());
    for label in &after.labels {
        match old_labels.get(label.id.as_str()) {
            Some(old) if old.relevant == label.relevant && old.groups == label.groups => paired.push(label),
            Some(_) | None => not_paired.push(label.id.clone()),
        }
    }
    not_paired.extend(before.labels.iter().map(|l| &l.id).filter(|id| !new_ids.contains(id.as_str())).cloned());

    let labels: Vec<Labels<String>> = paired.iter().map(|label| label.labels()).collect();
    let names: Vec<Option<String>> = paired.iter().map(|label| label.slice.clone()).collect();
    let sliced = Sliced::new(&labels, &names, options.seed, options.resamples);
    // A longer list finds more: both are read as far as the shorter goes.
    let k = before.k.min(after.k);
    let mut metrics = metrics_at(k);
    // Counts by two methods, or of more tools and fewer, have nothing to say about each other.
    let counted_alike = before.about.answer_tokens == after.about.answer_tokens
        && before.k.min(ANSWER_TOOLS) == after.k.min(ANSWER_TOOLS);
    metrics.retain(|metric| counted_alike || *metric != Metric::AnswerTokens);

    let pairs = arm_pairs(before, after, options).into_iter().map(|(old_arm, new_arm)| {
        let (old_by_id, new_by_id) = (by_id(before, &old_arm), by_id(after, &new_arm));
        let pick = |answers: &BTreeMap<&str, &QueryReport>| -> Vec<Answer<String>> {
            // A report holds an answer for each of its queries; one cut by hand gets an empty answer, not a panic.
            let empty = || Answer { top: Vec::new(), no_match: false, tokens: 0, confidence: None };
            let read = |answer: &&QueryReport| {
                let mut answer = answer.answer();
                answer.top.truncate(k);
                answer
            };
            paired.iter().map(|label| answers.get(label.id.as_str()).map_or_else(empty, read)).collect()
        };
        let (old, new) = (pick(&old_by_id), pick(&new_by_id));
        let changes = sliced.compare(&old, &new, &metrics, |slice, n, metric, draws, old, new| {
            let difference = draws.difference(old, new)?;
            let good = match metric.better() {
                Better::Higher => difference.value > 0.0,
                Better::Lower => difference.value < 0.0,
            };
            let verdict = match (difference.is_significant(), good) {
                (true, true) => Verdict::Better,
                (true, false) => Verdict::Worse,
                (false, _) => Verdict::Unclear,
            };
            Some(Change {
                slice: slice.to_owned(),
                n,
                metric: metric.name(),
                difference: rounded(difference.value),
                low: rounded(difference.low),
                high: rounded(difference.high),
                p: rounded(difference.p),
                verdict,
            })
        });
        let mut moved: Vec<Moved> = paired
            .iter()
            .zip(&labels)
            .zip(old.iter().zip(&new))
            .filter_map(|((label, labels), (old, new))| moved(&label.id, label.slice.as_ref(), labels, old, new))
            .collect();
        moved.sort_by(|a, b| b.ndcg.total_cmp(&a.ndcg).then_with(|| a.id.cmp(&b.id)));
        PairReport { before: old_arm, after: new_arm, changes, moved }
    });
    Comparison { pairs: pairs.collect(), n_paired: paired.len(), not_paired }
}

fn arm_pairs(before: &Report, after: &Report, options: &CompareOptions) -> Vec<(String, String)> {
    let has = |report: &Report, arm: &str| report.arms.iter().any(|a| a.arm == arm);
    if let Some((old, new)) = &options.arms {
        let known = has(before, old) && has(after, new);
        return if known { vec![(old.clone(), new.clone())] } else { Vec::new() };
    }
    let common = after.arms.iter().filter(|a| has(before, &a.arm));
    common.map(|a| (a.arm.clone(), a.arm.clone())).collect()
}

fn by_id<'a>(report: &'a Report, arm: &str) -> BTreeMap<&'a str, &'a QueryReport> {
    report.queries.iter().filter(|q| q.arm == arm).map(|q| (q.id.as_str(), q)).collect()
}

fn moved(
    id: &str,
    slice: Option<&String>,
    labels: &Labels<String>,
    old: &Answer<String>,
    new: &Answer<String>,
) -> Option<Moved> {
    let rank = |answer: &Answer<String>| {
        answer.top.iter().position(|tool| labels.relevant.contains(tool)).map(|position| position + 1)
    };
    let gain = |answer: &Answer<String>| {
        if labels.relevant.is_empty() { 0.0 } else { ndcg(&answer.top, &labels.relevant, 10) }
    };
    let change = rounded(gain(new) - gain(old));
    let same = rank(old) == rank(new) && old.no_match == new.no_match && change == 0.0;
    (!same).then(|| Moved {
        id: id.to_owned(),
        slice: slice.cloned(),
        rank_before: rank(old),
        rank_after: rank(new),
        refused_before: old.no_match,
        refused_after: new.no_match,
        ndcg: change,
    })
}

impl Comparison {
    /// The text for people: what changed on each slice, then the queries that moved most, at most `n_moved` each way.
    pub fn to_text(&self, n_moved: usize) -> String {
        let mut text = String::new();
        for pair in &self.pairs {
            let title = if pair.before == pair.after {
                pair.after.clone()
            } else {
                format!("{} → {}", pair.before, pair.after)
            };
            let _ = writeln!(text, "{title}");
            let mut rows =
                vec![["slice", "n", "metric", "change", "95 % interval", "p", ""].map(str::to_owned).to_vec()];
            // Unclear changes of single slices are left to the JSON: nobody reads two hundred rows of them.
            for change in pair.changes.iter().filter(|c| c.slice == ALL || c.verdict != Verdict::Unclear) {
                let verdict = match change.verdict {
                    Verdict::Better => "better",
                    Verdict::Worse => "WORSE",
                    Verdict::Unclear => "",
                };
                rows.push(vec![
                    change.slice.clone(),
                    change.n.to_string(),
                    change.metric.clone(),
                    format!("{:+.3}", change.difference),
                    format!("{:+.3} … {:+.3}", change.low, change.high),
                    format!("{:.3}", change.p),
                    verdict.to_owned(),
                ]);
            }
            text.push_str(&crate::table::aligned(&rows));
            let gained = pair.moved.iter().filter(|m| m.ndcg > 0.0).count();
            let lost = pair.moved.iter().filter(|m| m.ndcg < 0.0).count();
            let _ = writeln!(text, "{} queries moved: {gained} up, {lost} down", pair.moved.len());
            let up = pair.moved.iter().filter(|m| m.ndcg > 0.0).take(n_moved);
            let down = pair.moved.iter().rev().filter(|m| m.ndcg < 0.0).take(n_moved);
            for query in up.chain(down) {
                let rank = |rank: Option<usize>| rank.map_or_else(|| "none".to_owned(), |rank| format!("#{rank}"));
                let (from, to) = (rank(query.rank_before), rank(query.rank_after));
                let _ = writeln!(text, "  {:+.3}  {}  {from} → {to}", query.ndcg, query.id);
            }
            text.push('\n');
        }
        if !self.not_paired.is_empty() {
            let _ = writeln!(text, "{} queries are not in both reports with the same labels", self.not_paired.len());
        }
        text
    }

    /// The changes for the worse among `metrics` on the whole set.
    pub fn regressions(&self, metrics: &[&str]) -> Vec<(&PairReport, &Change)> {
        let worse = |change: &&Change| {
            change.slice == ALL && change.verdict == Verdict::Worse && metrics.contains(&change.metric.as_str())
        };
        self.pairs.iter().flat_map(|pair| pair.changes.iter().filter(worse).map(move |change| (pair, change))).collect()
    }
}

/// The metrics whose drop fails a run against a baseline. `Metric`'s other entries follow from these, or are noisier.
pub fn decisive() -> Vec<String> {
    let decisive = [Metric::Hit(1), Metric::Recall(5), Metric::Ndcg(10), Metric::NoMatchRecall, Metric::FalseRefusal];
    decisive.iter().map(|metric| metric.name()).collect()
}

#[cfg(test)]
mod tests {
    //! 1. A report against itself: nothing moved, nothing is better or worse.
    //! 2. Gains and losses are named with their queries, gains first.
    //! 3. Queries labelled differently are not paired.
    //! 4. A longer list is no better than a shorter one with the same beginning.
    use super::*;
    use crate::report::{About, ArmReport, LabelReport, TopReport};

    /// A report of one arm; each query is `id: answer / relevant`, tools are letters, `!` refuses.
    fn report(arm: &str, queries: &[&str]) -> Report {
        let parse = |line: &&str| {
            let (id, rest) = line.split_once(": ").unwrap();
            let (top, relevant) = rest.split_once(" / ").unwrap();
            let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).map(String::from).collect();
            let top: Vec<String> = letters(top);
            let label = LabelReport { id: id.into(), slice: None, relevant: letters(relevant), groups: Vec::new() };
            let answer = QueryReport {
                id: id.into(),
                arm: arm.into(),
                top: top.into_iter().map(|id| TopReport { id, score: 0.5 }).collect(),
                no_match: rest.starts_with('!'),
                tokens: 10,
                confidence: None,
            };
            (label, answer)
        };
        let (labels, queries) = queries.iter().map(parse).unzip();
        let about = About {
            toolscout: String::new(),
            n_tools: 0,
            n_queries: 0,
            catalog: String::new(),
            queries: String::new(),
            model: None,
            seed: 0,
            resamples: 0,
            answer_tokens: String::new(),
            distractors: Vec::new(),
            listing_tokens: 0,
            unknown_relevant: Vec::new(),
            notes: Vec::new(),
        };
        let arms =
            vec![ArmReport { arm: arm.into(), slices: Vec::new(), latency_ms: None, confidence: None, policy: None }];
        Report { set: "set".into(), k: 10, about, arms, queries, labels }
    }

    fn change<'a>(comparison: &'a Comparison, metric: &str) -> &'a Change {
        comparison.pairs[0].changes.iter().find(|c| c.metric == metric).unwrap()
    }

    #[test]
    fn a_report_against_itself() {
        let same = report("hybrid", &["1: ab / a", "2: ba / a", "3: ! / "]);
        let comparison = compare(&same, &same, &CompareOptions::default());
        assert_eq!(comparison.pairs[0].moved, []);
        assert!(comparison.pairs[0].changes.iter().all(|c| c.verdict == Verdict::Unclear && c.difference == 0.0));
    }

    #[test]
    fn gains_and_losses() {
        let before = report("hybrid", &["1: ba / a", "2: ab / a", "3: ! / ", "4: bca / a"]);
        let after = report("hybrid", &["1: ab / a", "2: ba / a", "3: ab / ", "4: abc / a"]);
        let comparison = compare(&before, &after, &CompareOptions::default());
        let moved: Vec<&str> = comparison.pairs[0].moved.iter().map(|m| m.id.as_str()).collect();
        assert_eq!(moved, ["4", "1", "3", "2"]);
        assert_eq!(change(&comparison, "hit@1").difference, 0.333_333);
        assert_eq!(change(&comparison, "no_match_recall").difference, -1.0);
        assert!(comparison.to_text(5).contains("4  #3 → #1"), "{}", comparison.to_text(5));
    }

    #[test]
    fn a_clear_drop_is_a_regression_and_a_cheaper_answer_is_none() {
        let lines = |text: &str| (0..30).map(|i| format!("{i}: {text} / a")).collect::<Vec<_>>();
        let of = |lines: &[String]| report("hybrid", &lines.iter().map(String::as_str).collect::<Vec<_>>());
        let (good, bad) = (of(&lines("ab")), of(&lines("ba")));
        let decisive = decisive();
        let names: Vec<&str> = decisive.iter().map(String::as_str).collect();
        let worse = compare(&good, &bad, &CompareOptions::default());
        let regressed: Vec<_> = worse.regressions(&names).iter().map(|(_, c)| c.metric.clone()).collect();
        assert_eq!(regressed, ["hit@1", "ndcg@10"]);
        let better = compare(&bad, &good, &CompareOptions::default());
        assert!(better.regressions(&names).is_empty());
        assert_eq!(change(&better, "hit@1").verdict, Verdict::Better);
    }

    #[test]
    fn a_longer_list_is_read_as_far_as_the_shorter() {
        let long = report("hybrid", &["1: xya / a", "2: ab / ab"]);
        let short = Report { k: 2, ..report("hybrid", &["1: xy / a", "2: ab / ab"]) };
        for (before, after) in [(&long, &short), (&short, &long)] {
            let comparison = compare(before, after, &CompareOptions::default());
            assert_eq!(comparison.pairs[0].moved, []);
            assert_eq!(change(&comparison, "mrr").difference, 0.0);
            let names: Vec<&str> = comparison.pairs[0].changes.iter().map(|c| c.metric.as_str()).collect();
            assert!(!names.contains(&"answer_tokens") && !names.contains(&"recall@3"), "{names:?}");
        }
    }

    #[test]
    fn only_alike_queries_are_paired() {
        let before = report("hybrid", &["1: a / a", "2: a / a", "3: a / a"]);
        let after = report("hybrid", &["1: a / a", "2: a / b", "4: a / a"]);
        let comparison = compare(&before, &after, &CompareOptions::default());
        assert_eq!(comparison.not_paired, ["2", "4", "3"]);
        assert_eq!(change(&comparison, "hit@1").n, 1);
    }

    #[test]
    fn arms_of_different_names_are_paired_when_asked() {
        let (before, after) = (report("bm25", &["1: ba / a"]), report("hybrid", &["1: ab / a"]));
        assert!(compare(&before, &after, &CompareOptions::default()).pairs.is_empty());
        let options = CompareOptions { arms: Some(("bm25".into(), "hybrid".into())), ..CompareOptions::default() };
        assert_eq!(change(&compare(&before, &after, &options), "hit@1").difference, 1.0);
    }
}
