//! Pictures as SVG text: bars, clouds, dots. No script, no font, nothing from elsewhere.
//!
//! A picture within a page takes its colour from the page (`currentColor`); [`standalone`] makes a file of one.

use std::fmt::Write as _;

use crate::report::ConfidenceReport;

/// Colours of arms; Okabe and Ito's palette, distinguishable also by the colour-blind. Names always stand beside.
pub(crate) const COLOURS: &[&str] = &["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999"];
/// What is not to stand out.
pub(crate) const QUIET: &str = "#999999";

/// The colour of the n-th thing.
pub(crate) fn colour(n: usize) -> &'static str {
    COLOURS[n % COLOURS.len()]
}

/// A figure with its interval and what it is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mark {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) colour: &'static str,
}

/// Bars from zero to the right, within 0 to 1, under headings.
pub(crate) fn bars(groups: &[(String, Vec<Mark>)], label: &str) -> String {
    const LEFT: f64 = 190.0;
    const WIDTH: f64 = 620.0;
    const ROW: f64 = 18.0;
    let n_rows: usize = groups.iter().map(|(_, marks)| 1 + marks.len()).sum();
    let height = ROW * n_rows as f64 + 24.0;
    let x = |value: f64| LEFT + WIDTH * value.clamp(0.0, 1.0);
    let mut svg = open(LEFT + WIDTH + 70.0, height, label);
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        vertical(&mut svg, x(tick), 0.0, height - 20.0);
        text(&mut svg, x(tick), height - 6.0, "middle", &tick.to_string());
    }
    let mut y = 0.0;
    for (heading, marks) in groups {
        let _ = writeln!(svg, "<text x=\"0\" y=\"{}\" font-weight=\"600\">{}</text>", y + 13.0, escape(heading));
        y += ROW;
        for mark in marks {
            text(&mut svg, LEFT - 8.0, y + 13.0, "end", &mark.name);
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/>",
                y + 3.0,
                x(mark.value) - LEFT,
                ROW - 6.0,
                mark.colour
            );
            whisker(&mut svg, x(mark.low), x(mark.high), y + ROW / 2.0);
            text(&mut svg, x(mark.high.max(mark.value)) + 6.0, y + 13.0, "start", &format!("{:.3}", mark.value));
            y += ROW;
        }
    }
    close(svg)
}

/// Differences from zero, to both sides.
pub(crate) fn differences(marks: &[Mark], label: &str) -> String {
    const LEFT: f64 = 190.0;
    const WIDTH: f64 = 560.0;
    const ROW: f64 = 22.0;
    let reach = marks.iter().flat_map(|mark| [mark.low.abs(), mark.high.abs(), mark.value.abs()]).fold(0.01, f64::max);
    let height = ROW * marks.len() as f64 + 24.0;
    let x = |value: f64| LEFT + WIDTH * (0.5 + value / reach / 2.0).clamp(0.0, 1.0);
    let mut svg = open(LEFT + WIDTH + 90.0, height, label);
    for tick in [-reach, 0.0, reach] {
        vertical(&mut svg, x(tick), 0.0, height - 20.0);
        text(&mut svg, x(tick), height - 6.0, "middle", &format!("{tick:+.3}"));
    }
    for (mark, row) in marks.iter().zip(0u32..) {
        let y = ROW * f64::from(row);
        text(&mut svg, LEFT - 8.0, y + 15.0, "end", &mark.name);
        let (from, to) = (x(mark.value.min(0.0)), x(mark.value.max(0.0)));
        let _ = writeln!(
            svg,
            "<rect x=\"{from:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/>",
            y + 4.0,
            to - from,
            ROW - 8.0,
            mark.colour
        );
        whisker(&mut svg, x(mark.low), x(mark.high), y + ROW / 2.0);
        text(&mut svg, LEFT + WIDTH + 8.0, y + 15.0, "start", &format!("{:+.3}", mark.value));
    }
    close(svg)
}

