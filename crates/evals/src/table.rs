//! A report as text for people: one row per arm and slice.

use std::fmt::Write as _;

use crate::calibration::{self, N_BINS};
use crate::metric::CONFIDENT_FROM;
use crate::report::{ConfidenceBin, MetricReport, Report, SliceReport};

/// Few enough that a row fits a wide terminal; the rest is in the JSON and the page.
const COLUMNS: &[&str] =
    &["recall@5", "hit@1", "complete@10", "ndcg@10", "no_match_recall", "false_refusal", "false_confidence"];

/// Headings for [`COLUMNS`] that keep the row on a screen.
fn heading(metric: &str) -> &str {
    match metric {
        "no_match_recall" => "refused",
        "false_refusal" => "wrongly",
        "false_confidence" => "falsely",
        "complete@10" => "compl@10",
        other => other,
    }
}

/// The table, and below it what a reader has to know to read it.
pub fn table(report: &Report) -> String {
    let has = |metric: &&str| report.arms.iter().flat_map(|a| &a.slices).any(|s| s.metrics.contains_key(*metric));
    let columns: Vec<&str> = COLUMNS.iter().copied().filter(has).collect();
    let mut head: Vec<String> = ["arm", "slice", "n"].map(str::to_owned).to_vec();
    head.extend(columns.iter().map(|metric| heading(metric).to_owned()));
    head.extend(["tokens", "p50 ms"].map(str::to_owned));
    let mut rows = vec![head];
    for arm in &report.arms {
        for slice in &arm.slices {
            let mut row = vec![arm.arm.clone(), slice.slice.clone(), slice.n.to_string()];
            row.extend(columns.iter().map(|metric| cell(slice, metric)));
            row.push(slice.metrics.get("answer_tokens").map_or_else(String::new, |m| format!("{:.0}", m.value)));
            let latency = arm.latency_ms.filter(|_| slice.slice == crate::score::ALL);
            row.push(latency.map_or_else(String::new, |l| format!("{:.1}", l.p50)));
            rows.push(row);
        }
    }
    let mut text = aligned(&rows);
    let about = &report.about;
    let _ = writeln!(
        text,
        "set {}: {} tools, {} queries, {} asked for; ± is half the 95 % interval (bootstrap, seed {})",
        report.set, about.n_tools, about.n_queries, report.k, about.seed
    );
    if !about.distractors.is_empty() {
        let n_others: usize = about.distractors.iter().map(|one| one.n_tools).sum();
        let n_own = about.n_tools.saturating_sub(n_others);
        let _ = writeln!(text, "{n_own} tools of the set's own and {n_others} of other catalogs");
    }
    if columns.contains(&"no_match_recall") || columns.contains(&"false_refusal") {
        text.push_str("refused: of the queries that nothing fits; wrongly: of those that something fits\n");
    }
    if columns.contains(&"false_confidence") {
        let _ = writeln!(
            text,
            "falsely: of the queries not answered rightly, those answered with confidence {CONFIDENT_FROM} or more"
        );
    }
    for arm in &report.arms {
        if let Some(policy) = arm.policy.filter(|policy| policy.n_leaks > 0) {
            let _ = writeln!(
                text,
                "LEAK: {} showed denied tools in {} of {} answers",
                arm.arm, policy.n_leaks, policy.n_queries
            );
        }
    }
    calibrations(&mut text, report);
    let _ = writeln!(text, "tokens of an answer; listing every tool would take {}", about.listing_tokens);
    match &about.model {
        Some(model) => _ = writeln!(text, "model {model}"),
        None => text.push_str("no embedding model: hybrid is full-text search alone\n"),
    }
    let embedding = report.arms.iter().filter_map(|a| a.latency_ms).map(|l| l.embedding_p50).fold(0.0, f64::max);
    if embedding > 0.0 {
        let _ = writeln!(text, "p50 holds the query's embedding, by itself {embedding:.1} ms at p50");
    }
    if !about.unknown_relevant.is_empty() {
        let n_ids: usize = about.unknown_relevant.iter().map(|u| u.ids.len()).sum();
        let n_queries = about.unknown_relevant.len();
        let first = &about.unknown_relevant[0];
        let _ = writeln!(
            text,
            "warning: {n_queries} queries name {n_ids} relevant tools that the catalog does not hold (`{}` in `{}`); they count as not found",
            toolscout_core::text::preview(&first.ids[0]),
            toolscout_core::text::preview(&first.query),
        );
    }
    for note in about.notes.iter().take(5) {
        let _ = writeln!(text, "note: {note}");
    }
    if about.notes.len() > 5 {
        let _ = writeln!(text, "note: and {} more in the JSON", about.notes.len() - 5);
    }
    text
}

