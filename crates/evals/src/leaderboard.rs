//! Several reports as one page: who finds what, on which sets, at which cost.
//!
//! Nothing is measured here; the page says which editions of the sets, which commit and which machine the figures are from.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::calibration::N_BINS;
use crate::html::{body, head, mark};
use crate::plot::{self, Mark, escape};
use crate::report::{ConfidenceReport, MetricReport, Report};
use crate::score::ALL;
use crate::table::said_and_right;

/// What is known about the run besides the reports. None of it is worked out here: `cli` knows the clock and the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edition {
    /// `2026-11-20`.
    pub date: String,
    /// The commit that was measured, if known.
    pub commit: Option<String>,
    /// Processor and cores, for people.
    pub machine: String,
}

/// The arm whose answers are shown bin by bin.
const DEFAULT: &str = "hybrid";
/// The table that orders the arms, and the picture's.
const FIRST: &str = "recall@5";
/// A table each, with how to read it.
const TABLES: &[(&str, &str)] = &[
    (
        FIRST,
        "The share of the right tools that are among the first five. Ordered by the mean over the sets; arms not measured on all of them come last.",
    ),
    ("hit@1", "How often the first tool is a right one."),
    ("ndcg@10", "How good the order of the first ten is; 1 is the best there could be."),
    ("complete@10", "How often everything that a task needs is among the first ten."),
    ("no_match_recall", "Of the queries that nothing fits, the share refused."),
    ("false_refusal", "Of the queries that something fits, the share refused."),
    (
        "false_confidence",
        "Of the queries not answered rightly, the share answered as if sure; an arm that never doubts is always sure.",
    ),
    ("answer_tokens", "Tokens of an answer with five tools."),
];

/// Arms by the mean of [`FIRST`] over the sets, best first, equals by name. Those that were measured on fewer sets come behind:
/// their means say nothing beside the others'.
fn order(reports: &[Report]) -> Vec<&str> {
    let names: BTreeSet<&str> = reports.iter().flat_map(|report| &report.arms).map(|arm| arm.arm.as_str()).collect();
    let ranked = |arm: &'_ str| {
        let values: Vec<f64> = reports.iter().filter_map(|r| r.metric(arm, ALL, FIRST)).map(|m| m.value).collect();
        (values.len(), values.iter().sum::<f64>() / values.len().max(1) as f64)
    };
    let mut arms: Vec<((usize, f64), &str)> = names.into_iter().map(|arm| (ranked(arm), arm)).collect();
    arms.sort_by(|(a, name_a), (b, name_b)| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)).then(name_a.cmp(name_b)));
    arms.into_iter().map(|(_, arm)| arm).collect()
}

/// The page as Markdown. `picture` is where the SVG lies, seen from the page.
pub fn markdown(reports: &[Report], edition: &Edition, picture: Option<&str>) -> String {
    let mut page = format!("# Leaderboard\n\n{}\n\n", measured(edition));
    page.push_str(
        "`toolscout eval leaderboard` made this page out of reports of `toolscout eval run`; arms, metrics and what the\n\
         `peer-` arms reproduce are explained in [README.md](README.md).\n\
         Figures are over all queries of a set; ± is half the 95 % interval.\n\n",
    );
    if let Some(picture) = picture {
        let _ = writeln!(page, "![{FIRST} by arm and set]({})\n", cell(picture));
    }
    let order = order(reports);
    for (metric, reading) in TABLES {
        let any = |arm: &&&str| reports.iter().any(|report| report.metric(arm, ALL, metric).is_some());
        let arms: Vec<&&str> = order.iter().filter(any).collect();
        if arms.is_empty() {
            continue;
        }
        let _ = writeln!(page, "## {metric}\n\n{reading}\n");
        table_head(&mut page, reports, "arm");
        for arm in arms {
            let row: Vec<String> = reports.iter().map(|report| figure(report.metric(arm, ALL, metric))).collect();
            let _ = writeln!(page, "| {} | {} |", cell(arm), row.join(" | "));
        }
        page.push('\n');
    }
    confidences(&mut page, reports, &order);
    latencies(&mut page, reports, &order);
    slices(&mut page, reports, &order);
    sets(&mut page, reports);
    page
}