/// Quality, upwards, against milliseconds, to the right on a logarithmic scale.
pub(crate) fn against_latency(points: &[(Mark, f64)], quality: &str) -> String {
    const LEFT: f64 = 60.0;
    const TOP: f64 = 10.0;
    const WIDTH: f64 = 620.0;
    const HEIGHT: f64 = 320.0;
    // A clock's grain: below a hundredth of a millisecond nothing is told apart.
    let decade = |ms: f64| ms.max(0.01).log10();
    let first = points.iter().map(|(_, ms)| decade(*ms)).fold(f64::INFINITY, f64::min).floor();
    let last = points.iter().map(|(_, ms)| decade(*ms)).fold(f64::NEG_INFINITY, f64::max).ceil().max(first + 1.0);
    let x = |ms: f64| LEFT + WIDTH * (decade(ms) - first) / (last - first);
    let y = |value: f64| TOP + HEIGHT * (1.0 - value.clamp(0.0, 1.0));
    let mut svg = open(LEFT + WIDTH + 150.0, TOP + HEIGHT + 44.0, &format!("{quality} against latency"));
    for step in 0..=(last - first) as u32 {
        let ms = 10f64.powf(first + f64::from(step));
        vertical(&mut svg, x(ms), TOP, TOP + HEIGHT);
        text(&mut svg, x(ms), TOP + HEIGHT + 16.0, "middle", &format!("{ms}"));
    }
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        horizontal(&mut svg, LEFT, LEFT + WIDTH, y(tick));
        text(&mut svg, LEFT - 8.0, y(tick) + 4.0, "end", &tick.to_string());
    }
    text(&mut svg, LEFT + WIDTH / 2.0, TOP + HEIGHT + 36.0, "middle", "ms per query at p50, its embedding included");
    // Names of neighbours would lie over each other: each goes below the one before if that is too near.
    let mut order: Vec<&(Mark, f64)> = points.iter().collect();
    order.sort_by(|a, b| b.0.value.total_cmp(&a.0.value));
    let mut names: Vec<(f64, f64)> = Vec::new();
    for (mark, ms) in order {
        let (at_x, at_y) = (x(*ms), y(mark.value));
        let _ = writeln!(
            svg,
            "<line x1=\"{at_x:.1}\" x2=\"{at_x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"{}\" stroke-width=\"1.5\"/>\
             <circle cx=\"{at_x:.1}\" cy=\"{at_y:.1}\" r=\"4.5\" fill=\"{}\"/>",
            y(mark.high),
            y(mark.low),
            mark.colour,
            mark.colour
        );
        let mut name_y = at_y + 4.0;
        for (other_x, other_y) in &names {
            if (other_x - at_x).abs() < 130.0 && name_y < other_y + 13.0 {
                name_y = other_y + 13.0;
            }
        }
        names.push((at_x, name_y));
        text(&mut svg, at_x + 9.0, name_y, "start", &mark.name);
    }
    close(svg)
}

/// How often the first tool is right, upwards, against the confidence stated. On the line both are the same.
pub(crate) fn reliability(series: &[(String, &ConfidenceReport)]) -> String {
    const LEFT: f64 = 60.0;
    const TOP: f64 = 10.0;
    const SIDE: f64 = 320.0;
    let (x, y) = (|value: f64| LEFT + SIDE * value, |value: f64| TOP + SIDE * (1.0 - value));
    let mut svg = open(LEFT + SIDE + 260.0, TOP + SIDE + 44.0, "share of right answers against stated confidence");
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        vertical(&mut svg, x(tick), TOP, TOP + SIDE);
        horizontal(&mut svg, LEFT, LEFT + SIDE, y(tick));
        text(&mut svg, x(tick), TOP + SIDE + 16.0, "middle", &tick.to_string());
        text(&mut svg, LEFT - 8.0, y(tick) + 4.0, "end", &tick.to_string());
    }
    let _ = writeln!(
        svg,
        "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"currentColor\" stroke-dasharray=\"4 4\"/>",
        x(0.0),
        y(0.0),
        x(1.0),
        y(1.0)
    );
    text(&mut svg, LEFT + SIDE / 2.0, TOP + SIDE + 36.0, "middle", "confidence stated; size: queries");
    for (n, (name, report)) in series.iter().enumerate() {
        let path: Vec<String> =
            report.bins.iter().map(|bin| format!("{:.1},{:.1}", x(bin.confidence), y(bin.right))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"/>",
            path.join(" "),
            colour(n)
        );
        let n_queries: usize = report.bins.iter().map(|bin| bin.n).sum();
        for bin in &report.bins {
            let radius = 2.5 + 9.0 * (bin.n as f64 / n_queries.max(1) as f64).sqrt();
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"{}\" fill-opacity=\".6\"/>",
                x(bin.confidence),
                y(bin.right),
                colour(n)
            );
        }
        let row = TOP + 14.0 + 18.0 * n as f64;
        let _ = writeln!(
            svg,
            "<circle cx=\"{}\" cy=\"{}\" r=\"5\" fill=\"{}\"/>",
            LEFT + SIDE + 24.0,
            row - 4.0,
            colour(n)
        );
        text(&mut svg, LEFT + SIDE + 36.0, row, "start", &format!("{name}, off by {:.3}", report.ece));
    }
    close(svg)
}