/// Whether the confidence can be believed: a row per arm, a column per bin that any of them has.
fn calibrations(text: &mut String, report: &Report) {
    let arms: Vec<_> = calibration::shown(report).collect();
    let has = |nth: &usize| arms.iter().any(|(_, confidence)| confidence.bin(*nth).is_some());
    let filled: Vec<usize> = (0..N_BINS).filter(has).collect();
    if filled.is_empty() {
        return;
    }
    let mut rows = vec![["confidence".to_owned(), "off by".to_owned()].to_vec()];
    rows[0].extend(
        filled.iter().map(|nth| format!(".{nth}–{}", if *nth == 9 { "1".into() } else { format!(".{}", nth + 1) })),
    );
    for (arm, confidence) in arms {
        let bin = |nth: &usize| confidence.bin(*nth).map_or_else(|| "-".to_owned(), said_and_right);
        let mut row = vec![arm.arm.clone(), short(confidence.ece)];
        row.extend(filled.iter().map(bin));
        rows.push(row);
    }
    text.push('\n');
    text.push_str(&aligned(&rows));
    text.push_str(
        "off by: how far the confidence said is from how often the first tool is right, on average over the answers;\n\
         behind it, by the confidence: said→right (answers)\n\n",
    );
}

/// `.05→.55 (11)`: said .05 on average, right in .55 of 11 answers.
pub(crate) fn said_and_right(bin: &ConfidenceBin) -> String {
    let two = |value: f64| {
        let text = format!("{value:.2}");
        text.strip_prefix('0').map_or(text.clone(), str::to_owned)
    };
    format!("{}→{} ({})", two(bin.confidence), two(bin.right), bin.n)
}

fn cell(slice: &SliceReport, metric: &str) -> String {
    let show = |m: &MetricReport| format!("{} ±{}", short(m.value), short((m.high - m.low) / 2.0));
    slice.metrics.get(metric).map_or_else(|| "-".to_owned(), show)
}

/// `.042` for 0.042, to save width.
fn short(value: f64) -> String {
    format!("{value:.3}").trim_start_matches('0').to_owned()
}

/// Columns side by side, the first two to the left, the rest to the right, under a rule.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let n_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &[String], i: usize| row.get(i).cloned().unwrap_or_default();
    let widths: Vec<usize> =
        (0..n_columns).map(|i| rows.iter().map(|row| cell(row, i).chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (n, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (i, width) in widths.iter().enumerate() {
            let cell = cell(row, i);
            let gap = " ".repeat(width - cell.chars().count());
            let pair = if i < 2 { format!("{cell}{gap}  ") } else { format!("{gap}{cell}  ") };
            line.push_str(&pair);
        }
        text.push_str(line.trim_end());
        text.push('\n');
        if n == 0 {
            let rule: usize = widths.iter().sum::<usize>() + 2 * n_columns.saturating_sub(1);
            text.push_str(&"─".repeat(rule));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_says_what_was_said_what_was_right_and_of_how_many() {
        let bin = |confidence, right, n| ConfidenceBin { from: 0.0, to: 0.1, n, confidence, right };
        assert_eq!(said_and_right(&bin(0.0529, 0.545, 11)), ".05→.55 (11)");
        assert_eq!(said_and_right(&bin(0.999, 1.0, 2)), "1.00→1.00 (2)");
        assert_eq!(said_and_right(&bin(0.004, 0.0, 1)), ".00→.00 (1)");
    }

    #[test]
    fn columns_line_up_whatever_the_script() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text = aligned(&[row(["arm", "slice", "n"]), row(["hybrid", "größe", "10"]), row(["a", "b", "1"])]);
        assert_eq!(text, "arm     slice   n\n─────────────────\nhybrid  größe  10\na       b       1\n");
    }
}
