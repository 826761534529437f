//! `search` and `explain`.

use serde_json::Value;
use toolscout_core::SideEffect;
use toolscout_gateway::wire::{self, ExplainRequest, Filters, SearchRequest, SearchResponse};
use toolscout_selector::{Evidence, Fate};

use crate::args;
use crate::backend::Backend;
use crate::fail::{Ended, Exit};
use crate::screen;

/// Candidates that `--explain` shows behind the answer.
const N_BEHIND: usize = 3;

/// `search`: finds tools, with their evidence if asked.
pub(crate) async fn search(args: &args::Search, backend: &Backend) -> Ended {
    let request = SearchRequest {
        query: args.query.join(" "),
        limit: usize::try_from(args.limit).ok(),
        detail: match args.detail {
            args::Detail::Name => wire::Detail::Name,
            args::Detail::Summary => wire::Detail::Summary,
            args::Detail::Schema => wire::Detail::Schema,
        },
        filters: Filters {
            upstreams: args.upstreams.clone(),
            tags: args.tags.clone(),
            max_side_effect: args.max_side_effect.map(|effect| SideEffect::from(effect).as_str().to_owned()),
        },
    };
    let answer = backend.search(request).await?;
    let ask = |tool: Option<String>| ExplainRequest { selection_id: answer.selection_id.clone(), tool };
    let evidence = match args.explain {
        true => backend.explain(ask(None)).await?.evidence,
        false => None,
    };
    let why = match &args.tool {
        Some(tool) => Some(backend.explain(ask(Some(tool.clone()))).await?),
        None => None,
    };

    if args.output.json {
        let mut value = serde_json::to_value(&answer)?;
        if let Some(object) = value.as_object_mut() {
            object.extend(evidence.map(|evidence| ("evidence".to_owned(), evidence)));
            object.extend(why.and_then(|why| why.why).map(|why| ("why".to_owned(), why)));
        }
        screen::json(&value)?;
    } else {
        print_answer(&answer, args.detail)?;
        if let Some(evidence) = evidence {
            print_evidence(&evidence)?;
        }
        if let Some(why) = why {
            screen::line(&format!("\n{}", why.text))?;
        }
    }
    Ok(exit_of(&answer))
}

fn exit_of(answer: &SearchResponse) -> Exit {
    // Policy is to blame only where it left nothing to look at: with near misses to name, simply nothing fits.
    let nothing_left = answer.no_match.as_ref().is_none_or(|no_match| no_match.nearest.is_empty());
    match (answer.tools.is_empty(), answer.withheld.count) {
        (false, _) => Exit::Done,
        (true, 1..) if nothing_left => Exit::NotPermitted,
        (true, _) => Exit::NoMatch,
    }
}

fn print_answer(answer: &SearchResponse, detail: args::Detail) -> std::io::Result<()> {
    match detail {
        args::Detail::Schema => {
            for tool in &answer.tools {
                let schema = serde_json::to_string_pretty(&tool.input_schema).unwrap_or_default();
                screen::line(&format!("{} ({:.2}, {})\n{schema}\n", tool.id, tool.score, tool.side_effect))?;
            }
        }
        args::Detail::Name | args::Detail::Summary if !answer.tools.is_empty() => {
            let mut table = screen::table(&["", "tool", "score", "effect", "what it does"]);
            for (i, tool) in answer.tools.iter().enumerate() {
                let mut about = tool.summary.clone().unwrap_or_else(|| tool.title.clone());
                if let Some(signature) = &tool.signature {
                    about = format!("{about}\n{signature}");
                }
                if !tool.variants.is_empty() {
                    about = format!("{about}\nthe same: {}", tool.variants.join(", "));
                }
                if let Some(caution) = &tool.caution {
                    let caution = caution.replace("get_tool_details", &format!("`toolscout tools show {}`", tool.id));
                    about = format!("{about}\n{caution}");
                }
                let score = format!("{:.2}", tool.score);
                table.add_row([&(i + 1).to_string(), &tool.id, &score, &tool.side_effect, &about]);
            }
            screen::print(&table, "")?;
        }
        args::Detail::Name | args::Detail::Summary => {}
    }
    if let Some(no_match) = &answer.no_match {
        screen::line(&format!("nothing fits: {}", no_match.reason))?;
        if !no_match.nearest.is_empty() {
            screen::line(&format!("nearest: {}", no_match.nearest.join(", ")))?;
        }
    } else if answer.tools.is_empty() {
        screen::line("nothing matched")?;
    }
    if answer.withheld.count > 0 {
        let reasons = answer.withheld.reasons.iter().map(|(reason, n)| format!("{reason}: {n}"));
        let reasons = reasons.collect::<Vec<_>>().join(", ");
        screen::line(&format!("withheld: {} ({reasons})", answer.withheld.count))?;
        for tool in &answer.withheld.tools {
            let instead =
                if tool.instead.is_empty() { String::new() } else { format!("; instead: {}", tool.instead.join(", ")) };
            screen::line(&format!("  {} {}{instead}", tool.id, tool.reason))?;
        }
    }
    let rest = format!("confidence {:.2} · index {} · {}", answer.confidence, answer.index_state, answer.selection_id);
    screen::line(&format!("\n{rest}"))
}