/// Whether stated confidences can be believed: how far off on average, and the default's bin by bin.
fn confidences(page: &mut String, reports: &[Report], order: &[&str]) {
    let of = |report: &'_ Report, arm: &str| {
        report.arms.iter().find(|one| one.arm == arm).and_then(|one| one.confidence.clone())
    };
    let stating: Vec<&&str> = order.iter().filter(|arm| reports.iter().any(|r| of(r, arm).is_some())).collect();
    if stating.is_empty() {
        return;
    }
    page.push_str(
        "## Confidence\n\nHow far the confidence stated is from how often the first tool is right, on average over the \
         answers; 0 is never off.\nIt is fitted on as many queries that nothing fits as on others: where every query \
         has an answer, it says too little.\n\n",
    );
    table_head(page, reports, "arm");
    for arm in stating {
        let off = |report| of(report, arm).map_or_else(String::new, |confidence| format!("{:.3}", confidence.ece));
        let row: Vec<String> = reports.iter().map(off).collect();
        let _ = writeln!(page, "| {} | {} |", cell(arm), row.join(" | "));
    }
    page.push('\n');
    let default: Vec<_> = reports.iter().map(|report| of(report, DEFAULT)).collect();
    if default.iter().all(Option::is_none) {
        return;
    }
    let _ = writeln!(
        page,
        "The answers of `{DEFAULT}` by the confidence that they state: said on average → share whose first tool is right \
         (answers).\n"
    );
    table_head(page, reports, "confidence");
    for nth in 0..N_BINS {
        let bin = |one: &Option<ConfidenceReport>| one.as_ref().and_then(|one| one.bin(nth).map(said_and_right));
        let row: Vec<Option<String>> = default.iter().map(bin).collect();
        if row.iter().all(Option::is_none) {
            continue;
        }
        let row: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
        let _ = writeln!(page, "| {:.1} to {:.1} | {} |", nth as f64 / 10.0, (nth + 1) as f64 / 10.0, row.join(" | "));
    }
    page.push('\n');
}

/// The picture: [`FIRST`] of every arm on every set. Ours that answer by default stand out.
pub fn svg(reports: &[Report], edition: &Edition) -> String {
    plot::standalone(&picture(reports, edition))
}

/// The page with every report in full.
pub fn html(reports: &[Report], edition: &Edition) -> String {
    let mut html = head("leaderboard");
    let _ = write!(html, "<h1>Leaderboard</h1>\n<p>{}</p>\n{}", escape(&measured(edition)), picture(reports, edition));
    for report in reports {
        html.push_str("<hr>\n");
        body(&mut html, report);
    }
    html.push_str("</body></html>\n");
    html
}

fn picture(reports: &[Report], edition: &Edition) -> String {
    let order = order(reports);
    let colour = |arm: &str| match arm {
        "hybrid" => plot::colour(5),
        peer if peer.starts_with("peer-") => plot::QUIET,
        _ => plot::colour(0),
    };
    let names: Vec<(String, &str)> = order.iter().map(|arm| ((*arm).to_owned(), colour(arm))).collect();
    let marks = |report: &Report| -> Vec<Option<Mark>> {
        let one = |arm: &&str| {
            let figure = report.metric(arm, ALL, FIRST)?;
            Some(Mark { colour: colour(arm), ..mark(arm, figure, 0) })
        };
        order.iter().map(one).collect()
    };
    let sets: Vec<_> = reports.iter().map(|report| (set_name(report), marks(report))).collect();
    plot::panels(&format!("{FIRST} with 95 % intervals, {}", edition.date), &names, &sets)
}

fn measured(edition: &Edition) -> String {
    let commit = edition.commit.as_deref().map_or_else(String::new, |commit| format!(" at commit {commit}"));
    format!("Measured {}{commit} on {}.", edition.date, edition.machine)
}

/// The set's name, with how many tools stand in the way.
fn set_name(report: &Report) -> String {
    let n_others: usize = report.about.distractors.iter().map(|one| one.n_tools).sum();
    if n_others == 0 { report.set.clone() } else { format!("{} +{n_others}", report.set) }
}

fn table_head(page: &mut String, reports: &[Report], first: &str) {
    let sets: Vec<String> = reports.iter().map(|report| cell(&set_name(report))).collect();
    let _ = writeln!(page, "| {first} | {} |\n|---|{}", sets.join(" | "), "---:|".repeat(sets.len()));
}

