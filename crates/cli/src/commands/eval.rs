//! `eval run|compare`: flags in, `evals` does the rest.

use std::cell::RefCell;

use anyhow::Context as _;
use toolscout_evals::{
    Arm, CompareArgs, CompareOptions, Ended as EvalEnded, Error as EvalError, Model, Progress, RunArgs, RunOptions,
    compare_command, run_command,
};

use crate::args::{EvalCompare, EvalRun};
use crate::config::Config;
use crate::config::settings::ModelChoice;
use crate::fail::{Ended, Exit, usage};
use crate::progress::Steps;

/// `eval run`.
pub(crate) async fn run(args: EvalRun, config: &Config) -> Ended {
    let mut options = RunOptions::new(&args.catalog, &args.queries);
    if !args.arms.is_empty() {
        options.arms = arms_of(&args.arms)?;
    }
    options.distractors = args.distractors;
    options.set = args.set;
    options.slices = args.slices;
    options.k = args.k.unwrap_or(options.k);
    options.seed = args.seed;
    options.cache = args.cache;
    options.model = match &config.settings.embedding.model {
        ModelChoice::Builtin => Model::Builtin,
        ModelChoice::Dir(dir) => Model::Dir(dir.clone()),
        ModelChoice::Off => Model::Off,
    };
    if args.no_latency {
        options.latency = toolscout_evals::Latency::LeftOut;
    }
    let args = RunArgs { options, json: args.json, html: args.html, baseline: args.baseline };
    let run = move || {
        let shown = RefCell::new(None::<(&'static str, Steps)>);
        let ended = run_command(&args, &mut std::io::stdout(), &|progress| show(&shown, progress));
        if let Some((_, steps)) = shown.take() {
            steps.end();
        }
        ended
    };
    let ended = tokio::task::spawn_blocking(run).await.context("the run ended early")??;
    Ok(match ended {
        EvalEnded::Done => Exit::Done,
        EvalEnded::Regressed | EvalEnded::Leaked => Exit::Failed,
    })
}

fn arms_of(names: &[String]) -> anyhow::Result<Vec<Arm>> {
    Arm::parse_list(names).map_err(|error| {
        let EvalError::UnknownArm { name } = &error else { return error.into() };
        let hint = error.hint().unwrap_or_default();
        usage(format!("there is no arm `{name}`"), &hint.replacen("arms are", "there are:", 1))
    })
}

fn show(shown: &RefCell<Option<(&'static str, Steps)>>, progress: Progress) {
    let (what, done, total) = match progress {
        Progress::Indexing { n_tools } => ("indexing", 0, n_tools),
        Progress::Embedding { done, total } => ("embedding", done, total),
        Progress::Asking { arm, done, total } => (arm.name(), done, total),
        Progress::Scoring => ("scoring", 0, 0),
    };
    let mut shown = shown.borrow_mut();
    if shown.as_ref().is_none_or(|(before, _)| *before != what) {
        if let Some((_, steps)) = shown.take() {
            steps.end();
        }
        *shown = Some((what, Steps::new(total, what)));
    }
    if let Some((_, steps)) = &*shown {
        steps.at(done, total);
    }
}

/// `eval compare`.
pub(crate) fn compare(args: EvalCompare) -> Ended {
    let args = CompareArgs {
        before: args.before,
        after: args.after,
        options: CompareOptions::default(),
        json: args.json,
        n_moved: args.moved,
    };
    compare_command(&args, &mut std::io::stdout())?;
    Ok(Exit::Done)
}