/// Withheld tools named; the others are counted.
const N_HELD: usize = 3;

/// Evidence as a compact table: what was searched, then how each candidate came to its place.
fn print_evidence(evidence: &Value) -> anyhow::Result<()> {
    let Ok(evidence) = serde_json::from_value::<Evidence>(evidence.clone()) else {
        // A server of another version; its evidence is still better than none.
        return screen::json(evidence);
    };
    let access = &evidence.access;
    let mut lines = Vec::new();
    lines.push(format!(
        "tools    {} known, {} within the filters, {} permitted",
        access.n_tools, access.n_in_filters, access.n_allowed
    ));
    for (rule, n) in &access.denied {
        lines.push(format!("         {n} denied by {rule}"));
    }
    for held in access.held.iter().take(N_HELD) {
        let since = held.since.map(|since| format!(" since {}", since.rfc3339())).unwrap_or_default();
        lines.push(format!("         {}: {}{since}: {}", held.id, held.what, held.reason));
    }
    if !evidence.slips.is_empty() {
        let slips = evidence.slips.iter().map(|slip| format!("{} → {}", slip.typed, slip.read));
        lines.push(format!("slips    {}", slips.collect::<Vec<_>>().join(", ")));
    }
    let terms = evidence.lexical.terms.iter().map(|(term, idf)| format!("{term} ({idf:.1})"));
    let terms = terms.collect::<Vec<_>>().join(", ");
    lines.push(format!(
        "words    {} matched {terms}; {} candidates",
        evidence.lexical.n_matched, evidence.lexical.n_candidates
    ));
    let meaning = match evidence.dense.by {
        Some(kind) => format!("{} search; {} candidates", word(&kind), evidence.dense.n_candidates),
        None => format!("not searched: {}", evidence.index.reason.as_deref().unwrap_or("no vectors")),
    };
    lines.push(format!("meaning  {meaning}"));
    let tokens = &evidence.tokens;
    if tokens.n_candidates > 0 {
        lines.push(format!(
            "tokens   the best {} compared word by word: {:.2} to {:.2}",
            tokens.n_candidates, tokens.low, tokens.high
        ));
    }
    let steps: Vec<String> = evidence
        .steps
        .iter()
        .map(|step| step.best.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string))
        .collect();
    if !steps.is_empty() {
        lines.push(format!("steps    {} named, best for each: {}", steps.len(), steps.join(", ")));
    }
    let fusion = &evidence.fusion;
    let loss = match fusion.quality {
        0.0 => String::new(),
        most => format!("; a tool that fails loses up to {:.0} %", most * 100.0),
    };
    lines.push(format!("fusion   {}; {} candidates together{loss}", compact(&fusion.method), fusion.n_candidates));
    let sure = &evidence.confidence;
    let cosine = sure.best_cosine.map_or("none".to_owned(), |cosine| format!("{cosine:.2}"));
    lines.push(format!(
        "sure     {:.2} of 1 (best cosine {cosine}, words covered {:.2}; nothing fits below {:.2})",
        sure.confidence, sure.best_coverage, sure.threshold
    ));
    if let Some(second) = &evidence.second {
        let came = match (&second.skipped, second.remembered) {
            (Some(reason), _) => format!("skipped: {reason}"),
            (None, true) => "remembered".to_owned(),
            (None, false) => format!("{} ms", second.millis),
        };
        lines.push(format!("second   {} {}; {} candidates; {came}", second.by, second.model, second.n_candidates));
    }
    if let Some(budget) = &evidence.budget {
        lines.push(format!("budget   {} of {} tokens for definitions", budget.used, budget.tokens));
    }
    screen::line(&format!("\n{}\n", lines.join("\n")))?;

    let mut table = screen::table(&["", "candidate", "score", "words", "meaning", "matched"]);
    let is_shown = |i: usize| i < evidence.limit + N_BEHIND;
    for (_, candidate) in evidence.candidates.iter().enumerate().filter(|(i, _)| is_shown(*i)) {
        let side = |side: &Option<toolscout_selector::Side>, digits: usize| match side {
            Some(side) => {
                let rank = side.rank.map_or("-".to_owned(), |rank| format!("#{rank}"));
                format!("{rank} {:.digits$}", side.score)
            }
            None => "-".to_owned(),
        };
        // What rounds to nothing is left to `--json`.
        let seen = candidate.parts.iter().filter(|part| part.value.abs() >= 0.005);
        let parts = seen.map(|part| format!("{} {:.2}", part.name, part.value));
        let parts = parts.collect::<Vec<_>>().join(" + ");
        let score = format!("{:.2} = {parts}", candidate.score.value());
        let mut matched: Vec<String> = Vec::new();
        for term in candidate.terms.iter().take(6) {
            matched.push(format!("{}:{} {:.1}", word(&term.field), term.term, term.contribution));
        }
        for pair in candidate.alignments.iter().filter(|pair| pair.query != pair.card && pair.cosine >= 0.5).take(3) {
            matched.push(format!("{}~{}", pair.query, pair.card));
        }
        if candidate.misleads {
            matched.push("(its arguments are often wrong)".to_owned());
        }
        match &candidate.fate {
            Fate::Selected => {}
            Fate::SameAs { id } => matched.push(format!("(same as {id})")),
            Fate::BelowLimit => matched.push("(below the limit)".to_owned()),
            Fate::OverBudget { tokens } => matched.push(format!("(over the budget, with {tokens} tokens)")),
            Fate::NothingFits => matched.push("(not near enough)".to_owned()),
        }
        let (words, meaning) = (side(&candidate.lexical, 1), side(&candidate.dense, 2));
        let (rank, id) = (candidate.rank.to_string(), candidate.id.to_string());
        table.add_row([&rank, &id, &score, &words, &meaning, &matched.join(", ")]);
    }
    screen::print(&table, "no candidate")?;
    let n_shown = evidence.candidates.len().min(evidence.limit + N_BEHIND);
    let n_more = evidence.candidates.len() - n_shown + usize::try_from(evidence.n_more_candidates).unwrap_or(0);
    if n_more > 0 {
        screen::line(&format!("and {n_more} more"))?;
    }
    Ok(())
}

