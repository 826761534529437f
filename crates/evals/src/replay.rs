//! What would another configuration have answered?
//!
//! Recorded selections, whose queries were kept, are asked again with other options; what came out then and what comes out now
//! stand side by side. Nothing says which is right: that is for whoever reads the differences.

use std::fmt::Write as _;

use serde::Serialize;
use toolscout_core::text::preview;
use toolscout_core::{SideEffect, ToolId, UpstreamId};

/// A selection as it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Its id.
    pub id: String,
    /// When, as `2026-11-20T17:30:00.123Z`.
    pub at: String,
    /// What was asked.
    pub query: String,
    /// How many tools were asked for.
    pub limit: usize,
    /// The caller's filters.
    pub upstreams: Vec<UpstreamId>,
    /// The same.
    pub tags: Vec<String>,
    /// The same.
    pub max_side_effect: Option<SideEffect>,
    /// The generation it saw.
    pub generation: u64,
    /// What was answered.
    pub answer: ReplayAnswer,
}

/// An answer, then or now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReplayAnswer {
    /// The tools, best first.
    pub tools: Vec<ToolId>,
    /// How sure it was.
    pub confidence: f64,
    /// Whether it said that nothing fits.
    pub no_match: bool,
}

/// What became different. Shares are of the selections that were asked again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replayed {
    /// Selections asked again.
    pub n: usize,
    /// Selections without their query, which cannot be asked again: only `search.store_queries` keeps queries.
    pub n_without_query: usize,
    /// Selections that saw another generation of the catalog: their differences may be its, not the configuration's.
    pub n_other_generation: usize,
    /// The share whose first tool is another one, among those answered both times.
    pub other_first: f64,
    /// The share of the first five tools that are the same, on average: of those of the longer answer. Two refusals agree.
    pub overlap_at_5: f64,
    /// Answered then, refused now.
    pub newly_refused: usize,
    /// Refused then, answered now.
    pub newly_answered: usize,
    /// The selections that came out differently, the most different first, then in the order given.
    pub changed: Vec<Changed>,
}

/// One selection that came out differently.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changed {
    /// The recorded selection.
    pub id: String,
    /// When it was made.
    pub at: String,
    /// What was asked.
    pub query: String,
    /// Whether the catalog was another one then.
    pub other_generation: bool,
    /// How much of the first five is the same.
    pub overlap_at_5: f64,
    /// What came out then.
    pub before: ReplayAnswer,
    /// What comes out now.
    pub after: ReplayAnswer,
}

/// Places that are compared.
const COMPARED: usize = 5;

/// Sets answers side by side; `generation` is the one that answers now.
pub fn replayed(pairs: Vec<(Recorded, ReplayAnswer)>, n_without_query: usize, generation: u64) -> Replayed {
    let n = pairs.len();
    let (mut n_both, mut n_other_first, mut sum_overlap) = (0usize, 0usize, 0.0);
    let mut found = Replayed {
        n,
        n_without_query,
        n_other_generation: pairs.iter().filter(|(then, _)| then.generation != generation).count(),
        other_first: 0.0,
        overlap_at_5: 1.0,
        newly_refused: 0,
        newly_answered: 0,
        changed: Vec::new(),
    };
    for (then, after) in pairs {
        let before = then.answer;
        let overlap = overlap(&before.tools, &after.tools);
        sum_overlap += overlap;
        match (before.tools.first(), after.tools.first()) {
            (Some(old), Some(new)) => {
                n_both += 1;
                n_other_first += usize::from(old != new);
            }
            (Some(_), None) => found.newly_refused += 1,
            (None, Some(_)) => found.newly_answered += 1,
            (None, None) => {}
        }
        let first = |answer: &ReplayAnswer| answer.tools.iter().take(COMPARED).cloned().collect::<Vec<_>>();
        if first(&before) != first(&after) {
            found.changed.push(Changed {
                id: then.id,
                at: then.at,
                query: then.query,
                other_generation: then.generation != generation,
                overlap_at_5: overlap,
                before,
                after,
            });
        }
    }
    found.other_first = n_other_first as f64 / n_both.max(1) as f64;
    found.overlap_at_5 = if n == 0 { 1.0 } else { sum_overlap / n as f64 };
    // Stable: equally different ones stay in the order given.
    found.changed.sort_by(|a, b| a.overlap_at_5.total_cmp(&b.overlap_at_5));
    found
}