fn figure(figure: Option<MetricReport>) -> String {
    figure.map_or_else(String::new, |m| {
        let (digits, half) = (if m.value >= 10.0 { 0 } else { 3 }, (m.high - m.low) / 2.0);
        format!("{:.digits$} ±{half:.digits$}", m.value)
    })
}

fn latencies(page: &mut String, reports: &[Report], order: &[&str]) {
    let of = |report: &Report, arm: &str| report.arms.iter().find(|one| one.arm == arm).and_then(|one| one.latency_ms);
    let measured: Vec<&&str> = order.iter().filter(|arm| reports.iter().any(|r| of(r, arm).is_some())).collect();
    if measured.is_empty() {
        return;
    }
    page.push_str(
        "## Latency\n\nMilliseconds per query at p50 / p95 / p99, one query after the other in one thread; the query's \
         embedding is in it, and alone at p50 in brackets.\n\n",
    );
    table_head(page, reports, "arm");
    for arm in measured {
        let row: Vec<String> = reports
            .iter()
            .map(|report| {
                of(report, arm).map_or_else(String::new, |l| {
                    let alone =
                        if l.embedding_p50 > 0.0 { format!(" ({:.1})", l.embedding_p50) } else { String::new() };
                    format!("{:.1} / {:.1} / {:.1}{alone}", l.p50, l.p95, l.p99)
                })
            })
            .collect();
        let _ = writeln!(page, "| {} | {} |", cell(arm), row.join(" | "));
    }
    page.push('\n');
}

/// Where a set has several slices, what each arm makes of each: means hide who fails at what.
fn slices(page: &mut String, reports: &[Report], order: &[&str]) {
    for report in reports {
        let Some(first) = report.arms.first() else { continue };
        let slices: Vec<&str> =
            first.slices.iter().map(|slice| slice.slice.as_str()).filter(|name| *name != ALL).collect();
        let answerable = |slice: &&&str| report.arms.iter().any(|arm| report.metric(&arm.arm, slice, FIRST).is_some());
        let slices: Vec<&&str> = slices.iter().filter(answerable).collect();
        if slices.len() < 2 {
            continue;
        }
        let heads: Vec<String> = slices.iter().map(|slice| cell(slice)).collect();
        let _ = writeln!(page, "## {FIRST} by slice: {}\n", cell(&set_name(report)));
        let _ = writeln!(page, "| arm | {} |\n|---|{}", heads.join(" | "), "---:|".repeat(heads.len()));
        for arm in order.iter().filter(|arm| report.arms.iter().any(|one| one.arm == **arm)) {
            let row: Vec<String> = slices.iter().map(|slice| figure(report.metric(arm, slice, FIRST))).collect();
            let _ = writeln!(page, "| {} | {} |", cell(arm), row.join(" | "));
        }
        page.push('\n');
    }
}

fn sets(page: &mut String, reports: &[Report]) {
    page.push_str("## The sets\n\n| set | queries | tools | listing all, tokens | catalog | queries' file | model | toolscout |\n|---|---:|---:|---:|---|---|---|---|\n");
    for report in reports {
        let about = &report.about;
        let short = |hash: &str| cell(hash.get(..12).unwrap_or(hash));
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | `{}` | `{}` | {} | {} |",
            cell(&set_name(report)),
            about.n_queries,
            about.n_tools,
            about.listing_tokens,
            short(&about.catalog),
            short(&about.queries),
            cell(about.model.as_deref().unwrap_or("none").split(' ').next().unwrap_or_default()),
            cell(&about.toolscout)
        );
    }
    let leaks: usize = reports.iter().flat_map(|r| &r.arms).filter_map(|arm| arm.policy).map(|p| p.n_leaks).sum();
    let asked: usize = reports.iter().flat_map(|r| &r.arms).filter_map(|arm| arm.policy).map(|p| p.n_queries).sum();
    if asked > 0 {
        let _ = writeln!(
            page,
            "\nAsked {asked} times under a policy that denies a third of the tools: {leaks} answers showed a denied one."
        );
    }
}

