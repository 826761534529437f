//! Can a stated confidence be believed?

use crate::metric::{Answer, Labels};
use crate::report::{ArmReport, ConfidenceBin, ConfidenceReport, Report, rounded};

pub(crate) const N_BINS: usize = 10;

/// Arms whose confidence is shown bin by bin: more than a few would hide each other.
const SHOWN: &[&str] = &["hybrid", "bm25", "dense"];

/// The arms to show bin by bin, as far as the report has them.
pub(crate) fn shown(report: &Report) -> impl Iterator<Item = (&ArmReport, &ConfidenceReport)> {
    let of_shown = report.arms.iter().filter(|arm| SHOWN.contains(&arm.arm.as_str()));
    of_shown.filter_map(|arm| Some((arm, arm.confidence.as_ref()?)))
}

impl ConfidenceReport {
    /// The n-th of the ten bins, if any query is in it.
    pub(crate) fn bin(&self, nth: usize) -> Option<&ConfidenceBin> {
        let from = rounded(nth as f64 / N_BINS as f64);
        self.bins.iter().find(|bin| bin.from == from)
    }
}

/// Bins the answered queries by confidence and counts how often the first tool was right. `None` where nothing was answered
/// with a confidence.
pub(crate) fn calibration(labels: &[Labels<String>], answers: &[Answer<String>]) -> Option<ConfidenceReport> {
    // Queries, sum of confidences, right ones.
    let mut bins = [(0usize, 0.0_f64, 0usize); N_BINS];
    for (labels, answer) in labels.iter().zip(answers) {
        let (Some(first), Some(confidence)) = (answer.top.first(), answer.confidence) else { continue };
        let bin = &mut bins[((confidence * N_BINS as f64) as usize).min(N_BINS - 1)];
        bin.0 += 1;
        bin.1 += confidence;
        bin.2 += usize::from(labels.relevant.contains(first));
    }
    let n_answered: usize = bins.iter().map(|bin| bin.0).sum();
    let filled = bins.iter().enumerate().filter(|(_, bin)| bin.0 > 0);
    let bins: Vec<ConfidenceBin> = filled
        .map(|(i, &(n, sum, n_right))| ConfidenceBin {
            from: rounded(i as f64 / N_BINS as f64),
            to: rounded((i + 1) as f64 / N_BINS as f64),
            n,
            confidence: rounded(sum / n as f64),
            right: rounded(n_right as f64 / n as f64),
        })
        .collect();
    let distance: f64 = bins.iter().map(|bin| bin.n as f64 * (bin.confidence - bin.right).abs()).sum();
    (n_answered > 0).then(|| ConfidenceReport { bins, ece: rounded(distance / n_answered as f64) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_by_hand() {
        let labels = |relevant: &str| Labels { relevant: vec![relevant.to_owned()], groups: Vec::new() };
        let answer = |top: &[&str], confidence| Answer {
            top: top.iter().map(|&t| t.to_owned()).collect(),
            no_match: false,
            tokens: 0,
            confidence,
        };
        let all = [labels("a"), labels("a"), labels("a"), labels("a"), labels("a")];
        let answers = [
            answer(&["a"], Some(1.0)),
            answer(&["b", "a"], Some(0.92)),
            answer(&["a"], Some(0.3)),
            answer(&[], Some(0.3)),
            answer(&["a"], None),
        ];
        let report = calibration(&all, &answers).unwrap();
        let bins: Vec<_> = report.bins.iter().map(|bin| (bin.from, bin.to, bin.n, bin.confidence, bin.right)).collect();
        assert_eq!(bins, [(0.3, 0.4, 1, 0.3, 1.0), (0.9, 1.0, 2, 0.96, 0.5)]);
        // (1 · .7 + 2 · .46) / 3
        assert_eq!(report.ece, 0.54);
        assert_eq!(calibration(&all, &[]), None);
    }
}