/// `explain`: the same for a selection made earlier.
pub(crate) async fn explain(args: &args::Explain, backend: &Backend) -> Ended {
    let request = ExplainRequest { selection_id: args.selection.clone(), tool: args.tool.clone() };
    let answer = backend.explain(request).await?;
    if args.output.json {
        screen::json(&answer)?;
        return Ok(Exit::Done);
    }
    let query = answer.query.as_deref().unwrap_or("(the query's words are not kept)");
    screen::line(&format!("{} · {} · generation {} · {query}", answer.selection_id, answer.at, answer.generation))?;
    match (&answer.evidence, &args.tool) {
        (Some(evidence), None) => print_evidence(evidence)?,
        (_, Some(_)) | (None, None) => screen::line(&answer.text)?,
    }
    Ok(Exit::Done)
}

/// The word of a plain enum.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

/// A small structure on one line: `weighted words=0.4 meaning=0.6`.
fn compact(value: &impl serde::Serialize) -> String {
    fn write(value: &Value) -> String {
        match value {
            Value::Object(map) => {
                let pairs = map.iter().map(|(name, value)| match value {
                    Value::Object(_) => format!("{name} {}", write(value)),
                    Value::String(text) => text.clone(),
                    _ => format!("{name}={}", write(value)),
                });
                pairs.collect::<Vec<_>>().join(" ")
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
    write(&serde_json::to_value(value).unwrap_or_default())
}