/// One column of dots per set, one row per name; a name without a figure in a set has no dot there.
pub(crate) fn panels(title: &str, names: &[(String, &'static str)], sets: &[(String, Vec<Option<Mark>>)]) -> String {
    const LEFT: f64 = 150.0;
    const TOP: f64 = 46.0;
    const PANEL: f64 = 150.0;
    const GAP: f64 = 34.0;
    const ROW: f64 = 20.0;
    let height = TOP + ROW * names.len() as f64 + 26.0;
    let width = LEFT + (PANEL + GAP) * sets.len() as f64 + 10.0;
    let mut svg = open(width, height, title);
    let _ = writeln!(svg, "<text x=\"0\" y=\"14\" font-weight=\"600\">{}</text>", escape(title));
    for ((name, colour), row) in names.iter().zip(0u32..) {
        let y = TOP + ROW * f64::from(row) + ROW / 2.0;
        let weight = if *colour == QUIET { "400" } else { "600" };
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" font-weight=\"{weight}\">{}</text>",
            LEFT - 14.0,
            y + 4.0,
            escape(name)
        );
    }
    for ((set, marks), column) in sets.iter().zip(0u32..) {
        let left = LEFT + (PANEL + GAP) * f64::from(column);
        let x = |value: f64| left + PANEL * value.clamp(0.0, 1.0);
        text(&mut svg, left, TOP - 10.0, "start", set);
        for tick in [0.0, 0.5, 1.0] {
            vertical(&mut svg, x(tick), TOP, height - 24.0);
            text(&mut svg, x(tick), height - 10.0, "middle", &tick.to_string());
        }
        for (mark, row) in marks.iter().zip(0u32..) {
            let Some(mark) = mark else { continue };
            let y = TOP + ROW * f64::from(row) + ROW / 2.0;
            let _ = writeln!(
                svg,
                "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y}\" y2=\"{y}\" stroke=\"{}\" stroke-width=\"2\"/>\
                 <circle cx=\"{:.1}\" cy=\"{y}\" r=\"4\" fill=\"{}\"><title>{:.3}</title></circle>",
                x(mark.low),
                x(mark.high),
                mark.colour,
                x(mark.value),
                mark.colour,
                mark.value
            );
        }
    }
    close(svg)
}

/// A picture as a file of its own, dark on light or the other way round as its reader has it.
pub(crate) fn standalone(svg: &str) -> String {
    let style = "<style>svg{color:#1b1f24;font-family:system-ui,sans-serif}text{fill:currentColor}\
                 @media(prefers-color-scheme:dark){svg{color:#e3e6ea}}</style>";
    let named = svg.replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1);
    match named.split_once('\n') {
        Some((head, rest)) => format!("{head}\n{style}\n{rest}"),
        None => named,
    }
}

fn open(width: f64, height: f64, label: &str) -> String {
    let label = escape(label);
    format!(
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" aria-label=\"{label}\" font-size=\"12\">\n"
    )
}

fn close(mut svg: String) -> String {
    svg.push_str("</svg>\n");
    svg
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, what: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(what));
}

fn vertical(svg: &mut String, x: f64, from: f64, to: f64) {
    let _ = writeln!(svg, "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from}\" y2=\"{to}\" stroke=\"#8884\"/>");
}

fn horizontal(svg: &mut String, from: f64, to: f64, y: f64) {
    let _ = writeln!(svg, "<line x1=\"{from}\" x2=\"{to}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#8884\"/>");
}

fn whisker(svg: &mut String, from: f64, to: f64, y: f64) {
    let _ = writeln!(
        svg,
        "<line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y}\" y2=\"{y}\" stroke=\"currentColor\" stroke-width=\"1.5\"/>"
    );
}

/// Ids and names are a stranger's.
pub(crate) fn escape(text: &str) -> String {
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
    //! 1. Every picture is one balanced `svg` element with finite numbers, whatever the figures.
    //! 2. A stranger's text stays text.
    use super::*;
    use crate::report::ConfidenceBin;

    fn mark(name: &str, value: f64) -> Mark {
        Mark { name: name.into(), value, low: value - 0.1, high: value + 0.1, colour: colour(0) }
    }

    #[track_caller]
    fn check(svg: &str) {
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
        for tag in ["svg", "text", "title"] {
            let (opened, closed) = (format!("<{tag}"), format!("</{tag}>"));
            assert_eq!(svg.matches(&opened).count(), svg.matches(&closed).count(), "{tag} in {svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(!svg.contains("<b>"), "{svg}");
    }

    #[test]
    fn pictures_are_whole() {
        let marks = || vec![mark("a <b>", 0.5), mark("b", 0.0), mark("c", 1.0)];
        check(&bars(&[("all".into(), marks())], "recall"));
        check(&differences(&marks(), "what each stage adds"));
        check(&differences(&[mark("nothing", 0.0)], "none"));
        for latencies in [[0.0, 0.0, 0.0], [0.1, 3.0, 900.0]] {
            check(&against_latency(&marks().into_iter().zip(latencies).collect::<Vec<_>>(), "recall@5"));
        }
        let bin = ConfidenceBin { from: 0.9, to: 1.0, n: 3, confidence: 0.95, right: 1.0 };
        check(&reliability(&[("a <b>".into(), &ConfidenceReport { bins: vec![bin], ece: 0.05 })]));
        let names = [("a <b>".to_owned(), colour(0)), ("b".to_owned(), QUIET)];
        let svg = panels("t", &names, &[("set <b>".into(), vec![Some(mark("a", 0.5)), None])]);
        check(&svg);
        assert!(standalone(&svg).starts_with("<svg xmlns="));
    }

    #[test]
    fn a_strangers_text_stays_text() {
        assert_eq!(escape("<b onclick=\"x\">&'"), "&lt;b onclick=&quot;x&quot;&gt;&amp;&#39;");
        assert_eq!(escape("a\u{202e}b"), "ab");
    }
}
