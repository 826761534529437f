//! `eval replay`: recorded searches, asked again under another configuration.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;
use toolscout_core::{Caller, ToolId};
use toolscout_embed::Embed;
use toolscout_evals::replay::{Recorded, ReplayAnswer, Replayed, replayed};
use toolscout_evals::{Arm, Error as EvalError, Patience, wait_for_vectors};
use toolscout_gateway::{Kept, Services};
use toolscout_index::IndexHost;
use toolscout_selector::{Abstain, Candidate, Fate, Fusion, Query, Selection, SelectorOptions, select_with};

use crate::args::EvalReplay;
use crate::backend::Backend;
use crate::config::Config;
use crate::fail::{Ended, Exit, told, usage};
use crate::progress::Steps;
use crate::screen;

/// `eval replay`.
pub(crate) async fn replay(args: EvalReplay, config: &Config) -> Ended {
    let options = options_of(&args, config.settings.quality.weight)?;
    let Backend::Here(app) = Backend::open(config).await? else {
        let hint = "stop it, or point --data at a copy of its data folder".to_owned();
        return Err(told(Exit::Failed, "a running server holds the data folder", Some(hint)));
    };
    let (is_json, n_shown) = (args.output.json, args.show);
    let (services, index) = (Arc::clone(&app.services), Arc::clone(&app.index));
    let run = move || run(&services, &index, &options, &args);
    let replayed = tokio::task::spawn_blocking(run).await.context("the replay ended early");
    app.close().await;
    let replayed = replayed??;
    if is_json {
        screen::json(&replayed)?;
    } else {
        screen::line(replayed.to_text(n_shown).trim_end())?;
    }
    Ok(if replayed.n == 0 { Exit::NoMatch } else { Exit::Done })
}

/// The configuration to ask: the arm's, with what the settings say of ranking.
fn options_of(args: &EvalReplay, quality: f64) -> anyhow::Result<SelectorOptions> {
    let arm: Arm = args.arm.parse().map_err(|error: EvalError| {
        usage(error.to_string(), "one of ours, as in `eval run`: hybrid, hybrid-no-…, bm25, dense, rrf")
    })?;
    let Some(mut options) = arm.options() else {
        return Err(usage(format!("`{arm}` is a peer"), "peers rank files of tools: see `eval run`"));
    };
    options.quality = quality;
    for (flag, value) in [("--dense-weight", args.dense_weight), ("--abstain-below", args.abstain_below)] {
        if value.is_some_and(|value| !(0.0..=1.0).contains(&value)) {
            return Err(usage(format!("{flag} is out of range"), "it has to be 0 to 1"));
        }
    }
    if let Some(dense) = args.dense_weight {
        options.fusion = Fusion::Weighted { dense };
    }
    if let Some(below) = args.abstain_below {
        options.abstain = Abstain { below };
    }
    Ok(options)
}

fn run(
    services: &Services,
    index: &IndexHost,
    options: &SelectorOptions,
    args: &EvalReplay,
) -> anyhow::Result<Replayed> {
    let parts = &services.parts;
    if let Some(embedder) = &parts.embedder {
        embed(index, &**embedder.embedder());
    }
    let kept = parts.selections.newest_of_all(args.last).context("read the recorded selections")?;
    let n_kept = kept.len();
    let recorded: Vec<(Recorded, Caller)> = kept.iter().filter_map(|kept| recorded(kept)).collect();
    let n_without_query = n_kept - recorded.len();
    let snapshot = index.snapshot();
    let quality = parts.quality.view();
    let steps = Steps::new(recorded.len(), "asking");
    let mut pairs = Vec::with_capacity(recorded.len());
    for (then, caller) in recorded {
        let query = Query {
            text: then.query.clone(),
            limit: args.limit.map_or(then.limit, usize::from),
            // The first stage alone: a second one may cost money.
            shortlist: 0,
            upstreams: then.upstreams.clone(),
            tags: then.tags.clone(),
            max_side_effect: then.max_side_effect,
            ..Query::default()
        };
        let query = match parts.embedder.as_deref().filter(|_| options.fusion != Fusion::Lexical) {
            None => query,
            Some(embedder) => {
                let knows = |word: &str| embedder.knows(word);
                let read = || toolscout_selector::read(&snapshot, &quality, &parts.policy, &caller, &query, &knows);
                let query = options.slips.then(read).flatten().unwrap_or(query);
                let text = toolscout_index::glossary::with_gloss(&query.text);
                let vectors = embedder.embed_query(&text).context("embed a recorded query")?;
                Query { vector: Some(vectors.pooled), tokens: Some(vectors.tokens), ..query }
            }
        };
        let selection = select_with(&snapshot, &quality, &parts.policy, &caller, &query, options);
        pairs.push((then, answer(&selection)));
        steps.done("");
    }
    steps.end();
    Ok(replayed(pairs, n_without_query, snapshot.generation().0))
}

