//! A report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.

use std::fmt::Write as _;

use crate::report::{MetricReport, Report};
use crate::score::ALL;

/// The figures that get a plot: one for finding, one for order, one for doing the whole task, and the refusals.
const PLOTTED: &[&str] = &["recall@5", "ndcg@10", "complete@10", "no_match_recall", "false_refusal"];

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #e3e6ea}\
td:nth-child(-n+2),th:nth-child(-n+2){text-align:left}.wide{overflow-x:auto}small,.quiet{color:#667}svg{max-width:100%;height:auto}\
h2{margin-top:2.5rem}@media(prefers-color-scheme:dark){body{background:#14171b;color:#e3e6ea}td,th{border-color:#333a42}svg text{fill:#e3e6ea}}";

/// Bars of arms, distinguishable also without colour by their order and labels (Okabe and Ito's palette).
const COLOURS: &[&str] = &["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999"];

/// The page.
pub fn page(report: &Report) -> String {
    let about = &report.about;
    let set = escape(&report.set);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>toolscout eval: {set}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\n<h1>{set}</h1>\n"
    );
    let _ = writeln!(
        html,
        "<p>{} queries over {} tools, {} asked for. Lines on bars and figures in brackets are 95 % intervals \
         ({} redrawn sets, seed {}).<br><small>toolscout {}; {}; catalog {}, queries {}</small></p>",
        about.n_queries,
        about.n_tools,
        report.k,
        about.resamples,
        about.seed,
        escape(&about.toolscout),
        escape(about.model.as_deref().unwrap_or("no embedding model")),
        escape(first_12(&about.catalog)),
        escape(first_12(&about.queries)),
    );
    for metric in PLOTTED {
        plot(&mut html, report, metric);
    }
    figures(&mut html, report);
    latencies(&mut html, report);
    remarks(&mut html, report);
    html.push_str("</body></html>\n");
    html
}

fn plot(html: &mut String, report: &Report, metric: &str) {
    const LEFT: f64 = 190.0;
    const WIDTH: f64 = 620.0;
    const ROW: f64 = 18.0;
    let mut bars: Vec<(Option<&str>, usize, &str, MetricReport)> = Vec::new();
    for slice in slice_names(report) {
        let mut heading = Some(slice);
        for (i, arm) in report.arms.iter().enumerate() {
            if let Some(figure) = report.metric(&arm.arm, slice, metric) {
                bars.push((heading.take(), i, &arm.arm, figure));
            }
        }
    }
    if bars.is_empty() {
        return;
    }
    let n_headings = bars.iter().filter(|bar| bar.0.is_some()).count();
    let height = ROW * (bars.len() + n_headings) as f64 + 24.0;
    let _ = write!(
        html,
        "<h2>{metric}</h2>\n<svg viewBox=\"0 0 {} {height}\" width=\"{}\" role=\"img\" aria-label=\"{metric} by arm and slice\" \
         font-size=\"12\">\n",
        LEFT + WIDTH + 70.0,
        LEFT + WIDTH + 70.0,
    );
    for tenth in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let x = LEFT + WIDTH * tenth;
        let _ = writeln!(
            html,
            "<line x1=\"{x}\" x2=\"{x}\" y1=\"0\" y2=\"{}\" stroke=\"#8884\"/><text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{tenth}</text>",
            height - 20.0,
            height - 6.0
        );
    }
    let mut y = 0.0;
    for (heading, arm_idx, arm, figure) in bars {
        if let Some(slice) = heading {
            let _ = writeln!(html, "<text x=\"0\" y=\"{}\" font-weight=\"600\">{}</text>", y + 13.0, escape(slice));
            y += ROW;
        }
        let (middle, x) = (y + ROW / 2.0, |value: f64| LEFT + WIDTH * value.clamp(0.0, 1.0));
        let colour = COLOURS[arm_idx % COLOURS.len()];
        let _ = writeln!(
            html,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><rect x=\"{LEFT}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"currentColor\" stroke-width=\"1.5\"/>\
             <text x=\"{:.1}\" y=\"{}\">{:.3}</text>",
            LEFT - 8.0,
            y + 13.0,
            escape(arm),
            y + 3.0,
            x(figure.value) - LEFT,
            ROW - 6.0,
            x(figure.low),
            x(figure.high),
            x(figure.high.max(figure.value)) + 6.0,
            y + 13.0,
            figure.value
        );
        y += ROW;
    }
    html.push_str("</svg>\n");
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

/// Ids and names are a stranger's.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !toolscout_core::text::is_hidden(*c)) {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_stays_text() {
        assert_eq!(escape("<b onclick=\"x\">&'"), "&lt;b onclick=&quot;x&quot;&gt;&amp;&#39;");
        assert_eq!(escape("a\u{202e}b"), "ab");
    }
}