fn overlap(before: &[ToolId], after: &[ToolId]) -> f64 {
    let (before, after) = (&before[..before.len().min(COMPARED)], &after[..after.len().min(COMPARED)]);
    let longer = before.len().max(after.len());
    if longer == 0 {
        return 1.0;
    }
    before.iter().filter(|id| after.contains(id)).count() as f64 / longer as f64
}

impl Replayed {
    /// For people: the sums, and the first `n_shown` that changed.
    pub fn to_text(&self, n_shown: usize) -> String {
        let mut text = format!("{} selections asked again", self.n);
        if self.n_without_query > 0 {
            let _ = write!(text, ", {} without their query left out (see search.store_queries)", self.n_without_query);
        }
        let _ = writeln!(
            text,
            "\nanother first tool   {:>6.1} %\nsame among first 5   {:>6.1} %\nnewly refused        {:>6}\nnewly answered       {:>6}\nchanged              {:>6}",
            100.0 * self.other_first,
            100.0 * self.overlap_at_5,
            self.newly_refused,
            self.newly_answered,
            self.changed.len()
        );
        if self.n_other_generation > 0 {
            let _ = writeln!(
                text,
                "{} saw another generation of the catalog (marked *): differences may be the catalog's",
                self.n_other_generation
            );
        }
        let list = |answer: &ReplayAnswer| {
            let ids: Vec<String> = answer.tools.iter().take(COMPARED).map(ToString::to_string).collect();
            if ids.is_empty() { "nothing".to_owned() } else { ids.join(", ") }
        };
        for change in self.changed.iter().take(n_shown) {
            let star = if change.other_generation { "*" } else { "" };
            let _ = writeln!(
                text,
                "\n{}{star}  {}\n  then {:.2}  {}\n  now  {:.2}  {}",
                change.id,
                preview(&change.query),
                change.before.confidence,
                list(&change.before),
                change.after.confidence,
                list(&change.after)
            );
        }
        if self.changed.len() > n_shown {
            let _ = writeln!(text, "\nand {} more, all of them with --json", self.changed.len() - n_shown);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tools are letters; an empty answer is a refusal.
    fn answer(tools: &str) -> ReplayAnswer {
        let id = |c: char| format!("s:{c}").parse().unwrap();
        ReplayAnswer { tools: tools.chars().map(id).collect(), confidence: 0.5, no_match: tools.is_empty() }
    }

    fn pair(id: &str, then: &str, now: &str) -> (Recorded, ReplayAnswer) {
        let recorded = Recorded {
            id: id.into(),
            at: String::new(),
            query: format!("query {id}"),
            limit: 5,
            upstreams: Vec::new(),
            tags: Vec::new(),
            max_side_effect: None,
            generation: if id == "old" { 1 } else { 2 },
            answer: answer(then),
        };
        (recorded, answer(now))
    }

    #[test]
    fn differences_are_counted() {
        let pairs = vec![
            pair("same", "abc", "abc"),
            pair("order", "abc", "bac"),
            pair("old", "abcd", "axyz"),
            pair("gone", "ab", ""),
            pair("new", "", "ab"),
            pair("none", "", ""),
            pair("behind", "abcdef", "abcdeg"),
        ];
        let found = replayed(pairs, 3, 2);
        assert_eq!((found.n, found.newly_refused, found.newly_answered, found.n_other_generation), (7, 1, 1, 1));
        // Of four answered both times one begins otherwise.
        assert_eq!(found.other_first, 0.25);
        // 1, 1, 1/4, 0, 0, 1, 1
        assert_eq!(found.overlap_at_5, 4.25 / 7.0);
        let changed: Vec<&str> = found.changed.iter().map(|change| change.id.as_str()).collect();
        assert_eq!(changed, ["gone", "new", "old", "order"]);
        let text = found.to_text(3);
        assert!(text.contains("7 selections asked again, 3 without their query"), "{text}");
        assert!(text.contains("old*  query old\n  then 0.50  s:a, s:b, s:c, s:d\n  now  0.50  s:a, s:x"), "{text}");
        assert!(text.ends_with("and 1 more, all of them with --json\n"), "{text}");
    }

    #[test]
    fn nothing_recorded_is_nothing_changed() {
        let found = replayed(Vec::new(), 0, 1);
        assert_eq!((found.other_first, found.overlap_at_5, found.changed.len()), (0.0, 1.0, 0));
    }
}