/// Waits until every tool has its vector: with another model than before, all of them are made anew.
fn embed(index: &IndexHost, model: &dyn Embed) {
    let steps = Steps::new(index.snapshot().progress().total, "embedding");
    wait_for_vectors(index, model, Patience::default(), &|done, total| steps.at(done, total));
    steps.end();
    let progress = index.snapshot().progress().clone();
    if progress.embedded < progress.total {
        let reason = progress.reason.unwrap_or_else(|| "no reason known".to_owned());
        screen::say(&format!("warning: {} of {} tools have a vector: {reason}", progress.embedded, progress.total));
    }
}

/// What is to be asked again, and for whom. Scopes are not recorded: rules that ask for one treat the caller as without.
fn recorded(kept: &Kept) -> Option<(Recorded, Caller)> {
    let access = &kept.evidence.access;
    let caller = Caller { tenant: kept.tenant.clone(), client: kept.client.clone(), scopes: Vec::new() };
    let recorded = Recorded {
        id: kept.id.to_string(),
        at: kept.at.rfc3339(),
        query: kept.query.clone()?,
        limit: kept.evidence.limit,
        upstreams: access.upstreams.clone(),
        tags: access.tags.clone(),
        max_side_effect: access.max_side_effect,
        generation: kept.generation.0,
        answer: ReplayAnswer { tools: selected(kept), confidence: kept.confidence, no_match: kept.no_match.is_some() },
    };
    Some((recorded, caller))
}

/// What was selected, with what a token budget left out of it then: the trial knows no budget.
fn selected(kept: &Kept) -> Vec<ToolId> {
    let given = kept.tools.iter().map(|(id, _)| id);
    if kept.evidence.budget.is_none() {
        return given.cloned().collect();
    }
    let given: BTreeSet<&ToolId> = given.collect();
    let is_one = |one: &&Candidate| given.contains(&one.id) || matches!(one.fate, Fate::OverBudget { .. });
    kept.evidence.candidates.iter().filter(is_one).map(|one| one.id.clone()).collect()
}

fn answer(selection: &Selection) -> ReplayAnswer {
    ReplayAnswer {
        tools: selection.tools.iter().map(|tool| tool.card.id.clone()).collect(),
        confidence: selection.confidence,
        no_match: selection.no_match.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args;

    #[track_caller]
    fn check(flags: &str, expect: SelectorOptions) {
        let line = format!("toolscout eval replay {flags}");
        let parsed = args::Cli::try_parse_from(line.split_whitespace()).expect("good flags");
        let args::Command::Eval(args::Eval::Replay(args)) = parsed.command else {
            panic!("`eval replay` is read as something else")
        };
        assert_eq!(options_of(&args, 0.3).expect("a configuration"), expect, "{flags}");
    }

    #[test]
    fn what_the_settings_say_of_ranking_holds_too() {
        let hybrid = SelectorOptions { quality: 0.3, ..SelectorOptions::default() };
        check("", hybrid.clone());
        check("--abstain-below 0.5", SelectorOptions { abstain: Abstain { below: 0.5 }, ..hybrid.clone() });
        check("--dense-weight 0.2", SelectorOptions { fusion: Fusion::Weighted { dense: 0.2 }, ..hybrid.clone() });
        check("--arm hybrid-no-steps", SelectorOptions { steps: false, cover: false, ..hybrid });
    }

    #[test]
    fn what_a_budget_left_out_then_is_no_change_now() {
        let store = toolscout_store::Store::temporary().expect("a temporary store");
        let catalog = toolscout_catalog::Catalog::open(&store, toolscout_catalog::Overlays::default()).expect("empty");
        let lines = ["pay_bill", "pay_tax", "sing"]
            .map(|name| format!("{{\"id\":\"{name}\",\"server\":\"s\",\"name\":\"{name}\",\"description\":\"\"}}\n"));
        let at = toolscout_core::Timestamp(1);
        let imported = catalog.import_jsonl(lines.concat().as_bytes(), at).expect("three tools");
        let index = IndexHost::open(toolscout_index::IndexOptions::default(), &store, None).expect("an empty index");
        index.apply(&imported.change.view).expect("three tools are indexed");
        let query = Query { text: "pay".to_owned(), ..Query::default() };
        let options = SelectorOptions { abstain: Abstain { below: 0.0 }, ..SelectorOptions::default() };
        let (caller, policy, quality) = (Caller::local("test"), Default::default(), Default::default());
        let selection = select_with(&index.snapshot(), &quality, &policy, &caller, &query, &options);
        let ids = answer(&selection).tools;
        assert_eq!(ids.len(), 2);
        let mut evidence = selection.evidence;
        let first = (ids[0].clone(), selection.tools[0].score);
        evidence.cut(toolscout_selector::BudgetStage { tokens: 10, used: 9 }, &[(ids[1].clone(), 5)].into());
        let kept = Kept {
            id: toolscout_core::SelectionId::from_random(7),
            at,
            tenant: caller.tenant,
            client: caller.client,
            generation: selection.generation,
            query_hash: String::new(),
            query: None,
            index_state: String::new(),
            confidence: selection.confidence,
            tools: vec![first],
            no_match: None,
            evidence,
        };
        assert_eq!(selected(&kept), ids);
    }
}
