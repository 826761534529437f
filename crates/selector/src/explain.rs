//! Evidence for people.

use std::fmt::Write as _;

use crate::evidence::{Candidate, Evidence, Fate, Sign, StepStage};
use crate::options::Fusion;

/// Terms shown per candidate.
const SHOWN_TERMS: usize = 6;
/// Signs of confidence shown one by one.
const SHOWN_SIGNS: usize = 5;

/// Renders the evidence as text, the first `n` candidates in detail. Every line says what one stage saw and did.
pub fn explain(evidence: &Evidence, n: usize) -> String {
    let mut text = String::new();
    let out = &mut text;
    let index = &evidence.index;
    let _ = write!(out, "generation {}, index {}", evidence.generation, index.state.as_str());
    let _ = match &index.reason {
        Some(reason) => writeln!(out, " ({} of {} tools have vectors: {reason})", index.embedded, index.total),
        None => writeln!(out),
    };
    access_line(out, evidence);
    if !evidence.slips.is_empty() {
        let slips = evidence.slips.iter().map(|slip| format!("{} → {}", slip.typed, slip.read));
        let _ = writeln!(out, "slips       {}", slips.collect::<Vec<_>>().join(", "));
    }
    let lexical = &evidence.lexical;
    let terms: Vec<String> = lexical.terms.iter().map(|(term, idf)| format!("{term} {idf:.1}")).collect();
    let _ = writeln!(
        out,
        "words       {} tools match, {} candidates; terms (rarity): {}",
        lexical.n_matched,
        lexical.n_candidates,
        terms.join(", ")
    );
    let _ = match evidence.dense.by {
        Some(by) => writeln!(out, "meaning     {} candidates ({})", evidence.dense.n_candidates, by.as_str()),
        None => writeln!(out, "meaning     not searched"),
    };
    let tokens = &evidence.tokens;
    if tokens.n_candidates > 0 {
        let (n, low, high) = (tokens.n_candidates, tokens.low, tokens.high);
        let _ = writeln!(out, "tokens      the best {n} compared word by word: {low:.3}…{high:.3}");
    }
    if !evidence.steps.is_empty() {
        let best = |step: &StepStage| step.best.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let best: Vec<String> = evidence.steps.iter().map(best).collect();
        let _ = writeln!(out, "steps       {} named, best for each: {}", best.len(), best.join(", "));
    }
    fusion_line(out, evidence);
    let confidence = &evidence.confidence;
    let cosine = confidence.best_cosine.map_or_else(|| "none".to_owned(), |cosine| format!("{cosine:.3}"));
    let _ = writeln!(
        out,
        "confidence  {:.2} from best cosine {cosine} and best word coverage {:.2}; nothing fits below {:.2}",
        confidence.confidence, confidence.best_coverage, confidence.threshold
    );
    signs_line(out, evidence);
    if let Some(second) = &evidence.second {
        let _ = write!(out, "second      {} {}, {} candidates, ", second.by, second.model, second.n_candidates);
        let _ = match &second.skipped {
            Some(reason) => writeln!(out, "skipped: {reason}"),
            None if second.remembered => writeln!(out, "remembered"),
            None => writeln!(out, "{} ms", second.millis),
        };
    }
    if let Some(budget) = &evidence.budget {
        let _ = writeln!(out, "budget      {} of {} tokens for definitions", budget.used, budget.tokens);
    }
    for candidate in evidence.candidates.iter().take(n) {
        candidate_lines(out, candidate);
    }
    let n_rest = evidence.candidates.len().saturating_sub(n) as u64 + evidence.n_more_candidates;
    if n_rest > 0 {
        let _ = writeln!(out, "… and {n_rest} more candidates");
    }
    text
}

/// The signs that moved the confidence most, in the points of its logistic function.
fn signs_line(out: &mut String, evidence: &Evidence) {
    let worth = |sign: &Sign| sign.value * sign.weight;
    let mut signs: Vec<&Sign> = evidence.confidence.signs.iter().filter(|sign| worth(sign) != 0.0).collect();
    let sum: f64 = signs.iter().map(|sign| worth(sign)).sum();
    signs.sort_by(|a, b| worth(b).abs().total_cmp(&worth(a).abs()));
    let n_more = signs.len().saturating_sub(SHOWN_SIGNS);
    let mut told: Vec<String> =
        signs.iter().take(SHOWN_SIGNS).map(|sign| format!("{} {:+.2}", sign.name, worth(sign))).collect();
    if n_more > 0 {
        let rest: f64 = signs.iter().skip(SHOWN_SIGNS).map(|sign| worth(sign)).sum();
        told.push(format!("{n_more} others {rest:+.2}"));
    }
    if !told.is_empty() {
        let _ = writeln!(out, "            {} = {sum:+.2}", told.join(", "));
    }
}