/// A stranger's text within a table.
fn cell(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !toolscout_core::text::is_hidden(*c) && *c != '\n').collect();
    plain.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{About, ArmReport, SliceReport};

    fn report(set: &str, arms: &[(&str, f64)]) -> Report {
        let figure = |value| MetricReport { value, low: value - 0.1, high: value + 0.1, n: 10 };
        let slice = |name: &str, value| SliceReport {
            slice: name.into(),
            n: 10,
            metrics: [(FIRST.to_owned(), figure(value))].into(),
        };
        let arm = |(arm, value): &(&str, f64)| ArmReport {
            arm: (*arm).to_owned(),
            slices: vec![slice(ALL, *value), slice("easy", *value), slice("hard", value / 2.0)],
            latency_ms: None,
            confidence: None,
            policy: None,
        };
        let about = About {
            toolscout: "1".into(),
            n_tools: 5,
            distractors: Vec::new(),
            n_queries: 10,
            catalog: "0123456789abcdef".into(),
            queries: "q".into(),
            model: None,
            seed: 0,
            resamples: 10,
            answer_tokens: String::new(),
            listing_tokens: 99,
            unknown_relevant: Vec::new(),
            notes: Vec::new(),
        };
        Report {
            set: set.into(),
            k: 10,
            about,
            arms: arms.iter().map(arm).collect(),
            queries: Vec::new(),
            labels: Vec::new(),
        }
    }

    fn edition() -> Edition {
        Edition { date: "2026-11-20".into(), commit: Some("abc1234".into()), machine: "a machine, 2 cores".into() }
    }

    #[test]
    fn arms_stand_by_their_mean_and_gaps_stay_empty() {
        let reports = [report("one", &[("bm25", 0.9), ("hybrid", 0.8)]), report("two|<b>", &[("hybrid", 0.7)])];
        let page = markdown(&reports, &edition(), Some("leaderboard.svg"));
        assert!(page.contains("Measured 2026-11-20 at commit abc1234 on a machine, 2 cores."), "{page}");
        let table = "| arm | one | two\\|&lt;b> |\n|---|---:|---:|\n| hybrid | 0.800 ±0.100 | 0.700 ±0.100 |\n\
                     | bm25 | 0.900 ±0.100 |  |\n";
        assert!(page.contains(table), "{page}");
        assert!(page.contains("![recall@5 by arm and set](leaderboard.svg)"), "{page}");
        assert!(page.contains("## recall@5 by slice: one\n\n| arm | easy | hard |"), "{page}");
        assert_eq!(page, markdown(&reports, &edition(), Some("leaderboard.svg")));
    }

    #[test]
    fn confidences_stand_beside_how_often_they_were_right() {
        let bin = |nth: u32, n, confidence, right| {
            let from = f64::from(nth) / 10.0;
            crate::report::ConfidenceBin { from, to: from + 0.1, n, confidence, right }
        };
        let mut reports = [report("one", &[("bm25", 0.9), ("hybrid", 0.8)]), report("two", &[("hybrid", 0.7)])];
        assert!(!markdown(&reports, &edition(), None).contains("## Confidence"));
        let bins = vec![bin(0, 11, 0.0529, 0.545), bin(9, 2, 0.96, 1.0)];
        reports[0].arms[1].confidence = Some(ConfidenceReport { bins, ece: 0.4217 });
        reports[1].arms[0].confidence = Some(ConfidenceReport { bins: vec![bin(3, 7, 0.35, 0.4)], ece: 0.05 });
        let page = markdown(&reports, &edition(), None);
        for expect in [
            "| arm | one | two |\n|---|---:|---:|\n| hybrid | 0.422 | 0.050 |\n\n",
            "| confidence | one | two |\n|---|---:|---:|\n| 0.0 to 0.1 | .05→.55 (11) |  |\n\
             | 0.3 to 0.4 |  | .35→.40 (7) |\n| 0.9 to 1.0 | .96→1.00 (2) |  |\n\n",
        ] {
            assert!(page.contains(expect), "{page}");
        }
    }

    #[test]
    fn the_picture_is_a_file_and_the_page_holds_every_report() {
        let reports = [report("one", &[("hybrid", 0.8)]), report("two", &[("hybrid", 0.7), ("peer-codex", 0.2)])];
        assert!(svg(&reports, &edition()).starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" "));
        let page = html(&reports, &edition());
        assert!(page.contains("<h1>one</h1>") && page.contains("<h1>two</h1>") && !page.contains("http"), "{page}");
    }
}
