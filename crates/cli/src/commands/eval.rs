//! `eval run|compare|leaderboard`: flags in, `evals` does the rest.

use std::cell::RefCell;

use anyhow::Context as _;
use toolscout_evals::{
    Arm, BoardArgs, CompareArgs, CompareOptions, Edition, Ended as EvalEnded, Error as EvalError, Model, Progress,
    RunArgs, RunOptions, board_command, compare_command, run_command,
};

use crate::args::{EvalCompare, EvalLeaderboard, EvalRun};
use crate::commands::suite;
use crate::config::Config;
use crate::config::settings::ModelChoice;
use crate::fail::{Ended, Exit, usage};
use crate::progress::Steps;

/// `eval run`.
pub(crate) async fn run(args: EvalRun, config: &Config) -> Ended {
    let mut options = match (&args.suite, &args.catalog, &args.queries) {
        (Some(suite), ..) => suite::options(suite).await?,
        (None, Some(catalog), Some(queries)) => RunOptions::new(catalog, queries),
        (None, ..) => return Err(usage("nothing to measure", "give a suite file, or --catalog and --queries")),
    };
    if !args.arms.is_empty() {
        options.arms = arms_of(&args.arms)?;
    }
    options.distractors = args.distractors;
    options.set = args.set.or(options.set);
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
    if let Some(path) = args.features {
        let write = move || toolscout_evals::write_features(&options, &path, &|_| {});
        tokio::task::spawn_blocking(write).await.context("the run ended early")??;
        return Ok(Exit::Done);
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

/// `eval leaderboard`.
pub(crate) fn leaderboard(args: &EvalLeaderboard) -> Ended {
    let today = || crate::app::clock()().rfc3339().chars().take("2026-11-20".len()).collect();
    let edition = Edition {
        date: args.date.clone().unwrap_or_else(today),
        commit: args.commit.clone().or_else(commit_here).map(|commit| commit.chars().take(12).collect()),
        machine: args.machine.clone().unwrap_or_else(machine),
    };
    let args = BoardArgs {
        reports: args.reports.clone(),
        out: args.out.clone(),
        svg: args.svg.clone(),
        html: args.html.clone(),
        edition,
    };
    board_command(&args, &mut std::io::stdout())?;
    Ok(Exit::Done)
}

/// The commit that is checked out here, if git is there and says one.
fn commit_here() -> Option<String> {
    let asked = std::process::Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let said = String::from_utf8(asked.stdout).ok()?;
    Some(said.trim().to_owned()).filter(|commit| asked.status.success() && !commit.is_empty())
}

/// Processor and cores, as well as this system tells.
fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = named.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {}", crate::screen::count(n_cores, "core"))
}