fn access_line(out: &mut String, evidence: &Evidence) {
    let access = &evidence.access;
    let _ = write!(out, "access      {} tools", access.n_tools);
    if access.n_in_filters != access.n_tools {
        let _ = write!(out, ", {} within the filters", access.n_in_filters);
    }
    let _ = write!(out, ", {} permitted", access.n_allowed);
    for (rule, count) in &access.denied {
        let _ = write!(out, "; {count} denied by `{rule}`");
    }
    out.push('\n');
}

fn fusion_line(out: &mut String, evidence: &Evidence) {
    let fusion = &evidence.fusion;
    let _ = write!(out, "fusion      {} candidates together, ", fusion.n_candidates);
    let _ = match fusion.method {
        Fusion::Learned => write!(
            out,
            "learned weights (cosine {:.3}…{:.3}, word score 0…{:.2})",
            fusion.cosine_low, fusion.cosine_high, fusion.lexical_high
        ),
        Fusion::Weighted { dense } => write!(
            out,
            "{dense:.2} × meaning (cosine {:.3}…{:.3}) + {:.2} × words (score 0…{:.2})",
            fusion.cosine_low,
            fusion.cosine_high,
            1.0 - dense,
            fusion.lexical_high
        ),
        Fusion::Rrf { k } => write!(out, "reciprocal ranks, k = {k}"),
        Fusion::Lexical => write!(out, "words alone"),
        Fusion::Dense => write!(out, "meaning alone"),
    };
    let _ = write!(out, ", all × {:.3}", fusion.scale);
    if fusion.quality > 0.0 {
        let _ = write!(out, "; a tool that fails loses up to {:.0} %", fusion.quality * 100.0);
    }
    let _ = writeln!(out);
}

fn aligned(candidate: &Candidate) -> String {
    let pairs = candidate.alignments.iter().take(SHOWN_TERMS);
    let pairs: Vec<String> = pairs.map(|pair| format!("{}~{}", pair.query, pair.card)).collect();
    if pairs.is_empty() { String::new() } else { format!(": {}", pairs.join(", ")) }
}

fn candidate_lines(out: &mut String, candidate: &Candidate) {
    let fate = match &candidate.fate {
        Fate::Selected => String::new(),
        Fate::SameAs { id } => format!("   (same as {id})"),
        Fate::BelowLimit => "   (below the limit)".to_owned(),
        Fate::OverBudget { tokens } => format!("   (over the budget, with {tokens} tokens)"),
        Fate::NothingFits => "   (not near enough)".to_owned(),
    };
    let _ = writeln!(out, "\n{:>3}. {}  {:.3}{fate}", candidate.rank, candidate.id, candidate.score.value());
    if candidate.misleads {
        let _ = writeln!(out, "     callers often get its arguments wrong: its description may mislead");
    }
    let place = |rank: Option<u32>| rank.map_or_else(|| "unranked".to_owned(), |rank| format!("#{rank}"));
    for part in &candidate.parts {
        let side = match &*part.name {
            "meaning" => candidate.dense.map(|side| format!("cosine {:.3}, {}", side.score, place(side.rank))),
            "tokens" => candidate.tokens.map(|score| format!("late interaction {score:.3}{}", aligned(candidate))),
            "words" => candidate.lexical.map(|side| format!("score {:.2}, {}", side.score, place(side.rank))),
            _ => None,
        };
        let _ = writeln!(out, "     {:+.3} {:<8} {}", part.value, part.name, side.unwrap_or_default());
    }
    let shown: Vec<String> = candidate
        .terms
        .iter()
        .take(SHOWN_TERMS)
        .map(|term| format!("{} in {} {:.2}", term.term, term.field.as_str(), term.contribution))
        .collect();
    if !shown.is_empty() {
        let more = candidate.terms.len().saturating_sub(SHOWN_TERMS);
        let more = if more > 0 { format!(", {more} more") } else { String::new() };
        let _ = writeln!(out, "            {}{more}", shown.join(", "));
    }
}
