//! A report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.

use std::fmt::Write as _;

use crate::calibration;
use crate::compare::{CompareOptions, Comparison, compare};
use crate::plot::{self, Mark, escape};
use crate::report::{ArmReport, ConfidenceReport, MetricReport, Report};
use crate::score::ALL;

/// The figures that get a plot: one for finding, one for order, one for doing the whole task, and the refusals.
const PLOTTED: &[&str] =
    &["recall@5", "ndcg@10", "complete@10", "group_recall@5", "no_match_recall", "false_refusal", "false_confidence"];
/// What is set against latency.
const QUALITY: &str = "recall@5";
/// What stages are judged by.
const STAGE_METRICS: &[&str] = &["recall@5", "hit@1", "ndcg@10", "complete@10", "no_match_recall", "false_refusal"];

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #e3e6ea}\
td:nth-child(-n+2),th:nth-child(-n+2){text-align:left}.wide{overflow-x:auto}small,.quiet{color:#667}svg{max-width:100%;height:auto}\
h2{margin-top:2.5rem}@media(prefers-color-scheme:dark){body{background:#14171b;color:#e3e6ea}td,th{border-color:#333a42}}svg text{fill:currentColor}";

/// The page.
pub fn page(report: &Report) -> String {
    let mut html = head(&report.set);
    body(&mut html, report);
    html.push_str("</body></html>\n");
    html
}

/// Up to and with the opening of the body.
pub(crate) fn head(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>toolscout eval: {}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\n",
        escape(title)
    )
}

/// Everything about one report.
pub(crate) fn body(html: &mut String, report: &Report) {
    let about = &report.about;
    let _ = writeln!(
        html,
        "<h1>{}</h1>\n<p>{} queries over {} tools{}, {} asked for. Lines on bars and figures in brackets are 95 % intervals \
         ({} redrawn sets, seed {}).<br><small>toolscout {}; {}; catalog {}, queries {}</small></p>",
        escape(&report.set),
        about.n_queries,
        about.n_tools,
        if about.distractors.is_empty() { "" } else { ", those of other catalogs included" },
        report.k,
        about.resamples,
        about.seed,
        escape(&about.toolscout),
        escape(about.model.as_deref().unwrap_or("no embedding model")),
        escape(first_12(&about.catalog)),
        escape(first_12(&about.queries)),
    );
    for metric in PLOTTED {
        bars(html, report, metric);
    }
    against_latency(html, report);
    stages(html, report);
    reliability(html, report);
    figures(html, report);
    latencies(html, report);
    remarks(html, report);
}

/// A figure of every arm and slice.
fn bars(html: &mut String, report: &Report, metric: &str) {
    let marks = |slice: &str| -> Vec<Mark> {
        let arms = report.arms.iter().enumerate();
        arms.filter_map(|(n, arm)| Some(mark(&arm.arm, report.metric(&arm.arm, slice, metric)?, n))).collect()
    };
    let groups: Vec<(String, Vec<Mark>)> = slice_names(report)
        .into_iter()
        .map(|slice| (slice.to_owned(), marks(slice)))
        .filter(|(_, marks)| !marks.is_empty())
        .collect();
    if !groups.is_empty() {
        let svg = plot::bars(&groups, &format!("{metric} by arm and slice"));
        let _ = write!(html, "<h2>{metric}</h2>\n{svg}");
    }
}

pub(crate) fn mark(name: &str, figure: MetricReport, n: usize) -> Mark {
    let MetricReport { value, low, high, .. } = figure;
    Mark { name: name.to_owned(), value, low, high, colour: plot::colour(n) }
}

fn against_latency(html: &mut String, report: &Report) {
    let point = |(n, arm): (usize, &ArmReport)| {
        Some((mark(&arm.arm, report.metric(&arm.arm, ALL, QUALITY)?, n), arm.latency_ms?.p50))
    };
    let points: Vec<(Mark, f64)> = report.arms.iter().enumerate().filter_map(point).collect();
    if points.len() > 1 {
        let _ = write!(html, "<h2>{QUALITY} against latency</h2>\n{}", plot::against_latency(&points, QUALITY));
    }
}

/// What hybrid has over itself with one stage off: paired over the queries, so that the intervals say something.
fn stages(html: &mut String, report: &Report) {
    const HYBRID: &str = "hybrid";
    let without: Vec<&str> =
        report.arms.iter().filter_map(|arm| arm.arm.starts_with("hybrid-no-").then_some(arm.arm.as_str())).collect();
    if without.is_empty() || report.arms.iter().all(|arm| arm.arm != HYBRID) {
        return;
    }
    let (seed, resamples) = (report.about.seed, report.about.resamples);
    let difference = |without: &&str| {
        let arms = Some(((*without).to_owned(), HYBRID.to_owned()));
        compare(report, report, &CompareOptions { arms, seed, resamples })
    };
    let compared: Vec<Comparison> = without.iter().map(difference).collect();
    html.push_str("<h2>What each stage adds</h2>\n<p>hybrid less hybrid without the stage, over all queries.</p>\n");
    for metric in STAGE_METRICS {
        let of = |(n, (name, comparison)): (usize, (&&str, &Comparison))| {
            let changes = &comparison.pairs.first()?.changes;
            let change = changes.iter().find(|change| change.slice == ALL && change.metric == *metric)?;
            let name = name.trim_start_matches("hybrid-no-").to_owned();
            let (value, low, high) = (change.difference, change.low, change.high);
            Some(Mark { name, value, low, high, colour: plot::colour(n) })
        };
        let marks: Vec<Mark> = without.iter().zip(&compared).enumerate().filter_map(of).collect();
        if !marks.is_empty() {
            let svg = plot::differences(&marks, &format!("what each stage adds to {metric}"));
            let _ = write!(html, "<h3>{metric}</h3>\n{svg}");
        }
    }
}

fn reliability(html: &mut String, report: &Report) {
    let series: Vec<(String, &ConfidenceReport)> =
        calibration::shown(report).map(|(arm, confidence)| (arm.arm.clone(), confidence)).collect();
    if !series.is_empty() {
        let _ = write!(
            html,
            "<h2>Can the confidence be believed?</h2>\n<p>On the dashed line it is right as often as it says.</p>\n{}",
            plot::reliability(&series)
        );
    }
}

fn figures(html: &mut String, report: &Report) {
    let names: Vec<String> = crate::metric::Metric::ALL.iter().map(|metric| metric.name()).collect();
    let there = |name: &&String| report.arms.iter().flat_map(|a| &a.slices).any(|s| s.metrics.contains_key(*name));
    let names: Vec<&String> = names.iter().filter(there).collect();
    html.push_str("<h2>All figures</h2>\n<div class=\"wide\"><table><tr><th>arm</th><th>slice</th><th>n</th>");
    for name in &names {
        let _ = write!(html, "<th>{name}</th>");
    }
    html.push_str("</tr>\n");
    for arm in &report.arms {
        for slice in &arm.slices {
            let _ =
                write!(html, "<tr><td>{}</td><td>{}</td><td>{}</td>", escape(&arm.arm), escape(&slice.slice), slice.n);
            for name in &names {
                let Some(m) = slice.metrics.get(*name) else {
                    html.push_str("<td class=\"quiet\">–</td>");
                    continue;
                };
                let digits = if m.value.abs() >= 10.0 { 0 } else { 3 };
                let _ = write!(
                    html,
                    "<td title=\"{} queries\">{:.digits$}<br><small>[{:.digits$}, {:.digits$}]</small></td>",
                    m.n, m.value, m.low, m.high
                );
            }
            html.push_str("</tr>\n");
        }
    }
    html.push_str("</table></div>\n");
    let _ = writeln!(
        html,
        "<p><small>answer_tokens: {}. Listing every tool instead would take {}.</small></p>",
        escape(&report.about.answer_tokens),
        report.about.listing_tokens
    );
}

fn latencies(html: &mut String, report: &Report) {
    let rows: Vec<_> = report.arms.iter().filter_map(|arm| Some((&arm.arm, arm.latency_ms?))).collect();
    if rows.is_empty() {
        return;
    }
    html.push_str(
        "<h2>Latency per query, ms</h2>\n<table><tr><th>arm</th><th></th><th>p50</th><th>p95</th><th>p99</th>\
         <th>of this the embedding, p50</th></tr>\n",
    );
    for (arm, l) in rows {
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td></td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td></tr>",
            escape(arm),
            l.p50,
            l.p95,
            l.p99,
            l.embedding_p50
        );
    }
    html.push_str("</table>\n");
}

fn remarks(html: &mut String, report: &Report) {
    let about = &report.about;
    if about.unknown_relevant.is_empty() && about.notes.is_empty() {
        return;
    }
    html.push_str("<h2>Remarks</h2>\n<ul>\n");
    for unknown in &about.unknown_relevant {
        let _ = writeln!(
            html,
            "<li>query {} names tools that the catalog does not hold: {}</li>",
            escape(&unknown.query),
            escape(&unknown.ids.join(", "))
        );
    }
    for note in &about.notes {
        let _ = writeln!(html, "<li>{}</li>", escape(note));
    }
    html.push_str("</ul>\n");
}

/// The whole set first, then slices as the first arm has them: every arm has the same.
fn slice_names(report: &Report) -> Vec<&str> {
    report.arms.first().map_or_else(|| vec![ALL], |arm| arm.slices.iter().map(|s| s.slice.as_str()).collect())
}

fn first_12(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
